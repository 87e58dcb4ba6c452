/**
 * Why a chip's connection ended and what to do about it: a table, no side effects.
 *
 * Only WhatsApp's own words may cost a chip its credentials. The same numbers mean other things when the way there
 * broke (a proxy that closes early looks like 500, "bad session"), so the message's beginning decides who speaks.
 */

import type { GatewayRefusal } from './egress-agents.ts'

export type Layer = 'proxy' | 'tls' | 'wa' | 'bridge'
export type LastError = { layer: Layer; code: number | string; reason: string }

/**
 * reconnect: at once. backoff: again later, same IP. pause: wait until told (the way is closed). stop: wait until asked
 * (keeps the credentials). replaced: another process has this chip. logged_out: wipe the credentials.
 */
export type Next = 'reconnect' | 'backoff' | 'pause' | 'stop' | 'replaced' | 'logged_out'
export type Decision = { next: Next; error: LastError }

/** Everything that was seen of an ended connection. */
export type Closing = {
  message: string
  statusCode: number
  /** Node's code of the underlying error (ECONNREFUSED, CERT_HAS_EXPIRED, …). */
  errorCode: string | null
  refusal: GatewayRefusal | null
  /** The HTTP status with which WhatsApp's edge refused the websocket. */
  upgradeStatus: number | null
  /** The step that our watchdog gave up on. */
  overdue: 'connect' | 'login' | null
}

type Row = { next: Next; reason: string }

const GATEWAY: Record<number, Row> = {
  402: { next: 'pause', reason: 'quota_exhausted' },
  403: { next: 'backoff', reason: 'host_not_allowed' },
  407: { next: 'pause', reason: 'bad_credential' },
  502: { next: 'backoff', reason: 'upstream_refused' },
  503: { next: 'backoff', reason: 'no_healthy_proxy' },
  504: { next: 'backoff', reason: 'upstream_timeout' },
}

const QR_ENDED = 'QR refs attempts ended'
const WHATSAPP_SPEAKS = ['Connection Failure', 'Stream Errored', 'Multi-device beta not joined']

/** Codes of `<failure>` and `<stream:error>`; 402, 405, 406 and 409 as whatsmeow's ConnectFailureReason explains them. */
const WHATSAPP: Record<number, Row> = {
  401: { next: 'logged_out', reason: 'logged_out' },
  402: { next: 'stop', reason: 'temporarily_banned' },
  403: { next: 'stop', reason: 'forbidden' },
  405: { next: 'stop', reason: 'client_outdated' },
  406: { next: 'stop', reason: 'account_refused' },
  409: { next: 'stop', reason: 'client_outdated' },
  411: { next: 'stop', reason: 'multi_device_missing' },
  440: { next: 'replaced', reason: 'replaced' },
  503: { next: 'backoff', reason: 'whatsapp_unavailable' },
  515: { next: 'reconnect', reason: 'restart_required' },
}

const GATEWAY_DOWN = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT'])
const TLS_CODE = /^(CERT_|ERR_TLS_|ERR_SSL_|EPROTO$|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA)/

export function decide(closing: Closing): Decision {
  if (closing.refusal) return decideRefusal(closing.refusal)
  if (closing.overdue) return backoff('proxy', 504, `${closing.overdue}_timeout`)
  if (closing.message.startsWith(QR_ENDED)) return { next: 'stop', error: { layer: 'wa', code: 408, reason: 'qr_expired' } }
  if (WHATSAPP_SPEAKS.some((beginning) => closing.message.startsWith(beginning))) return decideWhatsApp(closing)
  if (closing.upgradeStatus !== null) return backoff('wa', closing.upgradeStatus, 'upgrade_refused')
  return decideTransport(closing)
}

function decideRefusal(refusal: GatewayRefusal): Decision {
  const row = GATEWAY[refusal.status] ?? { next: 'backoff', reason: 'gateway_refused' }
  return { next: row.next, error: { layer: 'proxy', code: refusal.status, reason: refusal.reason ?? row.reason } }
}

function decideWhatsApp(closing: Closing): Decision {
  const row = WHATSAPP[closing.statusCode] ?? { next: 'backoff', reason: 'whatsapp_error' }
  return { next: row.next, error: { layer: 'wa', code: closing.statusCode, reason: row.reason } }
}

/** The credentials are never touched here. */
function decideTransport(closing: Closing): Decision {
  const code = closing.errorCode
  if (code && TLS_CODE.test(code)) return backoff('tls', code, 'server_not_verified')
  if (code && GATEWAY_DOWN.has(code)) return backoff('proxy', code, 'gateway_unreachable')
  if (closing.message.includes('before receiving CONNECT response')) return backoff('proxy', 502, 'gateway_closed_early')
  return backoff('proxy', code ?? closing.statusCode, transportReason(closing.message))
}

function transportReason(message: string): string {
  if (message.startsWith('Connection Terminated')) return 'tunnel_closed'
  if (message.startsWith('Connection was lost')) return 'tunnel_silent'
  if (message.startsWith('Timed Out')) return 'handshake_timeout'
  if (message.startsWith('WebSocket Error')) return 'websocket_error'
  return 'handshake_failed'
}

function backoff(layer: Layer, code: number | string, reason: string): Decision {
  return { next: 'backoff', error: { layer, code, reason } }
}

const BACKOFF_FIRST_MS = 1_000
/** Long enough not to hammer, short enough that a chip is back within a minute of its way. */
const BACKOFF_CEILING_MS = 60_000

/**
 * How long to wait before attempt `attempt` (1 is the first retry): 1–2 s, 2–4 s, … 30–60 s. Spread over the whole
 * upper half, so that chips cut at the same moment do not return at the same moment. `chance` is in [0, 1).
 */
export function backoffDelayMs(attempt: number, chance: number): number {
  const most = Math.min(BACKOFF_FIRST_MS * 2 ** attempt, BACKOFF_CEILING_MS)
  const least = most / 2
  return Math.round(least + chance * (most - least))
}
