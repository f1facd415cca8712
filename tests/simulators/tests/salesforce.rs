//! Salesforce's traps, where no client library goes.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Caller, at};
use serde_json::{Value, json};
use simulators::salesforce::Salesforce;
use simulators::{Fault, Rotation, Simulator, When};

const START: &str = "2026-01-02T03:04:05Z";
const QUERY: &str = "/services/data/v65.0/query";
const TOKEN: &str = "/services/oauth2/token";

fn start() -> (Simulator<Salesforce>, Caller) {
    let salesforce = Salesforce::start(at(START));
    let token = salesforce.world(Salesforce::connect).access;
    let caller = Caller::new(salesforce.url(), &token);
    (salesforce, caller)
}

async fn found(caller: &Caller, soql: &str) -> Vec<String> {
    let answer = caller.ask(QUERY, &[("q", soql)]).await.ok();
    answer["records"].as_array().unwrap().iter().map(|record| record["Id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_long_transaction_commits_records_behind_a_cursor_that_passed_them() {
    let (salesforce, caller) = start();
    let commit = at("2026-01-02T03:10:00Z");
    let late = salesforce.world(|org| org.create_in_transaction("Account", &json!({}), commit));
    salesforce.clock().set(at("2026-01-02T03:08:00Z"));
    let quick = salesforce.world(|org| org.create("Account", &json!({})));
    let all = "SELECT Id, SystemModstamp FROM Account ORDER BY SystemModstamp";
    assert_eq!(found(&caller, all).await, std::slice::from_ref(&quick));
    let window = [("start", "2026-01-02T03:00:00Z"), ("end", "2026-01-02T03:20:00Z")];
    let updated = "/services/data/v65.0/sobjects/Account/updated/";
    let before = caller.ask(updated, &window).await.ok();
    // Not beyond what is still open, so that the next window has it.
    assert_eq!(before, json!({"ids": [quick], "latestDateCovered": "2026-01-02T03:04:00.000+0000"}));
    salesforce.clock().set(commit);
    assert_eq!(found(&caller, all).await, [late.clone(), quick.clone()]);
    let after = "SELECT Id FROM Account WHERE SystemModstamp > 2026-01-02T03:08:00Z";
    assert_eq!(found(&caller, after).await, Vec::<String>::new());
    let covered = caller.ask(updated, &window).await.ok();
    assert_eq!(covered["latestDateCovered"], "2026-01-02T03:10:00.000+0000");
    assert_eq!(covered["ids"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn records_of_one_second_come_in_no_helpful_order_and_a_keyset_still_finds_each() {
    let (salesforce, caller) = start();
    let made: Vec<String> = (0..4).map(|_| salesforce.world(|org| org.create("Account", &json!({})))).collect();
    let by_time = found(&caller, "SELECT Id FROM Account ORDER BY SystemModstamp").await;
    assert_eq!(by_time, made.iter().rev().cloned().collect::<Vec<_>>());
    let (mut last, mut seen) = (String::new(), Vec::new());
    loop {
        let soql = format!(
            "SELECT Id FROM Account WHERE SystemModstamp > {START} OR (SystemModstamp = {START} AND Id > '{last}') \
             ORDER BY SystemModstamp ASC, Id ASC LIMIT 1"
        );
        let Some(id) = found(&caller, &soql).await.pop() else { break };
        seen.push(id.clone());
        last = id;
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn the_systems_changes_move_the_modstamp_alone() {
    let (salesforce, caller) = start();
    let id = salesforce.world(|org| org.create("Account", &json!({"Name": "a"})));
    salesforce.clock().advance(Duration::from_millis(1_999));
    salesforce.world(|org| org.touch(&id));
    let record = caller.get(&format!("/services/data/v65.0/sobjects/Account/{}", &id[..15])).await.ok();
    assert_eq!(
        (&record["LastModifiedDate"], &record["SystemModstamp"]),
        (&json!("2026-01-02T03:04:05.000+0000"), &json!("2026-01-02T03:04:06.000+0000"))
    );
    assert_eq!(record["Id"], id);
}

#[tokio::test]
async fn wrong_queries_are_refused_in_salesforces_words() {
    let (_salesforce, caller) = start();
    for (soql, code, words) in [
        ("SELECT Id FROM Nothing", "INVALID_TYPE", "sObject type 'Nothing' is not supported"),
        ("SELECT Colour FROM Account", "INVALID_FIELD", "No such column 'Colour' on entity 'Account'"),
        (
            "SELECT Id FROM Account WHERE SystemModstamp > '2026-01-02T03:04:05Z'",
            "INVALID_FIELD",
            "must be of type dateTime and should not be enclosed in quotes",
        ),
        ("SELECT Id FROM Account WHERE SystemModstamp > 2026-01-02", "INVALID_FIELD", "must be of type dateTime"),
        ("SELECT Id FROM Account WHERE Id = 7", "INVALID_FIELD", "must be of type id and should be enclosed in quotes"),
        ("SELECT Id FROM Account WHERE IsDeleted = 'false'", "INVALID_FIELD", "must be of type boolean"),
        ("SELECT Id FROM Account ORDER SystemModstamp", "MALFORMED_QUERY", "unexpected token: 'SystemModstamp'"),
    ] {
        let reply = caller.ask(QUERY, &[("q", soql)]).await;
        assert_eq!(reply.status, 400, "{soql}");
        let error = reply.json();
        assert_eq!(error[0]["errorCode"], code, "{soql}");
        assert!(error[0]["message"].as_str().unwrap().contains(words), "{soql}: {error}");
    }
    // An offset's plus that is not encoded arrives as a space.
    let reply =
        caller.get(&format!("{QUERY}?q=SELECT+Id+FROM+Account+WHERE+SystemModstamp+>+2026-01-02T03:04:05+00:00")).await;
    assert_eq!(reply.json()[0]["errorCode"], "MALFORMED_QUERY");
}

#[tokio::test]
async fn pages_are_as_large_as_asked_within_the_bounds() {
    let (salesforce, caller) = start();
    salesforce.world(|org| {
        for _ in 0..450 {
            org.create("Account", &json!({}));
        }
    });
    let path = format!("{QUERY}?q=SELECT+Id+FROM+Account");
    for (asked, size) in [("batchSize=10", 200), ("batchSize=300", 300), ("batchSize=9000", 450)] {
        let page = caller.get_with(&path, "sforce-query-options", asked).await.ok();
        assert_eq!(page["records"].as_array().unwrap().len(), size, "{asked}");
        assert_eq!(page["totalSize"], 450);
    }
    let page = caller.get_with(&path, "sforce-query-options", "batchSize=200").await.ok();
    let next = page["nextRecordsUrl"].as_str().unwrap().to_owned();
    // An answer that was lost may be asked for again.
    for _ in 0..2 {
        let page = caller.get_with(&next, "sforce-query-options", "batchSize=2000").await.ok();
        assert_eq!((page["records"].as_array().unwrap().len(), &page["done"]), (250, &json!(true)));
    }
    for beyond in ["-451", "-x", ""] {
        let reply = caller.get(&next.replace("-200", beyond)).await;
        assert_eq!(reply.json()[0]["errorCode"], "INVALID_QUERY_LOCATOR", "{beyond}");
    }
    let count = caller.ask(QUERY, &[("q", "SELECT COUNT() FROM Account")]).await.ok();
    assert_eq!(count, json!({"totalSize": 450, "done": true, "records": []}));
}

#[tokio::test]
async fn the_pages_of_query_all_are_read_by_query_and_the_eleventh_open_query_ends_the_first() {
    let (salesforce, caller) = start();
    salesforce.world(|org| {
        for _ in 0..3 {
            let id = org.create("Account", &json!({}));
            org.delete(&id);
        }
        org.page_size = 2;
    });
    let mut open = Vec::new();
    for _ in 0..11 {
        let page =
            caller.ask("/services/data/v65.0/queryAll", &[("q", "SELECT Id, IsDeleted FROM Account")]).await.ok();
        open.push(page["nextRecordsUrl"].as_str().unwrap().to_owned());
        // A query of one page is never open.
        assert_eq!(found(&caller, "SELECT Id FROM Account").await, Vec::<String>::new());
    }
    assert!(open[0].starts_with("/services/data/v65.0/query/01g"), "{open:?}");
    assert_eq!(caller.get(&open[0]).await.json()[0]["errorCode"], "INVALID_QUERY_LOCATOR");
    for next in &open[1..] {
        let page = caller.get(next).await.ok();
        assert_eq!((&page["records"][0]["IsDeleted"], &page["done"]), (&json!(true), &json!(true)));
    }
}

#[tokio::test]
async fn windows_are_whole_minutes_and_the_log_of_deletions_says_what_it_has_lost() {
    let (salesforce, caller) = start();
    let id = salesforce.world(|org| org.create("Account", &json!({})));
    salesforce.world(|org| org.delete(&id));
    let deleted = "/services/data/v65.0/sobjects/Account/deleted";
    let window = |start, end| [("start", start), ("end", end)];
    let short = caller.ask(deleted, &window("2026-01-02T03:04:00Z", "2026-01-02T03:05:59Z")).await;
    assert_eq!(short.json()[0]["errorCode"], "INVALID_REPLICATION_DATE");
    salesforce.clock().set(at("2026-01-02T04:00:00Z"));
    // Seconds are ignored: the deletion at :05 is in a window that begins at :59 of its minute.
    let whole = window("2026-01-02T03:04:59Z", "2026-01-02T03:06:00Z");
    assert_eq!(caller.ask(deleted, &whole).await.ok()["deletedRecords"][0]["id"], id);
    salesforce.world(|org| org.forget_deletions_before(at("2026-01-02T03:30:00Z")));
    let lost = caller.ask(deleted, &whole).await.ok();
    assert_eq!(lost["deletedRecords"], json!([]));
    assert_eq!(lost["earliestDateAvailable"], "2026-01-02T03:30:00.000+0000");
    salesforce.world(|org| org.id_limit = 0);
    salesforce.world(|org| org.create("Account", &json!({})));
    let updated = "/services/data/v65.0/sobjects/Account/updated";
    let many = caller.ask(updated, &window("2026-01-02T03:30:00Z", "2026-01-02T04:30:00Z")).await;
    assert_eq!(many.json()[0]["errorCode"], "EXCEEDED_ID_LIMIT");
}

#[tokio::test]
async fn a_code_brings_tokens_once_and_a_refresh_brings_no_expiry() {
    let (salesforce, mut caller) = start();
    let consent = caller
        .ask(
            "/services/oauth2/authorize",
            &[
                ("response_type", "code"),
                ("client_id", "client-id"),
                ("redirect_uri", "https://pollhook.example/oauth"),
                ("state", "s 1"),
            ],
        )
        .await;
    assert_eq!(consent.status, 302);
    let location = consent.header("location").unwrap();
    let (_, query) = location.split_once('?').unwrap();
    let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(query[1], ("state".into(), "s 1".into()));
    let code = [
        ("grant_type", "authorization_code"),
        ("code", query[0].1.as_str()),
        ("redirect_uri", "https://pollhook.example/oauth"),
    ];
    let tokens = caller.token(TOKEN, &code).await.ok();
    assert_eq!(tokens["instance_url"], salesforce.url());
    assert!(tokens["id"].as_str().unwrap().starts_with("https://login.salesforce.com/id/00DxX0000000001EAA/005"));
    assert_eq!(tokens["issued_at"], at(START).as_millis().to_string());
    assert_eq!(caller.token(TOKEN, &code).await.json()["error"], "invalid_grant");

    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    let refreshed = caller.token(TOKEN, &refresh).await.ok();
    assert_eq!((refreshed.get("refresh_token"), refreshed.get("expires_in")), (None, None));
    caller.token = refreshed["access_token"].as_str().unwrap().into();
    assert_eq!(caller.get("/services/data/v65.0/sobjects").await.status, 200);

    salesforce.world(|org| org.grants.revoke_all());
    let revoked = caller.token(TOKEN, &refresh).await;
    let error = json!({"error": "invalid_grant", "error_description": "expired access/refresh token"});
    assert_eq!((revoked.status, revoked.json()), (400, error));
    let refused = caller.get("/services/data/v65.0/sobjects").await;
    let error = json!([{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]);
    assert_eq!((refused.status, refused.json()), (401, error));
}

#[tokio::test]
async fn a_session_lives_two_hours_from_its_last_use() {
    let (salesforce, caller) = start();
    let hours = |hours: f64| salesforce.clock().advance(Duration::from_secs_f64(hours * 3600.0));
    let path = "/services/data/v65.0/limits";
    hours(1.9);
    assert_eq!(caller.get(path).await.status, 200);
    hours(1.9);
    assert_eq!(caller.get(path).await.status, 200);
    hours(2.0);
    assert_eq!(caller.get(path).await.status, 401);
}

#[tokio::test]
async fn an_answer_that_is_lost_has_rotated_the_refresh_token_all_the_same() {
    let (salesforce, caller) = start();
    let first = salesforce.world(|org| {
        org.grants.rules.rotation = Rotation::Always;
        org.connect().refresh
    });
    salesforce.plan(When::path(TOKEN), Fault::HangUpAfter);
    let app = [("client_id", "client-id"), ("client_secret", "client-secret")];
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", first.as_str())];
    assert!(caller.form(TOKEN, &[app, refresh].concat()).await.is_err());
    let again = caller.token(TOKEN, &refresh).await;
    assert_eq!((again.status, &again.json()["error"]), (400, &json!("invalid_grant")));
    // A hang-up before the work does not.
    let second = salesforce.world(|org| org.connect().refresh);
    salesforce.plan(When::path(TOKEN), Fault::HangUpBefore);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", second.as_str())];
    assert!(caller.form(TOKEN, &[app, refresh].concat()).await.is_err());
    let rotated = caller.token(TOKEN, &refresh).await.ok();
    assert_ne!(rotated["refresh_token"], Value::from(second));
}

#[tokio::test]
async fn the_provider_dates_by_its_own_clock_and_stops_at_its_daily_limit() {
    let (salesforce, caller) = start();
    salesforce.clock().skew(-90_000);
    let id = salesforce.world(|org| org.create("Account", &json!({})));
    let reply = caller.ask(QUERY, &[("q", "SELECT SystemModstamp FROM Account")]).await;
    assert_eq!(reply.header("date"), Some("Fri, 02 Jan 2026 03:02:35 GMT"));
    assert_eq!(reply.ok()["records"][0]["SystemModstamp"], "2026-01-02T03:02:35.000+0000");
    assert_eq!(reply.header("sforce-limit-info"), Some("api-usage=1/100000"));
    salesforce.world(|org| org.daily_requests = 1);
    let refused = caller.get(&format!("/services/data/v65.0/sobjects/Account/{id}")).await;
    let error = json!([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]);
    assert_eq!((refused.status, refused.json(), refused.header("retry-after")), (403, error, None));
    let served = salesforce.served();
    assert_eq!(served.len(), 2);
    assert_eq!(served[0].request.parameter("q"), Some("SELECT SystemModstamp FROM Account"));
    assert_eq!(served[1].at, at("2026-01-02T03:02:35Z"));
}
