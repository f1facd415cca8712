//! Salesforce's SOQL, with what is in the recycle bin.

use std::time::Duration;

use events::EventType::{Created, Deleted, Updated};
use polling::request::ACCESS_TOKEN;
use polling::verdict::Verdict;
use serde_json::json;
use simulators::salesforce::Salesforce;
use simulators::{Fault, RetryAfter, Simulator, When};

use crate::driver::{Poller, all, at, limited, sorted};

const START: &str = "2026-01-02T03:04:05Z";

fn start() -> Simulator<Salesforce> {
    Salesforce::start(at(START))
}

async fn poller<'s>(org: &'s Simulator<Salesforce>, objects: &str) -> Poller<'s, Salesforce> {
    let settings = [("event.objects", objects), ("instance_url", org.url())];
    Poller::connected("sfdc", org, &settings, (ACCESS_TOKEN, Salesforce::connect)).await
}

fn create(org: &Simulator<Salesforce>, object: &str, records: usize) -> Vec<String> {
    (0..records).map(|number| org.world(|org| org.create(object, &json!({"Name": number.to_string()})))).collect()
}

fn pass(org: &Simulator<Salesforce>, seconds: u64) {
    org.clock().advance(Duration::from_secs(seconds));
}

#[tokio::test]
async fn records_of_each_object_are_told_once_as_what_they_are() {
    let org = start();
    org.world(|org| {
        org.add_object("Trip__c", "a00");
        org.add_object("User", "005");
        org.create("User", &json!({"IsActive": true}))
    });
    let old = create(&org, "Account", 3);
    pass(&org, 5);
    let mut poller = poller(&org, "Account,Trip__c,User").await;
    assert_eq!(poller.poll().await, []);
    let accounts = create(&org, "Account", 2);
    let trips = create(&org, "Trip__c", 2);
    let user = org.world(|org| org.create("User", &json!({"IsActive": true})));
    org.world(|org| org.update(&old[0], &json!({"Name": "x"})));
    // The system's change moves no other date.
    org.world(|org| org.touch(&old[1]));
    assert_eq!(poller.poll().await, [], "their second is not over");
    org.world(|org| org.update(&accounts[1], &json!({"Name": "y"})));
    pass(&org, 1);
    let expected = [
        all("Account", &old[..2], Updated),
        all("Account", &accounts, Created),
        all("Trip__c", &trips, Created),
        all("User", &[user], Created),
    ];
    let told = |told| {
        let mut told = sorted(told);
        told.sort();
        told
    };
    assert_eq!(told(poller.poll().await), told(expected.concat()));
    org.world(|org| org.delete(&old[0]));
    org.world(|org| org.delete(&trips[0]));
    pass(&org, 1);
    let gone = [all("Account", &old[..1], Deleted), all("Trip__c", &trips[..1], Deleted)];
    assert_eq!(poller.poll().await, gone.concat());
    org.world(|org| org.undelete(&old[0]));
    pass(&org, 1);
    assert_eq!(poller.poll().await, all("Account", &old[..1], Updated));
    for _ in 0..3 {
        pass(&org, 3_000);
        assert_eq!(poller.poll().await, []);
    }
}

#[tokio::test]
async fn pages_are_those_of_when_the_query_was_made_and_what_changes_meanwhile_comes_next() {
    let org = start();
    let mut poller = poller(&org, "Account").await;
    pass(&org, 1);
    let made = create(&org, "Account", 950);
    pass(&org, 7_000);
    org.world(|org| org.page_size = 200);
    let (first, last) = (made[0].clone(), made[949].clone());
    org.plan(
        When::path("/query"),
        Fault::after(move |org: &mut Salesforce| {
            org.update(&first, &json!({"Name": "x"}));
            org.delete(&last);
        }),
    );
    assert_eq!(sorted(poller.poll().await), all("Account", &made, Created));
    pass(&org, 1);
    let mut told = poller.poll().await;
    told.sort();
    let mut expected = [all("Account", &made[949..], Deleted), all("Account", &made[..1], Updated)].concat();
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn what_a_long_transaction_commits_late_is_told() {
    let org = start();
    let mut poller = poller(&org, "Account").await;
    pass(&org, 60);
    let late = org.world(|org| org.create_in_transaction("Account", &json!({}), at("2026-01-02T03:13:00Z")));
    pass(&org, 300);
    let quick = create(&org, "Account", 1);
    pass(&org, 60);
    assert_eq!(poller.poll().await, all("Account", &quick, Created));
    pass(&org, 120);
    assert_eq!(poller.poll().await, all("Account", &[late], Created));
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn the_second_in_which_polling_begins_is_told() {
    let org = start();
    org.clock().advance(Duration::from_millis(400));
    let mut poller = poller(&org, "Account").await;
    org.clock().advance(Duration::from_millis(500));
    let made = create(&org, "Account", 2);
    pass(&org, 1);
    assert_eq!(sorted(poller.poll().await), all("Account", &made, Created));
}

#[tokio::test]
async fn the_provider_s_clock_counts_however_far_ours_is_from_it() {
    for before in [-3_600_000, -40_000, 40_000, 3_600_000] {
        let org = start();
        let mut poller = poller(&org, "Account").await.with_a_clock_before_by(before).await;
        pass(&org, 4_000);
        assert_eq!(poller.poll().await, [], "{before}");
        let mut told = Vec::new();
        let mut made = Vec::new();
        for _ in 0..5 {
            pass(&org, 1_000);
            made.extend(create(&org, "Account", 3));
            told.extend(poller.poll().await);
            pass(&org, 1);
            told.extend(poller.poll().await);
        }
        assert_eq!(sorted(told), all("Account", &made, Created), "{before}");
    }
}

#[tokio::test]
async fn a_large_change_is_told_in_steps() {
    let org = start();
    let mut poller = poller(&org, "Account").await.in_steps_of(300);
    let mut made = Vec::new();
    for _ in 0..10 {
        pass(&org, 1);
        made.extend(create(&org, "Account", 130));
    }
    pass(&org, 1);
    org.world(|org| org.page_size = 200);
    let mut told = poller.poll().await;
    told.sort();
    let mut expected = all("Account", &made, Created);
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn answers_that_are_no_page_are_told_apart_and_what_came_before_them_counts() {
    let org = start();
    let mut poller = poller(&org, "Account").await;
    pass(&org, 1);
    let made = create(&org, "Account", 500);
    pass(&org, 1);
    org.world(|org| org.page_size = 200);
    for (fault, expected) in [
        (Fault::too_many(RetryAfter::Unsaid), limited(3_600)),
        (Fault::before(Salesforce::expire_locators), Verdict::Reset),
        (Fault::broken(503), Verdict::Failed { reason: "status 503".into() }),
        (Fault::ExpireTokens, Verdict::TokenExpired),
    ] {
        org.plan(When::path("/query/"), fault);
        let polled = poller.step(0).await;
        assert_eq!((polled.verdict, polled.finished.complete), (expected, false));
        org.heal();
    }
    let rest = poller.poll().await;
    assert_eq!(rest.len(), made.len() - 200, "the first page was told once");
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn another_version_of_the_api_is_asked_where_an_instance_wants_it() {
    let org = start();
    let settings = [("event.objects", "Account"), ("instance_url", org.url()), ("sfdc.api.version", "61.0")];
    let mut poller = Poller::connected("sfdc", &org, &settings, (ACCESS_TOKEN, Salesforce::connect)).await;
    assert_eq!(poller.poll().await, []);
    assert_eq!(org.served().last().unwrap().path, "/services/data/v61.0/queryAll");
}
