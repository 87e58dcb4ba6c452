/** A whole world on loopback for one test file: edge, gateway, backend and the bridge's own parts, really connected. */

import { randomUUID } from 'node:crypto'
import tls from 'node:tls'
import { WA_CERT_DETAILS } from 'baileys'

import { BackendAuthStore } from '../src/backend-auth-store.ts'
import { Backend } from '../src/backend.ts'
import { ChipRoster } from '../src/chip-roster.ts'
import type { ChipParts } from '../src/chip-session.ts'
import type { ChipState, Start } from '../src/chip-view.ts'
import { ConnectPacer } from '../src/connect-pacer.ts'
import { EventOutbox } from '../src/events.ts'
import { Heartbeat } from '../src/heartbeat.ts'
import { makeLog } from '../src/log.ts'
import { Metrics } from '../src/metrics.ts'
import { USUAL_THRIFT } from '../src/thrift.ts'
import { blameConnection, type ConnectionLimits } from '../src/wa-connection.ts'
import { StandInBackend } from './stand-in/backend.ts'
import { Edge } from './stand-in/edge.ts'
import { StandInGateway } from './stand-in/gateway.ts'

export const SECRET = 'a-secret-of-the-tests-0123456789'
export const PHONE = '5511987654321'
/** Far above what anything here takes; only a failing test waits so long. */
const PATIENCE_MS = 90_000
const LOOK_MS = 10
/** A busy machine takes seconds for the keys of a login; who waits for a limit to pass gives a shorter one. */
const TEST_LIMITS: ConnectionLimits = {
  connectMs: 60_000, loginMs: 60_000, closeMs: 200, phone: { firstWordMs: 60_000, silentMs: 60_000, lookEveryMs: 60_000 },
}
/** A write that fails is given up on after this, so that a test need not wait for the real patience. */
const PATIENCE_OF_WRITES_MS = 3_000

export class World {
  readonly edge = new Edge()
  readonly backend = new StandInBackend(SECRET)
  readonly metrics = new Metrics()
  gateway!: StandInGateway
  outbox!: EventOutbox
  store!: BackendAuthStore
  roster!: ChipRoster
  heartbeat!: Heartbeat
  limits = TEST_LIMITS
  #client!: Backend

  static async make(limits: Partial<ConnectionLimits> = {}): Promise<World> {
    const world = new World()
    world.limits = { ...TEST_LIMITS, ...limits }
    world.gateway = new StandInGateway(await world.edge.listen())
    await world.gateway.listen()
    await world.backend.listen()
    trust(world.edge)
    await world.start()
    return world
  }

  /** The bridge's own parts, as main.ts wires them; again after `stop` for a restart. */
  async start(): Promise<void> {
    const log = makeLog('error')
    const { metrics } = this
    const bridgeId = randomUUID()
    this.#client = new Backend(this.backend.url, SECRET)
    this.store = new BackendAuthStore({
      backend: this.#client, bridgeId, beat: () => this.heartbeat.beat(), patienceMs: PATIENCE_OF_WRITES_MS,
    })
    this.outbox = new EventOutbox({ url: this.backend.eventsUrl, secret: SECRET, bootId: bridgeId, log, metrics, firstRetryMs: 20 })
    const pacer = new ConnectPacer({ mostAtOnce: 10, gapMs: 1, holdMs: 5_000 })
    const parts: ChipParts = { store: this.store, outbox: this.outbox, pacer, metrics, log, limits: this.limits, chance: () => 0 }
    this.roster = new ChipRoster(parts, 50)
    this.heartbeat = new Heartbeat({
      backend: this.#client,
      log,
      vitals: () => ({ bridge_id: bridgeId, url: 'http://127.0.0.1:1', started_at: new Date().toISOString(), max_chips: 50, draining: false }),
      onLapsed: () => this.roster.lapse(),
      onRestored: () => this.roster.retryNow(),
    })
    await this.heartbeat.beat()
    this.heartbeat.start()
  }

  async stop(): Promise<void> {
    await this.roster.shutDown()
    await this.outbox.drain(1_000)
    await this.outbox.close()
    this.heartbeat.close()
    await this.store.close()
    await this.#client.close()
  }

  async close(): Promise<void> {
    await this.stop()
    await this.gateway.close()
    await this.edge.close()
    await this.backend.close()
  }

  /** After each test: no chip of one is in the way of the next, and everybody behaves again. */
  async calm(): Promise<void> {
    this.edge.loginAnswer = { kind: 'open' }
    this.edge.upgradeStatus = null
    this.gateway.mood = { kind: 'tunnel' }
    this.backend.status = 204
    this.backend.away = false
    this.backend.stateAway = false
    this.backend.beforeState = () => Promise.resolve()
    await Promise.all(this.roster.list().map((chip) => this.roster.remove(chip.chipId, false)))
  }

  startOf(changes: Partial<Start> = {}): Start {
    return { proxyUrl: this.gateway.proxyUrl(), pairing: 'qr', phone: null, thrift: USUAL_THRIFT, ...changes }
  }

  /** A new chip on its way. */
  async create(changes: Partial<Start> = {}): Promise<string> {
    const chipId = randomUUID()
    await this.roster.create(chipId, this.startOf(changes))
    return chipId
  }

  /** A chip that was paired with PHONE and is open. */
  async createOpen(): Promise<string> {
    const chipId = await this.create()
    await this.becomes(chipId, 'qr')
    this.scan(chipId)
    await this.becomes(chipId, 'open')
    return chipId
  }

  scan(chipId: string): void {
    this.edge.scan(this.roster.get(chipId)!.pairing!.qr!, PHONE)
  }

  view(chipId: string) {
    return this.roster.get(chipId)!.view()
  }

  becomes(chipId: string, state: ChipState): Promise<void> {
    return until(() => this.roster.get(chipId)?.state === state, () => `${state}; it is ${JSON.stringify(this.view(chipId))}`)
  }
}

export async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what()}`)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

/** A code that was renewed meanwhile is told again. */
export function withoutRepeats(kinds: string[]): string[] {
  return kinds.filter((kind, n) => kind !== kinds[n - 1])
}

/** Only for this process: the edge's own authority beside the system's, and its root in place of WhatsApp's. */
function trust(edge: Edge): void {
  tls.setDefaultCACertificates([...tls.getCACertificates('default'), edge.tls.caPem])
  WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(edge.noise.root.public)
}

process.on('unhandledRejection', (error) => {
  if (!blameConnection(error)) throw error
})
