//! An account that its provider wants left alone is, and nobody else.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use events::{AccountId, InstanceId, Timestamp};
use platform::testing::MemoryPlatform;
use platform::{Platform as _, TableError};
use pollhook_records::RecordError;
use pollhook_records::budgets::{self, Account, AtProvider};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_seconds(1_790_000_000);

fn second(n: u64) -> Timestamp {
    START.plus(Duration::from_secs(n))
}

fn account(connector: &str, owner: u32, at_provider: AtProvider) -> Account {
    Account { connector: connector.into(), owner: AccountId(owner), at_provider }
}

fn named(name: &str) -> AtProvider {
    AtProvider::Named(name.into())
}

async fn until(platform: &MemoryPlatform, account: &Account) -> Option<Timestamp> {
    budgets::not_before(platform, account).await.unwrap()
}

#[tokio::test]
async fn an_account_is_left_alone_as_long_as_was_said_and_no_neighbour_is() {
    let platform = MemoryPlatform::new(START);
    let mine = account("hubspot", 1, named("42"));
    let neighbours = [
        account("hubspot", 1, named("43")),
        account("hubspot", 1, AtProvider::Of(InstanceId::from_random(42))),
        account("hubspot", 2, named("42")),
        account("sfdc", 1, named("42")),
    ];
    budgets::put_off(&platform, &mine, second(90)).await.unwrap();
    assert_eq!(until(&platform, &mine).await, Some(second(90)));
    for neighbour in &neighbours {
        assert_eq!(until(&platform, neighbour).await, None, "{neighbour:?}");
    }
    assert!(budgets::looks(&platform, "hubspot", AccountId(1)).await.unwrap() >= Some(second(90)));
    for (connector, owner) in [("hubspot", 2), ("sfdc", 1)] {
        assert_eq!(budgets::looks(&platform, connector, AccountId(owner)).await.unwrap(), None);
    }
    platform.advance(Duration::from_secs(90));
    assert_eq!(until(&platform, &mine).await, None, "it is over");
}

#[tokio::test]
async fn an_account_s_name_is_never_taken_for_an_instance_s_number() {
    let platform = MemoryPlatform::new(START);
    let id = InstanceId::from_random(42);
    let of_instance = account("hubspot", 1, AtProvider::Of(id));
    budgets::put_off(&platform, &of_instance, second(90)).await.unwrap();
    assert_eq!(until(&platform, &account("hubspot", 1, named(&id.to_string()))).await, None);
    assert_eq!(until(&platform, &of_instance).await, Some(second(90)));
}

#[tokio::test]
async fn what_is_not_materially_later_is_no_write() {
    let platform = MemoryPlatform::new(START);
    let account = account("hubspot", 1, named("42"));
    budgets::put_off(&platform, &account, second(90)).await.unwrap();
    let written = platform.table().items("BUDGET#");
    for same in [90, 95, 3] {
        budgets::put_off(&platform, &account, second(same)).await.unwrap();
    }
    assert_eq!(platform.table().items("BUDGET#"), written);
    budgets::put_off(&platform, &account, second(96)).await.unwrap();
    assert_eq!(until(&platform, &account).await, Some(second(96)));
}

#[tokio::test]
async fn a_table_that_fails_is_told() {
    let platform = MemoryPlatform::new(START);
    let account = account("hubspot", 1, named("42"));
    platform.table().fail_next_write(TableError::Throttled);
    let outcome = budgets::put_off(&platform, &account, second(90)).await;
    assert_eq!(outcome, Err(RecordError::Table(TableError::Throttled)));
}

proptest! {
    #[test]
    fn whoever_says_what_the_latest_counts_and_somebody_looks_for_it(
        said in proptest::collection::vec((0_u64..4000, 0_u64..30), 1..12),
    ) {
        let platform = MemoryPlatform::new(START);
        let account = account("hubspot", 1, AtProvider::Of(InstanceId::from_random(7)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut latest = START;
            for (wait, passes) in said {
                platform.advance(Duration::from_secs(passes));
                let now = platform.now();
                let before = until(&platform, &account).await;
                budgets::put_off(&platform, &account, now.plus(Duration::from_secs(wait))).await.unwrap();
                latest = latest.max(now.plus(Duration::from_secs(wait)));
                let after = until(&platform, &account).await;
                assert!(after >= before, "earlier than was said");
                let counts = after.unwrap_or(now);
                assert!(counts <= latest.max(now) && counts.plus(Duration::from_secs(5)) >= latest);
                let looks = budgets::looks(&platform, "hubspot", AccountId(1)).await.unwrap();
                assert!(looks >= after, "nobody would look");
            }
        });
    }
}
