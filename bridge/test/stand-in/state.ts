/**
 * The backend's keeping of chips and their state, in memory: the rules that its database enforces. It answers as the
 * real one does (src/whago/web/api/bridge_state.py); the tests of the backend run the bridge against that.
 */

type Held = { bridge: string | null; epoch: number; stateKey: string; creds: string | null; keys: Map<string, string> }
type Body = {
  bridge_id: string
  epoch: number
  names: string[]
  creds: string | null
  keys: [string, string | null][]
  clear: boolean
  wipe: boolean
  url: string
}

export type Answer = { status: number; body?: object }

const LOST = refusal(409, 'hold_lost')

export class StandInState {
  readonly chips = new Map<string, Held>()
  readonly bridges = new Set<string>()
  /** Every write that was taken, in order: how many keys each had. */
  readonly writes: number[] = []
  times = { beat_every_s: 3, fenced_after_s: 120 } // longer than any pause of a busy machine

  answer(path: string, body: Body): Answer {
    if (path === '/beat') return this.#beat(body)
    if (path === '/bye') return this.#bye(body)
    const [, chipId, what] = /^\/chips\/([^/]+)\/(\w+)$/.exec(path) ?? []
    if (!chipId) return refusal(404, 'not_found')
    if (what === 'claim') return this.#claim(chipId, body)
    if (what === 'forget') return this.#forget(chipId, body)
    const held = this.chips.get(chipId)
    if (!held || held.bridge !== body.bridge_id || held.epoch !== body.epoch) return LOST
    if (what === 'read') return { status: 200, body: { keys: body.names.flatMap((name) => (held.keys.has(name) ? [[name, held.keys.get(name)]] : [])) } }
    if (what === 'write') return this.#write(held, body)
    return this.#release(held, body)
  }

  /** Every bridge so far is dead: their chips are free. */
  bury(): void {
    this.bridges.clear()
    for (const held of this.chips.values()) held.bridge = null
  }

  /** Another bridge takes the chip, as after a death of the one that held it. */
  steal(chipId: string): void {
    const held = this.chips.get(chipId)!
    held.bridge = 'another'
    held.epoch += 1
  }

  #beat({ bridge_id: id }: Body): Answer {
    this.bridges.add(id)
    return { status: 200, body: this.times }
  }

  #bye({ bridge_id: id }: Body): Answer {
    this.bridges.delete(id)
    for (const held of this.chips.values()) if (held.bridge === id) held.bridge = null
    return { status: 204 }
  }

  #claim(chipId: string, { bridge_id: id }: Body): Answer {
    if (!this.bridges.has(id)) return refusal(409, 'bridge_unknown')
    const held = this.chips.get(chipId) ?? { bridge: null, epoch: 0, stateKey: `key-of-${chipId}`, creds: null, keys: new Map<string, string>() }
    if (held.bridge !== null && held.bridge !== id) return refusal(409, 'chip_held')
    held.bridge = id
    held.epoch += 1
    this.chips.set(chipId, held)
    return { status: 200, body: { epoch: held.epoch, last_event_no: 0, state_key: held.stateKey, creds: held.creds } }
  }

  #write(held: Held, { creds, keys, clear }: Body): Answer {
    if (clear) held.keys.clear()
    for (const [name, value] of keys) {
      if (value === null) held.keys.delete(name)
      else held.keys.set(name, value)
    }
    held.creds = creds ?? held.creds
    this.writes.push(keys.length)
    return { status: 204 }
  }

  #release(held: Held, { wipe }: Body): Answer {
    held.bridge = null
    if (wipe) {
      held.creds = null
      held.keys.clear()
    }
    return { status: 204 }
  }

  #forget(chipId: string, { bridge_id: id }: Body): Answer {
    const held = this.chips.get(chipId)
    if (held?.bridge && held.bridge !== id) return refusal(409, 'chip_held')
    this.chips.delete(chipId)
    return { status: 204 }
  }
}

export function refusal(status: number, code: string): Answer {
  return { status, body: { error: { code, message: code, details: {} } } }
}
