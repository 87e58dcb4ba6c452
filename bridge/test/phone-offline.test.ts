/** A linked device whose phone is silent: connected, and its owner has to be told. */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { initAuthCreds, type BinaryNode } from 'baileys'

import { PhoneWatch } from '../src/phone-watch.ts'
import { until, World } from './kit.ts'

describe('a chip whose phone is silent', () => {
  let world: World
  before(async () => {
    world = await World.make({ phone: { firstWordMs: 50, silentMs: 50, lookEveryMs: 50 } })
  })
  after(() => world.close())

  it('stays open and says so, until the phone is heard again', async () => {
    const chipId = await world.createOpen()
    await until(() => world.view(chipId).last_error?.reason === 'phone_offline', () => 'the silence of the phone')
    assert.equal(world.view(chipId).state, 'open')
    const client = [...world.edge.clients].at(-1)!
    const saying = setInterval(() => client.sayFromPhone(), 10)
    await until(() => world.view(chipId).last_error === null, () => 'the phone’s return').finally(() => clearInterval(saying))
    assert.ok(world.view(chipId).phone_seen_at)
    await until(() => world.backend.kinds(chipId).filter((kind) => kind === 'open').length >= 3, () => 'the events')
    assert.equal(world.view(chipId).state, 'open')
  })
})

describe('what is heard of a phone', () => {
  const creds = initAuthCreds()
  creds.me = { id: '5511900000000:7@s.whatsapp.net', lid: '95511900000000:7@lid' }
  const limits = { firstWordMs: 60_000, silentMs: 60_000, lookEveryMs: 60_000 }
  const heard = (node: BinaryNode): boolean => {
    let saved = false
    delete creds.additionalData
    const watch = new PhoneWatch({ creds, limits, save: () => (saved = true), onOffline: () => undefined })
    watch.saw(node)
    watch.close()
    return saved
  }
  const of = (tag: string, attrs: Record<string, string>): BinaryNode => ({ tag, attrs })

  for (const [from, what] of [
    ['5511900000000@s.whatsapp.net', 'a message of the phone'],
    ['5511900000000:0@s.whatsapp.net', 'its device 0 by name'],
    ['95511900000000@lid', 'the phone by its LID'],
  ] as const) it(`is ${what}`, () => assert.equal(heard(of('message', { from })), true))

  it('is its part in a group', () => assert.equal(heard(of('receipt', { from: '1203@g.us', participant: '5511900000000@s.whatsapp.net' })), true))

  for (const [attrs, what] of [
    [{ from: '5511900000000:12@s.whatsapp.net' }, 'another linked device'],
    [{ from: '5511911111111@s.whatsapp.net' }, 'somebody else'],
    [{ from: '5511900000000@lid' }, 'a LID that happens to look like the number'],
    [{}, 'nobody'],
  ] as const) it(`is not ${what}`, () => assert.equal(heard(of('message', attrs)), false))

  it('is not a notification of the server', () => assert.equal(heard(of('notification', { from: '5511900000000@s.whatsapp.net' })), false))
})
