import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { ConfigError, readConfig } from '../src/config.ts'
import { isGatewayUrl } from '../src/egress-agents.ts'

const GOOD = {
  BRIDGE_SECRET: '0123456789abcdef',
  BRIDGE_GATEWAY: 'gateway.local:3128',
  BRIDGE_BACKEND_URL: 'http://127.0.0.1:8000',
}

describe('the settings', () => {
  it('have defaults for what may be left out', () => {
    const config = readConfig({ ...GOOD, PATH: '/bin' })
    assert.deepEqual([config.host, config.port, config.publicUrl], ['127.0.0.1', 3001, null])
    assert.deepEqual(config.gateway, { host: 'gateway.local', port: 3128 })
  })

  const bad: [change: Record<string, string>, sentence: RegExp][] = [
    [{ BRIDGE_SECRET: '' }, /^BRIDGE_SECRET is missing\.$/],
    [{ BRIDGE_SECRET: 'too-short' }, /^BRIDGE_SECRET must have at least 16 characters\.$/],
    [{ BRIDGE_PUBLIC_URL: 'bridge.internal:3001' }, /^BRIDGE_PUBLIC_URL must be an http or https URL/],
    [{ BRIDGE_GATEWAY: '' }, /^BRIDGE_GATEWAY is missing\.$/],
    [{ BRIDGE_GATEWAY: 'gateway' }, /^BRIDGE_GATEWAY must look like host:port\.$/],
    [{ BRIDGE_GATEWAY: 'http://gateway:1' }, /^BRIDGE_GATEWAY must look/],
    [{ BRIDGE_GATEWAY: 'gateway:70000' }, /^BRIDGE_GATEWAY must look/],
    [{ BRIDGE_BACKEND_URL: 'ftp://x' }, /^BRIDGE_BACKEND_URL must be an http or https URL/],
    [{ BRIDGE_BACKEND_URL: 'http://user:pass@x' }, /^BRIDGE_BACKEND_URL must be/],
    [{ BRIDGE_BACKEND_URL: '' }, /^BRIDGE_BACKEND_URL is missing\.$/],
    [{ BRIDGE_DATA_DIR: '/var/lib/whago' }, /^BRIDGE_DATA_DIR is not a setting of the bridge/],
    [{ BRIDGE_PORT: 'http' }, /^BRIDGE_PORT must be a whole number from 0 to 65535\.$/],
    [{ BRIDGE_PORT: '65536' }, /^BRIDGE_PORT must be/],
    [{ BRIDGE_MAX_CHIPS: '0' }, /^BRIDGE_MAX_CHIPS must be a whole number from 1 to 1000\.$/],
    [{ BRIDGE_LOG_LEVEL: 'loud' }, /^BRIDGE_LOG_LEVEL must be one of debug, info, warning, error\.$/],
    [{ BRIDGE_SECRT: 'x' }, /^BRIDGE_SECRT is not a setting of the bridge/],
    [{ NODE_TLS_REJECT_UNAUTHORIZED: '0' }, /^NODE_TLS_REJECT_UNAUTHORIZED=0 would let anybody pose as WhatsApp/],
  ]
  for (const [change, sentence] of bad) {
    it(`refuse ${JSON.stringify(change)} by name`, () => {
      assert.throws(() => readConfig({ ...GOOD, ...change }), (error) => error instanceof ConfigError && sentence.test(error.message))
    })
  }

  it('never quote a secret', () => {
    assert.throws(() => readConfig({ ...GOOD, BRIDGE_SECRET: 'hush-hush' }), (error: Error) => !error.message.includes('hush'))
  })
})

describe('a proxy URL', () => {
  const gateway = { host: 'gateway.local', port: 3128 }
  it('is good when it is the gateway with a credential', () => {
    assert.equal(isGatewayUrl('http://chip-1:token@gateway.local:3128', gateway), true)
    assert.equal(isGatewayUrl('http://chip-1:token@GATEWAY.local:3128/', gateway), true)
    assert.equal(isGatewayUrl('http://chip-1:token@[::1]:3128', { host: '::1', port: 3128 }), true)
  })

  for (const url of [
    'http://gateway.local:3128', 'http://chip@gateway.local:3128', 'http://chip:token@gateway.local:3129', 'http://chip:token@elsewhere:3128',
    'https://chip:token@gateway.local:3128', 'socks5://chip:token@gateway.local:3128', 'http://chip:token@gateway.local:3128/path',
    'http://chip:token@gateway.local:3128/?x=1', 'http://chip:token@gateway.local:3128@elsewhere', 'http://gateway.local:3128@elsewhere:80', 'nonsense', '',
  ]) {
    it(`is refused: ${url}`, () => assert.equal(isGatewayUrl(url, gateway), false))
  }
})
