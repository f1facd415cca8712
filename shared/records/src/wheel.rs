//! Who is polled when: wheels that turn by themselves.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `INTERVALS` | minutes | which wheels there are, and in how many shards |
//! | `WHEEL#minutes#slot#shard` | id | an instance that is polled every so many minutes |
//! | `TICK` | `WHEEL` | the last minute whose slots were sent |
//!
//! *Promise:* an instance polled every *n* minutes is in one of *n* slots, of which one is due each minute, and has a second
//! of its minute; both come of a hash of its id. So load is spread, and **nothing is written when it is polled**. Its item
//! is written in the transaction that writes the instance, so there is never none and never two of it; the instance keeps
//! the [`Place`].
//!
//! *Flow.* [`fn@place`] says where an instance belongs, and makes sure beforehand that its wheel is listed: a wheel without
//! instances costs a query in vain, an instance in an unlisted wheel would not be polled. [`moved`] are the writes. The tick
//! reads how far the ticks have come ([`ticked`]) and [`intervals`], computes what is due since then ([`Minutes::due`]), and
//! sends a job for each shard, which reads it page by page ([`page`]).
//!
//! *Shards* of a wheel only grow ([`grow`]), so that an item is never in one that nobody reads. An item stays in the shard
//! that it was put in.
//!
//! *Failure:* what cannot be read is told, and holds up nothing else.

mod mark;
mod place;

use events::InstanceId;
use platform::{Condition, Consistency, Item, Key, Platform, Query, Table as _, TableError, Write};
use serde::{Deserialize, Serialize};

use crate::{RecordError, schema};

pub use mark::{Ticked, set_ticked, ticked};
pub use place::{Minutes, NoInterval, Place, second, time};

/// How many instances of one shard of one slot are many: looking through them takes some twenty queries and as many sends of
/// ten messages, a few seconds.
pub const FULL_SHARD: usize = 10_000;

/// Most shards of a slot. With as many full ones, a million instances are polled in one minute.
pub const MAX_SHARDS: u32 = 64;

/// Items in a page.
const PAGE_ITEMS: usize = 500;

const INTERVALS: &str = "INTERVALS";

#[derive(Serialize, Deserialize)]
struct Wheel {
    shards: u32,
}

#[derive(Serialize, Deserialize)]
struct Spoke {}

/// A wheel that there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// How many minutes a turn takes: as many slots.
    pub minutes: Minutes,
    /// In how many shards each slot is.
    pub shards: u32,
}

fn interval_key(minutes: Minutes) -> Key {
    Key::new(INTERVALS, minutes.to_string())
}

fn damaged(key: &Key, reason: &str) -> RecordError {
    RecordError::Damaged(format!("{key:?}"), reason.into())
}

fn read_interval(item: &Item) -> Result<Interval, RecordError> {
    let minutes = item.key.sort.parse().ok().and_then(Minutes::new);
    let minutes = minutes.ok_or_else(|| damaged(&item.key, "its key is no interval"))?;
    Ok(Interval { minutes, shards: schema::decode::<Wheel>(item)?.shards })
}

/// Where an instance belongs that is to be polled every `minutes` (`None`: not at all) and was at `before`: there, if it is
/// the same wheel. A wheel's first instance makes the wheel.
///
/// To be asked before the transaction of [`moved`]. A crash between the two leaves a wheel without instances.
///
/// # Errors
/// The table's.
pub async fn place<P: Platform>(
    platform: &P,
    instance: InstanceId,
    minutes: Option<Minutes>,
    before: Option<Place>,
) -> Result<Option<Place>, RecordError> {
    let Some(minutes) = minutes else { return Ok(None) };
    if let Some(before) = before.filter(|before| before.minutes == minutes) {
        return Ok(Some(before));
    }
    let key = interval_key(minutes);
    let shards = match platform.table().get(&key, Consistency::Strong).await? {
        Some(item) => read_interval(&item)?.shards,
        None => {
            let wheel = schema::encode(&Wheel { shards: 1 });
            match platform.table().write(Write::put(key, platform.version(), wheel).when(Condition::Absent)).await {
                // Another instance's was first, or it has grown since: the first shard is there whatever it is.
                Ok(()) | Err(TableError::ConditionFailed(_)) => 1,
                Err(error) => return Err(error.into()),
            }
        }
    };
    Ok(Some(Place::of(instance, minutes, shards)))
}

/// The writes that move an instance's item from its place `before` to its place `after`, for the transaction that writes
/// the instance; none where it stays.
#[must_use]
pub fn moved<P: Platform>(
    platform: &P,
    instance: InstanceId,
    before: Option<Place>,
    after: Option<Place>,
) -> Vec<Write> {
    if before == after {
        return Vec::new();
    }
    let key = |place: Place| Key::new(place.partition(), instance.to_string());
    let gone = before.map(|place| Write::delete(key(place)));
    let put = after.map(|place| Write::put(key(place), platform.version(), schema::encode(&Spoke {})));
    gone.into_iter().chain(put).collect()
}

/// The wheels that there are.
#[derive(Debug, Default)]
pub struct Intervals {
    /// Those that could be read, in no order that means anything.
    pub found: Vec<Interval>,
    /// Why one of them could not be read: its neighbours are not to wait for it.
    pub unreadable: Option<RecordError>,
}

/// Which wheels there are: one query, however many instances.
///
/// # Errors
/// The table's.
pub async fn intervals<P: Platform>(platform: &P) -> Result<Intervals, RecordError> {
    let mut query = Query::partition(INTERVALS, PAGE_ITEMS);
    let mut intervals = Intervals::default();
    loop {
        let page = platform.table().query(&query).await?;
        for item in &page.items {
            match read_interval(item) {
                Ok(interval) => intervals.found.push(interval),
                Err(error) => intervals.unreadable = Some(error),
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(intervals),
        }
    }
}

/// Some instances of a place.
#[derive(Debug)]
pub struct Page {
    /// Who they are.
    pub instances: Vec<InstanceId>,
    /// Where the next page begins; `None`: there is no more.
    pub next: Option<String>,
    /// Why one of them could not be read: its neighbours are not to wait for it.
    pub unreadable: Option<RecordError>,
}

/// The instances of a place, page by page: from the start, or after the previous page's [`Page::next`].
///
/// # Errors
/// The table's.
pub async fn page<P: Platform>(platform: &P, place: &Place, after: Option<String>) -> Result<Page, RecordError> {
    let query = Query { after, ..Query::partition(place.partition(), PAGE_ITEMS) };
    let read = platform.table().query(&query).await?;
    let mut page = Page { instances: Vec::with_capacity(read.items.len()), next: read.next, unreadable: None };
    for item in &read.items {
        let instance = schema::decode::<Spoke>(item)
            .and_then(|Spoke {}| item.key.sort.parse().map_err(|_| damaged(&item.key, "its key names no instance")));
        match instance {
            Ok(instance) => page.instances.push(instance),
            Err(error) => page.unreadable = Some(error),
        }
    }
    Ok(page)
}

/// Whether a wheel of `shards` shards is to grow, of which some slot's shard `shard` holds `instances`. Only the last one
/// counts: it is never fuller than the others, which keep what they had when there were fewer, and else a shard once full
/// would let the wheel grow for ever.
#[must_use]
pub fn is_full(shards: u32, shard: u32, instances: usize) -> bool {
    instances >= FULL_SHARD && shard + 1 == shards && shards < MAX_SHARDS
}

/// Doubles a wheel's shards, for instances that come from now on. A wheel that has grown since it was read is left alone.
///
/// # Errors
/// The table's.
pub async fn grow<P: Platform>(platform: &P, read: Interval) -> Result<(), RecordError> {
    let key = interval_key(read.minutes);
    let Some(item) = platform.table().get(&key, Consistency::Strong).await? else { return Ok(()) };
    if read_interval(&item)?.shards != read.shards {
        return Ok(());
    }
    let wheel = schema::encode(&Wheel { shards: (read.shards.max(1) * 2).min(MAX_SHARDS).max(read.shards) });
    let write = Write::put(key, platform.version(), wheel).when(Condition::Version(item.version));
    match platform.table().write(write).await {
        Ok(()) | Err(TableError::ConditionFailed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
