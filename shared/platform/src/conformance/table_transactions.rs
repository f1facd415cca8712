//! Transactions: all or nothing, who failed, how much.

use std::sync::Arc;

use super::{Time, insist, made_by, put, stored};
use crate::{Condition, Consistency, Failed, Key, Table, TableError, Version, Write, limits};

fn version(n: u64) -> Condition {
    Condition::Version(Version(n))
}

/// Every kind of write, with and without a condition.
pub async fn a_transaction_puts_deletes_and_checks_at_once<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = |sort: &str| Key::new(scope, sort);
    let other = Key::new(format!("{scope}#other"), "1");
    put(&**table, &key("replaced"), 1, "old").await;
    put(&**table, &key("deleted"), 2, "old").await;
    put(&**table, &key("deleted too"), 3, "old").await;
    let checked = put(&**table, &key("checked"), 4, "stays").await;
    let made = Write::put(key("made"), Version(5), "new").when(Condition::Absent).expiring(i64::MAX);
    let replaced = Write::put(key("replaced"), Version(6), "new").when(version(1));
    let elsewhere = Write::put(other.clone(), Version(7), "new");
    let writes = vec![
        made.clone(),
        replaced.clone(),
        Write::delete(key("deleted")).when(version(2)),
        Write::delete(key("deleted too")),
        Write::delete(key("never there")),
        Write::check(key("checked"), version(4)),
        Write::check(key("absent"), Condition::Absent),
        elsewhere.clone(),
    ];
    let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
    assert_eq!(table.transact(writes).await, Ok(()));
    let expected = vec![made_by(&made), made_by(&replaced), None, None, None, Some(checked), None, made_by(&elsewhere)];
    assert_eq!(table.get_many(&keys, Consistency::Strong).await, Ok(expected));
}

/// Whichever kind of write holds it.
pub async fn a_failed_condition_stops_the_whole_transaction_and_is_named<T: Table>(
    table: &Arc<T>,
    _: &impl Time,
    scope: &str,
) {
    let key = |sort: &str| Key::new(scope, sort);
    let there = put(&**table, &key("there"), 1, "old").await;
    let doomed = put(&**table, &key("doomed"), 2, "old").await;
    let failing = [
        (Write::put(key("there"), Version(9), "new").when(Condition::Absent), Some(there.clone())),
        (Write::put(key("there"), Version(9), "new").when(version(7)), Some(there.clone())),
        (Write::put(key("gone"), Version(9), "new").when(version(7)), None),
        (Write::delete(key("there")).when(version(7)), Some(there.clone())),
        (Write::delete(key("gone")).when(version(7)), None),
        (Write::check(key("there"), version(7)), Some(there.clone())),
        (Write::check(key("there"), Condition::Absent), Some(there.clone())),
        (Write::check(key("gone"), version(7)), None),
    ];
    for (write, existing) in failing {
        let writes = vec![Write::put(key("made"), Version(3), "new"), write.clone(), Write::delete(key("doomed"))];
        let failed = Failed { index: 1, existing };
        assert_eq!(table.transact(writes).await, Err(TableError::ConditionFailed(vec![failed])), "{write:?}");
        assert_eq!(stored(&**table, &key("made")).await, None, "{write:?}");
        assert_eq!(stored(&**table, &key("gone")).await, None, "{write:?}");
        assert_eq!(stored(&**table, &key("there")).await, Some(there.clone()), "{write:?}");
        assert_eq!(stored(&**table, &key("doomed")).await, Some(doomed.clone()), "{write:?}");
    }
}

/// By their places in the transaction, with what is there.
pub async fn all_failed_conditions_are_named<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = |sort: &str| Key::new(scope, sort);
    let first = put(&**table, &key("1"), 1, "one").await;
    let third = put(&**table, &key("3"), 3, "three").await;
    let writes = vec![
        Write::put(key("1"), Version(9), "new").when(Condition::Absent),
        Write::put(key("2"), Version(9), "new").when(Condition::Absent),
        Write::check(key("3"), version(7)),
        Write::delete(key("4")).when(version(4)),
    ];
    let failed = vec![
        Failed { index: 0, existing: Some(first) },
        Failed { index: 2, existing: Some(third) },
        Failed { index: 3, existing: None },
    ];
    assert_eq!(table.transact(writes).await, Err(TableError::ConditionFailed(failed)));
}

/// To conditions, and in what a failure shows.
pub async fn an_expired_item_is_absent_in_transactions<T: Table>(table: &Arc<T>, time: &impl Time, scope: &str) {
    let key = |sort: &str| Key::new(scope, sort);
    let past = time.now().as_seconds() - 1;
    let expired = |sort: &str| Write::put(key(sort), Version(1), "expired").expiring(past);
    assert_eq!(table.write_many(vec![expired("1"), expired("2"), expired("3")]).await, Ok(()));
    let writes = vec![
        Write::put(key("1"), Version(2), "new").when(version(1)),
        Write::delete(key("2")).when(version(1)),
        Write::check(key("3"), version(1)),
    ];
    let failed = (0..3).map(|index| Failed { index, existing: None }).collect();
    assert_eq!(table.transact(writes).await, Err(TableError::ConditionFailed(failed)));
    let made = Write::put(key("1"), Version(2), "new").when(Condition::Absent);
    let writes = vec![made.clone(), Write::check(key("3"), Condition::Absent)];
    assert_eq!(table.transact(writes).await, Ok(()));
    assert_eq!(stored(&**table, &key("1")).await, made_by(&made));
}

/// As after a lost answer: every put's own version already stands there.
pub async fn a_repeated_transaction_recognises_itself<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = |sort: &str| Key::new(scope, sort);
    put(&**table, &key("replaced"), 1, "old").await;
    put(&**table, &key("deleted"), 2, "old").await;
    let made = Write::put(key("made"), Version(3), "new").when(Condition::Absent);
    let replaced = Write::put(key("replaced"), Version(4), "new").when(version(1));
    let writes = vec![made.clone(), replaced.clone(), Write::delete(key("deleted")).when(version(2))];
    for _ in 0..2 {
        assert_eq!(table.transact(writes.clone()).await, Ok(()));
        assert_eq!(stored(&**table, &key("made")).await, made_by(&made));
        assert_eq!(stored(&**table, &key("replaced")).await, made_by(&replaced));
        assert_eq!(stored(&**table, &key("deleted")).await, None);
    }
    // Another has taken the deleted one's place since; recognising oneself must not delete it.
    let taken = put(&**table, &key("deleted"), 5, "another's").await;
    assert_eq!(table.transact(writes).await, Ok(()));
    assert_eq!(stored(&**table, &key("deleted")).await, Some(taken));
}

/// It says so, and writes nothing.
pub async fn a_transaction_of_which_one_put_is_not_its_own_is_not_recognised<T: Table>(
    table: &Arc<T>,
    _: &impl Time,
    scope: &str,
) {
    let key = |sort: &str| Key::new(scope, sort);
    let own = put(&**table, &key("1"), 1, "own").await;
    let other = put(&**table, &key("2"), 2, "another's").await;
    let writes = vec![
        Write::put(key("1"), Version(1), "own").when(Condition::Absent),
        Write::put(key("2"), Version(3), "own").when(Condition::Absent),
    ];
    let Err(TableError::ConditionFailed(failed)) = table.transact(writes).await else { panic!("not recognised") };
    assert!(failed.contains(&Failed { index: 1, existing: Some(other.clone()) }), "{failed:?}");
    assert_eq!(stored(&**table, &key("1")).await, Some(own));
    assert_eq!(stored(&**table, &key("2")).await, Some(other));
    let bare = vec![Write::delete(key("3")).when(version(1)), Write::check(key("1"), version(1))];
    let failed = vec![Failed { index: 0, existing: None }];
    assert_eq!(table.transact(bare).await, Err(TableError::ConditionFailed(failed)), "there is no put to know it by");
}

/// [`limits::TRANSACTION_WRITES`].
pub async fn a_hundred_writes_are_taken_and_no_more<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let writes = |count: usize| -> Vec<Write> {
        let key = |n: usize| Key::new(format!("{scope}#{count}"), format!("{n:03}"));
        (0..count).map(|n| Write::put(key(n), Version(n as u64), "body").when(Condition::Absent)).collect()
    };
    let most = writes(limits::TRANSACTION_WRITES);
    let keys: Vec<Key> = most.iter().map(|write| write.key.clone()).collect();
    assert_eq!(table.transact(most.clone()).await, Ok(()));
    let read = table.get_many(&keys, Consistency::Strong).await;
    assert_eq!(read, Ok(most.iter().map(made_by).collect()));
    let more = writes(limits::TRANSACTION_WRITES + 1);
    assert!(matches!(table.transact(more.clone()).await, Err(TableError::Invalid(_))));
    assert_eq!(stored(&**table, &more[0].key).await, None);
    assert!(matches!(table.transact(Vec::new()).await, Err(TableError::Invalid(_))));
}

/// Whatever the two writes are.
pub async fn one_key_twice_is_refused<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let put = Write::put(key.clone(), Version(1), "body");
    for second in [put.clone(), Write::delete(key.clone()), Write::check(key.clone(), Condition::Absent)] {
        let answer = table.transact(vec![put.clone(), second.clone()]).await;
        assert!(matches!(answer, Err(TableError::Invalid(_))), "{second:?}: {answer:?}");
        assert_eq!(stored(&**table, &key).await, None);
    }
}

/// It would say nothing.
pub async fn a_check_without_condition_is_refused<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let mut check = Write::check(Key::new(scope, "1"), Condition::Absent);
    check.condition = None;
    assert!(matches!(table.transact(vec![check]).await, Err(TableError::Invalid(_))));
}

/// [`limits::TRANSACTION_BYTES`].
pub async fn a_transaction_of_the_largest_size_is_taken_and_no_larger<T: Table>(
    table: &Arc<T>,
    _: &impl Time,
    scope: &str,
) {
    let writes = |partition: &str, bytes: usize| -> Vec<Write> {
        let partition = format!("{scope}#{partition}");
        let mut left = bytes;
        let mut writes = Vec::new();
        while left > 0 {
            let size = left.min(limits::ITEM_BYTES);
            let key = Key::new(partition.as_str(), format!("{:02}", writes.len()));
            let body = vec![0x5A; size - partition.len() - key.sort.len() - limits::ITEM_OVERHEAD_BYTES];
            writes.push(Write::put(key, Version(1), body));
            left -= size;
        }
        writes
    };
    let largest = writes("largest", limits::TRANSACTION_BYTES);
    assert_eq!(table.transact(largest.clone()).await, Ok(()));
    for write in &largest {
        assert!(stored(&**table, &write.key).await == made_by(write), "{:?} came back changed", write.key);
    }
    let larger = writes("larger", limits::TRANSACTION_BYTES + 1);
    assert!(matches!(table.transact(larger.clone()).await, Err(TableError::Invalid(_))));
    assert_eq!(stored(&**table, &larger[0].key).await, None);
}

/// Neither what stands before the refused write nor what stands after it.
pub async fn what_is_refused_writes_nothing<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let good = |sort: &str| Write::put(Key::new(scope, sort), Version(1), "body");
    let bad = Write::put(Key::new(scope, "2"), Version(1), vec![0; limits::ITEM_BYTES]);
    let writes = vec![good("1"), bad, good("3")];
    assert!(matches!(table.transact(writes.clone()).await, Err(TableError::Invalid(_))));
    assert!(matches!(table.write_many(writes.clone()).await, Err(TableError::Invalid(_))));
    for write in writes {
        assert_eq!(stored(&**table, &write.key).await, None);
    }
}

/// Several callers move one unit at a time from one item to another.
pub async fn racing_transactions_keep_the_sum<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    const CALLERS: u64 = 4;
    const MOVES: u64 = 5;
    const START: u64 = 100;
    let (from, to) = (Key::new(format!("{scope}#from"), "1"), Key::new(format!("{scope}#to"), "1"));
    put(&**table, &from, u64::MAX, &START.to_string()).await;
    put(&**table, &to, u64::MAX, "0").await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (table, from, to) = (Arc::clone(table), from.clone(), to.clone());
            tokio::spawn(async move {
                let mut moved = 0;
                let mut fresh = caller * 1_000_000;
                while moved < MOVES {
                    fresh += 1;
                    let (there, count) = amount(&*table, &from).await;
                    let take = Write::put(from.clone(), Version(fresh), (count - 1).to_string()).when(there);
                    let (there, count) = amount(&*table, &to).await;
                    let give = Write::put(to.clone(), Version(fresh), (count + 1).to_string()).when(there);
                    match insist(|| table.transact(vec![take.clone(), give.clone()])).await {
                        Ok(()) => moved += 1,
                        Err(TableError::ConditionFailed(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
    assert_eq!(amount(&**table, &from).await.1, START - CALLERS * MOVES);
    assert_eq!(amount(&**table, &to).await.1, CALLERS * MOVES);
}

/// The number at `key`, and the condition that it is still this one.
async fn amount<T: Table>(table: &T, key: &Key) -> (Condition, u64) {
    let item = stored(table, key).await.expect("an amount");
    let amount = str::from_utf8(&item.body).expect("text").parse().expect("a number");
    (Condition::Version(item.version), amount)
}
