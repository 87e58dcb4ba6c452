/**
 * Credentials in the backend's database, sealed with each chip's own key before they leave this process.
 *
 * To open a chip is to claim it: the backend gives it to one living bridge at a time, and refuses what an earlier one
 * still writes (its epoch is older).
 */

import { BufferJSON, initAuthCreds, proto } from 'baileys'
import type { AuthenticationCreds, SignalDataSet, SignalDataTypeMap, SignalKeyStore } from 'baileys'

import { AuthStoreError, isPaired, type AuthStore, type ChipAuth } from './auth-store.ts'
import { BackendAway, BackendRefused, type Backend } from './backend.ts'
import { ChipCipher } from './chip-cipher.ts'
import { HeldState } from './held-state.ts'
import { SealBroken } from './sealed-box.ts'

export type BackendAuthStoreOptions = {
  backend: Backend
  bridgeId: string
  /** Tells the backend at once that this process lives. Throws BackendAway. */
  beat: () => Promise<void>
  /** How long a write or a read may be repeated; the usual time when left out. */
  patienceMs?: number
}

type Claim = { epoch: number; last_event_no: number; state_key: string; creds: string | null }

export class BackendAuthStore implements AuthStore {
  readonly #options: BackendAuthStoreOptions

  constructor(options: BackendAuthStoreOptions) {
    this.#options = options
  }

  async open(chipId: string, onFailure: (error: AuthStoreError) => void): Promise<ChipAuth> {
    const claim = (await this.#asked(chipId, 'claim')) as Claim
    const { backend, bridgeId, patienceMs } = this.#options
    const hold = { chipId, bridgeId, epoch: claim.epoch }
    const state = new HeldState({ backend, hold, onFailure, ...(patienceMs === undefined ? {} : { patienceMs }) })
    const cipher = new ChipCipher(claim.state_key, chipId)
    try {
      return new HeldChipAuth(claim, readCreds(claim.creds, cipher), cipher, state)
    } catch (error) {
      await state.release(false).catch(() => undefined) // nobody else can read it either, but somebody may delete it
      throw error
    }
  }

  async forget(chipId: string): Promise<void> {
    await this.#asked(chipId, 'forget')
  }

  async close(): Promise<void> {
    await this.#options.backend.post('/bye', { bridge_id: this.#options.bridgeId })
  }

  /** A backend that lost sight of us (it was away, or its tables are new) is told that we live, and asked again. */
  async #asked(chipId: string, what: string): Promise<unknown> {
    try {
      return await this.#ask(chipId, what)
    } catch (error) {
      if (!(error instanceof BackendRefused && error.code === 'bridge_unknown')) throw asAuthError(error)
    }
    try {
      await this.#options.beat()
      return await this.#ask(chipId, what)
    } catch (error) {
      throw asAuthError(error)
    }
  }

  #ask(chipId: string, what: string): Promise<unknown> {
    return this.#options.backend.post(`/chips/${chipId}/${what}`, { bridge_id: this.#options.bridgeId })
  }
}

function asAuthError(error: unknown): Error {
  if (error instanceof BackendAway) return new AuthStoreError('backend_away', error)
  if (!(error instanceof BackendRefused)) return error as Error
  if (error.code === 'chip_held') return new AuthStoreError('chip_held', error)
  if (error.code === 'not_found') return new AuthStoreError('unknown_chip', error)
  return new AuthStoreError('backend_away', error)
}

function readCreds(box: string | null, cipher: ChipCipher): AuthenticationCreds {
  if (box === null) return initAuthCreds()
  try {
    return JSON.parse(cipher.openCreds(box), BufferJSON.reviver) as AuthenticationCreds
  } catch (error) {
    throw error instanceof SealBroken ? new AuthStoreError('auth_unreadable', error) : error
  }
}

class HeldChipAuth implements ChipAuth {
  readonly keys: SignalKeyStore
  readonly epoch: number
  readonly lastEventNo: number
  readonly #cipher: ChipCipher
  readonly #state: HeldState
  #creds: AuthenticationCreds

  constructor(claim: Claim, creds: AuthenticationCreds, cipher: ChipCipher, state: HeldState) {
    this.epoch = claim.epoch
    this.lastEventNo = claim.last_event_no
    this.#creds = creds
    this.#cipher = cipher
    this.#state = state
    this.keys = {
      get: (type, ids) => this.#getKeys(type, ids),
      set: (values) => this.#setKeys(values),
      clear: () => this.#state.put({ clear: true }),
    }
  }

  get creds(): AuthenticationCreds {
    return this.#creds
  }

  saveCreds(): Promise<void> {
    if (!isPaired(this.#creds)) return Promise.resolve()
    return this.#state.put({ creds: this.#cipher.sealCreds(JSON.stringify(this.#creds, BufferJSON.replacer)) })
  }

  renewUnpaired(): void {
    if (this.#creds.me && !isPaired(this.#creds)) this.#creds = initAuthCreds()
  }

  settled(): Promise<void> | null {
    return this.#state.settled()
  }

  wipe(): Promise<void> {
    return this.#state.release(true)
  }

  close(): Promise<void> {
    return this.#state.release(false)
  }

  abandon(): void {
    this.#state.end(new AuthStoreError('auth_closed'))
  }

  async #getKeys<T extends keyof SignalDataTypeMap>(type: T, ids: string[]): Promise<{ [id: string]: SignalDataTypeMap[T] }> {
    const names = ids.map((id) => this.#cipher.nameOf(type, id))
    const boxes = await this.#state.get(names)
    const found: { [id: string]: SignalDataTypeMap[T] } = {}
    for (const [index, id] of ids.entries()) {
      const box = boxes.get(names[index] ?? '')
      if (box !== undefined) found[id] = reviveKey(type, this.#cipher.openKey(type, id, box))
    }
    return found
  }

  #setKeys(values: SignalDataSet): Promise<void> {
    const keys = new Map<string, string | null>()
    for (const [type, entries] of Object.entries(values)) {
      for (const [id, value] of Object.entries(entries)) keys.set(this.#cipher.nameOf(type, id), this.#sealedKey(type, id, value))
    }
    return this.#state.put({ keys })
  }

  #sealedKey(type: string, id: string, value: unknown): string | null {
    if (value === null || value === undefined) return null
    return this.#cipher.sealKey(type, id, JSON.stringify(value, BufferJSON.replacer))
  }
}

function reviveKey<T extends keyof SignalDataTypeMap>(type: T, text: string): SignalDataTypeMap[T] {
  const value: unknown = JSON.parse(text, BufferJSON.reviver)
  if (type !== 'app-state-sync-key') return value as SignalDataTypeMap[T]
  return proto.Message.AppStateSyncKeyData.fromObject(value as object) as unknown as SignalDataTypeMap[T]
}
