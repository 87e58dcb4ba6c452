/** A counting CONNECT proxy in the gateway's place. It maps every WhatsApp host to the stand-in's edge. */

import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** What a CONNECT gets: a tunnel, a refusal, silence, or a proxy that breaks. */
export type GatewayMood =
  | { kind: 'tunnel' }
  | { kind: 'refuse'; status: number; reason?: string }
  | { kind: 'hang' }
  | { kind: 'close' }
  | { kind: 'garbage' }

export type Connect = { target: string; credential: string; at: number }

export class StandInGateway {
  readonly connects: Connect[] = []
  readonly tunnels = new Set<Socket>()
  mood: GatewayMood = { kind: 'tunnel' }
  bytes = 0
  readonly #edgePort: number
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((client) => this.#accept(client))

  constructor(edgePort: number) {
    this.#edgePort = edgePort
  }

  async listen(port = 0): Promise<number> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return this.port
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get host(): string {
    return `127.0.0.1:${this.port}`
  }

  proxyUrl(user = 'chip', password = 'sesame'): string {
    return `http://${user}:${password}@${this.host}`
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept(client: Socket): void {
    this.#sockets.add(client)
    client.on('close', () => this.#sockets.delete(client))
    client.on('error', () => client.destroy())
    let head = Buffer.alloc(0)
    const onData = (part: Buffer): void => {
      head = Buffer.concat([head, part])
      if (!head.includes('\r\n\r\n')) return
      client.off('data', onData)
      this.#onHead(client, head.toString('latin1'))
    }
    client.on('data', onData)
  }

  #onHead(client: Socket, head: string): void {
    const target = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head)?.[1] ?? head.slice(0, 40)
    const basic = /proxy-authorization: Basic (\S+)/i.exec(head)?.[1] ?? ''
    this.connects.push({ target, credential: Buffer.from(basic, 'base64').toString(), at: Date.now() })
    const mood = this.mood
    if (mood.kind === 'refuse') this.#refuse(client, mood.status, mood.reason)
    if (mood.kind === 'close') client.destroy()
    if (mood.kind === 'garbage') client.end('HELLO, THIS IS NOT HTTP\r\n\r\n')
    if (mood.kind === 'tunnel') this.#tunnel(client)
  }

  #refuse(client: Socket, status: number, reason: string | undefined): void {
    const header = reason ? `X-Gateway-Reason: ${reason}\r\n` : ''
    client.end(`HTTP/1.1 ${status} Refused\r\n${header}Content-Length: 3\r\nConnection: close\r\n\r\nno\n`)
  }

  #tunnel(client: Socket): void {
    const upstream = connect({ host: '127.0.0.1', port: this.#edgePort })
    this.#sockets.add(upstream)
    this.tunnels.add(client)
    client.on('close', () => {
      this.tunnels.delete(client)
      upstream.destroy()
    })
    upstream.on('close', () => client.destroy())
    upstream.on('error', () => client.destroy())
    upstream.on('connect', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      this.#pump(client, upstream)
      this.#pump(upstream, client)
    })
  }

  #pump(from: Socket, to: Socket): void {
    from.on('data', (part: Buffer) => {
      this.bytes += part.length
      to.write(part)
    })
  }
}
