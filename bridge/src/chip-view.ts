/** What is told of a chip: to the API's clients, and to the backend with every event. */

import type { LastError } from './close-policy.ts'
import type { EventKind } from './events.ts'
import type { Thrift } from './thrift.ts'

export const CHIP_STATES = [
  'connecting', 'qr', 'open', 'backoff', 'proxy_blocked', 'stopped', 'logged_out', 'replaced',
] as const
export type ChipState = (typeof CHIP_STATES)[number]

/** In these the chip holds a proxy URL and goes on by itself or waits to be told that its way is free. */
export const RUNNING: ReadonlySet<ChipState> = new Set<ChipState>(['connecting', 'qr', 'open', 'backoff', 'proxy_blocked'])

export const EVENT_OF: Record<ChipState, EventKind> = {
  connecting: 'session.connecting',
  qr: 'session.qr',
  open: 'session.open',
  backoff: 'session.backoff',
  proxy_blocked: 'session.proxy_blocked',
  stopped: 'session.closed',
  logged_out: 'session.logged_out',
  replaced: 'session.replaced',
}

export type Start = { proxyUrl: string; pairing: 'qr' | 'code'; phone: string | null; thrift: Thrift }
export type Pairing = { qr: string | null; pairing_code: string | null; expires_at: string }

export type ChipView = Thrift & {
  chip_id: string
  state: ChipState
  since: string
  phone_number: string | null
  pairing: 'qr' | 'code'
  attempt: number
  /** Of an open chip: connected, and its owner has to do something all the same. */
  last_error: LastError | null
  next_retry_at: string | null
  /** When the phone itself was last heard of. */
  phone_seen_at: string | null
}

/** What a request cannot have right now; the code goes to the client. */
export class ChipConflict extends Error {
  readonly code: 'other_proxy' | 'not_running' | 'not_pairing' | 'runs_elsewhere' | 'unknown_chip'

  constructor(code: ChipConflict['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** `5511999990000:12@s.whatsapp.net` → `5511999990000`. */
export function phoneOf(jid: string | undefined): string | null {
  return /^(\d+)[:@]/.exec(jid ?? '')?.[1] ?? null
}
