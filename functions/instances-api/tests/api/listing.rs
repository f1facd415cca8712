//! Listing, searching and counting instances.

use std::collections::BTreeSet;

use http::StatusCode;
use platform::{Platform as _, TableError};
use serde_json::{Value, json};

use crate::world::{Reply, World, id};

async fn make(world: &World, name: &str, connector: &str, tags: &[&str]) -> u64 {
    let body = json!({"name": name, "element": {"key": connector}, "tags": tags, "configuration": {"a": "1"}});
    let reply = world.post(&body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.json["id"].as_u64().unwrap()
}

fn ids(reply: &Reply) -> BTreeSet<u64> {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.json.as_array().unwrap().iter().map(|instance| instance["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_account_lists_its_own_instances_as_each_reads_by_itself() {
    let world = World::new(90).await;
    let (a, b) = (make(&world, "A", "hubspot", &["x"]).await, make(&world, "B", "standard", &[]).await);
    let theirs = json!({"name": "C", "element": {"key": "hubspot"}}).to_string();
    world.call(&world.stranger, "POST", "/instances", theirs).await;
    let all = world.get("/instances").await;
    assert_eq!(ids(&all), [a, b].into());
    assert_eq!(all.header("elements-returned-count"), Some("2"));
    assert_eq!(all.header("elements-total-count"), Some("2"));
    assert_eq!(all.header("elements-next-page-token"), None);
    for instance in all.json.as_array().unwrap() {
        assert_eq!(world.get(&format!("/instances/{}", id(instance))).await.json, *instance);
    }
    let bare = world.get("/instances?hydrate=false").await;
    assert_eq!(ids(&bare), [a, b].into());
    for instance in bare.json.as_array().unwrap() {
        assert!(
            instance.get("configuration").is_none() && instance["token"].is_string() && instance["tags"].is_array()
        );
    }
    assert_eq!(world.get("/instances/count").await.json, json!({"count": 2}));
}

#[tokio::test]
async fn filters_narrow_and_what_nothing_matches_is_404() {
    let world = World::new(91).await;
    let acme = make(&world, "Acme Müller", "hubspot", &["gold", "eu west"]).await;
    let other = make(&world, "Other", "standard", &["gold", "acme-fan"]).await;
    for (query, expected) in [
        ("tags[]=gold", vec![acme, other]),
        ("tags%5B%5D=gold&tags%5B%5D=eu%20west", vec![acme]),
        ("tags=acme-fan", vec![other]),
        ("searchText=ACME", vec![acme, other]),
        ("searchText=m%C3%BCLL", vec![acme]),
        ("searchText=HubSp", vec![acme]),
        ("searchText=", vec![acme, other]),
        (&format!("searchText={other}"), vec![other]),
        ("searchText=acme&tags[]=acme-fan", vec![other]),
    ] {
        let reply = world.get(&format!("/instances?{query}")).await;
        assert_eq!(ids(&reply), expected.into_iter().collect(), "{query}");
    }
    for query in ["tags[]=gol", "tags[]=Gold", "tags[]=gold&tags[]=no", "searchText=nobody", "searchText=acme&tags[]=x"]
    {
        let reply = world.get(&format!("/instances?{query}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{query}");
        assert_eq!(reply.message(), "there is no instance, or none that the filters match", "{query}");
    }
    let nobody = world.call(&world.stranger, "GET", "/instances", "").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    assert_eq!(world.call(&world.stranger, "GET", "/instances/count", "").await.json, json!({"count": 0}));
}

/// All pages of a query.
async fn pages(world: &World, query: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = String::new();
    loop {
        let reply = world.get(&format!("/instances?{query}{next}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        let page = reply.json.as_array().unwrap().clone();
        assert_eq!(reply.header("elements-returned-count"), Some(page.len().to_string().as_str()));
        pages.push(page);
        let Some(token) = reply.header("elements-next-page-token") else { return pages };
        assert_eq!(reply.header("elements-total-count"), None);
        next = format!("&nextPage={token}");
    }
}

#[tokio::test]
async fn pages_hold_each_instance_once_whatever_is_made_or_deleted_in_between() {
    let world = World::new(92).await;
    let mut all = BTreeSet::new();
    for n in 0..7 {
        all.insert(make(&world, &format!("n{n}"), "hubspot", if n % 2 == 0 { &["even"] } else { &[] }).await);
    }
    for (query, sizes) in [
        ("pageSize=3", vec![3, 3, 1]),
        ("pageSize=7", vec![7]),
        ("pageSize=300", vec![7]),
        ("pageSize=3&tags[]=even", vec![3, 1]),
        ("pageSize=1&searchText=n", vec![1; 7]),
    ] {
        let pages = pages(&world, query).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{query}");
        let listed: Vec<u64> = pages.iter().flatten().map(|instance| instance["id"].as_u64().unwrap()).collect();
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
        assert!(listed.iter().all(|id| all.contains(id)));
    }
    // A page that begins after one that is gone.
    let first = world.get("/instances?pageSize=2").await;
    let last = id(&first.json[1]);
    world.call(&world.owner, "DELETE", &format!("/instances/{last}"), "").await;
    let token = first.header("elements-next-page-token").unwrap();
    let rest = world.get(&format!("/instances?nextPage={token}")).await;
    assert_eq!(ids(&first).union(&ids(&rest)).copied().collect::<BTreeSet<_>>(), all);
    // Past the end there is an empty page, not a missing one.
    let end = world.get("/instances?tags[]=none&nextPage=999999999").await;
    assert_eq!((end.status, end.json), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn a_request_looks_at_a_bounded_number_and_says_how_to_go_on() {
    let world = World::new(93).await;
    for n in 0..1003 {
        make(&world, &format!("n{n}"), "hubspot", &[]).await;
    }
    let reply = world.get("/instances?searchText=nobody").await;
    assert_eq!((reply.status, &reply.json), (StatusCode::OK, &json!([])));
    let token = reply.header("elements-next-page-token").unwrap();
    let reply = world.get(&format!("/instances?searchText=nobody&nextPage={token}")).await;
    assert_eq!((reply.status, reply.header("elements-next-page-token")), (StatusCode::OK, None));
    let pages = pages(&world, "hydrate=false&searchText=n").await;
    assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 1003);
    assert!(pages.iter().all(|page| page.len() <= 200));
    assert_eq!(world.get("/instances/count").await.json, json!({"count": 1003}));
}

#[tokio::test]
async fn a_page_ends_early_where_configurations_are_large() {
    let world = World::new(94).await;
    for n in 0..13 {
        let large: serde_json::Map<_, _> = (0..3).map(|key| (format!("k{key}"), json!("x".repeat(60_000)))).collect();
        let body = json!({"name": format!("n{n}"), "element": {"key": "hubspot"}, "configuration": large});
        assert_eq!(world.post(&body).await.status, StatusCode::OK);
    }
    let sizes: Vec<usize> = pages(&world, "").await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [11, 2]);
}

#[tokio::test]
async fn what_a_query_does_not_take_is_refused_by_name() {
    let world = World::new(95).await;
    make(&world, "A", "hubspot", &[]).await;
    for (query, named) in [
        ("pageSize=0", "pageSize"),
        ("nextPage=x", "nextPage"),
        ("pageOffset=200", "pageOffset"),
        ("hydrate=maybe", "hydrate"),
        ("searchText=a&searchText=b", "searchText"),
    ] {
        let reply = world.get(&format!("/instances?{query}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(reply.message().starts_with(named), "{}", reply.message());
    }
    let reply = world.get("/instances/count?tags[]=x").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    world.platform.table().fail_next_read(TableError::Throttled);
    assert_eq!(world.get("/instances").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
