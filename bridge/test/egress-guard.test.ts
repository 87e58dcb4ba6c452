/** The guard stands in a process of its own here, because it cannot be taken away again. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Every way out that Baileys, undici, ws or Node itself could take without being asked. */
const WAYS: Record<string, string> = {
  'net.connect': `new Promise((yes, no) => net.connect({ host, port }).on('connect', yes).on('error', no))`,
  'net.connect by port': `new Promise((yes, no) => net.connect(port).on('connect', yes).on('error', no))`,
  'tls.connect': `new Promise((yes, no) => tls.connect({ host, port }).on('secureConnect', yes).on('error', no))`,
  'http.get': `new Promise((yes, no) => http.get({ host, port }, yes).on('error', no))`,
  'https.get': `new Promise((yes, no) => https.get({ host, port }, yes).on('error', no))`,
  'http.get with an agent of its own': `new Promise((yes, no) => http.get({ host, port, agent: new http.Agent() }, yes).on('error', no))`,
  'fetch': `fetch('http://' + host + ':' + port)`,
  'undici.request': `undici.request('http://' + host + ':' + port)`,
  'undici with an agent of its own': `undici.request('http://' + host + ':' + port, { dispatcher: new undici.Agent() })`,
  'websocket without agent': `new Promise((yes, no) => new ws.WebSocket('ws://' + host + ':' + port).on('open', yes).on('error', no))`,
}

function script(way: string, allowed: object[], host: string, port: number): string {
  return `
    import net from 'node:net'; import tls from 'node:tls'; import http from 'node:http'; import https from 'node:https'; import dns from 'node:dns'
    import * as undici from 'undici'; import * as ws from 'ws'
    import { installEgressGuard } from './src/egress-guard.ts'
    const lookups = []; const lookup = dns.lookup
    dns.lookup = (name, ...rest) => { lookups.push(name); return lookup(name, ...rest) }
    const denied = []
    installEgressGuard(${JSON.stringify(allowed)}, (target) => denied.push(target))
    const host = ${JSON.stringify(host)}, port = ${port}
    let outcome = 'connected'
    try { await (async () => ${way})() } catch (error) { outcome = String(error.code ?? error.cause?.code ?? error) }
    console.log(JSON.stringify({ outcome, denied, lookups })); process.exit(0)`
}

type Outcome = { outcome: string; denied: string[]; lookups: string[] }

async function attempt(way: string, allowed: object[], host: string, port: number): Promise<Outcome> {
  const args = ['--input-type=module', '-e', script(way, allowed, host, port)]
  const { stdout } = await run(process.execPath, args, { cwd: new URL('..', import.meta.url), timeout: 20_000 })
  return JSON.parse(stdout) as Outcome
}

describe('the egress guard', () => {
  let arrivals = 0
  const origin = createServer((socket) => {
    arrivals += 1
    socket.on('error', () => undefined)
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
  })
  let port = 0
  before(async () => {
    origin.listen(0, '127.0.0.1')
    await once(origin, 'listening')
    port = (origin.address() as AddressInfo).port
  })
  after(() => origin.close())

  for (const [name, way] of Object.entries(WAYS)) {
    it(`stops ${name} before it reaches the network or a name server`, async () => {
      const before = arrivals
      const outcome = await attempt(way, [{ host: '127.0.0.1', port: 1 }], 'localhost', port)
      assert.equal(outcome.outcome, 'EGRESS_DENIED')
      assert.equal(outcome.denied.length, 1)
      assert.deepEqual(outcome.lookups, [])
      assert.equal(arrivals, before)
    })
  }

  it('lets through what is allowed', async () => {
    const before = arrivals
    const outcome = await attempt(WAYS['net.connect']!, [{ host: '127.0.0.1', port }], '127.0.0.1', port)
    assert.deepEqual(outcome, { outcome: 'connected', denied: [], lookups: [] })
    assert.equal(arrivals, before + 1)
  })
})
