//! An instance that is polled: what becomes of its place and of where its polls stood.

use std::collections::BTreeMap;

use events::message::PollJob;
use events::{InstanceId, Message, configuration};
use http::StatusCode;
use platform::Platform as _;
use polling::position::{Place, State};
use polling::tree::Walk;
use records::instances::{self, Derived};
use records::polls::{self, Claimed};
use records::wheel::Minutes;
use serde_json::json;

use crate::world::{CALLBACK, NOW, World};

/// An instance that is polled, and was at least once.
async fn polled(world: &World) -> InstanceId {
    polled_to(world, State::default()).await
}

async fn polled_to(world: &World, state: State) -> InstanceId {
    let provision = instances::Provision {
        name: "polled".into(),
        connector: "hubspot".into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: BTreeMap::from([(configuration::CALLBACK_URL.to_owned(), CALLBACK.to_owned())]),
        secrets: instances::Secrets::new(),
    };
    let derived = Derived { polled: Minutes::new(5), ..Derived::default() };
    let stored = instances::create(&world.platform, &world.owner_account().await, provision, &derived).await.unwrap();
    let standing = polls::read(&world.platform, stored.instance.id).await.unwrap();
    let until = NOW.plus(std::time::Duration::from_secs(60));
    let Claimed::Ours(claim) = polls::claim(&world.platform, &standing, "a test", until).await.unwrap() else {
        panic!("nobody else is there");
    };
    polls::advance(&world.platform, &claim, state).await.unwrap();
    assert_eq!(world.platform.table().items("WHEEL#").len(), 1);
    stored.instance.id
}

#[tokio::test]
async fn what_can_no_longer_be_polled_is_taken_from_the_wheel_by_the_next_change_and_goes_on_where_it_stood() {
    let world = World::new(31_001).await;
    let id = polled(&world).await;
    let reply = world.patch(id, &json!({"name": "changed"})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(world.platform.table().items("WHEEL#"), []);
    assert_eq!(world.platform.table().items("POLL#").len(), 2, "the claim and the state");
    assert!(world.platform.polls().messages().is_empty(), "it is not polled once more");
}

#[tokio::test]
async fn a_deleted_instance_leaves_nothing_of_its_polls() {
    let world = World::new(31_002).await;
    let id = polled(&world).await;
    let reply = world.call(&world.owner, "DELETE", &format!("/instances/{id}"), "").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!((world.platform.table().items("WHEEL#"), world.platform.table().items("POLL#")), (vec![], vec![]));
    assert!(world.platform.polls().messages().is_empty(), "there is nothing that takes long");
}

#[tokio::test]
async fn a_deleted_instance_s_index_is_cleared_by_the_poller_once_no_poll_writes_to_it() {
    let world = World::new(31_003).await;
    let place = Place::Tree(Walk::begin("AAF".into()));
    let id = polled_to(&world, State { places: [("files".to_owned(), place)].into() }).await;
    let reply = world.call(&world.owner, "DELETE", &format!("/instances/{id}"), "").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let jobs = world.platform.polls().messages();
    assert_eq!(jobs.len(), 1);
    let Ok(Message::Poll(PollJob { instance, .. })) = Message::decode(&jobs[0].body) else { panic!("{jobs:?}") };
    assert_eq!(instance, id);
    let soon = world.platform.now().plus(platform::limits::MAX_DELAY / 2);
    assert!(jobs[0].visible_at > soon, "a poll that is under way may write until its claim has run out");
}
