/** For a bridge in a process of its own: the edge's Noise root (hex in NOISE_ROOT) in place of WhatsApp's. */

import { WA_CERT_DETAILS } from 'baileys'

const root = process.env['NOISE_ROOT']
if (root) WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(root, 'hex')
