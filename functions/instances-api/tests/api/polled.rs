//! An instance that is polled: what becomes of its place and of where its polls stood.

use std::collections::BTreeMap;

use events::{InstanceId, configuration};
use http::StatusCode;
use platform::Platform as _;
use records::instances::{self, Derived};
use records::polls::{self, Claimed};
use records::wheel::Minutes;
use serde_json::json;

use crate::world::{CALLBACK, NOW, World};

/// An instance that is polled, and was at least once.
async fn polled(world: &World) -> InstanceId {
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
    polls::advance(&world.platform, &claim, standing.state).await.unwrap();
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
}
