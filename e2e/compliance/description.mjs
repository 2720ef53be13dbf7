// Which description of the pinning API the suite checks answers against: the official one wherever it can be had, else the
// same parts of the service's own.

import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const URL_OF_OFFICIAL =
  'https://raw.githubusercontent.com/ipfs/pinning-services-api-spec/v1.0.0/ipfs-pinning-service.yaml'

const BESIDE_THE_REPOSITORY = fileURLToPath(
  new URL('../../../shared/data/ipfs-pinning-service-v1.0.0.yaml', import.meta.url))
// What the suite looks up by name; all else is reached from these.
const ROOTS = ['PinResults', 'PinStatus', 'Failure']

/** The official description and where it came from; undefined where it cannot be had. */
export async function official () {
  const named = process.env.ANCHORAGE_PINNING_SPEC
  if (named) return { source: named, text: readFileSync(named, 'utf8') }
  if (existsSync(BESIDE_THE_REPOSITORY)) {
    return { source: 'shared/data, beside the repository', text: readFileSync(BESIDE_THE_REPOSITORY, 'utf8') }
  }
  try {
    const answer = await fetch(URL_OF_OFFICIAL, { signal: AbortSignal.timeout(5_000) })
    if (answer.ok) return { source: URL_OF_OFFICIAL, text: await answer.text() }
  } catch { /* there is no internet here */ }
}

/** The service's own description in the older version of OpenAPI that the suite reads. */
export async function own (endpoint) {
  const answer = await fetch(`${endpoint}/openapi.json`)
  const { schemas } = (await answer.json()).components
  const taken = {}
  const take = name => {
    if (taken[name]) return
    taken[name] = schemas[name]
    for (const [, other] of JSON.stringify(schemas[name]).matchAll(/"#\/components\/schemas\/(\w+)"/g)) take(other)
  }
  ROOTS.forEach(take)
  const text = JSON.stringify({
    openapi: '3.0.0', info: { title: 'own', version: '1.0.0' }, paths: {}, components: { schemas: taken }
  })
  // Version 3.0 has no such types, and the API never answers null.
  if (text.includes('"null"')) throw new Error(`/openapi.json describes an answer that may hold null: ${text}`)
  return { source: '/openapi.json of the service itself', text }
}
