/** A certificate authority of one's own and a leaf for some host names: just enough DER (RFC 5280) for TLS. */

import { generateKeyPairSync, randomBytes, sign, X509Certificate, type KeyObject } from 'node:crypto'

export type TlsIdentity = { caPem: string; certPem: string; keyPem: string }

const DAY_MS = 86_400_000
const ECDSA_WITH_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02))
const BASIC_CONSTRAINTS = oid(0x55, 0x1d, 0x13)
const SUBJECT_ALT_NAME = oid(0x55, 0x1d, 0x11)
const COMMON_NAME = oid(0x55, 0x04, 0x03)
const TRUE = tagged(0x01, Buffer.from([0xff]))

export function makeTlsIdentity(hosts: readonly string[]): TlsIdentity {
  const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const caName = commonName('WHAGO test authority')
  const isCa = sequence(BASIC_CONSTRAINTS, TRUE, tagged(0x04, sequence(TRUE)))
  const names = sequence(...hosts.map((host) => tagged(0x82, Buffer.from(host))))
  const caCert = certificate(caName, caName, ca.publicKey, isCa, ca.privateKey)
  const leafCert = certificate(commonName(hosts[0]!), caName, leaf.publicKey, sequence(SUBJECT_ALT_NAME, tagged(0x04, names)), ca.privateKey)
  return {
    caPem: new X509Certificate(caCert).toString(),
    certPem: new X509Certificate(leafCert).toString(),
    keyPem: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

function certificate(subject: Buffer, issuer: Buffer, key: KeyObject, extension: Buffer, signer: KeyObject): Buffer {
  const toBeSigned = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))), // version 3
    tagged(0x02, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    ECDSA_WITH_SHA256,
    issuer,
    sequence(time(Date.now() - DAY_MS), time(Date.now() + DAY_MS)),
    subject,
    key.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(extension)),
  )
  const signature = tagged(0x03, Buffer.concat([Buffer.from([0]), sign('sha256', toBeSigned, signer)]))
  return sequence(toBeSigned, ECDSA_WITH_SHA256, signature)
}

function commonName(name: string): Buffer {
  return sequence(tagged(0x31, sequence(COMMON_NAME, tagged(0x0c, Buffer.from(name)))))
}

function time(ms: number): Buffer {
  return tagged(0x18, Buffer.from(new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '')))
}

function oid(...bytes: number[]): Buffer {
  return tagged(0x06, Buffer.from(bytes))
}

function sequence(...parts: Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts))
}

function tagged(tag: number, content: Buffer): Buffer {
  const size = content.length
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}
