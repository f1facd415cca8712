//! What goes wrong goes wrong when a test wants it to, and a test sees what was asked.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Caller, at};
use http::Method;
use serde_json::json;
use simulators::http::{HttpApi, Needs};
use simulators::{Answer, Authorization, Fault, Gate, Outcome, Request, RetryAfter, Simulator, When};

const START: &str = "2026-06-07T08:09:10Z";

fn start() -> (Simulator<HttpApi>, Caller) {
    let api = HttpApi::start(at(START));
    api.world(|api| {
        api.needs = Needs::Nothing;
        api.create("things", &json!({}));
    });
    let caller = Caller::new(api.url(), "token");
    (api, caller)
}

#[tokio::test]
async fn a_fault_concerns_the_requests_that_it_names_and_no_others() {
    let (api, caller) = start();
    api.plan(When::path("/link/").method(Method::GET).skip(1).times(2), Fault::broken(503));
    let mut statuses = Vec::new();
    for path in ["/link/things", "/next/things", "/link/things", "/page/things", "/link/things", "/link/things"] {
        statuses.push(caller.get(path).await.status);
    }
    assert_eq!(statuses, [200, 200, 503, 200, 503, 200]);
    assert_eq!(caller.post("/link/things", &json!({})).await.status, 404);
    // Two plans for one request: the first that answers answers, and each counts by itself.
    api.plan(When::next().times(2), Fault::too_many(RetryAfter::Unsaid));
    api.plan(When::next(), Fault::Answer(Answer::new(200, "text/html", "<html>maintenance</html>")));
    api.plan(When::next().skip(2), Fault::broken(500));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(caller.get("/next/things").await.status);
    }
    assert_eq!(statuses, [429, 429, 500, 200]);
    api.plan(When::next().forever(), Fault::HangUpBefore);
    assert!(caller.try_get("/next/things").await.is_err());
    api.heal();
    assert_eq!(caller.get("/next/things").await.status, 200);
}

#[tokio::test]
async fn whoever_hangs_up_after_the_work_has_done_it() {
    let (api, caller) = start();
    let code = api.world(|api| api.grants.agree("a", "https://pollhook.example/oauth"));
    let exchange = [
        ("client_id", "client-id"),
        ("client_secret", "client-secret"),
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", "https://pollhook.example/oauth"),
    ];
    api.plan(When::next(), Fault::HangUpBefore);
    assert!(caller.form("/oauth/token", &exchange).await.is_err());
    api.plan(When::next(), Fault::HangUpAfter);
    assert!(caller.form("/oauth/token", &exchange).await.is_err());
    assert_eq!(caller.form("/oauth/token", &exchange).await.unwrap().json()["error"], "invalid_grant");
    let outcomes: Vec<_> = api.served().iter().map(|served| served.outcome).collect();
    assert_eq!(outcomes, [Outcome::HungUp, Outcome::HungUp, Outcome::Answered(400)]);
}

#[tokio::test]
async fn an_answer_may_be_cut_off() {
    let (api, caller) = start();
    let whole = caller.get("/next/things").await;
    assert_eq!(whole.header("content-length"), Some(whole.body.len().to_string().as_str()));
    api.plan(When::next(), Fault::CutAfter(whole.body.len() - 1));
    assert!(caller.try_get("/next/things").await.is_err());
    api.plan(When::next(), Fault::CutAfter(whole.body.len()));
    assert_eq!(caller.get("/next/things").await.body, whole.body);
    api.plan(When::next(), Fault::CutAfter(0));
    assert!(caller.try_get("/next/things").await.is_err());
    assert!(api.served().iter().all(|served| served.status() == Some(200)));
}

#[tokio::test]
async fn a_slow_answer_comes_late_and_holds_nobody_up() {
    let (api, caller) = start();
    let slow = Duration::from_millis(300);
    api.plan(When::path("/link/"), Fault::Slow(slow));
    let begun = Instant::now();
    let (late, quick) = tokio::join!(async { (caller.get("/link/things").await.status, begun.elapsed()) }, async {
        (caller.get("/next/things").await.status, begun.elapsed())
    },);
    assert_eq!((late.0, quick.0), (200, 200));
    assert!(late.1 >= slow && quick.1 < late.1, "{late:?} {quick:?}");
}

#[tokio::test]
async fn an_answer_is_held_until_the_test_lets_it_go() {
    let (api, caller) = start();
    let gate = Gate::closed();
    api.plan(When::path("/oauth/token"), Fault::Held(gate.clone()));
    let refresh_token = api.world(HttpApi::connect).refresh;
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
    let (held, meanwhile) = tokio::join!(caller.token("/oauth/token", &form), async {
        while api.served().is_empty() {
            tokio::task::yield_now().await;
        }
        // The work is done: the token was rotated, and nobody has been told of it.
        let second = caller.token("/oauth/token", &form).await;
        gate.open();
        second
    });
    assert_eq!((held.status, meanwhile.status), (200, 400));
}

#[tokio::test]
async fn without_a_socket_the_answers_and_the_faults_are_the_same() {
    let (api, caller) = start();
    let asked = || Request {
        method: Method::GET,
        path: "/next/things".into(),
        query: Vec::new(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    let (over, without) = (caller.get("/next/things").await, api.ask(asked()).unwrap());
    assert_eq!((over.status, &over.body), (without.status.as_u16(), &without.body));
    assert_eq!(over.headers["date"], without.headers["date"]);
    api.plan(When::next(), Fault::broken(503));
    api.plan(When::next().skip(1), Fault::HangUpBefore);
    api.plan(When::next().skip(2), Fault::HangUpAfter);
    api.plan(When::next().skip(3), Fault::CutAfter(5));
    let statuses: Vec<Option<u16>> = (0..5).map(|_| api.ask(asked()).map(|answer| answer.status.as_u16())).collect();
    assert_eq!(statuses, [Some(503), None, None, None, Some(200)]);
    assert_eq!(api.served().len(), 7, "and they are remembered");
}

#[tokio::test]
async fn tokens_expire_and_grants_are_revoked_before_the_request_is_looked_at() {
    let (api, mut caller) = start();
    let tokens = api.world(|api| {
        api.needs = Needs::Bearer;
        api.connect()
    });
    caller.token = tokens.access;
    let path = "/next/things";
    assert_eq!(caller.get(path).await.status, 200);
    api.plan(When::next(), Fault::ExpireTokens);
    assert_eq!(caller.get(path).await.status, 401);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    let renewed = caller.token("/oauth/token", &refresh).await.ok();
    caller.token = renewed["access_token"].as_str().unwrap().into();
    assert_eq!(caller.get(path).await.status, 200);
    api.plan(When::path(path), Fault::Revoke);
    assert_eq!(caller.get(path).await.status, 401);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", renewed["refresh_token"].as_str().unwrap())];
    assert_eq!(caller.token("/oauth/token", &refresh).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn the_world_changes_before_a_request_or_after_it() {
    let (api, caller) = start();
    let create = |api: &mut HttpApi| drop(api.create("things", &json!({})));
    let count = async || caller.get("/offset/things").await.ok()["total"].as_u64().unwrap();
    api.plan(When::next(), Fault::after(create));
    assert_eq!((count().await, count().await), (1, 2));
    api.plan(When::next(), Fault::before(create));
    assert_eq!((count().await, count().await), (3, 3));
}

#[tokio::test]
async fn requests_are_remembered_with_their_senders_and_the_providers_time() {
    let (api, caller) = start();
    api.clock().advance(Duration::from_secs(5));
    api.clock().skew(120_000);
    let reply = caller.get("/next/a%20b?x=1&x=%C3%A9").await;
    assert_eq!((reply.status, reply.header("date")), (404, Some("Sun, 07 Jun 2026 08:11:15 GMT")));
    caller.basic("/oauth/token", &[("grant_type", "none")]).await;
    let served = api.served();
    assert_eq!(
        (served[0].method.as_str(), served[0].path.as_str(), served[0].status()),
        ("GET", "/next/a%20b", Some(404))
    );
    assert_eq!(served[0].at, at("2026-06-07T08:11:15Z"));
    assert_eq!(served[0].authorization, Authorization::Bearer("token".into()));
    assert_eq!(served[0].request.query, [("x".into(), "1".into()), ("x".into(), "é".into())]);
    assert_eq!(served[1].authorization, Authorization::Basic("client-id".into(), "client-secret".into()));
    assert_eq!(served[1].request.form(), [("grant_type".into(), "none".into())]);
    api.forget();
    assert!(api.served().is_empty());
}

#[tokio::test]
async fn a_simulator_that_is_dropped_no_longer_answers() {
    let (api, caller) = start();
    assert_eq!(caller.get("/next/things").await.status, 200);
    drop(api);
    assert!(caller.try_get("/next/things").await.is_err());
}
