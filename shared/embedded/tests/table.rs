//! The table against a model, and the purge.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use events::Timestamp;
use platform::testing::{ManualClock, SeededRandom};
use platform::{Condition, Consistency, Key, Query, Table, TableError, Version, Write};
use pollhook_embedded::{Commits, Options, Purged, Store};
use proptest::prelude::*;

struct Setup {
    _dir: tempfile::TempDir,
    clock: ManualClock,
    store: Store,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp::from_seconds(1_000));
    let options = Options::new(Arc::new(clock.clone()), Arc::new(SeededRandom::new(1)), Duration::from_secs(60));
    let store = Store::open(dir.path(), options).unwrap();
    Setup { _dir: dir, clock, store }
}

/// Everything that the file holds under `partition`, read in pages of 3.
async fn all(store: &Store, partition: &str) -> Vec<String> {
    let mut query = Query::partition(partition, 3);
    let mut sorts = Vec::new();
    loop {
        let page = store.query(&query).await.unwrap();
        sorts.extend(page.items.into_iter().map(|i| i.key.sort));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return sorts,
        }
    }
}

#[tokio::test]
async fn the_purge_deletes_what_is_expired_and_nothing_else() {
    let Setup { _dir, clock, store } = setup();
    for n in 0..50_u64 {
        let write = Write::put(Key::new(format!("P{}", n % 3), format!("{n:02}")), Version(n), "x");
        let write = if n % 2 == 0 { write.expiring(1_000 + n as i64) } else { write };
        store.write(write).await.unwrap();
    }
    clock.advance(Duration::from_secs(20));
    let (mut examined, mut deleted) = (0, 0);
    loop {
        let step: Purged = store.purge(7).await.unwrap();
        assert!(step.examined <= 7);
        examined += step.examined;
        deleted += step.deleted;
        if step.wrapped {
            break;
        }
    }
    assert_eq!((examined, deleted), (50, 11), "0, 2 … 20 are expired");
    let mut left = Vec::new();
    for partition in ["P0", "P1", "P2"] {
        left.extend(all(&store, partition).await);
    }
    left.sort();
    let expected: Vec<_> = (0..50).filter(|n| n % 2 == 1 || *n > 20).map(|n| format!("{n:02}")).collect();
    assert_eq!(left, expected);
    let again = store.purge(1_000).await.unwrap();
    assert_eq!(again, Purged { examined: 39, deleted: 0, wrapped: true }, "they are gone from the file");
}

#[tokio::test]
async fn an_item_written_anew_is_not_purged() {
    let Setup { _dir, clock, store } = setup();
    let key = Key::new("P", "1");
    store.write(Write::put(key.clone(), Version(1), "old").expiring(1_001)).await.unwrap();
    clock.advance(Duration::from_secs(5));
    let purge = {
        // The step has found the old item and queued its command behind a write that nobody has answered yet.
        let write = store.write(Write::put(key.clone(), Version(2), "new"));
        let (written, purged) = tokio::join!(write, store.purge(10));
        written.unwrap();
        purged.unwrap()
    };
    assert_eq!((purge.examined, purge.deleted), (1, 0));
    assert!(store.get(&key, Consistency::Strong).await.unwrap().is_some());
}

#[tokio::test]
async fn a_failed_condition_fails_only_its_own_command_and_costs_no_commit() {
    let Setup { _dir, store, .. } = setup();
    let key = Key::new("P", "1");
    store.write(Write::put(key.clone(), Version(1), "first")).await.unwrap();
    let before = store.commits();
    let (failing, other) = tokio::join!(
        store.write(Write::put(key.clone(), Version(2), "second").when(Condition::Absent)),
        store.write(Write::put(Key::new("P", "2"), Version(3), "other")),
    );
    let existing = failing.unwrap_err().existing().flatten().unwrap();
    assert_eq!((existing.version, &existing.body[..]), (Version(1), &b"first"[..]));
    other.unwrap();
    store.write(Write::delete(key).when(Condition::Version(Version(9)))).await.unwrap_err();
    let Commits { commits, commands } = store.commits();
    assert_eq!((commits - before.commits, commands - before.commands), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_share_commits() {
    let Setup { _dir, store, .. } = setup();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let key = Key::new(format!("P{writer}"), format!("{n}"));
                    store.write(Write::put(key, Version(n), "x")).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let Commits { commits, commands } = store.commits();
    assert_eq!(commands, 64 * 20);
    assert!(commits < commands / 2, "{commits} commits for {commands} commands");
}

#[derive(Clone, Debug)]
enum Step {
    Transact(Vec<Act>),
    Pass(u64),
    Purge(usize),
    Query { from: u8, before: u8, after: Option<u8>, descending: bool, limit: usize },
}

#[derive(Clone, Debug)]
struct Act {
    key: u8,
    /// `None`: delete.
    put: Option<(u64, Option<i64>)>,
    condition: Option<Option<u64>>,
}

fn act() -> impl Strategy<Value = Act> {
    let put = prop::option::weighted(0.8, (0..6_u64, prop::option::of(990..1_030_i64)));
    (0..8_u8, put, prop::option::of(prop::option::of(0..6_u64))).prop_map(|(key, put, condition)| Act {
        key,
        put,
        condition,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(act(), 1..4).prop_map(Step::Transact),
        1 => (1..10_u64).prop_map(Step::Pass),
        1 => (1..5_usize).prop_map(Step::Purge),
        3 => (0..9_u8, 0..9_u8, prop::option::of(0..9_u8), any::<bool>(), 1..4_usize).prop_map(
            |(from, before, after, descending, limit)| Step::Query { from, before, after, descending, limit }
        ),
    ]
}

/// Sort keys that try the order of bytes: one is a prefix of others, one holds the byte that ends a partition.
const SORTS: [&str; 9] = ["a", "a\0", "a\0b", "a\u{1}", "aa", "b", "ß", "日", "日本"];

type Model = BTreeMap<&'static str, (u64, Option<i64>)>;

fn holds(model: &Model, now_s: i64, act: &Act) -> bool {
    let there = model.get(SORTS[usize::from(act.key)]).filter(|(_, at)| at.is_none_or(|at| at > now_s));
    act.condition.is_none_or(|wanted| there.map(|(version, _)| *version) == wanted)
}

/// Whether the transaction is a repeat of itself.
fn repeat(model: &Model, now_s: i64, acts: &[Act]) -> bool {
    let mut puts = acts.iter().filter_map(|a| a.put.map(|(version, _)| (a.key, version))).peekable();
    puts.peek().is_some()
        && puts.all(|(key, version)| {
            let there = model.get(SORTS[usize::from(key)]).filter(|(_, at)| at.is_none_or(|at| at > now_s));
            there.is_some_and(|(there, _)| *there == version)
        })
}

fn writes(acts: &[Act]) -> Vec<Write> {
    acts.iter()
        .map(|act| {
            let key = Key::new("P", SORTS[usize::from(act.key)]);
            let write = match act.put {
                Some((version, expiry)) => {
                    let write = Write::put(key, Version(version), format!("body {version}"));
                    expiry.map_or(write.clone(), |at| write.expiring(at))
                }
                None => Write::delete(key),
            };
            match act.condition {
                Some(None) => write.when(Condition::Absent),
                Some(Some(version)) => write.when(Condition::Version(Version(version))),
                None => write,
            }
        })
        .collect()
}

async fn check(steps: Vec<Step>) {
    let Setup { _dir, clock, store } = setup();
    // Neighbours that a query of P must never show.
    for partition in ["O", "P\u{1}", "PP", "Q"] {
        store.write(Write::put(Key::new(partition, "a"), Version(1), "x")).await.unwrap();
    }
    let mut model = Model::new();
    let mut now_s = 1_000;
    for step in steps {
        match step {
            Step::Transact(mut acts) => {
                acts.sort_by_key(|a| a.key);
                acts.dedup_by_key(|a| a.key);
                let answer = store.transact(writes(&acts)).await;
                let failed: Vec<usize> = (0..acts.len()).filter(|n| !holds(&model, now_s, &acts[*n])).collect();
                if failed.is_empty() {
                    assert_eq!(answer, Ok(()));
                    for act in &acts {
                        match act.put {
                            Some(put) => model.insert(SORTS[usize::from(act.key)], put),
                            None => model.remove(SORTS[usize::from(act.key)]),
                        };
                    }
                } else if repeat(&model, now_s, &acts) {
                    assert_eq!(answer, Ok(()));
                } else {
                    let Err(TableError::ConditionFailed(told)) = answer else { panic!("{answer:?}") };
                    assert_eq!(told.iter().map(|f| f.index).collect::<Vec<_>>(), failed);
                }
            }
            Step::Pass(seconds) => {
                clock.advance(Duration::from_secs(seconds));
                now_s += seconds as i64;
            }
            Step::Purge(keys) => drop(store.purge(keys).await.unwrap()),
            Step::Query { from, before, after, descending, limit } => {
                let bound = |n: u8| if n == 0 { "" } else { SORTS[usize::from(n)] };
                let (from, before) = (bound(from), bound(before));
                let mut query = Query {
                    from: from.into(),
                    before: before.into(),
                    descending,
                    after: after.map(|n| SORTS[usize::from(n)].to_owned()),
                    ..Query::partition("P", limit)
                };
                let mut expected: Vec<(&str, u64)> = model
                    .iter()
                    .filter(|(sort, (_, at))| {
                        **sort >= from
                            && (before.is_empty() || **sort < before)
                            && at.is_none_or(|at| at > now_s)
                            && after.is_none_or(|n| {
                                let after = SORTS[usize::from(n)];
                                if descending { **sort < after } else { **sort > after }
                            })
                    })
                    .map(|(sort, (version, _))| (*sort, *version))
                    .collect();
                if descending {
                    expected.reverse();
                }
                let mut found = Vec::new();
                loop {
                    let page = store.query(&query).await.unwrap();
                    assert!(page.items.len() <= limit);
                    found.extend(page.items.into_iter().map(|i| (i.key.sort, i.version.0)));
                    match page.next {
                        Some(next) => query.after = Some(next),
                        None => break,
                    }
                }
                let found: Vec<(&str, u64)> = found.iter().map(|(sort, version)| (sort.as_str(), *version)).collect();
                assert_eq!(found, expected, "{query:?}");
            }
        }
    }
    for sort in SORTS {
        let found = store.get(&Key::new("P", sort), Consistency::Strong).await.unwrap();
        let expected = model.get(sort).filter(|(_, at)| at.is_none_or(|at| at > now_s));
        assert_eq!(found.map(|i| (i.version.0, i.expires_at_s)), expected.copied());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_sorted_map_would(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps));
    }
}
