/**
 * Fail closed: this process can connect to the gateway and to the backend, and to nothing else.
 *
 * Baileys has paths that ignore the agents they are given (a picture by URL, a link preview, a download without
 * options). The guard refuses them before any name is looked up, so that not even a DNS query tells on a chip.
 */

import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { Dispatcher, setGlobalDispatcher } from 'undici'

import type { Endpoint } from './config.ts'

export class EgressDenied extends Error {
  readonly code = 'EGRESS_DENIED'
}

type ConnectArguments = [unknown, ...unknown[]]
type Connect = (this: net.Socket, ...args: ConnectArguments) => net.Socket

/** Installs the three locks for the life of the process. `onDenied` hears the refused host and port. */
export function installEgressGuard(allowed: readonly Endpoint[], onDenied: (target: string) => void): void {
  lockSockets(new Set(allowed.map((endpoint) => key(endpoint.host, endpoint.port))), onDenied)
  lockGlobalAgents(onDenied)
  setGlobalDispatcher(new DenyingDispatcher(onDenied))
}

/** Every TCP and TLS connection of Node passes net.Socket.prototype.connect, whoever opens it. */
function lockSockets(allowed: ReadonlySet<string>, onDenied: (target: string) => void): void {
  const connect = Reflect.get(net.Socket.prototype, 'connect') as Connect
  const guarded: Connect = function (...args) {
    const target = targetOf(args)
    if (allowed.has(target)) return Reflect.apply(connect, this, args)
    onDenied(target)
    return this.destroy(new EgressDenied(`connection to ${target} denied: it is not the gateway`))
  }
  Reflect.set(net.Socket.prototype, 'connect', guarded)
}

/** Reads what net.Socket.connect was given: options, (port, host), (path), or an already normalised [options, callback]. */
function targetOf(args: ConnectArguments): string {
  const first = Array.isArray(args[0]) ? (args[0] as unknown[])[0] : args[0]
  if (typeof first === 'object' && first !== null) {
    const options = first as { path?: unknown; host?: unknown; port?: unknown }
    if (options.path) return 'unix socket'
    return key(text(options.host), Number(options.port))
  }
  if (Number.isInteger(Number(first))) return key(text(args[1]), Number(first))
  return 'unix socket'
}

function text(host: unknown): string {
  return typeof host === 'string' && host ? host : 'localhost'
}

function key(host: string, port: number): string {
  return `${host.toLowerCase()}:${port}`
}

function lockGlobalAgents(onDenied: (target: string) => void): void {
  for (const agent of [http.globalAgent, https.globalAgent]) {
    agent.createConnection = (options) => {
      const target = key(text(options.host), Number(options.port))
      onDenied(target)
      throw new EgressDenied(`request to ${target} denied: it names no agent`)
    }
  }
}

/** What the global fetch uses when the caller names no dispatcher. */
class DenyingDispatcher extends Dispatcher {
  readonly #onDenied: (target: string) => void

  constructor(onDenied: (target: string) => void) {
    super()
    this.#onDenied = onDenied
  }

  override dispatch(options: Dispatcher.DispatchOptions): boolean {
    const target = String(options.origin ?? 'unknown origin')
    this.#onDenied(target)
    throw new EgressDenied(`fetch from ${target} denied: it names no dispatcher`)
  }
}
