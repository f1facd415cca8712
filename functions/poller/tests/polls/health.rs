//! What fails is asked less often, is never given up, and can be seen.

use std::time::Duration;

use events::Timestamp;
use metrics::set_default_local_recorder;
use platform::{Platform as _, TableError};
use pollhook_metrics::prometheus::Prometheus;
use pollhook_poller::poll::End;
use polling::oauth::{CLIENT_SECRET, GIVEN_AT, REFRESH_LIFETIME, REFRESH_TOKEN};
use polling::request::ACCESS_TOKEN;
use records::health::{self, Failing};
use serde_json::json;

use crate::tokens::LIFE;
use crate::world::{MINUTE, World};

async fn failing(world: &World, resource: &str) -> Option<Failing> {
    health::look(&world.platform, world.instance).await.unwrap().health.failing.remove(resource)
}

/// Turns of every minute, so many; when each asked for which resources.
async fn turns(world: &World, count: usize) -> Vec<(usize, Vec<String>)> {
    let mut asked = Vec::new();
    for minute in 0..count {
        world.turn().await;
        let mut names = world.provider.asked();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            asked.push((minute, names));
        }
        world.platform.advance(MINUTE);
    }
    asked
}

async fn every_minute(seed: u64, objects: &str) -> World {
    World::with(
        seed,
        crate::world::SECTION,
        &[("event.objects", objects), (events::configuration::POLLER_REFRESH_INTERVAL, "1")],
    )
    .await
}

#[tokio::test]
async fn who_does_not_answer_is_asked_less_and_less_but_each_hour_and_a_good_poll_ends_it() {
    let mut world = every_minute(600, "things").await;
    world.provider.instead("things", 0, (500, vec![], None));
    let asked: Vec<usize> = turns(&world, 250).await.into_iter().map(|(minute, _)| minute).collect();
    assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    let noted = failing(&world, "things").await.unwrap();
    assert_eq!((noted.failures, noted.error.as_str(), noted.told), (10, "status 500", true));
    world.change("things", 1, false);
    world.advance(2_000);
    world.provider.heal();
    let asked: Vec<usize> = turns(&world, 60).await.into_iter().map(|(minute, _)| minute).collect();
    assert_eq!(asked.len(), 60 - asked[0], "from the first good poll on each turn asks");
    assert_eq!(failing(&world, "things").await, None);
    assert_eq!(world.versions().await, world.history);
}

#[tokio::test]
async fn one_resource_that_fails_slows_none_of_the_others() {
    let world = every_minute(601, "things, others").await;
    world.provider.instead("others", 0, (500, vec![], None));
    let asked = turns(&world, 20).await;
    assert_eq!(asked.len(), 20);
    let others: Vec<usize> =
        asked.iter().filter(|(_, names)| names.contains(&"others".to_owned())).map(|(minute, _)| *minute).collect();
    assert_eq!(others, [0, 1, 3, 7, 15]);
    assert!(asked.iter().all(|(_, names)| names.contains(&"things".to_owned())));
}

#[tokio::test]
async fn a_turn_that_is_left_out_costs_one_read_and_no_write() {
    let world = every_minute(602, "things, others").await;
    for resource in ["things", "others"] {
        world.provider.instead(resource, 0, (500, vec![], None));
    }
    turns(&world, 3).await;
    // The second failure was in the minute before last, and the third is in this one.
    let steps = world.platform.steps();
    assert_eq!(world.turn().await.end, End::Asked);
    assert_eq!(world.platform.steps() - steps, 1, "of both resources");
    world.platform.advance(MINUTE);
    world.provider.asked();
    let (reads, steps) = (world.platform.table().reads(), world.platform.steps());
    assert_eq!(world.turn().await.end, End::Resting);
    assert_eq!(world.platform.table().reads() - reads, 1);
    assert_eq!((world.platform.steps() - steps, world.provider.asked().len()), (0, 0));
}

#[tokio::test]
async fn a_poll_that_somebody_asked_for_does_not_wait_nor_one_of_a_changed_instance() {
    let mut world = every_minute(603, "things").await;
    world.provider.instead("things", 0, (401, vec![], Some(json!({}))));
    turns(&world, 33).await;
    world.provider.heal();
    assert_eq!(world.turn().await.end, End::Resting);
    world.configure(|_, secrets| drop(secrets.insert("api.key".into(), "another".into()))).await;
    world.change("things", 1, false);
    world.advance(2_000);
    assert_eq!(world.turn().await.told, 1);
    assert_eq!(failing(&world, "things").await, None);
    world.provider.instead("things", 0, (500, vec![], None));
    turns(&world, 33).await;
    world.provider.heal();
    assert_eq!(world.turn().await.end, End::Resting);
    assert_eq!(world.poll().await.end, End::Asked, "a signal");
    assert_eq!(world.turn().await.end, End::Asked);
}

#[tokio::test]
async fn a_revoked_consent_stops_turns_and_signals_until_the_instance_is_changed() {
    let world = crate::grants::every_minute(604).await;
    world.server(|server| server.revoked = true);
    world.expire();
    assert_eq!(world.turn().await.end, End::Revoked);
    world.server(|server| (server.revoked, server.expired) = (false, false));
    world.provider.asked();
    world.shown();
    for _ in 0..3 {
        world.platform.advance(MINUTE);
        assert_eq!((world.turn().await.end, world.poll().await.end), (End::Resting, End::Resting));
    }
    assert!(world.provider.asked().is_empty() && world.shown().is_empty());
    assert!(health::look(&world.platform, world.instance).await.unwrap().health.revoked.is_some());
    world.configure(|_, secrets| drop(secrets.insert("oauth.api.secret".into(), "the-app-s3cret".into()))).await;
    assert_eq!(world.turn().await.end, End::Asked);
    assert_eq!(health::look(&world.platform, world.instance).await.unwrap().health.revoked, None);
}

#[tokio::test]
async fn a_health_that_cannot_be_noted_stops_nothing_and_is_noted_by_the_next_poll() {
    let mut world = every_minute(605, "things, others").await;
    world.turn().await;
    world.provider.instead("others", 0, (500, vec![], None));
    world.platform.table().fail_next_write(TableError::Throttled);
    assert_eq!(world.turn().await.end, End::Asked);
    assert_eq!(failing(&world, "others").await, None);
    world.change("things", 1, false);
    world.advance(2_000);
    assert_eq!(world.turn().await.told, 1);
    let since: Timestamp = failing(&world, "others").await.unwrap().since;
    assert_eq!(since, world.now());
}

#[tokio::test]
async fn what_is_kept_of_a_failure_has_no_secret_and_none_of_the_answer() {
    let world = every_minute(606, "things, {bad").await;
    world.provider.instead("things", 0, (500, vec![], Some(json!({"message": "customer data s3cret"}))));
    world.turn().await;
    let kept = health::look(&world.platform, world.instance).await.unwrap().health;
    assert!(!kept.failing.is_empty());
    let text = format!("{kept:?}");
    assert!(!text.contains("s3cret") && !text.contains("customer"), "{text}");
}

#[tokio::test]
async fn the_operator_is_told_once_that_polls_fail_and_once_that_they_are_well() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let told = |figure: &str| {
        let series = format!("pollhook_{figure}_total{{connector=\"api\"}} ");
        prometheus.render().lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let world = every_minute(607, "things, others").await;
    world.provider.instead("others", 0, (500, vec![], None));
    turns(&world, 3).await;
    assert_eq!(told("polls_failing"), 0, "twice is nothing");
    turns(&world, 100).await;
    assert_eq!((told("polls_failing"), told("polls_recovered")), (1, 0));
    world.provider.heal();
    turns(&world, 100).await;
    assert_eq!((told("polls_failing"), told("polls_recovered")), (1, 1));
    let consented = crate::grants::every_minute(609).await;
    consented.server(|server| server.revoked = true);
    consented.expire();
    turns(&consented, 10).await;
    assert_eq!(told("polls_stopped"), 1);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn lapses(world: &World) -> Option<Timestamp> {
    health::look(&world.platform, world.instance).await.unwrap().health.lapses
}

/// How often the operator was told, with one more figure beside it, of what ends soon.
fn lapsing(prometheus: &Prometheus) -> usize {
    let series = "pollhook_consents_lapsing_total{connector=\"api\"} ";
    prometheus.render().lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_consent_whose_end_no_refresh_moves_is_told_once_a_week_before_and_another_ends_that() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let mut world = crate::grants::every_minute(611).await;
    let end = world.now().plus(100 * DAY);
    for (days, told) in [(1, 0), (92, 0), (93, 1), (94, 1), (99, 1)] {
        let (now, at) = (world.now(), end.minus((100 - days) * DAY));
        world.platform.advance(at.since(now));
        // The token's age counts from the provider's own moment.
        world.server(|server| server.refresh_life = Some((u64::from(100 - days)) * 86_400 - u64::from(days)));
        assert_eq!(world.turn().await.end, End::Asked);
        assert_eq!((lapsing(&prometheus), lapses(&world).await.is_some()), (told, told > 0), "{days}");
    }
    assert_eq!(lapses(&world).await, Some(end.minus(Duration::from_secs(93))), "the end that was told");
    world.restart();
    world.turn().await;
    assert_eq!(world.platform.steps(), 0, "{:?}", world.platform.acts());
    world.configure(|instance, _| instance.name = "another name".into()).await;
    world.turn().await;
    assert!(lapses(&world).await.is_some() && lapsing(&prometheus) == 1, "still so, and told already");

    let given = world.now().as_millis().to_string();
    world
        .configure(|instance, secrets| {
            secrets.insert(ACCESS_TOKEN.into(), "clear-a5".into());
            secrets.insert(REFRESH_TOKEN.into(), "clear-r9".into());
            let settings = [(GIVEN_AT, given), (REFRESH_LIFETIME, (100 * DAY).as_secs().to_string())];
            instance.configuration.extend(settings.map(|(key, value)| (key.to_owned(), value)));
        })
        .await;
    assert_eq!(world.turn().await.end, End::Asked);
    assert_eq!((lapses(&world).await, lapsing(&prometheus)), (None, 1));
}

#[tokio::test]
async fn an_end_that_each_refresh_moves_on_is_told_to_nobody() {
    let mut world = crate::grants::every_minute(612).await;
    world.server(|server| server.refresh_life = Some(86_400));
    for _ in 0..12 {
        world.platform.advance(Duration::from_secs(3 * 60 * 60));
        assert_eq!(world.turn().await.end, End::Asked);
        assert_eq!(lapses(&world).await, None);
    }
    // Nobody polled for long, and it is still good.
    world.platform.advance(Duration::from_secs(23 * 60 * 60));
    world.restart();
    assert_eq!(world.turn().await.end, End::Asked);
    assert_eq!(lapses(&world).await, None);
}

#[tokio::test]
async fn a_token_that_nothing_refreshes_is_told_in_the_last_quarter_of_its_life_with_one_write() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let without = |left_out: &str| crate::grants::SECRETS.into_iter().filter(|(key, _)| *key != left_out).collect();
    for (left_out, told) in [(REFRESH_TOKEN, 1), (CLIENT_SECRET, 2)] {
        let secrets: Vec<_> = without(left_out);
        let mut world = crate::grants::with(613, true, &secrets).await;
        let end = world.now().plus(LIFE);
        world.turn().await;
        world.platform.advance(LIFE * 3 / 4 - Duration::from_secs(1));
        world.turn().await;
        assert_eq!(lapses(&world).await, None);
        world.restart();
        for seconds in [1, 60, 600] {
            world.platform.advance(Duration::from_secs(seconds));
            world.turn().await;
        }
        assert_eq!((lapses(&world).await, lapsing(&prometheus)), (Some(end), told), "{left_out}");
        let notes = world.platform.acts().iter().filter(|act| act.contains("HEALTH")).count();
        assert_eq!(notes, 1, "{:?}", world.platform.acts());
    }
}

#[tokio::test]
async fn who_is_never_asked_for_because_a_neighbour_uses_the_limit_up_is_seen_to_wait() {
    let settings = [
        ("event.objects", "things"),
        (events::configuration::POLLER_REFRESH_INTERVAL, "1"),
        (events::configuration::VENDOR_ACCOUNT, "42"),
    ];
    let world = World::with(608, crate::world::SECTION, &settings).await;
    let neighbour = world.beside(&settings, false).await;
    world.provider.instead("things", 0, (429, vec![("retry-after", "60")], None));
    for _ in 0..9 {
        world.poll_of(neighbour).await;
        assert!(matches!(world.turn().await.end, End::PutOff { .. }));
        world.platform.advance(MINUTE);
    }
    let noted = failing(&world, "").await.unwrap();
    assert!(noted.told && !noted.slowed && noted.error.contains("left alone"), "{noted:?}");
    world.provider.heal();
    assert_eq!(world.turn().await.end, End::Asked);
    assert_eq!(failing(&world, "").await, None);
}
