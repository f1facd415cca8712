//! One record per notification: what it was, each attempt to tell it, and how that ended.
//!
//! *Place:* `DELIVERY#instance#day#shard` / notification id. Day and shard are read off the id, so instance and id tell the
//! place and no index is needed. The day is that of the first event's own date; where it lies outside the window that a
//! listing looks at, `DAYS#instance` notes it, before the record is written.
//!
//! *A delivery that succeeds at once costs one write.* What is not yet told has no expiry and its payload is kept as a
//! body; what is told carries its payload in the record, for as long as records are kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use events::message::Attempt;
use events::time::DAY_MS;
use events::{Batch, Event, InstanceId, NotificationId, Timestamp};
use futures_util::future::try_join_all;
use platform::{Condition, Consistency, Item, Key, Platform, Query, Table as _, TableError, Version, Write};
use serde::{Deserialize, Serialize};

use crate::{DAY_S, RETENTION_DAYS, RecordError, bodies, payload, schema};

/// Partitions that an instance's day is spread over: a schema constant, never to change. Four take 4,000 writes a second
/// (DynamoDB: 1,000 a partition) of one instance's one day, and a listing still reads few partitions.
const SHARDS: u32 = 4;

/// The largest packed payload kept inside a record; a larger one stays a body.
const INLINE_BYTES: usize = 300 * 1024;

/// Attempts kept in a record, the newest ones.
const ATTEMPTS_KEPT: usize = 50;

/// How a delivery stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A further attempt is due at this time.
    Waiting {
        /// When.
        next_at: Timestamp,
    },
    /// The callback answered 2xx.
    Told {
        /// When.
        at: Timestamp,
    },
    /// No attempt is due: the notification waits for its release.
    Parked {
        /// Since when; its day is part of the `PENDING` item's place.
        at: Timestamp,
    },
    /// The instance has no callback: the notification can be read, and is not posted.
    Kept,
    /// Nothing will be posted, and this is why.
    Dropped {
        /// Why.
        reason: String,
    },
}

/// One attempt and how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempted {
    /// When it began.
    pub at: Timestamp,
    /// Which round.
    pub round: u32,
    /// Which attempt within the round, from 1.
    pub attempt: u32,
    /// The callback's status, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of telling the callback. (The event bus is another leg: they succeed and fail apart.)
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leg {
    /// Raised by each release.
    pub round: u32,
    /// The last attempt made in this round; 0: none yet.
    pub attempt: u32,
    /// How it stands.
    pub state: State,
    /// The attempts, oldest first, of all rounds.
    pub attempts: Vec<Attempted>,
}

impl Leg {
    /// Whether the attempt is still to be made: the record counts less than it, and nothing has ended the delivery.
    #[must_use]
    pub fn awaits(&self, attempt: &Attempt) -> bool {
        let open = matches!(self.state, State::Waiting { .. } | State::Parked { .. });
        open && (self.round, self.attempt) < (attempt.round, attempt.attempt)
    }

    /// Notes an attempt.
    pub fn note(&mut self, attempted: Attempted) {
        (self.round, self.attempt) = (attempted.round, attempted.attempt);
        if self.attempts.len() == ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(attempted);
    }
}

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
        let state = State::Waiting { next_at: batch.accepted_at };
        Self {
            id,
            instance: batch.instance,
            connector: batch.connector.clone(),
            accepted_at: batch.accepted_at,
            events: events.len(),
            callback: Leg { round: 0, attempt: 0, state, attempts: Vec::new() },
            body: false,
        }
    }

    /// Whether the record may expire: nothing more is owed.
    fn ended(&self) -> bool {
        !matches!(self.callback.state, State::Waiting { .. } | State::Parked { .. })
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
    let item = platform.table().get(&key(instance, id), Consistency::Strong).await?;
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

/// Writes the record of a delivery that ended (told, kept or dropped) with its payload inside; frees what was kept for
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
    let mut also = Vec::new();
    if let Some(State::Parked { at }) = before.map(|b| &b.delivery.callback.state) {
        also.push(Write::delete(pending_key(delivery.instance, at.day(), delivery.id)));
    }
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
    let was_parked = match before.map(|b| &b.delivery.callback.state) {
        Some(State::Parked { at }) => Some(*at),
        _ => None,
    };
    let is_parked = match &delivery.callback.state {
        State::Parked { at } => Some(*at),
        _ => None,
    };
    if let Some(at) = was_parked
        && was_parked.map(Timestamp::day) != is_parked.map(Timestamp::day)
    {
        also.push(Write::delete(pending_key(delivery.instance, at.day(), delivery.id)));
    }
    if let Some(at) = is_parked {
        let body = schema::encode(&Pending { parked_at: at });
        also.push(Write::put(pending_key(delivery.instance, at.day(), delivery.id), platform.version(), body));
        let noted =
            Write::put(days_key(delivery.instance, PARKED, at.day()), platform.version(), schema::encode(&Noted {}));
        also.push(noted);
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
    let parked = matches!(delivery.callback.state, State::Parked { .. });
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

/// The instance's parked notifications, oldest parking day first: at most `limit`.
///
/// # Errors
/// The table's.
pub async fn parked<P: Platform>(
    platform: &P,
    instance: InstanceId,
    limit: usize,
) -> Result<Vec<NotificationId>, RecordError> {
    let mut found = Vec::new();
    let today = platform.now().day();
    for day in noted_days(platform, instance, PARKED).await? {
        let mut query = Query::partition(format!("PENDING#{instance}#{day}"), limit - found.len());
        let before = found.len();
        loop {
            let page = platform.table().query(&query).await?;
            found.extend(page.items.iter().filter_map(|i| i.key.sort.parse::<NotificationId>().ok()));
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
        if found.len() == before && day < today - 1 {
            platform.table().write(Write::delete(days_key(instance, PARKED, day))).await?;
        }
    }
    Ok(found)
}
