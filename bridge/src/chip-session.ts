/**
 * The life of one chip in this process: a state machine over connections that come and go.
 *
 *     create → connecting → qr → connecting → open → (backoff → connecting → open …) → stopped
 *
 * close-policy.ts decides, this carries it out. What has to wait (the store, a polite close) is done one at a time in
 * `#turn`, so that a stop and a reconnect never overlap. Nothing is dialled before the store has given the chip to this
 * process, and the connection ends before the chip is given back.
 */

import { AuthHolder } from './auth-holder.ts'
import type { AuthStore, AuthStoreError } from './auth-store.ts'
import { ChipConflict, EVENT_OF, phoneOf, RUNNING, type ChipState, type ChipView, type Pairing, type Start } from './chip-view.ts'
import { backoffDelayMs, decide, type Closing, type Decision, type LastError } from './close-policy.ts'
import type { ConnectPacer } from './connect-pacer.ts'
import type { EventOutbox } from './events.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { phoneSeenAt } from './phone-watch.ts'
import { sameThrift, type Thrift } from './thrift.ts'
import { WaConnection, type ConnectionLimits, type ConnectionListener } from './wa-connection.ts'

/** An open connection that lasted this long was a good one: the next trouble starts at one second again. */
const STABLE_MS = 30_000
/** WhatsApp asks for one restart after a pairing; more in a row are trouble and are slowed down. */
const MOST_RESTARTS = 3
/** For telling WhatsApp that the device is unlinked. */
const LOGOUT_MS = 5_000
/** WhatsApp gives six references for a pairing: 60 s and five times 20 s. A code lives as long. */
const PAIRING_CODE_MS = 160_000
/** The backend hears that the phone unlinked us before the credentials go: a crash in between is then no riddle. */
const LAST_WORD_MS = 5_000

const PHONE_OFFLINE: LastError = { layer: 'wa', code: 'phone_silent', reason: 'phone_offline' }
const SHUTDOWN: LastError = { layer: 'bridge', code: 'shutdown', reason: 'bridge_stopping' }
const ASKED: LastError = { layer: 'bridge', code: 'asked', reason: 'unlinked_by_user' }

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
  readonly #held: AuthHolder
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
    this.#held = new AuthHolder({
      chipId,
      store: parts.store,
      log: parts.log,
      onOpened: (auth) => parts.outbox.continueAfter(auth.lastEventNo),
      onFailure: (error) => this.#onAuthFailed(error),
    })
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
      phone_number: phoneOf(this.#held.auth?.creds.me?.id),
      pairing: this.#start.pairing,
      ...this.#start.thrift,
      attempt: this.#failures,
      last_error: this.#lastError,
      next_retry_at: this.#nextRetryAt?.toISOString() ?? null,
      phone_seen_at: phoneSeenAt(this.#held.auth?.creds),
    }
  }

  /**
   * Starts, or tells a chip that waits at a closed gateway to try again. Throws ChipConflict for another proxy, and for a
   * chip that another bridge runs.
   */
  start(start: Start): Promise<void> {
    return this.#turn(async () => {
      if (this.running && start.proxyUrl !== this.#start.proxyUrl) {
        throw new ChipConflict('other_proxy', 'The chip runs with another proxy URL; stop it or POST …/proxy first.')
      }
      this.#start = start
      if (this.running && this.#state !== 'proxy_blocked') return
      const failure = await this.#held.open()
      const conflict = failure ? this.#onNotOpened(failure) : null
      if (conflict) throw conflict
      if (!failure) this.#redial()
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

  /** From now on; a chip that is connected, or about to be, connects anew. */
  useThrift(thrift: Thrift): Promise<void> {
    return this.#turn(async () => {
      const changed = !sameThrift(thrift, this.#start.thrift)
      this.#start = { ...this.#start, thrift }
      if (!changed || !this.#connection) return
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

  /** Ends without unlinking; the credentials stay. */
  stop(): Promise<void> {
    return this.#turn(async () => {
      await this.#endConnection()
      if (this.#state !== 'stopped') this.#become('stopped', null)
      await this.#held.close()
    })
  }

  /** Ends with this process, which gives back all chips at once. */
  shutDown(): Promise<void> {
    return this.#turn(async () => {
      await this.#endConnection()
      if (this.running) this.#become('stopped', SHUTDOWN)
      await this.#held.auth?.settled()?.catch(() => undefined)
      this.#held.abandon()
    })
  }

  /** Ends and removes the credentials. Answers whether the phone was unlinked, which needs an open connection. */
  remove(logout: boolean): Promise<boolean> {
    return this.#turn(async () => {
      const unlinked = await this.#forgetDevice(logout)
      this.#state = 'stopped'
      return unlinked
    })
  }

  /** Unlinks the phone and removes the credentials; the chip stays, logged out. */
  logout(): Promise<boolean> {
    return this.#turn(async () => {
      const unlinked = await this.#forgetDevice(true)
      this.#become('logged_out', ASKED)
      return unlinked
    })
  }

  /** The backend has not heard of this process for too long: the chip may go elsewhere, so it is given up now. */
  lapse(): Promise<void> {
    return this.#turn(async () => {
      if (!this.#held.auth) return
      await this.#endConnection()
      this.#held.abandon()
      this.#backOff({ layer: 'bridge', code: 'hold_lapsed', reason: 'backend_unreachable' })
    })
  }

  /** The backend is there again: what waits for it need not wait longer. */
  retryNow(): void {
    if (this.#state === 'backoff' && this.#lastError?.reason === 'backend_unreachable') this.#dial()
  }

  #turn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined) // the caller of this turn hears of it; the next one starts anyway
    return turn
  }

  /** Answers a ChipConflict for a chip that is not ours to run. */
  #onNotOpened({ code }: AuthStoreError): ChipConflict | null {
    if (code === 'chip_held' || code === 'unknown_chip') return this.#leave(code === 'chip_held' ? 'runs_elsewhere' : code)
    if (code === 'backend_away') this.#backOff({ layer: 'bridge', code, reason: 'backend_unreachable' })
    else this.#become('stopped', { layer: 'bridge', code, reason: code })
    return null
  }

  #redial(): void {
    this.#failures = 0
    this.#restarts = 0
    this.#lastError = null
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
    if (epoch !== this.#epoch) return
    const failure = await this.#held.open()
    const { auth } = this.#held
    if (failure || !auth) {
      this.#leaveQueue()
      if (failure) this.#onNotOpened(failure) // a conflict is told by the state; nobody waits for an answer here
      return
    }
    auth.renewUnpaired()
    this.#parts.metrics.dials.add()
    const { proxyUrl, thrift } = this.#start
    this.#connection = new WaConnection({ proxyUrl, auth, thrift, limits: this.#parts.limits, listener: this.#listener() })
  }

  #listener(): ConnectionListener {
    return {
      onQr: (qr, expiresAt) => this.#onQr(qr, expiresAt),
      onOpen: () => this.#onOpen(),
      onClosed: (closing) => this.#onClosed(closing),
      onPhoneOffline: (offline) => this.#become('open', offline ? PHONE_OFFLINE : null),
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

  /** What is in memory is ahead of what is stored: it is dropped, and the chip starts from the store again. */
  #onAuthFailed(error: AuthStoreError): void {
    this.#parts.log.error('chip.auth_failed', { chip: this.chipId, code: error.code, cause: String(error.cause) })
    const { auth } = this.#held
    void this.#turn(async () => {
      if (auth !== this.#held.auth) return
      await this.#endConnection()
      this.#held.abandon()
      if (error.code === 'hold_lost') this.#leave('runs_elsewhere')
      else this.#backOff({ layer: 'bridge', code: error.code, reason: 'backend_unreachable' })
    })
  }

  async #carryOut({ next, error }: Decision): Promise<void> {
    await this.#held.auth?.settled()?.catch(() => undefined) // a pairing is stored before the connection that uses it
    if (next === 'reconnect' && ++this.#restarts <= MOST_RESTARTS) this.#dial()
    else if (next === 'reconnect' || next === 'backoff') this.#backOff(error)
    else if (next === 'pause') this.#become('proxy_blocked', error)
    else if (next === 'logged_out') await this.#beLoggedOut(error)
    else {
      this.#become(next === 'stop' ? 'stopped' : next, error)
      await this.#held.close()
    }
  }

  async #beLoggedOut(error: LastError): Promise<void> {
    const auth = this.#held.take()
    this.#become('logged_out', error)
    await this.#parts.outbox.delivered(this.chipId, LAST_WORD_MS)
    await this.#held.tolerated(auth?.wipe())
  }

  #backOff(error: LastError): void {
    this.#clearTimer()
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

  /** Another bridge speaks for this chip: here it ends in silence. */
  #leave(reason: 'runs_elsewhere' | 'unknown_chip'): ChipConflict {
    this.#clearTimer()
    this.#state = 'stopped'
    this.#since = new Date()
    this.#nextRetryAt = null
    this.#lastError = { layer: 'bridge', code: reason, reason }
    this.#parts.log.warning('chip.left', { chip: this.chipId, reason })
    return new ChipConflict(reason, 'The backend does not give this chip to this bridge.')
  }

  /** Throws AuthStoreError when what is stored cannot be removed. */
  async #forgetDevice(logout: boolean): Promise<boolean> {
    const unlinked = logout && this.#state === 'open' && this.#connection ? await this.#connection.logout(LOGOUT_MS) : false
    await this.#endConnection()
    try {
      await this.#held.wipe()
    } catch (error) {
      this.#become('stopped', { layer: 'bridge', code: (error as AuthStoreError).code, reason: 'backend_unreachable' })
      throw error
    }
    return unlinked
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
    this.#parts.outbox.push(this.chipId, EVENT_OF[state], { ...this.view(), ...pairing }, this.#held.epoch)
  }
}
