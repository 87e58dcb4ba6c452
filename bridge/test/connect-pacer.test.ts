import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { ConnectPacer } from '../src/connect-pacer.ts'
import { until } from './kit.ts'

describe('the pacer', () => {
  it('lets only so many connect at once, in the order they came', async () => {
    const pacer = new ConnectPacer({ mostAtOnce: 3, gapMs: 0, holdMs: 60_000 })
    const started: number[] = []
    const leaves = Array.from({ length: 10 }, (_, n) => pacer.enter(() => started.push(n)))
    await until(() => started.length === 3, () => 'the first three')
    assert.equal(pacer.waiting, 7)
    for (const [n, leave] of leaves.entries()) {
      await until(() => started.includes(n), () => `number ${n}`)
      leave()
      leave() // twice frees one place, not two
    }
    assert.deepEqual(started, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('keeps a gap between two', async () => {
    const pacer = new ConnectPacer({ mostAtOnce: 100, gapMs: 30, holdMs: 60_000 })
    const times: number[] = []
    const leaves = Array.from({ length: 4 }, () => pacer.enter(() => times.push(performance.now())))
    await until(() => times.length === 4, () => 'all four')
    for (const leave of leaves) leave()
    for (let n = 1; n < 4; n += 1) assert.ok(times[n]! - times[n - 1]! >= 29, `gap ${n}`)
  })

  it('does not let a connection that hangs keep its place for ever', async () => {
    const pacer = new ConnectPacer({ mostAtOnce: 1, gapMs: 0, holdMs: 20 })
    const started: string[] = []
    pacer.enter(() => started.push('hangs'))
    const leave = pacer.enter(() => started.push('next'))
    await until(() => started.length === 2, () => 'the next one')
    leave()
  })

  it('forgets one who leaves before his turn', async () => {
    const pacer = new ConnectPacer({ mostAtOnce: 1, gapMs: 0, holdMs: 60_000 })
    const started: string[] = []
    const first = pacer.enter(() => started.push('first'))
    const second = pacer.enter(() => started.push('second'))
    const third = pacer.enter(() => started.push('third'))
    second()
    await until(() => started.length === 1, () => 'the first')
    first()
    await until(() => started.length === 2, () => 'the third')
    assert.deepEqual(started, ['first', 'third'])
    third()
  })
})
