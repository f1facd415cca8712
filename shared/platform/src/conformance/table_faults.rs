//! Lost answers and refused requests: what happened is told or recognised, never denied.

use super::{Faults, made_by, put, stored};
use crate::{Condition, Consistency, Key, Query, Table, TableError, Version, Write};

/// A test for each scenario with a network that loses things. `$setup` is an async function without arguments that gives
/// a [`FaultyTableUnderTest`](crate::conformance::FaultyTableUnderTest).
#[macro_export]
macro_rules! table_fault_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __table_fault_scenario, $setup,
            table_faults::{
                a_put_if_absent_whose_answer_was_lost_happens_once,
                a_put_if_version_whose_answer_was_lost_happens_once,
                a_put_whose_answer_was_lost_still_yields_to_another_item,
                a_delete_whose_answer_was_lost_is_never_denied,
                a_transaction_whose_answer_was_lost_happens_once,
                a_transaction_of_deletes_whose_answer_was_lost_is_never_denied,
                a_batch_of_writes_whose_answer_was_lost_can_be_repeated,
                a_refused_write_is_repeated_or_reported,
                a_refused_transaction_is_repeated_or_reported,
                a_refused_batch_of_writes_is_repeated_or_reported,
                a_read_that_got_no_answer_is_not_an_absence,
            },
        }
    };
}

/// After a lost answer there are two honest ones.
fn assert_honest(answer: &Result<(), TableError>) {
    assert!(matches!(answer, Ok(()) | Err(TableError::OutcomeUnknown(_))), "after a lost answer: {answer:?}");
}

/// Whether what was refused happened after all, by a repeat: the answer must say so.
fn assert_reported(answer: &Result<(), TableError>, happened: bool) {
    match answer {
        Ok(()) => assert!(happened, "refused, and lost without a word"),
        Err(TableError::OutcomeUnknown(_)) => {}
        Err(TableError::Unavailable(_) | TableError::Throttled | TableError::Conflict) => {
            assert!(!happened, "it happened, and is denied: {answer:?}");
        }
        Err(error) => panic!("after a refused request: {error:?}"),
    }
}

/// The caller may repeat it, too.
pub async fn a_put_if_absent_whose_answer_was_lost_happens_once<T: Table>(
    table: &T,
    faults: &impl Faults,
    scope: &str,
) {
    let write = Write::put(Key::new(scope, "1"), Version(1), "one").when(Condition::Absent);
    faults.lose_next_answer();
    assert_honest(&table.write(write.clone()).await);
    assert_eq!(stored(table, &write.key).await, made_by(&write));
    assert_eq!(table.write(write.clone()).await, Ok(()), "the caller's repeat recognises itself");
    assert_eq!(stored(table, &write.key).await, made_by(&write));
}

/// The caller may repeat it, too.
pub async fn a_put_if_version_whose_answer_was_lost_happens_once<T: Table>(
    table: &T,
    faults: &impl Faults,
    scope: &str,
) {
    let key = Key::new(scope, "1");
    put(table, &key, 1, "one").await;
    let write = Write::put(key, Version(2), "two").when(Condition::Version(Version(1)));
    faults.lose_next_answer();
    assert_honest(&table.write(write.clone()).await);
    assert_eq!(stored(table, &write.key).await, made_by(&write));
    assert_eq!(table.write(write.clone()).await, Ok(()), "the caller's repeat recognises itself");
    assert_eq!(stored(table, &write.key).await, made_by(&write));
}

/// The lost answer was "no": a repeat must not turn it into "yes".
pub async fn a_put_whose_answer_was_lost_still_yields_to_another_item<T: Table>(
    table: &T,
    faults: &impl Faults,
    scope: &str,
) {
    let key = Key::new(scope, "1");
    let item = put(table, &key, 1, "another's").await;
    faults.lose_next_answer();
    let answer = table.write(Write::put(key.clone(), Version(2), "own").when(Condition::Absent)).await;
    let denied = matches!(answer, Err(TableError::ConditionFailed(_) | TableError::OutcomeUnknown(_)));
    assert!(denied, "{answer:?}");
    assert_eq!(stored(table, &key).await, Some(item));
}

/// A repeat finds nothing there, which is its own doing.
pub async fn a_delete_whose_answer_was_lost_is_never_denied<T: Table>(table: &T, faults: &impl Faults, scope: &str) {
    let key = Key::new(scope, "1");
    for condition in [None, Some(Condition::Version(Version(1)))] {
        put(table, &key, 1, "one").await;
        let delete = Write { condition, ..Write::delete(key.clone()) };
        faults.lose_next_answer();
        assert_honest(&table.write(delete).await);
        assert_eq!(stored(table, &key).await, None);
    }
}

/// The caller may repeat it, too.
pub async fn a_transaction_whose_answer_was_lost_happens_once<T: Table>(table: &T, faults: &impl Faults, scope: &str) {
    let key = |sort: &str| Key::new(scope, sort);
    put(table, &key("replaced"), 1, "old").await;
    put(table, &key("deleted"), 2, "old").await;
    let made = Write::put(key("made"), Version(3), "new").when(Condition::Absent);
    let replaced = Write::put(key("replaced"), Version(4), "new").when(Condition::Version(Version(1)));
    let deleted = Write::delete(key("deleted")).when(Condition::Version(Version(2)));
    let writes = vec![made.clone(), replaced.clone(), deleted];
    faults.lose_next_answer();
    assert_honest(&table.transact(writes.clone()).await);
    for repeat in 0..2 {
        assert_eq!(stored(table, &key("made")).await, made_by(&made));
        assert_eq!(stored(table, &key("replaced")).await, made_by(&replaced));
        assert_eq!(stored(table, &key("deleted")).await, None);
        assert_eq!(table.transact(writes.clone()).await, Ok(()), "repeat {repeat} recognises itself");
    }
}

/// There is no put to recognise it by.
pub async fn a_transaction_of_deletes_whose_answer_was_lost_is_never_denied<T: Table>(
    table: &T,
    faults: &impl Faults,
    scope: &str,
) {
    let keys = [Key::new(scope, "1"), Key::new(scope, "2")];
    for key in &keys {
        put(table, key, 1, "one").await;
    }
    let delete = |key: &Key| Write::delete(key.clone()).when(Condition::Version(Version(1)));
    faults.lose_next_answer();
    assert_honest(&table.transact(keys.iter().map(delete).collect()).await);
    for key in &keys {
        assert_eq!(stored(table, key).await, None);
    }
}

/// Until it is `Ok`.
pub async fn a_batch_of_writes_whose_answer_was_lost_can_be_repeated<T: Table>(
    table: &T,
    faults: &impl Faults,
    scope: &str,
) {
    let writes: Vec<Write> =
        (0..30).map(|n| Write::put(Key::new(scope, format!("{n:02}")), Version(n), "body")).collect();
    faults.lose_next_answer();
    let answer = table.write_many(writes.clone()).await;
    assert_honest(&answer);
    if answer.is_err() {
        assert_eq!(table.write_many(writes.clone()).await, Ok(()));
    }
    for write in &writes {
        assert_eq!(stored(table, &write.key).await, made_by(write));
    }
}

/// Puts and deletes, with and without conditions.
pub async fn a_refused_write_is_repeated_or_reported<T: Table>(table: &T, faults: &impl Faults, scope: &str) {
    let key = |sort: &str| Key::new(scope, sort);
    put(table, &key("there"), 1, "old").await;
    put(table, &key("doomed"), 1, "old").await;
    let writes = [
        Write::put(key("free"), Version(2), "new"),
        Write::put(key("absent"), Version(2), "new").when(Condition::Absent),
        Write::put(key("there"), Version(2), "new").when(Condition::Version(Version(1))),
        Write::delete(key("doomed")).when(Condition::Version(Version(1))),
    ];
    for write in writes {
        faults.refuse_next_request();
        let answer = table.write(write.clone()).await;
        assert_reported(&answer, stored(table, &write.key).await == made_by(&write));
    }
}

/// As a whole.
pub async fn a_refused_transaction_is_repeated_or_reported<T: Table>(table: &T, faults: &impl Faults, scope: &str) {
    let write = |sort: &str| Write::put(Key::new(scope, sort), Version(1), "new").when(Condition::Absent);
    let (first, second) = (write("1"), write("2"));
    faults.refuse_next_request();
    let answer = table.transact(vec![first.clone(), second.clone()]).await;
    let there = stored(table, &first.key).await;
    assert_reported(&answer, there == made_by(&first));
    assert_eq!(stored(table, &second.key).await.is_some(), there.is_some(), "half a transaction");
}

/// After an error some may have happened; after `Ok`, all.
pub async fn a_refused_batch_of_writes_is_repeated_or_reported<T: Table>(table: &T, faults: &impl Faults, scope: &str) {
    let writes: Vec<Write> =
        (0..30).map(|n| Write::put(Key::new(scope, format!("{n:02}")), Version(n), "body")).collect();
    faults.refuse_next_request();
    match table.write_many(writes.clone()).await {
        Ok(()) => {}
        Err(TableError::Unavailable(_) | TableError::OutcomeUnknown(_) | TableError::Throttled) => {
            assert_eq!(table.write_many(writes.clone()).await, Ok(()));
        }
        Err(error) => panic!("after a refused request: {error:?}"),
    }
    for write in &writes {
        assert_eq!(stored(table, &write.key).await, made_by(write));
    }
}

/// Of an item, of many, of a range.
pub async fn a_read_that_got_no_answer_is_not_an_absence<T: Table>(table: &T, faults: &impl Faults, scope: &str) {
    fn true_or_unavailable<V: PartialEq + std::fmt::Debug>(answer: Result<V, TableError>, truth: &V) {
        match answer {
            Ok(value) => assert_eq!(value, *truth),
            Err(TableError::Unavailable(_) | TableError::Throttled) => {}
            Err(error) => panic!("a read without an answer: {error:?}"),
        }
    }
    let key = Key::new(scope, "1");
    let item = put(table, &key, 1, "one").await;
    for refuse in [false, true] {
        let fault = || if refuse { faults.refuse_next_request() } else { faults.lose_next_answer() };
        fault();
        true_or_unavailable(table.get(&key, Consistency::Strong).await, &Some(item.clone()));
        fault();
        let keys = [key.clone()];
        true_or_unavailable(table.get_many(&keys, Consistency::Strong).await, &vec![Some(item.clone())]);
        fault();
        let read = table.query(&Query::partition(scope, 10)).await.map(|page| page.items);
        true_or_unavailable(read, &vec![item.clone()]);
    }
}
