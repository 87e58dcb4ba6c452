/** The bridge as it is run: `node src/main.ts`, spoken to over HTTP, ended by signals. */

import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import type { ChipView, Pairing } from '../src/chip-view.ts'
import { PHONE, SECRET, until, withoutRepeats } from './kit.ts'
import { StandInBackend } from './stand-in/backend.ts'
import { Edge } from './stand-in/edge.ts'
import { StandInGateway } from './stand-in/gateway.ts'

/** The promise is 5 s; the rest is for a busy machine. A process that waits for somebody who is away would never end. */
const STOP_WITHIN_MS = 60_000

/** All that any bridge here has printed. */
const printed: string[] = []

class Bridge {
  readonly process: ChildProcess
  output = ''
  base = ''

  constructor(env: Record<string, string>) {
    const main = new URL('../src/main.ts', import.meta.url).pathname
    const preload = ['watch-connects', 'noise-root'].flatMap((name) => ['--import', new URL(`preload/${name}.ts`, import.meta.url).href])
    this.process = spawn(process.execPath, [...preload, main], { env: { PATH: process.env['PATH'], ...env } })
    for (const stream of [this.process.stdout!, this.process.stderr!]) stream.on('data', (part: Buffer) => this.#hear(part.toString()))
  }

  #hear(text: string): void {
    this.output += text
    printed.push(text)
  }

  async ready(): Promise<void> {
    await until(() => this.output.includes('bridge.ready') || this.process.exitCode !== null, () => 'the ready line')
    const line = this.output.split('\n').find((text) => text.includes('bridge.ready'))
    assert.ok(line, this.output)
    this.base = `http://127.0.0.1:${(JSON.parse(line) as { port: number }).port}`
  }

  async call<Body>(method: string, path: string, body?: object): Promise<Body> {
    const payload = body ? { body: JSON.stringify(body) } : {}
    const response = await fetch(this.base + path, { method, headers: { authorization: `Bearer ${SECRET}` }, ...payload })
    return (await response.json()) as Body
  }

  async state(chipId: string): Promise<string> {
    return (await this.call<ChipView>('GET', `/sessions/${chipId}`)).state
  }

  async becomes(chipId: string, state: string): Promise<void> {
    let last = ''
    const looking = setInterval(() => void this.state(chipId).then((now) => (last = now), () => undefined), 25)
    await until(() => last === state, () => `${state}; it is ${last}; ${this.output}`).finally(() => clearInterval(looking))
  }

  async end(signal: NodeJS.Signals): Promise<[code: number | null, ms: number]> {
    const began = Date.now()
    const exited = once(this.process, 'exit') as Promise<[number | null]>
    this.process.kill(signal)
    const [code] = await exited
    return [code, Date.now() - began]
  }
}

describe('the bridge process', () => {
  const edge = new Edge()
  const backend = new StandInBackend(SECRET)
  const folder = mkdtempSync(join(tmpdir(), 'whago-process-'))
  const watchFile = join(folder, 'connects.jsonl')
  const chipId = randomUUID()
  let gateway: StandInGateway
  let bridge: Bridge
  let env: Record<string, string>

  before(async () => {
    gateway = new StandInGateway(await edge.listen())
    await gateway.listen()
    await backend.listen()
    writeFileSync(join(folder, 'ca.pem'), edge.tls.caPem)
    env = {
      BRIDGE_PORT: '0', BRIDGE_SECRET: SECRET, BRIDGE_GATEWAY: gateway.host, BRIDGE_BACKEND_URL: backend.url.href,
      NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'), NOISE_ROOT: Buffer.from(edge.noise.root.public).toString('hex'), WATCH_FILE: watchFile,
    }
    bridge = new Bridge(env)
    await bridge.ready()
  })
  after(async () => {
    bridge.process.kill('SIGKILL')
    await gateway.close()
    await edge.close()
    await backend.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const lastClient = () => [...edge.clients].at(-1)!
  const create = (id: string = chipId) => bridge.call('POST', '/sessions/create', { chip_id: id, proxy_url: gateway.proxyUrl() })
  const pair = async (id: string) => {
    await create(id)
    await bridge.becomes(id, 'qr')
    const { qr } = await bridge.call<Pairing>('GET', `/sessions/${id}/qr`)
    edge.scan(qr!, PHONE)
    await bridge.becomes(id, 'open')
  }

  it('pairs a chip and opens it', async () => {
    await pair(chipId)
    await until(() => backend.kinds(chipId).at(-1) === 'open', () => 'the events')
    assert.deepEqual(withoutRepeats(backend.kinds(chipId)), ['connecting', 'qr', 'connecting', 'open'])
    assert.deepEqual(backend.forged, [])
  })

  it('loses one connection, not the process, to a frame that does not decrypt', async () => {
    const other = randomUUID()
    await pair(other)
    await until(() => backend.kinds(other).at(-1) === 'open', () => 'the news of its pairing')
    const posts = backend.kinds(other).length
    lastClient().sendFrame(Buffer.alloc(64, 7))
    const since = (): string[] => backend.kinds(other).slice(posts)
    await until(() => since().includes('backoff') && since().at(-1) === 'open', () => `its return: ${since().join()}`)
    assert.equal(await bridge.state(chipId), 'open')
    await until(() => /"event":"connection\.stray_error"/.test(bridge.output), () => 'the line in the log')
    await bridge.call('DELETE', `/sessions/${other}?logout=true`)
  })

  it('keeps the pairing when it is killed with -9', async () => {
    await bridge.end('SIGKILL')
    backend.state.bury() // as the real one does when somebody else answers at the address
    bridge = new Bridge(env)
    await bridge.ready()
    assert.deepEqual((await bridge.call<{ items: unknown[] }>('GET', '/sessions')).items, [], 'no proxy URL is kept, so nothing starts by itself')
    const logins = edge.logins.length
    await create()
    await bridge.becomes(chipId, 'open')
    assert.deepEqual(edge.logins.slice(logins), [PHONE])
  })

  it('does not run a chip that another bridge runs', async () => {
    const second = new Bridge(env)
    await second.ready()
    const refused = await second.call<{ error: { code: string } }>('POST', '/sessions/create', { chip_id: chipId, proxy_url: gateway.proxyUrl() })
    assert.equal(refused.error.code, 'runs_elsewhere')
    assert.equal(await bridge.state(chipId), 'open')
    await second.end('SIGTERM')
    assert.equal(backend.state.chips.get(chipId)!.bridge !== null, true)
  })

  it('ends in time on SIGTERM, politely, with the last events told and nobody unlinked', async () => {
    const heard = edge.heard.length
    const [code, ms] = await bridge.end('SIGTERM')
    assert.equal(code, 0)
    assert.ok(ms < STOP_WITHIN_MS, `${ms} ms`)
    assert.equal(backend.kinds(chipId).at(-1), 'closed')
    assert.equal(backend.state.chips.get(chipId)!.bridge, null, 'the chip is free at once')
    assert.equal(edge.heard.slice(heard).some((iq) => iq.includes('remove-companion-device')), false)
    assert.equal(edge.clients.size, 0)
  })

  it('ends in time on SIGTERM even when the backend is away', async () => {
    bridge = new Bridge({ ...env, BRIDGE_BACKEND_URL: 'http://127.0.0.1:9' })
    await bridge.ready()
    await create()
    await bridge.becomes(chipId, 'backoff')
    const [code, ms] = await bridge.end('SIGTERM')
    assert.equal(code, 0)
    assert.ok(ms < STOP_WITHIN_MS, `${ms} ms`)
  })

  it('connected to the gateway and the backend only, in all of this', () => {
    const targets = readFileSync(watchFile, 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as string[]).join(' '))
    assert.deepEqual(new Set(targets), new Set([`connect ${gateway.host}`, `connect ${backend.url.host}`, 'connect 127.0.0.1:9']))
  })

  it('never printed a secret, a number or a key', () => {
    for (const word of [SECRET, 'sesame', PHONE, 'privKey', '2@reference']) assert.equal(printed.join('').includes(word), false, word)
  })

  for (const [change, sentence] of [
    [{ BRIDGE_SECRET: '' }, 'whago bridge: BRIDGE_SECRET is missing.\n'],
    [{ BRIDGE_GATEWAY: 'nowhere' }, 'whago bridge: BRIDGE_GATEWAY must look like host:port.\n'],
  ] as const) {
    it(`ends with 2 and one sentence for ${JSON.stringify(change)}`, async () => {
      const failing = new Bridge({ ...env, ...change })
      const [code] = (await once(failing.process, 'exit')) as [number]
      assert.deepEqual([code, failing.output], [2, sentence])
    })
  }
})
