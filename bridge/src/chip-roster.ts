/** The chips that this process runs. */

import type { AuthStore } from './auth-store.ts'
import { CHIP_STATES, ChipSession, type ChipParts, type ChipState, type Start } from './chip-session.ts'

/** This process takes no more chips: it is full or about to end. */
export class RosterClosed extends Error {
  readonly code: 'bridge_full' | 'bridge_stopping'

  constructor(code: RosterClosed['code']) {
    super(code === 'bridge_full' ? 'This bridge runs as many chips as it may.' : 'This bridge is stopping.')
    this.code = code
  }
}

export class ChipRoster {
  readonly #parts: ChipParts
  readonly #store: AuthStore
  readonly #maxChips: number
  readonly #chips = new Map<string, ChipSession>()
  #stopping = false

  constructor(parts: ChipParts, maxChips: number) {
    this.#parts = parts
    this.#store = parts.store
    this.#maxChips = maxChips
  }

  get stopping(): boolean {
    return this.#stopping
  }

  get(chipId: string): ChipSession | undefined {
    return this.#chips.get(chipId)
  }

  list(): ChipSession[] {
    return [...this.#chips.values()]
  }

  countByState(): [ChipState, number][] {
    return CHIP_STATES.map((state) => [state, this.list().filter((chip) => chip.state === state).length])
  }

  /** Idempotent. Throws RosterClosed, or ChipConflict for a chip that runs with another proxy. */
  async create(chipId: string, start: Start): Promise<ChipSession> {
    const chip = this.#chips.get(chipId) ?? new ChipSession(chipId, start, this.#parts)
    if (!chip.running) this.#refuseWhenClosed()
    this.#chips.set(chipId, chip)
    await chip.start(start)
    return chip
  }

  /** Ends the chip and removes its credentials. Answers whether its phone was unlinked. */
  async remove(chipId: string, logout: boolean): Promise<boolean> {
    const chip = this.#chips.get(chipId)
    if (!chip) {
      await this.#store.forget(chipId)
      return false
    }
    const unlinked = await chip.remove(logout)
    this.#chips.delete(chipId)
    return unlinked
  }

  /** Ends every connection politely and unlinks none. */
  async shutDown(): Promise<void> {
    this.#stopping = true
    const cause = { layer: 'bridge', code: 'shutdown', reason: 'bridge_stopping' } as const
    await Promise.allSettled(this.list().map((chip) => chip.stop(cause)))
  }

  #refuseWhenClosed(): void {
    if (this.#stopping) throw new RosterClosed('bridge_stopping')
    if (this.list().filter((chip) => chip.running).length >= this.#maxChips) throw new RosterClosed('bridge_full')
  }
}
