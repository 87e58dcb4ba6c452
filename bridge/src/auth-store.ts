/**
 * Where a chip's WhatsApp credentials live, as the rest of the bridge sees it. backend-auth-store.ts keeps them in the
 * backend's database; opening them is also what gives this process the right to run the chip.
 */

import type { AuthenticationCreds, SignalKeyStore } from 'baileys'

/**
 * auth_unreadable: stored, and this key does not open it; it is never wiped for that reason. auth_closed: used after its
 * end. backend_away: not stored, or not known. hold_lost: another bridge runs the chip now. chip_held: another bridge
 * runs it. unknown_chip: there is no such chip.
 */
export type AuthCode = 'auth_unreadable' | 'auth_closed' | 'backend_away' | 'hold_lost' | 'chip_held' | 'unknown_chip'

export class AuthStoreError extends Error {
  readonly code: AuthCode

  constructor(code: AuthCode, cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}

export interface AuthStore {
  /**
   * Takes the chip for this process and loads its state, or makes a fresh one. Throws AuthStoreError.
   * `onFailure` is called at most once, when something could not be stored or read: what is in memory is then ahead of
   * what is stored, and nothing may be built on it.
   */
  open(chipId: string, onFailure: (error: AuthStoreError) => void): Promise<ChipAuth>
  /** Removes what is stored of a chip that nobody runs. Throws AuthStoreError. */
  forget(chipId: string): Promise<void>
  /** Gives back every chip at once. */
  close(): Promise<void>
}

export interface ChipAuth {
  readonly creds: AuthenticationCreds
  /** `set` is one transaction: after a crash either all of its values are there or none. */
  readonly keys: SignalKeyStore
  /** Grows with every time that the chip was taken; tells what a bridge says from what one said that lost it. */
  readonly epoch: number
  /** Events of the chip go on after this number, whichever bridge sent the last ones. */
  readonly lastEventNo: number
  /** Stores `creds` as they are now. What never became a pairing is worth nothing and is not stored. */
  saveCreds(): Promise<void>
  /** Replaces credentials that never became a pairing (an abandoned pairing code leaves some that cannot log in). */
  renewUnpaired(): void
  /**
   * Null when everything asked for so far is stored, else a promise of it. Nothing is said to WhatsApp before: it must
   * never believe in a pairing, or in a step of a conversation, that a crash could take from us.
   */
  settled(): Promise<void> | null
  /** Removes everything and gives the chip back: the device is unlinked. */
  wipe(): Promise<void>
  /** Stores what is left, then gives the chip back. */
  close(): Promise<void>
  /** Ends at once; the chip is not given back, because it was lost, or will be with all others. */
  abandon(): void
}

/** `me` alone proves nothing: asking for a pairing code sets it. The signed account comes with the pairing. */
export function isPaired(creds: AuthenticationCreds): boolean {
  return creds.me !== undefined && creds.account !== undefined
}
