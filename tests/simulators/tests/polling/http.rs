//! Any JSON API, by what an instance configures.

use std::time::Duration;

use events::EventType::{Created, Deleted, Updated};
use polling::verdict::Verdict;
use serde_json::{Value, json};
use simulators::http::{HttpApi, Needs};
use simulators::{Fault, RetryAfter, Simulator, When};

use crate::driver::{Poller, all, at, limited, sorted};

const START: &str = "2026-06-07T08:09:10Z";

/// The ways of paging that the API has: where its records are, and how it goes on.
fn ways() -> Vec<(&'static str, Value)> {
    vec![
        ("cursor/things?limit=2&", json!({"cursor": {"from": "meta.next_cursor", "query": "cursor"}})),
        ("link/things?per_page=2&", json!({"link": {}})),
        ("page/things?per_page=2&", json!({"page": {"query": "page", "first": 1}})),
        ("offset/things?limit=2&", json!({"offset": {"query": "offset"}})),
        ("next/things?limit=2&", json!({"url": {"at": "next"}})),
    ]
}

fn configured(path: &str, paging: &Value) -> Value {
    json!({"things": {
        "url": format!("/{path}include_deleted=true&updated_since=${{gmtDate:yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}}"),
        "idField": "id",
        "datesConfiguration": {"updatedDateField": "updated_at", "createdDateField": "created_at"},
        "deletedField": "deleted_at",
        "pagination": paging,
    }})
}

async fn poller<'s>(api: &'s Simulator<HttpApi>, resources: &Value) -> Poller<'s, HttpApi> {
    let resources = resources.to_string();
    let settings = [("base.url", api.url()), ("event.poller.configuration", &resources)];
    Poller::connected("http", api, &settings, ("api.key", HttpApi::connect)).await
}

fn create(api: &Simulator<HttpApi>, records: usize) -> Vec<String> {
    (0..records)
        .map(|number| {
            let id = api.world(|api| api.create("things", &json!({"number": number})));
            api.clock().advance(Duration::from_millis(1_007));
            id
        })
        .collect()
}

#[tokio::test]
async fn each_change_is_told_once_by_every_way_of_paging() {
    for (path, paging) in ways() {
        let api = HttpApi::start(at(START));
        let old = create(&api, 2);
        let mut poller = poller(&api, &configured(path, &paging)).await.in_steps_of(3);
        assert_eq!(poller.poll().await, [], "{path}: what was there before is not told");
        api.clock().advance(Duration::from_secs(60));
        api.world(|api| api.update("things", &old[0], &json!({"number": 7})));
        let made = create(&api, 5);
        let told = sorted(poller.poll().await);
        assert_eq!(told, [all("things", &old[..1], Updated), all("things", &made, Created)].concat(), "{path}");
        assert_eq!(poller.poll().await, [], "{path}");
        api.world(|api| api.delete("things", &made[1]));
        api.clock().advance(Duration::from_secs(1));
        assert_eq!(poller.poll().await, all("things", &made[1..2], Deleted), "{path}");
        for _ in 0..3 {
            api.clock().advance(Duration::from_secs(400));
            assert_eq!(poller.poll().await, [], "{path}");
        }
    }
}

#[tokio::test]
async fn what_shifts_between_two_pages_is_told_by_the_next_poll_at_the_latest() {
    for (path, paging) in ways() {
        let api = HttpApi::start(at(START));
        create(&api, 1);
        let mut poller = poller(&api, &configured(path, &paging)).await;
        api.clock().advance(Duration::from_secs(5));
        let made = create(&api, 6);
        // Long after: what is skipped lies outside of what is looked at again.
        api.clock().advance(Duration::from_secs(7_200));
        let first = made[0].clone();
        api.plan(
            When::path("things"),
            Fault::after(move |api: &mut HttpApi| api.update("things", &first, &json!({"number": 9}))),
        );
        let mut told = poller.poll().await;
        api.clock().advance(Duration::from_secs(1));
        told.extend(poller.poll().await);
        api.clock().advance(Duration::from_secs(1));
        told.extend(poller.poll().await);
        told.retain(|(_, id, _)| *id != made[0]);
        assert_eq!(sorted(told), all("things", &made[1..], Created), "{path}");
    }
}

#[tokio::test]
async fn a_burst_within_one_moment_is_told_whole() {
    let api = HttpApi::start(at(START));
    create(&api, 1);
    let (path, paging) = ways().remove(3);
    let mut poller = poller(&api, &configured(path, &paging)).await;
    api.clock().advance(Duration::from_millis(90_500));
    let made: Vec<String> = (0..9).map(|_| api.world(|api| api.create("things", &json!({})))).collect();
    assert_eq!(poller.poll().await, [], "the moment is not over by the clock that the API shows, in seconds");
    let more: Vec<String> = (0..3).map(|_| api.world(|api| api.create("things", &json!({})))).collect();
    api.clock().advance(Duration::from_secs(1));
    assert_eq!(sorted(poller.poll().await), all("things", &[made, more].concat(), Created));
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn a_list_that_cannot_be_asked_by_date_is_told_by_its_dates_all_the_same() {
    let api = HttpApi::start(at(START));
    let old = create(&api, 3);
    let resources = json!({"things": {"url": "/offset/things", "recordsField": "items",
        "pagination": {"offset": {"query": "offset"}},
        "datesConfiguration": {"updatedDateField": "updated_at", "createdDateField": "created_at"}}});
    let mut poller = poller(&api, &resources).await;
    api.clock().advance(Duration::from_secs(10));
    let made = create(&api, 25);
    api.world(|api| api.update("things", &old[2], &json!({})));
    api.clock().advance(Duration::from_secs(1));
    let told = sorted(poller.poll().await);
    assert_eq!(told, [all("things", &old[2..], Updated), all("things", &made, Created)].concat());
    api.clock().advance(Duration::from_secs(3_600));
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn requests_say_whose_they_are_as_the_instance_chooses() {
    let (path, paging) = ways().remove(1);
    for (needs, settings, secrets) in [
        (Needs::Nothing, vec![("authentication.type", "none")], vec![]),
        (
            Needs::Header("x-api-key".into(), "k".into()),
            vec![("authentication.type", "header")],
            vec![("api.key", "k")],
        ),
        (
            Needs::Header("x-token".into(), "k".into()),
            vec![("authentication.type", "header"), ("api.key.header", "X-Token")],
            vec![("api.key", "k")],
        ),
        (
            Needs::Parameter("api_key".into(), "k".into()),
            vec![("authentication.type", "query")],
            vec![("api.key", "k")],
        ),
        (
            Needs::Basic("me".into(), "pw".into()),
            vec![("authentication.type", "basic"), ("username", "me")],
            vec![("password", "pw")],
        ),
    ] {
        let api = HttpApi::start(at(START));
        create(&api, 1);
        let resources = configured(path, &paging).to_string();
        let base = [("base.url", api.url()), ("event.poller.configuration", &resources)];
        let mut poller = Poller::start("http", &api, &[&base, settings.as_slice()].concat(), &secrets).await;
        let made = create(&api, 1);
        api.world(|api| api.needs = needs.clone());
        assert_eq!(poller.poll().await, all("things", &made, Created), "{needs:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_page_means_what_http_says() {
    let api = HttpApi::start(at(START));
    create(&api, 1);
    let (path, paging) = ways().remove(0);
    let mut poller = poller(&api, &configured(path, &paging)).await;
    let made = create(&api, 5);
    api.clock().set(at("2026-06-07T08:10:00Z"));
    for (fault, expected) in [
        (Fault::too_many(RetryAfter::Seconds(17)), limited(17)),
        (Fault::too_many(RetryAfter::Date(90)), limited(90)),
        (Fault::too_many(RetryAfter::Unsaid), limited(60)),
        (Fault::broken(502), Verdict::Failed { reason: "status 502".into() }),
        (Fault::ExpireTokens, Verdict::TokenExpired),
    ] {
        api.plan(When::path("things").skip(1), fault);
        let polled = poller.step(0).await;
        assert_eq!((polled.verdict, polled.finished.complete), (expected, false));
        api.heal();
    }
    // A fresh token, and a cursor that expires while it is read.
    assert!(poller.renewed());
    api.plan(When::path("things").skip(1), Fault::before(HttpApi::expire_cursors));
    let polled = poller.step(0).await;
    assert_eq!(polled.verdict, Verdict::Failed { reason: "status 410".into() });
    let rest: Vec<_> = poller.poll().await.into_iter().map(|(_, id, _)| id).collect();
    assert!(rest.len() < made.len() && made.ends_with(&rest), "what was read before it was told: {rest:?}");
}
