/**
 * The signal keys of one chip: in memory, and in one append-only file of sealed batches.
 *
 *     "WHAGOKJ1" | generation (16 random bytes) | records: length (u32, big endian) | sealed JSON of one batch
 *
 * Record 0 is a snapshot and comes by rename, so it is always whole: when it does not open, the key is wrong and nothing
 * is touched. A last record that a crash cut was never acknowledged and is dropped. Each record is sealed for its
 * generation and number, so none can be moved, repeated or taken out of the middle.
 */

import { randomBytes } from 'node:crypto'
import { open, readFile, type FileHandle } from 'node:fs/promises'

import { AuthStoreError } from './auth-store.ts'
import { replaceFileSync } from './durable-file.ts'
import { seal, SealBroken, unseal } from './sealed-box.ts'

/** One atomic step: values as JSON text, null to remove. */
export type Batch = Record<string, Record<string, string | null>>

const MAGIC = Buffer.from('WHAGOKJ1')
const GENERATION_BYTES = 16
const HEADER_BYTES = MAGIC.length + GENERATION_BYTES
const LENGTH_BYTES = 4
/** A first login's snapshot is 0.2 MB; below this a rewrite saves nothing. */
const COMPACT_FROM_BYTES = 1_000_000
/** Rewritten when it is this many times its live content, so that rewriting stays a small part of all writing. */
const COMPACT_AT_RATIO = 4

type Pending = { batch: Batch; done: () => void; failed: (error: AuthStoreError) => void }

export class KeyJournal {
  readonly #path: string
  readonly #key: Buffer
  readonly #values = new Map<string, Map<string, string>>()
  #file: FileHandle | null = null
  #generation = ''
  #records = 0
  #bytes = 0
  #snapshotBytes = 0
  #pending: Pending[] = []
  #writing: Promise<void> | null = null

  private constructor(path: string, key: Buffer) {
    this.#path = path
    this.#key = key
  }

  /** Reads the journal, or makes an empty one. Throws AuthStoreError. */
  static async open(path: string, key: Buffer): Promise<KeyJournal> {
    const journal = new KeyJournal(path, key)
    const content = await readFile(path).catch(absentAsNull)
    if (content) await journal.#load(content)
    else await journal.#rewrite()
    return journal
  }

  get(type: string, id: string): string | undefined {
    return this.#values.get(type)?.get(id)
  }

  /** Visible to `get` at once; resolves when it is durable. Batches that wait together are written together. */
  append(batch: Batch): Promise<void> {
    this.#apply(batch)
    return new Promise((done, failed) => {
      this.#pending.push({ batch, done, failed })
      this.#writing ??= this.#write()
    })
  }

  /** Resolves when everything appended so far is durable or has failed. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing
  }

  async close(): Promise<void> {
    await this.flush()
    await this.#file?.close()
    this.#file = null
  }

  async #load(content: Buffer): Promise<void> {
    if (!content.subarray(0, MAGIC.length).equals(MAGIC)) throw new AuthStoreError('auth_unreadable')
    this.#generation = content.subarray(MAGIC.length, HEADER_BYTES).toString('hex')
    const whole = this.#replay(content)
    this.#snapshotBytes = whole // counts as live until the next rewrite measures it
    this.#bytes = whole
    this.#file = await open(this.#path, 'r+')
    if (whole < content.length) await this.#file.truncate(whole)
  }

  /** Applies every whole record and answers where they end. */
  #replay(content: Buffer): number {
    let at = HEADER_BYTES
    while (at + LENGTH_BYTES <= content.length) {
      const end = at + LENGTH_BYTES + content.readUInt32BE(at)
      if (end > content.length) break
      const batch = this.#unsealRecord(content.subarray(at + LENGTH_BYTES, end), end === content.length)
      if (!batch) break
      this.#apply(batch)
      this.#records += 1
      at = end
    }
    if (this.#records === 0) throw new AuthStoreError('auth_unreadable')
    return at
  }

  /** Null for a last record that a crash left half-written; any other that does not open is damage. */
  #unsealRecord(box: Buffer, isLast: boolean): Batch | null {
    try {
      return JSON.parse(unseal(this.#key, box, this.#place(this.#records)).toString()) as Batch
    } catch (error) {
      if (!(error instanceof SealBroken)) throw error
      if (isLast && this.#records > 0) return null
      throw new AuthStoreError('auth_unreadable', error)
    }
  }

  #apply(batch: Batch): void {
    for (const [type, entries] of Object.entries(batch)) {
      const values = this.#values.get(type) ?? new Map<string, string>()
      this.#values.set(type, values)
      for (const [id, value] of Object.entries(entries)) {
        if (value === null) values.delete(id)
        else values.set(id, value)
      }
    }
  }

  async #write(): Promise<void> {
    while (this.#pending.length > 0) {
      const taken = this.#pending
      this.#pending = []
      try {
        await this.#store(taken)
        for (const pending of taken) pending.done()
      } catch (cause) {
        const error = new AuthStoreError('auth_unwritable', cause)
        for (const pending of taken) pending.failed(error)
      }
    }
    this.#writing = null
  }

  async #store(taken: Pending[]): Promise<void> {
    if (!this.#file) throw new AuthStoreError('auth_closed')
    const sealed = taken.map((pending, index) => this.#sealRecord(pending.batch, this.#records + index))
    const block = Buffer.concat(sealed)
    await this.#file.write(block, 0, block.length, this.#bytes) // at our own offset: over what a failed write left
    await this.#file.datasync()
    this.#bytes += block.length
    this.#records += taken.length
    if (this.#bytes > COMPACT_FROM_BYTES && this.#bytes > COMPACT_AT_RATIO * this.#snapshotBytes) await this.#rewrite()
  }

  /** A new generation with one snapshot record. The old file stays whole until the rename. */
  async #rewrite(): Promise<void> {
    const generation = randomBytes(GENERATION_BYTES)
    const before = { generation: this.#generation, file: this.#file }
    this.#generation = generation.toString('hex')
    try {
      const content = Buffer.concat([MAGIC, generation, this.#sealRecord(this.#snapshot(), 0)])
      replaceFileSync(this.#path, content)
      this.#file = await open(this.#path, 'r+')
      this.#bytes = this.#snapshotBytes = content.length
      this.#records = 1
    } catch (cause) {
      this.#generation = before.generation
      throw new AuthStoreError('auth_unwritable', cause)
    }
    await before.file?.close()
  }

  #snapshot(): Batch {
    return Object.fromEntries([...this.#values].map(([type, values]) => [type, Object.fromEntries(values)]))
  }

  #sealRecord(batch: Batch, number: number): Buffer {
    const box = seal(this.#key, Buffer.from(JSON.stringify(batch)), this.#place(number))
    const length = Buffer.alloc(LENGTH_BYTES)
    length.writeUInt32BE(box.length)
    return Buffer.concat([length, box])
  }

  #place(record: number): string {
    return `keys:${this.#generation}:${record}`
  }
}

function absentAsNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw new AuthStoreError('auth_unreadable', error)
}
