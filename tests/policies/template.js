// Reads template.yaml and resolves its intrinsic functions, for a deployment that does not exist: a made-up account, region
// and stack, the parameters' defaults, and for each resource the name or ARN that AWS would give it.
//
// Roles are written out in the template and SAM's transform does not touch them, so what is read here is what is deployed.
// What this does not know how to resolve is an error, never a guess.

import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

const PARTITION = 'aws'
const REGION = 'eu-central-1'
export const ACCOUNT = '111111111111'
const STACK = 'pollhook'

const PSEUDO = {
  'AWS::Partition': PARTITION,
  'AWS::Region': REGION,
  'AWS::AccountId': ACCOUNT,
  'AWS::StackName': STACK,
  'AWS::URLSuffix': 'amazonaws.com',
}
/** What stands for `AWS::NoValue`: the property is left out. */
const NO_VALUE = Symbol('AWS::NoValue')

const arn = (service, rest) => `arn:${PARTITION}:${service}:${REGION}:${ACCOUNT}:${rest}`

/** What `Ref` and `GetAtt` give, by type. */
const RESOURCES = {
  'AWS::DynamoDB::Table': (id) => ({ Ref: `${STACK}-${id}`, Arn: arn('dynamodb', `table/${STACK}-${id}`) }),
  'AWS::KMS::Key': (id) => ({ Ref: `${id}-key-id`, Arn: arn('kms', `key/${id}-key-id`) }),
  'AWS::SQS::Queue': (id) => ({
    Ref: `https://sqs.${REGION}.amazonaws.com/${ACCOUNT}/${STACK}-${id}`,
    Arn: arn('sqs', `${STACK}-${id}`),
    QueueName: `${STACK}-${id}`,
  }),
  'AWS::Serverless::Function': (id) => ({ Ref: `${STACK}-${id}`, Arn: arn('lambda', `function:${STACK}-${id}`) }),
  // With `:*` at its end, for the streams in it:
  // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-loggroup.html
  'AWS::Logs::LogGroup': (id) => ({ Ref: id, Arn: arn('logs', `log-group:${id}:*`) }),
  'AWS::IAM::Role': (id) => ({ Ref: id, Arn: `arn:${PARTITION}:iam::${ACCOUNT}:role/${id}` }),
  'AWS::Events::EventBus': (id) => ({ Ref: `${STACK}-${id}`, Arn: arn('events', `event-bus/${STACK}-${id}`) }),
  'AWS::Events::Rule': (id) => ({ Ref: `${STACK}-${id}`, Arn: arn('events', `rule/${STACK}-${id}`) }),
  'AWS::ApiGatewayV2::Api': (id) => ({ Ref: 'a1b2c3', ApiEndpoint: `https://a1b2c3.execute-api.${REGION}.amazonaws.com` }),
}

const SHORT_FORMS = ['Ref', 'GetAtt', 'Sub', 'If', 'Not', 'Equals', 'Join', 'And', 'Or']

/** `!GetAtt A.B` and its like as the objects that they are short for. */
const tags = SHORT_FORMS.flatMap((name) => {
  const key = name === 'Ref' ? 'Ref' : `Fn::${name}`
  const scalar = { tag: `!${name}`, resolve: (text) => ({ [key]: name === 'GetAtt' ? text.split('.') : text }) }
  const collection = (kind) => ({
    tag: `!${name}`,
    collection: kind,
    resolve: (node) => ({ [key]: node.toJSON() }),
  })
  return [scalar, collection('seq')]
})

export class Template {
  constructor(path) {
    this.raw = parse(readFileSync(path, 'utf8'), { customTags: tags })
    this.parameters = Object.fromEntries(
      Object.entries(this.raw.Parameters).map(([name, parameter]) => [name, parameter.Default]),
    )
  }

  /** The resource's properties, resolved. */
  properties(id) {
    return this.#resolve(this.resource(id).Properties)
  }

  resource(id) {
    const resource = this.raw.Resources[id]
    if (!resource) throw new Error(`the template has no resource ${id}`)
    return resource
  }

  /** The resources of a type, by their logical ids. */
  ofType(type) {
    return Object.keys(this.raw.Resources).filter((id) => this.raw.Resources[id].Type === type)
  }

  /** What `GetAtt id.Arn` gives. */
  arn(id) {
    return this.#attribute(id, 'Arn')
  }

  /** The logical id of a function's role, which must be its own and written out in the template. */
  roleOf(id) {
    const role = this.resource(id).Properties.Role?.['Fn::GetAtt']?.[0]
    if (!role) throw new Error(`${id} has no role of the template's: SAM would make one, with grants of its own`)
    return role
  }

  #attribute(id, attribute) {
    const { Type } = this.resource(id)
    const value = RESOURCES[Type]?.(id)[attribute]
    if (value === undefined) throw new Error(`template.js does not know ${attribute} of a ${Type} (${id})`)
    return value
  }

  #ref(name) {
    if (name === 'AWS::NoValue') return NO_VALUE
    if (name in PSEUDO) return PSEUDO[name]
    if (name in this.parameters) return this.parameters[name]
    return this.#attribute(name, 'Ref')
  }

  #condition(value) {
    if (typeof value === 'string') return this.#condition(this.raw.Conditions[value])
    const [[name, argument]] = Object.entries(value)
    if (name === 'Fn::Equals') {
      const [left, right] = argument.map((side) => this.#resolve(side))
      return String(left) === String(right)
    }
    if (name === 'Fn::Not') return !this.#condition(argument[0])
    if (name === 'Fn::And') return argument.every((one) => this.#condition(one))
    if (name === 'Fn::Or') return argument.some((one) => this.#condition(one))
    if (name === 'Condition') return this.#condition(argument)
    throw new Error(`template.js does not know the condition ${name}`)
  }

  #substitute(text) {
    return text.replace(/\$\{([^!}]+)\}/g, (_, name) => {
      const [id, attribute] = name.split('.')
      return attribute ? this.#attribute(id, attribute) : this.#ref(id)
    })
  }

  #resolve(value) {
    if (Array.isArray(value)) return value.map((one) => this.#resolve(one)).filter((one) => one !== NO_VALUE)
    if (value === null || typeof value !== 'object') return value
    const entries = Object.entries(value)
    if (entries.length === 1) {
      const [[name, argument]] = entries
      if (name === 'Ref') return this.#ref(argument)
      if (name === 'Fn::GetAtt') return this.#attribute(...argument)
      if (name === 'Fn::Sub' && typeof argument === 'string') return this.#substitute(argument)
      if (name === 'Fn::If') return this.#resolve(this.#condition(argument[0]) ? argument[1] : argument[2])
      if (name === 'Fn::Join') return this.#resolve(argument[1]).join(argument[0])
      if (name.startsWith('Fn::')) throw new Error(`template.js does not know ${name}`)
    }
    const resolved = entries.map(([name, inner]) => [name, this.#resolve(inner)])
    return Object.fromEntries(resolved.filter(([, inner]) => inner !== NO_VALUE))
  }
}
