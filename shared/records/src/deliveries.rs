//! One record per notification: what it was, each attempt to tell it, and how that ended.
//!
//! *Place:* `DELIVERY#instance#day#shard` / notification id. Day and shard are read off the id, so instance and id tell the
//! place and no index is needed. The day is that of the first event's own date; where it lies outside the window that a
//! listing looks at, `DAYS#instance` notes it, before the record is written.
//!
//! *A delivery that succeeds at once costs one write.* What is not yet told has no expiry and its payload is kept as a
//! body; what is told carries its payload in the record, for as long as records are kept.
//!
//! *Two legs:* the callback, and the event bus where the instance has flows on. Each has its own attempts and its own end;
//! the record, its payload and its expiry wait for both.
//!
//! *Beside the version before,* which knows of no bus: it reads a record with flows and ignores them, and may write it anew
//! without them. What was owed is not forgotten by that: its wake-up is a message or an item that the older version does not
//! touch, and one that meets a record without flows acts ([`Delivery::awaits`]).

mod leg;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use events::message::{Attempt, To};
use events::time::DAY_MS;
use events::{Batch, Event, InstanceId, NotificationId, Timestamp};
use futures_util::future::try_join_all;
use platform::{Condition, Consistency, Item, Key, Platform, Query, Table as _, TableError, Version, Write};
use serde::{Deserialize, Serialize};

use crate::{DAY_S, RETENTION_DAYS, RecordError, bodies, payload, schema};

pub use leg::{Attempted, Leg, State};

/// Partitions that an instance's day is spread over: a schema constant, never to change. Four take 4,000 writes a second
/// (DynamoDB: 1,000 a partition) of one instance's one day, and a listing still reads few partitions.
const SHARDS: u32 = 4;

/// The largest packed payload kept inside a record; a larger one stays a body.
const INLINE_BYTES: usize = 300 * 1024;

/// The record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Which notification.
    pub id: NotificationId,
    /// Whose.
    pub instance: InstanceId,
    /// The connector's key.
    pub connector: String,
    /// When Pollhook took the changes.
    pub accepted_at: Timestamp,
    /// How many events it holds.
    pub events: usize,
    /// The callback.
    pub callback: Leg,
    /// The event bus; `None` where flows were off when the notification was first told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<Leg>,
    /// Whether the payload is kept as a body rather than in the record.
    #[serde(default)]
    pub body: bool,
}

/// A record as read: what a later write is conditional on, and the payload where the record carries it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub delivery: Delivery,
    /// The write that made it.
    pub version: Version,
    payload: Bytes,
}

impl Delivery {
    /// A record of a notification that nothing has happened to yet.
    #[must_use]
    pub fn new(id: NotificationId, batch: &Batch, events: &[Event]) -> Self {
        Self {
            id,
            instance: batch.instance,
            connector: batch.connector.clone(),
            accepted_at: batch.accepted_at,
            events: events.len(),
            callback: Leg::due(batch.accepted_at),
            flows: None,
            body: false,
        }
    }

    /// The leg of that name, where there is one.
    #[must_use]
    pub fn leg(&self, to: To) -> Option<&Leg> {
        match to {
            To::Callback => Some(&self.callback),
            To::Flows => self.flows.as_ref(),
        }
    }

    /// The leg of that name; it is begun where there is none.
    pub fn leg_mut(&mut self, to: To) -> &mut Leg {
        match to {
            To::Callback => &mut self.callback,
            To::Flows => self.flows.get_or_insert_with(|| Leg::due(self.accepted_at)),
        }
    }

    /// The legs that there are.
    pub fn legs(&self) -> impl Iterator<Item = (To, &Leg)> {
        [To::Callback, To::Flows].into_iter().filter_map(|to| Some((to, self.leg(to)?)))
    }

    /// Whether the attempt that somebody asked for is still to be made. One at the bus is, where the record says nothing of
    /// the bus: it was asked for, and then the version before wrote the record anew.
    #[must_use]
    pub fn awaits(&self, attempt: &Attempt) -> bool {
        self.leg(attempt.to).is_none_or(|leg| leg.awaits(attempt))
    }

    /// Whether the record may expire: nothing more is owed on any leg.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.legs().all(|(_, leg)| !leg.is_open())
    }

    /// When legs were parked that still are, by day.
    fn parked(&self) -> BTreeMap<i64, Timestamp> {
        let parked = self.legs().filter_map(|(_, leg)| leg.parked_at());
        parked.map(|at| (at.day(), at)).collect()
    }
}

fn partition(instance: InstanceId, day: i64, shard: u32) -> String {
    format!("DELIVERY#{instance}#{day}#{shard}")
}

fn key(instance: InstanceId, id: NotificationId) -> Key {
    Key::new(partition(instance, id.time().day(), id.shard(SHARDS)), id.as_str())
}

/// The name of the body that keeps a notification's payload.
fn body_name(id: NotificationId) -> String {
    format!("N{id}")
}

fn days_key(instance: InstanceId, what: &str, day: i64) -> Key {
    Key::new(format!("DAYS#{instance}"), format!("{what}#{day:06}"))
}

fn pending_key(instance: InstanceId, day: i64, id: NotificationId) -> Key {
    Key::new(format!("PENDING#{instance}#{day}"), id.as_str())
}

fn stored(item: &Item) -> Result<Stored, RecordError> {
    let (delivery, payload) = schema::decode_with(item)?;
    Ok(Stored { delivery, version: item.version, payload })
}

/// One record, read strongly.
///
/// # Errors
/// The table's.
pub async fn get<P: Platform>(
    platform: &P,
    instance: InstanceId,
    id: NotificationId,
) -> Result<Option<Stored>, RecordError> {
    get_with(platform, instance, id, Consistency::Strong).await
}

/// One record, read as freshly as asked for.
///
/// # Errors
/// The table's.
pub async fn get_with<P: Platform>(
    platform: &P,
    instance: InstanceId,
    id: NotificationId,
    consistency: Consistency,
) -> Result<Option<Stored>, RecordError> {
    let item = platform.table().get(&key(instance, id), consistency).await?;
    item.map(|item| stored(&item)).transpose()
}

/// The record, and whether a payload is kept of a notification that has none: a process died after the one, before the
/// other.
///
/// # Errors
/// The table's.
pub async fn get_or_leftover<P: Platform>(
    platform: &P,
    instance: InstanceId,
    id: NotificationId,
) -> Result<(Option<Stored>, bool), RecordError> {
    let keys = [key(instance, id), bodies::first_key(&body_name(id))];
    let mut items = platform.table().get_many(&keys, Consistency::Strong).await?.into_iter();
    let record = items.next().flatten().map(|item| stored(&item)).transpose()?;
    let leftover = record.is_none() && items.next().flatten().is_some();
    Ok((record, leftover))
}

/// Frees what was kept for further attempts at a delivery that has ended. For whoever finds it ended: who ended it may
/// have died before doing so, and who failed meanwhile may have kept it once more.
///
/// # Errors
/// The table's.
pub async fn tidy<P: Platform>(platform: &P, stored: &Stored) -> Result<(), RecordError> {
    let Stored { delivery, .. } = stored;
    if !delivery.ended() {
        return Ok(());
    }
    let name = body_name(delivery.id);
    if !delivery.body {
        return bodies::delete(platform, &name).await;
    }
    let Some(body) = bodies::get(platform, &name).await? else { return Ok(()) };
    bodies::put(platform, &name, &body, Some(expires_at_s(platform) + DAY_S)).await
}

/// When a record of now expires, once it has ended.
fn expires_at_s<P: Platform>(platform: &P) -> i64 {
    platform.now().as_seconds() + RETENTION_DAYS * DAY_S
}

/// The payload of a record: the events and the provider's body. `None` when it is gone.
///
/// # Errors
/// The table's.
pub async fn load_payload<P: Platform>(platform: &P, stored: &Stored) -> Result<Option<Batch>, RecordError> {
    if stored.delivery.body {
        return load_unrecorded(platform, stored.delivery.id).await;
    }
    payload::unpack(&stored.payload, stored.delivery.id.as_str()).map(Some)
}

/// The payload of a notification that is not yet told, whether or not its record was written before a crash.
///
/// # Errors
/// The table's.
pub async fn load_unrecorded<P: Platform>(platform: &P, id: NotificationId) -> Result<Option<Batch>, RecordError> {
    let Some(packed) = bodies::get(platform, &body_name(id)).await? else { return Ok(None) };
    payload::unpack(&packed, id.as_str()).map(Some)
}

/// Keeps the payload until the notification is told. Must come before any wake-up that would need it.
///
/// # Errors
/// The table's.
pub async fn keep_payload<P: Platform>(
    platform: &P,
    id: NotificationId,
    batch: &Batch,
    events: &[Event],
) -> Result<(), RecordError> {
    bodies::put(platform, &body_name(id), &Bytes::from(payload::pack(batch, events)), None).await
}

/// Writes the record of a delivery of which each leg has ended (told, kept or dropped) with its payload inside; frees what was kept for
/// further attempts, where `before` or `delivery` says that something was. `before` is the record as read, `None` when there
/// was none.
///
/// # Errors
/// The table's; [`TableError::ConditionFailed`] when the record has changed since it was read.
pub async fn end<P: Platform>(
    platform: &P,
    before: Option<&Stored>,
    mut delivery: Delivery,
    batch: &Batch,
    events: &[Event],
) -> Result<(), RecordError> {
    let packed = payload::pack(batch, events);
    let name = body_name(delivery.id);
    let expires_at_s = expires_at_s(platform);
    let had_body = delivery.body || before.is_some_and(|b| b.delivery.body);
    delivery.body = packed.len() > INLINE_BYTES;
    if delivery.body && !had_body {
        bodies::put(platform, &name, &Bytes::from(packed.clone()), Some(expires_at_s + DAY_S)).await?;
    }
    let inline = if delivery.body { &[] } else { &packed[..] };
    let parked = before.map(|b| b.delivery.parked()).unwrap_or_default();
    let also = parked.keys().map(|day| Write::delete(pending_key(delivery.instance, *day, delivery.id))).collect();
    write(platform, before, &delivery, inline, also).await?;
    if had_body {
        // After the record: a crash here leaves a body behind, the other order could lose one that is still needed.
        if delivery.body {
            bodies::put(platform, &name, &Bytes::from(packed), Some(expires_at_s + DAY_S)).await?;
        } else {
            bodies::delete(platform, &name).await?;
        }
    }
    Ok(())
}

/// Writes the record of a delivery that goes on (its payload already kept as a body), together with `also` (a wake-up)
/// in one transaction.
///
/// # Errors
/// As [`end`].
pub async fn proceed<P: Platform>(
    platform: &P,
    before: Option<&Stored>,
    mut delivery: Delivery,
    mut also: Vec<Write>,
) -> Result<(), RecordError> {
    delivery.body = true;
    let was_parked = before.map(|b| b.delivery.parked()).unwrap_or_default();
    let is_parked = delivery.parked();
    let gone = was_parked.keys().filter(|day| !is_parked.contains_key(day));
    also.extend(gone.map(|day| Write::delete(pending_key(delivery.instance, *day, delivery.id))));
    for (day, at) in is_parked {
        let body = schema::encode(&Pending { parked_at: at });
        also.push(Write::put(pending_key(delivery.instance, day, delivery.id), platform.version(), body));
        let noted = schema::encode(&Noted {});
        also.push(Write::put(days_key(delivery.instance, PARKED, day), platform.version(), noted));
    }
    write(platform, before, &delivery, &[], also).await
}

#[derive(Serialize, Deserialize)]
struct Pending {
    parked_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Noted {}

async fn write<P: Platform>(
    platform: &P,
    before: Option<&Stored>,
    delivery: &Delivery,
    inline: &[u8],
    mut also: Vec<Write>,
) -> Result<(), RecordError> {
    note_day(platform, delivery).await?;
    let condition = before.map_or(Condition::Absent, |b| Condition::Version(b.version));
    let mut put =
        Write::put(key(delivery.instance, delivery.id), platform.version(), schema::encode_with(delivery, inline))
            .when(condition);
    if delivery.ended() {
        put = put.expiring(expires_at_s(platform));
    }
    if also.is_empty() {
        return Ok(platform.table().write(put).await?);
    }
    also.push(put);
    Ok(platform.table().transact(also).await?)
}

/// When a day was noted, by instance, day and kind of note.
type NotedDays = HashMap<(InstanceId, i64, &'static str), Timestamp>;

/// Days noted by this process, so that a burst of old events costs one write a day, not one an event.
static NOTED: LazyLock<Mutex<NotedDays>> = LazyLock::new(Mutex::default);

/// Notes of days with ended deliveries.
const ENDED: &str = "ENDED";
/// Notes of days with deliveries still owed.
const OPEN: &str = "OPEN";
/// Notes of days on which something was parked.
const PARKED: &str = "PARKED";

/// Days remembered at most; past it all are forgotten, and noted again.
const NOTED_KEPT: usize = 10_000;

/// Notes the record's day when a listing, in the time that the record will be kept, would not look there by itself: an
/// ended one for as long as it lives, an open one until further notice.
async fn note_day<P: Platform>(platform: &P, delivery: &Delivery) -> Result<(), RecordError> {
    let (now, day) = (platform.now(), delivery.id.time().day());
    let parked = !delivery.parked().is_empty();
    if !parked && (now.day() - 1..=now.day() + 1).contains(&day) {
        return Ok(());
    }
    let what = if delivery.ended() { ENDED } else { OPEN };
    let place = (delivery.instance, day, what);
    let fresh = |at: &Timestamp| *at <= now && now.since(*at).as_millis() < u128::from(DAY_MS.unsigned_abs());
    if NOTED.lock().is_ok_and(|noted| noted.get(&place).is_some_and(fresh)) {
        return Ok(());
    }
    let mut put = Write::put(days_key(delivery.instance, what, day), platform.version(), schema::encode(&Noted {}));
    if delivery.ended() {
        put = put.expiring(now.as_seconds() + (RETENTION_DAYS + 2) * DAY_S);
    }
    platform.table().write(put).await?;
    if let Ok(mut noted) = NOTED.lock() {
        if noted.len() >= NOTED_KEPT {
            noted.clear();
        }
        noted.insert(place, now);
    }
    Ok(())
}

/// Records read from each shard at a time while listing: a record may carry a payload of [`INLINE_BYTES`].
const STEP: usize = 16;

/// The instance's records, newest first: at most `limit`, all with ids before `before`.
///
/// # Errors
/// The table's.
pub async fn list<P: Platform>(
    platform: &P,
    instance: InstanceId,
    before: Option<NotificationId>,
    limit: usize,
) -> Result<Vec<Stored>, RecordError> {
    let today = platform.now().day();
    let mut days: BTreeSet<i64> = (today - RETENTION_DAYS - 1..=today + 1).collect();
    days.extend(noted_days(platform, instance, ENDED).await?);
    days.extend(noted_days(platform, instance, OPEN).await?);
    let mut found = Vec::new();
    for day in days.into_iter().rev().filter(|day| before.is_none_or(|id| *day <= id.time().day())) {
        let mut before = before;
        loop {
            let step = STEP.min(limit - found.len());
            let shards = (0..SHARDS).map(|shard| newest(platform, partition(instance, day, shard), before, step));
            let mut next: Vec<Item> = try_join_all(shards).await?.into_iter().flatten().collect();
            // The first `step` of all shards are the day's next ones: no shard's share of them can be larger.
            next.sort_unstable_by(|a, b| b.key.sort.cmp(&a.key.sort));
            next.truncate(step);
            for item in &next {
                let stored = stored(item)?;
                before = Some(stored.delivery.id);
                found.push(stored);
            }
            if found.len() >= limit {
                return Ok(found);
            }
            if next.len() < step {
                break;
            }
        }
    }
    Ok(found)
}

/// The last `limit` items of a partition whose sort keys come before `before`.
async fn newest<P: Platform>(
    platform: &P,
    partition: String,
    before: Option<NotificationId>,
    limit: usize,
) -> Result<Vec<Item>, TableError> {
    let mut query = Query {
        before: before.map(|id| id.to_string()).unwrap_or_default(),
        descending: true,
        ..Query::partition(partition, limit)
    };
    let mut found = Vec::new();
    loop {
        let page = platform.table().query(&query).await?;
        found.extend(page.items);
        if found.len() >= limit || page.next.is_none() {
            found.truncate(limit);
            return Ok(found);
        }
        query.after = page.next;
    }
}

async fn noted_days<P: Platform>(platform: &P, instance: InstanceId, what: &str) -> Result<Vec<i64>, RecordError> {
    let prefix = format!("{what}#");
    let mut query = Query {
        from: prefix.clone(),
        before: format!("{what}$"),
        ..Query::partition(format!("DAYS#{instance}"), 1000)
    };
    let mut days = Vec::new();
    loop {
        let page = platform.table().query(&query).await?;
        days.extend(page.items.iter().filter_map(|i| i.key.sort.strip_prefix(&prefix)?.parse::<i64>().ok()));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(days),
        }
    }
}

/// The instance's parked notifications (whichever leg is), oldest parking day first and each once: at most `limit`.
///
/// # Errors
/// The table's.
pub async fn parked<P: Platform>(
    platform: &P,
    instance: InstanceId,
    limit: usize,
) -> Result<Vec<NotificationId>, RecordError> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let today = platform.now().day();
    for day in noted_days(platform, instance, PARKED).await? {
        let mut query = Query::partition(format!("PENDING#{instance}#{day}"), limit - found.len());
        let mut empty = true;
        loop {
            let page = platform.table().query(&query).await?;
            empty &= page.items.is_empty();
            // Its legs may have been parked on two days.
            let ids = page.items.iter().filter_map(|i| i.key.sort.parse::<NotificationId>().ok());
            found.extend(ids.filter(|id| known.insert(*id)));
            if found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        // Nothing is parked on a day that is over (with a day to spare for other clocks): its note has done its work.
        if empty && day < today - 1 {
            platform.table().write(Write::delete(days_key(instance, PARKED, day))).await?;
        }
    }
    Ok(found)
}
