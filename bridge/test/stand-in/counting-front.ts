/** A plain TCP relay that counts what passes: what the origin sees of the wire, to compare with the gateway's ledger. */

import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export class CountingFront {
  /** From clients to the origin. */
  bytesUp = 0
  /** From the origin to clients. */
  bytesDown = 0
  connections = 0
  /** When each connection came, in milliseconds. */
  readonly arrivals: number[] = []
  readonly #originPort: number
  readonly #server = createServer((client) => this.#relay(client))

  constructor(originPort: number) {
    this.#originPort = originPort
  }

  async listen(port = 0): Promise<number> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  #relay(client: Socket): void {
    this.connections += 1
    this.arrivals.push(Date.now())
    const origin = connect({ host: '127.0.0.1', port: this.#originPort })
    client.on('data', (part) => (this.bytesUp += part.length))
    origin.on('data', (part) => (this.bytesDown += part.length))
    client.pipe(origin)
    origin.pipe(client)
    client.on('error', () => origin.destroy())
    origin.on('error', () => client.destroy())
    client.on('close', () => origin.destroy())
    origin.on('close', () => client.destroy())
  }
}
