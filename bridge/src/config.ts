/** The bridge's settings: the only reader of the environment. */

import { LOG_LEVELS, type LogLevel } from './log.ts'

export type Endpoint = { host: string; port: number }

export type BridgeConfig = {
  host: string
  port: number
  /** Where the backend reaches this process; null for the address on which it listens. */
  publicUrl: URL | null
  secret: string
  gateway: Endpoint
  backendUrl: URL
  maxChips: number
  logLevel: LogLevel
}

/** A setting is missing, unknown or has a bad value; the message is one sentence that names it and no secret. */
export class ConfigError extends Error {}

const DEFAULT_HOST = '127.0.0.1'
const DEFAULT_PORT = 3001
/** An idle chip takes about 1.5 MB over a base of 105 MB, so 200 stay near 400 MB. */
const DEFAULT_MAX_CHIPS = 200
const MAX_CHIPS_CEILING = 1000
/** 16 characters of a random token are at least 64 bits: not to be guessed over HTTP. */
const MIN_SECRET_CHARS = 16
const MAX_PORT = 65_535

const KNOWN = new Set([
  'BRIDGE_HOST', 'BRIDGE_PORT', 'BRIDGE_PUBLIC_URL', 'BRIDGE_SECRET', 'BRIDGE_GATEWAY', 'BRIDGE_BACKEND_URL',
  'BRIDGE_MAX_CHIPS', 'BRIDGE_LOG_LEVEL',
])

type Environment = Record<string, string | undefined>

/** Reads and checks every setting. Throws ConfigError. */
export function readConfig(env: Environment): BridgeConfig {
  refuseUnknown(env)
  refuseUnverifiedTls(env)
  return {
    host: env['BRIDGE_HOST'] || DEFAULT_HOST,
    port: integerOf(env, 'BRIDGE_PORT', DEFAULT_PORT, 0, MAX_PORT),
    publicUrl: env['BRIDGE_PUBLIC_URL'] ? urlOf(env, 'BRIDGE_PUBLIC_URL') : null,
    secret: secretOf(env, 'BRIDGE_SECRET'),
    gateway: endpointOf(env, 'BRIDGE_GATEWAY'),
    backendUrl: urlOf(env, 'BRIDGE_BACKEND_URL'),
    maxChips: integerOf(env, 'BRIDGE_MAX_CHIPS', DEFAULT_MAX_CHIPS, 1, MAX_CHIPS_CEILING),
    logLevel: levelOf(env),
  }
}

function refuseUnknown(env: Environment): void {
  for (const name of Object.keys(env)) {
    if (name.startsWith('BRIDGE_') && !KNOWN.has(name)) {
      throw new ConfigError(`${name} is not a setting of the bridge; known are ${[...KNOWN].join(', ')}.`)
    }
  }
}

/** TLS is the only proof that the other end is WhatsApp: this Baileys does not enforce the Noise certificate. */
function refuseUnverifiedTls(env: Environment): void {
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    throw new ConfigError('NODE_TLS_REJECT_UNAUTHORIZED=0 would let anybody pose as WhatsApp; remove it.')
  }
}

function required(env: Environment, name: string): string {
  const value = env[name]
  if (!value) throw new ConfigError(`${name} is missing.`)
  return value
}

function secretOf(env: Environment, name: string): string {
  const value = required(env, name)
  if (value.length < MIN_SECRET_CHARS) throw new ConfigError(`${name} must have at least ${MIN_SECRET_CHARS} characters.`)
  return value
}

function integerOf(env: Environment, name: string, fallback: number, least: number, most: number): number {
  const text = env[name]
  if (!text) return fallback
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new ConfigError(`${name} must be a whole number from ${least} to ${most}.`)
  }
  return value
}

function endpointOf(env: Environment, name: string): Endpoint {
  const match = /^(?<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?<port>\d{1,5})$/.exec(required(env, name))
  const port = Number(match?.groups?.['port'])
  if (!match?.groups?.['host'] || port < 1 || port > MAX_PORT) {
    throw new ConfigError(`${name} must look like host:port.`)
  }
  return { host: match.groups['host'].replace(/^\[|\]$/g, '').toLowerCase(), port }
}

function urlOf(env: Environment, name: string): URL {
  const text = required(env, name)
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password) {
    throw new ConfigError(`${name} must be an http or https URL without a user name.`)
  }
  return url
}

function levelOf(env: Environment): LogLevel {
  const level = env['BRIDGE_LOG_LEVEL'] || 'info'
  const known = LOG_LEVELS.find((candidate) => candidate === level)
  if (!known) throw new ConfigError(`BRIDGE_LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}.`)
  return known
}
