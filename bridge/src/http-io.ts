/** JSON in, JSON out, with every size and wait bounded. */

import type { IncomingMessage, ServerResponse } from 'node:http'

/** The largest body is a create of about 400 bytes. */
const BODY_MOST_BYTES = 16_384

/** An answer that is not a success; `code` is stable, the message is for people. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** The JSON of the body; an empty body is `{}`. Throws ApiError 400 and 413. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const body = await readBody(request)
  if (body.length === 0) return {}
  try {
    return JSON.parse(body.toString('utf8')) as unknown
  } catch {
    throw new ApiError(400, 'invalid_body', 'The body is not JSON.')
  }
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > BODY_MOST_BYTES) throw new ApiError(413, 'body_too_large', `A body has at most ${BODY_MOST_BYTES} bytes.`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  send(response, status, 'application/json', JSON.stringify(body))
}

export function sendText(response: ServerResponse, status: number, text: string): void {
  send(response, status, 'text/plain; version=0.0.4; charset=utf-8', text)
}

export function sendError(response: ServerResponse, error: ApiError): void {
  if (error.status === 401) response.setHeader('www-authenticate', 'Bearer')
  if (error.status === 413) response.setHeader('connection', 'close') // the rest of the body is not read
  sendJson(response, error.status, { error: { code: error.code, message: error.message } })
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' })
  response.end(body)
}
