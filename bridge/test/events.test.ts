import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, it } from 'node:test'

import { EventOutbox, MOST_WAITING } from '../src/events.ts'
import { makeLog } from '../src/log.ts'
import { Metrics } from '../src/metrics.ts'
import { SECRET, until } from './kit.ts'
import { StandInBackend } from './stand-in/backend.ts'

describe('events to the backend', () => {
  let backend: StandInBackend
  let outbox: EventOutbox
  const chip = randomUUID()
  const makeOutbox = () => new EventOutbox({
    url: backend.eventsUrl, secret: SECRET, bootId: randomUUID(), log: makeLog('error'), metrics: new Metrics(), firstRetryMs: 10,
  })

  beforeEach(async () => {
    backend = new StandInBackend(SECRET)
    await backend.listen()
    outbox = makeOutbox()
  })
  afterEach(async () => {
    await outbox.close()
    await backend.close()
  })

  const arrived = (count: number) => until(() => backend.events.length >= count, () => `${count} events, not ${backend.events.length}`)

  it('come in order, signed, with growing numbers', async () => {
    for (let n = 0; n < 10; n += 1) outbox.push(chip, 'session.qr', { n }, 1)
    await arrived(10)
    assert.deepEqual(backend.events.map((event) => (event.data as { n: number }).n), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert.deepEqual(backend.forged, [])
    const seqs = backend.events.map((event) => event.seq)
    assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b))
  })

  it('go on with greater numbers after a restart', async () => {
    outbox.push(chip, 'session.open', {}, 1)
    await arrived(1)
    await outbox.close()
    outbox = makeOutbox()
    outbox.push(chip, 'session.backoff', {}, 1)
    await arrived(2)
    assert.ok(backend.events[1]!.seq > backend.events[0]!.seq)
    assert.notEqual(backend.events[1]!.boot_id, backend.events[0]!.boot_id)
  })

  it('go on after the last number that another bridge has sent, whatever its clock said', async () => {
    const last = Date.now() + 3_600_000
    outbox.continueAfter(last)
    outbox.push(chip, 'session.open', {}, 7)
    await arrived(1)
    assert.deepEqual([backend.events[0]!.seq, backend.events[0]!.epoch], [last + 1, 7])
  })

  it('are repeated until the backend takes them, the same ones in the same order', async () => {
    backend.status = 503
    outbox.push(chip, 'session.connecting', {}, 1)
    outbox.push(chip, 'session.open', {}, 1)
    await until(() => backend.posts >= 3, () => 'repetitions')
    assert.equal(outbox.waiting, 2)
    backend.status = 204
    await arrived(2)
    assert.deepEqual(backend.kinds(chip), ['connecting', 'open'])
    await until(() => outbox.waiting === 0, () => 'an empty outbox')
  })

  it('of one chip do not wait for another’s', async () => {
    const others = Array.from({ length: 20 }, () => randomUUID())
    for (const other of others) outbox.push(other, 'session.open', {}, 1)
    await arrived(20)
    assert.deepEqual(new Set(backend.events.map((event) => event.chip_id)), new Set(others))
  })

  it('that the backend refuses for good are dropped and do not block the next', async () => {
    backend.status = 404
    outbox.push(chip, 'session.connecting', {}, 1)
    await until(() => outbox.waiting === 0, () => 'the refusal')
    backend.status = 204
    outbox.push(chip, 'session.open', {}, 1)
    await arrived(1)
    assert.deepEqual(backend.kinds(chip), ['open'])
  })

  it('collapse into the latest state when the backend is away for long', async () => {
    backend.status = 503
    for (let n = 0; n < 10 * MOST_WAITING; n += 1) outbox.push(chip, 'session.backoff', { n }, 1)
    outbox.push(chip, 'session.logged_out', { n: -1 }, 1)
    assert.ok(outbox.waiting <= MOST_WAITING)
    backend.status = 204
    await until(() => outbox.waiting === 0, () => 'an empty outbox')
    assert.equal(backend.kinds(chip).at(-1), 'logged_out')
  })
})
