//! QuickBooks' traps, where no client library goes.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Caller, Reply, at};
use events::time::DAY_MS;
use serde_json::{Value, json};
use simulators::quickbooks::QuickBooks;
use simulators::{Fault, Simulator, When};

const START: &str = "2026-03-07T20:00:00Z";
const TOKEN: &str = "/oauth2/v1/tokens/bearer";

fn start() -> (Simulator<QuickBooks>, Caller) {
    let quickbooks = QuickBooks::start(at(START));
    let token = quickbooks.world(QuickBooks::connect).access;
    let caller = Caller::new(quickbooks.url(), &token);
    (quickbooks, caller)
}

async fn get(caller: &Caller, path: &str) -> Reply {
    caller.get_with(&format!("/v3/company/9341453474484455/{path}"), "accept", "application/json").await
}

fn encoded(query: &str) -> String {
    form_urlencoded::byte_serialize(query.as_bytes()).collect()
}

#[tokio::test]
async fn the_shape_is_that_of_the_documentation() {
    let (quickbooks, caller) = start();
    let [first, second] =
        ["a", "b"].map(|name| quickbooks.world(|company| company.create("Customer", &json!({"DisplayName": name}))));
    let reply = get(&caller, "cdc?entities=customer,Vendor,Invoice&changedSince=2026-03-07T11:59:59-08:00").await.ok();
    let customer = |id: &str, name: &str| {
        json!({
            "Id": id,
            "SyncToken": "0",
            "DisplayName": name,
            "Active": true,
            "MetaData": {"CreateTime": "2026-03-07T12:00:00-08:00", "LastUpdatedTime": "2026-03-07T12:00:00-08:00"},
            "domain": "QBO",
            "sparse": false,
        })
    };
    let customers = [customer(&second, "b"), customer(&first, "a")];
    assert_eq!(
        reply,
        json!({
            "CDCResponse": [{"QueryResponse": [
                {"Customer": customers, "startPosition": 1, "maxResults": 2}, {}, {},
            ]}],
            "time": "2026-03-07T12:00:00.000-08:00",
        })
    );
    // Exclusive: of the very second nothing is told again.
    let reply = get(&caller, "cdc?entities=Customer&changedSince=2026-03-07T20:00:00Z").await.ok();
    assert_eq!(reply["CDCResponse"][0]["QueryResponse"], json!([{}]));
}

#[tokio::test]
async fn wrong_questions_are_faults() {
    let (_quickbooks, caller) = start();
    for (path, code) in [
        ("cdc?entities=Customer&changedSince=2026-03-07T12:00:00+00:00", "2030"),
        ("cdc?entities=Customer", "2030"),
        ("cdc?entities=Cats&changedSince=2026-03-07T12:00:00Z", "500"),
        ("cdc?entities=TaxRate&changedSince=2026-03-07T12:00:00Z", "500"),
        ("query?query=select%20*%20from%20Cats", "4001"),
        ("query?query=select%20*%20from%20Customer%20maxresults%201001", "4001"),
        ("query?query=select", "4000"),
        ("reports/Cash", "610"),
        ("none", "500"),
    ] {
        let reply = get(&caller, path).await;
        assert_eq!((reply.status, &reply.json()["Fault"]["Error"][0]["code"]), (400, &json!(code)), "{path}");
    }
    let reply = caller.get("/v3/company/9341453474484455/query?query=select%20*%20from%20Customer").await;
    assert_eq!(reply.header("content-type"), Some("application/xml;charset=UTF-8"), "to whoever accepts anything");
}

#[tokio::test]
async fn what_changes_between_two_pages_is_skipped_by_whoever_counts() {
    let (quickbooks, caller) = start();
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(quickbooks.world(|company| company.create("Invoice", &json!({}))));
        quickbooks.clock().advance(Duration::from_secs(1));
    }
    let first = made[0].clone();
    quickbooks.plan(
        When::path("/query"),
        Fault::after(move |company: &mut QuickBooks| company.update("Invoice", &first, &json!({"a": 1}))),
    );
    let page = async |start: usize| -> Vec<Value> {
        let query =
            format!("select Id from Invoice order by MetaData.LastUpdatedTime startposition {start} maxresults 2");
        let reply = get(&caller, &format!("query?query={}", encoded(&query))).await.ok();
        reply["QueryResponse"]["Invoice"].as_array().unwrap().iter().map(|invoice| invoice["Id"].clone()).collect()
    };
    assert_eq!(page(1).await, made[..2]);
    assert_eq!(page(3).await, [made[3].clone(), made[0].clone()]);
}

#[tokio::test]
async fn a_change_that_is_found_late_is_found_by_neither_way_before() {
    let (quickbooks, caller) = start();
    let id = quickbooks.world(|company| company.create("Invoice", &json!({"Line": 1})));
    quickbooks.clock().advance(Duration::from_secs(10));
    quickbooks.world(|company| {
        company.lag = Duration::from_secs(60);
        company.delete("Invoice", &id);
    });
    let found = async || {
        let cdc = get(&caller, "cdc?entities=Invoice&changedSince=2026-03-07T11:59:59-08:00").await.ok();
        let query = get(&caller, &format!("query?query={}", encoded("SELECT * FROM Invoice"))).await.ok();
        let deleted = cdc["CDCResponse"][0]["QueryResponse"][0]["Invoice"][0]["status"] == "Deleted";
        (deleted, query["QueryResponse"]["maxResults"].as_u64())
    };
    assert_eq!(found().await, (false, Some(1)));
    quickbooks.clock().advance(Duration::from_secs(59));
    assert_eq!(found().await, (false, Some(1)));
    quickbooks.clock().advance(Duration::from_secs(1));
    assert_eq!(found().await, (true, None));
}

#[tokio::test]
async fn budgets_are_kept_when_a_test_wants_them_to_be() {
    let (quickbooks, caller) = start();
    quickbooks.world(|company| company.limited = true);
    let path = "query?query=select%20count(*)%20from%20Customer";
    let mut refused = 0;
    for _ in 0..55 {
        for _ in 0..10 {
            refused += usize::from(get(&caller, path).await.status == 429);
        }
        quickbooks.clock().advance(Duration::from_secs(1));
    }
    assert_eq!(refused, 50, "of 550 in a minute");
    quickbooks.clock().advance(Duration::from_secs(60));
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(get(&caller, path).await);
    }
    assert!(statuses[..10].iter().all(|reply| reply.status == 200));
    assert_eq!(statuses[10].json()["Fault"]["Error"][0]["code"], "3001");
    assert_eq!((statuses[10].status, statuses[10].header("retry-after")), (429, None));
}

#[tokio::test]
async fn tokens_are_for_the_app_that_says_who_it_is_by_basic_alone() {
    let (quickbooks, caller) = start();
    let refresh_token = quickbooks.world(QuickBooks::connect).refresh;
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
    let reply = caller.token(TOKEN, &form).await;
    assert_eq!((reply.status, reply.json()), (401, json!({"error": "invalid_client"})));
    let reply = caller.basic(TOKEN, &form).await;
    assert_eq!(reply.ok()["refresh_token"], refresh_token);
    // A refresh token that nobody used for 101 days is dead.
    quickbooks.clock().advance(Duration::from_millis(101 * DAY_MS.unsigned_abs()));
    let reply = caller.basic(TOKEN, &form).await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_grant")));
    let consent = caller
        .ask(
            "/connect/oauth2",
            &[
                ("response_type", "code"),
                ("client_id", "client-id"),
                ("redirect_uri", "https://pollhook.example/oauth?x=1"),
            ],
        )
        .await;
    let location = consent.header("location").unwrap();
    assert!(location.starts_with("https://pollhook.example/oauth?x=1&code=code-"), "{location}");
    assert!(location.ends_with("&realmId=9341453474484455"), "{location}");
}

#[tokio::test]
async fn two_refreshes_at_once_leave_one_of_them_with_a_dead_token() {
    let (quickbooks, caller) = start();
    let refresh_token = quickbooks.world(QuickBooks::connect).refresh;
    quickbooks.clock().advance(Duration::from_millis(DAY_MS.unsigned_abs()));
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
    let (one, other) = tokio::join!(caller.basic(TOKEN, &form), caller.basic(TOKEN, &form));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}
