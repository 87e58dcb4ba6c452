/**
 * Seals what is stored of one chip, with the chip's own key: its WhatsApp keys are readable in this process only.
 *
 * Values are bound to their place, so that none can be passed off as another's. Names are hashed: they hold the phone
 * numbers of the people that the chip talks to.
 */

import { createHmac } from 'node:crypto'

import { deriveKey, seal, unseal } from './sealed-box.ts'

export class ChipCipher {
  readonly #chipId: string
  readonly #valueKey: Buffer
  readonly #nameKey: Buffer

  constructor(stateKey: string, chipId: string) {
    this.#chipId = chipId
    this.#valueKey = deriveKey(stateKey, 'whago-bridge/values/v1')
    this.#nameKey = deriveKey(stateKey, 'whago-bridge/names/v1')
  }

  /** Base64 of 32 bytes. */
  nameOf(type: string, id: string): string {
    return createHmac('sha256', this.#nameKey).update(`${type}\0${id}`).digest('base64')
  }

  sealKey(type: string, id: string, text: string): string {
    return seal(this.#valueKey, Buffer.from(text), this.#place(`key/${type}/${id}`)).toString('base64')
  }

  /** Throws SealBroken. */
  openKey(type: string, id: string, box: string): string {
    return unseal(this.#valueKey, Buffer.from(box, 'base64'), this.#place(`key/${type}/${id}`)).toString()
  }

  sealCreds(text: string): string {
    return seal(this.#valueKey, Buffer.from(text), this.#place('creds')).toString('base64')
  }

  /** Throws SealBroken. */
  openCreds(box: string): string {
    return unseal(this.#valueKey, Buffer.from(box, 'base64'), this.#place('creds')).toString()
  }

  #place(within: string): string {
    return `${this.#chipId}/${within}`
  }
}
