//! Queries: order, bounds, pages.

use std::sync::Arc;
use std::time::Duration;

use super::{Time, made_by, put};
use crate::{Consistency, Item, Key, Page, Query, Table, TableError, Version, Write, limits};

/// How many pages a scenario reads before it gives up on an end.
const MOST_PAGES: usize = 200;

/// All pages of `query`, each within its limit.
async fn read_to_the_end<T: Table>(table: &T, mut query: Query) -> Vec<Item> {
    let mut items = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = table.query(&query).await.expect("a page");
        assert!(page.items.len() <= query.limit, "{} items in a page of {}", page.items.len(), query.limit);
        items.extend(page.items);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return items,
        }
    }
    panic!("no end after {MOST_PAGES} pages");
}

async fn sorts<T: Table>(table: &T, query: Query) -> Vec<String> {
    read_to_the_end(table, query).await.into_iter().map(|item| item.key.sort).collect()
}

/// Writes an item for each of `sorts`.
async fn fill<T: Table>(table: &T, partition: &str, sorts: &[String]) {
    let put = |sort: &String| Write::put(Key::new(partition, sort.as_str()), Version(1), sort.clone());
    assert_eq!(table.write_many(sorts.iter().map(put).collect()).await, Ok(()));
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{n:02}")).collect()
}

fn reversed(mut sorts: Vec<String>) -> Vec<String> {
    sorts.reverse();
    sorts
}

/// Whole items, in both consistencies.
pub async fn a_partition_is_read_in_order_both_ways<T: Table>(table: &Arc<T>, time: &impl Time, scope: &str) {
    let writes: Vec<Write> = (0..5)
        .map(|n| Write::put(Key::new(scope, n.to_string()), Version(n), format!("body {n}")).expiring(i64::MAX))
        .collect();
    assert_eq!(table.write_many(writes.iter().rev().cloned().collect()).await, Ok(()));
    let mut expected: Vec<Item> = writes.iter().filter_map(made_by).collect();
    time.pass(Duration::from_secs(1)).await;
    for descending in [false, true] {
        for consistency in [Consistency::Strong, Consistency::Eventual] {
            let query = Query { descending, consistency, ..Query::partition(scope, 100) };
            assert_eq!(read_to_the_end(&**table, query).await, expected);
        }
        expected.reverse();
    }
}

/// Of UTF-8, not by letters, nor by UTF-16 units, in which the last two would change places.
pub async fn sort_keys_order_by_bytes<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let ordered =
        ["\u{1}", " ", "#", "0", "10", "2", "A", "AA", "Z", "_", "a", "aB", "ab", "~", "é", "ź", "字", "\u{fffd}", "𐀀"];
    let mut ordered = ordered.map(String::from).to_vec();
    ordered.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    fill(&**table, scope, &reversed(ordered.clone())).await;
    assert_eq!(sorts(&**table, Query::partition(scope, 100)).await, ordered);
    assert_eq!(
        sorts(&**table, Query { from: "a".into(), before: "é".into(), ..Query::partition(scope, 3) }).await,
        ["a", "aB", "ab", "ź", "~"]
    );
    let query = Query { descending: true, ..Query::partition(scope, 4) };
    assert_eq!(sorts(&**table, query).await, reversed(ordered));
}

/// `from` is in the range, `before` is not; both need no item of their own.
pub async fn bounds_hold_from_and_before<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    fill(&**table, scope, &numbers(0..10)).await;
    let cases = [
        ("03", "", numbers(3..10)),
        ("", "03", numbers(0..3)),
        ("03", "07", numbers(3..7)),
        ("021", "061", numbers(3..7)),
        ("03", "04", numbers(3..4)),
        ("", "00", numbers(0..0)),
        ("091", "", numbers(0..0)),
        ("0", "1", numbers(0..10)),
    ];
    for (from, before, expected) in cases {
        for limit in [1, 2, 3, 100] {
            let query = Query { from: from.into(), before: before.into(), ..Query::partition(scope, limit) };
            assert_eq!(sorts(&**table, query.clone()).await, expected, "{query:?}");
            let query = Query { descending: true, ..query };
            assert_eq!(sorts(&**table, query.clone()).await, reversed(expected.clone()), "{query:?}");
        }
    }
}

/// It is no error: the caller computed an empty range.
pub async fn bounds_that_cross_hold_nothing<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    fill(&**table, scope, &numbers(0..10)).await;
    for (from, before) in [("05", "05"), ("07", "03"), ("99", "00")] {
        for descending in [false, true] {
            let query = Query { from: from.into(), before: before.into(), descending, ..Query::partition(scope, 10) };
            assert_eq!(table.query(&query).await, Ok(Page::default()), "{query:?}");
        }
    }
}

/// Each item once, whatever the limit.
pub async fn pages_lead_to_the_end_both_ways<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let all = numbers(0..10);
    fill(&**table, scope, &all).await;
    for limit in [1, 3, 5, 9, 10, 11] {
        let query = Query::partition(scope, limit);
        assert_eq!(sorts(&**table, query.clone()).await, all, "in pages of {limit}");
        let query = Query { descending: true, ..query };
        assert_eq!(sorts(&**table, query).await, reversed(all.clone()), "descending in pages of {limit}");
    }
}

/// The token outlives the item that it stands at: sweeps delete what they read.
pub async fn pages_go_on_where_an_item_was_deleted<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    for descending in [false, true] {
        let partition = format!("{scope}#{descending}");
        let all = numbers(0..7);
        fill(&**table, &partition, &all).await;
        let mut query = Query { descending, ..Query::partition(partition.as_str(), 2) };
        let mut read = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = table.query(&query).await.expect("a page");
            let deletes = page.items.iter().map(|item| Write::delete(item.key.clone())).collect();
            assert_eq!(table.write_many(deletes).await, Ok(()));
            read.extend(page.items.into_iter().map(|item| item.key.sort));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(read, if descending { reversed(all) } else { all });
        assert_eq!(table.query(&Query::partition(partition, 10)).await, Ok(Page::default()));
    }
}

/// A page may be empty and go on.
pub async fn expired_items_are_in_no_page_and_hide_no_later_one<T: Table>(
    table: &Arc<T>,
    time: &impl Time,
    scope: &str,
) {
    let past = time.now().as_seconds() - 1;
    let all = numbers(0..12);
    let live = |n: usize| matches!(n, 0 | 7 | 11);
    let writes = (all.iter().enumerate()).map(|(n, sort)| {
        let write = Write::put(Key::new(scope, sort.as_str()), Version(1), "body");
        if live(n) { write } else { write.expiring(past) }
    });
    assert_eq!(table.write_many(writes.collect()).await, Ok(()));
    for limit in [1, 2, 3, 12] {
        let query = Query::partition(scope, limit);
        assert_eq!(sorts(&**table, query.clone()).await, ["00", "07", "11"], "in pages of {limit}");
        let query = Query { descending: true, ..query };
        assert_eq!(sorts(&**table, query).await, ["11", "07", "00"], "descending in pages of {limit}");
    }
}

/// More than any one answer holds (DynamoDB's pages end at 1 MB).
pub async fn large_items_are_all_read<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let body = vec![7; limits::ITEM_BYTES - 4096];
    let all = numbers(0..4);
    for sort in &all {
        let write = Write::put(Key::new(scope, sort.as_str()), Version(1), body.clone());
        assert_eq!(table.write(write).await, Ok(()));
    }
    assert_eq!(sorts(&**table, Query::partition(scope, 100)).await, all);
    let query = Query { descending: true, ..Query::partition(scope, 100) };
    assert_eq!(sorts(&**table, query).await, reversed(all.clone()));
    let keys: Vec<Key> = all.iter().map(|sort| Key::new(scope, sort.as_str())).collect();
    let read = table.get_many(&keys, Consistency::Strong).await.expect("many large items");
    assert!(
        read.iter().flatten().filter(|item| item.body == body).count() == all.len(),
        "a large item came back changed"
    );
}

/// Nor an end to look for.
pub async fn an_empty_partition_has_no_items<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    assert_eq!(table.query(&Query::partition(scope, 10)).await, Ok(Page::default()));
}

/// A partition whose name begins with another's, and a sort key that looks like a part of one.
pub async fn partitions_do_not_leak_into_one_another<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    let keys = [("", "b1"), ("b", "1"), ("#b", "1"), ("~", "0"), ("\u{1}", "~"), ("bb", "")];
    let keys = keys.map(|(tail, sort)| Key::new(format!("{scope}{tail}"), format!("{sort}s")));
    for key in &keys {
        put(&**table, key, 1, "body").await;
    }
    for key in &keys {
        for descending in [false, true] {
            let query = Query { descending, ..Query::partition(key.partition.as_str(), 10) };
            let read = read_to_the_end(&**table, query).await;
            assert_eq!(read.iter().map(|item| &item.key).collect::<Vec<_>>(), [key]);
        }
    }
}

/// Rather than read as "everything" or "nothing".
pub async fn a_query_without_partition_or_limit_is_refused<T: Table>(table: &Arc<T>, _: &impl Time, scope: &str) {
    for query in [Query::partition("", 10), Query::partition(scope, 0)] {
        assert!(matches!(table.query(&query).await, Err(TableError::Invalid(_))), "{query:?}");
    }
}
