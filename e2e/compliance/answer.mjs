// Loaded into the suite's process: answers its download of the official description from the file DESCRIPTION. Everything
// else that it asks over HTTPS is refused, so that no check is quietly made against something else.

import { EventEmitter } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'
import { Readable } from 'node:stream'
import { URL_OF_OFFICIAL } from './description.mjs'

https.get = ({ protocol, hostname, path }) => {
  const url = `${protocol}//${hostname}${path}`
  if (url !== URL_OF_OFFICIAL) throw new Error(`the suite asks for ${url}, which nobody expected`)
  const request = new EventEmitter()
  const response = Readable.from([readFileSync(process.env.DESCRIPTION)])
  setImmediate(() => request.emit('response', Object.assign(response, { statusCode: 200, headers: {} })))
  return request
}
syncBuiltinESMExports()
