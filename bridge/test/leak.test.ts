/** Nothing leaves but through the gateway, also on the paths where Baileys ignores its agents. */

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { PHONE } from './kit.ts'
import { Edge } from './stand-in/edge.ts'
import { StandInGateway } from './stand-in/gateway.ts'

describe('a chip on every path that Baileys has', () => {
  const edge = new Edge()
  const folder = mkdtempSync(join(tmpdir(), 'whago-leak-'))
  const watchFile = join(folder, 'connects.jsonl')
  let gateway: StandInGateway
  let outcomes: Record<string, string> = {}
  let witnessed: [string, string][] = []

  before(async () => {
    gateway = new StandInGateway(await edge.listen())
    await gateway.listen()
    writeFileSync(join(folder, 'ca.pem'), edge.tls.caPem)
    writeFileSync(watchFile, '')
    outcomes = await exercise()
    witnessed = readFileSync(watchFile, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as [string, string])
  })
  after(async () => {
    await gateway.close()
    await edge.close()
    rmSync(folder, { recursive: true, force: true })
  })

  function exercise(): Promise<Record<string, string>> {
    const preload = (name: string) => ['--import', new URL(`preload/${name}.ts`, import.meta.url).href]
    const child = fork(new URL('leak/exercise.ts', import.meta.url), [gateway.proxyUrl()], {
      execArgv: [...preload('watch-connects'), ...preload('noise-root')],
      env: { ...process.env, NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'), NOISE_ROOT: Buffer.from(edge.noise.root.public).toString('hex'), WATCH_FILE: watchFile },
    })
    return new Promise((resolve, reject) => {
      child.on('message', (message: { qr?: string; outcomes?: Record<string, string> }) => {
        if (message.qr) edge.scan(message.qr, PHONE)
        if (message.outcomes) resolve(message.outcomes)
      })
      child.on('exit', (code) => reject(new Error(`the exerciser ended with ${String(code)}`)))
    })
  }

  it('connects to the gateway and to nothing else, and asks no name server', () => {
    assert.ok(witnessed.length >= 4, 'the witness saw the connections at all')
    assert.deepEqual(new Set(witnessed.map(([what, target]) => `${what} ${target}`)), new Set([`connect ${gateway.host}`]))
  })

  it('reaches WhatsApp and its media by CONNECT', () => {
    assert.deepEqual(new Set(gateway.connects.map((connect) => connect.target)), new Set(['web.whatsapp.com:443', 'mmg.whatsapp.net:443']))
    assert.ok(edge.requests.some((request) => request.startsWith('POST /mms/document/')))
    assert.ok(edge.requests.some((request) => request.startsWith('GET /mms/document/')))
  })

  it('can upload and download through the gateway', () => {
    assert.equal(outcomes['upload'], 'done')
    assert.equal(outcomes['download with the dispatcher'], 'done')
    assert.equal(outcomes['history of a first login'], 'done')
  })

  for (const path of [
    'download without options', 'upload of media by URL', 'profile picture by URL', 'newest version of Baileys', 'newest version of WhatsApp Web',
  ]) {
    it(`is refused by the guard: ${path}`, () => assert.equal(outcomes[path], 'EGRESS_DENIED'))
  }
})
