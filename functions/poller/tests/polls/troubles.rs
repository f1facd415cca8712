//! Whose trouble it is, and that it is nobody else's.

use std::time::Duration;

use platform::{Platform as _, QueueError, TableError};
use pollhook_poller::poll::{End, Trouble};
use records::RecordError;
use serde_json::json;

use crate::world::{MINUTE, Reply, World};

async fn two_changes(seed: u64) -> World {
    let mut world = World::of(seed, "things, others").await;
    world.change("things", 1, false);
    world.change("others", 2, false);
    world.advance(2_000);
    world
}

#[tokio::test]
async fn a_failing_resource_stops_none_of_the_others_and_is_told_once_it_is_well() {
    let cases: [(Reply, Trouble); 6] = [
        ((500, vec![], None), Trouble::Theirs("status 500".into())),
        ((204, vec![], None), Trouble::Theirs("there are no records at data".into())),
        ((200, vec![], Some(json!({"message": "sorry"}))), Trouble::Theirs("there are no records at data".into())),
        ((401, vec![], Some(json!({}))), Trouble::Unauthorised),
        ((403, vec![], Some(json!({}))), Trouble::Theirs("status 403".into())),
        ((0, vec![], None), Trouble::Theirs("nobody is there".into())),
    ];
    for (seed, (reply, trouble)) in (20..).zip(cases) {
        let world = two_changes(seed).await;
        world.provider.instead("others", 0, reply);
        for told in [1, 0] {
            let outcome = world.poll().await;
            assert_eq!((outcome.told, outcome.end), (told, End::Asked));
            assert_eq!(outcome.troubles, [("others".to_owned(), trouble.clone())].into());
        }
        world.provider.heal();
        world.platform.advance(100 * MINUTE);
        assert_eq!(world.poll().await.told, 1);
        assert_eq!((world.versions().await, world.told().await.len()), (world.history.clone(), 2));
    }
}

#[tokio::test]
async fn no_content_is_no_trouble_where_records_may_lack() {
    let section = crate::world::SECTION.replace("    records: data\n", "    records: data\n    may_lack: true\n");
    let world = World::with(39, &section, &[("event.objects", "things")]).await;
    world.provider.instead("things", 0, (204, vec![], None));
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.troubles.len(), outcome.end), (0, 0, End::Asked));
}

#[tokio::test]
async fn a_resource_that_fails_from_the_start_is_told_from_the_provisioning_on() {
    let mut world = two_changes(30).await;
    world.provider.instead("others", 0, (500, vec![], None));
    for id in 10..20 {
        world.change("things", id, false);
        world.platform.advance(100 * MINUTE);
        world.poll().await;
    }
    world.provider.heal();
    world.poll().await;
    assert_eq!(world.versions().await, world.history);
}

#[tokio::test]
async fn what_was_read_before_a_failure_is_told_and_the_rest_later() {
    let mut world = World::of(31, "things").await;
    world.several(0..8, 1_000, |_| "things");
    world.provider.instead("things", 2, (503, vec![], None));
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.troubles.len()), (6, 1));
    world.provider.heal();
    assert_eq!(world.poll().await.told, 2);
    assert_eq!((world.versions().await, world.told().await.len()), (world.history.clone(), 8));
}

#[tokio::test]
async fn an_account_that_is_asked_too_much_is_left_alone_as_long_as_it_says() {
    let mut world = World::of(32, "things").await;
    world.several(0..5, 1_000, |_| "things");
    world.provider.instead("things", 1, (429, vec![("retry-after", "7")], Some(json!({}))));
    let outcome = world.poll().await;
    let until = world.now().plus(Duration::from_secs(7));
    assert_eq!((outcome.told, outcome.end), (3, End::PutOff { until }), "what was read is told");
    world.provider.heal();
    world.provider.asked();
    assert_eq!(world.poll().await.end, End::PutOff { until });
    assert_eq!(world.provider.asked().len(), 0);
    world.advance(7_000);
    assert_eq!(world.poll().await.told, 2);
}

#[tokio::test]
async fn a_page_that_says_that_a_grant_is_invalid_fails_and_stops_nothing() {
    let world = two_changes(33).await;
    for resource in ["things", "others"] {
        world.provider.instead(resource, 0, (400, vec![], Some(json!({"error": "invalid_grant"}))));
    }
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.end, world.provider.asked().len()), (0, End::Asked, 2));
    assert!(outcome.troubles.values().all(|trouble| *trouble == Trouble::Unauthorised));
    world.provider.heal();
    assert_eq!(world.poll().await.told, 2);
}

#[tokio::test]
async fn no_page_is_asked_for_beyond_its_time_and_what_was_read_is_told() {
    let world = two_changes(34).await;
    let outcome = world.poll_until(world.now(), world.now().plus(MINUTE)).await;
    assert_eq!((outcome.told, outcome.end, world.provider.asked().len()), (0, End::More, 0));
    assert_eq!(world.poll().await.told, 2);
}

#[tokio::test]
async fn a_slow_resource_does_not_take_all_the_time_of_the_others() {
    let world = two_changes(35).await;
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..20 {
        world.poll().await;
        first.insert(world.provider.asked().remove(0));
    }
    assert_eq!(first.len(), 2, "each is first at times");
}

#[tokio::test]
async fn a_queue_or_a_table_of_ours_that_fails_moves_nothing_and_is_made_up_for_at_once() {
    let world = two_changes(36).await;
    world.platform.batches().fail_next_send([0], QueueError::Throttled);
    let outcome = world.poll().await;
    assert!(matches!(outcome.end, End::Ours(RecordError::Send(_))), "{outcome:?}");
    for write in 0..2 {
        let world = two_changes(37).await;
        if write == 0 {
            world.platform.table().fail_next_write(TableError::Throttled);
        } else {
            // The claim is made, its answer is lost: nobody has it until it runs out.
            world.platform.table().lose_next_answer();
        }
        let outcome = world.poll().await;
        assert_eq!(outcome.told, 0);
        assert!(matches!(outcome.end, End::Ours(RecordError::Table(_))), "{outcome:?}");
        world.platform.advance(10 * MINUTE);
        assert_eq!(world.poll().await.told, 2);
    }
    world.platform.table().fail_next_read(TableError::Throttled);
    assert!(matches!(world.poll().await.end, End::Ours(_)));
    assert_eq!(world.poll().await.end, End::Asked);
    assert_eq!(world.versions().await, world.history);
}

#[tokio::test]
async fn a_resource_that_the_connector_does_not_have_is_a_mistake_of_the_configuration() {
    let section = crate::world::SECTION.replace("\"{objectName}\"", "things").replace("{objectName}", "things");
    let mut world = World::with(38, &section, &[("event.objects", "things, unknown")]).await;
    world.change("things", 1, false);
    world.advance(2_000);
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.end), (1, End::Asked));
    assert!(matches!(&outcome.troubles["unknown"], Trouble::Configuration(text) if text.contains("things")));
}
