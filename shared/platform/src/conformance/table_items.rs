//! Items: reading, writing under conditions, expiry, sizes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Time, insist, made_by, put, stored};
use crate::testing::SeededRandom;
use crate::{Condition, Consistency, Failed, Key, Random, Table, TableError, Version, Write, limits};

/// A test for each scenario about single items, queries and transactions. `$setup` is an async function without arguments
/// that gives a [`TableUnderTest`](crate::conformance::TableUnderTest).
#[macro_export]
macro_rules! table_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __table_scenario, $setup,
            table_items::{
                what_was_put_is_read,
                what_is_absent_is_read_as_none,
                a_put_replaces,
                a_delete_removes_and_an_absent_item_is_no_error,
                a_put_if_absent_happens_once,
                a_put_if_version_happens_on_that_version_only,
                a_delete_if_version_happens_on_that_version_only,
                a_failed_condition_changes_nothing,
                a_repeated_conditional_put_recognises_itself,
                of_racing_puts_if_absent_one_wins,
                racing_compare_and_swaps_lose_no_update,
                an_expired_item_is_absent,
                an_item_expires_when_its_second_comes,
                an_item_keeps_its_version_and_expiry,
                many_are_read_in_the_order_asked,
                many_are_written_and_deleted,
                a_batch_of_writes_takes_no_condition_and_no_key_twice,
                any_bytes_make_a_body,
                an_item_of_the_largest_size_is_held_and_no_larger,
                keys_over_the_limits_are_refused,
                a_bare_check_is_refused,
            },
            table_queries::{
                a_partition_is_read_in_order_both_ways,
                sort_keys_order_by_bytes,
                bounds_hold_from_and_before,
                bounds_that_cross_hold_nothing,
                pages_lead_to_the_end_both_ways,
                pages_go_on_where_an_item_was_deleted,
                expired_items_are_in_no_page_and_hide_no_later_one,
                large_items_are_all_read,
                an_empty_partition_has_no_items,
                partitions_do_not_leak_into_one_another,
                a_query_without_partition_or_limit_is_refused,
            },
            table_transactions::{
                a_transaction_puts_deletes_and_checks_at_once,
                a_failed_condition_stops_the_whole_transaction_and_is_named,
                all_failed_conditions_are_named,
                an_expired_item_is_absent_in_transactions,
                a_repeated_transaction_recognises_itself,
                a_transaction_of_which_one_put_is_not_its_own_is_not_recognised,
                a_hundred_writes_are_taken_and_no_more,
                one_key_twice_is_refused,
                a_check_without_condition_is_refused,
                a_transaction_of_the_largest_size_is_taken_and_no_larger,
                what_is_refused_writes_nothing,
                racing_transactions_keep_the_sum,
            },
        }
    };
}

/// Strongly at once, eventually after a moment.
pub async fn what_was_put_is_read<T: Table>(table: &Arc<T>, time: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let item = put(&**table, &key, 1, "one").await;
    assert_eq!(stored(&**table, &key).await, Some(item.clone()));
    time.pass(Duration::from_secs(1)).await;
    assert_eq!(table.get(&key, Consistency::Eventual).await, Ok(Some(item)));
}

/// A key's neighbours do not stand in for it.
pub async fn what_is_absent_is_read_as_none<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    put(&**table, &Key::new(scope, "11"), 1, "neighbour").await;
    for consistency in [Consistency::Strong, Consistency::Eventual] {
        assert_eq!(table.get(&Key::new(scope, "1"), consistency).await, Ok(None));
    }
}

/// The last put is the item.
pub async fn a_put_replaces<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    put(&**table, &key, 1, "a long first body").await;
    let expiring = Write::put(key.clone(), Version(2), "second").expiring(i64::MAX);
    assert_eq!(table.write(expiring).await, Ok(()));
    let third = put(&**table, &key, 3, "3").await;
    assert_eq!(
        stored(&**table, &key).await,
        Some(third),
        "nothing of the earlier items is left, not their expiry either"
    );
}

/// Deleting is idempotent.
pub async fn a_delete_removes_and_an_absent_item_is_no_error<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    put(&**table, &key, 1, "one").await;
    for _ in 0..2 {
        assert_eq!(table.write(Write::delete(key.clone())).await, Ok(()));
        assert_eq!(stored(&**table, &key).await, None);
    }
}

/// [`Condition::Absent`].
pub async fn a_put_if_absent_happens_once<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let first = Write::put(key.clone(), Version(1), "first").when(Condition::Absent);
    let existing = made_by(&first);
    assert_eq!(table.write(first).await, Ok(()));
    let second = Write::put(key.clone(), Version(2), "second").when(Condition::Absent);
    let failed = Failed { index: 0, existing: existing.clone() };
    assert_eq!(table.write(second.clone()).await, Err(TableError::ConditionFailed(vec![failed])));
    assert_eq!(stored(&**table, &key).await, existing);
    assert_eq!(table.write(Write::delete(key.clone())).await, Ok(()));
    assert_eq!(table.write(second).await, Ok(()), "absent once more");
}

/// [`Condition::Version`].
pub async fn a_put_if_version_happens_on_that_version_only<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let second = Write::put(key.clone(), Version(2), "second").when(Condition::Version(Version(1)));
    let failed = |existing| Err(TableError::ConditionFailed(vec![Failed { index: 0, existing }]));
    assert_eq!(table.write(second.clone()).await, failed(None), "absent is no version");
    assert_eq!(stored(&**table, &key).await, None);
    put(&**table, &key, 1, "first").await;
    assert_eq!(table.write(second.clone()).await, Ok(()));
    let third = Write::put(key.clone(), Version(3), "third").when(Condition::Version(Version(1)));
    assert_eq!(table.write(third).await, failed(made_by(&second)), "the version is another now");
    assert_eq!(stored(&**table, &key).await, made_by(&second));
}

/// [`Condition::Version`] of a delete.
pub async fn a_delete_if_version_happens_on_that_version_only<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let item = put(&**table, &key, 1, "first").await;
    let delete = |version| Write::delete(key.clone()).when(Condition::Version(Version(version)));
    let failed = |existing| Err(TableError::ConditionFailed(vec![Failed { index: 0, existing }]));
    assert_eq!(table.write(delete(2)).await, failed(Some(item.clone())));
    assert_eq!(stored(&**table, &key).await, Some(item));
    assert_eq!(table.write(delete(1)).await, Ok(()));
    assert_eq!(stored(&**table, &key).await, None);
    assert_eq!(
        table.write(delete(1)).await,
        failed(None),
        "a caller's own repeat cannot be told from another's delete"
    );
}

/// Neither body nor version nor expiry.
pub async fn a_failed_condition_changes_nothing<T: Table>(table: &Arc<T>, time: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let item = put(&**table, &key, 1, "first").await;
    let soon = time.now().as_seconds() + 1000;
    for condition in [Condition::Absent, Condition::Version(Version(7))] {
        let write = Write::put(key.clone(), Version(2), "second").expiring(soon).when(condition);
        assert!(matches!(table.write(write).await, Err(TableError::ConditionFailed(_))), "{condition:?}");
        assert_eq!(stored(&**table, &key).await, Some(item.clone()), "{condition:?}");
    }
}

/// As after a lost answer: the caller repeats, and its own version already stands there.
pub async fn a_repeated_conditional_put_recognises_itself<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let first = Write::put(key.clone(), Version(1), "first").when(Condition::Absent);
    let second = Write::put(key.clone(), Version(2), "second").when(Condition::Version(Version(1)));
    for write in [&first, &first, &second, &second] {
        assert_eq!(table.write(write.clone()).await, Ok(()));
        assert_eq!(stored(&**table, &key).await, made_by(write));
    }
    let failed = vec![Failed { index: 0, existing: made_by(&second) }];
    assert_eq!(table.write(first).await, Err(TableError::ConditionFailed(failed)), "replaced since: told so");
}

/// Exactly one, and the others are shown its item.
pub async fn of_racing_puts_if_absent_one_wins<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let racers: Vec<_> = (1..=8)
        .map(|version| {
            let table = Arc::clone(table);
            let write = Write::put(key.clone(), Version(version), format!("racer {version}")).when(Condition::Absent);
            tokio::spawn(async move { (made_by(&write), insist(|| table.write(write.clone())).await) })
        })
        .collect();
    let mut winners = Vec::new();
    let mut shown = Vec::new();
    for racer in racers {
        match racer.await.expect("a racer") {
            (item, Ok(())) => winners.push(item),
            (_, Err(error)) => shown.push(error.existing().expect("only its condition stops a racer")),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(stored(&**table, &key).await, winners[0]);
    assert!(shown.iter().all(|item| *item == winners[0]), "{shown:?}");
}

/// A counter that several callers raise at once ends exact.
pub async fn racing_compare_and_swaps_lose_no_update<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    const CALLERS: u64 = 4;
    const RAISES: u64 = 5;
    let key = Key::new(scope, "counter");
    put(&**table, &key, u64::MAX, "0").await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (table, key) = (Arc::clone(table), key.clone());
            tokio::spawn(async move {
                let mut raised = 0;
                for fresh in 0.. {
                    let item = stored(&*table, &key).await.expect("the counter");
                    let count: u64 = str::from_utf8(&item.body).expect("text").parse().expect("a number");
                    let version = Version(caller * 1_000_000 + fresh);
                    let write = Write::put(key.clone(), version, (count + 1).to_string());
                    let write = write.when(Condition::Version(item.version));
                    match insist(|| table.write(write.clone())).await {
                        Ok(()) => raised += 1,
                        Err(TableError::ConditionFailed(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if raised == RAISES {
                        break;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
    let item = stored(&**table, &key).await.expect("the counter");
    assert_eq!(item.body, Bytes::from((CALLERS * RAISES).to_string()));
}

/// In every read and every condition, while the store may still hold it.
pub async fn an_expired_item_is_absent<T: Table>(table: &Arc<T>, time: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let past = time.now().as_seconds() - 1;
    let expired = || Write::put(key.clone(), Version(1), "expired").expiring(past);
    let failed = Err(TableError::ConditionFailed(vec![Failed { index: 0, existing: None }]));
    assert_eq!(table.write(expired()).await, Ok(()));
    assert_eq!(stored(&**table, &key).await, None);
    assert_eq!(table.get_many(std::slice::from_ref(&key), Consistency::Strong).await, Ok(vec![None]));
    let replace = Write::put(key.clone(), Version(2), "second").when(Condition::Version(Version(1)));
    assert_eq!(table.write(replace).await, failed, "an expired item has no version");
    let delete = Write::delete(key.clone()).when(Condition::Version(Version(1)));
    assert_eq!(table.write(delete).await, failed, "to a delete neither");
    let fresh = Write::put(key.clone(), Version(3), "third").when(Condition::Absent);
    assert_eq!(table.write(fresh.clone()).await, Ok(()), "the place is free");
    assert_eq!(stored(&**table, &key).await, made_by(&fresh));
}

/// From that second on, not before.
pub async fn an_item_expires_when_its_second_comes<T: Table>(table: &Arc<T>, time: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let write = Write::put(key.clone(), Version(1), "short-lived").expiring(time.now().as_seconds() + 2);
    assert_eq!(table.write(write.clone()).await, Ok(()));
    assert_eq!(stored(&**table, &key).await, made_by(&write));
    time.pass(Duration::from_secs(2)).await;
    assert_eq!(stored(&**table, &key).await, None);
}

/// All 64 bits of them.
pub async fn an_item_keeps_its_version_and_expiry<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    for (version, expiry) in [(0, Some(i64::MAX)), (u64::MAX, None), (1 << 63, Some(9_007_199_254_740_993))] {
        let mut write = Write::put(key.clone(), Version(version), "body");
        if let Some(at_s) = expiry {
            write = write.expiring(at_s);
        }
        assert_eq!(table.write(write.clone()).await, Ok(()));
        assert_eq!(stored(&**table, &key).await, made_by(&write));
        let next = Write::put(key.clone(), Version(7), "next").when(Condition::Version(Version(version)));
        assert_eq!(table.write(next).await, Ok(()), "as a condition too");
    }
}

/// More than one request's worth, with repeats and gaps.
pub async fn many_are_read_in_the_order_asked<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = |n: usize| Key::new(format!("{scope}#{}", n % 3), format!("{n:03}"));
    let writes: Vec<Write> = (0..120).map(|n| Write::put(key(n), Version(n as u64), n.to_string())).collect();
    assert_eq!(table.write_many(writes.clone()).await, Ok(()));
    // Backwards, the first one three times more, and ten that are absent.
    let asked: Vec<usize> = (0..130).rev().chain([0, 0, 129, 0]).collect();
    let keys: Vec<Key> = asked.iter().map(|n| key(*n)).collect();
    let expected: Vec<_> = asked.iter().map(|n| writes.get(*n).and_then(made_by)).collect();
    assert_eq!(table.get_many(&keys, Consistency::Strong).await, Ok(expected));
    assert_eq!(table.get_many(&[], Consistency::Strong).await, Ok(Vec::new()));
}

/// More than one request's worth.
pub async fn many_are_written_and_deleted<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let keys: Vec<Key> = (0..60).map(|n| Key::new(scope, format!("{n:02}"))).collect();
    let puts: Vec<Write> = keys.iter().map(|key| Write::put(key.clone(), Version(1), key.sort.clone())).collect();
    assert_eq!(table.write_many(puts.clone()).await, Ok(()));
    let read = table.get_many(&keys, Consistency::Strong).await;
    assert_eq!(read, Ok(puts.iter().map(made_by).collect()));
    let mixed: Vec<Write> = (keys.iter().enumerate())
        .map(|(n, key)| match n % 2 {
            0 => Write::delete(key.clone()),
            _ => Write::put(key.clone(), Version(2), "replaced"),
        })
        .collect();
    assert_eq!(table.write_many(mixed.clone()).await, Ok(()));
    let read = table.get_many(&keys, Consistency::Strong).await;
    assert_eq!(read, Ok(mixed.iter().map(made_by).collect()));
    assert_eq!(table.write_many(Vec::new()).await, Ok(()));
}

/// And writes none of them.
pub async fn a_batch_of_writes_takes_no_condition_and_no_key_twice<T: Table>(
    table: &Arc<T>,
    _: &impl Time,
    scope: &str,
) {
    let write = |sort: &str| Write::put(Key::new(scope, sort), Version(1), "body");
    let bad = [
        vec![write("1"), write("2").when(Condition::Absent)],
        vec![write("1"), write("2"), write("1")],
        vec![write("1"), Write::check(Key::new(scope, "2"), Condition::Absent)],
        vec![write("1"), write("")],
    ];
    for writes in bad {
        assert!(matches!(table.write_many(writes).await, Err(TableError::Invalid(_))));
        assert_eq!(stored(&**table, &Key::new(scope, "1")).await, None, "nothing was written");
    }
}

/// None at all, every value, and any mixture.
pub async fn any_bytes_make_a_body<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let key = Key::new(scope, "1");
    let random = SeededRandom::new(1);
    let mut bodies = vec![Vec::new(), (0..=u8::MAX).collect(), vec![0], vec![0; 1000]];
    bodies.extend([1, 2, 3, 255, 4096, 70_001].map(|length| {
        let mut body = vec![0; length];
        random.fill(&mut body);
        body
    }));
    for body in bodies {
        let write = Write::put(key.clone(), Version(random.bits()), body);
        assert_eq!(table.write(write.clone()).await, Ok(()));
        assert!(
            stored(&**table, &key).await == made_by(&write),
            "a body of {} bytes came back changed",
            limits::size(&write)
        );
    }
}

/// [`limits::ITEM_BYTES`].
pub async fn an_item_of_the_largest_size_is_held_and_no_larger<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let write = |sort: &str, bytes: usize| {
        let key = Key::new(scope, sort);
        let body = vec![0xA5; bytes - scope.len() - sort.len() - limits::ITEM_OVERHEAD_BYTES];
        Write::put(key, Version(u64::MAX), body).expiring(i64::MAX)
    };
    let largest = write("1", limits::ITEM_BYTES);
    assert_eq!(table.write(largest.clone()).await, Ok(()));
    assert!(stored(&**table, &largest.key).await == made_by(&largest), "the largest item came back changed");
    let larger = write("2", limits::ITEM_BYTES + 1);
    let answers = [
        table.write(larger.clone()).await,
        table.write_many(vec![larger.clone()]).await,
        table.transact(vec![larger.clone()]).await,
    ];
    assert!(answers.iter().all(|answer| matches!(answer, Err(TableError::Invalid(_)))), "{answers:?}");
    assert_eq!(stored(&**table, &larger.key).await, None);
}

/// In reads and writes; the longest ones are taken.
pub async fn keys_over_the_limits_are_refused<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let padded = |length: usize| format!("{scope}{}", "p".repeat(length - scope.len()));
    let longest = Key::new(padded(limits::PARTITION_BYTES), "s".repeat(limits::SORT_BYTES));
    let item = put(&**table, &longest, 1, "body").await;
    assert_eq!(stored(&**table, &longest).await, Some(item));
    let bad = [
        Key::new("", "1"),
        Key::new(scope, ""),
        Key::new(padded(limits::PARTITION_BYTES + 1), "1"),
        Key::new(scope, "s".repeat(limits::SORT_BYTES + 1)),
        // As many characters as are allowed, but more bytes.
        Key::new(scope, "é".repeat(limits::SORT_BYTES)),
        Key::new(format!("{scope}\0"), "1"),
    ];
    for key in bad {
        let write = Write::put(key.clone(), Version(1), "body");
        let keys = [key.clone()];
        let answers = [
            table.write(write.clone()).await.err(),
            table.write(Write::delete(key.clone())).await.err(),
            table.write_many(vec![write.clone()]).await.err(),
            table.transact(vec![write]).await.err(),
            table.get(&key, Consistency::Strong).await.err(),
            table.get_many(&keys, Consistency::Strong).await.err(),
        ];
        for (index, answer) in answers.iter().enumerate() {
            assert!(matches!(answer, Some(TableError::Invalid(_))), "request {index} for {key:?}: {answer:?}");
        }
    }
}

/// It means something in a transaction only.
pub async fn a_bare_check_is_refused<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let check = Write::check(Key::new(scope, "1"), Condition::Absent);
    assert!(matches!(table.write(check).await, Err(TableError::Invalid(_))));
}
