/** The server's side of WhatsApp's Noise_XX_25519_AESGCM_SHA256, with a certificate chain of its own root. */

import { aesDecryptGCM, aesEncryptGCM, Curve, hkdf, proto, sha256, type KeyPair } from 'baileys'

const NOISE_NAME = Buffer.from('Noise_XX_25519_AESGCM_SHA256\0\0\0\0')
const WA_HEADER = Buffer.from([0x57, 0x41, 6, 3])
const EMPTY = Buffer.alloc(0)

export class NoiseRoot {
  readonly root: KeyPair = Curve.generateKeyPair()
  readonly server: KeyPair = Curve.generateKeyPair()
  readonly certChain: Buffer

  constructor() {
    const { Details } = proto.CertChain.NoiseCertificate
    const intermediate = Curve.generateKeyPair()
    const intermediateDetails = Details.encode({ serial: 1, issuerSerial: 0, key: intermediate.public }).finish()
    const leafDetails = Details.encode({ serial: 2, issuerSerial: 1, key: this.server.public }).finish()
    this.certChain = Buffer.from(proto.CertChain.encode({
      intermediate: { details: intermediateDetails, signature: Curve.sign(this.root.private, intermediateDetails) },
      leaf: { details: leafDetails, signature: Curve.sign(intermediate.private, leafDetails) },
    }).finish())
  }
}

/** Feed it what the websocket brings; it answers frames of the handshake, then deciphers and ciphers stanzas. */
export class NoiseServer {
  readonly #root: NoiseRoot
  readonly #ephemeral = Curve.generateKeyPair()
  #hash: Buffer = NOISE_NAME
  #salt: Buffer = NOISE_NAME
  #key: Buffer = NOISE_NAME
  #counter = 0
  #readKey: Buffer | null = null
  #writeKey: Buffer = EMPTY
  /** The client's static key, base64, as its QR code shows it; known once the handshake is done. */
  clientKey = ''
  #reads = 0
  #writes = 0

  constructor(root: NoiseRoot) {
    this.#root = root
    this.#mixHash(WA_HEADER)
  }

  get done(): boolean {
    return this.#readKey !== null
  }

  /** ClientHello in, ServerHello out. */
  hello(frame: Buffer): Buffer {
    const { clientHello } = proto.HandshakeMessage.decode(frame)
    const clientEphemeral = Buffer.from(clientHello!.ephemeral!)
    this.#mixHash(clientEphemeral)
    this.#mixHash(Buffer.from(this.#ephemeral.public))
    this.#mixKey(Curve.sharedKey(this.#ephemeral.private, clientEphemeral))
    const encryptedStatic = this.#encrypt(Buffer.from(this.#root.server.public))
    this.#mixKey(Curve.sharedKey(this.#root.server.private, clientEphemeral))
    const payload = this.#encrypt(this.#root.certChain)
    const serverHello = { ephemeral: this.#ephemeral.public, static: encryptedStatic, payload }
    return Buffer.from(proto.HandshakeMessage.encode({ serverHello }).finish())
  }

  /** ClientFinish in; from then on stanzas flow. */
  finish(frame: Buffer): proto.ClientPayload {
    const { clientFinish } = proto.HandshakeMessage.decode(frame)
    const clientStatic = this.#decrypt(Buffer.from(clientFinish!.static!))
    this.clientKey = clientStatic.toString('base64')
    this.#mixKey(Curve.sharedKey(this.#ephemeral.private, clientStatic))
    const payload = this.#decrypt(Buffer.from(clientFinish!.payload!))
    const [clientWrites, serverWrites] = this.#expand(EMPTY)
    this.#readKey = clientWrites
    this.#writeKey = serverWrites
    return proto.ClientPayload.decode(payload)
  }

  read(frame: Buffer): Buffer {
    return aesDecryptGCM(frame, this.#readKey!, nonce(this.#reads++), EMPTY)
  }

  write(plain: Buffer): Buffer {
    return aesEncryptGCM(plain, this.#writeKey, nonce(this.#writes++), EMPTY)
  }

  #mixHash(part: Buffer): void {
    this.#hash = sha256(Buffer.concat([this.#hash, part]))
  }

  #mixKey(secret: Buffer): void {
    const [salt, key] = this.#expand(secret)
    this.#salt = salt
    this.#key = key
    this.#counter = 0
  }

  #expand(secret: Buffer): [Buffer, Buffer] {
    const bytes = Buffer.from(hkdf(secret, 64, { salt: this.#salt, info: '' }))
    return [bytes.subarray(0, 32), bytes.subarray(32)]
  }

  #encrypt(plain: Buffer): Buffer {
    const sealed = aesEncryptGCM(plain, this.#key, nonce(this.#counter++), this.#hash)
    this.#mixHash(sealed)
    return sealed
  }

  #decrypt(sealed: Buffer): Buffer {
    const plain = aesDecryptGCM(sealed, this.#key, nonce(this.#counter++), this.#hash)
    this.#mixHash(sealed)
    return plain
  }
}

function nonce(counter: number): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt32BE(counter, 8)
  return bytes
}
