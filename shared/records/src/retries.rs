//! Wake-ups further ahead than a message can be delayed: `RETRY#minute#shard`, swept each minute.
//!
//! *Promise:* a wake-up written is sent to the queue at its minute or later, at least once. The sweep keeps a low-water
//! mark; it reads again the ten minutes before it, sends, and only then deletes. A bucket is never written for a minute
//! nearer than two ahead, so the sweep does not pass it while it is being written; and never before there is a mark, so
//! the first sweep finds it however late that comes ([`begin`]).

use events::message::{Attempt, To};
use events::{Timestamp, time::MINUTE_MS};
use futures_util::future::try_join_all;
use platform::{Condition, Consistency, Key, Platform, Query, Table as _, TableError, Write};
use serde::{Deserialize, Serialize};

use crate::{RecordError, schema};

/// Partitions that a minute is spread over: a schema constant, never to change.
const SHARDS: u32 = 4;

/// How near a bucket may be written, in minutes.
pub const LEAD_MINUTES: i64 = 2;

/// How many minutes the sweep reads again.
pub const OVERLAP_MINUTES: i64 = 10;

/// A wake-up: which attempt, and whom its message concerns.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wake {
    /// The attempt to make.
    pub attempt: Attempt,
    /// The message's group.
    pub group: String,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    minute: i64,
}

fn mark_key() -> Key {
    Key::new("TICK", "MARK")
}

/// The write that makes a wake-up happen at `due` (at the end of its minute) or, when that is too near, a little later.
#[must_use]
pub fn wake<P: Platform>(platform: &P, due: Timestamp, wake: &Wake) -> Write {
    let attempt = &wake.attempt;
    let minute = ((due.as_millis() + MINUTE_MS - 1).div_euclid(MINUTE_MS)).max(platform.now().minute() + LEAD_MINUTES);
    let shard = attempt.notification.shard(SHARDS);
    let Attempt { instance, notification, to, round, attempt } = attempt;
    let sort = format!("{instance}#{notification}#{round}#{attempt}");
    // A sweep that knows of no bus would send an attempt at the callback: it finds what it cannot read, and leaves it.
    let (sort, body) = match to {
        To::Callback => (sort, schema::encode(wake)),
        To::Flows => (format!("{sort}#{}", to.as_str()), schema::encode_as(schema::FLOWS, wake)),
    };
    Write::put(Key::new(format!("RETRY#{minute}#{shard}"), sort), platform.version(), body)
}

/// Makes sure that there is a mark, from which the first sweep begins. To be called before a wake-up is written.
///
/// # Errors
/// The table's.
pub async fn begin<P: Platform>(platform: &P) -> Result<(), RecordError> {
    if low_water(platform).await?.is_some() {
        return Ok(());
    }
    let mark = schema::encode(&Mark { minute: platform.now().minute() });
    match platform.table().write(Write::put(mark_key(), platform.version(), mark).when(Condition::Absent)).await {
        Ok(()) | Err(TableError::ConditionFailed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is due in a minute.
#[derive(Debug)]
pub struct Due {
    /// The wake-ups, with the keys to delete once they are sent.
    pub wakes: Vec<(Key, Wake)>,
    /// Why one of them could not be read: it is to stay due, and its neighbours are not to wait for it.
    pub unreadable: Option<RecordError>,
}

/// What is due in `minute`.
///
/// # Errors
/// The table's.
pub async fn due<P: Platform>(platform: &P, minute: i64) -> Result<Due, RecordError> {
    let shards = (0..SHARDS).map(|shard| async move {
        let mut query = Query::partition(format!("RETRY#{minute}#{shard}"), 500);
        let mut found = Vec::new();
        loop {
            let page = platform.table().query(&query).await?;
            found.extend(page.items.into_iter().map(|item| schema::decode(&item).map(|wake| (item.key, wake))));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok::<_, RecordError>(found),
            }
        }
    });
    let mut due = Due { wakes: Vec::new(), unreadable: None };
    for read in try_join_all(shards).await?.into_iter().flatten() {
        match read {
            Ok(wake) => due.wakes.push(wake),
            Err(error) => due.unreadable = Some(error),
        }
    }
    Ok(due)
}

/// The last minute that a sweep has finished; `None` before the first sweep.
///
/// # Errors
/// The table's.
pub async fn low_water<P: Platform>(platform: &P) -> Result<Option<i64>, RecordError> {
    let item = platform.table().get(&mark_key(), Consistency::Strong).await?;
    Ok(item.map(|item| schema::decode::<Mark>(&item)).transpose()?.map(|mark| mark.minute))
}

/// Notes that all minutes up to `minute` are swept.
///
/// # Errors
/// The table's.
pub async fn set_low_water<P: Platform>(platform: &P, minute: i64) -> Result<(), RecordError> {
    let write = Write::put(mark_key(), platform.version(), schema::encode(&Mark { minute }));
    Ok(platform.table().write(write).await?)
}
