/**
 * What an idle chip costs: memory of the bridge process and bytes on the wire, against the stand-in of WhatsApp's edge.
 *
 *     node benchmarks/idle-chips.ts [CHIPS=50] [SECONDS=95]
 *
 * Real servers send more than the stand-in (presence, receipts, messages); what is measured here is the floor.
 */

import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { ChipEvent } from '../src/events.ts'
import { StandInBackend } from '../test/stand-in/backend.ts'
import { CountingFront } from '../test/stand-in/counting-front.ts'
import { Edge } from '../test/stand-in/edge.ts'
import { StandInGateway } from '../test/stand-in/gateway.ts'

const chips = Number(process.argv[2] ?? 50)
const seconds = Number(process.argv[3] ?? 95)
const secret = 'a-secret-of-the-benchmark-012345'
const MEGABYTE = 1e6
/** For the last pre-keys to be written and the garbage of pairing to be collected. */
const SETTLE_MS = 5_000
const SECONDS_A_MONTH = 30 * 86_400

const chipIds = Array.from({ length: chips }, () => randomUUID())
const folder = mkdtempSync(join(tmpdir(), 'whago-idle-'))
const edge = new Edge()
const front = new CountingFront(await edge.listen())
const gateway = new StandInGateway(await front.listen())
const backend = new StandInBackend(secret)
await gateway.listen()
await backend.listen()
writeFileSync(join(folder, 'ca.pem'), edge.tls.caPem)

type Bridge = { process: ChildProcess; base: string }

async function startBridge(): Promise<Bridge> {
  const bridge = spawn(process.execPath, ['--max-semi-space-size=4', new URL('../src/main.ts', import.meta.url).pathname], {
    env: {
      BRIDGE_PORT: '0', BRIDGE_SECRET: secret, BRIDGE_GATEWAY: gateway.host, BRIDGE_BACKEND_URL: backend.url.href,
      BRIDGE_MAX_CHIPS: '1000', NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
    },
  })
  const [ready] = (await once(bridge.stdout, 'data')) as [Buffer]
  const { port } = JSON.parse(ready.toString().split('\n')[0] ?? '') as { port: number }
  bridge.stdout.resume()
  return { process: bridge, base: `http://127.0.0.1:${port}` }
}

async function residentBytes(bridge: Bridge): Promise<number> {
  const text = await (await fetch(`${bridge.base}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\d+)$/m.exec(text)?.[1])
}

/** Asks for all chips and waits until they are open. Answers the seconds that it took. */
async function createAll(bridge: Bridge): Promise<number> {
  const began = Date.now()
  backend.events.length = 0
  for (const chipId of chipIds) {
    const body = JSON.stringify({ chip_id: chipId, proxy_url: gateway.proxyUrl() })
    await fetch(`${bridge.base}/sessions/create`, { method: 'POST', headers: { authorization: `Bearer ${secret}` }, body })
  }
  await openAll()
  return (Date.now() - began) / 1000
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Scans every QR code that the bridge reports, until all chips are open. */
async function openAll(): Promise<void> {
  const scanned = new Set<string>()
  const open = new Set<string>()
  while (open.size < chips) {
    for (const event of backend.events.splice(0)) {
      if (event.kind === 'session.open') open.add(event.chip_id)
      if (event.kind === 'session.qr' && !scanned.has(event.chip_id)) scan(event, scanned)
    }
    await sleep(20)
  }
}

function scan(event: ChipEvent, scanned: Set<string>): void {
  edge.scan((event.data as { qr: string }).qr, `5511${String(900_000_000 + scanned.size)}`)
  scanned.add(event.chip_id)
}

const first = await startBridge()
const pairedAfterS = await createAll(first)
await sleep(SETTLE_MS)
const paired = { up: front.bytesUp, down: front.bytesDown }
const afterPairing = await residentBytes(first)
first.process.kill('SIGTERM')
await once(first.process, 'exit')

const second = await startBridge()
const empty = await residentBytes(second)
const resumedAfterS = await createAll(second)
await sleep(SETTLE_MS)
const resumed = { up: front.bytesUp, down: front.bytesDown }
await sleep(seconds * 1000)
const idle = { up: front.bytesUp - resumed.up, down: front.bytesDown - resumed.down }
const afterIdling = await residentBytes(second)
const monthBytes = ((idle.up + idle.down) / chips / seconds) * SECONDS_A_MONTH
const perChip = (bytes: number): string => ((bytes - empty) / chips / MEGABYTE).toFixed(2)
const kilobytes = (bytes: number): string => (bytes / chips / 1000).toFixed(1)

process.stdout.write([
  `chips             ${chips}; paired and open after ${pairedAfterS.toFixed(1)} s, after a restart of the bridge in ${resumedAfterS.toFixed(1)} s`,
  `memory            ${(empty / MEGABYTE).toFixed(0)} MB empty; a chip ${perChip(afterPairing)} MB after pairing, ${perChip(afterIdling)} MB idle after a restart`,
  `pairing, a chip   ${kilobytes(paired.up)} kB up, ${kilobytes(paired.down)} kB down, the first pre-keys included`,
  `login, a chip     ${kilobytes(resumed.up - paired.up)} kB up, ${kilobytes(resumed.down - paired.down)} kB down`,
  `idle, a chip      ${(idle.up / chips).toFixed(0)} B up, ${(idle.down / chips).toFixed(0)} B down in ${seconds} s: ${(monthBytes / MEGABYTE).toFixed(1)} MB a month`,
  '',
].join('\n'))
second.process.kill('SIGTERM')
await once(second.process, 'exit')
rmSync(folder, { recursive: true, force: true })
process.exit(0)
