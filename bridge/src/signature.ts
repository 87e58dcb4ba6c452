/** Secrets over HTTP: the bearer check of the API and the signature of an event. */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

/** Compares in constant time, whatever the lengths. */
export function sameSecret(given: string, expected: string): boolean {
  return timingSafeEqual(sha256(given), sha256(expected))
}

/** `v1=` and the hex HMAC-SHA256 of `<unix seconds>.<body>`. */
export function signatureOf(secret: string, timestampS: number, body: string): string {
  return `v1=${createHmac('sha256', secret).update(`${timestampS}.${body}`).digest('hex')}`
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
