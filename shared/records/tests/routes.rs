//! Who finds an instance: by account, by finder, without an account; and what one account can do to others.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{load, make, owner, platform, set, try_make};
use events::configuration::finder::FinderError;
use events::configuration::{INSTANCE_FINDER, VENDOR_ACCOUNT};
use events::{AccountId, InstanceId};
use platform::testing::{MemoryPlatform, Moment};
use platform::{Key, Platform as _, Table as _, TableError, Version, Write};
use pollhook_records::RecordError;
use pollhook_records::accounts::Account;
use pollhook_records::instances::{self, Derived, FinderRefused, INSTANCES_PER_ACCOUNT, PATHS, PATHS_PER_ACCOUNT};
use proptest::prelude::*;

const BY_ORGANIZATION: (&str, &str) = (INSTANCE_FINDER, "github.organization|organization.login");

async fn found(platform: &MemoryPlatform, path: &str, value: &str) -> Vec<InstanceId> {
    instances::found(platform, "github", path, value).await.unwrap().0
}

async fn routed(platform: &MemoryPlatform, account: &str) -> Vec<InstanceId> {
    instances::routed(platform, "github", account).await.unwrap().0
}

async fn paths(platform: &MemoryPlatform) -> Vec<String> {
    instances::finder_paths(platform, "github").await.unwrap()
}

/// The keys of all items that point to instances.
fn indexes(platform: &MemoryPlatform) -> BTreeSet<Key> {
    let prefixes = ["ROUTE#", "FINDER#", "FINDERS#", "ACCOUNTLESS#"];
    prefixes.iter().flat_map(|prefix| platform.table().items(prefix)).map(|item| item.key).collect()
}

#[tokio::test]
async fn an_instance_with_a_finder_is_found_by_its_value_for_as_long_as_it_has_it() {
    let platform = platform(1);
    let account = owner(&platform).await;
    let made = make(&platform, &account, &[BY_ORGANIZATION, ("github.organization", " acme "), (VENDOR_ACCOUNT, "7")]);
    let made = made.await;
    let id = made.instance.id;
    assert_eq!(paths(&platform).await, ["organization.login"]);
    assert_eq!(found(&platform, "organization.login", "acme").await, [id]);
    assert_eq!(routed(&platform, "7").await, [id]);
    let view = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
    let finder = view.finder.unwrap();
    assert_eq!((finder.path.as_str(), finder.value.as_str()), ("organization.login", "acme"));
    let made = set(&platform, &made, &[("github.organization", "other")]).await.unwrap();
    assert_eq!(found(&platform, "organization.login", "acme").await, []);
    assert_eq!(found(&platform, "organization.login", "other").await, [id]);
    let made = set(&platform, &made, &[(INSTANCE_FINDER, "github.organization|owner")]).await.unwrap();
    assert_eq!(paths(&platform).await, ["owner"]);
    assert_eq!(found(&platform, "owner", "other").await, [id]);
    let made = set(&platform, &made, &[("github.organization", "")]).await.unwrap();
    assert_eq!(indexes(&platform).len(), 1, "the account's route is left");
    let view = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
    assert_eq!(view.finder, None);
    instances::delete(&platform, &made).await.unwrap();
    assert_eq!(indexes(&platform), BTreeSet::new());
}

#[tokio::test]
async fn a_path_is_marked_until_the_last_instance_that_uses_it_is_gone() {
    let platform = platform(2);
    let accounts = [owner(&platform).await, owner(&platform).await];
    let mut made = Vec::new();
    for account in [&accounts[0], &accounts[0], &accounts[1]] {
        made.push(make(&platform, account, &[BY_ORGANIZATION, ("github.organization", "acme")]).await);
    }
    assert_eq!(platform.table().items("FINDERS#").len(), 2, "one mark for each account");
    assert_eq!(found(&platform, "organization.login", "acme").await.len(), 3);
    for (index, stored) in made.iter().enumerate() {
        assert_eq!(paths(&platform).await, ["organization.login"], "{index} gone");
        instances::delete(&platform, stored).await.unwrap();
    }
    assert_eq!(paths(&platform).await, [""; 0]);
    assert_eq!(indexes(&platform), BTreeSet::new());
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_refused_by_the_check_and_not_indexed() {
    let platform = platform(3);
    let account = owner(&platform).await;
    let long = "v".repeat(instances::FINDER_VALUE_BYTES + 1);
    let secret_keys = ["signing.thing".to_owned()];
    for (plain, refused) in [
        (vec![(INSTANCE_FINDER, "nothing")], Some(FinderRefused::Form(FinderError::Form))),
        (vec![(INSTANCE_FINDER, "k|a#b"), ("k", "v")], Some(FinderRefused::Form(FinderError::Path))),
        (vec![(INSTANCE_FINDER, "user.token|token")], Some(FinderRefused::Form(FinderError::Secret))),
        (vec![(INSTANCE_FINDER, "signing.thing|a")], Some(FinderRefused::Form(FinderError::Secret))),
        (vec![(INSTANCE_FINDER, "k|a"), ("k", &long)], Some(FinderRefused::Value)),
        (vec![(INSTANCE_FINDER, "k|a"), ("k", "a\0b")], Some(FinderRefused::Value)),
        (vec![(INSTANCE_FINDER, "k|a"), ("k", " ")], None),
        (vec![(INSTANCE_FINDER, " "), ("k", "v")], None),
        (vec![(INSTANCE_FINDER, "k|a")], None),
        (vec![], None),
    ] {
        let configuration: BTreeMap<String, String> =
            plain.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let checked = instances::check_finder("github", &configuration, &secret_keys);
        assert_eq!(checked.err(), refused, "{plain:?}");
        make(&platform, &account, &plain).await;
        assert_eq!(indexes(&platform), BTreeSet::new(), "{plain:?}");
    }
    assert_eq!(found(&platform, "a", "a\0b").await, [], "what cannot be a key is nobody's");
}

#[tokio::test]
async fn an_account_has_so_many_paths_and_one_that_is_given_up_can_be_used_again() {
    let platform = platform(4);
    let (account, other) = (owner(&platform).await, owner(&platform).await);
    let finder = |n: usize| format!("k|p{n}");
    let mut made = Vec::new();
    for n in 0..PATHS_PER_ACCOUNT {
        made.push(make(&platform, &account, &[(INSTANCE_FINDER, &finder(n)), ("k", "v")]).await);
    }
    let before = platform.table().items("");
    let one_more = finder(PATHS_PER_ACCOUNT);
    let refused = try_make(&platform, &account, &[(INSTANCE_FINDER, &one_more), ("k", "v")], false).await;
    assert_eq!(refused.unwrap_err(), RecordError::TooManyFinders(PATHS_PER_ACCOUNT));
    assert_eq!(platform.table().items(""), before, "nothing is written of what is refused");
    make(&platform, &account, &[(INSTANCE_FINDER, &finder(3)), ("k", "w")]).await;
    make(&platform, &other, &[(INSTANCE_FINDER, &one_more), ("k", "v")]).await;
    set(&platform, &made[0], &[(INSTANCE_FINDER, &one_more)]).await.unwrap();
    assert_eq!(found(&platform, &format!("p{PATHS_PER_ACCOUNT}"), "v").await.len(), 2);
    assert!(!paths(&platform).await.contains(&"p0".to_owned()));
}

#[tokio::test]
async fn accounts_with_many_paths_do_not_crowd_out_another_s_first() {
    let platform = platform(5);
    for number in 0..PATHS / PATHS_PER_ACCOUNT {
        let account = owner(&platform).await;
        for n in 0..PATHS_PER_ACCOUNT {
            make(&platform, &account, &[(INSTANCE_FINDER, &format!("k|a{number}x{n}")), ("k", "v")]).await;
        }
    }
    assert_eq!(paths(&platform).await.len(), PATHS);
    let victim = owner(&platform).await;
    make(&platform, &victim, &[(INSTANCE_FINDER, "k|mine"), ("k", "v")]).await;
    let paths = paths(&platform).await;
    assert_eq!(paths.len(), PATHS);
    assert!(paths.contains(&"mine".to_owned()));
}

#[tokio::test]
async fn what_an_account_has_beyond_its_share_is_skipped_over_many_pages() {
    let platform = platform(6);
    let id = |n: u32| InstanceId::try_from(n).unwrap();
    // More than two pages of one account's, then another's.
    for (account, count) in [(AccountId(1), 1200), (AccountId(2), 1)] {
        let links = (1..=count).flat_map(|n| {
            let sort = format!("{account}#{}", id(n));
            let partitions = ["ROUTE#github#7", "FINDER#github#p#v", "ACCOUNTLESS#github"];
            partitions.map(|partition| Write::put(Key::new(partition, sort.as_str()), Version(1), r#"{"v":1}"#))
        });
        platform.table().write_many(links.collect()).await.unwrap();
    }
    for (ids, more) in [
        instances::routed(&platform, "github", "7").await.unwrap(),
        instances::found(&platform, "github", "p", "v").await.unwrap(),
    ] {
        assert!(more);
        assert_eq!(ids.len(), INSTANCES_PER_ACCOUNT + 1);
        assert_eq!(ids.last(), Some(&id(1)));
    }
    assert_eq!(instances::accountless(&platform, "github").await.unwrap().len(), 11);
}

#[tokio::test]
async fn requests_that_name_no_account_are_tried_on_everybody_s_first_instance() {
    let platform = platform(7);
    let mut firsts = BTreeSet::new();
    for _ in 0..12 {
        let account = owner(&platform).await;
        let mut ids = Vec::new();
        for _ in 0..12 {
            ids.push(try_make(&platform, &account, &[], true).await.unwrap().instance.id.to_string());
        }
        firsts.extend(ids.into_iter().min());
    }
    let tried = instances::accountless(&platform, "github").await.unwrap();
    assert_eq!(tried.len(), 100);
    let tried: BTreeSet<String> = tried.iter().map(ToString::to_string).collect();
    assert!(tried.is_superset(&firsts));
    assert_eq!(instances::accountless(&platform, "hubspot").await.unwrap(), []);
}

#[tokio::test]
async fn an_instance_is_listed_without_account_for_as_long_as_its_connector_says_so() {
    let platform = platform(8);
    let account = owner(&platform).await;
    let made = try_make(&platform, &account, &[(VENDOR_ACCOUNT, "7")], true).await.unwrap();
    assert_eq!(instances::accountless(&platform, "github").await.unwrap(), [made.instance.id]);
    let made = set(&platform, &made, &[("other", "x")]).await.unwrap();
    assert_eq!(instances::accountless(&platform, "github").await.unwrap(), []);
    assert_eq!(routed(&platform, "7").await, [made.instance.id]);
}

/// An instance with the items that the version before wrote for it.
async fn old_instance(platform: &MemoryPlatform, owner: &Account) -> InstanceId {
    let made = make(platform, owner, &[(VENDOR_ACCOUNT, "62515")]).await;
    let id = made.instance.id;
    let old = format!(
        r#"{{"v":1,"id":{id},"account":{},"company":1,"user":2,"name":"old","connector":"github","hub":"crm","tags":["t"],"created_at":1790000000000,"updated_at":1790000000000,"disabled":false,"configuration":{{"event.vendor.account":" 62515 ","event.notification.callback.headers":"X-Key: clear"}}}}"#,
        owner.id
    );
    platform.table().write(Write::put(Key::new(format!("INSTANCE#{id}"), "INSTANCE"), Version(7), old)).await.unwrap();
    let view = format!(
        r#"{{"v":1,"instance":{id},"account":{},"connector":"github","disabled":false,"events_on":true,"unverified":false,"objects":[],"provider_account":"62515","group":"g","mapping":{{}},"secrets":{{}}}}"#,
        owner.id
    );
    platform.table().write(Write::put(Key::new(format!("WEBHOOK#{id}"), "WEBHOOK"), Version(8), view)).await.unwrap();
    id
}

#[tokio::test]
async fn an_instance_of_the_version_before_keeps_its_route_moves_it_and_leaves_none() {
    let platform = platform(9);
    let account = owner(&platform).await;
    let id = old_instance(&platform, &account).await;
    assert_eq!(routed(&platform, "62515").await, [id]);
    let view = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
    assert!(view.event_types.is_empty() && view.finder.is_none());
    let stored = load(&platform, &account, id).await;
    assert_eq!((stored.instance.name.as_str(), stored.instance.routes.len()), ("old", 0));
    let same = set(&platform, &stored, &[(VENDOR_ACCOUNT, "62515")]).await.unwrap();
    assert_eq!(routed(&platform, "62515").await, [id]);
    assert_eq!(same.instance.routes, ["ROUTE#github#62515"]);

    let id = old_instance(&platform, &account).await;
    let stored = load(&platform, &account, id).await;
    set(&platform, &stored, &[(VENDOR_ACCOUNT, "7")]).await.unwrap();
    assert_eq!(routed(&platform, "7").await, [id]);
    assert_eq!(routed(&platform, "62515").await, [same.instance.id]);

    let id = old_instance(&platform, &account).await;
    assert_eq!(routed(&platform, "62515").await.len(), 2);
    instances::delete(&platform, &load(&platform, &account, id).await).await.unwrap();
    assert_eq!(routed(&platform, "62515").await, [same.instance.id]);
}

#[tokio::test]
async fn a_secret_that_the_version_before_kept_in_clear_is_not_shown_and_is_sealed_by_the_next_change() {
    let platform = platform(10);
    let account = owner(&platform).await;
    let id = old_instance(&platform, &account).await;
    let read = instances::get(&platform, account.id, id).await.unwrap().unwrap();
    let listed = instances::page(&platform, account.id, None, 10).await.unwrap().instances.remove(0);
    let stored = load(&platform, &account, id).await;
    for instance in [&read, &listed, &stored.instance] {
        assert_eq!(instance.configuration.keys().collect::<Vec<_>>(), [VENDOR_ACCOUNT]);
    }
    set(&platform, &stored, &[(VENDOR_ACCOUNT, "62515")]).await.unwrap();
    for item in platform.table().items("") {
        assert!(!String::from_utf8_lossy(&item.body).contains("clear"), "{:?}", item.key);
    }
    let credentials = instances::callback_view(&platform, id).await.unwrap().unwrap().credentials(&platform).await;
    assert_eq!(credentials.unwrap().headers[0].0, "x-key");
}

/// Moves an instance from one account, finder and listing to another's.
async fn moved(platform: &MemoryPlatform, owner: &Account, id: InstanceId) -> Result<(), RecordError> {
    let before = instances::load(platform, owner.id, id).await?.unwrap();
    let to = [(VENDOR_ACCOUNT, "new"), (INSTANCE_FINDER, "k|new"), ("k", "new")];
    set(platform, &before, &to).await.map(|_| ())
}

async fn to_be_moved(platform: &MemoryPlatform) -> (Account, InstanceId) {
    let account = owner(platform).await;
    let plain = [(VENDOR_ACCOUNT, "old"), (INSTANCE_FINDER, "k|old"), ("k", "old")];
    let id = try_make(platform, &account, &plain, true).await.unwrap().instance.id;
    (account, id)
}

/// Whether the instance is where it was (`Some(false)`), where it moved to (`Some(true)`) or torn (`None`).
async fn place(platform: &MemoryPlatform, id: InstanceId) -> Option<bool> {
    let at = async |word: &str| {
        let ids = [routed(platform, word).await, found(platform, word, word).await];
        (ids.iter().filter(|ids| **ids == [id]).count(), paths(platform).await == [word])
    };
    let accountless = !instances::accountless(platform, "github").await.unwrap().is_empty();
    match (at("old").await, at("new").await, accountless) {
        ((2, true), (0, false), true) => Some(false),
        ((0, false), (2, true), false) => Some(true),
        _ => None,
    }
}

#[tokio::test]
async fn a_change_moves_every_index_or_none_wherever_the_process_dies() {
    let steps = {
        let platform = platform(11);
        let (account, id) = to_be_moved(&platform).await;
        let before = platform.steps();
        moved(&platform, &account, id).await.unwrap();
        assert_eq!(place(&platform, id).await, Some(true));
        before..platform.steps()
    };
    assert!(!steps.is_empty());
    for step in steps {
        for moment in [Moment::Before, Moment::After] {
            let platform = platform(11);
            let (account, id) = to_be_moved(&platform).await;
            platform.crash_at(step, moment);
            platform.run_until_crash(moved(&platform, &account, id)).await.unwrap_err();
            let platform = platform.restart();
            assert_eq!(place(&platform, id).await, Some(moment == Moment::After), "step {step} {moment:?}");
            moved(&platform, &account, id).await.unwrap();
            assert_eq!(place(&platform, id).await, Some(true));
            instances::delete(&platform, &load(&platform, &account, id).await).await.unwrap();
            assert_eq!(indexes(&platform), BTreeSet::new());
        }
    }
}

#[tokio::test]
async fn a_change_that_fails_changes_nothing_and_one_whose_answer_is_lost_is_whole() {
    let platform = platform(12);
    let (account, id) = to_be_moved(&platform).await;
    let failure = TableError::Unavailable("as the test asked".into());
    platform.table().fail_next_write(failure.clone());
    assert_eq!(moved(&platform, &account, id).await, Err(failure.into()));
    assert_eq!(place(&platform, id).await, Some(false));
    platform.table().lose_next_answer();
    assert!(matches!(moved(&platform, &account, id).await, Err(RecordError::Table(TableError::OutcomeUnknown(_)))));
    assert_eq!(place(&platform, id).await, Some(true));
    moved(&platform, &account, id).await.unwrap();
    assert_eq!(place(&platform, id).await, Some(true));
}

#[tokio::test]
async fn a_change_that_loses_the_race_for_its_account_s_marks_is_done_on_top() {
    let platform = platform(13);
    let account = owner(&platform).await;
    let plain = [(INSTANCE_FINDER, "k|p"), ("k", "v")];
    let first = make(&platform, &account, &plain).await;
    platform.table().fail_next_write(TableError::Conflict);
    let second = make(&platform, &account, &plain).await;
    platform.table().fail_next_write(TableError::Conflict);
    instances::delete(&platform, &first).await.unwrap();
    assert_eq!(paths(&platform).await, ["p"]);
    assert_eq!(found(&platform, "p", "v").await, [second.instance.id]);
    // Without marks to race for, a conflict is the caller's to know.
    platform.table().fail_next_write(TableError::Conflict);
    let outcome = set(&platform, &second, &[("other", "x")]).await;
    assert_eq!(outcome.unwrap_err(), RecordError::Table(TableError::Conflict));
}

#[tokio::test]
async fn a_change_that_loses_every_race_for_the_marks_is_a_conflict_and_does_not_go_on_for_ever() {
    let platform = platform(17);
    let account = owner(&platform).await;
    // As if others got on each time: the condition of a mark, which stands behind all other writes.
    let lost = TableError::ConditionFailed(vec![platform::Failed { index: 99, existing: None }]);
    for _ in 0..200 {
        platform.table().fail_next_write(lost.clone());
    }
    let outcome = try_make(&platform, &account, &[(INSTANCE_FINDER, "k|p"), ("k", "v")], false).await;
    assert_eq!(outcome.unwrap_err(), RecordError::Table(TableError::Conflict));
    assert_eq!(indexes(&platform), BTreeSet::new());
}

#[tokio::test]
async fn instances_made_and_deleted_at_once_leave_the_marks_right() {
    let platform = platform(14);
    let account = owner(&platform).await;
    let plain = [(INSTANCE_FINDER, "k|p"), ("k", "v")];
    let made = futures_util::future::join_all((0..40).map(|_| make(&platform, &account, &plain))).await;
    assert_eq!(found(&platform, "p", "v").await.len(), 40);
    let delete = async |index: usize| instances::delete(&platform, &made[index]).await.unwrap();
    futures_util::future::join_all((0..39).map(delete)).await;
    assert_eq!(paths(&platform).await, ["p"]);
    instances::delete(&platform, &made[39]).await.unwrap();
    assert_eq!(indexes(&platform), BTreeSet::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_instances_change_the_indexes_are_those_of_the_ones_there_are(
        changes in proptest::collection::vec((0_usize..4, 0_u8..6, "[ab]?", "[ab]?", "[ab]?"), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform(15);
            let accounts = [owner(&platform).await, owner(&platform).await];
            let mut held: [Option<pollhook_records::instances::Stored>; 4] = [const { None }; 4];
            for (slot, act, account, path, value) in changes {
                let finder = if path.is_empty() { String::new() } else { format!("k|{path}") };
                let settings = [(VENDOR_ACCOUNT, account.as_str()), (INSTANCE_FINDER, &finder), ("k", &value)];
                held[slot] = match held[slot].take() {
                    None => {
                        let plain: Vec<_> = settings.into_iter().filter(|(_, value)| !value.is_empty()).collect();
                        Some(make(&platform, &accounts[slot % 2], &plain).await)
                    }
                    Some(stored) if act == 0 => {
                        instances::delete(&platform, &stored).await.unwrap();
                        None
                    }
                    Some(stored) => Some(set(&platform, &stored, &settings).await.unwrap()),
                };
            }
            for word in ["a", "b"] {
                let is = |stored: &&pollhook_records::instances::Stored, pairs: &[(&str, String)]| {
                    pairs.iter().all(|(key, value)| stored.instance.configuration.get(*key) == Some(value))
                };
                let ids = |pairs: &[(&str, String)]| {
                    let stored = held.iter().flatten().filter(|stored| is(stored, pairs));
                    stored.map(|stored| stored.instance.id.to_string()).collect::<BTreeSet<_>>()
                };
                let read = |ids: Vec<InstanceId>| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
                let routes = routed(&platform, word).await;
                let views = instances::glimpsed(&platform, "github", word).await.unwrap();
                let theirs = instances::webhook_views(&platform, &routes).await.unwrap();
                assert_eq!(views.map_or(Vec::new(), |views| views.into_iter().map(Some).collect()), theirs);
                assert_eq!(read(routes), ids(&[(VENDOR_ACCOUNT, word.into())]));
                let mut used = false;
                for value in ["a", "b"] {
                    let wanted = ids(&[(INSTANCE_FINDER, format!("k|{word}")), ("k", value.into())]);
                    used |= !wanted.is_empty();
                    assert_eq!(read(found(&platform, word, value).await), wanted);
                }
                assert_eq!(paths(&platform).await.contains(&word.to_owned()), used);
            }
            for stored in held.iter().flatten() {
                instances::delete(&platform, stored).await.unwrap();
            }
            assert_eq!(indexes(&platform), BTreeSet::new());
        });
    }
}

#[tokio::test]
async fn an_account_counts_as_the_connector_says() {
    let platform = platform(16);
    let account = owner(&platform).await;
    let plain = [(VENDOR_ACCOUNT, "00D000000000062EAA")];
    let derived = Derived { account: Some("00D000000000062"), ..Derived::default() };
    let made = instances::create(&platform, &account, common::provision("sfdc", &plain, &[]), &derived).await.unwrap();
    let id = made.instance.id;
    assert_eq!(instances::routed(&platform, "sfdc", "00D000000000062").await.unwrap().0, [id]);
    let view = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
    assert_eq!(view.provider_account.as_deref(), Some("00D000000000062"));
}
