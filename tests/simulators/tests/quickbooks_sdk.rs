//! What `python-quickbooks` and `intuit-oauth` see of the simulator.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::at;
use events::time::DAY_MS;
use serde_json::{Value, json};
use simulators::quickbooks::{QuickBooks, Throttle};
use simulators::sdk::Client;
use simulators::{Fault, RetryAfter, Simulator, When};

const START: &str = "2026-03-07T20:00:00.123Z";
const REALM: &str = "9341453474484455";

fn start() -> (Simulator<QuickBooks>, Client) {
    let quickbooks = QuickBooks::start(at(START));
    let refresh_token = quickbooks.world(QuickBooks::connect).refresh;
    let mut client = Client::start(include_str!("../src/sdk/quickbooks.py"), quickbooks.url());
    client.value("auth", &json!({"refresh_token": refresh_token}));
    client.value("connect", &json!({"realm": REALM}));
    (quickbooks, client)
}

fn create(quickbooks: &Simulator<QuickBooks>, entity: &str, name: &str) -> String {
    quickbooks.world(|company| company.create(entity, &json!({"DisplayName": name})))
}

/// A new access token: the clock was turned beyond the old one's hour.
fn renew(client: &mut Client) {
    client.value("refresh", &json!({}));
    client.value("connect", &json!({"realm": REALM}));
}

fn ids(objects: &Value) -> Vec<&str> {
    objects.as_array().unwrap().iter().map(|object| object["Id"].as_str().unwrap()).collect()
}

#[test]
fn changes_of_several_entities_come_in_one_answer_with_deleted_ones_among_them() {
    let (quickbooks, mut client) = start();
    let acme = create(&quickbooks, "Customer", "Acme");
    let gone = quickbooks.world(|company| company.create("Invoice", &json!({"DocNumber": "7"})));
    let since = "2026-03-07T12:00:30-08:00";
    quickbooks.clock().advance(Duration::from_secs(60));
    quickbooks.world(|company| {
        company.update("Customer", &acme, &json!({"DisplayName": "Ace"}));
        company.delete("Invoice", &gone);
    });
    let changes = client.value("cdc", &json!({"entities": ["Customer", "Invoice", "Vendor"], "since": since}));
    assert_eq!(changes["time"], "2026-03-07T12:01:00.123-08:00");
    assert_eq!(
        changes["found"],
        json!({
            "Customer": [{
                "Id": acme, "SyncToken": "1", "status": null, "name": "Ace", "updated": "2026-03-07T12:01:00-08:00",
            }],
            "Invoice": [{
                "Id": gone, "SyncToken": 0, "status": "Deleted", "name": null, "updated": "2026-03-07T12:01:00-08:00",
            }],
        })
    );
    // The next night California's clocks go forward, and the offset with them.
    quickbooks.clock().set(at("2026-03-09T20:00:00Z"));
    renew(&mut client);
    create(&quickbooks, "Customer", "Late");
    let later = client.value("cdc_at", &json!({"entities": ["Customer"], "since": "2026-03-09T12:59:59"}));
    assert_eq!(later["found"]["Customer"][0]["updated"], "2026-03-09T13:00:00-07:00");
    assert_eq!(later["found"]["Customer"].as_array().unwrap().len(), 1);
}

#[test]
fn change_data_capture_ends_at_a_thousand_objects_and_does_not_say_so() {
    let (quickbooks, mut client) = start();
    quickbooks.world(|company| {
        for _ in 0..990 {
            company.create("Customer", &json!({}));
        }
        for _ in 0..20 {
            company.create("Invoice", &json!({}));
        }
    });
    let found = |client: &mut Client, entities: &[&str]| -> Vec<usize> {
        let changes = client.value("cdc", &json!({"entities": entities, "since": "2026-03-07T11:00:00-08:00"}));
        entities.iter().map(|entity| changes["found"][entity].as_array().map_or(0, Vec::len)).collect()
    };
    assert_eq!(found(&mut client, &["Customer", "Invoice", "Vendor"]), [990, 10, 0]);
    assert_eq!(found(&mut client, &["Invoice"]), [20]);
    create(&quickbooks, "Vendor", "unseen");
    assert_eq!(found(&mut client, &["Customer", "Invoice", "Vendor"]), [990, 10, 0]);
}

#[test]
fn it_looks_back_thirty_days() {
    let (quickbooks, mut client) = start();
    create(&quickbooks, "Customer", "Acme");
    quickbooks.clock().advance(Duration::from_millis(30 * DAY_MS.unsigned_abs()));
    renew(&mut client);
    let since = |since: &str| json!({"entities": ["Customer"], "since": since});
    assert_eq!(client.value("cdc", &since("2026-03-07T20:00:00.123Z"))["found"], json!({}));
    let raised = client.raised("cdc", &since("2026-03-07T20:00:00.122Z"));
    assert_eq!((raised.kind.as_str(), &raised.details["code"]), ("UnsupportedException", &json!(500)));
    let detail = raised.details["detail"].as_str().unwrap();
    assert!(detail.contains("which is older than fixed days is not supported"), "{detail}");
}

#[test]
fn queries_page_by_position_and_do_not_see_what_is_deleted_or_inactive() {
    let (quickbooks, mut client) = start();
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(create(&quickbooks, "Customer", &format!("c{number}")));
        quickbooks.clock().advance(Duration::from_secs(1));
    }
    assert_eq!(client.value("count", &json!({"entity": "Customer"})), 5);
    let page = |client: &mut Client, start: usize| {
        client.value("all", &json!({"entity": "Customer", "start": start, "most": 2}))
    };
    assert_eq!(ids(&page(&mut client, 1)), made[..2]);
    assert_eq!(ids(&page(&mut client, 3)), made[2..4]);
    assert_eq!(ids(&page(&mut client, 5)), made[4..]);
    quickbooks.world(|company| company.set_active("Customer", &made[1], false));
    assert_eq!(client.value("count", &json!({"entity": "Customer"})), 4);
    assert_eq!(page(&mut client, 5), json!([]));
    // The others moved up: whoever counts misses one.
    assert_eq!(ids(&page(&mut client, 3)), made[3..]);
    let all = "SELECT * FROM Customer WHERE Active IN (true, false) AND Metadata.LastUpdatedTime >= '2026-03-07T20:00:00Z' \
               ORDERBY Id STARTPOSITION 1 MAXRESULTS 1000";
    assert_eq!(ids(&client.value("query", &json!({"entity": "Customer", "query": all}))), made);
    let invoice = quickbooks.world(|company| company.create("Invoice", &json!({"DocNumber": "7"})));
    assert_eq!(client.value("get", &json!({"entity": "Invoice", "id": invoice}))["name"], "7");
    quickbooks.world(|company| company.delete("Invoice", &invoice));
    assert_eq!(client.value("count", &json!({"entity": "Invoice"})), 0);
    let raised = client.raised("get", &json!({"entity": "Invoice", "id": invoice}));
    assert_eq!(raised.kind, "ObjectNotFoundException");
}

#[test]
fn faults_are_its_exceptions_even_where_they_come_with_200() {
    let (quickbooks, mut client) = start();
    let cdc = json!({"entities": ["Customer", "Invoice"], "since": START});

    let fault =
        quickbooks.world(|company| company.fault(200, "SystemFault", "10000", "An application error", "detail"));
    quickbooks.plan(When::path("/cdc"), Fault::Answer(fault));
    let raised = client.raised("cdc", &cdc);
    assert_eq!((raised.kind.as_str(), &raised.details["code"]), ("SevereException", &json!(10_000)));

    quickbooks.plan(When::next(), Fault::too_many(RetryAfter::Unsaid));
    let raised = client.raised("cdc", &cdc);
    assert_eq!((raised.kind.as_str(), &raised.details["code"]), ("ValidationException", &json!(3001)));

    // As it really happened to this library.
    quickbooks.world(|company| company.throttle = Throttle::Xml);
    quickbooks.plan(When::next(), Fault::too_many(RetryAfter::Unsaid));
    let raised = client.raised("cdc", &cdc);
    assert_eq!(raised.kind, "QuickbooksException");
    assert!(raised.details["message"].as_str().unwrap().starts_with("Error reading json response: <?xml"));

    quickbooks.plan(When::next(), Fault::broken(500));
    assert_eq!(client.raised("cdc", &cdc).kind, "SevereException");

    for (query, code) in [("SELECT * FROM Customer OR", 4000), ("SELECT * FROM Customer WHERE Colour = 'red'", 4001)] {
        let raised = client.raised("query", &json!({"entity": "Customer", "query": query}));
        assert_eq!((raised.kind.as_str(), &raised.details["code"]), ("ValidationException", &json!(code)), "{query}");
    }

    quickbooks.plan(When::next(), Fault::HangUpBefore);
    assert_eq!(client.raised("cdc", &cdc).kind, "ConnectionError");
}

#[test]
fn an_entitys_own_fault_hides_in_a_success() {
    let (quickbooks, mut client) = start();
    let acme = create(&quickbooks, "Customer", "Acme");
    quickbooks.world(|company| company.create("Invoice", &json!({})));
    quickbooks.world(|company| company.set_broken("Invoice", true));
    let request = json!({"entities": ["Customer", "Invoice"], "since": "2026-03-07T11:00:00-08:00"});
    let changes = client.value("cdc", &request);
    // The library does not notice.
    assert_eq!(ids(&changes["found"]["Customer"]), [&acme]);
    assert_eq!(changes["found"].get("Invoice"), None);
    quickbooks.world(|company| company.set_broken("Invoice", false));
    assert_eq!(client.value("cdc", &request)["found"]["Invoice"].as_array().unwrap().len(), 1);
}

#[test]
fn the_refresh_token_is_another_one_after_a_day_and_the_old_one_is_dead() {
    let (quickbooks, mut client) = start();
    let first = client.value("refresh", &json!({}));
    assert_eq!((&first["expires_in"], &first["x_refresh_token_expires_in"]), (&json!(3600), &json!(8_726_400)));
    quickbooks.clock().advance(Duration::from_secs(3601));
    let raised = client.raised("count", &json!({"entity": "Customer"}));
    assert_eq!((raised.kind.as_str(), &raised.details["code"]), ("AuthorizationException", &json!(401)));
    assert!(raised.details["detail"].as_str().unwrap().contains("errorCode=003200"));
    let same = client.value("refresh", &json!({}));
    assert_eq!(same["refresh_token"], first["refresh_token"]);

    quickbooks.clock().advance(Duration::from_millis(DAY_MS.unsigned_abs()));
    let renewed = client.value("refresh", &json!({}));
    assert_ne!(renewed["refresh_token"], first["refresh_token"]);
    let raised = client.raised("refresh", &json!({"refresh_token": first["refresh_token"]}));
    assert_eq!((raised.kind.as_str(), &raised.details["status"]), ("AuthClientError", &json!(400)));
    assert_eq!(raised.details["body"]["error"], "invalid_grant");
    client.value("connect", &json!({"realm": REALM}));
    assert_eq!(client.value("count", &json!({"entity": "Customer"})), 0);
}

#[test]
fn a_code_and_the_company_of_the_redirect_bring_tokens_until_they_are_revoked() {
    let (quickbooks, mut client) = start();
    let code = quickbooks.world(|company| company.grants.agree(REALM, "https://pollhook.example/oauth"));
    client.value("auth", &json!({}));
    client.value("exchange", &json!({"code": code, "realm": REALM}));
    client.value("connect", &json!({"realm": REALM}));
    assert_eq!(client.value("count", &json!({"entity": "Customer"})), 0);
    client.value("connect", &json!({"realm": "123"}));
    let raised = client.raised("count", &json!({"entity": "Customer"}));
    assert!(raised.details["message"].as_str().unwrap().contains("status code '403'"), "{raised:?}");
    assert_eq!(client.value("revoke", &json!({})), true);
    assert_eq!(client.raised("refresh", &json!({})).details["body"]["error"], "invalid_grant");
    client.value("auth", &json!({"refresh_token": "any", "secret": "wrong"}));
    assert_eq!(
        client.raised("refresh", &json!({})).details,
        json!({"status": 401, "body": {"error": "invalid_client"}})
    );
}
