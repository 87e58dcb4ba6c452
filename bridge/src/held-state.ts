/**
 * What is stored of one chip that this process holds, by sealed name and value. Writes are in order, one request at a
 * time; what is asked for meanwhile goes together in the next one, which is one transaction.
 */

import { setTimeout as pause } from 'node:timers/promises'

import { AuthStoreError } from './auth-store.ts'
import { BackendAway, BackendRefused, type Backend } from './backend.ts'

/** Of all that is stored: the conversations of the moment. The 812 pre-keys of a login never come here. */
const CACHED_KEYS = 64
/** A restart of the backend takes three to five seconds. After twelve this process has lost its chips anyway. */
const PATIENCE_MS = 11_000
const FIRST_RETRY_MS = 100
const RETRY_CEILING_MS = 1_000
/** The backend reads no more names at once. */
const NAMES_AT_ONCE = 5_000

export type Hold = { chipId: string; bridgeId: string; epoch: number }
export type HeldStateOptions = { backend: Backend; hold: Hold; patienceMs?: number; onFailure: (error: AuthStoreError) => void }

/** Values by name, null for one to remove. */
type Keys = Map<string, string | null>
type Change = { creds: string | null; clear: boolean; keys: Keys }

export class HeldState {
  readonly #options: HeldStateOptions
  readonly #cache = new Map<string, string | null>()
  #waiting: Change | null = null
  #onItsWay: Change | null = null
  #writing: Promise<void> | null = null
  #changes = 0
  #error: AuthStoreError | null = null

  constructor(options: HeldStateOptions) {
    this.#options = options
  }

  /** Resolves when it is stored. Throws AuthStoreError. */
  put(change: Partial<Change>): Promise<void> {
    if (this.#error) return Promise.reject(this.#error)
    this.#changes += 1
    this.#waiting = merged(this.#waiting, change)
    this.#writing ??= this.#writeAll()
    return this.#writing
  }

  /** What is stored, or about to be, under these names. Throws AuthStoreError. */
  async get(names: string[]): Promise<Map<string, string>> {
    if (this.#error) throw this.#error
    const found = new Map<string, string>()
    const missing = names.filter((name) => !this.#look(name, found))
    for (let at = 0; at < missing.length; at += NAMES_AT_ONCE) {
      await this.#read(missing.slice(at, at + NAMES_AT_ONCE), found)
    }
    return found
  }

  settled(): Promise<void> | null {
    return this.#writing
  }

  /** Nothing is read or written from now on. */
  end(error: AuthStoreError): void {
    this.#error ??= error
    this.#cache.clear()
  }

  /** Tells the backend that the chip is free, after the last write. One that is taken from us is free of us anyway. */
  async release(wipe: boolean): Promise<void> {
    if (!wipe) await this.#writing?.catch(() => undefined)
    const lost = this.#error?.code === 'hold_lost'
    this.end(new AuthStoreError('auth_closed'))
    if (lost) return
    try {
      await this.#post('release', { wipe })
    } catch (error) {
      if ((error as AuthStoreError).code !== 'hold_lost') throw error
    }
  }

  /** Whether the newest word on this name is here; it is put into `found` unless it says that there is none. */
  #look(name: string, found: Map<string, string>): boolean {
    for (const change of [this.#waiting, this.#onItsWay]) {
      if (!change) continue
      const value = change.keys.get(name)
      if (value !== undefined || change.clear) return told(name, value ?? null, found)
    }
    const value = this.#cache.get(name)
    return value !== undefined && told(name, value, found)
  }

  async #read(names: string[], found: Map<string, string>): Promise<void> {
    const before = this.#changes
    const answer = (await this.#posted('read', { names })) as { keys: [name: string, value: string][] }
    for (const [name, value] of answer.keys) {
      found.set(name, value)
      if (before === this.#changes) this.#remember(name, value)
    }
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#waiting) {
        await Promise.resolve() // what is asked for in the same breath is stored in one transaction
        if (this.#error) throw this.#error
        const change = this.#waiting
        this.#onItsWay = change
        this.#waiting = null
        await this.#posted('write', { creds: change.creds, clear: change.clear, keys: [...change.keys] })
        this.#stored(change)
      }
    } finally {
      this.#onItsWay = null
      this.#writing = null
    }
  }

  #stored(change: Change): void {
    if (change.clear) this.#cache.clear()
    const few = change.keys.size <= CACHED_KEYS
    for (const [name, value] of change.keys) {
      if (few) this.#remember(name, value)
      else this.#cache.delete(name)
    }
  }

  #remember(name: string, value: string | null): void {
    this.#cache.delete(name)
    this.#cache.set(name, value)
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= CACHED_KEYS) break
      this.#cache.delete(oldest)
    }
  }

  /** As `#post`; a failure is this state's end, and is told. */
  async #posted(what: string, body: object): Promise<unknown> {
    try {
      return await this.#post(what, body)
    } catch (error) {
      const isFirst = this.#error === null
      this.end(error as AuthStoreError)
      if (isFirst) this.#options.onFailure(error as AuthStoreError)
      throw error
    }
  }

  /** Repeats what was not answered: every request of these can come twice. */
  async #post(what: string, body: object): Promise<unknown> {
    const { backend, hold, patienceMs } = this.#options
    const { chipId, bridgeId, epoch } = hold
    const deadline = Date.now() + (patienceMs ?? PATIENCE_MS)
    for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(2 * waitMs, RETRY_CEILING_MS)) {
      try {
        return await backend.post(`/chips/${chipId}/${what}`, { bridge_id: bridgeId, epoch, ...body })
      } catch (error) {
        if (error instanceof BackendRefused) throw new AuthStoreError(error.code === 'hold_lost' ? 'hold_lost' : 'backend_away', error)
        if (!(error instanceof BackendAway)) throw error
        if (this.#error && what !== 'release') throw this.#error
        if (Date.now() + waitMs > deadline) throw new AuthStoreError('backend_away', error)
        await pause(waitMs)
      }
    }
  }
}

function merged(before: Change | null, change: Partial<Change>): Change {
  const keys: Keys = (change.clear ? null : before?.keys) ?? new Map<string, string | null>()
  for (const [name, value] of change.keys ?? []) keys.set(name, value)
  return { creds: change.creds ?? before?.creds ?? null, clear: (change.clear ?? false) || (before?.clear ?? false), keys }
}

function told(name: string, value: string | null, found: Map<string, string>): true {
  if (value !== null) found.set(name, value)
  return true
}
