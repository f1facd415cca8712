// What IAM would say to a call.
//
// A call is `{ action, resource, context }`: an IAM action; a logical id of the template or a whole ARN; the context keys
// that AWS would set. An action of the wire that IAM does not know by that name is written as IAM knows it
// (`SendMessageBatch` is `sqs:SendMessage`; each write of `TransactWriteItems` is the action of its kind).

import { createValidatedPolicy, validateResourcePolicy } from '@cloud-copilot/iam-policy'
import { allowedContextKeysForRequest, runSimulation, runUnsafeSimulation } from '@cloud-copilot/iam-simulate'

import { ACCOUNT } from './template.js'

/** The documents of a role. */
export function policies(template, role) {
  const { Policies = [], ManagedPolicyArns = [] } = template.properties(role)
  if (ManagedPolicyArns.length > 0) throw new Error(`${role} has managed policies, which grant more than a function needs`)
  return Policies.map(({ PolicyName, PolicyDocument }) => ({ name: PolicyName, policy: PolicyDocument }))
}

function arnOf(template, name) {
  if (name.startsWith('arn:')) return name
  // A log group's ARN ends with `:*`; what is written to is a stream in it.
  return template.arn(name).replace(/:\*$/, ':log-stream:2026/11/24/[$LATEST]0')
}

/** The policy of the template's key; other keys leave it to IAM, as the one that AWS gives a key by default. */
function keyPolicy(template, arn) {
  const key = template.ofType('AWS::KMS::Key').find((id) => template.arn(id) === arn)
  const root = { AWS: `arn:aws:iam::${ACCOUNT}:root` }
  const byDefault = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: root, Action: 'kms:*', Resource: '*' }] }
  const policy = key ? template.properties(key).KeyPolicy : byDefault
  // With a name: the simulator asks for one.
  return createValidatedPolicy(policy, validateResourcePolicy, { name: key ?? 'other' })
}

function simulation(template, role, identityPolicies, { action, resource, context = {} }) {
  const arn = arnOf(template, resource)
  return {
    request: {
      principal: `arn:aws:sts::${ACCOUNT}:assumed-role/${role}/session`,
      action,
      resource: { resource: arn, accountId: arn.split(':')[4] || ACCOUNT },
      contextVariables: context,
    },
    identityPolicies,
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: arn.startsWith('arn:aws:kms:') ? keyPolicy(template, arn) : undefined,
  }
}

/**
 * Whether AWS would let the call through. Takes the call's word for it that there is such an action and such a context:
 * see [`validate`].
 */
export function allowed(template, role, identityPolicies, call) {
  return runUnsafeSimulation(simulation(template, role, identityPolicies, call), {}) === 'Allowed'
}

/**
 * Throws for a call or policy that AWS would not know: a wrong name would be denied, and look right where that is wanted.
 */
export async function validate(template, role, identityPolicies, call) {
  const made = simulation(template, role, identityPolicies, call)
  const answer = await runSimulation(made, {})
  if (answer.resultType === 'error') throw new Error(`${show(call)}: ${JSON.stringify(answer.errors)}`)
  const [service, action] = call.action.split(':')
  const known = await allowedContextKeysForRequest(service, action, made.request.resource.resource, false)
  for (const key of Object.keys(call.context ?? {})) {
    // `kms:EncryptionContext:` and any key of the context, which the simulator's own check does not know.
    const variable = key.toLowerCase().replace(/^(kms:encryptioncontext):.*/, '$1:${encryptioncontextkey}')
    if (!known.includes(variable)) throw new Error(`${show(call)}: AWS sets no ${key} for this action`)
  }
}

/** A call in a line. */
export function show({ action, resource, context }) {
  const conditions = Object.entries(context ?? {}).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  return [action, resource, ...conditions].join(' ')
}
