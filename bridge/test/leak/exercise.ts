/**
 * Runs in a process of its own, under the bridge's guard and the witness: one chip goes through every path on which
 * Baileys talks to the network, also those that ignore the agents they are given. Answers by IPC what became of each.
 *
 *     exercise.ts PROXY_URL BACKEND_URL guarded|unguarded
 */

import { deflateSync } from 'node:zlib'
import makeWASocket, { downloadAndProcessHistorySyncNotification, downloadMediaMessage, encryptedStream, fetchLatestBaileysVersion, fetchLatestWaWebVersion, prepareWAMessageMedia, proto, type WAMessage } from 'baileys'

import type { ChipAuth } from '../../src/auth-store.ts'
import { BackendAuthStore } from '../../src/backend-auth-store.ts'
import { Backend } from '../../src/backend.ts'
import { baileysConfig } from '../../src/baileys-config.ts'
import { EgressAgents } from '../../src/egress-agents.ts'
import { installEgressGuard } from '../../src/egress-guard.ts'
import { USUAL_THRIFT } from '../../src/thrift.ts'

const SECRET = 'a-secret-of-the-tests-0123456789'
/** An unguarded attempt may wait for an answer that never comes. */
const ATTEMPT_MS = 1_500

const [proxyUrl, backendUrl, mode] = process.argv.slice(2) as [string, string, string]
const chipId = '0e4f1f9a-52a5-4d4c-8a51-3f2f7c1c0a01'
const endpoints = [proxyUrl, backendUrl].map((url) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) }))
const media = Buffer.from('a picture that nobody will ever see')

if (mode === 'guarded') installEgressGuard(endpoints, () => undefined)
const backend = new Backend(new URL(backendUrl), SECRET)
const beat = async (): Promise<void> => {
  await backend.post('/beat', { bridge_id: 'exerciser' })
}
const store = new BackendAuthStore({ backend, bridgeId: 'exerciser', beat })
const auth = await store.open(chipId, (error) => {
  throw error
})

type Socket = ReturnType<typeof makeWASocket>

function connect(auth: ChipAuth, until: (socket: Socket, done: (open: boolean) => void) => void): Promise<Socket> {
  const agents = new EgressAgents(proxyUrl, () => undefined, () => undefined)
  const socket = makeWASocket(baileysConfig(auth, agents, USUAL_THRIFT))
  socket.ev.on('creds.update', () => void auth.saveCreds())
  return new Promise((resolve) => until(socket, () => resolve(socket)))
}

await connect(auth, (socket, done) => socket.ev.on('connection.update', (update) => {
  if (update.qr) process.send!({ qr: update.qr })
  if (update.connection === 'close') done(false)
}))
const cut = await connect(auth, (socket, done) => socket.ev.on('connection.update', (update) => {
  if (update.connection === 'open') done(true)
}))
await cut.end(undefined) // and once more, as after a cut
const socket = await connect(auth, (socket, done) => socket.ev.on('connection.update', (update) => {
  if (update.connection === 'open') done(true)
}))

const outcomes: Record<string, string> = {}
async function attempt(name: string, work: () => Promise<unknown>): Promise<void> {
  try {
    const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error('no answer')), ATTEMPT_MS))
    await Promise.race([work(), late])
    outcomes[name] = 'done'
  } catch (error) {
    const { code, cause } = error as { code?: string; cause?: { code?: string } }
    outcomes[name] = String(cause?.code ?? code ?? (error instanceof Error ? error.message : error))
  }
}

const agents = new EgressAgents(proxyUrl, () => undefined, () => undefined)
const upload = socket.waUploadToServer
const uploaded = await prepareWAMessageMedia({ document: media, mimetype: 'text/plain', fileName: 'a' }, { upload })
const message: WAMessage = { key: { remoteJid: '5511@s.whatsapp.net', id: 'A1' }, message: { documentMessage: uploaded.documentMessage } }
outcomes['upload'] = uploaded.documentMessage?.directPath ? 'done' : 'nothing'

await attempt('download with the dispatcher', async () => {
  const back = await downloadMediaMessage(message, 'buffer', { options: { dispatcher: agents.dispatcher } })
  if (!back.equals(media)) throw new Error('other bytes')
})
await attempt('download without options', () => downloadMediaMessage(message, 'buffer', {}))
await attempt('upload of media by URL', () => prepareWAMessageMedia({ image: { url: 'https://leak.example/a.png' } }, { upload }))
await attempt('profile picture by URL', () => socket.updateProfilePicture('5511@s.whatsapp.net', { url: 'https://leak.example/me.png' }))
await attempt('newest version of Baileys', async () => {
  const { error } = await fetchLatestBaileysVersion()
  if (error) throw error as Error
})
await attempt('newest version of WhatsApp Web', async () => {
  const { error } = await fetchLatestWaWebVersion()
  if (error) throw error as Error
})
await attempt('message with a link', () => socket.sendMessage('5511@s.whatsapp.net', { text: 'see https://leak.example/page' }))
await attempt('history of a first login', async () => {
  const syncType = proto.Message.HistorySyncType.INITIAL_BOOTSTRAP
  const history = deflateSync(proto.HistorySync.encode({ syncType: proto.HistorySync.HistorySyncType.INITIAL_BOOTSTRAP }).finish())
  const sealed = await encryptedStream(history, 'md-msg-hist')
  const { directPath } = await upload(sealed.encFilePath, { mediaType: 'md-msg-hist', fileEncSha256B64: sealed.fileEncSha256.toString('base64') })
  await downloadAndProcessHistorySyncNotification({ directPath, mediaKey: sealed.mediaKey, syncType }, { dispatcher: agents.dispatcher })
})

process.send!({ outcomes })
await socket.end(undefined)
process.exit(0)
