/**
 * Holds back what would be said to WhatsApp until everything that was stored before it is durable.
 *
 * Baileys asks for the new credentials to be stored and sends the confirmation of a pairing in the same breath. Would the
 * confirmation arrive and this process die, WhatsApp had a linked device whose keys nobody has.
 */

import type { WebSocket } from 'ws'

type Send = (data: Buffer, callback: (error?: Error) => void) => void

/** `settled`: null, or what to wait for. Frames keep their order, because each is encrypted with a counter. */
export function gateFrames(websocket: WebSocket, settled: () => Promise<void> | null): void {
  const send = websocket.send.bind(websocket) as Send
  let last: Promise<void> | null = null
  const gated: Send = (data, callback) => {
    const stored = settled()
    if (!last && !stored) {
      send(data, callback)
      return
    }
    const turn = sendAfter(last, stored, () => send(data, callback), callback)
    last = turn
    void turn.then(() => {
      if (last === turn) last = null
    })
  }
  Reflect.set(websocket, 'send', gated)
}

/** Never rejects: what cannot be stored is not sent, and its sender hears why. */
async function sendAfter(before: Promise<void> | null, stored: Promise<void> | null, send: () => void, callback: (error?: Error) => void): Promise<void> {
  await before
  try {
    await stored
  } catch (error) {
    callback(error as Error)
    return
  }
  send()
}
