/** Wiring: settings in, a listening bridge out, everything ended politely on SIGTERM or SIGINT. */

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import { makeApi } from './api.ts'
import { BackendAuthStore } from './backend-auth-store.ts'
import { Backend } from './backend.ts'
import { ChipRoster } from './chip-roster.ts'
import { ConfigError, readConfig, type BridgeConfig, type Endpoint } from './config.ts'
import { ConnectPacer } from './connect-pacer.ts'
import { installEgressGuard } from './egress-guard.ts'
import { EventOutbox } from './events.ts'
import { Heartbeat } from './heartbeat.ts'
import { makeLog, silenceConsole, type Log } from './log.ts'
import { Metrics } from './metrics.ts'
import { blameConnection, CONNECTION_LIMITS } from './wa-connection.ts'

const EXIT_BAD_CONFIG = 2
/** The whole of a stop; whatever is not done by then is cut. */
const STOP_MOST_MS = 4_500
const EVENTS_PATH = '/internal/bridge/events'
/** Of that, for telling the backend about the closed chips: it may be stopping too. */
const LAST_EVENTS_MS = 1_000

async function main(): Promise<void> {
  silenceConsole()
  const config = readConfig(process.env)
  const log = makeLog(config.logLevel)
  const metrics = new Metrics()
  containStrayErrors(log, metrics)
  installEgressGuard([config.gateway, endpointOf(config.backendUrl)], (target) => {
    metrics.denied.add()
    log.error('egress.denied', { target })
  })
  await run(config, log, metrics)
}

async function run(config: BridgeConfig, log: Log, metrics: Metrics): Promise<void> {
  const { secret, gateway, backendUrl, maxChips } = config
  const bootId = randomUUID()
  const startedAt = new Date()
  const backend = new Backend(backendUrl, secret)
  const store = new BackendAuthStore({ backend, bridgeId: bootId, beat: () => heartbeat.beat() })
  const outbox = new EventOutbox({ url: new URL(EVENTS_PATH, backendUrl), secret, bootId, log, metrics })
  const pacer = new ConnectPacer()
  const parts = { store, outbox, pacer, metrics, log, limits: CONNECTION_LIMITS, chance: Math.random }
  const roster = new ChipRoster(parts, maxChips)
  const heartbeat: Heartbeat = new Heartbeat({
    backend,
    log,
    vitals: () => ({ bridge_id: bootId, url: url(), started_at: startedAt.toISOString(), max_chips: maxChips, draining: roster.stopping }),
    onLapsed: () => roster.lapse(),
    onRestored: () => roster.retryNow(),
  })
  addGauges(metrics, roster, outbox, pacer, heartbeat)

  const api = makeApi({ roster, metrics, log, secret, gateway, bootId, startedAt, isHeard: () => heartbeat.fresh })
  stopOnSignals(log, async () => {
    api.close()
    heartbeat.close()
    await roster.shutDown()
    await outbox.drain(LAST_EVENTS_MS)
    await outbox.close()
    await store.close()
  })
  const { address, port } = await listen(api, config)
  const url = (): string => (config.publicUrl?.href ?? `http://${address.includes(':') ? `[${address}]` : address}:${port}`).replace(/\/$/, '')
  heartbeat.start()
  log.info('bridge.ready', { host: address, port, boot_id: bootId, gateway: `${gateway.host}:${gateway.port}` })
}

async function listen(api: Server, config: BridgeConfig): Promise<AddressInfo> {
  api.listen(config.port, config.host)
  try {
    await once(api, 'listening')
  } catch (error) {
    throw new ConfigError(`Cannot listen on ${config.host}:${config.port} (${(error as NodeJS.ErrnoException).code ?? 'unknown'}).`)
  }
  return api.address() as AddressInfo
}

/**
 * Baileys leaves promises unanswered, for example when a frame does not decrypt. That must cost one chip its connection,
 * not all chips their process. Anything that is no connection's doing is a bug of ours and may crash.
 */
function containStrayErrors(log: Log, metrics: Metrics): void {
  process.on('unhandledRejection', (error) => {
    if (!blameConnection(error)) throw error
    metrics.strayErrors.add()
    log.warning('connection.stray_error', { error: error instanceof Error ? error.message : 'unknown' })
  })
}

function addGauges(metrics: Metrics, roster: ChipRoster, outbox: EventOutbox, pacer: ConnectPacer, heartbeat: Heartbeat): void {
  metrics.gauge({
    name: 'whago_bridge_chips',
    help: 'Chips in this process, by state.',
    read: () => roster.countByState().map(([state, count]) => [{ state }, count]),
  })
  metrics.gauge({ name: 'whago_bridge_events_waiting', help: 'Events not yet taken by the backend.', read: () => [[{}, outbox.waiting]] })
  metrics.gauge({ name: 'whago_bridge_backend_heard', help: 'Whether the backend answers our signs of life.', read: () => [[{}, Number(heartbeat.fresh)]] })
  metrics.gauge({ name: 'whago_bridge_dials_waiting', help: 'Chips in line to connect.', read: () => [[{}, pacer.waiting]] })
}

function stopOnSignals(log: Log, stop: () => Promise<void>): void {
  let stopping = false
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping) return
    stopping = true
    log.info('bridge.stopping', { signal })
    setTimeout(() => process.exit(0), STOP_MOST_MS)
    void stop().catch((error: unknown) => log.warning('bridge.stop_failed', { error: String(error) })).then(() => process.exit(0))
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}

function endpointOf(url: URL): Endpoint {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { host, port: url.port ? Number(url.port) : url.protocol === 'https:' ? 443 : 80 }
}

try {
  await main()
} catch (error) {
  if (!(error instanceof ConfigError)) throw error
  process.stderr.write(`whago bridge: ${error.message}\n`)
  process.exit(EXIT_BAD_CONFIG)
}
