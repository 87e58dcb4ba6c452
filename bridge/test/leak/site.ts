/**
 * The exerciser's surroundings: edge, gateway, backend, all on loopback, in this process; the exerciser in another, under
 * the witness. Prints one line of JSON. Meant to run in a network namespace (namespace.sh), where everything that is not
 * loopback goes into an interface that only counts:
 *
 *     site.ts guarded|unguarded [INTERFACE]
 */

import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { StandInBackend } from '../stand-in/backend.ts'
import { Edge } from '../stand-in/edge.ts'
import { StandInGateway } from '../stand-in/gateway.ts'

export type Findings = {
  outcomes: Record<string, string>
  /** Every connection and name look-up that the witness saw begin. */
  witnessed: [what: string, target: string][]
  gateway: string
  backend: string
  /** Targets of the CONNECTs that the gateway was sent. */
  connects: string[]
  requests: string[]
  /** Packets that left for anywhere but loopback; null without a namespace. */
  packetsOut: number | null
}

const [mode, counting] = process.argv.slice(2) as [string, string | undefined]
const edge = new Edge()
const backend = new StandInBackend('a-secret-of-the-tests-0123456789')
const gateway = new StandInGateway(await edge.listen())
await gateway.listen()
await backend.listen()
const folder = mkdtempSync(join(tmpdir(), 'whago-leak-'))
const watchFile = join(folder, 'connects.jsonl')
writeFileSync(join(folder, 'ca.pem'), edge.tls.caPem)
writeFileSync(watchFile, '')

function exercise(): Promise<Record<string, string>> {
  const preload = (name: string) => ['--import', new URL(`../preload/${name}.ts`, import.meta.url).href]
  const root = Buffer.from(edge.noise.root.public).toString('hex')
  const child = fork(new URL('exercise.ts', import.meta.url), [gateway.proxyUrl(), backend.url.origin, mode], {
    execArgv: [...preload('watch-connects'), ...preload('noise-root')],
    env: { ...process.env, NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'), NOISE_ROOT: root, WATCH_FILE: watchFile },
    silent: true,
  })
  child.stderr?.pipe(process.stderr)
  return new Promise((resolve, reject) => {
    child.on('message', (message: { qr?: string; outcomes?: Record<string, string> }) => {
      if (message.qr) edge.scan(message.qr, '5511987654321')
      if (message.outcomes) resolve(message.outcomes)
    })
    child.on('exit', (code) => reject(new Error(`the exerciser ended with ${String(code)}`)))
  })
}

/** By the kernel's count: the second of the eight columns of "Transmit". */
function packetsSent(name: string): number {
  const line = readFileSync('/proc/self/net/dev', 'utf8').split('\n').find((text) => text.trim().startsWith(`${name}:`))
  return Number(line?.split(':')[1]?.trim().split(/\s+/)[9])
}

const outcomes = await exercise()
const findings: Findings = {
  outcomes,
  witnessed: readFileSync(watchFile, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as [string, string]),
  gateway: gateway.host,
  backend: backend.url.host,
  connects: gateway.connects.map((connect) => connect.target),
  requests: edge.requests,
  packetsOut: counting ? packetsSent(counting) : null,
}
process.stdout.write(`${JSON.stringify(findings)}\n`)
rmSync(folder, { recursive: true, force: true })
process.exit(0)
