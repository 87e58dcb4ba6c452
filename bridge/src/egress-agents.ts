/**
 * The three ways Baileys talks to the network, all through one chip's gateway URL: the websocket (`agent`), media
 * uploads (`fetchAgent`, an http.Agent) and history, app state and downloads (`dispatcher`, for fetch).
 */

import { setMaxListeners } from 'node:events'
import { HttpsProxyAgent } from 'https-proxy-agent'
import { ProxyAgent } from 'undici'

import type { Endpoint } from './config.ts'

/** What the gateway answered instead of a tunnel; Baileys itself hears nothing of it. */
export type GatewayRefusal = { status: number; reason: string | null }

const REASON = /^[a-z0-9_]{1,64}$/

export class EgressAgents {
  readonly websocket: HttpsProxyAgent<string>
  readonly uploads: HttpsProxyAgent<string>
  readonly dispatcher: ProxyAgent
  readonly #abort = new AbortController()

  /** `onRefusal` hears refusals of the websocket's CONNECT, `onMediaRefusal` those of an upload. */
  constructor(proxyUrl: string, onRefusal: (refusal: GatewayRefusal) => void, onMediaRefusal: () => void) {
    setMaxListeners(0, this.#abort.signal) // one listener for each open tunnel of this chip, uploads included
    this.websocket = this.#agent(proxyUrl, onRefusal)
    this.uploads = this.#agent(proxyUrl, onMediaRefusal)
    this.dispatcher = new ProxyAgent(proxyUrl)
  }

  /** Destroys every connection made through these agents, a hung CONNECT included. */
  release(): void {
    this.#abort.abort()
    void this.dispatcher.destroy()
  }

  #agent(proxyUrl: string, onRefusal: (refusal: GatewayRefusal) => void): HttpsProxyAgent<string> {
    const agent = new HttpsProxyAgent(proxyUrl, { signal: this.#abort.signal })
    agent.on('proxyConnect', (answer: { statusCode: number; headers: Record<string, unknown> }) => {
      if (answer.statusCode !== 200) onRefusal({ status: answer.statusCode, reason: reasonOf(answer.headers) })
    })
    return agent
  }
}

/** The header is somebody else's text: only a plain code is let through. */
function reasonOf(headers: Record<string, unknown>): string | null {
  const value = headers['x-gateway-reason']
  return typeof value === 'string' && REASON.test(value) ? value : null
}

/** Whether a chip's proxy URL is the configured gateway, with a credential and nothing else. */
export function isGatewayUrl(proxyUrl: string, gateway: Endpoint): boolean {
  if (!URL.canParse(proxyUrl)) return false
  const url = new URL(proxyUrl)
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  const plain = url.protocol === 'http:' && url.pathname === '/' && !url.search && !url.hash
  return plain && url.username !== '' && url.password !== '' && host === gateway.host && portOf(url) === gateway.port
}

function portOf(url: URL): number {
  return url.port ? Number(url.port) : 80
}
