/** The bodies and paths that the API takes. */

import { z } from 'zod'

import type { Endpoint } from './config.ts'
import { isGatewayUrl } from './egress-agents.ts'
import { KEEP_ALIVE_MAX_S, KEEP_ALIVE_MIN_S, USUAL_THRIFT } from './thrift.ts'

/** E.164 without the plus: at most 15 digits; the shortest national numbers with country code have 8. */
const phone = z.string().transform((text) => text.replace(/^\+/, '')).pipe(z.string().regex(/^[1-9]\d{7,14}$/, 'must be a phone number with country code, digits only'))

/** Also a part of paths, so nothing but a UUID. */
export const chipId = z.uuid().transform((text) => text.toLowerCase())

const thrift = {
  history: z.enum(['none', 'recent']).default(USUAL_THRIFT.history),
  keep_alive_s: z.int().min(KEEP_ALIVE_MIN_S).max(KEEP_ALIVE_MAX_S).default(USUAL_THRIFT.keep_alive_s),
  status_posts: z.boolean().default(USUAL_THRIFT.status_posts),
}

export function schemasFor(gateway: Endpoint) {
  const proxyUrl = z.string().max(PROXY_URL_MOST_CHARS).refine(
    (text) => isGatewayUrl(text, gateway),
    `must be http://user:password@${gateway.host}:${gateway.port}, the gateway of this bridge`,
  )
  const create = z.strictObject({
    chip_id: chipId,
    proxy_url: proxyUrl,
    pairing: z.enum(['qr', 'code']).default('qr'),
    phone: phone.nullish().transform((value) => value ?? null),
    ...thrift,
  }).refine((body) => body.pairing === 'qr' || body.phone !== null, { path: ['phone'], message: 'is needed for pairing by code' })
  return { create, thrift: z.strictObject(thrift), proxy: z.strictObject({ proxy_url: proxyUrl }), pairingCode: z.strictObject({ phone }), empty: z.strictObject({}) }
}

/** A host name has at most 253 characters and a chip's credential far less than the rest. */
const PROXY_URL_MOST_CHARS = 1_024

/** One sentence for each field that is wrong. Never quotes the value: it may be a credential. */
export function explain(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`).join('; ')
}
