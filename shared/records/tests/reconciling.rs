//! What an instance's webhooks told is noted as long as its polls tell the rest, and nobody's else.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{NOW, owner, platform, provision};
use events::configuration::{METADATA, POLLER_REFRESH_INTERVAL, RECONCILE_INTERVAL};
use events::{Batch, Event, EventId, EventType, InstanceId, Source, Timestamp};
use futures_util::future::join_all;
use platform::testing::MemoryPlatform;
use platform::{Key, Platform as _, Table as _, TableError, Write};
use pollhook_records::instances::{self, Derived, Stored};
use pollhook_records::wheel::Minutes;
use pollhook_records::{RecordError, plans, told};
use polling::definition::Polling;
use polling::reconcile::Heard;
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(86_400);

fn section() -> Polling {
    Polling::from_yaml("base_url: https://a.example\nauthentication: { none: {} }").unwrap()
}

/// What the API makes of an instance that is polled beside its webhooks, or is not.
fn derived(polling: &Polling, minutes: Option<u32>) -> Derived<'_> {
    let polled = minutes.and_then(Minutes::new);
    Derived { polled, reconciles: polled.is_some(), polling: polled.map(|_| polling), ..Derived::default() }
}

async fn change(platform: &MemoryPlatform, before: &Stored, derived: &Derived<'_>) -> Stored {
    instances::update(platform, before, before.instance.clone(), before.secrets.clone(), derived).await.unwrap()
}

/// Whether the dispatcher notes, since when the poller leaves out, and how often it polls.
async fn known(platform: &MemoryPlatform, id: InstanceId) -> (bool, Option<Timestamp>, Option<u16>) {
    let notes = instances::callback_view(platform, id).await.unwrap().unwrap().reconciles;
    let plan = plans::read(platform, id).await.unwrap().map(|read| read.plan);
    let (since, turn) = plan.map(|plan| (plan.reconciles, plan.interval())).unwrap_or_default();
    (notes, since, turn.map(Minutes::number))
}

#[tokio::test]
async fn who_notes_and_who_leaves_out_know_it_at_once_since_when_and_until_when() {
    let platform = platform(1);
    let polling = section();
    let plain = [("event.notification.callback.url", "https://a.example"), (POLLER_REFRESH_INTERVAL, "7")];
    let provision = provision("hubspot", &plain, &[]);
    let made =
        instances::create(&platform, &owner(&platform).await, provision, &derived(&polling, None)).await.unwrap();
    let id = made.instance.id;
    assert_eq!(known(&platform, id).await, (false, None, None));
    let text =
        |partition: &str| platform.table().items(partition).iter().map(|i| format!("{:?}", i.body)).collect::<String>();
    assert!(!text("").contains("reconciles"), "as the version before wrote it");

    platform.advance(DAY);
    let on = change(&platform, &made, &derived(&polling, Some(60))).await;
    let since = NOW.plus(DAY);
    assert_eq!(known(&platform, id).await, (true, Some(since), Some(60)));
    assert_eq!(platform.table().items("WHEEL#60#").len(), 1);
    platform.advance(DAY);
    let slower = change(&platform, &on, &derived(&polling, Some(1440))).await;
    assert_eq!(known(&platform, id).await, (true, Some(since), Some(1440)), "it has noted all along");
    assert_eq!((platform.table().items("WHEEL#60#").len(), platform.table().items("WHEEL#1440#").len()), (0, 1));
    let off = change(&platform, &slower, &derived(&polling, None)).await;
    assert_eq!(known(&platform, id).await, (false, None, None));
    assert_eq!(platform.table().items("WHEEL#"), []);
    platform.advance(DAY);
    change(&platform, &off, &derived(&polling, Some(60))).await;
    assert_eq!(known(&platform, id).await, (true, Some(platform.now()), Some(60)), "nothing was noted in between");
}

#[tokio::test]
async fn what_is_not_wanted_of_webhooks_is_not_missed() {
    let platform = platform(2);
    let metadata = r#"{"webhook": {"deals": {"eventTypes": ["deleted"]}}, "polling": {"deals": {"eventTypes": []}}}"#;
    let polling = section();
    for (minutes, deleted) in [(Some(60), true), (None, false)] {
        let derived = Derived { polling: Some(&polling), ..derived(&polling, minutes) };
        let provision = provision("hubspot", &[(METADATA, metadata)], &[]);
        let made = instances::create(&platform, &owner(&platform).await, provision, &derived).await.unwrap();
        let plan = plans::read(&platform, made.instance.id).await.unwrap().unwrap().plan;
        let wants = |event_type| plan.wants("deals", "deals", event_type);
        assert_eq!((wants(EventType::Deleted), wants(EventType::Updated)), (deleted, false));
    }
}

#[test]
fn an_interval_beside_webhooks_is_only_what_is_said() {
    let of = |minutes: &str| {
        Minutes::reconciling(&[(RECONCILE_INTERVAL.to_owned(), minutes.to_owned())].into()).map(Minutes::number)
    };
    assert_eq!(
        [of(" 1 "), of("1440"), of("1441"), of("0"), of("soon"), of("")],
        [Some(1), Some(1440), None, None, None, None]
    );
    assert_eq!(Minutes::reconciling(&[(POLLER_REFRESH_INTERVAL.to_owned(), "5".to_owned())].into()), None);
}

fn instance() -> InstanceId {
    InstanceId::from_random(31)
}

fn batch(taken: Timestamp, changes: &[(&str, &str, EventType, Option<i64>)]) -> Batch {
    let event = |(object_type, id, event_type, at): &(&str, &str, EventType, Option<i64>)| Event {
        id: EventId::of(instance(), object_type, id, &["occurrence"]),
        object_type: (*object_type).to_owned(),
        object_id: (*id).to_owned(),
        event_type: *event_type,
        date: at.map(Timestamp::from_seconds),
    };
    Batch {
        instance: instance(),
        connector: "hubspot".into(),
        hub: "crm".into(),
        source: Source::Webhook,
        accepted_at: taken,
        hops: 0,
        events: changes.iter().map(event).collect(),
        raw: "[]".into(),
    }
}

fn heard(event_type: EventType, at: i64) -> Heard {
    Heard::of(event_type, Some(Timestamp::from_seconds(at)))
}

async fn noted(platform: &MemoryPlatform, object_type: &str, id: &str) -> Heard {
    told::of(platform, instance(), NOW.day(), &[(object_type, id)]).await.unwrap()[0]
}

#[tokio::test]
async fn a_batch_is_one_read_and_a_write_for_each_object_and_none_when_it_comes_again() {
    use EventType::{Created, Deleted, Unknown, Updated};
    let platform = platform(3);
    let changes = [
        ("Contacts", "1", Created, Some(10)),
        ("contacts", "1", Updated, Some(30)),
        ("contacts", "1", Updated, Some(20)),
        ("contacts", "1", Deleted, Some(15)),
        ("deals", "1", Unknown, Some(40)),
        ("deals", "2", Updated, None),
    ];
    let batch = batch(NOW, &changes);
    told::note(&platform, &batch).await.unwrap();
    assert_eq!((platform.steps(), platform.table().items("TOLD#").len()), (3, 3));
    assert_eq!(noted(&platform, "CONTACTS", "1").await, heard(Updated, 30).and(heard(Deleted, 15)));
    assert_eq!(noted(&platform, "deals", "1").await, Heard::default(), "what happened to it nobody said");
    let steps = platform.steps();
    platform.advance(2 * DAY);
    told::note(&platform, &batch).await.unwrap();
    assert_eq!(platform.steps() - steps, 0, "it belongs to the day on which it was taken");
    let older = self::batch(NOW, &[("contacts", "1", Updated, Some(29))]);
    told::note(&platform, &older).await.unwrap();
    assert_eq!(platform.steps() - steps, 0);
    platform.advance(5 * DAY);
    assert_eq!(noted(&platform, "contacts", "1").await, Heard::default(), "a week is over");
}

#[tokio::test]
async fn what_makes_no_key_is_not_noted_and_keeps_nothing_else_from_it() {
    let platform = platform(4);
    let long = "x".repeat(2_000);
    let changes = ["", &long, "1"].map(|id| ("deals", id, EventType::Updated, Some(1)));
    told::note(&platform, &batch(NOW, &changes)).await.unwrap();
    told::note(&platform, &batch(NOW, &[("a#b", "c", EventType::Updated, Some(1))])).await.unwrap();
    let sorts: Vec<String> = platform.table().items("TOLD#").into_iter().map(|item| item.key.sort).collect();
    assert_eq!(sorts, ["deals#", "deals#1"]);
    let objects = [("deals", long.as_str()), ("a", "b#c"), ("deals", "1")];
    let found = told::of(&platform, instance(), NOW.day(), &objects).await.unwrap();
    assert_eq!(found, [Heard::default(), Heard::default(), heard(EventType::Updated, 1)], "each in its place");
}

#[tokio::test]
async fn a_note_that_fails_says_so_and_one_whose_answer_is_lost_is_there_when_it_is_made_again() {
    let platform = platform(5);
    let batch = batch(NOW, &[("deals", "1", EventType::Updated, Some(1))]);
    platform.table().fail_next_write(TableError::Throttled);
    assert_eq!(told::note(&platform, &batch).await, Err(RecordError::Table(TableError::Throttled)));
    platform.table().lose_next_answer();
    assert!(told::note(&platform, &batch).await.is_err());
    told::note(&platform, &batch).await.unwrap();
    assert_eq!(noted(&platform, "deals", "1").await, heard(EventType::Updated, 1));
    let key = Key::new(format!("TOLD#{}#{}", instance(), NOW.day()), "deals#2");
    platform.table().write(Write::put(key, platform.version(), r#"{"v":99}"#)).await.unwrap();
    let newer = self::batch(NOW, &[("deals", "2", EventType::Updated, Some(1))]);
    assert!(matches!(told::note(&platform, &newer).await, Err(RecordError::Newer(..))));
}

#[tokio::test]
async fn whether_anything_was_told_lately_counts_this_day_and_the_one_before() {
    let platform = platform(6);
    let lately = async || told::any_lately(&platform, instance(), platform.now()).await.unwrap();
    assert!(!lately().await);
    told::note(&platform, &batch(NOW, &[("deals", "1", EventType::Unknown, None)])).await.unwrap();
    assert!(lately().await, "whatever it was");
    platform.advance(DAY);
    assert!(lately().await);
    platform.advance(DAY);
    assert!(!lately().await);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn of_batches_at_the_same_time_none_loses_another_s_later_date(
        dates in proptest::collection::vec((0..2_u8, prop::bool::ANY, 0..50_i64), 1..6),
    ) {
        let platform = platform(7);
        let change = |(object, gone, at): &(u8, bool, i64)| {
            let event_type = if *gone { EventType::Deleted } else { EventType::Updated };
            (["1", "2"][usize::from(*object)], event_type, *at)
        };
        let batches: Vec<Batch> = dates
            .iter()
            .map(change)
            .map(|(id, event_type, at)| batch(NOW, &[("deals", id, event_type, Some(at))]))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            platform.table().fall_behind();
            for result in join_all(batches.iter().map(|batch| told::note(&platform, batch))).await {
                result.unwrap();
            }
            platform.table().catch_up();
            for id in ["1", "2"] {
                let expected = dates.iter().map(change).filter(|(object, ..)| *object == id);
                let expected = expected.fold(Heard::default(), |all, (_, event_type, at)| all.and(heard(event_type, at)));
                assert_eq!(noted(&platform, "deals", id).await, expected);
            }
        });
    }
}

#[tokio::test]
async fn who_was_polled_before_goes_on_from_where_the_polls_stand() {
    let platform = platform(1);
    let polling = section();
    let provision = provision("hubspot", &[("event.notification.callback.url", "https://a.example")], &[]);
    let in_turns = Derived { reconciles: false, ..derived(&polling, Some(15)) };
    let made = instances::create(&platform, &owner(&platform).await, provision, &in_turns).await.unwrap();
    let (id, provisioned) = (made.instance.id, platform.now());
    platform.advance(DAY);
    change(&platform, &made, &derived(&polling, Some(60))).await;
    assert_eq!(known(&platform, id).await, (true, Some(provisioned), Some(60)), "its places count");
}

#[tokio::test]
async fn a_date_that_nobody_can_have_yet_is_not_noted() {
    let platform = platform(1);
    let at = |minutes: i64| Some(NOW.as_seconds() + 60 * minutes);
    let changes = [("contacts", "near", EventType::Updated, at(4)), ("contacts", "far", EventType::Updated, at(6))];
    told::note(&platform, &batch(NOW, &changes)).await.unwrap();
    let near = Heard::of(EventType::Updated, Some(NOW.plus(Duration::from_secs(240))));
    assert_eq!(noted(&platform, "contacts", "near").await, near);
    assert_eq!(
        noted(&platform, "contacts", "far").await,
        Heard::default(),
        "it would cover whatever changes until then"
    );
}
