//! Which instances a webhook is for: indexes, written in the transaction that writes the instance.
//!
//! | partition | sort | written for |
//! |---|---|---|
//! | `ROUTE#connector#provider account` | `account#id` | every instance with a provider account; holds the receiver's view |
//! | `FINDER#connector#path#value` | `account#id` | every instance with a finder whose configuration has its value |
//! | `ACCOUNTLESS#connector` | `account#id` | instances whose provider sends requests that name no account |
//! | `FINDERS#connector` | `slot#account` | every path that a finder of the account uses |
//!
//! An instance lists the partitions that point to it, so that a change removes what it no longer is, however the partitions
//! are computed by then.
//!
//! *What one account of ours can do to others.* Anybody may name anybody's provider account or finder value, and being
//! found is not being told: each instance's own secret decides that. What is to be bounded is the work. Of a partition, each
//! account of ours has so many instances and no more; the surplus is skipped, not read. Of paths, each of which costs every
//! webhook of the connector a lookup, an account has [`PATHS_PER_ACCOUNT`] slots, and slots, not accounts or paths, order
//! the marks: with more paths than are looked up ([`PATHS`]), everybody's first goes before anybody's second. Accounts are
//! made by the operator, so nobody multiplies themselves. A path is marked for as long as an instance of the account uses
//! it; the mark counts them, and only changes of one's own instances contend for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use events::configuration::finder::{Finder, FinderError};
use events::{AccountId, InstanceId, configuration};
use platform::{Condition, Consistency, Key, Platform, Query, Table as _, TableError, Version, Write, limits};
use serde::{Deserialize, Serialize};

use super::{Derived, Instance, WebhookView};
use crate::{RecordError, schema};

/// Most instances that one account of ours may have told of one provider account's webhooks. Counted for each account of
/// ours, so that nobody can crowd out another by naming the other's provider account many times.
pub const INSTANCES_PER_ACCOUNT: usize = 100;

/// Most instances, of all accounts, that a webhook is handed to.
const ROUTED_INSTANCES: usize = 1000;

/// Most instances of one account, and of all, whose secrets are tried on a request that names no account. Each costs the
/// opening of a secret and a hash of the body before anything is proven.
const ACCOUNTLESS_PER_ACCOUNT: usize = 10;
const ACCOUNTLESS: usize = 100;

/// Most paths that one account's finders may use for one connector. Bodies of a provider have few places that name a
/// customer.
pub const PATHS_PER_ACCOUNT: usize = 20;

/// Most paths that a webhook is looked up by: each is a query.
pub const PATHS: usize = 100;

/// Longest value of a finder in bytes: part of an item's key.
pub const FINDER_VALUE_BYTES: usize = 256;

/// What the partitions of routes begin with.
const ROUTE: &str = "ROUTE#";

/// Index items read at a time.
const AT_ONCE: usize = 500;

/// How often a change that lost a race for the marks of its account is tried again. Each loss means that another change of
/// the same account got on.
const TRIES: usize = 50;

/// Why a configuration's finder would not find the instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinderRefused {
    /// It is no finder.
    #[error(transparent)]
    Form(#[from] FinderError),
    /// Its value cannot be looked for.
    #[error(
        "the value of its configuration key is a text of at most {FINDER_VALUE_BYTES} bytes without control characters"
    )]
    Value,
}

/// What a finder looks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sought {
    /// Where in the body: names with dots between.
    pub path: String,
    /// What is there.
    pub value: String,
}

/// Whether the finder of a configuration, where it has one, can find the instance as soon as it has a value to look for:
/// what is refused here is not indexed. `secret_keys` are the connector's: no value of theirs may be looked for.
///
/// # Errors
/// [`FinderRefused`]; it repeats nothing of the configuration.
pub fn check_finder(
    connector: &str,
    configuration: &BTreeMap<String, String>,
    secret_keys: &[String],
) -> Result<(), FinderRefused> {
    let Some(finder) = finder(configuration) else { return Ok(()) };
    let finder = finder?;
    if secret_keys.contains(&finder.key) {
        return Err(FinderError::Secret.into());
    }
    match value(configuration, &finder) {
        Some(value) if !fits(connector, &finder.path, value) => Err(FinderRefused::Value),
        _ => Ok(()),
    }
}

fn finder(configuration: &BTreeMap<String, String>) -> Option<Result<Finder, FinderError>> {
    let text = configuration.get(configuration::INSTANCE_FINDER)?.trim();
    (!text.is_empty()).then(|| Finder::parse(text))
}

fn value<'c>(configuration: &'c BTreeMap<String, String>, finder: &Finder) -> Option<&'c str> {
    configuration.get(&finder.key).map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn fits(connector: &str, path: &str, value: &str) -> bool {
    let bounded = value.len() <= FINDER_VALUE_BYTES && !value.contains(char::is_control);
    bounded && is_key(&finder_partition(connector, path, value))
}

fn is_key(partition: &str) -> bool {
    limits::check_key(&Key::new(partition, "x")).is_ok()
}

/// What the instance's finder looks for; `None`: it has none that could find it.
pub(super) fn wanted(instance: &Instance, derived: &Derived<'_>) -> Option<Sought> {
    check_finder(&instance.connector, &instance.configuration, derived.secret_keys).ok()?;
    let finder = finder(&instance.configuration)?.ok()?;
    let value = value(&instance.configuration, &finder)?.to_owned();
    Some(Sought { path: finder.path, value })
}

pub(super) fn route_partition(connector: &str, provider_account: &str) -> String {
    format!("{ROUTE}{connector}#{provider_account}")
}

/// Neither a connector's key nor a path holds a `#`, so no two finders share a partition.
fn finder_partition(connector: &str, path: &str, value: &str) -> String {
    format!("FINDER#{connector}#{path}#{value}")
}

fn accountless_partition(connector: &str) -> String {
    format!("ACCOUNTLESS#{connector}")
}

/// The path of a finder's partition.
fn path_of(partition: &str) -> Option<&str> {
    partition.strip_prefix("FINDER#")?.split('#').nth(1)
}

/// The partitions that are to point to the instance.
pub(super) fn partitions(instance: &Instance, derived: &Derived<'_>) -> Vec<String> {
    let connector = &instance.connector;
    let route = derived.account.map(|account| route_partition(connector, account));
    let finder = wanted(instance, derived).map(|sought| finder_partition(connector, &sought.path, &sought.value));
    let accountless = derived.accountless.then(|| accountless_partition(connector));
    route.into_iter().chain(finder).chain(accountless).collect()
}

pub(super) fn index_key(instance: &Instance, partition: &str) -> Key {
    Key::new(partition, format!("{}#{}", instance.account, instance.id))
}

#[derive(Serialize, Deserialize)]
struct Link {}

/// The writes of an instance's indexes, of which `listed` are there: a route holds the receiver's `view`, so that one read
/// finds it, and is written anew whenever that is.
pub(super) fn links<P: Platform>(platform: &P, instance: &Instance, listed: &[String], view: &Bytes) -> Vec<Write> {
    let write = |partition: &String| {
        let key = index_key(instance, partition);
        if partition.starts_with(ROUTE) {
            Some(Write::put(key, platform.version(), view.clone()))
        } else {
            (!listed.contains(partition)).then(|| link(platform, key))
        }
    };
    instance.routes.iter().filter_map(write).collect()
}

/// The index item of what holds nothing.
pub(super) fn link<P: Platform>(platform: &P, key: Key) -> Write {
    Write::put(key, platform.version(), schema::encode(&Link {}))
}

/// A path that finders of an account use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Mark {
    path: String,
    /// How many instances of the account use it.
    instances: u64,
}

fn mark_key(connector: &str, slot: usize, account: AccountId) -> Key {
    Key::new(format!("FINDERS#{connector}"), format!("{slot:02}#{account}"))
}

/// The slots once an instance's finder uses `new` instead of `old`; `None`: they are all taken by other paths.
fn marked(mut slots: Vec<Option<Mark>>, old: Option<&str>, new: Option<&str>) -> Option<Vec<Option<Mark>>> {
    let of = |slots: &[Option<Mark>], path: &str| {
        slots.iter().position(|slot| slot.as_ref().is_some_and(|mark| mark.path == path))
    };
    if let Some(slot) = old.and_then(|old| of(&slots, old)) {
        slots[slot] = slots[slot].take().filter(|mark| mark.instances > 1);
        if let Some(mark) = &mut slots[slot] {
            mark.instances -= 1;
        }
    }
    if let Some(new) = new {
        let slot = of(&slots, new).or_else(|| slots.iter().position(Option::is_none))?;
        let mark = slots[slot].get_or_insert_with(|| Mark { path: new.to_owned(), instances: 0 });
        mark.instances += 1;
    }
    Some(slots)
}

/// The writes that turn the account's marks from an instance with the partitions `old` to one with `new`.
async fn remark<P: Platform>(
    platform: &P,
    instance: &Instance,
    old: &[String],
    new: &[String],
) -> Result<Vec<Write>, RecordError> {
    let path = |partitions: &[String]| partitions.iter().find_map(|partition| path_of(partition).map(str::to_owned));
    let (old, new) = (path(old), path(new));
    if old == new {
        return Ok(Vec::new());
    }
    let keys: Vec<Key> =
        (0..PATHS_PER_ACCOUNT).map(|slot| mark_key(&instance.connector, slot, instance.account)).collect();
    let items = platform.table().get_many(&keys, Consistency::Strong).await?;
    let versions: Vec<Option<Version>> = items.iter().map(|item| item.as_ref().map(|item| item.version)).collect();
    let decode = |item: &Option<platform::Item>| item.as_ref().map(schema::decode).transpose();
    let before = items.iter().map(decode).collect::<Result<Vec<Option<Mark>>, _>>()?;
    let Some(after) = marked(before.clone(), old.as_deref(), new.as_deref()) else {
        return Err(RecordError::TooManyFinders(PATHS_PER_ACCOUNT));
    };
    let slots = keys.into_iter().zip(versions).zip(before.into_iter().zip(after));
    let changed = slots.filter(|(_, (before, after))| before != after);
    let write = |((key, version), (_, after)): ((Key, Option<Version>), (_, Option<Mark>))| {
        let write = match after {
            Some(mark) => Write::put(key, platform.version(), schema::encode(&mark)),
            None => Write::delete(key),
        };
        write.when(version.map_or(Condition::Absent, Condition::Version))
    };
    Ok(changed.map(write).collect())
}

/// Does `writes`, which take the instance from the partitions `old` to `new`, together with the marks that go with it. A
/// condition that did not hold is always one of `writes`; having lost every race for the marks is a conflict.
pub(super) async fn transact<P: Platform>(
    platform: &P,
    instance: &Instance,
    old: &[String],
    new: &[String],
    writes: Vec<Write>,
) -> Result<(), RecordError> {
    for _ in 0..TRIES {
        let marks = remark(platform, instance, old, new).await?;
        let contended = !marks.is_empty();
        match platform.table().transact(writes.iter().cloned().chain(marks).collect()).await {
            // Another change of the account was at its marks in between: count on top of it.
            Err(error) if contended && at_marks_alone(&error, writes.len()) => {}
            other => return Ok(other?),
        }
    }
    Err(TableError::Conflict.into())
}

/// Whether a transaction failed at nothing but the marks, which begin at the write `marks`.
fn at_marks_alone(error: &TableError, marks: usize) -> bool {
    match error {
        TableError::ConditionFailed(failed) => failed.iter().all(|failed| failed.index >= marks),
        TableError::Conflict => true,
        _ => false,
    }
}

/// The instances that a partition lists: of each account at most `per_account`, in all at most `in_all`, and whether there
/// are more. What an account has beyond its share is skipped.
async fn listed<P: Platform>(
    platform: &P,
    partition: String,
    per_account: usize,
    in_all: usize,
) -> Result<(Vec<(String, InstanceId)>, bool), RecordError> {
    // A stranger names the account or value: what cannot be a key is nobody's.
    if !is_key(&partition) {
        return Ok((Vec::new(), false));
    }
    let mut query = Query::partition(partition, AT_ONCE);
    let (mut ids, mut more) = (Vec::new(), false);
    let mut of_account = (String::new(), 0);
    loop {
        let page = platform.table().query(&query).await?;
        for item in &page.items {
            let Some((account, id)) = item.key.sort.split_once('#') else { continue };
            let Ok(id) = id.parse() else { continue };
            if of_account.0 != account {
                of_account = (account.to_owned(), 0);
            }
            of_account.1 += 1;
            if of_account.1 > per_account || ids.len() >= in_all {
                more = true;
            } else {
                ids.push((account.to_owned(), id));
            }
        }
        let Some(next) = page.next else { return Ok((ids, more)) };
        if ids.len() >= in_all {
            return Ok((ids, true));
        }
        query.after = Some(next);
        if of_account.1 > per_account {
            // `$` follows `#`: the next account's first.
            query.from = format!("{}$", of_account.0);
            query.after = None;
        }
    }
}

/// The instances that a provider account's webhooks are for, and whether there are more than are served. Read strongly.
///
/// # Errors
/// The table's.
pub async fn routed<P: Platform>(
    platform: &P,
    connector: &str,
    provider_account: &str,
) -> Result<(Vec<InstanceId>, bool), RecordError> {
    let partition = route_partition(connector, provider_account);
    let (ids, more) = listed(platform, partition, INSTANCES_PER_ACCOUNT, ROUTED_INSTANCES).await?;
    Ok((ids.into_iter().map(|(_, id)| id).collect(), more))
}

/// The receiver's views of [`routed`] by one read that may lag by a moment and costs half. `None`: there are none, or more
/// than a few, or not all of them have their view there, and that takes a closer look.
///
/// # Errors
/// The table's.
pub async fn glimpsed<P: Platform>(
    platform: &P,
    connector: &str,
    provider_account: &str,
) -> Result<Option<Vec<WebhookView>>, RecordError> {
    let partition = route_partition(connector, provider_account);
    if !is_key(&partition) {
        return Ok(None);
    }
    let query = Query { consistency: Consistency::Eventual, ..Query::partition(partition, INSTANCES_PER_ACCOUNT) };
    let page = platform.table().query(&query).await?;
    if page.items.is_empty() || page.next.is_some() {
        return Ok(None);
    }
    // A link of before routes held views, or damaged.
    Ok(page.items.iter().map(|item| schema::decode(item).ok()).collect())
}

/// The instances whose finder looks for `value` at `path`, and whether there are more than are served. Read strongly.
///
/// # Errors
/// The table's.
pub async fn found<P: Platform>(
    platform: &P,
    connector: &str,
    path: &str,
    value: &str,
) -> Result<(Vec<InstanceId>, bool), RecordError> {
    let partition = finder_partition(connector, path, value);
    let (ids, more) = listed(platform, partition, INSTANCES_PER_ACCOUNT, ROUTED_INSTANCES).await?;
    Ok((ids.into_iter().map(|(_, id)| id).collect(), more))
}

/// Instances whose secret may verify a request of the connector's provider that names no account. Where there are more than
/// are tried, every account's first goes before anybody's second. Read strongly.
///
/// # Errors
/// The table's.
pub async fn accountless<P: Platform>(platform: &P, connector: &str) -> Result<Vec<InstanceId>, RecordError> {
    let partition = accountless_partition(connector);
    let (ids, _) = listed(platform, partition, ACCOUNTLESS_PER_ACCOUNT, ROUTED_INSTANCES).await?;
    Ok(in_turn(ids, ACCOUNTLESS))
}

/// The first `limit` of ids that come account by account, every account's first before anybody's second.
fn in_turn(ids: Vec<(String, InstanceId)>, limit: usize) -> Vec<InstanceId> {
    let mut account = String::new();
    let mut turn = 0_usize;
    let mut turns: Vec<(usize, InstanceId)> = Vec::with_capacity(ids.len());
    for (of, id) in ids {
        turn = if of == account { turn + 1 } else { 0 };
        account = of;
        turns.push((turn, id));
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().take(limit).map(|(_, id)| id).collect()
}

/// The paths that finders of a connector's instances use, the first [`PATHS`] of them. Where they are fewer, the marks of all
/// accounts are read, a query for every few hundred. Asked only for requests that name no account with an instance.
///
/// # Errors
/// The table's.
pub async fn finder_paths<P: Platform>(platform: &P, connector: &str) -> Result<Vec<String>, RecordError> {
    let mut query = Query::partition(format!("FINDERS#{connector}"), AT_ONCE);
    let mut paths: Vec<String> = Vec::new();
    loop {
        let page = platform.table().query(&query).await?;
        for item in &page.items {
            let path = schema::decode::<Mark>(item)?.path;
            if !paths.contains(&path) {
                paths.push(path);
            }
            if paths.len() == PATHS {
                return Ok(paths);
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(paths),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use events::Timestamp;
    use platform::testing::{MemoryPlatform, VISIBILITY_TIMEOUT};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_finder_s_partition_gives_back_its_path_whatever_the_value() {
        assert_eq!(path_of(&finder_partition("github", "organization.login", "a#b#c")), Some("organization.login"));
        assert_eq!(path_of(&route_partition("github", "x#y#z")), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn of_each_account_so_many_are_listed_and_what_is_left_out_is_told(
            // Accounts whose ids begin alike, some with more than a page.
            counts in proptest::collection::vec(prop_oneof![0_usize..4, 498_usize..503, 1000_usize..1002], 1..5),
            per_account in 1_usize..4,
            in_all in prop_oneof![1_usize..12, Just(2000)],
        ) {
            let platform = MemoryPlatform::with(Timestamp::from_seconds(1_790_000_000), 1, VISIBILITY_TIMEOUT);
            let accounts = ["1", "10", "100", "11", "2"];
            let mut keys = Vec::new();
            for (account, count) in accounts.iter().zip(&counts) {
                keys.extend((0..*count).map(|n| Key::new("ROUTE#c#a", format!("{account}#{}", n + 1))));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (ids, more) = runtime.block_on(async {
                let links = keys.iter().map(|key| link(&platform, key.clone())).collect();
                platform.table().write_many(links).await.unwrap();
                listed(&platform, "ROUTE#c#a".to_owned(), per_account, in_all).await.unwrap()
            });
            let share = |count: &usize| per_account.min(*count);
            let wanted: Vec<&str> = accounts.iter().zip(&counts).flat_map(|(a, n)| vec![*a; share(n)]).take(in_all).collect();
            prop_assert_eq!(ids.iter().map(|(account, _)| account.as_str()).collect::<Vec<_>>(), wanted);
            let distinct: std::collections::BTreeSet<String> = ids.iter().map(|(a, id)| format!("{a}#{id}")).collect();
            prop_assert_eq!(distinct.len(), ids.len());
            prop_assert_eq!(more, ids.len() < keys.len());
        }
    }

    proptest! {
        #[test]
        fn marks_count_exactly_the_instances_that_use_a_path(
            changes in proptest::collection::vec((0_usize..40, proptest::option::of(0_u8..30)), 0..200),
        ) {
            let mut slots: Vec<Option<Mark>> = vec![None; PATHS_PER_ACCOUNT];
            let mut uses: HashMap<usize, String> = HashMap::new();
            for (instance, path) in changes {
                let new = path.map(|path| format!("p{path}"));
                let old = uses.get(&instance).cloned();
                if old == new {
                    continue;
                }
                match marked(slots.clone(), old.as_deref(), new.as_deref()) {
                    Some(after) => {
                        slots = after;
                        uses.remove(&instance);
                        uses.extend(new.map(|new| (instance, new)));
                    }
                    None => {
                        let others = uses.iter().filter(|(other, _)| **other != instance).map(|(_, path)| path);
                        let others: std::collections::BTreeSet<&String> = others.collect();
                        prop_assert!(others.len() == PATHS_PER_ACCOUNT && !others.contains(&new.unwrap()));
                    }
                }
                let mut counted: HashMap<&str, u64> = HashMap::new();
                uses.values().for_each(|path| *counted.entry(path).or_default() += 1);
                let marks: HashMap<&str, u64> =
                    slots.iter().flatten().map(|mark| (mark.path.as_str(), mark.instances)).collect();
                prop_assert_eq!(marks.len(), slots.iter().flatten().count(), "a path has one slot");
                prop_assert_eq!(marks, counted);
            }
        }

        #[test]
        fn everybody_s_first_goes_before_anybody_s_second(counts in proptest::collection::vec(0_usize..5, 0..9), limit in 0_usize..20) {
            let mut ids = Vec::new();
            for (account, count) in counts.iter().enumerate() {
                let id = |n: usize| InstanceId::try_from((account * 10 + n + 1) as u32).unwrap();
                ids.extend((0..*count).map(|n| (account.to_string(), id(n))));
            }
            let chosen = in_turn(ids.clone(), limit);
            prop_assert_eq!(chosen.len(), limit.min(ids.len()));
            let turn = |id: &InstanceId| (id.to_string().parse::<usize>().unwrap() - 1) % 10;
            prop_assert!(chosen.is_sorted_by_key(turn));
            let left_out = ids.iter().map(|(_, id)| id).filter(|id| !chosen.contains(id)).map(turn).min();
            prop_assert!(left_out.is_none_or(|left| chosen.iter().map(turn).all(|turn| turn <= left)));
        }
    }
}
