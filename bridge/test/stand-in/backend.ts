/** The backend's end: takes events and keeps state; checks bearer and signature; can be away or refuse. */

import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

import type { ChipEvent } from '../../src/events.ts'
import { refusal, StandInState, type Answer } from './state.ts'

const PREFIX = '/internal/bridge'

export class StandInBackend {
  readonly events: ChipEvent[] = []
  readonly forged: string[] = []
  readonly state = new StandInState()
  /** Posted events that came, those answered with an error included. */
  posts = 0
  /** What an event is answered with. */
  status = 204
  /** Nothing is answered but 503. */
  away = false
  /** What was asked in vain while it was away, events left out. */
  refused = 0
  /** Only the keeping of state is away. */
  stateAway = false
  /** Runs before a change of state is answered; the answer waits for it. */
  beforeState: (path: string) => Promise<void> = () => Promise.resolve()
  readonly #secret: string
  readonly #server = createServer((request, response) => {
    void this.#answer(request).then(({ status, body }) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(body ? JSON.stringify(body) : undefined)
    })
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
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`)
  }

  get eventsUrl(): URL {
    return new URL(`${PREFIX}/events`, this.url)
  }

  kinds(chipId: string): string[] {
    return this.events.filter((event) => event.chip_id === chipId).map((event) => event.kind.replace('session.', ''))
  }

  async close(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    let body = ''
    for await (const part of request) body += String(part)
    const path = (request.url ?? '').replace(PREFIX, '')
    if (path === '/events') return this.#takeEvent(request, body)
    if (request.headers.authorization !== `Bearer ${this.#secret}`) return refusal(401, 'not_authenticated')
    if (this.away || (this.stateAway && path !== '/beat')) {
      this.refused += 1
      return refusal(503, 'unavailable')
    }
    await this.beforeState(path)
    return this.state.answer(path, JSON.parse(body) as Parameters<StandInState['answer']>[1])
  }

  #takeEvent(request: IncomingMessage, body: string): Answer {
    this.posts += 1
    const expected = createHmac('sha256', this.#secret).update(`${String(request.headers['x-whago-timestamp'])}.${body}`).digest('hex')
    const genuine = request.headers['x-whago-signature'] === `v1=${expected}`
    if (!genuine || request.headers.authorization !== `Bearer ${this.#secret}`) this.forged.push(body)
    const status = this.away ? 503 : this.status
    if (status < 300) this.events.push(JSON.parse(body) as ChipEvent)
    return { status }
  }
}
