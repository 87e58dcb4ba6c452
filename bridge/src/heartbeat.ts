/**
 * Tells the backend that this process lives, and so keeps every chip that it holds.
 *
 * When the backend does not answer in time, this process must expect that its chips go elsewhere. It closes them before
 * anybody counts it as dead (`onLapsed`), and begins again when it is heard (`onRestored`). Measured with the monotonic
 * clock, from before the question that was answered.
 */

import { performance } from 'node:perf_hooks'

import { BackendAway, BackendRefused, type Backend } from './backend.ts'
import type { Log } from './log.ts'

/** Until the backend has said better. */
const FIRST_TIMES = { beat_every_s: 3, fenced_after_s: 12 }
/** A first start comes before the backend is there. */
const UNHEARD_EVERY_MS = 500

export type Vitals = { bridge_id: string; url: string; started_at: string; max_chips: number; draining: boolean }
export type HeartbeatOptions = {
  backend: Backend
  vitals: () => Vitals
  log: Log
  onLapsed: () => void
  onRestored: () => void
}

type Times = { beat_every_s: number; fenced_after_s: number }

export class Heartbeat {
  readonly #options: HeartbeatOptions
  #times: Times = FIRST_TIMES
  #fresh = false
  #next: NodeJS.Timeout | null = null
  #fence: NodeJS.Timeout | null = null
  #closed = false

  constructor(options: HeartbeatOptions) {
    this.#options = options
  }

  /** Whether the backend knows that this process lives. */
  get fresh(): boolean {
    return this.#fresh
  }

  /** Beats now and from now on. */
  start(): void {
    void this.#round()
  }

  /** One beat. Throws BackendAway, BackendRefused. */
  async beat(): Promise<void> {
    const askedAt = performance.now()
    this.#times = (await this.#options.backend.post('/beat', this.#options.vitals())) as Times
    if (!this.#closed) this.#heard(askedAt)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#next ?? undefined)
    clearTimeout(this.#fence ?? undefined)
  }

  async #round(): Promise<void> {
    try {
      await this.beat()
    } catch (error) {
      if (!(error instanceof BackendAway || error instanceof BackendRefused)) throw error
      this.#options.log.warning('heartbeat.unanswered', { error: error.message })
    }
    const everyMs = this.#fresh ? this.#times.beat_every_s * 1000 : UNHEARD_EVERY_MS
    if (!this.#closed) this.#next = setTimeout(() => void this.#round(), everyMs)
  }

  #heard(askedAt: number): void {
    clearTimeout(this.#fence ?? undefined)
    const leftMs = this.#times.fenced_after_s * 1000 - (performance.now() - askedAt)
    this.#fence = setTimeout(() => this.#lapse(), Math.max(leftMs, 0))
    if (this.#fresh) return
    this.#fresh = true
    this.#options.log.info('heartbeat.heard')
    this.#options.onRestored()
  }

  #lapse(): void {
    this.#fresh = false
    this.#options.log.error('heartbeat.lapsed')
    this.#options.onLapsed()
  }
}
