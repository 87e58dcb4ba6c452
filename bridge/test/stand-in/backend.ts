/** The backend's end of the events: checks bearer and signature, keeps what came, and can be away or refuse. */

import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

import type { ChipEvent } from '../../src/events.ts'

export class StandInBackend {
  readonly events: ChipEvent[] = []
  readonly forged: string[] = []
  /** Posts that came, those answered with an error included. */
  posts = 0
  status = 204
  readonly #secret: string
  readonly #server = createServer((request, response) => {
    void this.#take(request).then((status) => response.writeHead(status).end())
  })

  constructor(secret: string) {
    this.#secret = secret
  }

  async listen(port = 0): Promise<number> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/bridge/events`)
  }

  kinds(chipId: string): string[] {
    return this.events.filter((event) => event.chip_id === chipId).map((event) => event.kind.replace('session.', ''))
  }

  async close(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  async #take(request: IncomingMessage): Promise<number> {
    let body = ''
    for await (const part of request) body += String(part)
    this.posts += 1
    const expected = createHmac('sha256', this.#secret).update(`${String(request.headers['x-whago-timestamp'])}.${body}`).digest('hex')
    const genuine = request.headers['x-whago-signature'] === `v1=${expected}`
    if (!genuine || request.headers.authorization !== `Bearer ${this.#secret}`) this.forged.push(body)
    if (this.status < 300) this.events.push(JSON.parse(body) as ChipEvent)
    return this.status
  }
}
