/** Credentials in the backend: sealed, in one transaction a step, and never ahead of what is stored. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { Curve, initAuthCreds, type AuthenticationCreds } from 'baileys'

import { AuthStoreError, type ChipAuth } from '../src/auth-store.ts'
import { BackendAuthStore } from '../src/backend-auth-store.ts'
import { Backend } from '../src/backend.ts'
import { StandInBackend } from './stand-in/backend.ts'
import { SECRET, until } from './kit.ts'

/** Short, so that a test need not wait for the real patience. */
const PATIENCE_MS = 800

describe('the auth store', () => {
  let backend: StandInBackend
  let client: Backend
  let store: BackendAuthStore
  let failures: AuthStoreError[]
  const chipId = randomUUID()
  const kept = () => backend.state.chips.get(chipId)!
  const open = (from = store) => from.open(chipId, (error) => failures.push(error))

  beforeEach(async () => {
    backend = new StandInBackend(SECRET)
    await backend.listen()
    client = new Backend(backend.url, SECRET)
    store = storeOf('one')
    failures = []
  })
  afterEach(async () => {
    await client.close()
    await backend.close()
  })

  function storeOf(bridgeId: string, patienceMs = PATIENCE_MS): BackendAuthStore {
    const beat = async (): Promise<void> => {
      await client.post('/beat', { bridge_id: bridgeId })
    }
    return new BackendAuthStore({ backend: client, bridgeId, beat, patienceMs })
  }

  /** A chip that was paired, with one pre-key. */
  async function paired(): Promise<ChipAuth> {
    const auth = await open()
    pair(auth.creds)
    await auth.saveCreds()
    await auth.keys.set({ 'pre-key': { 1: Curve.generateKeyPair() } })
    return auth
  }

  function pair(creds: AuthenticationCreds): void {
    creds.me = { id: '5511987654321:7@s.whatsapp.net' }
    creds.account = { details: Buffer.from('signed') }
  }

  async function reopen(auth: ChipAuth): Promise<ChipAuth> {
    await auth.close()
    return open()
  }

  it('gives back what it was given, byte for byte', async () => {
    const keys = Curve.generateKeyPair()
    const first = await paired()
    await first.keys.set({ 'pre-key': { 2: keys }, session: { 'a.1': Buffer.from([1, 2, 3]) }, 'lid-mapping': { x: 'y' } })
    await first.keys.set({ 'app-state-sync-key': { k: { keyData: Buffer.from('k') } } })
    const second = await reopen(first)
    assert.equal(second.creds.me?.id, '5511987654321:7@s.whatsapp.net')
    assert.deepEqual(second.creds.noiseKey, first.creds.noiseKey)
    assert.deepEqual((await second.keys.get('pre-key', ['2', '3']))['2'], keys)
    assert.deepEqual((await second.keys.get('session', ['a.1']))['a.1'], Buffer.from([1, 2, 3]))
    assert.equal((await second.keys.get('lid-mapping', ['x']))['x'], 'y')
    assert.deepEqual((await second.keys.get('app-state-sync-key', ['k']))['k']!.keyData, Buffer.from('k'))
  })

  it('removes a key that is set to null, and all of them when asked, but not the credentials', async () => {
    const auth = await paired()
    await auth.keys.set({ 'pre-key': { 1: null, 2: Curve.generateKeyPair() } })
    assert.deepEqual(Object.keys(await auth.keys.get('pre-key', ['1', '2'])), ['2'])
    await auth.keys.clear!()
    assert.deepEqual(await auth.keys.get('pre-key', ['2']), {})
    const after = await reopen(auth)
    assert.deepEqual(await after.keys.get('pre-key', ['1', '2']), {})
    assert.equal(after.creds.me?.id, '5511987654321:7@s.whatsapp.net')
  })

  it('stores one set of keys in one transaction, and what is asked for in one breath too', async () => {
    const auth = await paired()
    backend.state.writes.length = 0
    await auth.keys.set({ 'pre-key': Object.fromEntries(Array.from({ length: 812 }, (_, n) => [n, Curve.generateKeyPair()])) })
    const set = async (id: string): Promise<void> => auth.keys.set({ session: { [id]: Buffer.from(id) } })
    await Promise.all([auth.saveCreds(), set('a'), set('b')])
    assert.deepEqual(backend.state.writes, [812, 2])
  })

  it('answers with what is being written before it is stored, and keeps the order of many writes', async () => {
    const auth = await paired()
    let letGo: () => void = () => undefined
    backend.beforeState = () => new Promise((resolve) => (letGo = resolve))
    const set = async (n: number): Promise<void> => auth.keys.set({ session: { one: Buffer.from(String(n)) } })
    const writing = Promise.all(Array.from({ length: 20 }, (_, n) => set(n)))
    assert.equal(Buffer.from((await auth.keys.get('session', ['one']))['one']!).toString(), '19')
    backend.beforeState = () => Promise.resolve()
    await until(() => auth.settled() === null, () => {
      letGo()
      return 'the writes'
    })
    await writing
    const after = await reopen(auth)
    assert.equal(Buffer.from((await after.keys.get('session', ['one']))['one']!).toString(), '19')
  })

  it('stores nothing of a chip that never became a pairing', async () => {
    const auth = await open()
    auth.creds.me = { id: '5511987654321@s.whatsapp.net' }
    auth.creds.pairingCode = 'ABCDEFGH'
    await auth.saveCreds()
    assert.equal(kept().creds, null)
    auth.renewUnpaired()
    assert.equal(auth.creds.me, undefined)
  })

  it('sends nothing readable: no phone number, no name of a key', async () => {
    const auth = await paired()
    await auth.keys.set({ 'lid-mapping': { '5511987654321': 'plain-text-value' } })
    const { creds, keys } = kept()
    const stored = [Buffer.from(creds!, 'base64'), ...[...keys].flat().map((text) => Buffer.from(text, 'base64'))].map((box) => box.toString('latin1'))
    assert.equal(stored.length, 1 + 2 * 2)
    for (const word of ['5511987654321', 'plain-text-value', 'pre-key', 'noiseKey']) {
      assert.equal(stored.some((text) => text.includes(word)), false, word)
    }
  })

  it('does not open one value as another, nor another chip’s', async () => {
    const auth = await paired()
    await auth.keys.set({ session: { a: Buffer.from('a'), b: Buffer.from('b') } })
    const [, one, other] = [...kept().keys.keys()]
    kept().keys.set(one!, kept().keys.get(other!)!)
    const after = await reopen(auth)
    await assert.rejects(async () => after.keys.get('session', ['a']))
    await after.close()
    const stranger = randomUUID()
    await (await store.open(stranger, () => undefined)).close()
    Object.assign(backend.state.chips.get(stranger)!, { stateKey: kept().stateKey, creds: kept().creds })
    await assert.rejects(store.open(stranger, () => undefined), { code: 'auth_unreadable' })
  })

  it('refuses credentials that its key does not open, leaves them as they are and the chip free', async () => {
    await (await paired()).close()
    const before = kept().creds
    kept().stateKey = 'another key'
    await assert.rejects(open(), { code: 'auth_unreadable' })
    assert.deepEqual([kept().creds, kept().bridge], [before, null])
  })

  it('is one bridge’s at a time: who lost the chip writes and reads nothing more, and hears of it once', async () => {
    const auth = await paired()
    await assert.rejects(open(storeOf('two')), { code: 'chip_held' })
    await assert.rejects(storeOf('two').forget(chipId), { code: 'chip_held' })
    backend.state.steal(chipId)
    const before = kept().creds
    auth.creds.accountSyncCounter = 99
    await assert.rejects(auth.saveCreds(), { code: 'hold_lost' })
    await assert.rejects(async () => auth.keys.set({ session: { a: Buffer.from('a') } }), { code: 'hold_lost' })
    await assert.rejects(async () => auth.keys.get('pre-key', ['1']), { code: 'hold_lost' })
    assert.deepEqual(failures.map((error) => error.code), ['hold_lost'])
    assert.equal(kept().creds, before)
    await auth.close()
    assert.equal(kept().bridge, 'another', 'what is another’s is not given back')
  })

  it('repeats a write through a short absence of the backend', async () => {
    store = storeOf('one', 60_000) // what is short on a busy machine
    const auth = await paired()
    backend.away = true
    const writing = auth.keys.set({ session: { a: Buffer.from('kept') } })
    setTimeout(() => (backend.away = false), 120)
    await writing
    assert.equal(Buffer.from((await (await reopen(auth)).keys.get('session', ['a']))['a']!).toString(), 'kept')
    assert.deepEqual(failures, [])
  })

  it('says once that it failed when the backend stays away, and is then of no use', async () => {
    const auth = await paired()
    backend.away = true
    await assert.rejects(async () => auth.keys.set({ session: { a: Buffer.from('a') } }), { code: 'backend_away' })
    await assert.rejects(auth.saveCreds(), { code: 'backend_away' })
    assert.deepEqual(failures.map((error) => error.code), ['backend_away'])
    backend.away = false
    await auth.close()
    assert.equal(kept().bridge, null)
  })

  it('tells a backend that has lost sight of this bridge that it lives, and goes on', async () => {
    await (await paired()).close()
    backend.state.bridges.clear()
    assert.equal((await open()).creds.me?.id, '5511987654321:7@s.whatsapp.net')
  })

  it('forgets what it was told to forget, and gives all back at its end', async () => {
    const auth = await paired()
    await auth.wipe()
    assert.deepEqual([kept().creds, kept().keys.size, kept().bridge], [null, 0, null])
    await assert.rejects(auth.saveCreds(), { code: 'auth_closed' })
    const again = await open()
    assert.notDeepEqual(again.creds.noiseKey, auth.creds.noiseKey)
    await store.close()
    assert.equal(kept().bridge, null)
  })

  it('does not keep the keys of a login in memory, and reads many in one go', async () => {
    const auth = await paired()
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`s${n}`, Buffer.from(String(n))]))
    await auth.keys.set({ session: many })
    const reads: string[] = []
    backend.beforeState = (path) => {
      reads.push(path)
      return Promise.resolve()
    }
    const found = await auth.keys.get('session', Object.keys(many))
    assert.equal(Object.keys(found).length, 500)
    assert.equal(reads.length, 1)
  })

  it('starts afresh with credentials that were never used', async () => {
    const auth = await open()
    assert.deepEqual(Object.keys(auth.creds).sort(), Object.keys(initAuthCreds()).sort())
  })
})
