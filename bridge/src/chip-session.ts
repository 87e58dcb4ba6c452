/**
 * The life of one chip in this process: a state machine over connections that come and go.
 *
 *     create → connecting → qr → connecting → open → (backoff → connecting → open …) → stopped
 *
 * close-policy.ts decides, this carries it out. What has to wait (the store, a polite close) is done one at a time in
 * `#turn`, so that a stop and a reconnect never overlap.
 */

import { AuthStoreError, type AuthStore, type ChipAuth } from './auth-store.ts'
import type { History } from './baileys-config.ts'
import { backoffDelayMs, decide, type Closing, type Decision, type LastError } from './close-policy.ts'
import type { ConnectPacer } from './connect-pacer.ts'
import type { EventKind, EventOutbox } from './events.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { WaConnection, type ConnectionLimits, type ConnectionListener } from './wa-connection.ts'

export const CHIP_STATES = [
  'connecting', 'qr', 'open', 'backoff', 'proxy_blocked', 'stopped', 'logged_out', 'replaced',
] as const
export type ChipState = (typeof CHIP_STATES)[number]

/** In these the chip holds a proxy URL and goes on by itself or waits to be told that its way is free. */
const RUNNING: ReadonlySet<ChipState> = new Set<ChipState>(['connecting', 'qr', 'open', 'backoff', 'proxy_blocked'])

const EVENT_OF: Record<ChipState, EventKind> = {
  connecting: 'session.connecting',
  qr: 'session.qr',
  open: 'session.open',
  backoff: 'session.backoff',
  proxy_blocked: 'session.proxy_blocked',
  stopped: 'session.closed',
  logged_out: 'session.logged_out',
  replaced: 'session.replaced',
}

/** An open connection that lasted this long was a good one: the next trouble starts at one second again. */
const STABLE_MS = 30_000
/** WhatsApp asks for one restart after a pairing; more in a row are trouble and are slowed down. */
const MOST_RESTARTS = 3
/** For telling WhatsApp that the device is unlinked. */
const LOGOUT_MS = 5_000
/** WhatsApp gives six references for a pairing: 60 s and five times 20 s. A code lives as long. */
const PAIRING_CODE_MS = 160_000

export type Start = { proxyUrl: string; pairing: 'qr' | 'code'; phone: string | null; history: History }
export type Pairing = { qr: string | null; pairing_code: string | null; expires_at: string }

export type ChipView = {
  chip_id: string
  state: ChipState
  since: string
  phone_number: string | null
  pairing: 'qr' | 'code'
  history: History
  attempt: number
  last_error: LastError | null
  next_retry_at: string | null
}

/** What a request cannot have right now; the code goes to the client. */
export class ChipConflict extends Error {
  readonly code: 'other_proxy' | 'not_running' | 'not_pairing'

  constructor(code: ChipConflict['code'], message: string) {
    super(message)
    this.code = code
  }
}

export type ChipParts = {
  store: AuthStore
  outbox: EventOutbox
  pacer: ConnectPacer
  metrics: Metrics
  log: Log
  limits: ConnectionLimits
  /** In [0, 1): spreads the retries. */
  chance: () => number
}

export class ChipSession {
  readonly chipId: string
  readonly #parts: ChipParts
  #start: Start
  #state: ChipState = 'stopped'
  #since = new Date()
  #auth: ChipAuth | null = null
  #connection: WaConnection | null = null
  #pairing: Pairing | null = null
  #lastError: LastError | null = null
  #nextRetryAt: Date | null = null
  #failures = 0
  #restarts = 0
  #timer: NodeJS.Timeout | null = null
  #leaveQueue: () => void = () => undefined
  /** Grows whenever somebody asks for something else; a decision made before that is void. */
  #epoch = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(chipId: string, start: Start, parts: ChipParts) {
    this.chipId = chipId
    this.#start = start
    this.#parts = parts
  }

  get state(): ChipState {
    return this.#state
  }

  get running(): boolean {
    return RUNNING.has(this.#state)
  }

  get pairing(): Pairing | null {
    return this.#state === 'qr' ? this.#pairing : null
  }

  view(): ChipView {
    return {
      chip_id: this.chipId,
      state: this.#state,
      since: this.#since.toISOString(),
      phone_number: phoneOf(this.#auth?.creds.me?.id),
      pairing: this.#start.pairing,
      history: this.#start.history,
      attempt: this.#failures,
      last_error: this.#lastError,
      next_retry_at: this.#nextRetryAt?.toISOString() ?? null,
    }
  }

  /** Starts, or tells a chip that waits at a closed gateway to try again. Throws ChipConflict for another proxy. */
  start(start: Start): Promise<void> {
    return this.#turn(async () => {
      if (this.running && start.proxyUrl !== this.#start.proxyUrl) {
        throw new ChipConflict('other_proxy', 'The chip runs with another proxy URL; stop it or POST …/proxy first.')
      }
      this.#start = start
      if (this.running && this.#state !== 'proxy_blocked') return
      if (await this.#openAuth()) this.#redial()
    })
  }

  /** Reconnects at once through another URL of the gateway. Throws ChipConflict when the chip does not run. */
  useProxy(proxyUrl: string): Promise<void> {
    return this.#turn(async () => {
      if (!this.running) throw new ChipConflict('not_running', 'The chip does not run; create it with its proxy URL.')
      this.#start = { ...this.#start, proxyUrl }
      await this.#endConnection()
      this.#redial()
    })
  }

  /** Throws ChipConflict unless a QR code could be scanned now. */
  async requestPairingCode(phone: string): Promise<Pairing> {
    if (this.#state !== 'qr' || !this.#connection) {
      throw new ChipConflict('not_pairing', 'A pairing code can be asked for only while the chip waits to be paired.')
    }
    this.#start = { ...this.#start, pairing: 'code', phone }
    return this.#makePairingCode(this.#connection, phone)
  }

  /** Ends without unlinking; the credentials stay. `cause` is told to the backend. */
  stop(cause: LastError | null = null): Promise<void> {
    return this.#turn(async () => {
      await this.#endConnection()
      await this.#closeAuth()
      if (this.#state !== 'stopped') this.#become('stopped', cause)
    })
  }

  /** Ends and removes the credentials. Answers whether the phone was unlinked, which needs an open connection. */
  remove(logout: boolean): Promise<boolean> {
    return this.#turn(async () => {
      const unlinked = logout && this.#state === 'open' && this.#connection ? await this.#connection.logout(LOGOUT_MS) : false
      await this.#endConnection()
      await this.#wipeAuth()
      this.#state = 'stopped'
      return unlinked
    })
  }

  #turn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined) // the caller of this turn hears of it; the next one starts anyway
    return turn
  }

  /** False, with the chip stopped and the reason told, when its stored credentials cannot be used. */
  async #openAuth(): Promise<boolean> {
    if (this.#auth) return true
    try {
      this.#auth = await this.#parts.store.open(this.chipId)
      return true
    } catch (error) {
      if (!(error instanceof AuthStoreError)) throw error
      this.#become('stopped', { layer: 'bridge', code: error.code, reason: error.code })
      return false
    }
  }

  #redial(): void {
    this.#failures = 0
    this.#restarts = 0
    this.#dial()
  }

  #dial(): void {
    this.#clearTimer()
    this.#leaveQueue()
    const epoch = ++this.#epoch
    this.#become('connecting', this.#lastError)
    this.#leaveQueue = this.#parts.pacer.enter(() => void this.#turn(() => this.#connect(epoch)))
  }

  async #connect(epoch: number): Promise<void> {
    if (epoch !== this.#epoch || !this.#auth) return
    await this.#auth.renewUnpaired()
    this.#parts.metrics.dials.add()
    this.#connection = new WaConnection({
      proxyUrl: this.#start.proxyUrl,
      auth: this.#auth,
      history: this.#start.history,
      limits: this.#parts.limits,
      listener: this.#listener(),
    })
  }

  #listener(): ConnectionListener {
    return {
      onQr: (qr, expiresAt) => this.#onQr(qr, expiresAt),
      onOpen: () => this.#onOpen(),
      onClosed: (closing) => this.#onClosed(closing),
      onAuthFailed: (error) => this.#onAuthFailed(error),
      onMediaRefused: () => this.#parts.metrics.mediaRefusals.add(),
    }
  }

  #onQr(qr: string, expiresAt: Date): void {
    this.#leaveQueue()
    const connection = this.#connection
    if (this.#start.pairing === 'code' && this.#start.phone && connection) {
      if (this.#pairing?.pairing_code) return
      this.#makePairingCode(connection, this.#start.phone).catch((error: unknown) => connection.fail(error))
      return
    }
    this.#showPairing({ qr, pairing_code: null, expires_at: expiresAt.toISOString() })
  }

  async #makePairingCode(connection: WaConnection, phone: string): Promise<Pairing> {
    const code = await connection.requestPairingCode(phone)
    const expiresAt = new Date(Date.now() + PAIRING_CODE_MS).toISOString()
    return this.#showPairing({ qr: null, pairing_code: code, expires_at: expiresAt })
  }

  #showPairing(pairing: Pairing): Pairing {
    this.#pairing = pairing
    this.#become('qr', null)
    return pairing
  }

  #onOpen(): void {
    this.#leaveQueue()
    this.#pairing = null
    this.#become('open', null)
    this.#timer = setTimeout(() => {
      this.#failures = 0
      this.#restarts = 0
    }, STABLE_MS)
  }

  #onClosed(closing: Closing): void {
    const decision = decide(closing)
    this.#connection = null
    this.#pairing = null
    this.#leaveQueue()
    this.#clearTimer()
    this.#parts.metrics.closes.add({ layer: decision.error.layer, reason: decision.error.reason })
    const epoch = this.#epoch
    void this.#turn(async () => {
      if (epoch === this.#epoch) await this.#carryOut(decision)
    })
  }

  /** What is in memory is ahead of the disk: no more of WhatsApp's words may be taken until it can be stored again. */
  #onAuthFailed(error: AuthStoreError): void {
    this.#parts.log.error('chip.auth_failed', { chip: this.chipId, code: error.code, cause: String(error.cause) })
    const epoch = this.#epoch
    void this.#turn(async () => {
      if (epoch !== this.#epoch) return
      await this.#endConnection()
      this.#backOff({ layer: 'bridge', code: error.code, reason: error.code })
    })
  }

  async #carryOut({ next, error }: Decision): Promise<void> {
    await this.#auth?.flush() // a pairing is stored before the connection that uses it
    if (next === 'reconnect' && ++this.#restarts <= MOST_RESTARTS) this.#dial()
    else if (next === 'reconnect' || next === 'backoff') this.#backOff(error)
    else if (next === 'pause') this.#become('proxy_blocked', error)
    else await this.#finish(next, error)
  }

  async #finish(next: 'stop' | 'replaced' | 'logged_out', error: LastError): Promise<void> {
    if (next === 'logged_out') await this.#wipeAuth()
    else await this.#closeAuth()
    this.#become(next === 'stop' ? 'stopped' : next, error)
  }

  #backOff(error: LastError): void {
    this.#failures += 1
    const delayMs = backoffDelayMs(this.#failures, this.#parts.chance())
    this.#nextRetryAt = new Date(Date.now() + delayMs)
    this.#become('backoff', error)
    this.#timer = setTimeout(() => this.#dial(), delayMs)
  }

  async #endConnection(): Promise<void> {
    this.#epoch += 1
    this.#clearTimer()
    this.#leaveQueue()
    const connection = this.#connection
    this.#connection = null
    this.#pairing = null
    await connection?.end()
  }

  async #closeAuth(): Promise<void> {
    const auth = this.#auth
    this.#auth = null
    await auth?.close()
  }

  async #wipeAuth(): Promise<void> {
    const auth = this.#auth
    this.#auth = null
    await (auth ? auth.wipe() : this.#parts.store.forget(this.chipId))
  }

  #clearTimer(): void {
    clearTimeout(this.#timer ?? undefined)
    this.#timer = null
  }

  #become(state: ChipState, error: LastError | null): void {
    if (state !== 'backoff') this.#nextRetryAt = null
    if (state !== this.#state) this.#since = new Date()
    this.#state = state
    this.#lastError = error
    const pairing = state === 'qr' ? this.#pairing : null
    this.#parts.log.info(`chip.${state}`, { chip: this.chipId, attempt: this.#failures, ...error })
    this.#parts.outbox.push(this.chipId, EVENT_OF[state], { ...this.view(), ...pairing })
  }
}

/** `5511999990000:12@s.whatsapp.net` → `5511999990000`. */
function phoneOf(jid: string | undefined): string | null {
  return /^(\d+)[:@]/.exec(jid ?? '')?.[1] ?? null
}
