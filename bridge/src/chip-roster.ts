/** The chips that this process runs. */

import type { AuthStore } from './auth-store.ts'
import { ChipSession, type ChipParts } from './chip-session.ts'
import { CHIP_STATES, ChipConflict, type ChipState, type Start } from './chip-view.ts'

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

  /** Idempotent. Throws RosterClosed, or ChipConflict for a chip that runs with another proxy or in another bridge. */
  async create(chipId: string, start: Start): Promise<ChipSession> {
    const chip = this.#chips.get(chipId) ?? new ChipSession(chipId, start, this.#parts)
    if (!chip.running) this.#refuseWhenClosed()
    this.#chips.set(chipId, chip)
    try {
      await chip.start(start)
    } catch (error) {
      if (error instanceof ChipConflict && !chip.running) this.#chips.delete(chipId) // it is another bridge's
      throw error
    }
    return chip
  }

  /** Unlinks the phone, when the chip is open, and removes the credentials. Answers whether WhatsApp was told. */
  async logout(chipId: string): Promise<boolean> {
    const chip = this.#chips.get(chipId)
    if (chip) return chip.logout()
    await this.#store.forget(chipId)
    return false
  }

  /** The backend has not heard of this process for too long. */
  lapse(): void {
    for (const chip of this.list()) void chip.lapse()
  }

  /** The backend is there again. */
  retryNow(): void {
    for (const chip of this.list()) chip.retryNow()
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
    await Promise.allSettled(this.list().map((chip) => chip.shutDown()))
  }

  #refuseWhenClosed(): void {
    if (this.#stopping) throw new RosterClosed('bridge_stopping')
    if (this.list().filter((chip) => chip.running).length >= this.#maxChips) throw new RosterClosed('bridge_full')
  }
}
