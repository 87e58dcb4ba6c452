/**
 * One connection of one chip to WhatsApp, from CONNECT to close: Baileys, its agents and a watchdog.
 *
 * Baileys says nothing when the gateway refuses or hangs; here every way to end becomes one `onClosed` with all that was
 * seen.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import makeWASocket, { type BinaryNode, type ConnectionState } from 'baileys'
import type { WebSocket } from 'ws'

import type { ChipAuth } from './auth-store.ts'
import { baileysConfig } from './baileys-config.ts'
import type { Closing } from './close-policy.ts'
import { EgressAgents, type GatewayRefusal } from './egress-agents.ts'
import { gateFrames } from './frame-gate.ts'
import { PHONE_LIMITS, PhoneWatch, type PhoneLimits } from './phone-watch.ts'
import type { Thrift } from './thrift.ts'

const FIRST_QR_MS = 60_000
const NEXT_QR_MS = 20_000

export type ConnectionLimits = {
  /** CONNECT, TLS and websocket. The gateway gives up on a provider sooner, and says so with 504. */
  connectMs: number
  /** From the websocket to a QR code or a login: up to three queries of 20 s, and 812 keys made and sent. */
  loginMs: number
  /** For a polite end; then the sockets are destroyed. */
  closeMs: number
  phone: PhoneLimits
}

export const CONNECTION_LIMITS: ConnectionLimits = { connectMs: 30_000, loginMs: 120_000, closeMs: 2_000, phone: PHONE_LIMITS }

export interface ConnectionListener {
  onQr(qr: string, expiresAt: Date): void
  onOpen(jid: string): void
  /** The last call. Not made for a connection that we end ourselves. */
  onClosed(closing: Closing): void
  onMediaRefused(): void
  /** The phone has not been heard of for long, or is there again. Only while the connection is open. */
  onPhoneOffline(offline: boolean): void
}

export type ConnectionOptions = {
  proxyUrl: string
  auth: ChipAuth
  thrift: Thrift
  limits: ConnectionLimits
  listener: ConnectionListener
}

type Socket = ReturnType<typeof makeWASocket>

/** Which connection the running code belongs to, so that an error that Baileys leaves unanswered ends only that one. */
const current = new AsyncLocalStorage<WaConnection>()

/** Ends the connection in whose name an unanswered error rose; false when there is none. */
export function blameConnection(error: unknown): boolean {
  const connection = current.getStore()
  connection?.fail(error)
  return connection !== undefined
}

export class WaConnection {
  readonly #options: ConnectionOptions
  readonly #agents: EgressAgents
  readonly #socket: Socket
  readonly #ended: Promise<void>
  #refusal: GatewayRefusal | null = null
  #upgradeStatus: number | null = null
  #overdue: Closing['overdue'] = null
  #watchdog: NodeJS.Timeout
  #release: NodeJS.Timeout | null = null
  #qrSeen = false
  #phone: PhoneWatch | null = null
  #over = false
  #resolveEnded: () => void = () => undefined

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#ended = new Promise((resolve) => (this.#resolveEnded = resolve))
    this.#agents = new EgressAgents(
      options.proxyUrl,
      (refusal) => this.#onRefusal(refusal),
      () => options.listener.onMediaRefused(),
    )
    this.#watchdog = this.#watch('connect', options.limits.connectMs)
    this.#socket = current.run(this, () => this.#makeSocket())
  }

  /** Asks WhatsApp for the code that the owner of `phone` (digits) types in. Only while a QR code could be scanned. */
  requestPairingCode(phone: string): Promise<string> {
    return current.run(this, () => this.#socket.requestPairingCode(phone))
  }

  /** Closes without unlinking the phone. Resolves when every socket is gone; the listener hears nothing. */
  end(): Promise<void> {
    this.#over = true
    this.#finish(undefined)
    return this.#ended
  }

  /** Unlinks the phone, then ends. False when that could not be told to WhatsApp in `limitMs`. */
  async logout(limitMs: number): Promise<boolean> {
    this.#over = true
    const told = await Promise.race([
      this.#socket.logout().then(() => true, () => false),
      new Promise<false>((resolve) => setTimeout(resolve, limitMs, false)),
    ])
    this.#finish(undefined)
    await this.#ended
    return told
  }

  /** An error of this connection that nobody answered: the connection cannot be trusted any more. */
  fail(error: unknown): void {
    this.#finish(error instanceof Error ? error : new Error(String(error)))
  }

  #makeSocket(): Socket {
    const { auth, thrift } = this.#options
    const socket = makeWASocket(baileysConfig(auth, this.#agents, thrift))
    gateFrames(Reflect.get(socket.ws, 'socket') as WebSocket, () => auth.settled())
    socket.ev.on('connection.update', (update) => this.#onUpdate(update))
    socket.ev.on('creds.update', () => void auth.saveCreds().catch(() => undefined)) // the store tells of a failure
    for (const tag of ['message', 'receipt']) socket.ws.on(`CB:${tag}`, (node: BinaryNode) => this.#phone?.saw(node))
    socket.ws.on('open', () => (this.#watchdog = this.#watch('login', this.#options.limits.loginMs)))
    socket.ws.on('unexpected-response', (_request: unknown, response: { statusCode: number }) => {
      this.#upgradeStatus = response.statusCode
      this.#finish(new Error(`WebSocket Error (status ${response.statusCode})`))
    })
    return socket
  }

  #onUpdate(update: Partial<ConnectionState>): void {
    if (update.connection === 'close') this.#onClose(update.lastDisconnect?.error)
    if (this.#over) return
    if (update.qr) this.#onQr(update.qr)
    if (update.connection === 'open') this.#onOpen()
  }

  #onQr(qr: string): void {
    clearTimeout(this.#watchdog)
    const validMs = this.#qrSeen ? NEXT_QR_MS : FIRST_QR_MS
    this.#qrSeen = true
    this.#options.listener.onQr(qr, new Date(Date.now() + validMs))
  }

  #onOpen(): void {
    clearTimeout(this.#watchdog)
    const { auth, limits, listener } = this.#options
    listener.onOpen(auth.creds.me?.id ?? '')
    this.#phone = new PhoneWatch({
      creds: auth.creds,
      limits: limits.phone,
      save: () => void auth.saveCreds().catch(() => undefined),
      onOffline: (offline) => {
        if (!this.#over) listener.onPhoneOffline(offline)
      },
    })
  }

  #onRefusal(refusal: GatewayRefusal): void {
    this.#refusal = refusal
    this.#finish(new Error(`gateway answered ${refusal.status}`))
  }

  #watch(step: 'connect' | 'login', limitMs: number): NodeJS.Timeout {
    clearTimeout(this.#watchdog)
    return setTimeout(() => {
      this.#overdue = step
      this.#finish(new Error('overdue'))
    }, limitMs)
  }

  /** A peer that does not answer the websocket's close would keep it for 30 s, so the sockets go after `closeMs`. */
  #finish(error: Error | undefined): void {
    clearTimeout(this.#watchdog)
    this.#release ??= setTimeout(() => this.#agents.release(), this.#options.limits.closeMs)
    void this.#socket.end(error)
  }

  #onClose(error: unknown): void {
    clearTimeout(this.#watchdog)
    clearTimeout(this.#release ?? undefined)
    this.#phone?.close()
    this.#agents.release()
    this.#resolveEnded()
    if (this.#over) return
    this.#over = true
    this.#options.listener.onClosed(this.#describe(error))
  }

  #describe(error: unknown): Closing {
    const boom = (error ?? {}) as { message?: string; output?: { statusCode?: number }; data?: { code?: unknown } | null }
    const code = boom.data?.code
    return {
      message: boom.message ?? '',
      statusCode: boom.output?.statusCode ?? 0,
      errorCode: typeof code === 'string' ? code : null,
      refusal: this.#refusal,
      upgradeStatus: this.#upgradeStatus,
      overdue: this.#overdue,
    }
  }
}
