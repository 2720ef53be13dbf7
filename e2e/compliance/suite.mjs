// Runs the suite and demands its nine checks. The suite itself ends with 0 when checks fail or are skipped, so what counts
// is the file of results that it writes.
//
// It runs twice at the same time: against the official description, which is what is counted, and against the service's own,
// which must describe the service just as well. Where the official one cannot be had, the own one is counted and said to be.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { official, own } from './description.mjs'

const CHECKS = 9

const suite = join(process.argv[2], 'node_modules/@ipfs-shipyard/pinning-service-compliance/dist')
const service = JSON.parse(process.env.ANCHORAGE_DEV)
const folder = mkdtempSync(join(tmpdir(), 'anchorage-compliance-'))

/** Runs the suite as an org's client. The host is part of the endpoint because the suite names its results after it. */
async function run (host, token, { source, text }) {
  const results = join(suite, 'docs', `${host}.json`)
  const description = join(folder, `${host}.yaml`)
  rmSync(results, { force: true })
  writeFileSync(description, text)
  const endpoint = service.endpoint.replace('127.0.0.1', host)
  const hook = new URL('./answer.mjs', import.meta.url).href
  const child = spawn(process.execPath, ['--import', hook, join(suite, 'src/index.js'), '-s', endpoint, token], {
    env: { ...process.env, DESCRIPTION: description }, stdio: ['ignore', 'pipe', 'inherit']
  })
  let said = ''
  child.stdout.on('data', part => { said += part })
  await new Promise(resolve => child.on('close', resolve))
  let outcome
  try {
    outcome = JSON.parse(readFileSync(results, 'utf8'))
  } catch (error) {
    outcome = { total: 0, passed: 0, error: `it left no results: ${error.message}` }
  }
  const { total, passed } = outcome
  console.log(`${said}\nchecked against ${source}: ${JSON.stringify(outcome)}`)
  return { passed, good: total === CHECKS && passed === CHECKS }
}

try {
  const runs = [run('localhost', service.orgs.other, await own(service.endpoint))]
  const reference = await official()
  if (reference) runs.push(run('127.0.0.1', service.orgs.demo, reference))
  const outcomes = await Promise.all(runs)
  const counted = outcomes.at(-1)
  console.log(reference
    ? `note: checked against the official description, from ${reference.source}, and against the service's own`
    : 'note: checked against OUR OWN description: the official one is not here; set ANCHORAGE_PINNING_SPEC to its file')
  const good = outcomes.every(outcome => outcome.good)
  const failed = good ? 0 : Math.max(1, CHECKS - counted.passed)
  console.log(`test result: ${good ? 'ok' : 'FAILED'}. ${counted.passed} passed; ${failed} failed; of ${CHECKS} checks`)
  process.exitCode = good ? 0 : 1
} finally {
  rmSync(folder, { recursive: true })
}
