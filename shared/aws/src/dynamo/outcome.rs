//! What a condition that did not hold says about the write: did it fail, or had it happened before?

use events::Timestamp;
use platform::{Act, Condition, Failed, Item, TableError, Version, Write};

/// The write, without its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempted {
    Put {
        version: Version,
        conditional: bool,
    },
    DeleteVersion,
    /// A check, or a delete that needs no item to be there.
    Other,
}

impl Attempted {
    pub(super) fn of(write: &Write) -> Self {
        match (&write.act, write.condition) {
            (Act::Put { version, .. }, condition) => Self::Put { version: *version, conditional: condition.is_some() },
            (Act::Delete, Some(Condition::Version(_))) => Self::DeleteVersion,
            (Act::Delete | Act::Check, _) => Self::Other,
        }
    }
}

/// The unexpired item.
pub(super) fn unexpired(stored: Option<Item>, now: Timestamp) -> Option<Item> {
    stored.filter(|item| !item.expired(now))
}

/// The end of a single write whose condition did not hold, where `existing` is the unexpired item.
///
/// `in_doubt`: an attempt of this call may have happened without our knowing. Then an item that is neither the old one
/// nor ours proves nothing: ours may have been there in between.
pub(super) fn single(attempted: Attempted, existing: Option<Item>, in_doubt: bool) -> Result<(), TableError> {
    match (attempted, &existing) {
        (Attempted::Put { version, .. }, Some(item)) if item.version == version => Ok(()),
        (Attempted::DeleteVersion, None) if in_doubt => Ok(()),
        (Attempted::Put { .. } | Attempted::DeleteVersion, _) if in_doubt => {
            Err(TableError::OutcomeUnknown("an earlier answer was lost, and the item has changed since".into()))
        }
        _ => Err(TableError::ConditionFailed(vec![Failed { index: 0, existing }])),
    }
}

/// What the failed conditions of a transaction say. Its attempts carry a token, so this one certainly did nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Transaction {
    /// It did not happen.
    Failed,
    /// It had happened before if all of these puts (by index) stand there too: their conditions held, or they have none.
    HappenedIfTheseStand(Vec<usize>),
}

/// Looks for a put that found itself. One that found another, or that could still have been done, was never done.
pub(super) fn transaction(attempted: &[Attempted], failed: &[Failed]) -> Transaction {
    let mut found_itself = false;
    let mut could_be_done = false;
    let mut others = Vec::new();
    for (index, attempted) in attempted.iter().enumerate() {
        let Attempted::Put { version, conditional } = attempted else { continue };
        match failed.iter().find(|failed| failed.index == index) {
            None => {
                could_be_done |= conditional;
                others.push(index);
            }
            Some(Failed { existing: Some(item), .. }) if item.version == *version => found_itself = true,
            Some(_) => return Transaction::Failed,
        }
    }
    // Where no put found itself, looking is worth a read only if all of them lack a condition.
    if found_itself || (!others.is_empty() && !could_be_done) {
        Transaction::HappenedIfTheseStand(others)
    } else {
        Transaction::Failed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use platform::Key;
    use proptest::prelude::*;

    use super::*;

    fn there(version: u64) -> Option<Item> {
        let key = Key::new("p", "s");
        Some(Item { key, version: Version(version), body: Bytes::new(), expires_at_s: None })
    }

    fn put(version: u64) -> Attempted {
        Attempted::Put { version: Version(version), conditional: true }
    }

    fn failed(index: usize, version: u64) -> Failed {
        Failed { index, existing: there(version) }
    }

    #[test]
    fn a_put_that_finds_itself_had_happened() {
        assert_eq!(single(put(7), there(7), true), Ok(()));
        assert_eq!(single(put(7), there(7), false), Ok(()), "a repeat by the caller");
    }

    #[test]
    fn a_put_that_finds_another_failed_unless_it_may_have_been_there_in_between() {
        let certain = single(put(7), there(8), false).unwrap_err();
        assert_eq!(certain, TableError::ConditionFailed(vec![failed(0, 8)]));
        assert!(matches!(single(put(7), there(8), true), Err(TableError::OutcomeUnknown(_))));
        assert!(matches!(single(put(7), None, true), Err(TableError::OutcomeUnknown(_))));
    }

    #[test]
    fn a_delete_that_finds_nothing_had_happened_only_when_an_answer_was_lost() {
        assert_eq!(single(Attempted::DeleteVersion, None, true), Ok(()));
        let nothing = TableError::ConditionFailed(vec![Failed { index: 0, existing: None }]);
        assert_eq!(single(Attempted::DeleteVersion, None, false), Err(nothing));
        assert!(matches!(single(Attempted::DeleteVersion, there(1), true), Err(TableError::OutcomeUnknown(_))));
    }

    #[test]
    fn a_transaction_that_finds_all_its_puts_had_happened() {
        let attempted = [put(1), Attempted::DeleteVersion, put(2)];
        let gone = Failed { index: 1, existing: None };
        let all = [failed(0, 1), gone.clone(), failed(2, 2)];
        assert_eq!(transaction(&attempted, &all), Transaction::HappenedIfTheseStand(vec![]));
        assert_eq!(
            transaction(&attempted, &[failed(0, 1), gone]),
            Transaction::HappenedIfTheseStand(vec![2]),
            "the other one is to be looked at"
        );
        assert_eq!(transaction(&attempted, &[failed(0, 1), failed(2, 9)]), Transaction::Failed);
    }

    #[test]
    fn a_transaction_without_puts_never_recognises_itself() {
        let attempted = [Attempted::DeleteVersion, Attempted::Other];
        let gone = Failed { index: 0, existing: None };
        assert_eq!(transaction(&attempted, &[gone]), Transaction::Failed);
    }

    #[test]
    fn unconditional_puts_are_looked_at_when_a_check_failed() {
        let unconditional = Attempted::Put { version: Version(1), conditional: false };
        let gone = Failed { index: 0, existing: None };
        let attempted = [Attempted::DeleteVersion, unconditional];
        assert_eq!(transaction(&attempted, std::slice::from_ref(&gone)), Transaction::HappenedIfTheseStand(vec![1]));
        assert_eq!(transaction(&[Attempted::DeleteVersion, put(1)], &[gone]), Transaction::Failed);
    }

    proptest! {
        /// Whatever failed: a put that found something else than itself is never taken for done.
        #[test]
        fn nothing_is_taken_for_done_that_found_another(
            versions in prop::collection::vec(any::<Option<u64>>(), 1..9), foreign: usize,
        ) {
            let attempted: Vec<Attempted> =
                versions.iter().map(|v| v.map_or(Attempted::Other, put)).collect();
            let foreign = foreign % attempted.len();
            let Attempted::Put { version: Version(own), .. } = attempted[foreign] else { return Ok(()) };
            prop_assert_eq!(transaction(&attempted, &[failed(foreign, own ^ 1)]), Transaction::Failed);
        }
    }
}
