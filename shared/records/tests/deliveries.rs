//! Records of deliveries: found in order whatever their dates, and complete after any death.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use events::message::{Attempt, To};
use events::time::{DAY_MS, MINUTE_MS};
use events::{Batch, InstanceId, NotificationId, Timestamp};
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Act, Platform as _, Table as _, TableError, Version, Write};
use pollhook_records::deliveries::{self, Delivery, State, Stored};
use pollhook_records::refused::{self, Reason, Refusals, SAMPLES, Sample};
use pollhook_records::retries::{self, LEAD_MINUTES, Wake};
use pollhook_records::{RETENTION_DAYS, RecordError, bodies, markers};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `n` also makes the instance: what is noted once per process is noted by instance, and tests share a process.
fn world(n: u32) -> (MemoryPlatform, InstanceId) {
    (MemoryPlatform::with(NOW, u64::from(n), VISIBILITY_TIMEOUT), InstanceId::from_random(1_000 + n))
}

/// A batch of one change, of this object and date.
fn one(instance: InstanceId, object: u64, date: Timestamp) -> (Batch, NotificationId) {
    let mut batch = scenarios::batch(instance, object..object + 1, "[]");
    batch.events[0].date = Some(date);
    let id = batch.notifications(NOW).next().unwrap().id;
    (batch, id)
}

async fn told(platform: &MemoryPlatform, batch: &Batch, id: NotificationId) {
    let mut delivery = Delivery::new(id, batch, &batch.events);
    delivery.callback.state = State::Told { at: platform.now() };
    deliveries::end(platform, None, delivery, batch, &batch.events).await.unwrap();
}

async fn goes_on(platform: &MemoryPlatform, before: Option<&Stored>, batch: &Batch, id: NotificationId, state: State) {
    let mut delivery = before.map_or_else(|| Delivery::new(id, batch, &batch.events), |b| b.delivery.clone());
    deliveries::keep_payload(platform, id, batch, &batch.events).await.unwrap();
    delivery.callback.state = state;
    deliveries::proceed(platform, before, delivery, Vec::new()).await.unwrap();
}

async fn listed(platform: &MemoryPlatform, instance: InstanceId, page: usize) -> Vec<NotificationId> {
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let found = deliveries::list(platform, instance, before, page).await.unwrap();
        assert!(found.len() <= page);
        ids.extend(found.iter().map(|stored| stored.delivery.id));
        if found.len() < page {
            return ids;
        }
        before = ids.last().copied();
    }
}

#[tokio::test]
async fn records_are_listed_newest_first_page_by_page_whatever_their_dates() {
    let (platform, instance) = world(1);
    let (_, neighbour) = world(2);
    let dates = [
        NOW,
        NOW.minus(3 * DAY),
        NOW.minus(30 * DAY),
        NOW.plus(DAY),
        NOW.plus(400 * DAY),
        Timestamp::from_seconds(1_462_216_307),
        Timestamp::from_seconds(0),
    ];
    let mut ids = Vec::new();
    for (n, date) in dates.into_iter().cycle().take(70).enumerate() {
        let (batch, id) = one(instance, n as u64, date.plus(Duration::from_secs(n as u64)));
        told(&platform, &batch, id).await;
        ids.push(id);
        let (batch, id) = one(neighbour, n as u64, date);
        told(&platform, &batch, id).await;
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    for page in [1, 7, 10, 69, 70, 71, 1000] {
        assert_eq!(listed(&platform, instance, page).await, ids, "pages of {page}");
    }
    // As long as they are kept they are found, and no longer.
    platform.advance(6 * DAY);
    assert_eq!(listed(&platform, instance, 9).await, ids);
    platform.advance(2 * DAY);
    assert_eq!(listed(&platform, instance, 9).await, []);
}

#[tokio::test]
async fn what_is_not_told_is_found_and_kept_however_long_ago_it_was() {
    let (platform, instance) = world(3);
    let (batch, id) = one(instance, 1, NOW);
    goes_on(&platform, None, &batch, id, State::Parked { at: NOW }).await;
    let (waiting, waits) = one(instance, 2, NOW.minus(100 * DAY));
    goes_on(&platform, None, &waiting, waits, State::Waiting { next_at: NOW }).await;
    platform.advance(365 * DAY);
    assert_eq!(listed(&platform, instance, 10).await, [id, waits]);
    assert_eq!(deliveries::parked(&platform, instance, 10).await.unwrap(), [id]);
    let stored = deliveries::get(&platform, instance, id).await.unwrap().unwrap();
    assert_eq!(deliveries::load_payload(&platform, &stored).await.unwrap(), Some(batch.clone()));
    // Once told it is readable for the published time, with its payload, and then gone.
    let mut delivery = stored.delivery.clone();
    delivery.callback.state = State::Told { at: platform.now() };
    deliveries::end(&platform, Some(&stored), delivery, &batch, &batch.events).await.unwrap();
    assert_eq!(deliveries::parked(&platform, instance, 10).await.unwrap(), []);
    assert_eq!(platform.table().items("PENDING#"), []);
    platform.advance(6 * DAY);
    let stored = deliveries::get(&platform, instance, id).await.unwrap().unwrap();
    assert_eq!(deliveries::load_payload(&platform, &stored).await.unwrap(), Some(batch));
    assert_eq!(listed(&platform, instance, 10).await, [id, waits]);
    platform.advance(2 * DAY);
    assert_eq!(listed(&platform, instance, 10).await, [waits]);
}

#[tokio::test]
async fn parked_notifications_are_found_oldest_parking_first_and_each_once() {
    let (platform, instance) = world(4);
    let mut expected = Vec::new();
    for day in 0..5_u32 {
        let mut of_day = Vec::new();
        for n in 0..3 {
            // The later they are parked, the older the change is.
            let (batch, id) = one(instance, u64::from(day * 3 + n), NOW.minus(day * 50 * DAY));
            goes_on(&platform, None, &batch, id, State::Parked { at: platform.now() }).await;
            of_day.push(id);
        }
        of_day.sort_unstable();
        expected.extend(of_day);
        platform.advance(DAY);
    }
    for limit in [1, 2, 3, 4, 14, 15, 16] {
        let found = deliveries::parked(&platform, instance, limit).await.unwrap();
        assert_eq!(found, expected[..limit.min(expected.len())], "at most {limit}");
    }
    // Parked again on another day, it is pending once.
    let stored = deliveries::get(&platform, instance, expected[0]).await.unwrap().unwrap();
    let batch = deliveries::load_payload(&platform, &stored).await.unwrap().unwrap();
    goes_on(&platform, Some(&stored), &batch, expected[0], State::Parked { at: platform.now() }).await;
    expected.rotate_left(1);
    assert_eq!(deliveries::parked(&platform, instance, 100).await.unwrap(), expected);
}

/// The other leg, in `state`.
async fn flows(platform: &MemoryPlatform, id: NotificationId, instance: InstanceId, state: State) -> Stored {
    let stored = deliveries::get(platform, instance, id).await.unwrap().unwrap();
    let mut delivery = stored.delivery.clone();
    delivery.leg_mut(To::Flows).state = state;
    deliveries::proceed(platform, Some(&stored), delivery, Vec::new()).await.unwrap();
    deliveries::get(platform, instance, id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_record_ends_with_the_last_of_its_legs_and_its_payload_is_kept_until_then() {
    let (platform, instance) = world(12);
    let (batch, id) = one(instance, 1, NOW);
    goes_on(&platform, None, &batch, id, State::Told { at: NOW }).await;
    let stored = flows(&platform, id, instance, State::Waiting { next_at: NOW }).await;
    assert!(!stored.delivery.ended());
    deliveries::tidy(&platform, &stored).await.unwrap();
    platform.advance(6 * DAY);
    assert_eq!(listed(&platform, instance, 10).await, [id]);
    platform.advance(360 * DAY);
    assert_eq!(deliveries::load_payload(&platform, &stored).await.unwrap(), Some(batch.clone()));
    let mut delivery = stored.delivery.clone();
    delivery.leg_mut(To::Flows).state = State::Told { at: platform.now() };
    assert!(delivery.ended());
    deliveries::end(&platform, Some(&stored), delivery, &batch, &batch.events).await.unwrap();
    assert_eq!(platform.table().items("BODY#"), []);
    platform.advance(u32::try_from(RETENTION_DAYS + 1).unwrap() * DAY);
    assert_eq!(listed(&platform, instance, 10).await, []);
}

#[tokio::test]
async fn a_notification_parked_on_both_legs_is_pending_once_and_until_neither_is() {
    for apart in [false, true] {
        let (platform, instance) = world(13 + u32::from(apart));
        let (batch, id) = one(instance, 1, NOW);
        goes_on(&platform, None, &batch, id, State::Parked { at: NOW }).await;
        if apart {
            platform.advance(3 * DAY);
        }
        flows(&platform, id, instance, State::Parked { at: platform.now() }).await;
        for limit in [1, 2, 10] {
            assert_eq!(deliveries::parked(&platform, instance, limit).await.unwrap(), [id]);
        }
        let stored = flows(&platform, id, instance, State::Told { at: platform.now() }).await;
        assert_eq!(deliveries::parked(&platform, instance, 10).await.unwrap(), [id], "the callback is");
        assert_eq!(platform.table().items("PENDING#").len(), 1);
        let mut delivery = stored.delivery.clone();
        delivery.callback.state = State::Told { at: platform.now() };
        deliveries::end(&platform, Some(&stored), delivery, &batch, &batch.events).await.unwrap();
        assert_eq!(platform.table().items("PENDING#"), []);
    }
}

/// The record as the version before reads it: it knows of no bus, and ignores what it does not know.
#[derive(serde::Deserialize)]
struct Before {
    v: u32,
    id: NotificationId,
    callback: LegBefore,
    body: bool,
}

#[derive(serde::Deserialize)]
struct LegBefore {
    round: u32,
    attempt: u32,
    state: State,
}

#[tokio::test]
async fn a_record_with_flows_is_read_by_the_version_before_and_one_without_by_this() {
    let (platform, instance) = world(15);
    let (batch, id) = one(instance, 1, NOW);
    goes_on(&platform, None, &batch, id, State::Waiting { next_at: NOW }).await;
    let bare = platform.table().items("DELIVERY#")[0].body.clone();
    assert!(!String::from_utf8_lossy(&bare).contains("flows") && !String::from_utf8_lossy(&bare).contains("owed"));
    let stored = flows(&platform, id, instance, State::Told { at: NOW }).await;
    assert!(stored.delivery.flows.is_some());
    let item = platform.table().items("DELIVERY#").remove(0);
    let head = item.body.split(|byte| *byte == b'\n').next().unwrap();
    let before: Before = serde_json::from_slice(head).unwrap();
    assert_eq!((before.v, before.id, before.body), (1, id, true));
    let LegBefore { round, attempt, state } = before.callback;
    assert_eq!((round, attempt, state), (0, 0, State::Waiting { next_at: NOW }));
    // And what that version wrote: there is no such leg, and an attempt at it that somebody asked for is awaited.
    let write = Write::put(item.key, Version(7), bare);
    platform.table().write(write).await.unwrap();
    let stored = deliveries::get(&platform, instance, id).await.unwrap().unwrap();
    assert_eq!(stored.delivery.flows, None);
    let attempt = Attempt { instance, notification: id, to: To::Flows, round: 0, attempt: 2 };
    assert!(stored.delivery.awaits(&attempt));
}

#[tokio::test]
async fn a_wake_up_for_the_bus_is_an_item_beside_the_callback_s_that_the_version_before_leaves_alone() {
    let (platform, instance) = world(16);
    let (_, notification) = one(instance, 1, NOW);
    let wakes = [To::Callback, To::Flows].map(|to| {
        let attempt = Attempt { instance, notification, to, round: 0, attempt: 2 };
        Wake { attempt, group: "g".into() }
    });
    let due = NOW.plus(Duration::from_secs(3600));
    let writes = wakes.iter().map(|wake| retries::wake(&platform, due, wake)).collect();
    platform.table().transact(writes).await.unwrap();
    let minute = due.minute() + 1;
    let mut found: Vec<Wake> =
        retries::due(&platform, minute).await.unwrap().wakes.into_iter().map(|(_, wake)| wake).collect();
    found.sort_by_key(|wake| wake.attempt.to == To::Flows);
    assert_eq!(found, wakes);
    let versions: Vec<bool> =
        platform.table().items("RETRY#").iter().map(|item| item.body.starts_with(b"{\"v\":2,")).collect();
    assert_eq!(versions, [false, true]);
}

#[tokio::test]
async fn a_record_that_changed_meanwhile_is_not_overwritten() {
    let (platform, instance) = world(5);
    let (batch, id) = one(instance, 1, NOW);
    goes_on(&platform, None, &batch, id, State::Waiting { next_at: NOW }).await;
    let stale = deliveries::get(&platform, instance, id).await.unwrap().unwrap();
    goes_on(&platform, Some(&stale), &batch, id, State::Parked { at: NOW }).await;
    let failed = |result| matches!(result, Err(RecordError::Table(TableError::ConditionFailed(_))));
    for before in [None, Some(&stale)] {
        let delivery = stale.delivery.clone();
        assert!(failed(deliveries::proceed(&platform, before, delivery.clone(), Vec::new()).await));
        assert!(failed(deliveries::end(&platform, before, delivery, &batch, &batch.events).await));
    }
    assert_eq!(deliveries::parked(&platform, instance, 10).await.unwrap(), [id]);
}

fn bytes(platform: &MemoryPlatform, length: usize) -> bytes::Bytes {
    let mut bytes = vec![0; length];
    platform.random().fill(&mut bytes);
    bytes.into()
}

#[tokio::test]
async fn a_body_of_any_size_comes_back_whole_and_goes_without_a_trace() {
    let (platform, _) = world(6);
    for (length, chunks) in [(0, 1), (1, 1), (389_120, 1), (389_121, 2), (3_000_000, 8)] {
        let body = bytes(&platform, length);
        bodies::put(&platform, "b", &body, None).await.unwrap();
        assert_eq!(platform.table().items("BODY#").len(), chunks);
        assert_eq!(bodies::get(&platform, "b").await.unwrap(), Some(body));
        bodies::delete(&platform, "b").await.unwrap();
        assert_eq!(platform.table().items(""), [], "{length} bytes");
        bodies::delete(&platform, "b").await.unwrap();
        assert_eq!(bodies::get(&platform, "b").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_body_half_written_is_no_body_and_one_half_removed_can_be_removed() {
    for step in 0..5 {
        for moment in [Moment::Before, Moment::After] {
            let (platform, _) = world(7);
            let body = bytes(&platform, 1_200_000);
            platform.crash_at(step, moment);
            let whole = platform.run_until_crash(bodies::put(&platform, "b", &body, None)).await.is_ok();
            let platform = platform.restart();
            let got = bodies::get(&platform, "b").await.unwrap();
            assert!(got.is_none() || got.as_ref() == Some(&body), "{moment:?} {step}");
            assert!(!whole || got.is_some());
            bodies::put(&platform, "b", &body, None).await.unwrap();
            let platform = platform.restart();
            platform.crash_at(step, moment);
            let _ = platform.run_until_crash(bodies::delete(&platform, "b")).await;
            let platform = platform.restart();
            let got = bodies::get(&platform, "b").await.unwrap();
            assert!(got.is_none() || got == Some(body), "{moment:?} {step}");
            bodies::delete(&platform, "b").await.unwrap();
            assert_eq!(platform.table().items("BODY#"), [], "{moment:?} {step}");
        }
    }
}

#[tokio::test]
async fn a_payload_kept_of_what_was_told_meanwhile_is_tidied_and_one_that_is_owed_is_not() {
    let (platform, instance) = world(8);
    let (batch, id) = one(instance, 1, NOW);
    deliveries::keep_payload(&platform, id, &batch, &batch.events).await.unwrap();
    let (before, leftover) = deliveries::get_or_leftover(&platform, instance, id).await.unwrap();
    assert!(before.is_none() && leftover);
    told(&platform, &batch, id).await;
    let stored = deliveries::get(&platform, instance, id).await.unwrap().unwrap();
    deliveries::tidy(&platform, &stored).await.unwrap();
    assert_eq!(platform.table().items("BODY#"), []);
    assert_eq!(deliveries::load_payload(&platform, &stored).await.unwrap(), Some(batch));
    let (batch, id) = one(instance, 2, NOW);
    goes_on(&platform, None, &batch, id, State::Waiting { next_at: NOW }).await;
    let stored = deliveries::get(&platform, instance, id).await.unwrap().unwrap();
    deliveries::tidy(&platform, &stored).await.unwrap();
    assert_eq!(deliveries::load_payload(&platform, &stored).await.unwrap(), Some(batch));
}

#[tokio::test]
async fn an_occurrence_without_a_date_keeps_the_time_at_which_it_was_first_seen() {
    let (platform, instance) = world(9);
    let mut batch = scenarios::batch(instance, 0..2, "[]");
    batch.events.iter_mut().for_each(|event| event.date = None);
    let mut later = batch.clone();
    later.accepted_at = NOW.plus(DAY);
    let (one, two) = tokio::join!(markers::first_seen(&platform, &batch), markers::first_seen(&platform, &later));
    assert_eq!(one, two, "whoever is first");
    platform.advance(6 * DAY);
    assert_eq!(markers::first_seen(&platform, &later).await, one);
    let mut other = batch.clone();
    other.events.pop();
    other.accepted_at = NOW.plus(2 * DAY);
    assert_eq!(markers::first_seen(&platform, &other).await, Ok(other.accepted_at), "another occurrence, another time");
}

#[tokio::test]
async fn refusals_counted_by_many_at_once_are_all_counted() {
    let (platform, _) = world(10);
    let counted = |n: u64| {
        let mut refusals = Refusals::none();
        for k in 0..n {
            refusals.add(Sample { at: NOW.plus(Duration::from_secs(k)), detail: "é".repeat(500) });
        }
        refusals
    };
    let (day, reason) = (NOW.day(), Reason::Stale);
    platform.table().fail_next_write(TableError::Conflict);
    let adds = (1..=20).map(|n| {
        let (platform, more) = (&platform, counted(n));
        async move { refused::add(platform, "hubspot", day, reason, &more).await }
    });
    for added in futures_util::future::join_all(adds).await {
        added.unwrap();
    }
    let lines = refused::list(&platform, "hubspot").await.unwrap();
    assert_eq!((lines.len(), lines[0].refusals.count), (1, 210));
    let samples = &lines[0].refusals.samples;
    assert_eq!(samples.len(), SAMPLES);
    assert!(samples.is_sorted_by_key(|sample| sample.at));
    assert!(samples.iter().all(|sample| sample.detail.len() <= 200));
    assert_eq!(refused::list(&platform, "standard").await.unwrap(), []);
    platform.advance(u32::try_from(RETENTION_DAYS + 1).unwrap() * DAY);
    assert_eq!(refused::list(&platform, "hubspot").await.unwrap(), []);
    assert_eq!(platform.table().items("REFUSED#"), [], "a count does not stay for ever");
}

#[tokio::test]
async fn a_query_of_a_partition_finds_only_that_instance_s_records() {
    // Instance 1000 + n is a prefix of no other partition: the parts are separated.
    let (platform, instance) = world(11);
    let longer: InstanceId = format!("{instance}1").parse().unwrap();
    let (batch, id) = one(longer, 1, NOW);
    goes_on(&platform, None, &batch, id, State::Parked { at: NOW }).await;
    assert_eq!(listed(&platform, instance, 10).await, []);
    assert_eq!(deliveries::parked(&platform, instance, 10).await.unwrap(), []);
}

proptest! {
    #[test]
    fn a_wake_up_s_minute_is_never_before_it_is_due_nor_too_near(now in 0_i64..4_000_000_000_000, ahead in -DAY_MS..3 * DAY_MS, n in 0_u64..50) {
        let now = Timestamp::from_millis(now);
        let platform = MemoryPlatform::with(now, 1, VISIBILITY_TIMEOUT);
        let due = Timestamp::from_millis(now.as_millis() + ahead);
        let (batch, notification) = one(InstanceId::from_random(5), n, NOW);
        let attempt = Attempt { instance: batch.instance, notification, to: To::Callback, round: 2, attempt: 7 };
        let write = retries::wake(&platform, due, &Wake { attempt, group: "g".into() });
        let minute: i64 = write.key.partition.split('#').nth(1).unwrap().parse().unwrap();
        prop_assert!(minute * MINUTE_MS >= due.as_millis());
        prop_assert!(minute >= now.minute() + LEAD_MINUTES);
        prop_assert!(minute * MINUTE_MS < due.as_millis() + MINUTE_MS || minute == now.minute() + LEAD_MINUTES);
        prop_assert!(matches!(write.act, Act::Put { expires_at_s: None, .. }), "a wake-up does not expire");
        prop_assert!(write.condition.is_none());
    }
}
