//! HubSpot's search, and its list of what is archived.

use std::time::Duration;

use events::EventType::{Created, Deleted, Updated};
use polling::request::ACCESS_TOKEN;
use polling::verdict::Verdict;
use serde_json::json;
use simulators::hubspot::{HubSpot, Lag};
use simulators::{Answer, Fault, RetryAfter, Simulator, When};

use crate::driver::{Poller, all, at, limited, sorted};

const START: &str = "2026-03-04T05:06:07Z";

fn start() -> Simulator<HubSpot> {
    HubSpot::start(at(START))
}

async fn poller<'s>(hubspot: &'s Simulator<HubSpot>, objects: &str) -> Poller<'s, HubSpot> {
    Poller::connected("hubspot", hubspot, &[("event.objects", objects)], (ACCESS_TOKEN, HubSpot::connect)).await
}

/// Makes objects, a little more than a second apart.
fn create(hubspot: &Simulator<HubSpot>, kind: &str, objects: usize) -> Vec<String> {
    (0..objects)
        .map(|number| {
            let id = hubspot.world(|account| account.create(kind, &json!({"number": number})));
            hubspot.clock().advance(Duration::from_millis(1_003));
            id
        })
        .collect()
}

#[tokio::test]
async fn objects_of_each_type_are_told_once_as_what_they_are() {
    let hubspot = start();
    hubspot.world(|account| account.add_type("2-3453932", "2-3453932", &["name"]));
    let old = create(&hubspot, "contacts", 2);
    let mut poller = poller(&hubspot, "contacts,accounts,deals,2-3453932").await;
    assert_eq!(poller.poll().await, []);
    let contacts = create(&hubspot, "contacts", 3);
    hubspot.world(|account| account.update("contacts", &old[1], &json!({"email": "a@b.example"})));
    let companies = create(&hubspot, "companies", 2);
    let deals = create(&hubspot, "deals", 1);
    let custom = create(&hubspot, "2-3453932", 1);
    // Made and changed since: still new.
    hubspot.world(|account| account.update("deals", &deals[0], &json!({"amount": "5"})));
    hubspot.clock().advance(Duration::from_secs(1));
    let expected = [
        all("2-3453932", &custom, Created),
        all("accounts", &companies, Created),
        all("contacts", &old[1..], Updated),
        all("contacts", &contacts, Created),
        all("deals", &deals, Created),
    ];
    assert_eq!(sorted(poller.poll().await), expected.concat());
    hubspot.world(|account| account.update("deals", &deals[0], &json!({"amount": "6"})));
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(poller.poll().await, all("deals", &deals, Updated));
    for _ in 0..3 {
        hubspot.clock().advance(Duration::from_secs(900));
        assert_eq!(poller.poll().await, []);
    }
}

#[tokio::test]
async fn more_than_a_query_shows_is_told_whole_and_in_steps() {
    let hubspot = start();
    hubspot.world(|account| account.cap = 400);
    let mut poller = poller(&hubspot, "contacts").await.in_steps_of(500);
    let mut made = Vec::new();
    for _ in 0..15 {
        hubspot.clock().advance(Duration::from_secs(1));
        // A burst of one moment, larger than a page in the middle.
        let burst = if made.len() == 490 { 350 } else { 70 };
        made.extend((0..burst).map(|_| hubspot.world(|account| account.create("contacts", &json!({})))));
    }
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(sorted(poller.poll().await), all("contacts", &made, Created));
    assert_eq!(poller.poll().await, []);
    let served = hubspot.served();
    let bodies = served.iter().filter_map(|served| served.request.json().ok());
    let reached = bodies.filter_map(|body| body["after"].as_str()?.parse::<usize>().ok());
    assert!(reached.map(|after| after + 200).max().unwrap() <= 400, "HubSpot answers 400 beyond what it shows");
}

#[tokio::test]
async fn what_the_index_shows_late_is_told_as_what_it_is() {
    let hubspot = start();
    let mut poller = poller(&hubspot, "contacts").await;
    let lag = |seconds| Lag { created: Duration::from_secs(seconds), updated: Duration::from_secs(seconds) };
    hubspot.clock().advance(Duration::from_secs(10));
    let slow = hubspot.world(|account| {
        account.lag = lag(300);
        account.create("contacts", &json!({}))
    });
    hubspot.clock().advance(Duration::from_secs(200));
    let quick = hubspot.world(|account| {
        account.lag = lag(0);
        account.create("contacts", &json!({}))
    });
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(poller.poll().await, all("contacts", std::slice::from_ref(&quick), Created));
    hubspot.world(|account| account.update("contacts", &slow, &json!({"email": "late@b.example"})));
    hubspot.clock().advance(Duration::from_secs(120));
    assert_eq!(poller.poll().await, all("contacts", &[slow], Created), "behind what was told, and changed since");
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn what_shifts_between_two_pages_is_told_however_long_ago_it_changed() {
    let hubspot = start();
    let mut poller = poller(&hubspot, "contacts").await;
    hubspot.clock().advance(Duration::from_secs(1));
    // Two pages and a half of one moment, and more of others.
    let mut made: Vec<String> =
        (0..500).map(|_| hubspot.world(|account| account.create("contacts", &json!({})))).collect();
    hubspot.clock().advance(Duration::from_secs(1));
    made.extend(create(&hubspot, "contacts", 250));
    hubspot.clock().advance(Duration::from_secs(86_400));
    for page in 0..3 {
        // What was read already goes to the end, and all after it move up.
        let moved = made[499 - page].clone();
        hubspot.plan(
            When::path("search").skip(page),
            Fault::after(move |account: &mut HubSpot| account.update("contacts", &moved, &json!({"a": 1}))),
        );
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        hubspot.clock().advance(Duration::from_secs(1));
        told.extend(poller.poll().await);
    }
    let ids: std::collections::BTreeSet<&str> = told.iter().map(|(_, id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), 750);
    let again = told.len() - 750;
    assert!(again <= 3, "only what changed again is told again: {again}");
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn what_is_archived_is_told_as_deleted_and_what_is_restored_as_changed() {
    let hubspot = start();
    let old = create(&hubspot, "contacts", 205);
    hubspot.world(|account| account.archive("contacts", &old[200]));
    hubspot.clock().advance(Duration::from_secs(2));
    let mut poller = poller(&hubspot, "contacts,contacts/archived").await;
    assert_eq!(poller.poll().await, [], "what was archived before is not told");
    for id in &old[..120] {
        hubspot.clock().advance(Duration::from_millis(501));
        hubspot.world(|account| account.archive("contacts", id));
    }
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(sorted(poller.poll().await), all("contacts", &old[..120], Deleted), "two pages of them");
    hubspot.world(|account| account.restore("contacts", &old[3]));
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(poller.poll().await, all("contacts", &old[3..4], Updated));
    hubspot.world(|account| account.archive("contacts", &old[3]));
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(poller.poll().await, all("contacts", &old[3..4], Deleted), "again");
    hubspot.clock().advance(Duration::from_secs(3_600));
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn of_a_merge_the_survivor_is_told() {
    let hubspot = start();
    let made = create(&hubspot, "contacts", 2);
    hubspot.clock().advance(Duration::from_secs(1));
    let mut poller = poller(&hubspot, "contacts,contacts/archived").await;
    hubspot.clock().advance(Duration::from_secs(1));
    hubspot.world(|account| account.merge("contacts", &made[0], &made[1]));
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(poller.poll().await, all("contacts", &made[..1], Updated));
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn answers_that_are_no_page_are_told_apart_and_what_came_before_them_counts() {
    let hubspot = start();
    let mut poller = poller(&hubspot, "contacts").await;
    let made = create(&hubspot, "contacts", 250);
    let daily = json!({"status": "error", "errorType": "RATE_LIMIT", "policyName": "DAILY"});
    for (fault, expected) in [
        (Fault::too_many(RetryAfter::Unsaid), limited(10)),
        (Fault::too_many(RetryAfter::Seconds(3)), limited(3)),
        (Fault::Answer(Answer::json(429, &daily)), limited(3_600)),
        (Fault::Answer(Answer::json(423, &json!({}))), limited(2)),
        (Fault::Answer(Answer::json(477, &json!({})).with("retry-after", "120")), limited(120)),
        (Fault::broken(502), Verdict::Failed { reason: "status 502".into() }),
        (Fault::ExpireTokens, Verdict::TokenExpired),
    ] {
        hubspot.plan(When::path("search").skip(1), fault);
        let polled = poller.step(0).await;
        assert_eq!((polled.verdict, polled.finished.complete), (expected, false));
        hubspot.heal();
    }
    let rest: Vec<String> = poller.poll().await.into_iter().map(|(_, id, _)| id).collect();
    assert!((50..=100).contains(&rest.len()) && made.ends_with(&rest), "{}", rest.len());
}
