/** Signs of life: what keeps the chips of a bridge, and what happens when nobody answers them. */

import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'

import { Backend, BackendRefused } from '../src/backend.ts'
import { Heartbeat } from '../src/heartbeat.ts'
import { makeLog } from '../src/log.ts'
import { SECRET, until } from './kit.ts'
import { StandInBackend } from './stand-in/backend.ts'

/** A fence that no pause of a busy machine reaches. */
const PATIENT_S = 120

describe('the heartbeat', () => {
  let backend: StandInBackend
  let client: Backend
  let heartbeat: Heartbeat
  let heard: string[]

  beforeEach(async () => {
    backend = new StandInBackend(SECRET)
    backend.state.times = { beat_every_s: 0.05, fenced_after_s: 0.3 }
    await backend.listen()
    client = new Backend(backend.url, SECRET)
    heard = []
    heartbeat = heartbeatOf(client)
  })
  afterEach(async () => {
    heartbeat.close()
    await client.close()
    await backend.close()
  })

  function heartbeatOf(from: Backend): Heartbeat {
    return new Heartbeat({
      backend: from,
      log: { ...makeLog('error'), error: () => undefined },
      vitals: () => ({ bridge_id: 'one', url: 'http://127.0.0.1:1', started_at: new Date().toISOString(), max_chips: 1, draining: false }),
      onLapsed: () => heard.push('lapsed'),
      onRestored: () => heard.push('restored'),
    })
  }

  it('is heard, and goes on by the times that the backend gives', async () => {
    let beats = 0
    backend.beforeState = () => {
      beats += 1
      return Promise.resolve()
    }
    backend.state.times = { beat_every_s: 0.05, fenced_after_s: PATIENT_S }
    heartbeat.start()
    await until(() => beats >= 4, () => 'four beats')
    assert.deepEqual([heard, heartbeat.fresh], [['restored'], true])
  })

  it('lapses when the backend is away for too long, and is restored with its next answer', async () => {
    heartbeat.start()
    await until(() => heartbeat.fresh, () => 'the first answer')
    backend.away = true
    await until(() => !heartbeat.fresh, () => 'the lapse')
    backend.away = false
    await until(() => heartbeat.fresh, () => 'the return')
    assert.deepEqual(heard.slice(0, 3), ['restored', 'lapsed', 'restored']) // a busy machine may lapse again
  })

  it('counts from before the question: a late answer is worth less', async () => {
    backend.beforeState = () => new Promise((resolve) => setTimeout(resolve, 400))
    await heartbeat.beat() // answered after 0.4 s, when 0.3 s are over
    await until(() => heard.includes('lapsed'), () => 'the lapse')
    assert.deepEqual(heard, ['restored', 'lapsed'])
  })

  it('does not lapse for a hiccup', async () => {
    backend.state.times = { beat_every_s: 0.05, fenced_after_s: PATIENT_S }
    let answered = 0
    backend.beforeState = () => {
      answered += 1
      return Promise.resolve()
    }
    heartbeat.start()
    await until(() => heartbeat.fresh, () => 'the first answer')
    backend.away = true
    await until(() => backend.refused >= 2, () => 'questions in vain')
    backend.away = false
    const before = answered
    await until(() => answered >= before + 2, () => 'answers again')
    assert.deepEqual([heard, heartbeat.fresh], [['restored'], true])
  })

  it('is refused without the secret', async () => {
    const stranger = new Backend(backend.url, 'another-secret-of-some-length')
    await assert.rejects(heartbeatOf(stranger).beat(), (error) => error instanceof BackendRefused && error.code === 'not_authenticated')
    await stranger.close()
  })
})
