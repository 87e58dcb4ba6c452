/**
 * Where a chip's WhatsApp credentials live. The bridge knows only these two interfaces: the store in files
 * (file-auth-store.ts) and one behind the backend's database are interchangeable.
 */

import type { AuthenticationCreds, SignalKeyStore } from 'baileys'

/** The stored state cannot be read (wrong key, damage) or written (disk). It is never wiped for that reason. */
export class AuthStoreError extends Error {
  readonly code: 'auth_unreadable' | 'auth_unwritable' | 'auth_closed'

  constructor(code: AuthStoreError['code'], cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}

export interface AuthStore {
  /** Loads a chip's state, or makes a fresh one. One holder at a time. Throws AuthStoreError. */
  open(chipId: string): Promise<ChipAuth>
  /** Removes what is stored of a chip that nobody holds open. */
  forget(chipId: string): Promise<void>
  close(): Promise<void>
}

export interface ChipAuth {
  readonly creds: AuthenticationCreds
  /** `set` is one atomic step: after a crash either all of its values are there or none. */
  readonly keys: SignalKeyStore
  /**
   * Stores `creds` as they are now. Baileys sends its next frame right after it asks for this, so a store that can
   * should have written before it returns: then a pairing is kept before WhatsApp hears that we took it.
   */
  saveCreds(): Promise<void>
  /** Replaces credentials that never became a pairing (an abandoned pairing code leaves some that cannot log in). */
  renewUnpaired(): Promise<void>
  /** Resolves once everything asked for so far is stored. */
  flush(): Promise<void>
  /** Removes everything and closes: the phone has unlinked this device. */
  wipe(): Promise<void>
  close(): Promise<void>
}

/** `me` alone proves nothing: asking for a pairing code sets it. The signed account comes with the pairing. */
export function isPaired(creds: AuthenticationCreds): boolean {
  return creds.me !== undefined && creds.account !== undefined
}
