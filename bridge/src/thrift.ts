/** What a chip does to spare the bytes that its owner pays for; every chip may have its own. */

/** none: what a login needs. recent: also the last messages of each chat. */
export type History = 'none' | 'recent'

export type Thrift = {
  history: History
  /** A ping of 135 bytes each so many seconds; WhatsApp Web's own pace is 30. */
  keep_alive_s: number
  /** Whether the posts of contacts (status@broadcast) are taken in. */
  status_posts: boolean
}

export const USUAL_THRIFT: Thrift = { history: 'none', keep_alive_s: 30, status_posts: false }
export const KEEP_ALIVE_MIN_S = 20
export const KEEP_ALIVE_MAX_S = 60

export function sameThrift(one: Thrift, other: Thrift): boolean {
  return one.history === other.history && one.keep_alive_s === other.keep_alive_s && one.status_posts === other.status_posts
}
