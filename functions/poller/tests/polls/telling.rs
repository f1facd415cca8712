//! What is told, and when nothing is written.

use std::collections::BTreeSet;
use std::time::Duration;

use events::{EventType, Source};
use platform::{Platform as _, Table as _};
use pollhook_poller::poll::{End, Trouble, Unpolled};
use serde_json::json;

use crate::world::{MINUTE, SECTION, START, World};

#[tokio::test]
async fn exactly_what_changed_is_told_with_its_kind() {
    let mut world = World::of(1, "things, others").await;
    world.change("things", 1, false);
    world.advance(1);
    world.change("others", 2, false);
    world.advance(2_000);
    let outcome = world.poll().await;
    assert_eq!((outcome.told, &outcome.end, outcome.troubles.len()), (2, &End::Asked, 0));
    world.change("things", 1, false);
    world.change("things", 3, false);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 2);
    world.change("things", 1, true);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1);
    assert_eq!(world.poll().await.told, 0);
    let told: BTreeSet<_> =
        world.told().await.into_iter().map(|e| (e.object_type, e.object_id, e.event_type.as_str())).collect();
    let expected = [
        ("others", "2", "CREATED"),
        ("things", "1", "CREATED"),
        ("things", "1", "DELETED"),
        ("things", "1", "UPDATED"),
        ("things", "3", "CREATED"),
    ];
    assert_eq!(told, expected.map(|(kind, id, what)| (kind.into(), id.into(), what)).into());
    assert_eq!((world.versions().await, world.told().await.len()), (world.history.clone(), 5));
    let keys = world.provider.look(|state| state.keys.clone());
    assert_eq!(keys, [Some("x-api-key: s3cret".to_owned())].into());
}

#[tokio::test]
async fn what_changed_before_the_provisioning_is_not_told_and_what_changed_at_it_is() {
    let mut world = World::of(2, "things").await;
    world.change("things", 1, false);
    world.provider.look(|state| state.objects.values_mut().for_each(|record| record.updated = START.minus(MINUTE)));
    world.change("things", 2, false);
    world.advance(30 * 60_000);
    assert_eq!(world.poll().await.told, 1);
    assert_eq!(world.told().await[0].object_id, "2");
}

#[tokio::test]
async fn what_changed_before_the_provisioning_is_told_to_who_asks_for_it_as_far_back_as_they_say() {
    let since = START.minus(10 * MINUTE).iso_seconds();
    let settings = [("event.objects", "things"), ("event.poller.since", since.as_str())];
    let mut world = World::with(3, SECTION, &settings).await;
    for (id, minutes) in [(1, 11), (2, 9), (3, 0)] {
        world.change("things", id, false);
        let key = ("things".to_owned(), id);
        world.provider.look(|state| state.objects.get_mut(&key).unwrap().updated = START.minus(minutes * MINUTE));
    }
    world.advance(2_000);
    assert_eq!((world.poll().await.told, world.poll().await.told), (2, 0));
    assert_eq!(world.told().await.into_iter().map(|event| event.object_id).collect::<Vec<_>>(), ["2", "3"]);
}

#[tokio::test]
async fn what_changed_in_the_second_of_the_provisioning_is_told_though_it_is_dated_by_the_second() {
    let mut world = World::of(12, "things").await;
    world.change("things", 1, false);
    world.change("things", 2, false);
    let dated = |id, millis| {
        let key = ("things".to_owned(), id);
        let at = START.minus(Duration::from_millis(millis));
        world.provider.look(|state| state.objects.get_mut(&key).unwrap().updated = at);
    };
    dated(1, 999);
    dated(2, 1_001);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1);
    assert_eq!(world.told().await[0].object_id, "1");
}

#[tokio::test]
async fn a_notification_has_ten_events_and_the_contract_s_body() {
    let mut world = World::of(3, "things").await;
    world.several(0..25, 1, |_| "things");
    let start = world.now();
    assert_eq!(world.poll().await.told, 25);
    let batches = world.batches().await;
    assert_eq!(batches.iter().map(|batch| batch.events.len()).collect::<Vec<_>>(), [10, 10, 5]);
    for batch in &batches {
        assert_eq!((batch.source, batch.accepted_at, batch.instance), (Source::Poll, start, world.instance));
        assert_eq!((batch.connector.as_str(), batch.hub.as_str()), ("api", "crm"));
        let raw: serde_json::Value = serde_json::from_slice(&batch.raw).unwrap();
        assert_eq!(raw["things"].as_array().unwrap().len(), batch.events.len());
        let event = &batch.events[0];
        assert_eq!(
            raw["events"][0],
            json!({"objectType": "things", "objectId": event.object_id, "eventType": "CREATED", "elementKey": "api",
                   "hubKey": "crm", "date": event.date.unwrap().iso_seconds(), "pollDate": start.iso_seconds()})
        );
        assert_eq!(raw["pollDate"], json!(start.as_millis()));
    }
    let ids: Vec<u32> = world.told().await.iter().map(|event| event.object_id.parse().unwrap()).collect();
    assert_eq!(ids, (0..25).collect::<Vec<_>>(), "in the provider's order");
}

#[tokio::test]
async fn a_large_record_travels_beside_its_message() {
    let mut world = World::of(4, "things").await;
    world.note("things", 1, false, &"x".repeat(600 * 1024));
    world.change("things", 2, false);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 2);
    assert!(world.platform.batches().messages().iter().all(|held| held.body.len() < 64 * 1024));
    assert_eq!(world.versions().await, world.history);
}

#[tokio::test]
async fn an_idle_poll_asks_once_for_each_resource_and_writes_nothing() {
    let mut world = World::of(5, "things, others").await;
    world.change("things", 1, false);
    world.advance(2_000);
    world.poll().await;
    world.provider.asked();
    world.restart();
    for _ in 0..59 {
        world.platform.advance(MINUTE);
        let outcome = world.poll().await;
        assert_eq!((outcome.told, outcome.end), (0, End::Asked));
        let asked: BTreeSet<String> = world.provider.asked().into_iter().collect();
        assert_eq!(asked, ["others".to_owned(), "things".to_owned()].into());
        assert_eq!(world.platform.acts(), [""; 0]);
    }
    for _ in 0..3 {
        world.platform.advance(MINUTE);
        world.poll().await;
    }
    let instance = world.instance;
    let moved = [
        format!("put POLL#{instance}/CLAIM"),
        format!("transact put POLL#{instance}/CLAIM, put POLL#{instance}/STATE"),
    ];
    assert_eq!(world.platform.acts(), moved, "an idle position moves once an hour");
}

#[tokio::test]
async fn an_instance_that_never_had_news_shows_that_it_is_polled_and_is_idle_from_its_first_poll_on() {
    let world = World::of(6, "things").await;
    assert_eq!((world.poll().await.told, world.places().await), (0, vec!["things".to_owned()]));
    let acts = world.platform.acts();
    for _ in 0..59 {
        world.platform.advance(MINUTE);
        assert_eq!(world.poll().await.end, End::Asked);
    }
    assert_eq!(world.platform.acts(), acts);
}

#[tokio::test]
async fn what_the_instance_does_not_want_is_not_told_now_or_later() {
    let metadata = r#"{"polling":{"things":{"eventTypes":["created"]}}}"#;
    let settings = [("event.objects", "things"), ("event.metadata", metadata)];
    let mut world = World::with(7, crate::world::SECTION, &settings).await;
    world.change("things", 1, false);
    world.change("things", 2, true);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1);
    assert_eq!(world.poll().await.told, 0);
    assert_eq!(world.told().await[0].event_type, EventType::Created);
}

#[tokio::test]
async fn records_that_tell_nothing_are_counted() {
    let world = World::of(11, "things").await;
    let updated = START.iso_millis();
    let body = json!({"data": [{"updatedAt": updated}, {"id": 2, "updatedAt": updated}], "next": null});
    world.provider.instead("things", 0, (200, vec![], Some(body)));
    world.advance(2_000);
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.left_out), (1, 1));
}

#[tokio::test]
async fn where_not_one_record_is_understood_it_is_trouble_and_the_place_stays_until_they_are() {
    let mut world = World::of(12, "things").await;
    world.advance(60_000);
    assert_eq!(world.poll().await.told, 0);
    let place = async |world: &World| records::polls::read(&world.platform, world.instance).await.unwrap().state;
    let before = place(&world).await;
    world.change("things", 1, true);
    world.advance(2 * 3_600_000);
    let updated = world.now().iso_millis();
    let body = json!({"data": [{"uid": 1, "updatedAt": updated}, {"uid": 2, "updatedAt": updated}], "next": null});
    world.provider.instead("things", 0, (200, vec![], Some(body)));
    let outcome = world.poll().await;
    let trouble = Trouble::Theirs("of the 2 records of its answer none has an id at id".into());
    assert_eq!((outcome.troubles["things"].clone(), outcome.told), (trouble, 0));
    assert_eq!(place(&world).await, before, "an hour and more has passed, and would have moved it");
    world.provider.heal();
    world.advance(120_000);
    assert_eq!(world.poll().await.told, 1);
}

#[tokio::test]
async fn a_date_to_come_is_no_reason_to_tell_nothing_until_then() {
    let mut world = World::of(13, "things").await;
    world
        .configure(|instance, _| {
            instance.configuration.insert("event.poller.since".into(), "2099-01-01T00:00:00Z".into());
        })
        .await;
    assert_eq!(world.poll().await.told, 0);
    world.advance(2_000);
    world.change("things", 1, true);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1);
}

#[tokio::test]
async fn who_is_not_to_be_polled_is_not() {
    let world = World::of(8, "things").await;
    let end = async |change: fn(&mut records::instances::Instance, &mut records::instances::Secrets)| {
        world.configure(change).await;
        world.poll().await.end
    };
    let disabled = End::Unpolled(Unpolled::Disabled);
    assert_eq!(end(|instance, _| instance.disabled = true).await, disabled);
    let off = |instance: &mut records::instances::Instance, _: &mut records::instances::Secrets| {
        instance.configuration.insert("event.notification.enabled".into(), "false".into());
    };
    assert_eq!(end(off).await, disabled);
    assert_eq!(end(|instance, _| instance.connector = "other".into()).await, End::Unpolled(Unpolled::Connector));
    assert_eq!(
        end(|_, secrets| secrets.clear()).await,
        End::NoCredential("api.key has no value in the instance's configuration".into())
    );
    let delete = records::plans::delete(world.instance);
    world.platform.table().write(delete).await.unwrap();
    assert_eq!(world.poll().await.end, End::Unpolled(Unpolled::Deleted));
    assert_eq!(world.provider.asked(), [""; 0]);
}

#[tokio::test]
async fn a_resource_that_is_added_begins_before_it_was_added_and_not_at_the_provisioning() {
    let mut world = World::of(9, "things").await;
    world.change("others", 1, false);
    world.platform.advance(24 * 60 * MINUTE);
    world.change("things", 2, false);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1);
    world.advance(5_000);
    world.change("others", 3, false);
    world
        .configure(|instance, _| {
            instance.configuration.insert("event.objects".into(), "things, others".into());
        })
        .await;
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1);
    assert_eq!(world.told().await[1].object_id, "3");
    assert_eq!(world.places().await, ["others", "things"]);
    world
        .configure(|instance, _| {
            instance.configuration.insert("event.objects".into(), "others".into());
        })
        .await;
    world.change("others", 4, false);
    world.advance(2_000);
    world.poll().await;
    assert_eq!(world.places().await, ["others"], "what is no longer configured is forgotten");
}

#[tokio::test]
async fn a_mistake_in_a_configuration_does_not_make_its_polls_begin_anew() {
    let mut world = World::of(10, "things").await;
    world.change("things", 1, false);
    world.advance(2_000);
    world.poll().await;
    let set = async |text: &str| {
        let text = text.to_owned();
        world
            .configure(|instance, _| {
                instance.configuration.insert("event.poller.configuration".into(), text);
            })
            .await;
    };
    set(r#"{"things": {"pageSize": "many"}, "others": {}}"#).await;
    world.platform.advance(Duration::from_secs(3 * 3600));
    let outcome = world.poll().await;
    assert!(outcome.troubles["things"].to_string().contains("pageSize"), "{outcome:?}");
    set("{").await;
    let outcome = world.poll().await;
    assert!(outcome.troubles[""].to_string().contains("event.poller.configuration"), "{outcome:?}");
    set("").await;
    assert_eq!(world.poll().await.told, 0);
}
