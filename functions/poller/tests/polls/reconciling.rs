//! Polls beside webhooks tell what these missed, in doubt more, and never less.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{Batch, Event, EventId, EventType, Source, Timestamp};
use metrics::set_default_local_recorder;
use platform::{Platform as _, TableError};
use pollhook_metrics::prometheus::Prometheus;
use proptest::prelude::*;
use records::{health, told};

use crate::world::{MINUTE, SECTION, World};

const GRACE: Duration = Duration::from_secs(300);

/// An instance that has polls beside its webhooks from now on, of a provider whose dates can be compared, or cannot.
async fn beside(seed: u64, section: &str, objects: &str) -> World {
    let world = World::with(seed, section, &[("event.objects", objects)]).await;
    world.configure(|instance, _| instance.reconciles = Some(world.now())).await;
    world
}

fn comparable() -> String {
    format!("{SECTION}reconcile: {{}}\n")
}

/// A webhook told this of an object, taken now.
async fn webhook(world: &World, object_type: &str, id: u32, event_type: EventType, date: Option<Timestamp>) {
    let event = Event {
        id: EventId::of(world.instance, object_type, &id.to_string(), &["a test"]),
        object_type: object_type.to_owned(),
        object_id: id.to_string(),
        event_type,
        date,
    };
    let batch = Batch {
        instance: world.instance,
        connector: "api".into(),
        hub: "crm".into(),
        source: Source::Webhook,
        accepted_at: world.now(),
        hops: 0,
        events: vec![event],
        raw: "{}".into(),
    };
    told::note(&world.platform, &batch).await.unwrap();
}

async fn ids(world: &World) -> Vec<String> {
    world.told().await.into_iter().map(|event| event.object_id).collect()
}

#[tokio::test]
async fn what_a_webhook_told_is_not_told_again_and_the_rest_is_by_a_date_a_kind_and_an_object() {
    let mut world = beside(700, &comparable(), "things, others").await;
    world.advance(1_000);
    for id in 1..=6 {
        world.change("things", id, id == 4);
    }
    world.change("others", 1, false);
    let now = world.now();
    webhook(&world, "Things", 1, EventType::Created, Some(now)).await;
    webhook(&world, "things", 2, EventType::Updated, Some(now.minus(Duration::from_millis(1)))).await;
    webhook(&world, "things", 3, EventType::Deleted, Some(now)).await;
    webhook(&world, "things", 4, EventType::Deleted, Some(now)).await;
    webhook(&world, "things", 5, EventType::Unknown, Some(now)).await;
    webhook(&world, "things", 6, EventType::Updated, None).await;
    world.platform.advance(GRACE + MINUTE);
    assert_eq!(world.turn().await.told, 5);
    let mut told: Vec<(String, String)> =
        world.told().await.into_iter().map(|event| (event.object_type, event.object_id)).collect();
    told.sort();
    let expected = [("others", "1"), ("things", "2"), ("things", "3"), ("things", "5"), ("things", "6")];
    assert_eq!(told, expected.map(|(object_type, id)| (object_type.to_owned(), id.to_owned())));
    for _ in 0..3 {
        world.platform.advance(20 * MINUTE);
        assert_eq!(world.turn().await.told, 0, "what was left out is remembered as what was told is");
    }
    world.change("things", 1, false);
    world.platform.advance(GRACE + MINUTE);
    assert_eq!(world.turn().await.told, 1, "a later change of it");
}

#[tokio::test]
async fn a_fresh_change_waits_for_its_webhook_and_what_none_came_of_is_told_by_a_later_turn() {
    let mut world = beside(701, &comparable(), "things").await;
    world.platform.advance(60 * MINUTE);
    world.change("things", 1, false);
    world.change("things", 2, false);
    let at = world.now();
    world.advance(2_000);
    assert_eq!(world.turn().await.told, 0);
    world.platform.advance(4 * MINUTE);
    webhook(&world, "things", 1, EventType::Updated, Some(at)).await;
    assert_eq!(world.turn().await.told, 0);
    world.platform.advance(2 * MINUTE);
    assert_eq!(world.turn().await.told, 1);
    assert_eq!(ids(&world).await, ["2"]);
    assert_eq!(world.turn().await.told, 0);
}

#[tokio::test]
async fn a_webhook_that_comes_days_before_its_poll_is_known_for_a_week() {
    for (seed, days, told) in [(702, 0, 0), (703, 1, 0), (704, 6, 0), (705, 8, 1)] {
        let mut world = beside(seed, &comparable(), "things").await;
        world.advance(1_000);
        world.change("things", 1, false);
        // Just before midnight of the day before, as it may be on the provider's clock.
        webhook(&world, "things", 1, EventType::Updated, Some(world.now())).await;
        world.platform.advance(GRACE + MINUTE + days * 24 * 60 * MINUTE);
        assert_eq!(world.turn().await.told, told, "{days} days");
    }
}

#[tokio::test]
async fn where_what_was_told_cannot_be_read_or_compared_everything_is_told() {
    let mut world = beside(706, &comparable(), "things").await;
    world.advance(1_000);
    world.change("things", 1, false);
    webhook(&world, "things", 1, EventType::Updated, Some(world.now())).await;
    world.platform.advance(GRACE + MINUTE);
    // The plan is read first, then whether the account is limited.
    world.platform.table().fail_read_after(2, TableError::Throttled);
    assert_eq!(world.turn().await.told, 1);

    let mut world = beside(707, SECTION, "things").await;
    world.advance(1_000);
    world.change("things", 1, false);
    webhook(&world, "things", 1, EventType::Updated, Some(world.now())).await;
    world.platform.advance(GRACE + MINUTE);
    assert_eq!(world.turn().await.told, 1);
}

#[tokio::test]
async fn a_poll_that_finds_nothing_reads_nothing_and_one_that_finds_reads_once_a_day_of_it() {
    let mut world = beside(708, &comparable(), "things").await;
    world.platform.advance(10 * MINUTE);
    world.turn().await;
    let cost = async |world: &World| {
        let (reads, steps) = (world.platform.table().reads(), world.platform.steps());
        world.turn().await;
        (world.platform.table().reads() - reads, world.platform.steps() - steps)
    };
    assert_eq!(cost(&world).await, (1, 0), "as any poll without news");
    for id in 0..50 {
        world.change("things", id, false);
        webhook(&world, "things", id, EventType::Created, Some(world.now())).await;
    }
    world.platform.advance(10 * MINUTE);
    assert_eq!(cost(&world).await, (3, 2), "a claim and a move, and nothing is sent");
    assert!(world.told().await.is_empty());
}

#[tokio::test]
async fn what_changed_before_there_were_polls_beside_its_webhooks_is_not_told_whatever_polls_it_had_earlier() {
    let mut world = World::with(709, &comparable(), &[("event.objects", "things")]).await;
    world.change("things", 1, false);
    world.advance(2_000);
    assert_eq!(world.turn().await.told, 1, "it polled in turns");
    world.platform.advance(60 * MINUTE);
    world.change("things", 2, false);
    world.platform.advance(60 * MINUTE);
    let since = world.now();
    world.configure(|instance, _| instance.reconciles = Some(since)).await;
    assert_eq!(world.turn().await.told, 0);
    world.change("things", 3, false);
    world.platform.advance(10 * MINUTE);
    assert_eq!(world.turn().await.told, 1);
    assert_eq!(ids(&world).await, ["1", "3"]);
    let from = since.minus(90 * MINUTE).iso_seconds();
    world
        .configure(|instance, _| {
            instance.reconciles = Some(since);
            instance.configuration.insert("event.objects".into(), "others, things".into());
            instance.configuration.insert("event.poller.since".into(), from.clone());
        })
        .await;
    world.change("others", 4, false);
    world.platform.advance(10 * MINUTE);
    assert_eq!(world.turn().await.told, 1, "who says from when on is told from then on of what is new");
}

#[tokio::test]
async fn what_is_left_out_and_what_is_told_is_counted() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let mut world = beside(710, &comparable(), "things").await;
    world.advance(1_000);
    for id in 1..=3 {
        world.change("things", id, false);
    }
    webhook(&world, "things", 2, EventType::Updated, Some(world.now())).await;
    world.platform.advance(GRACE + MINUTE);
    world.turn().await;
    for (outcome, count) in [("suppressed", 1), ("told", 2)] {
        let line = format!("pollhook_reconciled_total{{connector=\"api\",outcome=\"{outcome}\"}} {count}");
        assert!(prometheus.render().contains(&line), "{}", prometheus.render());
    }
}

#[tokio::test]
async fn webhooks_that_are_quiet_while_polls_find_changes_are_told_of_once_and_once_when_they_come_again() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let counted = |figure: &str| {
        let series = format!("pollhook_webhooks_{figure}_total{{connector=\"api\"}} ");
        prometheus.render().lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut world = beside(711, &comparable(), "things").await;
    let quiet =
        async |world: &World| health::look(&world.platform, world.instance).await.unwrap().health.webhooks_quiet;
    let mut id = 0;
    let mut turns = async |world: &mut World, count: u32, changes: bool| {
        for _ in 0..count {
            if changes {
                id += 1;
                world.change("things", id, false);
            }
            world.platform.advance(60 * MINUTE);
            world.turn().await;
        }
    };
    turns(&mut world, 23, true).await;
    assert_eq!((quiet(&world).await, counted("quiet")), (None, 0), "it is not a day yet");
    turns(&mut world, 3, true).await;
    let since = quiet(&world).await;
    assert!(since.is_some());
    turns(&mut world, 40, true).await;
    assert_eq!((quiet(&world).await, counted("quiet"), counted("heard")), (since, 1, 0));

    webhook(&world, "others", 7, EventType::Unknown, None).await;
    turns(&mut world, 1, false).await;
    assert_eq!((quiet(&world).await, counted("quiet"), counted("heard")), (None, 1, 1), "whatever it told");
    turns(&mut world, 20, true).await;
    assert_eq!(counted("quiet"), 1, "one came lately");
    turns(&mut world, 60, false).await;
    assert_eq!((quiet(&world).await, counted("quiet")), (None, 1), "there was nothing to tell");
    turns(&mut world, 2, true).await;
    assert_eq!(counted("quiet"), 2);
}

#[tokio::test]
async fn that_webhooks_are_quiet_is_kept_beside_what_fails_and_neither_undoes_the_other() {
    let mut world = beside(712, &comparable(), "things, others").await;
    let noted = async |world: &World| {
        let health = health::look(&world.platform, world.instance).await.unwrap().health;
        (health.webhooks_quiet.is_some(), health.failing.len())
    };
    world.platform.advance(30 * 60 * MINUTE);
    world.change("things", 1, false);
    world.platform.advance(10 * MINUTE);
    world.provider.instead("others", 0, (500, vec![], None));
    world.turn().await;
    assert_eq!(noted(&world).await, (true, 1));
    world.provider.heal();
    world.platform.advance(30 * MINUTE);
    world.turn().await;
    assert_eq!(noted(&world).await, (true, 0));
    world.provider.instead("others", 0, (500, vec![], None));
    webhook(&world, "things", 9, EventType::Updated, None).await;
    world.platform.advance(30 * MINUTE);
    world.turn().await;
    assert_eq!(noted(&world).await, (false, 1));
}

/// A change, and how long after it its webhook is told, if it is at all.
#[derive(Clone, Debug)]
struct Step {
    id: u32,
    gone: bool,
    webhook_s: Option<u64>,
    /// Seconds until the next.
    then_s: u64,
    /// Whether the process is another one then.
    restart: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let webhook_s = prop_oneof![
        2 => Just(None),
        3 => (0..280_u64).prop_map(Some),
        1 => (300..3_000_u64).prop_map(Some),
    ];
    let then_s = prop_oneof![2 => 1..60_u64, 1 => 60..2_000_u64];
    (0..4_u32, prop::bool::weighted(0.2), webhook_s, then_s, prop::bool::weighted(0.1))
        .prop_map(|(id, gone, webhook_s, then_s, restart)| Step { id, gone, webhook_s, then_s, restart })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_webhooks_come_or_not_the_last_state_of_each_object_is_told_and_none_that_a_webhook_told_in_time(
        seed in 720_000..u64::from(u32::MAX),
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        const TURN_S: u64 = 600;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = beside(seed, &comparable(), "things").await;
            let began = world.now();
            let at = |second: u64| began.plus(Duration::from_secs(second));
            let (mut second, mut changes, mut webhooks) = (10, Vec::new(), Vec::new());
            for step in steps {
                changes.push((second, step.clone()));
                webhooks.extend(step.webhook_s.map(|after| (second + after, second, step.id, step.gone)));
                second += step.then_s;
            }
            let last: BTreeMap<u32, (u64, bool)> = changes.iter().map(|(at, step)| (step.id, (*at, step.gone))).collect();
            let end = second + 3_000 + 3 * TURN_S;
            let mut due = changes.into_iter().peekable();
            for second in 1..=end {
                world.advance(1_000);
                if let Some((_, step)) = due.next_if(|(at, _)| *at == second) {
                    world.change("things", step.id, step.gone);
                    if step.restart {
                        world.restart();
                    }
                }
                for (_, date, id, gone) in webhooks.iter().filter(|(arrives, ..)| *arrives == second) {
                    let event_type = if *gone { EventType::Deleted } else { EventType::Updated };
                    webhook(&world, "things", *id, event_type, Some(at(*date))).await;
                }
                if second % TURN_S == 7 {
                    world.turn().await;
                }
            }
            let polled = world.versions().await;
            let covers = |id: u32, date: Timestamp, gone: bool, within_s: u64| {
                let same = |&&(_, told, of, kind): &&(u64, u64, u32, bool)| of == id && kind == gone && at(told) >= date;
                webhooks.iter().filter(same).any(|(arrives, ..)| at(*arrives) <= date.plus(Duration::from_secs(within_s)))
            };
            for (id, (second, gone)) in last {
                let version = ("things".to_owned(), id.to_string(), Some(at(second)), gone);
                assert!(polled.contains(&version) || covers(id, at(second), gone, u64::MAX / 2_000), "{version:?} is lost");
            }
            for (_, id, date, gone) in polled {
                assert!(!covers(id.parse().unwrap(), date.unwrap(), gone, 280), "{id} {date:?} {gone} is told twice");
            }
        });
    }
}
