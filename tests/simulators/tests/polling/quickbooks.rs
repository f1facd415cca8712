//! QuickBooks Online's change data capture, and the query behind it.

use std::time::Duration;

use events::EventType::{Created, Deleted, Updated};
use polling::request::ACCESS_TOKEN;
use polling::verdict::Verdict;
use serde_json::json;
use simulators::quickbooks::{QuickBooks, Throttle};
use simulators::{Answer, Fault, RetryAfter, Simulator, When};

use crate::driver::{Poller, Told, all, at, limited, sorted};

const START: &str = "2026-03-07T20:00:00Z";

fn start() -> Simulator<QuickBooks> {
    QuickBooks::start(at(START))
}

async fn poller<'s>(company: &'s Simulator<QuickBooks>, objects: &str) -> Poller<'s, QuickBooks> {
    let realm = company.world(|company| company.realm.clone());
    let settings = [("event.objects", objects), ("event.vendor.account", realm.as_str())];
    Poller::connected("quickbooks", company, &settings, (ACCESS_TOKEN, QuickBooks::connect)).await
}

fn create(company: &Simulator<QuickBooks>, entity: &str, objects: usize) -> Vec<String> {
    (0..objects).map(|number| company.world(|company| company.create(entity, &json!({"Line": number})))).collect()
}

fn pass(company: &Simulator<QuickBooks>, seconds: u64) {
    company.clock().advance(Duration::from_secs(seconds));
}

#[tokio::test]
async fn entities_are_told_once_as_what_they_are() {
    let company = start();
    let old = create(&company, "Invoice", 3);
    let customer = create(&company, "Customer", 1);
    pass(&company, 10);
    let mut poller = poller(&company, "invoices,customers,bills,time-activities").await;
    assert_eq!(poller.poll().await, []);
    pass(&company, 1);
    let invoices = create(&company, "Invoice", 2);
    let activities = create(&company, "TimeActivity", 2);
    company.world(|company| {
        company.update("Invoice", &old[0], &json!({"Line": 9}));
        company.delete("Invoice", &old[1]);
        company.set_active("Customer", &customer[0], false);
    });
    // What was deleted has a date and no version: its second must be over.
    pass(&company, 1);
    let expected = [
        all("customers", &customer, Updated),
        all("invoices", &old[..1], Updated),
        all("invoices", &old[1..2], Deleted),
        all("invoices", &invoices, Created),
        all("time-activities", &activities, Created),
    ];
    assert_eq!(sorted(poller.poll().await), expected.concat());
    for _ in 0..3 {
        pass(&company, 2_000);
        assert_eq!(poller.poll().await, []);
    }
}

#[tokio::test]
async fn several_changes_of_one_second_are_told_each() {
    let company = start();
    let mut poller = poller(&company, "invoices").await;
    pass(&company, 5);
    let made = create(&company, "Invoice", 3);
    assert_eq!(sorted(poller.poll().await), all("invoices", &made, Created));
    for line in [2, 3] {
        company.world(|company| company.update("Invoice", &made[1], &json!({"Line": line})));
        assert_eq!(poller.poll().await, all("invoices", &made[1..2], Updated), "within the second it was made in");
    }
    pass(&company, 1);
    company.world(|company| company.delete("Invoice", &made[2]));
    assert_eq!(poller.poll().await, []);
    pass(&company, 1);
    assert_eq!(poller.poll().await, all("invoices", &made[2..], Deleted));
}

#[tokio::test]
async fn the_second_in_which_polling_begins_is_told() {
    let company = start();
    let mut poller = poller(&company, "invoices").await;
    company.clock().advance(Duration::from_millis(900));
    let made = create(&company, "Invoice", 2);
    assert_eq!(sorted(poller.poll().await), all("invoices", &made, Created), "though it is asked for what came after");
}

/// More than change data capture gives, of this entity.
async fn more_than_is_given(entity: &str, object_type: &str) {
    let company = start();
    let mut poller = poller(&company, object_type).await;
    let mut made = Vec::new();
    for _ in 0..9 {
        pass(&company, 3);
        made.extend(create(&company, entity, 400));
    }
    // Long ago, and three thousand changed since: far outside of what is looked at again.
    pass(&company, 86_400);
    let told = poller.poll().await;
    assert_eq!(sorted(told), all(object_type, &made, Created));
    assert!(company.served().iter().any(|served| served.path.ends_with("/query")));
    assert_eq!(poller.poll().await, []);
    company.forget();
    pass(&company, 600);
    company.world(|company| company.update(entity, &made[7], &json!({"Line": 0})));
    pass(&company, 1);
    assert_eq!(poller.poll().await, all(object_type, &made[7..8], Updated));
    assert!(company.served().iter().all(|served| served.path.ends_with("/cdc")), "all is given again");
}

#[tokio::test]
async fn more_than_is_given_is_asked_for_until_all_is_told() {
    more_than_is_given("Invoice", "invoices").await;
    more_than_is_given("Item", "products").await;
}

#[tokio::test]
async fn an_answer_of_exactly_as_many_as_there_can_be_loses_nothing() {
    for count in [999, 1000, 1001] {
        let company = start();
        let mut poller = poller(&company, "customers").await;
        pass(&company, 1);
        let made = create(&company, "Customer", count);
        company.world(|company| company.set_active("Customer", &made[0], false));
        pass(&company, 7_200);
        let told: Vec<Told> = sorted(poller.poll().await);
        assert_eq!(told, all("customers", &made, Created), "{count}");
        assert_eq!(poller.poll().await, [], "{count}");
    }
}

#[tokio::test]
async fn what_shifts_while_the_query_is_read_is_told() {
    let company = start();
    company.world(|company| company.cdc_limit = 1_000);
    let mut poller = poller(&company, "invoices").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        pass(&company, 2);
        made.extend(create(&company, "Invoice", 500));
    }
    pass(&company, 86_400);
    let moved = made[0].clone();
    company.plan(
        When::path("/query"),
        Fault::after(move |company: &mut QuickBooks| company.update("Invoice", &moved, &json!({"Line": 0}))),
    );
    let mut told = poller.poll().await;
    pass(&company, 1);
    told.extend(poller.poll().await);
    let ids: std::collections::BTreeSet<&str> = told.iter().map(|(_, id, _)| id.as_str()).collect();
    assert_eq!((ids.len(), told.len()), (made.len(), made.len() + 1), "and what changed again is told again");
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn faults_are_no_pages_whatever_their_status_and_move_nothing() {
    let company = start();
    let mut poller = poller(&company, "invoices").await;
    pass(&company, 1);
    let made = create(&company, "Invoice", 2);
    let fault = |code: &str| {
        let fault = json!({"Fault": {"Error": [{"Message": "m", "Detail": "d", "code": code}], "type": "SERVICE"}});
        Fault::Answer(Answer::json(200, &fault))
    };
    let failed = || Verdict::Failed { reason: "the provider tells of an error, status 200".into() };
    company.plan(When::next(), Fault::too_many(RetryAfter::Unsaid));
    assert_eq!(poller.step(0).await.verdict, limited(60));
    company.world(|company| company.throttle = Throttle::Xml);
    for (planned, expected) in [
        (Fault::too_many(RetryAfter::Seconds(7)), limited(7)),
        (fault("3001"), limited(60)),
        (fault("6000"), failed()),
        (Fault::broken(500), Verdict::Failed { reason: "the provider tells of an error, status 500".into() }),
        (Fault::ExpireTokens, Verdict::TokenExpired),
    ] {
        company.plan(When::next(), planned);
        assert_eq!(poller.step(0).await.verdict, expected);
    }
    assert!(poller.renewed());
    // A fault in the place of the objects, in an answer that is otherwise good.
    company.world(|company| company.set_broken("Invoice", true));
    assert_eq!(poller.step(0).await.verdict, failed());
    pass(&company, 7_200);
    company.world(|company| company.set_broken("Invoice", false));
    assert_eq!(sorted(poller.poll().await), all("invoices", &made, Created));
}
