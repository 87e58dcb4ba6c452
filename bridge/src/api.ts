/** The bridge's HTTP API. Everything but health and metrics needs the bearer secret. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { z } from 'zod'

import { AuthStoreError } from './auth-store.ts'
import { RosterClosed, type ChipRoster } from './chip-roster.ts'
import type { ChipSession } from './chip-session.ts'
import { ChipConflict } from './chip-view.ts'
import type { Endpoint } from './config.ts'
import { ApiError, readJson, sendError, sendJson, sendText } from './http-io.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { chipId as chipIdSchema, explain, schemasFor } from './schemas.ts'
import { sameSecret } from './signature.ts'

/** A client that sends its request slower than this is not our backend. */
const REQUEST_TIMEOUT_MS = 10_000
const HEADERS_MOST_BYTES = 8_192
/** What may stand in a log line of what a caller sent. */
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{7,63}$/
const TRACEPARENT = /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/

export type ApiParts = {
  roster: ChipRoster
  metrics: Metrics
  log: Log
  secret: string
  gateway: Endpoint
  bootId: string
  startedAt: Date
  /** Whether the backend knows that this process lives. */
  isHeard: () => boolean
}

type Call = { request: IncomingMessage; response: ServerResponse; chipId: string; query: URLSearchParams }
type Handler = (call: Call) => Promise<void> | void
type Route = { method: string; path: RegExp; open?: true; handler: Handler }

export function makeApi(parts: ApiParts): Server {
  const routes = routesOf(parts)
  const options = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, maxHeaderSize: HEADERS_MOST_BYTES }
  return createServer(options, (request, response) => {
    response.on('finish', () => {
      parts.metrics.requests.add({ status: response.statusCode })
      const { method, url: path } = request
      const isOurs = ![401, 404, 405].includes(response.statusCode) // what strangers ask for fills no disk
      if (isOurs && method !== 'GET') parts.log.info('request.answered', { method, path, status: response.statusCode, ...originOf(request) })
    })
    void answer(parts, routes, request, response)
  })
}

async function answer(parts: ApiParts, routes: Route[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const url = new URL(request.url ?? '/', 'http://bridge')
    const { route, chipId } = find(routes, request.method ?? 'GET', url.pathname)
    if (!route.open) authorise(request, parts.secret)
    await route.handler({ request, response, chipId: checkedChipId(chipId), query: url.searchParams })
  } catch (error) {
    const known = asApiError(error)
    if (!known) parts.log.error('request.failed', { method: request.method, path: request.url, ...originOf(request), error: stackOf(error) })
    sendError(response, known ?? new ApiError(500, 'internal', 'Something broke in the bridge. It was logged.'))
  }
}

/** The backend's request and trace under which this one came, for whoever follows them through the logs. */
function originOf(request: IncomingMessage): { request_id?: string; trace_id?: string } {
  const requestId = request.headers['x-request-id']
  const traceId = TRACEPARENT.exec(String(request.headers.traceparent))?.[1]
  return {
    ...(typeof requestId === 'string' && REQUEST_ID.test(requestId) ? { request_id: requestId } : {}),
    ...(traceId ? { trace_id: traceId } : {}),
  }
}

function find(routes: Route[], method: string, path: string): { route: Route; chipId: string | undefined } {
  const matching = routes.filter((route) => route.path.test(path))
  const route = matching.find((candidate) => candidate.method === method)
  if (route) return { route, chipId: route.path.exec(path)?.[1] }
  if (matching.length > 0) throw new ApiError(405, 'method_not_allowed', `${method} is not allowed here.`)
  throw new ApiError(404, 'not_found', 'There is nothing at this path.')
}

function authorise(request: IncomingMessage, secret: string): void {
  const given = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
  if (!given || !sameSecret(given, secret)) throw new ApiError(401, 'unauthorized', 'The bearer secret is missing or wrong.')
}

function checkedChipId(text: string | undefined): string {
  if (text === undefined) return ''
  const parsed = chipIdSchema.safeParse(text)
  if (!parsed.success) throw new ApiError(404, 'not_found', 'A chip id is a UUID.')
  return parsed.data
}

function asApiError(error: unknown): ApiError | null {
  if (error instanceof ApiError) return error
  if (error instanceof ChipConflict) return new ApiError(409, error.code, error.message)
  if (error instanceof RosterClosed) return new ApiError(503, error.code, error.message)
  if (error instanceof AuthStoreError && error.code === 'chip_held') return new ApiError(409, 'runs_elsewhere', 'Another bridge runs this chip.')
  if (error instanceof AuthStoreError) return new ApiError(503, error.code, 'The backend keeps the credentials, and is away.')
  return null
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

function routesOf({ roster, metrics, gateway, bootId, startedAt, isHeard }: ApiParts): Route[] {
  const schemas = schemasFor(gateway)
  const chipOf = (call: Call): ChipSession => {
    const chip = roster.get(call.chipId)
    if (!chip) throw new ApiError(404, 'not_found', 'This chip has no session in this bridge.')
    return chip
  }

  const create: Handler = async ({ request, response }) => {
    const { chip_id: chipId, proxy_url: proxyUrl, pairing, phone, ...thrift } = await bodyOf(request, schemas.create)
    const chip = await roster.create(chipId, { proxyUrl, pairing, phone, thrift })
    sendJson(response, 202, chip.view())
  }
  const list: Handler = ({ response }) => {
    const items = roster.list().map((chip) => chip.view())
    sendJson(response, 200, { boot_id: bootId, started_at: startedAt.toISOString(), items })
  }
  const qr: Handler = (call) => {
    const { pairing } = chipOf(call)
    if (!pairing) throw new ApiError(404, 'no_qr', 'There is no QR code to show now.')
    sendJson(call.response, 200, pairing)
  }
  const pairingCode: Handler = async (call) => {
    const { phone } = await bodyOf(call.request, schemas.pairingCode)
    sendJson(call.response, 200, await chipOf(call).requestPairingCode(phone))
  }
  const stop: Handler = async (call) => {
    await bodyOf(call.request, schemas.empty)
    const chip = chipOf(call)
    await chip.stop()
    sendJson(call.response, 200, chip.view())
  }
  const proxy: Handler = async (call) => {
    const { proxy_url: proxyUrl } = await bodyOf(call.request, schemas.proxy)
    const chip = chipOf(call)
    await chip.useProxy(proxyUrl)
    sendJson(call.response, 202, chip.view())
  }
  const thrift: Handler = async (call) => {
    const wanted = await bodyOf(call.request, schemas.thrift)
    const chip = chipOf(call)
    await chip.useThrift(wanted)
    sendJson(call.response, 200, chip.view())
  }
  const logout: Handler = async ({ request, response, chipId }) => {
    await bodyOf(request, schemas.empty)
    sendJson(response, 200, { unlinked: await roster.logout(chipId) })
  }
  const remove: Handler = async ({ response, chipId, query }) => {
    const logout = query.get('logout') ?? 'false'
    if (!['true', 'false'].includes(logout)) throw new ApiError(400, 'invalid_query', 'logout must be true or false.')
    sendJson(response, 200, { deleted: true, unlinked: await roster.remove(chipId, logout === 'true') })
  }
  const ready: Handler = ({ response }) => {
    const status = roster.stopping ? 'stopping' : isHeard() ? 'ready' : 'backend_away'
    sendJson(response, status === 'ready' ? 200 : 503, { status, boot_id: bootId })
  }

  return [
    { method: 'GET', path: /^\/healthz$/, open: true, handler: ({ response }) => sendJson(response, 200, { status: 'ok' }) },
    { method: 'GET', path: /^\/readyz$/, open: true, handler: ready },
    { method: 'GET', path: /^\/metrics$/, open: true, handler: ({ response }) => sendText(response, 200, metrics.text()) },
    { method: 'POST', path: /^\/sessions\/create$/, handler: create },
    { method: 'GET', path: /^\/sessions$/, handler: list },
    { method: 'GET', path: /^\/sessions\/([^/]+)$/, handler: (call) => sendJson(call.response, 200, chipOf(call).view()) },
    { method: 'DELETE', path: /^\/sessions\/([^/]+)$/, handler: remove },
    { method: 'GET', path: /^\/sessions\/([^/]+)\/qr$/, handler: qr },
    { method: 'POST', path: /^\/sessions\/([^/]+)\/pairing-code$/, handler: pairingCode },
    { method: 'POST', path: /^\/sessions\/([^/]+)\/stop$/, handler: stop },
    { method: 'POST', path: /^\/sessions\/([^/]+)\/proxy$/, handler: proxy },
    { method: 'POST', path: /^\/sessions\/([^/]+)\/thrift$/, handler: thrift },
    { method: 'POST', path: /^\/sessions\/([^/]+)\/logout$/, handler: logout },
  ]
}

async function bodyOf<Schema extends z.ZodType>(request: IncomingMessage, schema: Schema): Promise<z.output<Schema>> {
  const parsed = schema.safeParse(await readJson(request))
  if (parsed.success) return parsed.data
  throw new ApiError(400, 'invalid_body', explain(parsed.error))
}
