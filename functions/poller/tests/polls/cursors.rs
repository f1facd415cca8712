//! Providers that keep the place themselves.

use pollhook_poller::poll::{End, Trouble};
use serde_json::{Value, json};

use crate::world::World;

/// As Dropbox: a cursor of now to begin with, and a page for each cursor.
const SECTION: &str = r#"
base_url: https://api.example/v1
authentication:
  api_key: { header: x-api-key, setting: api.key }
signs:
  - { status: 409, means: reset }
resources:
  files:
    method: POST
    path: /list
    start: /latest
    body: { path: "" }
    paging: { cursor: { from: cursor, body: cursor, more: has_more, path: /continue, alone: true } }
    records: entries
    id: id
    updated: { at: at }
    version: rev
"#;

fn page(cursor: &str, ids: &[&str], more: bool) -> Option<Value> {
    let entries: Vec<Value> =
        ids.iter().map(|id| json!({"id": id, "rev": "1", "at": "2026-09-21T14:13:25Z"})).collect();
    Some(json!({"entries": entries, "cursor": cursor, "has_more": more}))
}

async fn world(seed: u64) -> World {
    let world = World::with(seed, SECTION, &[("event.objects", "files")]).await;
    world.provider.instead("latest", 0, (200, vec![], Some(json!({"cursor": "A"}))));
    world
}

#[tokio::test]
async fn a_place_that_is_a_cursor_is_begun_with_now_and_kept() {
    let world = world(300).await;
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.end, world.places().await.len()), (0, End::Asked, 1));
    world.provider.instead("continue", 0, (200, vec![], page("A", &[], false)));
    let writes = world.platform.acts().len();
    assert_eq!(world.poll().await.told, 0);
    assert_eq!(world.platform.acts().len(), writes, "nothing new, nothing written");
    world.provider.instead("continue", 0, (200, vec![], page("B", &["1", "2"], false)));
    assert_eq!(world.poll().await.told, 2);
    world.provider.instead("continue", 0, (200, vec![], page("B", &[], false)));
    assert_eq!(world.poll().await.told, 0);
    assert_eq!(world.provider.asked(), ["latest", "continue", "continue", "continue"]);
}

#[tokio::test]
async fn without_a_cursor_to_begin_with_nothing_is_stored_and_the_next_poll_tries_again() {
    for reply in [(500, vec![], None), (200, vec![], Some(json!({}))), (409, vec![], Some(json!({})))] {
        let world = world(301).await;
        world.provider.instead("latest", 0, reply);
        let outcome = world.poll().await;
        assert!(matches!(&outcome.troubles["files"], Trouble::Theirs(_)), "{outcome:?}");
        assert_eq!((world.places().await.len(), world.provider.asked()), (0, vec!["latest".to_owned()]));
    }
}

#[tokio::test]
async fn a_cursor_that_died_is_said_and_begun_anew() {
    let world = world(302).await;
    world.poll().await;
    world.provider.instead("continue", 0, (409, vec![], Some(json!({}))));
    world.provider.instead("latest", 0, (200, vec![], Some(json!({"cursor": "N"}))));
    let outcome = world.poll().await;
    assert!(outcome.troubles["files"].to_string().contains("cannot be told"), "{outcome:?}");
    world.provider.instead("continue", 0, (200, vec![], page("O", &["3"], false)));
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.troubles.len()), (1, 0));
}

#[tokio::test]
async fn what_is_found_is_told_also_where_the_cursor_stays() {
    let world = world(304).await;
    world.poll().await;
    world.provider.instead("continue", 0, (200, vec![], page("A", &["1"], false)));
    assert_eq!(world.poll().await.told, 1);
    assert_eq!(world.poll().await.told, 1, "again, since nothing says that it was told");
    assert_eq!(world.versions().await.len(), 1);
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_ends_the_poll() {
    let world = world(303).await;
    world.poll().await;
    world.provider.instead("continue", 0, (200, vec![], page("A", &["1"], true)));
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.end), (1, End::Asked));
    assert!(outcome.troubles["files"].to_string().contains("read before"), "{:?}", outcome.troubles);
    assert_eq!(world.provider.asked(), ["latest", "continue", "continue"]);
}
