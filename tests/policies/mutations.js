// Roles with one thing changed.
//
// *Taken away:* an action, a resource, a value of a condition, or a whole statement. If nothing that a function calls
// needs it, it is granted for nothing. *Given too much:* a condition dropped, a resource widened to everything. If nothing
// that is forbidden becomes possible, the limit is held by no test. Both also prove that this test can fail.

const list = (value) => [value].flat()

/** The policies with the statement replaced by `change(a copy of it)`; dropped, where that is undefined. */
function changed(policies, at, change) {
  return policies.map(({ name, policy }, index) => {
    if (index !== at.policy) return { name, policy }
    const statements = policy.Statement.map((statement, index) =>
      index === at.statement ? change(structuredClone(statement)) : statement,
    )
    return { name, policy: { ...policy, Statement: statements.filter(Boolean) } }
  })
}

function statements(policies) {
  return policies.flatMap(({ policy }, index) =>
    list(policy.Statement).map((statement, place) => [{ policy: index, statement: place }, statement]),
  )
}

/** Every grant taken away, one at a time: `[what, policies]`. */
export function* takenAway(policies) {
  for (const [at, statement] of statements(policies)) {
    yield [`${statement.Sid}`, changed(policies, at, () => undefined)]
    for (const field of ['Action', 'Resource']) {
      const values = list(statement[field])
      if (values.length < 2) continue
      for (const value of values) {
        const fewer = (copy) => ({ ...copy, [field]: values.filter((other) => other !== value) })
        yield [`${statement.Sid}: ${value}`, changed(policies, at, fewer)]
      }
    }
    for (const [operator, keys] of Object.entries(statement.Condition ?? {})) {
      for (const [key, all] of Object.entries(keys)) {
        if (list(all).length < 2) continue
        for (const value of list(all)) {
          const fewer = (copy) => {
            copy.Condition[operator][key] = list(all).filter((other) => other !== value)
            return copy
          }
          yield [`${statement.Sid}: ${value}`, changed(policies, at, fewer)]
        }
      }
    }
  }
}

/** Every limit lifted, one at a time: `[what, policies]`. */
export function* givenTooMuch(policies) {
  for (const [at, statement] of statements(policies)) {
    const everywhere = (copy) => ({ ...copy, Resource: '*' })
    yield [`${statement.Sid}: any resource`, changed(policies, at, everywhere)]
    if (!statement.Condition) continue
    const unconditionally = ({ Condition, ...rest }) => rest
    yield [`${statement.Sid}: unconditionally`, changed(policies, at, unconditionally)]
  }
}
