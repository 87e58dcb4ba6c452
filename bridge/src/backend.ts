/** The backend's internal API: bearer, JSON, every wait bounded. */

import { Agent, request } from 'undici'

/** It answers with a few rows in milliseconds, or is in trouble; a sign of life that is later keeps no chip. */
const ANSWER_TIMEOUT_MS = 8_000
/** Requests at the same time; a herd of chips that log in waits in line here instead of at the database. */
const CONNECTIONS = 8
const NOT_NOW = new Set([408, 425, 429])

/** The backend read the request and says no; `code` is one of its stable codes. */
export class BackendRefused extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string) {
    super(`the backend answered ${status} ${code}`)
    this.status = status
    this.code = code
  }
}

/** No answer, or one that says "not now". */
export class BackendAway extends Error {}

export class Backend {
  readonly #base: URL
  readonly #secret: string
  readonly #agent: Agent

  constructor(base: URL, secret: string) {
    this.#base = base
    this.#secret = secret
    const times = { connectTimeout: ANSWER_TIMEOUT_MS, headersTimeout: ANSWER_TIMEOUT_MS, bodyTimeout: ANSWER_TIMEOUT_MS }
    this.#agent = new Agent({ connections: CONNECTIONS, ...times })
  }

  /** `path` below /internal/bridge. Answers the JSON, null when there is none. Throws BackendRefused, BackendAway. */
  async post(path: string, body: object): Promise<unknown> {
    const { status, text } = await this.#exchange(path, JSON.stringify(body))
    if (status >= 500 || NOT_NOW.has(status)) throw new BackendAway(`the backend answered ${status}`)
    const answer = parsed(text)
    if (status >= 300) throw new BackendRefused(status, codeOf(answer))
    return answer
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  async #exchange(path: string, body: string): Promise<{ status: number; text: string }> {
    const headers = { 'authorization': `Bearer ${this.#secret}`, 'content-type': 'application/json' }
    try {
      const url = new URL(`/internal/bridge${path}`, this.#base)
      const answer = await request(url, { method: 'POST', headers, body, dispatcher: this.#agent })
      return { status: answer.statusCode, text: await answer.body.text() }
    } catch (cause) {
      throw new BackendAway('the backend does not answer', { cause })
    }
  }
}

/** Somebody else may listen at the backend's address: what is no JSON of ours is no answer. */
function parsed(text: string): unknown {
  if (text === '') return null
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new BackendAway('the backend answered no JSON', { cause })
  }
}

function codeOf(answer: unknown): string {
  const code = (answer as { error?: { code?: unknown } } | null)?.error?.code
  return typeof code === 'string' ? code : 'unknown'
}
