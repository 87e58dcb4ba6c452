/**
 * How every chip's Baileys is set up: all ways out through the chip's agents, and thrift with the bytes that customers
 * pay for. Nothing downloads media by itself; history beyond what a login needs is refused, status broadcasts too.
 */

import { Browsers, isJidStatusBroadcast, proto, type UserFacingSocketConfig, type WAVersion } from 'baileys'

import type { ChipAuth } from './auth-store.ts'
import type { EgressAgents } from './egress-agents.ts'
import { mute } from './log.ts'
import type { History, Thrift } from './thrift.ts'

/**
 * The version of WhatsApp Web that this Baileys was made for. Pinned: looking up the newest is a fetch of its own.
 * Refused one day as too old (405, client_outdated), it is raised here.
 */
const WA_VERSION: WAVersion = [2, 3000, 1043857760]
/** A browser, not a desktop application: a desktop is sent far more history. */
const BROWSER = Browsers.ubuntu('Chrome')
const { FULL, RECENT } = proto.Message.HistorySyncType

export function baileysConfig(auth: ChipAuth, agents: EgressAgents, thrift: Thrift): UserFacingSocketConfig {
  return {
    auth: { creds: auth.creds, keys: auth.keys },
    agent: agents.websocket,
    fetchAgent: agents.uploads,
    options: { dispatcher: agents.dispatcher },
    version: WA_VERSION,
    browser: BROWSER,
    logger: mute,
    keepAliveIntervalMs: thrift.keep_alive_s * 1000,
    markOnlineOnConnect: false, // the phone keeps getting its notifications
    syncFullHistory: false,
    shouldSyncHistoryMessage: (message) => wantsHistory(thrift.history, message.syncType),
    shouldIgnoreJid: (jid) => !thrift.status_posts && isJidStatusBroadcast(jid),
    generateHighQualityLinkPreview: false,
  }
}

/** Never none at all: the first bootstrap brings the LID mappings without which messages cannot be addressed. */
export function wantsHistory(history: History, syncType: proto.Message.HistorySyncType | null | undefined): boolean {
  if (syncType === RECENT) return history === 'recent'
  return syncType !== FULL
}
