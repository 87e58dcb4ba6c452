/**
 * Whether the phone behind a linked device is still there. A linked device works without its phone, but WhatsApp unlinks
 * it when the phone was away for 14 days (https://faq.whatsapp.com/378279804439436), and a new one gets nothing of
 * its history and settings before the phone has sent them.
 *
 * No server tells a companion whether its phone is online. What the phone itself sends is seen passing by: receipts and
 * messages of the own account's first device. That it was heard is kept with the credentials.
 */

import type { AuthenticationCreds, BinaryNode } from 'baileys'

/** After a pairing the phone sends keys and history within seconds; a minute of silence is a phone without a network. */
const FIRST_WORD_MS = 60_000
/** Four days before WhatsApp unlinks: time to find the phone and its charger. */
const SILENT_MS = 10 * 86_400_000
const LOOK_EVERY_MS = 3_600_000
/** Kept no more often: each time is a write. */
const KEEP_EVERY_MS = 3_600_000

export type PhoneLimits = { firstWordMs: number; silentMs: number; lookEveryMs: number }
export const PHONE_LIMITS: PhoneLimits = { firstWordMs: FIRST_WORD_MS, silentMs: SILENT_MS, lookEveryMs: LOOK_EVERY_MS }

export type PhoneWatchOptions = {
  creds: AuthenticationCreds
  limits: PhoneLimits
  /** Stores the credentials. */
  save: () => void
  /** Called when it changes. */
  onOffline: (offline: boolean) => void
}

type Kept = { phone_seen_at?: number } | undefined

export class PhoneWatch {
  readonly #options: PhoneWatchOptions
  #seenAt: number
  #keptAt: number
  #offline = false
  #timer: NodeJS.Timeout

  constructor(options: PhoneWatchOptions) {
    this.#options = options
    this.#keptAt = (options.creds.additionalData as Kept)?.phone_seen_at ?? 0
    this.#seenAt = this.#keptAt // never heard of it since the pairing: looked at after the time for a first word
    this.#timer = setTimeout(() => this.#look(), options.limits.firstWordMs)
  }

  /** Looks at a stanza that came in. */
  saw(node: BinaryNode): void {
    if (isFromPhone(node, this.#options.creds)) this.#heard()
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  #heard(): void {
    const now = Date.now()
    this.#seenAt = now
    if (now - this.#keptAt >= KEEP_EVERY_MS) this.#keep(now)
    this.#tell(false)
  }

  #keep(now: number): void {
    const { creds, save } = this.#options
    this.#keptAt = now
    creds.additionalData = { ...(creds.additionalData as object | undefined), phone_seen_at: now }
    save()
  }

  #look(): void {
    this.#tell(Date.now() - this.#seenAt > this.#options.limits.silentMs)
    this.#timer = setTimeout(() => this.#look(), this.#options.limits.lookEveryMs)
  }

  #tell(offline: boolean): void {
    if (offline === this.#offline) return
    this.#offline = offline
    this.#options.onOffline(offline)
  }
}

export function phoneSeenAt(creds: AuthenticationCreds | undefined): string | null {
  const at = (creds?.additionalData as Kept)?.phone_seen_at
  return at === undefined ? null : new Date(at).toISOString()
}

/** A message or receipt of the own account that names no device, or device 0: that is the phone. */
function isFromPhone(node: BinaryNode, creds: AuthenticationCreds): boolean {
  if (node.tag !== 'message' && node.tag !== 'receipt') return false
  const sender = node.attrs['participant'] ?? node.attrs['from'] ?? ''
  return [creds.me?.id, creds.me?.lid].some((own) => own !== undefined && sameUser(own, sender) && deviceOf(sender) === 0)
}

function sameUser(one: string, other: string): boolean {
  return userOf(one) !== '' && userOf(one) === userOf(other) && serverOf(one) === serverOf(other)
}

function userOf(jid: string): string {
  return /^([^:@]+)/.exec(jid)?.[1] ?? ''
}

function serverOf(jid: string): string {
  return /@(.+)$/.exec(jid)?.[1] ?? ''
}

function deviceOf(jid: string): number {
  return Number(/:(\d+)@/.exec(jid)?.[1] ?? 0)
}
