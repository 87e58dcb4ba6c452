/** AES-256-GCM with a random nonce: nonce (12) | ciphertext | tag (16). Keys by HKDF-SHA256 (RFC 5869). */

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The box was made with another key or for another place, or it is damaged. */
export class SealBroken extends Error {}

export function deriveKey(secret: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', purpose, KEY_BYTES))
}

/** `place` is authenticated, not stored: a box moved elsewhere does not open. */
export function seal(key: Buffer, plain: Buffer, place: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.from(place))
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Throws SealBroken. */
export function unseal(key: Buffer, box: Buffer, place: string): Buffer {
  if (box.length < NONCE_BYTES + TAG_BYTES) throw new SealBroken('box too short')
  const decipher = createDecipheriv('aes-256-gcm', key, box.subarray(0, NONCE_BYTES))
  decipher.setAAD(Buffer.from(place))
  decipher.setAuthTag(box.subarray(-TAG_BYTES))
  const plain = decipher.update(box.subarray(NONCE_BYTES, -TAG_BYTES))
  try {
    return Buffer.concat([plain, decipher.final()])
  } catch (cause) {
    throw new SealBroken('wrong key or damaged box', { cause })
  }
}
