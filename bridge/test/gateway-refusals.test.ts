/** What the gateway says or fails to say, as state and reason of the chip. Baileys itself emits nothing for most. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, afterEach, before, describe, it } from 'node:test'

import { until, World } from './kit.ts'

const REFUSALS = [
  { status: 402, reason: 'quota_exhausted', state: 'proxy_blocked' },
  { status: 407, reason: 'bad_credential', state: 'proxy_blocked' },
  { status: 403, reason: 'host_not_allowed', state: 'backoff' },
  { status: 502, reason: 'upstream_refused', state: 'backoff' },
  { status: 503, reason: 'no_healthy_proxy', state: 'backoff' },
  { status: 504, reason: 'upstream_timeout', state: 'backoff' },
  { status: 429, reason: 'gateway_refused', state: 'backoff' },
] as const

describe('a gateway that', () => {
  let world: World
  before(async () => {
    world = await World.make({ connectMs: 4_000, loginMs: 4_000 })
  })
  afterEach(() => world.calm())
  after(() => world.close())

  for (const { status, reason, state } of REFUSALS) {
    it(`answers ${status} makes the chip ${state}`, async () => {
      world.gateway.mood = { kind: 'refuse', status }
      const chipId = await world.create()
      await world.becomes(chipId, state)
      assert.deepEqual(world.view(chipId).last_error, { layer: 'proxy', code: status, reason })
      assert.equal(world.view(chipId).next_retry_at !== null, state === 'backoff')
    })
  }

  it('says why has its own word passed on', async () => {
    world.gateway.mood = { kind: 'refuse', status: 503, reason: 'chip_waiting_proxy' }
    const chipId = await world.create()
    await world.becomes(chipId, 'backoff')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'proxy', code: 503, reason: 'chip_waiting_proxy' })
  })

  it('says why in a way that is no code is not quoted', async () => {
    world.gateway.mood = { kind: 'refuse', status: 503, reason: '<b>Ask your admin!</b>' }
    const chipId = await world.create()
    await world.becomes(chipId, 'backoff')
    assert.equal(world.view(chipId).last_error?.reason, 'no_healthy_proxy')
  })

  it('blocked a chip for its quota hears nothing more from it until it is told to go on', async () => {
    world.gateway.mood = { kind: 'refuse', status: 402, reason: 'quota_exhausted' }
    const chipId = await world.create()
    await world.becomes(chipId, 'proxy_blocked')
    const connects = world.gateway.connects.length
    world.gateway.mood = { kind: 'tunnel' }
    await new Promise((resolve) => setTimeout(resolve, 1_500)) // longer than the first retry of a backoff
    assert.equal(world.gateway.connects.length, connects)
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'qr')
  })

  it('cuts an open chip for its quota makes it proxy_blocked, and it opens again without pairing', async () => {
    const chipId = await world.createOpen()
    world.gateway.mood = { kind: 'refuse', status: 402, reason: 'quota_exhausted' }
    for (const tunnel of world.gateway.tunnels) tunnel.destroy()
    await world.becomes(chipId, 'proxy_blocked')
    world.gateway.mood = { kind: 'tunnel' }
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'open')
  })

  it('hangs is given up on by the watchdog, and its socket is freed', async () => {
    world.gateway.mood = { kind: 'hang' }
    const chipId = await world.create()
    await world.becomes(chipId, 'backoff')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'proxy', code: 504, reason: 'connect_timeout' })
    world.gateway.mood = { kind: 'tunnel' }
    await world.becomes(chipId, 'qr')
  })

  it('closes early is not mistaken for a bad session', async () => {
    world.gateway.mood = { kind: 'close' }
    const chipId = await world.create()
    await world.becomes(chipId, 'backoff')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'proxy', code: 502, reason: 'gateway_closed_early' })
  })

  it('answers garbage is the proxy layer’s fault', async () => {
    world.gateway.mood = { kind: 'garbage' }
    const chipId = await world.create()
    await world.becomes(chipId, 'backoff')
    assert.equal(world.view(chipId).last_error?.layer, 'proxy')
  })

  it('is down makes the chip wait, and it connects when the gateway is back', async () => {
    const { port } = world.gateway
    const start = world.startOf()
    await world.gateway.close()
    const chipId = randomUUID()
    await world.roster.create(chipId, start)
    await world.becomes(chipId, 'backoff')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'proxy', code: 'ECONNREFUSED', reason: 'gateway_unreachable' })
    await world.gateway.listen(port)
    await world.becomes(chipId, 'qr')
  })

  it('hangs does not keep a stop waiting', async () => {
    world.gateway.mood = { kind: 'hang' }
    const chipId = await world.create()
    await until(() => world.gateway.connects.length > 0, () => 'the CONNECT')
    await world.roster.get(chipId)!.stop()
    assert.equal(world.view(chipId).state, 'stopped')
  })
})
