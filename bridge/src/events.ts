/**
 * Events to the backend: in order for each chip, at least once, signed, numbered.
 *
 * `seq` only grows, also over restarts (it starts at the clock's milliseconds): the backend drops what is not greater
 * than the last it took of that chip. When the backend is away for long, what waits is collapsed into the latest state.
 */

import { Agent, request } from 'undici'

import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { signatureOf } from './signature.ts'

export type EventKind =
  | 'session.connecting' | 'session.qr' | 'session.open' | 'session.backoff' | 'session.proxy_blocked'
  | 'session.closed' | 'session.logged_out' | 'session.replaced'

/** `epoch`: of the hold under which the chip runs; an event of an earlier one is not taken. */
export type ChipEvent = {
  chip_id: string
  boot_id: string
  seq: number
  epoch: number | null
  at: string
  kind: EventKind
  data: object
}

/** Events of one chip that may wait: more than a pairing with all its QR codes makes. */
export const MOST_WAITING = 32
const FIRST_RETRY_MS = 500
const RETRY_CEILING_MS = 30_000
/** The backend writes one row an event: it answers in milliseconds or is in trouble. */
const ANSWER_TIMEOUT_MS = 10_000
/** Requests at the same time; more chips than this wait in line. */
const CONNECTIONS = 8
/** Answers that a repetition would not change: the backend has read the event and does not want it. */
const FINAL_REFUSALS = new Set([400, 404, 409, 410, 413, 422])

export type OutboxOptions = {
  url: URL
  secret: string
  bootId: string
  log: Log
  metrics: Metrics
  firstRetryMs?: number
}

type Line = { waiting: ChipEvent[]; failures: number; timer: NodeJS.Timeout | null; sending: boolean }

export class EventOutbox {
  readonly #options: OutboxOptions
  readonly #agent: Agent
  readonly #lines = new Map<string, Line>()
  #lastSeq = 0
  #closed = false

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#agent = new Agent({
      connections: CONNECTIONS,
      connectTimeout: ANSWER_TIMEOUT_MS,
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: ANSWER_TIMEOUT_MS,
    })
  }

  get waiting(): number {
    return [...this.#lines.values()].reduce((sum, line) => sum + line.waiting.length, 0)
  }

  push(chipId: string, kind: EventKind, data: object, epoch: number | null): void {
    const event = { chip_id: chipId, boot_id: this.#options.bootId, seq: this.#nextSeq(), epoch, at: new Date().toISOString(), kind, data }
    const line = this.#lines.get(chipId) ?? { waiting: [], failures: 0, timer: null, sending: false }
    this.#lines.set(chipId, line)
    line.waiting.push(event)
    this.#collapse(line)
    void this.#send(chipId, line)
  }

  /** Another bridge, perhaps with a faster clock, has sent up to this number: ours go on after it. */
  continueAfter(seq: number): void {
    this.#lastSeq = Math.max(this.#lastSeq, seq)
  }

  /** Waits until everything of this chip is delivered, but not past `limitMs`. */
  async delivered(chipId: string, limitMs: number): Promise<void> {
    const deadline = Date.now() + limitMs
    while (this.#lines.has(chipId) && Date.now() < deadline) await pause(DRAIN_LOOK_MS)
  }

  /** Waits until everything is delivered, but not past `limitMs`. */
  async drain(limitMs: number): Promise<void> {
    const deadline = Date.now() + limitMs
    while (this.waiting > 0 && Date.now() < deadline) await pause(DRAIN_LOOK_MS)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const line of this.#lines.values()) clearTimeout(line.timer ?? undefined)
    await this.#agent.destroy()
  }

  #nextSeq(): number {
    this.#lastSeq = Math.max(this.#lastSeq + 1, Date.now())
    return this.#lastSeq
  }

  /** The first event may be on its way, so it stays; of the others only the latest state tells the truth. */
  #collapse(line: Line): void {
    if (line.waiting.length <= MOST_WAITING) return
    const removed = line.waiting.splice(1, line.waiting.length - 2)
    this.#options.metrics.events.add({ result: 'collapsed' }, removed.length)
  }

  async #send(chipId: string, line: Line): Promise<void> {
    if (line.sending || line.timer || this.#closed) return
    line.sending = true
    for (let event = line.waiting[0]; event; event = line.waiting[0]) {
      if (!(await this.#settle(event))) break
      line.failures = 0
      line.waiting.shift()
    }
    line.sending = false
    if (line.waiting.length === 0) this.#lines.delete(chipId)
    else this.#retryLater(chipId, line)
  }

  #retryLater(chipId: string, line: Line): void {
    if (this.#closed) return
    line.failures += 1
    const first = this.#options.firstRetryMs ?? FIRST_RETRY_MS
    const most = Math.min(first * 2 ** line.failures, RETRY_CEILING_MS)
    line.timer = setTimeout(() => {
      line.timer = null
      void this.#send(chipId, line)
    }, most / 2 + (Math.random() * most) / 2)
  }

  /** Whether the event is done with: taken, or refused for good. */
  async #settle(event: ChipEvent): Promise<boolean> {
    const status = await this.#post(event)
    if (status !== null && status < 300) return this.#count('delivered')
    if (status === null || !FINAL_REFUSALS.has(status)) return !this.#count('retried')
    this.#options.log.warning('event.refused', { chip: event.chip_id, kind: event.kind, status })
    return this.#count('refused')
  }

  /** The answer's status, or null when there was none. */
  async #post(event: ChipEvent): Promise<number | null> {
    const body = JSON.stringify(event)
    const timestampS = Math.floor(Date.now() / 1000)
    const headers = {
      'authorization': `Bearer ${this.#options.secret}`,
      'content-type': 'application/json',
      'x-whago-timestamp': String(timestampS),
      'x-whago-signature': signatureOf(this.#options.secret, timestampS, body),
    }
    try {
      const answer = await request(this.#options.url, { method: 'POST', headers, body, dispatcher: this.#agent })
      await answer.body.dump()
      return answer.statusCode
    } catch (error) {
      this.#options.log.debug('event.unanswered', { chip: event.chip_id, kind: event.kind, error: String(error) })
      return null
    }
  }

  #count(result: string): true {
    this.#options.metrics.events.add({ result })
    return true
  }
}

const DRAIN_LOOK_MS = 20

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
