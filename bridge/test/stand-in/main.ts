/**
 * The stand-in of WhatsApp's edge as a process, for tests in other languages:
 *
 *     node test/stand-in/main.ts FOLDER [PORT]
 *
 * writes FOLDER/ca.pem (give it to the bridge as NODE_EXTRA_CA_CERTS) and prints one line of JSON:
 * {"edge_port", "control_url", "ca_file", "noise_root"}. Control, JSON over HTTP: GET /state; POST /scan {qr, phone};
 * POST /pre-keys {count}: how many users have here whom it has never seen; POST /login-answer {kind: "open" | "mute" | "failure", reason?}; POST /stream-error {code, tag}; POST /drop.
 */

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { CountingFront } from './counting-front.ts'
import { Edge, type LoginAnswer } from './edge.ts'

const [folder, port] = process.argv.slice(2)
if (!folder) throw new Error('usage: main.ts FOLDER [PORT]')

const edge = new Edge()
const front = new CountingFront(await edge.listen())
const edgePort = await front.listen(Number(port ?? 0))

function state(): object {
  const { logins, heard, requests } = edge
  const { bytesUp, bytesDown, connections, arrivals } = front
  return { clients: edge.clients.size, logins, heard, requests, connections, arrivals, bytes_up: bytesUp, bytes_down: bytesDown }
}

const commands: Record<string, (body: unknown) => unknown> = {
  'GET /state': state,
  'POST /scan': (body) => {
    const { qr, phone } = body as { qr: string; phone: string }
    edge.scan(qr, phone)
  },
  'POST /login-answer': (body) => (edge.loginAnswer = body as LoginAnswer),
  'POST /stream-error': (body) => {
    const { code, tag } = body as { code: number; tag: string }
    for (const client of edge.clients) client.sendStreamError(code, tag)
  },
  'POST /pre-keys': (body) => {
    edge.preKeysOfStrangers = (body as { count: number }).count
  },
  'POST /drop': () => {
    for (const client of edge.clients) client.drop()
  },
}

async function answer(request: IncomingMessage): Promise<[status: number, body: unknown]> {
  const command = commands[`${request.method ?? ''} ${request.url ?? ''}`]
  if (!command) return [404, { error: 'no such command' }]
  let text = ''
  for await (const part of request) text += String(part)
  try {
    return [200, command(text ? JSON.parse(text) : {}) ?? {}]
  } catch (error) {
    return [409, { error: String(error) }]
  }
}

const control = createServer((request, response) => {
  void answer(request).then(([status, body]) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
})
control.listen(0, '127.0.0.1')
await once(control, 'listening')

const caFile = join(folder, 'ca.pem')
writeFileSync(caFile, edge.tls.caPem)
process.stdout.write(`${JSON.stringify({
  edge_port: edgePort,
  control_url: `http://127.0.0.1:${(control.address() as AddressInfo).port}`,
  ca_file: caFile,
  noise_root: Buffer.from(edge.noise.root.public).toString('hex'),
})}\n`)
process.on('SIGTERM', () => process.exit(0))
