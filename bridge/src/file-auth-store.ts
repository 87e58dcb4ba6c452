/**
 * Credentials in encrypted files: one folder a chip, `creds.sealed` (replaced as a whole) and `keys.journal`.
 *
 * The key of each chip is derived from the bridge's state key, so files of one chip do not open as another's. Proxy
 * URLs are never written: the backend keeps them and gives them with every start.
 */

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { BufferJSON, initAuthCreds, proto } from 'baileys'
import type { AuthenticationCreds, SignalDataSet, SignalDataTypeMap, SignalKeyStore } from 'baileys'

import { AuthStoreError, isPaired, type AuthStore, type ChipAuth } from './auth-store.ts'
import { DataLock } from './data-lock.ts'
import { replaceFileSync, syncFolder } from './durable-file.ts'
import { KeyJournal, type Batch } from './key-journal.ts'
import { deriveKey, seal, unseal } from './sealed-box.ts'

const OWNER_ONLY_FOLDER = 0o700
const CREDS_FILE = 'creds.sealed'
const KEYS_FILE = 'keys.journal'
const CREDS_PLACE = 'creds'
const TRASH = 'trash-'

type Place = { folder: string; key: Buffer; forget: () => Promise<void> }

export class FileAuthStore implements AuthStore {
  readonly #root: string
  readonly #stateKey: string
  readonly #lock: DataLock

  private constructor(root: string, stateKey: string, lock: DataLock) {
    this.#root = root
    this.#stateKey = stateKey
    this.#lock = lock
  }

  /** Takes the folder for this process alone. Throws DataLockTaken. */
  static async open(root: string, stateKey: string): Promise<FileAuthStore> {
    mkdirSync(root, { recursive: true, mode: OWNER_ONLY_FOLDER })
    const store = new FileAuthStore(root, stateKey, DataLock.take(join(root, 'bridge.lock')))
    await store.#emptyTrash()
    return store
  }

  async open(chipId: string): Promise<ChipAuth> {
    const place: Place = {
      folder: join(this.#root, chipId),
      key: deriveKey(this.#stateKey, `whago-bridge/auth-state/v1/${chipId}`),
      forget: () => this.forget(chipId),
    }
    const stored = readCreds(join(place.folder, CREDS_FILE), place.key)
    if (stored && isPaired(stored)) return FileChipAuth.load(place, stored)
    await this.forget(chipId) // what never became a pairing is worth nothing
    return FileChipAuth.fresh(place)
  }

  /** The rename is the moment at which it is gone: a crash leaves no half of a chip. */
  async forget(chipId: string): Promise<void> {
    const folder = join(this.#root, chipId)
    if (!existsSync(folder)) return
    const trash = join(this.#root, `${TRASH}${randomBytes(8).toString('hex')}`)
    renameSync(folder, trash)
    syncFolder(this.#root)
    await rm(trash, { recursive: true, force: true })
  }

  close(): Promise<void> {
    this.#lock.release()
    return Promise.resolve()
  }

  async #emptyTrash(): Promise<void> {
    for (const name of await readdir(this.#root)) {
      if (name.startsWith(TRASH)) await rm(join(this.#root, name), { recursive: true, force: true })
    }
  }
}

function readCreds(path: string, key: Buffer): AuthenticationCreds | null {
  try {
    const plain = unseal(key, readFileSync(path), CREDS_PLACE).toString()
    return JSON.parse(plain, BufferJSON.reviver) as AuthenticationCreds
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new AuthStoreError('auth_unreadable', error)
  }
}

class FileChipAuth implements ChipAuth {
  readonly keys: SignalKeyStore
  readonly #folder: string
  readonly #key: Buffer
  readonly #journal: KeyJournal
  readonly #forget: () => Promise<void>
  #creds: AuthenticationCreds
  #closed = false

  private constructor(place: Place, creds: AuthenticationCreds, journal: KeyJournal) {
    this.#folder = place.folder
    this.#key = place.key
    this.#forget = place.forget
    this.#creds = creds
    this.#journal = journal
    this.keys = { get: (type, ids) => this.#getKeys(type, ids), set: (values) => this.#setKeys(values) }
  }

  static async load(place: Place, stored: AuthenticationCreds): Promise<FileChipAuth> {
    return new FileChipAuth(place, stored, await KeyJournal.open(join(place.folder, KEYS_FILE), place.key))
  }

  static async fresh(place: Place): Promise<FileChipAuth> {
    mkdirSync(place.folder, { mode: OWNER_ONLY_FOLDER })
    const auth = await FileChipAuth.load(place, initAuthCreds())
    await auth.saveCreds()
    return auth
  }

  get creds(): AuthenticationCreds {
    return this.#creds
  }

  /** Durable when it returns, before the promise is even looked at: see ChipAuth. About 1 kB, a few times a login. */
  saveCreds(): Promise<void> {
    if (this.#closed) return Promise.reject(new AuthStoreError('auth_closed'))
    const plain = Buffer.from(JSON.stringify(this.#creds, BufferJSON.replacer))
    try {
      replaceFileSync(join(this.#folder, CREDS_FILE), seal(this.#key, plain, CREDS_PLACE))
      return Promise.resolve()
    } catch (error) {
      return Promise.reject(new AuthStoreError('auth_unwritable', error))
    }
  }

  async renewUnpaired(): Promise<void> {
    if (!this.#creds.me || isPaired(this.#creds)) return
    this.#creds = initAuthCreds()
    await this.saveCreds()
  }

  flush(): Promise<void> {
    return this.#journal.flush()
  }

  async wipe(): Promise<void> {
    await this.close()
    await this.#forget()
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#journal.close()
  }

  #getKeys<T extends keyof SignalDataTypeMap>(type: T, ids: string[]): { [id: string]: SignalDataTypeMap[T] } {
    const found: { [id: string]: SignalDataTypeMap[T] } = {}
    for (const id of ids) {
      const text = this.#journal.get(type, id)
      if (text !== undefined) found[id] = reviveKey(type, text)
    }
    return found
  }

  #setKeys(values: SignalDataSet): Promise<void> {
    const batch: Batch = {}
    for (const [type, entries] of Object.entries(values)) {
      batch[type] = Object.fromEntries(Object.entries(entries).map(([id, value]) => [id, writeKey(value)]))
    }
    return this.#journal.append(batch)
  }
}

function writeKey(value: unknown): string | null {
  return value === null || value === undefined ? null : JSON.stringify(value, BufferJSON.replacer)
}

function reviveKey<T extends keyof SignalDataTypeMap>(type: T, text: string): SignalDataTypeMap[T] {
  const value: unknown = JSON.parse(text, BufferJSON.reviver)
  if (type !== 'app-state-sync-key') return value as SignalDataTypeMap[T]
  return proto.Message.AppStateSyncKeyData.fromObject(value as object) as unknown as SignalDataTypeMap[T]
}
