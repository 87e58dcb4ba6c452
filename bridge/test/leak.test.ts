/**
 * Nothing of a chip reaches the network but through its gateway: real Baileys takes every path that it has, in a network
 * namespace whose only way out counts packets, and under a witness in its own process.
 *
 * Where no namespace can be made (it takes root, or user namespaces), the witness alone judges, and the run says so.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

import type { Findings } from './leak/site.ts'

/** Far above what it takes; only a hang waits so long. */
const PATIENCE_MS = 60_000
const NO_NAMESPACE = 66

const here = (name: string) => fileURLToPath(new URL(`leak/${name}`, import.meta.url))
const site = (mode: string) => [process.execPath, here('site.ts'), mode]
/** As root, then with a user namespace, then without any. */
const WAYS = [['unshare', '--net', '--mount'], ['unshare', '--map-root-user', '--net', '--mount']]

type Run = { findings: Findings; isolated: boolean }

function run(command: string[]): Promise<Findings | null> {
  const [program, ...args] = command as [string, ...string[]]
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: PATIENCE_MS }, (error, stdout, stderr) => {
      const code = (error as { code?: number | string } | null)?.code
      const cannot = code === 'ENOENT' || code === NO_NAMESPACE || (program === 'unshare' && stderr.startsWith('unshare:'))
      if (error && !cannot) reject(new Error(`${error.message}: ${stderr}`))
      else resolve(error ? null : (JSON.parse(stdout) as Findings))
    })
  })
}

async function exercise(mode: string): Promise<Run> {
  for (const way of WAYS) {
    const findings = await run([...way, 'sh', here('namespace.sh'), ...site(mode)])
    if (findings) return { findings, isolated: true }
  }
  const findings = await run(site(mode))
  assert.ok(findings)
  return { findings, isolated: false }
}

describe('a chip on every path that Baileys has', () => {
  let findings: Findings
  let isolated = false
  before(async () => {
    ({ findings, isolated } = await exercise('guarded'))
  })
  after(() => {
    if (!isolated) process.stderr.write('leak.test.ts: no network namespace can be made here; judged by the witness in the process alone\n')
  })

  it('connects to the gateway and the backend and to nothing else, and asks no name server', () => {
    assert.ok(findings.witnessed.length >= 5, 'the witness saw the connections at all')
    const seen = new Set(findings.witnessed.map(([what, target]) => `${what} ${target}`))
    assert.deepEqual(seen, new Set([`connect ${findings.gateway}`, `connect ${findings.backend}`]))
  })

  it('sends not one packet anywhere else', () => {
    assert.equal(findings.packetsOut ?? 0, 0)
  })

  it('reaches WhatsApp and its media by CONNECT, with every reconnect', () => {
    assert.deepEqual(new Set(findings.connects), new Set(['web.whatsapp.com:443', 'mmg.whatsapp.net:443']))
    assert.equal(findings.connects.filter((target) => target.startsWith('web.')).length, 3, 'pairing, login, and after a cut')
    assert.ok(findings.requests.some((request) => request.startsWith('POST /mms/document/')))
    assert.ok(findings.requests.some((request) => request.startsWith('GET /mms/document/')))
  })

  it('can upload and download through the gateway', () => {
    assert.equal(findings.outcomes['upload'], 'done')
    assert.equal(findings.outcomes['download with the dispatcher'], 'done')
    assert.equal(findings.outcomes['history of a first login'], 'done')
  })

  for (const path of [
    'download without options', 'upload of media by URL', 'profile picture by URL', 'newest version of Baileys', 'newest version of WhatsApp Web',
  ]) {
    it(`is refused by the guard: ${path}`, () => assert.equal(findings.outcomes[path], 'EGRESS_DENIED'))
  }
})

describe('without the guard', () => {
  it('the same chip leaks, and both witnesses see it', async (context) => {
    const { findings, isolated } = await exercise('unguarded')
    const elsewhere = findings.witnessed.filter(([, target]) => target !== findings.gateway && target !== findings.backend)
    assert.ok(elsewhere.length >= 4, JSON.stringify(findings.witnessed))
    if (isolated) assert.ok(findings.packetsOut! > 0)
    else context.diagnostic('no network namespace: packets were not counted')
  })
})
