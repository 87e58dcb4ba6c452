/** The owner's phone: scans a QR code and vouches for the new device, as WhatsApp's servers pass it on. */

import { createHmac } from 'node:crypto'
import { Curve, proto, type BinaryNode } from 'baileys'

/** What the phone makes of a QR code: the content of `<iq><pair-success>`. Throws when the code is not one. */
export function scan(qr: string, user: string): BinaryNode {
  const [, , identityKey, advSecret] = qr.replace(/^.*#/, '').split(',')
  if (!identityKey || !advSecret) throw new Error('not a QR code of WhatsApp')
  const phone = Curve.generateKeyPair()
  const details = Buffer.from(proto.ADVDeviceIdentity.encode({ rawId: 1, timestamp: 1, keyIndex: 1 }).finish())
  const vouched = Buffer.concat([Buffer.from([6, 0]), details, Buffer.from(identityKey, 'base64')])
  const signed = Buffer.from(proto.ADVSignedDeviceIdentity.encode({
    details,
    accountSignatureKey: phone.public,
    accountSignature: Curve.sign(phone.private, vouched),
  }).finish())
  const hmac = createHmac('sha256', Buffer.from(advSecret, 'base64')).update(signed).digest()
  const identity = Buffer.from(proto.ADVSignedDeviceIdentityHMAC.encode({ details: signed, hmac }).finish())
  return {
    tag: 'pair-success',
    attrs: {},
    content: [
      { tag: 'device-identity', attrs: {}, content: identity },
      { tag: 'device', attrs: { jid: `${user}:7@s.whatsapp.net`, lid: `9${user}:7@lid` } },
      { tag: 'platform', attrs: { name: 'android' } },
    ],
  }
}
