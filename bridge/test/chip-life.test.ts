/** The life of a chip: real Baileys against the stand-in of WhatsApp's edge, through a counting gateway. */

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'

import { PHONE, until, withoutRepeats, World } from './kit.ts'

describe('a chip', () => {
  let world: World
  before(async () => {
    world = await World.make()
  })
  afterEach(() => world.calm())
  after(() => world.close())

  const lastClient = () => [...world.edge.clients].at(-1)!
  const kept = (chipId: string) => world.backend.state.chips.get(chipId)!

  it('shows a QR code, is scanned, restarts and opens', async () => {
    const chipId = await world.create()
    await world.becomes(chipId, 'qr')
    const pairing = world.roster.get(chipId)!.pairing!
    assert.match(pairing.qr!, /^https:\/\/wa\.me\/settings\/linked_devices#2@reference-0,/)
    assert.ok(Date.parse(pairing.expires_at) > Date.now())

    world.scan(chipId)
    await world.becomes(chipId, 'open')
    assert.equal(world.view(chipId).phone_number, PHONE)
    assert.equal(world.view(chipId).last_error, null)
    assert.equal(world.roster.get(chipId)!.pairing, null)
    await until(() => world.backend.kinds(chipId).at(-1) === 'open', () => 'the events')
    assert.deepEqual(withoutRepeats(world.backend.kinds(chipId)), ['connecting', 'qr', 'connecting', 'open'])
    assert.deepEqual(world.backend.forged, [])
  })

  it('goes to WhatsApp only by CONNECT with its own credential', async () => {
    const seen = world.gateway.connects.length
    const chipId = await world.create({ proxyUrl: world.gateway.proxyUrl('chip-7', 'p%40ss') })
    await world.becomes(chipId, 'qr')
    const connects = world.gateway.connects.slice(seen)
    assert.deepEqual(connects.map(({ target, credential }) => [target, credential]), [['web.whatsapp.com:443', 'chip-7:p@ss']])
  })

  it('gets a pairing code for a phone number, and a fresh start when the code was not used', async () => {
    const chipId = await world.create({ pairing: 'code', phone: PHONE })
    await world.becomes(chipId, 'qr')
    assert.match(world.roster.get(chipId)!.pairing!.pairing_code!, /^[A-Z0-9]{8}$/)
    const registrations = world.edge.logins.length
    lastClient().drop()
    await world.becomes(chipId, 'backoff')
    await world.becomes(chipId, 'qr')
    assert.equal(world.edge.logins.length, registrations, 'it registered again instead of logging in with half a pairing')
  })

  it('makes a pairing code on request while a QR code is shown, and at no other time', async () => {
    const chipId = await world.create()
    await assert.rejects(world.roster.get(chipId)!.requestPairingCode(PHONE), { code: 'not_pairing' })
    await world.becomes(chipId, 'qr')
    const pairing = await world.roster.get(chipId)!.requestPairingCode(PHONE)
    assert.match(pairing.pairing_code!, /^[A-Z0-9]{8}$/)
    assert.ok(world.edge.heard.includes('iq:md:link_code_companion_reg'))
  })

  it('keeps its pairing over a restart of the bridge', async () => {
    const chipId = await world.createOpen()
    await world.stop()
    await world.start()
    const logins = world.edge.logins.length
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'open')
    assert.deepEqual(world.edge.logins.slice(logins), [PHONE])
    assert.equal(world.view(chipId).phone_number, PHONE)
  })

  it('comes back by itself after its connection was cut', async () => {
    const chipId = await world.createOpen()
    lastClient().drop()
    await world.becomes(chipId, 'backoff')
    const { last_error: error, next_retry_at: retryAt } = world.view(chipId)
    assert.deepEqual(error, { layer: 'proxy', code: 428, reason: 'tunnel_closed' })
    assert.ok(Date.parse(retryAt!) > Date.now())
    await world.becomes(chipId, 'open')
  })

  it('does not come back when another process took it over', async () => {
    const chipId = await world.createOpen()
    lastClient().sendStreamError(440, 'conflict')
    await world.becomes(chipId, 'replaced')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'wa', code: 440, reason: 'replaced' })
    assert.ok(kept(chipId).creds, 'the credentials stay')
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'open')
  })

  it('wipes its credentials when the phone unlinked it, and only then', async () => {
    const chipId = await world.createOpen()
    world.edge.loginAnswer = { kind: 'failure', reason: 401 }
    lastClient().drop()
    await world.becomes(chipId, 'logged_out')
    await until(() => kept(chipId).creds === null, () => 'the wiping')
    assert.equal(kept(chipId).keys.size, 0)
    assert.equal(world.view(chipId).phone_number, null)
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'qr')
  })

  it('stops, keeps its credentials and says so when WhatsApp forbids it', async () => {
    const chipId = await world.createOpen()
    world.edge.loginAnswer = { kind: 'failure', reason: 403 }
    lastClient().drop()
    await world.becomes(chipId, 'stopped')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'wa', code: 403, reason: 'forbidden' })
    assert.ok(kept(chipId).creds)
  })

  it('gives up on a login that WhatsApp does not answer, and tries again', async () => {
    const chipId = await world.createOpen()
    const { loginMs } = world.limits
    world.edge.loginAnswer = { kind: 'mute' }
    world.limits.loginMs = 2_000
    lastClient().drop()
    await until(() => world.view(chipId).last_error?.reason === 'login_timeout', () => 'the watchdog')
    world.limits.loginMs = loginMs
    world.edge.loginAnswer = { kind: 'open' }
    await world.becomes(chipId, 'open')
  })

  it('stops rather than start over when its credentials cannot be read', async () => {
    const chipId = await world.createOpen()
    await world.roster.get(chipId)!.stop()
    const damaged = Buffer.from(kept(chipId).creds!, 'base64').fill(0, 20, 30).toString('base64')
    kept(chipId).creds = damaged
    await world.roster.create(chipId, world.startOf())
    assert.equal(world.view(chipId).state, 'stopped')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'bridge', code: 'auth_unreadable', reason: 'auth_unreadable' })
    assert.equal(kept(chipId).creds, damaged)
  })

  it('does not stay open on credentials that cannot be stored', async () => {
    const chipId = await world.createOpen()
    world.backend.stateAway = true
    lastClient().drop()
    await until(() => world.view(chipId).last_error?.code === 'backend_away', () => 'the failed write')
    assert.equal(world.view(chipId).last_error?.reason, 'backend_unreachable')
    world.backend.stateAway = false
    await world.becomes(chipId, 'open')
  })

  it('confirms a pairing to WhatsApp only after it is stored', async () => {
    const chipId = await world.create()
    await world.becomes(chipId, 'qr')
    let confirmedBefore: boolean | null = null
    let letGo: () => void = () => undefined
    world.backend.beforeState = async (path) => {
      if (!path.endsWith('/write') || confirmedBefore !== null) return
      await new Promise<void>((resolve) => (letGo = resolve))
      confirmedBefore = world.edge.heard.slice(heard).includes('iq:-:pair-device-sign')
    }
    const heard = world.edge.heard.length
    world.scan(chipId)
    await new Promise((resolve) => setTimeout(resolve, 300)) // time for the confirmation to overtake, if it could
    letGo()
    await world.becomes(chipId, 'open')
    assert.equal(confirmedBefore, false)
    assert.ok(world.edge.heard.slice(heard).includes('iq:-:pair-device-sign'), 'it was confirmed at all')
  })

  it('never confirms a pairing that could not be stored', async () => {
    const chipId = await world.create()
    await world.becomes(chipId, 'qr')
    const heard = world.edge.heard.length
    world.backend.stateAway = true
    world.scan(chipId)
    await world.becomes(chipId, 'backoff')
    assert.equal(world.edge.heard.slice(heard).includes('iq:-:pair-device-sign'), false)
    world.backend.stateAway = false
    await world.becomes(chipId, 'qr')
  })

  it('closes when the backend has not heard of this bridge for too long, and opens again when it has', async () => {
    const chipId = await world.createOpen()
    world.roster.lapse()
    await world.becomes(chipId, 'backoff')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'bridge', code: 'hold_lapsed', reason: 'backend_unreachable' })
    await until(() => world.edge.clients.size === 0, () => 'the end of the connection')
    const epoch = kept(chipId).epoch
    world.roster.retryNow()
    await world.becomes(chipId, 'open')
    assert.equal(kept(chipId).epoch, epoch + 1, 'it asked for the chip again before it dialled')
  })

  it('ends in silence when another bridge has taken it', async () => {
    const chipId = await world.createOpen()
    await until(() => world.backend.kinds(chipId).at(-1) === 'open', () => 'the event')
    world.backend.state.steal(chipId)
    lastClient().drop()
    await world.becomes(chipId, 'stopped')
    assert.equal(world.view(chipId).last_error?.reason, 'runs_elsewhere')
    await until(() => world.edge.clients.size === 0, () => 'the end of the connection')
    assert.equal(world.backend.kinds(chipId).includes('closed'), false)
    kept(chipId).bridge = null
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'open')
  })

  it('tells when the edge refuses the websocket', async () => {
    world.edge.upgradeStatus = 429
    const chipId = await world.create()
    await world.becomes(chipId, 'backoff')
    assert.deepEqual(world.view(chipId).last_error, { layer: 'wa', code: 429, reason: 'upgrade_refused' })
  })

  it('stops without unlinking and starts again without pairing', async () => {
    const chipId = await world.createOpen()
    const heard = world.edge.heard.length
    await world.roster.get(chipId)!.stop()
    assert.equal(world.view(chipId).state, 'stopped')
    assert.equal(world.edge.heard.slice(heard).some((iq) => iq.includes('remove-companion-device')), false)
    await world.roster.create(chipId, world.startOf())
    await world.becomes(chipId, 'open')
  })

  it('unlinks the phone when it is removed with logout, and leaves nothing behind', async () => {
    const chipId = await world.createOpen()
    assert.equal(await world.roster.remove(chipId, true), true)
    await until(() => world.edge.heard.includes('iq:md:remove-companion-device'), () => 'the logout')
    assert.equal(world.roster.get(chipId), undefined)
    assert.equal(kept(chipId).creds, null)
  })

  it('cannot unlink when it is not connected, and says so', async () => {
    const chipId = await world.createOpen()
    await world.roster.get(chipId)!.stop()
    assert.equal(await world.roster.remove(chipId, true), false)
    assert.equal(world.backend.state.chips.has(chipId), false)
  })

  it('is created once, however often it is asked for', async () => {
    const chipId = await world.create()
    const seen = world.gateway.connects.length
    await Promise.all(Array.from({ length: 5 }, () => world.roster.create(chipId, world.startOf())))
    await world.becomes(chipId, 'qr')
    assert.ok(world.gateway.connects.length - seen <= 1)
    await assert.rejects(world.roster.create(chipId, world.startOf({ proxyUrl: world.gateway.proxyUrl('other') })), { code: 'other_proxy' })
  })

  it('changes its way at once when it is given another credential', async () => {
    const chipId = await world.createOpen()
    await world.roster.get(chipId)!.useProxy(world.gateway.proxyUrl('rotated'))
    await world.becomes(chipId, 'open')
    assert.equal(world.gateway.connects.at(-1)!.credential, 'rotated:sesame')
    await world.roster.get(chipId)!.stop()
    await assert.rejects(world.roster.get(chipId)!.useProxy(world.gateway.proxyUrl()), { code: 'not_running' })
  })
})
