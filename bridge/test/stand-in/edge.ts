/**
 * A local stand-in of WhatsApp's edge: TLS, websocket, Noise, pairing, login, and the errors that real servers send.
 * It knows the user names of phones that scanned; it stores nothing and checks no key that a client sends.
 */

import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { decodeBinaryNode, encodeBinaryNode, type BinaryNode, type proto } from 'baileys'
import { WebSocketServer, type WebSocket } from 'ws'

import { NoiseRoot, NoiseServer } from './noise-server.ts'
import { scan } from './phone.ts'
import { makeTlsIdentity, type TlsIdentity } from './x509.ts'

const HEADER_BYTES = 4
const REFERENCES = 6

/** What the edge does to a client that logs in; `open` is what it does to everybody well-behaved. */
export type LoginAnswer = { kind: 'open' } | { kind: 'failure'; reason: number } | { kind: 'mute' }

export class Edge {
  readonly noise = new NoiseRoot()
  readonly tls: TlsIdentity = makeTlsIdentity(['web.whatsapp.com', '*.whatsapp.net'])
  readonly clients = new Set<EdgeClient>()
  /** Tags and xmlns of every iq that came, in order: `iq:encrypt:count`. */
  readonly heard: string[] = []
  readonly logins: string[] = []
  /** How many pre-keys each user has left with us. */
  readonly preKeys = new Map<string, number>()
  /** Of users who left none while we looked. */
  preKeysOfStrangers = 0
  loginAnswer: LoginAnswer = { kind: 'open' }
  /** Refuses the websocket with this HTTP status, when set. */
  upgradeStatus: number | null = null
  /** Plain HTTPS requests, method and path: media that went up or down. */
  readonly requests: string[] = []
  readonly #media = new Map<string, Buffer>()
  readonly #server: Server = createServer({ cert: this.tls.certPem, key: this.tls.keyPem }, (request, response) => {
    void this.#serveMedia(request, response)
  })

  async listen(port = 0): Promise<number> {
    const sockets = new WebSocketServer({ noServer: true })
    this.#server.on('upgrade', (request, socket, head) => {
      if (this.upgradeStatus !== null) {
        socket.end(`HTTP/1.1 ${this.upgradeStatus} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
        return
      }
      sockets.handleUpgrade(request, socket, head, (websocket) => this.#accept(websocket))
    })
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  /** The phone of `user` scans a QR code. Throws when no connected client shows that code. */
  scan(qr: string, user: string): void {
    const client = [...this.clients].find((candidate) => qr.includes(`,${candidate.noiseKey},`))
    if (!client) throw new Error('nobody shows this QR code')
    client.scan(qr, user)
  }

  async close(): Promise<void> {
    for (const client of this.clients) client.drop()
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  /** Takes an upload and gives it back under its path, as mmg.whatsapp.net does. */
  async #serveMedia(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '').replace(/\?.*$/, '')
    this.requests.push(`${request.method ?? ''} ${path}`)
    if (request.method === 'POST') {
      const parts: Buffer[] = []
      for await (const part of request as AsyncIterable<Buffer>) parts.push(part)
      this.#media.set(path, Buffer.concat(parts))
      response.end(JSON.stringify({ url: `https://mmg.whatsapp.net${path}`, direct_path: path }))
    } else {
      const media = this.#media.get(path)
      response.writeHead(media ? 200 : 404).end(media)
    }
  }

  #accept(websocket: WebSocket): void {
    const client = new EdgeClient(this, websocket)
    this.clients.add(client)
    websocket.on('close', () => this.clients.delete(client))
  }
}

export class EdgeClient {
  readonly #edge: Edge
  readonly #websocket: WebSocket
  readonly #noise: NoiseServer
  #inbox: Buffer = Buffer.alloc(0)
  #frames = 0
  #user = ''

  constructor(edge: Edge, websocket: WebSocket) {
    this.#edge = edge
    this.#websocket = websocket
    this.#noise = new NoiseServer(edge.noise)
    websocket.on('message', (part: Buffer) => void this.#receive(part))
  }

  /** What the QR code of this client shows, base64. */
  get noiseKey(): string {
    return this.#noise.clientKey
  }

  scan(qr: string, user: string): void {
    this.send({ tag: 'iq', attrs: { from: 's.whatsapp.net', type: 'set', id: 'pair-1' }, content: [scan(qr, user)] })
  }

  send(node: BinaryNode): void {
    this.sendFrame(this.#noise.write(encodeBinaryNode(node)))
  }

  /** A receipt of the phone itself, as of a message that it read. */
  sayFromPhone(): void {
    this.send({ tag: 'receipt', attrs: { from: `${this.#user}@s.whatsapp.net`, id: 'R1', type: 'peer_msg', t: String(Math.floor(Date.now() / 1000)) } })
  }

  sendStreamError(code: number, tag: string): void {
    this.send({ tag: 'stream:error', attrs: { code: String(code) }, content: [{ tag, attrs: {} }] })
  }

  sendFrame(frame: Buffer): void {
    const length = Buffer.from([frame.length >> 16, (frame.length >> 8) & 0xff, frame.length & 0xff])
    this.#websocket.send(Buffer.concat([length, frame]))
  }

  /** Cuts the connection without a goodbye. */
  drop(): void {
    this.#websocket.terminate()
  }

  async #receive(part: Buffer): Promise<void> {
    this.#inbox = Buffer.concat([this.#inbox, this.#inbox.length === 0 && this.#frames === 0 ? part.subarray(HEADER_BYTES) : part])
    while (this.#inbox.length >= 3) {
      const end = 3 + this.#inbox.readUIntBE(0, 3)
      if (this.#inbox.length < end) return
      const frame = this.#inbox.subarray(3, end)
      this.#inbox = this.#inbox.subarray(end)
      this.#frames += 1
      await this.#onFrame(frame)
    }
  }

  async #onFrame(frame: Buffer): Promise<void> {
    if (this.#noise.done) this.#onNode(await decodeBinaryNode(this.#noise.read(frame)))
    else if (this.#frames === 1) this.sendFrame(this.#noise.hello(frame))
    else this.#onClient(this.#noise.finish(frame))
  }

  #onClient(payload: proto.ClientPayload): void {
    if (payload.devicePairingData) this.#sendPairDevice()
    else this.#onLogin(String(payload.username))
  }

  #sendPairDevice(): void {
    const references = Array.from({ length: REFERENCES }, (_, index) => ({ tag: 'ref', attrs: {}, content: Buffer.from(`2@reference-${index}`) }))
    const content = [{ tag: 'pair-device', attrs: {}, content: references }]
    this.send({ tag: 'iq', attrs: { from: 's.whatsapp.net', type: 'set', id: 'pair-0', xmlns: 'md' }, content })
  }

  #onLogin(user: string): void {
    this.#user = user
    this.#edge.logins.push(user)
    const answer = this.#edge.loginAnswer
    if (answer.kind === 'mute') return
    if (answer.kind === 'failure') this.send({ tag: 'failure', attrs: { reason: String(answer.reason) } })
    else this.#welcome(user)
  }

  #welcome(user: string): void {
    this.send({ tag: 'success', attrs: { t: String(Math.floor(Date.now() / 1000)), lid: `9${user}:7@lid` } })
    this.send({ tag: 'ib', attrs: { from: 's.whatsapp.net' }, content: [{ tag: 'offline', attrs: { count: '0' } }] })
  }

  #onNode(node: BinaryNode): void {
    const child = Array.isArray(node.content) ? node.content[0] : undefined
    this.#edge.heard.push([node.tag, node.attrs['xmlns'] ?? '-', child?.tag ?? '-'].join(':'))
    if (child?.tag === 'pair-device-sign') this.sendStreamError(515, 'restart')
    else if (node.tag === 'iq' && node.attrs['type'] !== 'result') this.#answer(node, child?.tag)
  }

  #keepPreKeys(node: BinaryNode): void {
    const list = Array.isArray(node.content) ? node.content.find((part) => part.tag === 'list') : undefined
    if (node.attrs['xmlns'] !== 'encrypt' || !Array.isArray(list?.content)) return
    this.#edge.preKeys.set(this.#user, (this.#edge.preKeys.get(this.#user) ?? 0) + list.content.length)
  }

  #answer(node: BinaryNode, child: string | undefined): void {
    this.#keepPreKeys(node)
    const content: BinaryNode[] = []
    if (child === 'count') content.push({ tag: 'count', attrs: { value: String(this.#edge.preKeys.get(this.#user) ?? this.#edge.preKeysOfStrangers) } })
    if (child === 'digest') content.push({ tag: 'digest', attrs: {} })
    if (child === 'media_conn') content.push(mediaConnection())
    this.send({ tag: 'iq', attrs: { from: 's.whatsapp.net', type: 'result', id: node.attrs['id'] ?? '' }, content })
  }
}

function mediaConnection(): BinaryNode {
  const host = { tag: 'host', attrs: { hostname: 'mmg.whatsapp.net', maxContentLengthBytes: '100000000' } }
  return { tag: 'media_conn', attrs: { auth: 'media-auth', ttl: '300' }, content: [host] }
}
