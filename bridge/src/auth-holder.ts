/** One chip's credentials for as long as this process holds the chip: taken, given back, lost. */

import { AuthStoreError, type AuthStore, type ChipAuth } from './auth-store.ts'
import type { Log } from './log.ts'

export type AuthHolderOptions = {
  chipId: string
  store: AuthStore
  log: Log
  onOpened: (auth: ChipAuth) => void
  /** What is in memory is ahead of what is stored. Only told of the credentials that are held at that moment. */
  onFailure: (error: AuthStoreError) => void
}

export class AuthHolder {
  readonly #options: AuthHolderOptions
  #auth: ChipAuth | null = null
  #epoch: number | null = null

  constructor(options: AuthHolderOptions) {
    this.#options = options
  }

  get auth(): ChipAuth | null {
    return this.#auth
  }

  /** Of the last hold. */
  get epoch(): number | null {
    return this.#epoch
  }

  /** Takes the chip, or answers why not. */
  async open(): Promise<AuthStoreError | null> {
    if (this.#auth) return null
    const { chipId, store, onOpened } = this.#options
    try {
      const auth: ChipAuth = await store.open(chipId, (error) => this.#onFailure(auth, error))
      this.#auth = auth
      this.#epoch = auth.epoch
      onOpened(auth)
      return null
    } catch (error) {
      if (!(error instanceof AuthStoreError)) throw error
      return error
    }
  }

  /** From now on nothing is held here; what must still be done with it is the caller's. */
  take(): ChipAuth | null {
    const auth = this.#auth
    this.#auth = null
    return auth
  }

  /** Gives the chip back. One that cannot be given back is free when this process is not heard of for a while. */
  close(): Promise<void> {
    return this.tolerated(this.take()?.close())
  }

  abandon(): void {
    this.take()?.abandon()
  }

  /** Removes what is stored. Throws AuthStoreError. */
  async wipe(): Promise<void> {
    const auth = this.take()
    await (auth ? auth.wipe() : this.#options.store.forget(this.#options.chipId))
  }

  async tolerated(work: Promise<void> | undefined): Promise<void> {
    try {
      await work
    } catch (error) {
      if (!(error instanceof AuthStoreError)) throw error
      this.#options.log.warning('chip.not_given_back', { chip: this.#options.chipId, code: error.code })
    }
  }

  #onFailure(auth: ChipAuth, error: AuthStoreError): void {
    if (auth === this.#auth) this.#options.onFailure(error)
  }
}
