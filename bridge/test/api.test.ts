/** The HTTP API, over HTTP. */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'

import { makeApi, type ApiParts } from '../src/api.ts'
import type { ChipView, Pairing } from '../src/chip-view.ts'
import { makeLog } from '../src/log.ts'
import { PHONE, SECRET, World } from './kit.ts'

type Answer = { status: number; body: Record<string, unknown>; text: string }

describe('the API', () => {
  let world: World
  let server: Server
  let base: string
  let parts: ApiParts
  before(async () => {
    world = await World.make()
    const [host, port] = world.gateway.host.split(':')
    const gateway = { host: host!, port: Number(port) }
    parts = {
      roster: world.roster, metrics: world.metrics, log: makeLog('error'), secret: SECRET, gateway, bootId: 'boot-1', startedAt: new Date(),
      isHeard: () => world.heartbeat.fresh,
    }
    server = makeApi(parts)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(() => world.calm())
  after(async () => {
    server.close()
    server.closeAllConnections()
    await world.close()
  })

  async function call(method: string, path: string, body?: unknown, secret: string | null = SECRET): Promise<Answer> {
    const headers = secret === null ? {} : { authorization: `Bearer ${secret}` }
    const payload = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
    const response = await fetch(base + path, { method, headers, ...payload })
    const text = await response.text()
    return { status: response.status, text, body: response.headers.get('content-type') === 'application/json' ? (JSON.parse(text) as Record<string, unknown>) : {} }
  }
  const codeOf = (answer: Answer) => (answer.body['error'] as { code: string } | undefined)?.code
  const messageOf = (answer: Answer) => (answer.body['error'] as { message: string }).message
  const order = (changes: object = {}) => ({ chip_id: randomUUID(), proxy_url: world.gateway.proxyUrl(), ...changes })

  it('creates with 202 and shows state and QR code, never a password', async () => {
    const body = order()
    const created = await call('POST', '/sessions/create', body)
    assert.equal(created.status, 202)
    assert.equal(created.body['chip_id'], body.chip_id)
    assert.equal(created.body['state'], 'connecting')
    await world.becomes(body.chip_id, 'qr')
    const shown = await call('GET', `/sessions/${body.chip_id}`)
    assert.deepEqual(Object.keys(shown.body), [
      'chip_id', 'state', 'since', 'phone_number', 'pairing', 'history', 'keep_alive_s', 'status_posts', 'attempt', 'last_error', 'next_retry_at', 'phone_seen_at',
    ])
    const qr = (await call('GET', `/sessions/${body.chip_id}/qr`)).body as Pairing
    assert.match(qr.qr!, /^https:\/\/wa\.me\//)
    const all = await call('GET', '/sessions')
    assert.deepEqual((all.body['items'] as ChipView[]).map((item) => item.chip_id), [body.chip_id])
    assert.equal(all.body['boot_id'], 'boot-1')
    for (const answer of [created, shown, all]) assert.equal(answer.text.includes('sesame'), false)
  })

  it('is idempotent, and answers 409 when the chip runs with another proxy', async () => {
    const body = order()
    assert.equal((await call('POST', '/sessions/create', body)).status, 202)
    assert.equal((await call('POST', '/sessions/create', body)).status, 202)
    const other = await call('POST', '/sessions/create', { ...body, proxy_url: world.gateway.proxyUrl('other') })
    assert.deepEqual([other.status, codeOf(other)], [409, 'other_proxy'])
    assert.equal((await call('POST', `/sessions/${body.chip_id}/proxy`, { proxy_url: world.gateway.proxyUrl('other') })).status, 202)
  })

  it('stops, and deletes for good', async () => {
    const { chip_id: chipId, ...rest } = order()
    await call('POST', '/sessions/create', { chip_id: chipId, ...rest })
    const stopped = await call('POST', `/sessions/${chipId}/stop`)
    assert.deepEqual([stopped.status, stopped.body['state']], [200, 'stopped'])
    assert.deepEqual((await call('DELETE', `/sessions/${chipId}?logout=true`)).body, { deleted: true, unlinked: false })
    assert.equal((await call('GET', `/sessions/${chipId}`)).status, 404)
    assert.equal((await call('DELETE', `/sessions/${chipId}`)).status, 200, 'deleting again is no error')
  })

  it('changes the thrift of a chip, which reconnects with it', async () => {
    const chipId = await world.createOpen()
    const seen = world.gateway.connects.length
    const same = await call('POST', `/sessions/${chipId}/thrift`, { history: 'none', keep_alive_s: 30, status_posts: false })
    assert.deepEqual([same.status, same.body['state']], [200, 'open'])
    const changed = await call('POST', `/sessions/${chipId}/thrift`, { history: 'recent', keep_alive_s: 60, status_posts: true })
    assert.deepEqual([changed.status, changed.body['keep_alive_s'], changed.body['history'], changed.body['status_posts']], [200, 60, 'recent', true])
    await world.becomes(chipId, 'open')
    assert.equal(world.gateway.connects.length, seen + 1)
    assert.equal(codeOf(await call('POST', `/sessions/${chipId}/thrift`, { keep_alive_s: 1 })), 'invalid_body')
    assert.equal((await call('POST', `/sessions/${randomUUID()}/thrift`, {})).status, 404)
  })

  it('unlinks the phone on logout, keeps the chip and forgets the pairing', async () => {
    const chipId = await world.createOpen()
    const answer = await call('POST', `/sessions/${chipId}/logout`)
    assert.deepEqual([answer.status, answer.body], [200, { unlinked: true }])
    assert.ok(world.edge.heard.includes('iq:md:remove-companion-device'))
    const chip = (await call('GET', `/sessions/${chipId}`)).body
    assert.deepEqual([chip['state'], chip['phone_number'], chip['last_error']], ['logged_out', null, { layer: 'bridge', code: 'asked', reason: 'unlinked_by_user' }])
    assert.equal(world.backend.state.chips.get(chipId)!.creds, null)
    await call('POST', '/sessions/create', order({ chip_id: chipId }))
    await world.becomes(chipId, 'qr')
  })

  it('refuses a chip that another bridge runs, and does not keep it', async () => {
    const body = order()
    world.backend.state.answer('/beat', { bridge_id: 'another' } as never)
    world.backend.state.answer(`/chips/${body.chip_id}/claim`, { bridge_id: 'another' } as never)
    const refused = await call('POST', '/sessions/create', body)
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'runs_elsewhere'])
    assert.equal((await call('GET', `/sessions/${body.chip_id}`)).status, 404)
    const kept = await call('DELETE', `/sessions/${body.chip_id}`)
    assert.deepEqual([kept.status, codeOf(kept)], [409, 'runs_elsewhere'])
  })

  it('is ready while the backend hears it', async () => {
    assert.equal((await call('GET', '/readyz', undefined, null)).body['status'], 'ready')
    const silent = makeApi({ ...parts, isHeard: () => false })
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const answer = await fetch(`http://127.0.0.1:${(silent.address() as AddressInfo).port}/readyz`)
    silent.close()
    assert.deepEqual([answer.status, ((await answer.json()) as { status: string }).status], [503, 'backend_away'])
  })

  it('makes pairing codes', async () => {
    const body = order({ pairing: 'code', phone: `+${PHONE}` })
    await call('POST', '/sessions/create', body)
    await world.becomes(body.chip_id, 'qr')
    const code = await call('POST', `/sessions/${body.chip_id}/pairing-code`, { phone: PHONE })
    assert.equal(code.status, 200)
    assert.match(String(code.body['pairing_code']), /^[A-Z0-9]{8}$/)
    await call('POST', `/sessions/${body.chip_id}/stop`)
    assert.equal(codeOf(await call('POST', `/sessions/${body.chip_id}/pairing-code`, { phone: PHONE })), 'not_pairing')
    assert.equal(codeOf(await call('GET', `/sessions/${body.chip_id}/qr`)), 'no_qr')
  })

  it('lets nobody in without the secret, except to health and metrics', async () => {
    for (const secret of [null, '', 'wrong', `${SECRET}x`]) {
      const paths: [string, string][] = [
        ['POST', '/sessions/create'], ['GET', '/sessions'], ['GET', `/sessions/${randomUUID()}`], ['DELETE', `/sessions/${randomUUID()}`],
        ['GET', `/sessions/${randomUUID()}/qr`], ['POST', `/sessions/${randomUUID()}/stop`], ['POST', `/sessions/${randomUUID()}/proxy`], ['POST', `/sessions/${randomUUID()}/pairing-code`],
        ['POST', `/sessions/${randomUUID()}/thrift`], ['POST', `/sessions/${randomUUID()}/logout`],
      ]
      for (const [method, path] of paths) assert.equal((await call(method, path, undefined, secret)).status, 401, `${method} ${path}`)
    }
    assert.equal((await call('GET', '/healthz', undefined, null)).status, 200)
    assert.equal((await call('GET', '/readyz', undefined, null)).status, 200)
    assert.match((await call('GET', '/metrics', undefined, null)).text, /^whago_bridge_requests_total\{status="401"\} \d+$/m)
  })

  const bad: [change: object, said: RegExp][] = [
    [{ chip_id: '../../etc/passwd' }, /^chip_id: /],
    [{ chip_id: undefined }, /^chip_id: /],
    [{ proxy_url: 'http://chip:token@evil.example:3128' }, /^proxy_url: must be http:\/\/user:password@127\.0\.0\.1:\d+, the gateway/],
    [{ proxy_url: 'http://127.0.0.1:1' }, /^proxy_url: /],
    [{ proxy_url: 7 }, /^proxy_url: /],
    [{ pairing: 'telepathy' }, /^pairing: /],
    [{ pairing: 'code' }, /^phone: is needed/],
    [{ phone: 'not-a-phone' }, /^phone: must be a phone number/],
    [{ history: 'full' }, /^history: /],
    [{ keep_alive_s: 5 }, /^keep_alive_s: /],
    [{ keep_alive_s: 600 }, /^keep_alive_s: /],
    [{ status_posts: 'yes' }, /^status_posts: /],
    [{ surprise: 1 }, /surprise/],
  ]
  for (const [change, said] of bad) {
    it(`refuses a create with ${JSON.stringify(change)} and says why`, async () => {
      const answer = await call('POST', '/sessions/create', order(change))
      assert.deepEqual([answer.status, codeOf(answer)], [400, 'invalid_body'])
      assert.match(messageOf(answer), said)
      assert.equal(world.roster.list().length, 0)
    })
  }

  it('refuses what is no JSON, too large, at no path or by no method', async () => {
    assert.equal(codeOf(await call('POST', '/sessions/create', '{"chip_id":')), 'invalid_body')
    assert.equal(codeOf(await call('POST', '/sessions/create', '[]')), 'invalid_body')
    assert.equal((await call('POST', '/sessions/create', 'x'.repeat(20_000))).status, 413)
    assert.equal((await call('GET', '/sessions/not-a-uuid')).status, 404)
    assert.equal((await call('GET', '/nowhere')).status, 404)
    assert.equal((await call('PUT', '/sessions')).status, 405)
    assert.equal((await call('DELETE', `/sessions/${randomUUID()}?logout=maybe`)).status, 400)
  })

  it('answers 503 when it may run no more chips', async () => {
    const first = Array.from({ length: 50 }, () => order())
    world.gateway.mood = { kind: 'refuse', status: 402 }
    await Promise.all(first.map((body) => call('POST', '/sessions/create', body)))
    const full = await call('POST', '/sessions/create', order())
    assert.deepEqual([full.status, codeOf(full)], [503, 'bridge_full'])
    assert.equal((await call('POST', '/sessions/create', first[0])).status, 202, 'those that run are not turned away')
  })
})
