// Holds the template's roles against what the functions call (calls.json, and further files of that form given as
// arguments, such as the calls that a test recorded), and against what they must not (denied.json).
//
// Then it breaks the roles in every way of mutations.js and expects to be told: what is granted and needed by no call of
// calls.json, and what is limited without a forbidden call that shows it, are failures too.
//
//   node check.js [FILE…]
//
// Prints each mismatch; ends with 1 if there is one, with 2 if a call or the template cannot be understood.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { allowed, policies, show, validate } from './judge.js'
import { givenTooMuch, takenAway } from './mutations.js'
import { Template } from './template.js'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const read = (path) => JSON.parse(readFileSync(path, 'utf8'))

/** What a file says of each function; calls of functions that the template does not have are errors. */
function of(file, functions) {
  const calls = read(file)
  const unknown = Object.keys(calls).filter((name) => name !== 'everyone' && !functions.includes(name))
  if (unknown.length > 0) throw new Error(`${file}: the template has no function ${unknown.join(', ')}`)
  return (name) => [...(calls.everyone ?? []), ...(calls[name] ?? [])]
}

/** What is granted by a pattern that takes more than one means by it: no call may happen to show that. */
function wide(granted) {
  const statements = granted.flatMap(({ policy }) => policy.Statement)
  return statements.flatMap(({ Sid, Resource, Condition = {} }) => {
    // A log group's ARN ends with `:*`, its streams.
    const resources = [Resource].flat().map((arn) => arn.replace(/^(arn:aws:logs:[^*]+):\*$/, '$1'))
    const partitions = Object.values(Condition).flatMap((keys) => [keys['dynamodb:LeadingKeys'] ?? []].flat())
    const wide = [
      ...resources.filter((arn) => arn.includes('*')),
      // All of a kind, or a single one.
      ...partitions.filter((partition) => !/^[A-Z]+(#\*|#[a-z]+)?$/.test(partition)),
    ]
    return wide.map((pattern) => `${Sid} grants ${pattern}`)
  })
}

async function check(template, files) {
  const functions = template.ofType('AWS::Serverless::Function')
  const roles = functions.map((name) => template.roleOf(name))
  const mismatches = []
  if (new Set(roles).size < roles.length) mismatches.push('two functions share a role')

  const needed = of(here('calls.json'), functions)
  const recorded = files.map((file) => of(file, functions))
  const forbidden = of(here('denied.json'), functions)
  let judged = 0
  for (const [index, name] of functions.entries()) {
    const role = roles[index]
    const granted = policies(template, role)
    const allows = (call, by = granted) => {
      judged += 1
      return allowed(template, role, by, call)
    }
    const made = [...needed(name), ...recorded.flatMap((calls) => calls(name))]
    if (needed(name).length === 0) mismatches.push(`${name}: calls.json has no calls of it`)
    for (const call of [...made, ...forbidden(name)]) await validate(template, role, granted, call)

    mismatches.push(...wide(granted).map((what) => `${name}: ${what}`))
    for (const call of made) {
      if (!allows(call)) mismatches.push(`${name}: is denied what it calls: ${show(call)}`)
    }
    for (const call of forbidden(name)) {
      if (allows(call)) mismatches.push(`${name}: is allowed what it must not call: ${show(call)}`)
    }
    for (const [what, fewer] of takenAway(granted)) {
      if (needed(name).every((call) => allows(call, fewer))) {
        mismatches.push(`${name}: is granted what none of its calls needs: ${what}`)
      }
    }
    for (const [what, more] of givenTooMuch(granted)) {
      if (!forbidden(name).some((call) => allows(call, more))) {
        mismatches.push(`${name}: no forbidden call would be allowed by: ${what}`)
      }
    }
  }
  return { mismatches, judged, functions }
}

/** The key's own policy refuses what comes without a purpose, whatever a role may be granted. */
function checkKey(template) {
  const everything = [{ name: 'all', policy: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] } }]
  const calls = ['Encrypt', 'Decrypt', 'GenerateDataKey'].map((action) => ({ action: `kms:${action}`, resource: 'Key' }))
  const purpose = { context: { 'kms:EncryptionContext:pollhook:purpose': 'webhook' } }
  const open = calls.filter((call) => allowed(template, 'Administrator', everything, call))
  const shut = calls.filter((call) => !allowed(template, 'Administrator', everything, { ...call, ...purpose }))
  return [
    ...open.map((call) => `the key can be used without a purpose: ${show(call)}`),
    ...shut.map((call) => `the key cannot be used by whom IAM allows: ${show({ ...call, ...purpose })}`),
  ]
}

try {
  const template = new Template(here('../../template.yaml'))
  const { mismatches, judged, functions } = await check(template, process.argv.slice(2))
  mismatches.push(...checkKey(template))
  for (const mismatch of mismatches) console.error(mismatch)
  console.log(`${functions.length} roles, ${judged} judgements, ${mismatches.length} mismatches`)
  process.exitCode = mismatches.length > 0 ? 1 : 0
} catch (error) {
  console.error(error.message)
  process.exitCode = 2
}
