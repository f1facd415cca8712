//! Over real sockets: the house's client against an API that pages, fails and points elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use egress::{Client, Limits, Policy};
use events::Timestamp;
use events::configuration::POLLER_CONFIGURATION;
use pollhook_poller::Slots;
use pollhook_poller::poll::{End, Fetch, Outcome, Trouble, Worker, poll_instance};
use polling::definition::Method;
use polling::request::{Credential, Request};
use serde_json::{Value, json};
use simulators::http::{HttpApi, Needs};
use simulators::{Answer, Fault, RetryAfter, Simulator, When};

use crate::world::{MINUTE, START, World};

const SECTION: &str = r#"
base_url: "{base.url}"
authentication:
  api_key: { header: authorization, prefix: "Bearer ", setting: api.key }
overlap: 60
"#;

/// An API, and an instance that polls its things in one way.
async fn start(seed: u64, resource: Value) -> (Simulator<HttpApi>, World, Client) {
    start_with(seed, SECTION, resource).await
}

async fn start_with(seed: u64, section: &str, resource: Value) -> (Simulator<HttpApi>, World, Client) {
    let api = HttpApi::start(START);
    api.world(|api| {
        api.needs = Needs::Header("authorization".into(), "Bearer s3cret".into());
        api.page_size = 2;
        api.largest_page = 2;
        // So that the collection is there.
        api.create("things", &json!({}));
    });
    let resource = json!({"things": resource}).to_string();
    let settings = [("base.url", api.url()), (POLLER_CONFIGURATION, resource.as_str())];
    let world = World::with(seed, section, &settings).await;
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap()], None);
    let client = Client::new(policy, Limits::fetching()).unwrap();
    (api, world, client)
}

fn resource(way: &str, more: &Value) -> Value {
    let url = format!("/{way}/things?include_deleted=true&updated_since=${{gmtDate:yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}}");
    let mut resource = json!({"url": url, "idField": "id", "datesConfiguration": {
        "updatedDateField": "updated_at", "updatedDateFormat": "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'",
        "createdDateField": "created_at", "createdDateFormat": "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"}});
    for (name, value) in more.as_object().unwrap() {
        resource[name] = value.clone();
    }
    resource
}

fn ways() -> [(&'static str, Value); 5] {
    [
        (
            "cursor",
            json!({"recordsField": "data", "pagination": {"cursor": {"from": "meta.next_cursor", "query": "cursor"}}}),
        ),
        ("link", json!({"pagination": {"link": {}}})),
        ("page", json!({"recordsField": "results", "pagination": {"page": {"query": "page", "first": 1}}})),
        ("offset", json!({"recordsField": "items", "pagination": {"offset": {"query": "offset"}}})),
        ("next", json!({"recordsField": "value", "pagination": {"url": {"at": "next"}}})),
    ]
}

/// Both clocks are turned.
fn pass(api: &Simulator<HttpApi>, world: &World, millis: u64) {
    world.advance(millis);
    api.clock().set(world.now());
}

/// What a poll may take that waits for its provider, whatever it would come to: hundreds wait at a time.
const POLL_BYTES: usize = 9 * 1024;

async fn poll(world: &World, client: &Client) -> Outcome {
    let known = |_: &str| Some(&world.polling);
    let (asks_until, claims_until): (Timestamp, Timestamp) = (world.now().plus(MINUTE), world.now().plus(2 * MINUTE));
    let worker = Worker {
        platform: &world.platform,
        fetch: client,
        polling: &known,
        account_key: &|_, account| account.to_owned(),
        accounts: &world.accounts,
        queries: &world.queries,
        slot: &Slots::new(1).take().await,
        asked: true,
        name: "me",
        asks_until,
        claims_until,
    };
    let poll = poll_instance(&worker, world.instance);
    assert!(std::mem::size_of_val(&poll) < POLL_BYTES, "{}", std::mem::size_of_val(&poll));
    poll.await
}

async fn ids(world: &World) -> Vec<String> {
    let mut ids: Vec<String> = world
        .told()
        .await
        .into_iter()
        .map(|event| format!("{} {}", event.object_id, event.event_type.as_str()))
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn every_way_of_paging_tells_exactly_the_changes() {
    for (seed, (way, more)) in (400..).zip(ways()) {
        let (api, world, client) = start(seed, resource(way, &more)).await;
        for n in 0..7 {
            pass(&api, &world, 700);
            api.world(|api| api.create("things", &json!({"n": n})));
        }
        pass(&api, &world, 2_000);
        let outcome = poll(&world, &client).await;
        assert_eq!((outcome.told, outcome.troubles.len(), outcome.end), (8, 0, End::Asked), "{way}");
        api.world(|api| api.update("things", "3", &json!({"n": 30})));
        pass(&api, &world, 2_000);
        for _ in 0..3 {
            poll(&world, &client).await;
        }
        let created = (1..=8).map(|id| format!("{id} CREATED"));
        let mut expected: Vec<String> = created.chain(["3 UPDATED".to_owned()]).collect();
        expected.sort();
        assert_eq!(ids(&world).await, expected, "{way}");
        assert_eq!(world.versions().await.len(), 9);
    }
}

#[tokio::test]
async fn the_credentials_stay_at_home_when_a_page_or_a_redirect_points_elsewhere() {
    let elsewhere = HttpApi::start(START);
    elsewhere.world(|api| api.needs = Needs::Nothing);
    let (_, more) = ways().into_iter().find(|(way, _)| *way == "next").unwrap();
    let (api, world, client) = start(410, resource("next", &more)).await;
    pass(&api, &world, 2_000);
    let next = format!("{}/next/things", elsewhere.url());
    let lured = json!({"value": [], "next": next});
    let moved = Answer::empty(302).with("location", &next);
    for (answer, said) in [(Answer::json(200, &lured), "credentials"), (moved, "credentials")] {
        api.plan(When::next(), Fault::Answer(answer));
        let outcome = poll(&world, &client).await;
        let Trouble::Theirs(text) = &outcome.troubles["things"] else { panic!("{outcome:?}") };
        assert!(text.contains(said) && text.contains(elsewhere.url()) && !text.contains("s3cret"), "{text}");
    }
    assert!(elsewhere.served().is_empty(), "nobody else was asked at all");
    let home = Answer::empty(307).with("location", "/next/things");
    api.plan(When::next(), Fault::Answer(home));
    assert_eq!(poll(&world, &client).await.told, 1, "at home it is followed");
}

#[tokio::test]
async fn a_request_that_is_not_at_its_base_is_not_sent_whoever_planned_it() {
    let (_, more) = &ways()[0];
    let (api, _, client) = start(415, resource("cursor", more)).await;
    let credential = Credential::Header("authorization".into(), "Bearer s3cret".into());
    let (method, headers, body, chosen) = (Method::Get, BTreeMap::new(), None, false);
    let url = format!("{}/cursor/things", api.url());
    let mut request = Request { base: "http://127.0.0.1:1/api".into(), method, url, headers, body, chosen };
    let trouble = Fetch::fetch(&client, &request, Some(&credential)).await.unwrap_err();
    assert!(matches!(&trouble, Trouble::Theirs(text) if text.contains("credentials")), "{trouble:?}");
    assert!(api.served().is_empty());
    for base in ["", "ftp://127.0.0.1", "things"] {
        request.base = base.into();
        let trouble = Fetch::fetch(&client, &request, Some(&credential)).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Configuration(_)), "{base}: {trouble:?}");
    }
    request.base = api.url().to_owned();
    assert_eq!(Fetch::fetch(&client, &request, Some(&credential)).await.unwrap().status, 200);
    let unsendable = Credential::Header("authorization".into(), "Bearer s3cret\n".into());
    let trouble = Fetch::fetch(&client, &request, Some(&unsendable)).await.unwrap_err();
    assert!(!format!("{trouble} {trouble:?}").contains("s3cret"), "{trouble:?}");
}

#[tokio::test]
async fn what_the_provider_does_is_told_apart() {
    let (_, more) = &ways()[0];
    let (api, world, client) = start(411, resource("cursor", more)).await;
    pass(&api, &world, 2_000);
    api.plan(When::next(), Fault::too_many(RetryAfter::Seconds(30)));
    let until = world.now().plus(Duration::from_secs(30));
    assert_eq!(poll(&world, &client).await.end, End::PutOff { until });
    pass(&api, &world, 30_000);
    for (fault, part) in [
        (Fault::broken(502), "status 502"),
        (Fault::HangUpBefore, "no valid answer"),
        (Fault::CutAfter(10), "no valid answer"),
        (Fault::Answer(Answer::new(200, "text/html", "<html>")), "no JSON"),
    ] {
        api.plan(When::next(), fault);
        let outcome = poll(&world, &client).await;
        assert!(outcome.troubles["things"].to_string().contains(part), "{part}: {outcome:?}");
    }
    api.world(|api| api.needs = Needs::Basic("other".into(), "one".into()));
    let outcome = poll(&world, &client).await;
    assert_eq!(outcome.troubles["things"], Trouble::Unauthorised);
    api.world(|api| api.needs = Needs::Nothing);
    assert_eq!(poll(&world, &client).await.told, 1, "nothing of it was in the way");
}

#[tokio::test]
async fn a_key_in_the_query_and_a_password_are_shown_where_they_belong() {
    let by_key = SECTION.replace("header: authorization, prefix: \"Bearer \"", "query: key");
    let by_password = SECTION.replace(
        "api_key: { header: authorization, prefix: \"Bearer \", setting: api.key }",
        "basic: { password: api.key }",
    );
    for (seed, section, needs) in [
        (412, by_key, Needs::Parameter("key".into(), "s3cret".into())),
        (413, by_password, Needs::Basic(String::new(), "s3cret".into())),
    ] {
        let (way, more) = &ways()[1];
        let (api, world, client) = start_with(seed, &section, resource(way, more)).await;
        api.world(|api| {
            api.needs = needs;
            for n in 0..4 {
                api.create("things", &json!({"n": n}));
            }
        });
        pass(&api, &world, 2_000);
        let outcome = poll(&world, &client).await;
        assert_eq!((outcome.told, outcome.troubles.len()), (5, 0), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_for_customers_to_ask_is_not_asked() {
    let (_, more) = &ways()[0];
    let (api, world, _) = start(414, resource("cursor", more)).await;
    let client = Client::new(Policy::default(), Limits::fetching()).unwrap();
    let outcome = poll(&world, &client).await;
    let trouble = &outcome.troubles["things"];
    assert!(matches!(trouble, Trouble::Configuration(text) if text.contains("loopback")), "{trouble:?}");
    assert!(api.served().is_empty());
}
