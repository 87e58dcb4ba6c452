/** Credentials on disk: encrypted, atomic, and never lost between two writes. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { appendFileSync, copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { Curve } from 'baileys'

import type { ChipAuth } from '../src/auth-store.ts'
import { DataLockTaken } from '../src/data-lock.ts'
import { FileAuthStore } from '../src/file-auth-store.ts'

const KEY = 'a-state-key-of-the-tests'

describe('the auth store', () => {
  let root: string
  let store: FileAuthStore
  const chipId = randomUUID()
  const journal = () => join(root, chipId, 'keys.journal')

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'whago-auth-'))
    store = await FileAuthStore.open(root, KEY)
  })
  afterEach(async () => {
    await store.close()
    rmSync(root, { recursive: true, force: true })
  })

  /** Makes a chip that was paired, with one pre-key. */
  async function paired(): Promise<ChipAuth> {
    const auth = await store.open(chipId)
    auth.creds.me = { id: '5511987654321:7@s.whatsapp.net' }
    auth.creds.account = { details: Buffer.from('signed') }
    await auth.saveCreds()
    await auth.keys.set({ 'pre-key': { 1: Curve.generateKeyPair() } })
    return auth
  }

  async function reopen(auth: ChipAuth): Promise<ChipAuth> {
    await auth.close()
    return store.open(chipId)
  }

  it('gives back what it was given, byte for byte', async () => {
    const pair = Curve.generateKeyPair()
    const first = await paired()
    await first.keys.set({ 'pre-key': { 2: pair }, session: { 'a.1': Buffer.from([1, 2, 3]) }, 'lid-mapping': { x: 'y' } })
    await first.keys.set({ 'app-state-sync-key': { k: { keyData: Buffer.from('k') } } })
    const second = await reopen(first)
    assert.equal(second.creds.me?.id, '5511987654321:7@s.whatsapp.net')
    assert.deepEqual(second.creds.noiseKey, first.creds.noiseKey)
    assert.deepEqual((await second.keys.get('pre-key', ['2', '3']))['2'], pair)
    assert.deepEqual((await second.keys.get('session', ['a.1']))['a.1'], Buffer.from([1, 2, 3]))
    assert.equal((await second.keys.get('lid-mapping', ['x']))['x'], 'y')
    assert.deepEqual((await second.keys.get('app-state-sync-key', ['k']))['k']!.keyData, Buffer.from('k'))
    await second.close()
  })

  it('removes a key that is set to null', async () => {
    const first = await paired()
    await first.keys.set({ 'pre-key': { 1: null } })
    const second = await reopen(first)
    assert.deepEqual(await second.keys.get('pre-key', ['1']), {})
    await second.close()
  })

  it('has the credentials on disk before saveCreds returns, not only when its promise is kept', async () => {
    const auth = await paired()
    const before = readFileSync(join(root, chipId, 'creds.sealed'))
    auth.creds.registered = true
    const saving = auth.saveCreds()
    assert.notDeepEqual(readFileSync(join(root, chipId, 'creds.sealed')), before)
    await saving
    await auth.close()
  })

  it('survives a crash at any byte of a write: the batch is whole or absent', async () => {
    const auth = await paired()
    const wholeBytes = statSync(journal()).size
    await auth.keys.set({ 'pre-key': { 2: Curve.generateKeyPair(), 3: Curve.generateKeyPair() } })
    const fullBytes = statSync(journal()).size
    await auth.close()
    const full = readFileSync(journal())
    for (let bytes = wholeBytes; bytes < fullBytes; bytes += 7) {
      writeFileSync(journal(), full.subarray(0, bytes))
      const after = await store.open(chipId)
      assert.deepEqual(Object.keys(await after.keys.get('pre-key', ['1', '2', '3'])), ['1'])
      await after.keys.set({ 'pre-key': { 4: Curve.generateKeyPair() } })
      const again = await reopen(after)
      assert.deepEqual(Object.keys(await again.keys.get('pre-key', ['1', '2', '3', '4'])), ['1', '4'])
      await again.close()
    }
  })

  it('drops a last record that was allocated and never filled', async () => {
    const auth = await paired()
    await auth.close()
    appendFileSync(journal(), Buffer.concat([Buffer.from([0, 0, 0, 64]), Buffer.alloc(64)]))
    const after = await store.open(chipId)
    assert.deepEqual(Object.keys(await after.keys.get('pre-key', ['1'])), ['1'])
    await after.close()
  })

  it('refuses a journal that is damaged in the middle, and leaves it as it is', async () => {
    const auth = await paired()
    await auth.keys.set({ 'pre-key': { 2: Curve.generateKeyPair() } })
    await auth.close()
    const damaged = readFileSync(journal())
    damaged[80]! ^= 0xff // inside record 1: the header takes 24 bytes, record 0 another 34
    writeFileSync(journal(), damaged)
    await assert.rejects(store.open(chipId), { code: 'auth_unreadable' })
    assert.deepEqual(readFileSync(journal()), damaged)
  })

  it('refuses another key without touching anything', async () => {
    await (await paired()).close()
    await store.close()
    const other = await FileAuthStore.open(root, 'some-other-state-key')
    await assert.rejects(other.open(chipId), { code: 'auth_unreadable' })
    await other.close()
    store = await FileAuthStore.open(root, KEY)
    const auth = await store.open(chipId)
    assert.equal(auth.creds.me?.id, '5511987654321:7@s.whatsapp.net')
    await auth.close()
  })

  it('does not open one chip’s files as another’s', async () => {
    await (await paired()).close()
    const other = randomUUID()
    await (await store.open(other)).close()
    for (const name of readdirSync(join(root, chipId))) copyFileSync(join(root, chipId, name), join(root, other, name))
    await assert.rejects(store.open(other), { code: 'auth_unreadable' })
  })

  it('writes nothing readable: no phone number, no key names', async () => {
    const auth = await paired()
    await auth.keys.set({ 'lid-mapping': { '5511987654321': 'plain-text-value' } })
    await auth.close()
    for (const name of readdirSync(join(root, chipId))) {
      const content = readFileSync(join(root, chipId, name)).toString('latin1')
      for (const word of ['5511987654321', 'plain-text-value', 'pre-key', 'noiseKey']) assert.equal(content.includes(word), false)
    }
  })

  it('keeps batches in order when many are set at once, and rewrites a journal that has grown', async () => {
    const auth = await paired()
    const value = Buffer.alloc(20_000, 1)
    const set = async (n: number) => auth.keys.set({ session: { one: Buffer.concat([value, Buffer.from(String(n))]) } })
    await Promise.all(Array.from({ length: 400 }, (_, n) => set(n)))
    assert.ok(statSync(journal()).size < 400 * 20_000, 'it was rewritten')
    const after = await reopen(auth)
    const stored = (await after.keys.get('session', ['one']))['one']!
    assert.equal(Buffer.from(stored).subarray(20_000).toString(), '399')
    assert.deepEqual(Object.keys(await after.keys.get('pre-key', ['1'])), ['1'])
    await after.close()
  })

  it('starts afresh from credentials that never became a pairing', async () => {
    const auth = await store.open(chipId)
    auth.creds.me = { id: '5511987654321@s.whatsapp.net' }
    auth.creds.pairingCode = 'ABCDEFGH'
    await auth.saveCreds()
    await auth.renewUnpaired()
    assert.equal(auth.creds.me, undefined)
    auth.creds.me = { id: '5511987654321@s.whatsapp.net' }
    await auth.saveCreds()
    const after = await reopen(auth)
    assert.equal(after.creds.me, undefined)
    await after.close()
  })

  it('wipes all or nothing, and finishes at the next start what a crash left', async () => {
    const auth = await paired()
    await auth.close()
    renameSync(join(root, chipId), join(root, 'trash-0123456789abcdef'))
    await store.close()
    store = await FileAuthStore.open(root, KEY)
    assert.equal(existsSync(join(root, 'trash-0123456789abcdef')), false)
  })

  it('takes no more writes once it is wiped', async () => {
    const auth = await paired()
    await auth.wipe()
    await assert.rejects(async () => auth.keys.set({ 'lid-mapping': { a: 'b' } }), { code: 'auth_unwritable' })
    await assert.rejects(auth.saveCreds(), { code: 'auth_closed' })
    assert.equal(existsSync(join(root, chipId)), false)
  })

  it('does not lose the record after a write that failed', async () => {
    const auth = await paired()
    await auth.close()
    truncateSync(journal(), statSync(journal()).size - 5)
    const after = await store.open(chipId)
    await after.keys.set({ 'lid-mapping': { a: 'b' } })
    const again = await reopen(after)
    assert.equal((await again.keys.get('lid-mapping', ['a']))['a'], 'b')
    await again.close()
  })

  it('belongs to one process: a second bridge on the same folder is refused, a dead one’s lock is not obeyed', async () => {
    writeFileSync(join(root, 'bridge.lock'), `1 ${readFileSync('/proc/1/stat', 'utf8').split(') ')[1]!.split(' ')[19]!}`)
    await assert.rejects(FileAuthStore.open(root, KEY), DataLockTaken)
    writeFileSync(join(root, 'bridge.lock'), '1 12345678901')
    await (await FileAuthStore.open(root, KEY)).close()
  })
})
