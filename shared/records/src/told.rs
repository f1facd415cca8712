//! What webhooks told, for instances whose polls tell the rest.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `TOLD#instance#day` | type`#`id of the object | the latest dates that the provider's webhooks named; the day is that of their arrival |
//!
//! *Promise:* of batches at work at the same time none loses another's later date. A batch that comes again finds its own
//! items, for the day is that on which it was taken, and writes nothing.
//!
//! *Not promised:* that everything is noted. An object whose type and id make no key is not; its polls tell again what its
//! webhooks told. So does a poll of what changed more than [`KEPT_DAYS`] ago.
//!
//! Nobody deletes it: what is left of a deleted instance is gone within a week.
//!
//! *Cost:* one read and one write for each object of a batch, and no write where a later date is known. Nothing for an
//! instance that does not reconcile.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{Batch, InstanceId, Timestamp};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use platform::{Condition, Consistency, Item, Key, Platform, Query, Table as _, TableError, Write, limits};
use polling::reconcile::Heard;

use crate::{DAY_S, RETENTION_DAYS, RecordError, schema};

/// How long it is kept: as long as what was told can be read. Polls come each day at least, and look back to the last one that
/// was well: after an outage of up to a week nothing is told twice.
pub const KEPT_DAYS: i64 = RETENTION_DAYS;

/// Objects of a batch that are written at the same time.
const AT_ONCE: usize = 16;

/// How far a provider's clock may be ahead of ours: a webhook's date up to then counts, and may be of the day after the one on
/// which it is noted.
pub const AHEAD: Duration = Duration::from_secs(5 * 60);

/// How often an item is written that others write meanwhile.
const TRIES: usize = 8;

/// Parts the type from the id.
const BETWEEN: char = '#';

fn partition(instance: InstanceId, day: i64) -> String {
    format!("TOLD#{instance}#{day}")
}

/// Where it is noted what was told of an object. Types are alike in any case, as they are where they are configured.
/// `None`: nowhere.
fn key(instance: InstanceId, day: i64, object_type: &str, object_id: &str) -> Option<Key> {
    let named = !object_type.contains(BETWEEN);
    let key = Key::new(partition(instance, day), format!("{}{BETWEEN}{object_id}", object_type.to_lowercase()));
    (named && limits::check_key(&key).is_ok()).then_some(key)
}

/// Notes what the webhook of a batch told.
///
/// # Errors
/// The table's. Some of it may be noted.
pub async fn note<P: Platform>(platform: &P, batch: &Batch) -> Result<(), RecordError> {
    let mut told: BTreeMap<Key, Heard> = BTreeMap::new();
    for event in &batch.events {
        let Some(key) = key(batch.instance, batch.accepted_at.day(), &event.object_type, &event.object_id) else {
            continue;
        };
        let heard = told.entry(key).or_default();
        // A date that nobody can have yet would cover whatever changes until then.
        let date = event.date.filter(|date| *date <= batch.accepted_at.plus(AHEAD));
        *heard = heard.and(Heard::of(event.event_type, date));
    }
    if told.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key> = told.keys().cloned().collect();
    // What a read that lags does not see yet, the condition of the write does.
    let found = platform.table().get_many(&keys, Consistency::Eventual).await?;
    let each = told.into_iter().zip(found).map(|((key, heard), found)| add(platform, key, heard, found));
    stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await
}

/// Adds to what is noted of an object, which was `found`.
async fn add<P: Platform>(platform: &P, key: Key, heard: Heard, mut found: Option<Item>) -> Result<(), RecordError> {
    for _ in 0..TRIES {
        let before: Option<Heard> = found.as_ref().map(schema::decode).transpose()?;
        let after = before.unwrap_or_default().and(heard);
        if before == Some(after) {
            return Ok(());
        }
        let condition = found.as_ref().map_or(Condition::Absent, |item| Condition::Version(item.version));
        let write = Write::put(key.clone(), platform.version(), schema::encode(&after)).when(condition);
        let written = platform.table().write(write.expiring(platform.now().as_seconds() + KEPT_DAYS * DAY_S)).await;
        let Err(error) = written else { return Ok(()) };
        found = error.clone().existing().ok_or(error)?;
    }
    Err(TableError::Conflict.into())
}

/// What was told on a day of objects, in order, each by its type and id; nothing, of those of which nothing is noted. By reads
/// that may lag by a moment: what is that new is not missed yet.
///
/// # Errors
/// The table's, or an item cannot be read.
pub async fn of<P: Platform>(
    platform: &P,
    instance: InstanceId,
    day: i64,
    objects: &[(&str, &str)],
) -> Result<Vec<Heard>, RecordError> {
    let named = objects.iter().map(|(object_type, object_id)| key(instance, day, object_type, object_id));
    let keyed: Vec<(usize, Key)> = named.enumerate().filter_map(|(index, key)| Some((index, key?))).collect();
    let keys: Vec<Key> = keyed.iter().map(|(_, key)| key.clone()).collect();
    let mut heard = vec![Heard::default(); objects.len()];
    if keys.is_empty() {
        return Ok(heard);
    }
    let found = platform.table().get_many(&keys, Consistency::Eventual).await?;
    for ((index, _), item) in keyed.into_iter().zip(found) {
        if let (Some(slot), Some(item)) = (heard.get_mut(index), item) {
            *slot = schema::decode(&item)?;
        }
    }
    Ok(heard)
}

/// Whether anything at all was told today or on the day before.
///
/// # Errors
/// The table's.
pub async fn any_lately<P: Platform>(platform: &P, instance: InstanceId, now: Timestamp) -> Result<bool, RecordError> {
    for day in [now.day(), now.day() - 1] {
        let mut query = Query { consistency: Consistency::Eventual, ..Query::partition(partition(instance, day), 1) };
        loop {
            let page = platform.table().query(&query).await?;
            if !page.items.is_empty() {
                return Ok(true);
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    Ok(false)
}
