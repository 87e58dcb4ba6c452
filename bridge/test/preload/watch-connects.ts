/**
 * An independent witness: writes every connection and name look-up that this process begins to WATCH_FILE, one JSON a
 * line. Loaded before the bridge, so it sees what the bridge's own guard lets through, and whatever gets around it.
 */

import dns from 'node:dns'
import { appendFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'

const file = process.env['WATCH_FILE']!

function witness(what: string, target: string): void {
  appendFileSync(file, `${JSON.stringify([what, target])}\n`)
}

type Connect = (this: net.Socket, ...args: unknown[]) => net.Socket

const connect = Reflect.get(net.Socket.prototype, 'connect') as Connect
const watched: Connect = function (...args) {
  const first = (Array.isArray(args[0]) ? (args[0] as unknown[])[0] : args[0]) as { host?: string; port?: number; path?: string }
  witness('connect', first.path ?? `${first.host ?? 'localhost'}:${first.port ?? 0}`)
  return Reflect.apply(connect, this, args)
}
Reflect.set(net.Socket.prototype, 'connect', watched)

const lookup = dns.lookup as (name: string, ...rest: unknown[]) => void
Reflect.set(dns, 'lookup', (name: string, ...rest: unknown[]) => {
  if (!net.isIP(name)) witness('lookup', name)
  lookup(name, ...rest)
})
syncBuiltinESMExports()
