/**
 * Lets chips connect in an orderly queue: after a restart of the bridge or of the gateway hundreds want to at once, and
 * neither WhatsApp, the gateway nor the database should be hammered by them.
 */

/** Connections on their way at the same moment: each is a TLS handshake and up to 812 key pairs made on one core. */
const MOST_AT_ONCE = 10
/** At most 20 new connections a second: 500 chips are back in half a minute. */
const GAP_MS = 50
/** A connection that hangs frees its place after this, so that ten dead ways do not stop the others. */
const HOLD_MS = 5_000

export type PacerLimits = { mostAtOnce: number; gapMs: number; holdMs: number }

type Place = { run: () => void; hold: NodeJS.Timeout | null }

export class ConnectPacer {
  readonly #limits: PacerLimits
  readonly #queue = new Set<Place>()
  readonly #running = new Set<Place>()
  #pause: NodeJS.Timeout | null = null

  constructor(limits: PacerLimits = { mostAtOnce: MOST_AT_ONCE, gapMs: GAP_MS, holdMs: HOLD_MS }) {
    this.#limits = limits
  }

  get waiting(): number {
    return this.#queue.size
  }

  /** Calls `run` when it is this one's turn, never before this returns. The answer leaves, connected or not, any number of times. */
  enter(run: () => void): () => void {
    const place: Place = { run, hold: null }
    this.#queue.add(place)
    queueMicrotask(() => this.#next())
    return () => this.#leave(place)
  }

  #next(): void {
    const [first] = this.#queue
    if (!first || this.#pause || this.#running.size >= this.#limits.mostAtOnce) return
    this.#queue.delete(first)
    this.#running.add(first)
    first.hold = setTimeout(() => this.#leave(first), this.#limits.holdMs)
    this.#pause = setTimeout(() => {
      this.#pause = null
      this.#next()
    }, this.#limits.gapMs)
    first.run()
  }

  #leave(place: Place): void {
    clearTimeout(place.hold ?? undefined)
    this.#queue.delete(place)
    if (this.#running.delete(place)) this.#next()
  }
}
