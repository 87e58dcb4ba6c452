/**
 * Runs in a process of its own, under the bridge's guard and the witness: one chip goes through every path on which
 * Baileys talks to the network, also those that ignore the agents they are given. Answers by IPC what became of each.
 */

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import makeWASocket, { downloadAndProcessHistorySyncNotification, downloadMediaMessage, encryptedStream, fetchLatestBaileysVersion, fetchLatestWaWebVersion, prepareWAMessageMedia, proto, type WAMessage } from 'baileys'

import type { ChipAuth } from '../../src/auth-store.ts'
import { baileysConfig } from '../../src/baileys-config.ts'
import { EgressAgents } from '../../src/egress-agents.ts'
import { installEgressGuard } from '../../src/egress-guard.ts'
import { FileAuthStore } from '../../src/file-auth-store.ts'

const [proxyUrl] = process.argv.slice(2) as [string]
const chipId = '0e4f1f9a-52a5-4d4c-8a51-3f2f7c1c0a01'
const proxy = new URL(proxyUrl)
const media = Buffer.from('a picture that nobody will ever see')

installEgressGuard([{ host: proxy.hostname, port: Number(proxy.port) }], () => undefined)
const store = await FileAuthStore.open(mkdtempSync(join(tmpdir(), 'whago-leak-')), 'a-state-key-of-the-tests')
const auth = await store.open(chipId)

type Socket = ReturnType<typeof makeWASocket>

function connect(auth: ChipAuth, until: (socket: Socket, done: (open: boolean) => void) => void): Promise<Socket> {
  const agents = new EgressAgents(proxyUrl, () => undefined, () => undefined)
  const socket = makeWASocket(baileysConfig(auth, agents, 'none'))
  socket.ev.on('creds.update', () => void auth.saveCreds())
  return new Promise((resolve) => until(socket, () => resolve(socket)))
}

await connect(auth, (socket, done) => socket.ev.on('connection.update', (update) => {
  if (update.qr) process.send!({ qr: update.qr })
  if (update.connection === 'close') done(false)
}))
const socket = await connect(auth, (socket, done) => socket.ev.on('connection.update', (update) => {
  if (update.connection === 'open') done(true)
}))

const outcomes: Record<string, string> = {}
async function attempt(name: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
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
