//! A query's range as DynamoDB can say it.
//!
//! DynamoDB takes one condition on the sort key, bounds included, and refuses an empty `BETWEEN` and a starting point
//! outside of the range. The port's range is half-open and takes any starting point.

use platform::Query;

/// What to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    pub(super) condition: &'static str,
    /// Placeholder and value, beside `:pk`.
    pub(super) bounds: Vec<(&'static str, String)>,
    /// Begin after (or, descending, before) this sort key.
    pub(super) start: Option<String>,
}

/// What to ask, or `None` when nothing can be there.
pub(super) fn ask(query: &Query) -> Option<Ask> {
    let Query { from, before, descending, after, .. } = query;
    if !before.is_empty() && before <= from {
        return None;
    }
    // A start outside of the range: on the near side it changes nothing, on the far side nothing is left.
    let start = match after {
        None => None,
        Some(after) if *descending && (after.is_empty() || after <= from) => return None,
        Some(after) if !descending && !before.is_empty() && after >= before => return None,
        // A page may have ended at the bound itself, which `BETWEEN` includes: the next one must not begin there again.
        Some(after) if *descending && !before.is_empty() && (after > before || after == before && from.is_empty()) => {
            None
        }
        Some(after) if !descending && (after.is_empty() || after < from) => None,
        Some(after) => Some(after.clone()),
    };
    let (condition, bounds) = match (from.is_empty(), before.is_empty()) {
        (true, true) => ("#pk = :pk", vec![]),
        (false, true) => ("#pk = :pk AND #sk >= :from", vec![(":from", from.clone())]),
        (true, false) => ("#pk = :pk AND #sk < :before", vec![(":before", before.clone())]),
        (false, false) => {
            ("#pk = :pk AND #sk BETWEEN :from AND :before", vec![(":from", from.clone()), (":before", before.clone())])
        }
    };
    Some(Ask { condition, bounds, start })
}

/// Whether what came back is in the range: `BETWEEN` includes its upper bound.
pub(super) fn contains(query: &Query, sort: &str) -> bool {
    query.before.is_empty() || sort < query.before.as_str()
}

/// The token of the next page, when DynamoDB stopped after the sort key `last`; `None` when nothing can follow.
pub(super) fn next(query: &Query, last: String) -> Option<String> {
    let more = if query.descending { last > query.from } else { contains(query, &last) };
    more.then_some(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What DynamoDB does with `ask`, of the sort keys `stored`, which are in order.
    fn dynamodb(query: &Query, ask: &Ask, stored: &[String]) -> (Vec<String>, Option<String>) {
        let bound = |name| ask.bounds.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        let (from, before) = (bound(":from"), bound(":before"));
        if let (Some(from), Some(before)) = (from, before) {
            assert!(from <= before, "refused");
        }
        let within = |sort: &str| {
            let between = from.is_some() && before.is_some();
            from.is_none_or(|from| sort >= from)
                && before.is_none_or(|before| if between { sort <= before } else { sort < before })
        };
        if let Some(start) = &ask.start {
            assert!(!start.is_empty() && within(start), "refused");
        }
        let mut found: Vec<String> = stored.iter().filter(|sort| within(sort)).cloned().collect();
        if query.descending {
            found.reverse();
        }
        if let Some(start) = &ask.start {
            found.retain(|sort| if query.descending { sort < start } else { sort > start });
        }
        found.truncate(query.limit);
        let last = (found.len() == query.limit).then(|| found.last().cloned()).flatten();
        (found, last)
    }

    fn sort() -> impl Strategy<Value = String> {
        "[a-d]{1,2}"
    }

    fn bound() -> impl Strategy<Value = String> {
        "[a-d]{0,2}"
    }

    proptest! {
        #[test]
        fn pages_make_up_the_range_exactly(
            stored in prop::collection::btree_set(sort(), 0..12), from in bound(), before in bound(),
            descending: bool, limit in 1_usize..4, after in prop::option::of(bound()),
        ) {
            let stored: Vec<String> = stored.into_iter().collect();
            let mut query = Query { from, before, descending, after, ..Query::partition("p", limit) };
            let mut expected: Vec<String> = stored.iter().filter(|sort| {
                **sort >= query.from && (query.before.is_empty() || **sort < query.before)
                    && query.after.as_ref().is_none_or(|a| if descending { *sort < a } else { *sort > a })
            }).cloned().collect();
            if descending {
                expected.reverse();
            }
            let mut read = Vec::new();
            for _ in 0..20 {
                let Some(ask) = ask(&query) else { break };
                let (found, last) = dynamodb(&query, &ask, &stored);
                read.extend(found.into_iter().filter(|sort| contains(&query, sort)));
                query.after = last.and_then(|last| next(&query, last));
                if query.after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(read, expected);
        }
    }
}
