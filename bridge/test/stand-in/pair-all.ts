/**
 * Makes chips that were paired long ago, through the bridge's own store and the real backend, without pairing them:
 *
 *     node test/stand-in/pair-all.ts BACKEND_URL < chip ids, one a line
 *
 * The secret is in BRIDGE_SECRET. The edge must be told that it has their pre-keys (POST /pre-keys).
 */

import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'

import { BackendAuthStore } from '../../src/backend-auth-store.ts'
import { Backend } from '../../src/backend.ts'

/** Well below what the backend takes for death, however slow the machine is. */
const BEAT_EVERY_MS = 2_000

const bridgeId = randomUUID()
const backend = new Backend(new URL(process.argv[2] ?? ''), process.env['BRIDGE_SECRET'] ?? '')
const vitals = { bridge_id: bridgeId, url: `http://127.0.0.1:1/${bridgeId}`, started_at: new Date().toISOString(), max_chips: 1_000, draining: true }
const beat = async (): Promise<void> => {
  await backend.post('/beat', vitals)
}
const store = new BackendAuthStore({ backend, bridgeId, beat })
let number = 0
let beatAt = 0

for await (const chipId of createInterface({ input: process.stdin })) {
  if (Date.now() - beatAt > BEAT_EVERY_MS) {
    await beat().catch(() => undefined) // a late one is made good by the next; the store itself asks again
    beatAt = Date.now()
  }
  const auth = await store.open(chipId, (error) => {
    throw error
  })
  number += 1
  auth.creds.me = { id: `55119${String(number).padStart(8, '0')}:7@s.whatsapp.net` }
  auth.creds.account = { details: Buffer.from('signed long ago'), accountSignatureKey: Buffer.alloc(32), accountSignature: Buffer.alloc(64), deviceSignature: Buffer.alloc(64) }
  auth.creds.additionalData = { phone_seen_at: Date.now() }
  await auth.saveCreds()
  await auth.close()
}
await store.close()
await backend.close()
process.stdout.write(`${number}\n`)
