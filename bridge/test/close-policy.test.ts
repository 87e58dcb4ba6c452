import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { backoffDelayMs, decide, type Closing, type Layer, type Next } from '../src/close-policy.ts'

const NOTHING: Closing = { message: '', statusCode: 0, errorCode: null, refusal: null, upgradeStatus: null, overdue: null }

type Case = [message: string, statusCode: number, next: Next, layer: Layer, reason: string]

const TRANSPORT: Case[] = [
  ['WebSocket Error (socket hang up)', 500, 'backoff', 'proxy', 'websocket_error'],
  ['WebSocket Error (x)', 408, 'backoff', 'proxy', 'websocket_error'],
  ['Connection Terminated', 428, 'backoff', 'proxy', 'tunnel_closed'],
  ['Connection Terminated by Server', 428, 'backoff', 'proxy', 'tunnel_closed'],
  ['Connection was lost', 408, 'backoff', 'proxy', 'tunnel_silent'],
  ['Timed Out', 408, 'backoff', 'proxy', 'handshake_timeout'],
  ['noise certificate signature invalid', 400, 'backoff', 'proxy', 'handshake_failed'],
  ['Unsupported state or unable to authenticate data', 0, 'backoff', 'proxy', 'handshake_failed'],
]

const WHATSAPP: Case[] = [
  ['Stream Errored (restart required)', 515, 'reconnect', 'wa', 'restart_required'],
  ['Connection Failure', 401, 'logged_out', 'wa', 'logged_out'],
  ['Stream Errored (conflict)', 401, 'logged_out', 'wa', 'logged_out'],
  ['Connection Failure', 403, 'stop', 'wa', 'forbidden'],
  ['Connection Failure', 402, 'stop', 'wa', 'temporarily_banned'],
  ['Connection Failure', 405, 'stop', 'wa', 'client_outdated'],
  ['Connection Failure', 406, 'stop', 'wa', 'account_refused'],
  ['Stream Errored (conflict)', 440, 'replaced', 'wa', 'replaced'],
  ['Multi-device beta not joined', 411, 'stop', 'wa', 'multi_device_missing'],
  ['QR refs attempts ended', 408, 'stop', 'wa', 'qr_expired'],
  ['Stream Errored (unknown)', 503, 'backoff', 'wa', 'whatsapp_unavailable'],
  ['Stream Errored (unknown)', 500, 'backoff', 'wa', 'whatsapp_error'],
  ['Connection Failure', 418, 'backoff', 'wa', 'whatsapp_error'],
]

describe('a close', () => {
  for (const [message, statusCode, next, layer, reason] of [...TRANSPORT, ...WHATSAPP]) {
    it(`"${message}" with ${statusCode} means ${next} (${reason})`, () => {
      const decision = decide({ ...NOTHING, message, statusCode })
      assert.deepEqual(decision, { next, error: { layer, code: statusCode, reason } })
    })
  }

  it('costs the credentials only when WhatsApp itself says 401', () => {
    for (const [message] of TRANSPORT) {
      for (const statusCode of [401, 403, 440, 411, 500, 515]) {
        assert.equal(decide({ ...NOTHING, message, statusCode }).next, 'backoff', `${message} ${statusCode}`)
      }
    }
  })

  it('by a refusal of the gateway is the gateway’s word, whatever Baileys made of it', () => {
    const closing = { ...NOTHING, message: 'Connection Failure', statusCode: 401, refusal: { status: 402, reason: null } }
    assert.deepEqual(decide(closing), { next: 'pause', error: { layer: 'proxy', code: 402, reason: 'quota_exhausted' } })
  })

  it('by a certificate that does not verify is told apart from the proxy', () => {
    for (const errorCode of ['SELF_SIGNED_CERT_IN_CHAIN', 'CERT_HAS_EXPIRED', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'ERR_TLS_CERT_ALTNAME_INVALID']) {
      const decision = decide({ ...NOTHING, message: 'WebSocket Error (x)', statusCode: 500, errorCode })
      assert.deepEqual(decision, { next: 'backoff', error: { layer: 'tls', code: errorCode, reason: 'server_not_verified' } })
    }
  })
})

describe('the wait before a retry', () => {
  it('doubles from one second and stays within a minute', () => {
    assert.deepEqual([1, 2, 3, 4, 5, 6, 7, 500].map((attempt) => backoffDelayMs(attempt, 0)), [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000])
    assert.deepEqual([1, 2, 3, 4, 5, 6, 7, 500].map((attempt) => backoffDelayMs(attempt, 1)), [2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000])
  })

  it('is spread evenly, so that a herd does not return as one', () => {
    const delays = Array.from({ length: 100 }, (_, chip) => backoffDelayMs(6, chip / 100))
    assert.equal(new Set(delays).size, 100)
  })
})
