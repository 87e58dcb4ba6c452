/** Logs are events with fields, one JSON object a line; never a credential, never a payload. */

import { pino, type Logger } from 'pino'

export const LOG_LEVELS = ['debug', 'info', 'warning', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

type Fields = Record<string, unknown>

/** `log.info('chip.open', { chip })`: the event's name first, then its fields. */
export type Log = Record<LogLevel, (event: string, fields?: Fields) => void>

export function makeLog(level: LogLevel): Log {
  const out = pino({
    level: level === 'warning' ? 'warn' : level,
    base: null,
    messageKey: 'event',
    timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label === 'warn' ? 'warning' : label }) },
  })
  return {
    debug: (event, fields = {}) => out.debug(fields, event),
    info: (event, fields = {}) => out.info(fields, event),
    warning: (event, fields = {}) => out.warn(fields, event),
    error: (event, fields = {}) => out.error(fields, event),
  }
}

/** Baileys logs keys, numbers and message nodes, so it gets a logger that keeps nothing. */
export const mute: Logger = pino({ level: 'silent' })

/** libsignal prints whole session records, private keys included, with console.info: nothing may reach the output. */
export function silenceConsole(): void {
  for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) {
    globalThis.console[method] = () => undefined
  }
}
