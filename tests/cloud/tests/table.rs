//! The table on DynamoDB: what every table promises, and what only this one can get wrong.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aws::DynamoTable;
use aws_sdk_dynamodb::types::AttributeValue;
use platform::conformance::{FaultyTableUnderTest, RealTime, TableUnderTest, scope};
use platform::testing::ManualClock;
use platform::{Clock, Condition, Consistency, Item, Key, Query, SystemClock, Table, TableError, Version, Write};
use pollhook_cloud_tests::cloud;
use pollhook_cloud_tests::network::{Fault, Network};

async fn table() -> TableUnderTest<DynamoTable, RealTime> {
    let table = cloud::table(cloud::address().await).await;
    TableUnderTest { table: Arc::new(table), time: RealTime, keep: Box::new(()) }
}

async fn faulty_table() -> FaultyTableUnderTest<DynamoTable, Network> {
    let (table, network) = table_behind_network().await;
    FaultyTableUnderTest { table: Arc::new(table), faults: network, keep: Box::new(()) }
}

async fn table_behind_network() -> (DynamoTable, Network) {
    let network = Network::to(cloud::address().await).await;
    (cloud::table(network.address).await, network)
}

mod conformance {
    platform::table_conformance!(super::table);
}

mod fault_conformance {
    platform::table_fault_conformance!(super::faulty_table);
}

/// As many attempts as one call makes.
const ATTEMPTS: usize = 3;

fn error(code: &str) -> Fault {
    Fault::Answer(400, format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"made up"}}"#))
}

fn item(key: &Key, version: u64, body: &'static str) -> Item {
    Item { key: key.clone(), version: Version(version), body: body.into(), expires_at_s: None }
}

/// The names count towards an item's size and are the deployment template's.
#[tokio::test]
async fn an_item_is_laid_out_as_documented() {
    let table = cloud::table(cloud::address().await).await;
    let key = Key::new(scope("layout"), "sort");
    let write = Write::put(key.clone(), Version(u64::MAX), "body").expiring(i64::MAX);
    assert_eq!(table.write(write).await, Ok(()));
    let request = cloud::dynamodb().await.get_item().table_name(cloud::table_name().await).consistent_read(true);
    let request = request.key("pk", AttributeValue::S(key.partition.clone()));
    let answer = request.key("sk", AttributeValue::S(key.sort)).send().await.unwrap();
    let mut stored: Vec<_> = answer.item.unwrap().into_iter().collect();
    stored.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("b", AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new("body"))),
        ("pk", AttributeValue::S(key.partition)),
        ("sk", AttributeValue::S("sort".into())),
        ("v", AttributeValue::N(u64::MAX.to_string())),
        ("x", AttributeValue::N(i64::MAX.to_string())),
    ];
    assert_eq!(stored, expected.map(|(name, value)| (name.to_owned(), value)));
}

/// DynamoDB deletes within days; the table's clock decides.
#[tokio::test]
async fn an_item_that_has_expired_and_is_still_stored_is_absent() {
    let address = cloud::address().await;
    let (now, partition) = (SystemClock.now(), scope("expired"));
    let (expiry, later) = (now.plus(Duration::from_secs(3600)), now.plus(Duration::from_secs(7200)));
    let before = cloud::table(address).await;
    let after = cloud::table_at(address, Arc::new(ManualClock::new(later))).await;
    let keys = ["1", "2", "3"].map(|sort| Key::new(partition.as_str(), sort));
    for key in &keys {
        let write = Write::put(key.clone(), Version(1), "old").expiring(expiry.as_seconds());
        assert_eq!(before.write(write).await, Ok(()));
    }
    assert_eq!(after.get(&keys[0], Consistency::Strong).await, Ok(None));
    assert_eq!(after.get_many(&keys, Consistency::Strong).await, Ok(vec![None, None, None]));
    assert_eq!(after.query(&Query::partition(partition.as_str(), 10)).await.unwrap().items, []);
    let on_it = Write::put(keys[0].clone(), Version(2), "new").when(Condition::Version(Version(1)));
    assert_eq!(after.write(on_it.clone()).await.unwrap_err().existing(), Some(None), "nor is it told as existing");
    let TableError::ConditionFailed(failed) = after.transact(vec![on_it]).await.unwrap_err() else { panic!() };
    assert_eq!(failed[0].existing, None);
    assert!(before.get(&keys[0], Consistency::Strong).await.unwrap().is_some(), "it was still stored all the time");
    let absent = |key: &Key| Write::put(key.clone(), Version(3), "new").when(Condition::Absent);
    assert_eq!(after.write(absent(&keys[0])).await, Ok(()));
    assert_eq!(after.transact(vec![absent(&keys[1])]).await, Ok(()));
}

/// `BETWEEN` includes the upper bound, and the page that ends there must lead on.
#[tokio::test]
async fn both_bounds_hold_where_an_item_stands_at_the_upper_one() {
    let table = cloud::table(cloud::address().await).await;
    let partition = scope("bounds");
    for sort in ["a", "b", "c", "d"] {
        table.write(Write::put(Key::new(partition.as_str(), sort), Version(1), "body")).await.unwrap();
    }
    for descending in [false, true] {
        let (from, before) = ("b".into(), "d".into());
        let mut query = Query { from, before, descending, ..Query::partition(partition.as_str(), 1) };
        let mut sorts = Vec::new();
        loop {
            let page = table.query(&query).await.unwrap();
            sorts.extend(page.items.into_iter().map(|item| item.key.sort));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(sorts, if descending { ["c", "b"] } else { ["b", "c"] });
    }
}

#[tokio::test]
async fn a_write_all_of_whose_answers_were_lost_may_have_happened() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("lost"), "1");
    let write = Write::put(key.clone(), Version(1), "body").when(Condition::Absent);
    (0..ATTEMPTS).for_each(|_| network.fault(Fault::LoseAnswer));
    assert!(matches!(table.write(write.clone()).await, Err(TableError::OutcomeUnknown(_))));
    assert_eq!(network.requests().len(), ATTEMPTS);
    assert_eq!(table.get(&key, Consistency::Strong).await, Ok(Some(item(&key, 1, "body"))));
    assert_eq!(table.write(write).await, Ok(()), "and the caller's repeat recognises itself");
}

/// The last attempt was certainly not done, but the first one may have been.
#[tokio::test]
async fn throttled_after_a_lost_answer_is_still_unknown() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("lost"), "1");
    for write in [Write::put(key.clone(), Version(1), "body"), Write::delete(key.clone())] {
        network.fault(Fault::LoseAnswer);
        (1..ATTEMPTS).for_each(|_| network.fault(error("ThrottlingException")));
        assert!(matches!(table.write(write).await, Err(TableError::OutcomeUnknown(_))));
    }
}

/// The deadline of the attempt passes. What the attempt before it got does not settle what became of it.
#[tokio::test]
async fn an_answer_that_never_comes_is_as_good_as_lost() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("held"), "1");
    assert_eq!(table.write(Write::put(key.clone(), Version(1), "body")).await, Ok(()));
    network.fault(error("ThrottlingException"));
    network.fault(Fault::HoldAnswer);
    let delete = Write::delete(key.clone()).when(Condition::Version(Version(1)));
    assert_eq!(table.write(delete).await, Ok(()), "it finds nothing, which may be its own doing");
    assert_eq!(network.requests().len(), 1 + ATTEMPTS);
}

/// Only after a lost answer may a delete that finds nothing take that for its own doing.
#[tokio::test]
async fn throttled_before_a_definite_no_is_that_no() {
    let (table, network) = table_behind_network().await;
    let delete = Write::delete(Key::new(scope("throttled"), "1")).when(Condition::Version(Version(1)));
    network.fault(error("ThrottlingException"));
    assert_eq!(table.write(delete).await.unwrap_err().existing(), Some(None));
}

#[tokio::test]
async fn errors_of_the_service_have_their_names() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("errors"), "1");
    let write = || table.write(Write::put(key.clone(), Version(1), "body"));
    let transact = || table.transact(vec![Write::put(key.clone(), Version(1), "body")]);
    for code in ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"] {
        (0..ATTEMPTS).for_each(|_| network.fault(error(code)));
        assert_eq!(write().await, Err(TableError::Throttled), "{code}");
    }
    network.fault(error("TransactionConflictException"));
    assert_eq!(write().await, Err(TableError::Conflict));
    for (code, expected) in [("TransactionConflict", TableError::Conflict), ("ThrottlingError", TableError::Throttled)]
    {
        let reasons = format!(r#"[{{"Code":"{code}","Message":"made up"}}]"#);
        let body = format!(r#"{{"__type":"TransactionCanceledException","CancellationReasons":{reasons}}}"#);
        network.fault(Fault::Answer(400, body));
        assert_eq!(transact().await, Err(expected));
    }
    network.fault(error("ValidationException"));
    assert!(matches!(write().await, Err(TableError::Invalid(_))));
    network.fault(error("AccessDeniedException"));
    assert!(matches!(write().await, Err(TableError::Unavailable(_))));
}

/// AWS does not say whether a write happened that got a 5xx.
#[tokio::test]
async fn a_broken_service_leaves_writes_unknown_and_reads_unavailable() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("broken"), "1");
    let broken = || Fault::Answer(500, r#"{"__type":"InternalServerError"}"#.into());
    (0..ATTEMPTS).for_each(|_| network.fault(broken()));
    let write = Write::put(key.clone(), Version(1), "body");
    assert!(matches!(table.write(write).await, Err(TableError::OutcomeUnknown(_))));
    (0..ATTEMPTS).for_each(|_| network.fault(broken()));
    assert!(matches!(table.get(&key, Consistency::Strong).await, Err(TableError::Unavailable(_))));
}

/// Nothing was ever sent.
#[tokio::test]
async fn where_nobody_listens_nothing_is_in_doubt() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap(); // closed again
    let table = cloud::table(address).await;
    let key = Key::new(scope("nobody"), "1");
    let write = Write::put(key.clone(), Version(1), "body");
    let deadline = Duration::from_secs(30);
    let answer = tokio::time::timeout(deadline, table.write(write)).await.unwrap();
    assert!(matches!(answer, Err(TableError::Unavailable(_))), "{answer:?}");
    let answer = tokio::time::timeout(deadline, table.get(&key, Consistency::Strong)).await.unwrap();
    assert!(matches!(answer, Err(TableError::Unavailable(_))), "{answer:?}");
}

/// DynamoDB takes a part of a batch and says which not.
#[tokio::test]
async fn what_a_batch_left_undone_is_done_in_the_next_round() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("undone"), "1");
    let (name, partition) = (cloud::table_name().await, &key.partition);
    let item_key = format!(r#""pk":{{"S":"{partition}"}},"sk":{{"S":"1"}}"#);
    let put = format!(r#"{{"PutRequest":{{"Item":{{{item_key},"b":{{"B":"Ym9keQ=="}},"v":{{"N":"1"}}}}}}}}"#);
    network.fault(Fault::Answer(200, format!(r#"{{"UnprocessedItems":{{"{name}":[{put}]}}}}"#)));
    assert_eq!(table.write_many(vec![Write::put(key.clone(), Version(1), "body")]).await, Ok(()));
    assert_eq!(network.requests().len(), 2);
    let left = format!(r#"{{"Responses":{{}},"UnprocessedKeys":{{"{name}":{{"Keys":[{{{item_key}}}]}}}}}}"#);
    network.fault(Fault::Answer(200, left));
    let read = table.get_many(std::slice::from_ref(&key), Consistency::Eventual).await;
    assert_eq!(read, Ok(vec![Some(item(&key, 1, "body"))]));
    assert_eq!(network.requests().len(), 4);
}

#[tokio::test]
async fn a_batch_that_is_left_undone_for_good_is_throttled() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("undone"), "1");
    let name = cloud::table_name().await;
    let delete = format!(r#"{{"DeleteRequest":{{"Key":{{"pk":{{"S":"{}"}},"sk":{{"S":"1"}}}}}}}}"#, key.partition);
    let left = format!(r#"{{"UnprocessedItems":{{"{name}":[{delete}]}}}}"#);
    (0..20).for_each(|_| network.fault(Fault::Answer(200, left.clone())));
    assert_eq!(table.write_many(vec![Write::delete(key)]).await, Err(TableError::Throttled));
}

#[tokio::test]
async fn what_is_over_the_limits_is_not_sent() {
    let (table, network) = table_behind_network().await;
    let key = Key::new(scope("limits"), "1");
    let large = Write::put(key.clone(), Version(1), vec![0; platform::limits::ITEM_BYTES]);
    assert!(matches!(table.write(large.clone()).await, Err(TableError::Invalid(_))));
    assert!(matches!(table.write_many(vec![large.clone()]).await, Err(TableError::Invalid(_))));
    assert!(matches!(table.transact(vec![large]).await, Err(TableError::Invalid(_))));
    assert!(matches!(table.get(&Key::new("p", ""), Consistency::Strong).await, Err(TableError::Invalid(_))));
    assert_eq!(table.write_many(Vec::new()).await, Ok(()));
    assert_eq!(table.get_many(&[], Consistency::Strong).await, Ok(Vec::new()));
    assert_eq!(network.requests().len(), 0);
}
