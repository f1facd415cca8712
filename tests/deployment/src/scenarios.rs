//! The scenarios. Each is a promise, told in its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use events::{InstanceId, SignatureKey, Timestamp};
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use simulators::http::{HttpApi, Needs};

use crate::{Client, Deployment, KEY, Received, SECRET, Sink, contact, until};

/// A test for each scenario. `$setup` is an async function without arguments that gives a
/// [`Deployment`].
#[macro_export]
macro_rules! deployment_scenarios {
    ($setup:path) => {
        $crate::deployment_scenarios! { $setup:
            a_change_at_each_named_provider_becomes_a_signed_notification
            a_signal_becomes_a_poll_job_that_is_done
            what_changes_at_a_polled_provider_is_told_signed_and_once
            a_failing_callback_is_tried_again_until_it_takes_the_notification
            a_wait_of_hours_ends_through_the_schedule
            what_is_not_proven_is_refused_and_counted
            a_redelivery_is_told_once
            a_large_webhook_becomes_several_notifications_in_whole
            every_instance_of_a_provider_account_is_told_at_its_own_callback
            a_changed_callback_and_key_count_from_the_next_delivery
            a_deleted_instance_is_told_nothing_more
            a_ping_says_how_the_callback_takes_it
        }
    };
    ($setup:path: $($scenario:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $scenario() {
            $crate::scenarios::$scenario(&mut $setup().await).await;
        }
    )*};
}

const CALLBACK: &str = "event.notification.callback.url";
const ACCOUNT: &str = "event.vendor.account";

/// A number that no other scenario of this run, or of one before on the same deployment, has.
#[must_use]
pub fn fresh() -> u32 {
    use std::sync::atomic::AtomicU32;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    (millis as u32 % 1_000_000) * 1000 + 10 * std::process::id() % 1000 + NEXT.fetch_add(1, Ordering::SeqCst)
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(now.as_millis().try_into().unwrap())
}

fn assert_signed(received: &Received, key: &str) {
    let key = SignatureKey::new(key.into()).unwrap();
    key.verify_elements(received.header("elements-webhook-signature"), &received.body).unwrap();
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let now = Timestamp::from_seconds(at.parse().unwrap());
    key.verify_standard(id, at, received.header("webhook-signature"), &received.body, now).unwrap();
    assert_eq!((received.header("elements-webhook-id"), received.id()), (id, id));
}

/// What a notification tells: element, and of each event type, id and what happened.
fn told(received: &Received) -> (String, Vec<[String; 3]>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let message = &received.json["message"];
    let events = message["events"].as_array().unwrap().iter();
    let events = events.map(|event| ["objectType", "objectId", "eventType"].map(|key| text(&event[key])));
    (text(&message["elementKey"]), events.collect())
}

async fn provision(client: &Client, connector: &str, account: &str, callback: &str) -> InstanceId {
    client.provision("Acme", connector, &[(ACCOUNT, account), (CALLBACK, callback)]).await
}

/// HubSpot, QuickBooks, Salesforce and Standard Webhooks, each with its own signature and body.
pub async fn a_change_at_each_named_provider_becomes_a_signed_notification(deployment: &mut impl Deployment) {
    let (client, sink, n) = (deployment.client(), Sink::new().await, fresh());

    provision(client, "hubspot", &n.to_string(), &sink.url).await;
    assert_eq!(client.hubspot_sends(&contact(n, [9_007_199_254_740_993])).await, Some(200));
    let received = sink.takes(1).await.pop().unwrap();
    assert_signed(&received, KEY);
    let contacts = ["contacts", "9007199254740993", "CREATED"].map(str::to_owned);
    assert_eq!(told(&received), ("hubspot".into(), vec![contacts]));

    let realm = n.to_string();
    provision(client, "quickbooks", &realm, &sink.url).await;
    let entity = |name: &str, id: u32, operation: &str| json!({ "name": name, "id": id.to_string(), "operation": operation, "lastUpdated": "2026-11-24T10:00:00Z" });
    let entities = [entity("Customer", 1, "Create"), entity("Invoice", 2, "Delete")];
    let body = json!({ "eventNotifications": [{ "realmId": realm, "dataChangeEvent": { "entities": entities } }] });
    assert_eq!(client.sends("quickbooks", None, "", &body.to_string()).await, Some(200));
    let received = sink.takes(2).await.pop().unwrap();
    assert_signed(&received, KEY);
    let events = [["customers", "1", "CREATED"], ["invoices", "2", "DELETED"]].map(|event| event.map(str::to_owned));
    assert_eq!(told(&received), ("quickbooks".into(), events.to_vec()));
    assert_eq!(received.json["message"]["raw"], body);

    let organization = format!("00D{n:012}");
    let instance = provision(client, "sfdc", &organization, &sink.url).await;
    assert_eq!(client.sends("sfdc", Some(instance), "", &outbound_message(&organization)).await, Some(200));
    let received = sink.takes(3).await.pop().unwrap();
    assert_signed(&received, KEY);
    let contact = ["Contact", "0035g00000AbCdEAAV", "CREATED"].map(str::to_owned);
    assert_eq!(told(&received), ("sfdc".into(), vec![contact]));
    assert!(!std::str::from_utf8(&received.body).unwrap().contains(SECRET), "the token of the URL is told to nobody");

    let instance = client.provision("Acme", "standard", &[(CALLBACK, sink.url.as_str())]).await;
    let body = r#"{"type":"contact.created","timestamp":"2026-11-24T10:00:00Z","data":{"id":"1"}}"#;
    assert_eq!(client.sends("standard", Some(instance), "msg_1", body).await, Some(200));
    assert_eq!(told(&sink.takes(4).await.pop().unwrap()).1, [["contact", "1", "CREATED"].map(str::to_owned)]);
}

/// Salesforce's Outbound Message of a contact that was created.
fn outbound_message(organization: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">
  <OrganizationId>{organization}</OrganizationId><ActionId>04k5g000000TmxsAAC</ActionId><SessionId xsi:nil="true"/>
  <Notification><Id>04l5g000001aBcDAAU</Id>
   <sObject xsi:type="sf:Contact" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>0035g00000AbCdEAAV</sf:Id>
    <sf:CreatedDate>2026-11-24T10:00:00.000Z</sf:CreatedDate><sf:LastModifiedDate>2026-11-24T10:00:00.000Z</sf:LastModifiedDate>
   </sObject></Notification>
 </notifications></soapenv:Body></soapenv:Envelope>"#
    )
}

/// Dropbox says only whose files changed.
pub async fn a_signal_becomes_a_poll_job_that_is_done(deployment: &mut impl Deployment) {
    let (client, account) = (deployment.client(), format!("dbid:{}", fresh()));
    let settings = [(ACCOUNT, account.as_str()), ("event.notification.enabled", "true")];
    let id = client.provision("Acme", "dropbox", &settings).await.to_string();
    let polls = async |count: usize| {
        let said = async || (deployment.logged(&[&id, "oauth.user.token"]).await.len() >= count).then_some(());
        until("a line about a poll, which lacks a token", said).await;
    };
    polls(1).await;
    let body = json!({ "list_folder": { "accounts": [account] }, "delta": { "users": [1] } }).to_string();
    assert_eq!(client.sends("dropbox", None, "", &body).await, Some(200));
    polls(2).await;
}

/// An instance is polled at once when it is made, and when it is changed.
pub async fn what_changes_at_a_polled_provider_is_told_signed_and_once(deployment: &mut impl Deployment) {
    let (client, sink) = (deployment.client(), Sink::new().await);
    let key = format!("s3cret-of-the-api-{}", fresh());
    let api = HttpApi::start(now().minus(Duration::from_secs(60)));
    api.world(|api| {
        api.needs = Needs::Header("x-key".into(), key.clone());
        api.create("things", &json!({}));
    });
    let dates = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";
    let things = json!({"things": {
        "url": format!("/next/things?updated_since=${{gmtDate:{dates}}}"),
        "recordsField": "value",
        "idField": "id",
        "datesConfiguration": {
            "updatedDateField": "updated_at", "updatedDateFormat": dates,
            "createdDateField": "created_at", "createdDateFormat": dates,
        },
        "pagination": {"url": {"at": "next"}},
    }});
    let things = things.to_string();
    let settings = [
        ("base.url", api.url()),
        ("authentication.type", "header"),
        ("api.key.header", "X-Key"),
        ("api.key", &key),
        ("event.poller.configuration", &things),
        (CALLBACK, &sink.url),
    ];
    let instance = client.provision("Acme", "http", &settings).await;
    let polls = async |count: usize| {
        let asked = async || (api.served().len() >= count).then_some(());
        until("a poll", asked).await;
    };
    polls(1).await;

    api.clock().set(now());
    let id = api.world(|api| api.create("things", &json!({"name": "new"})));
    // What a second holds is told once it is over.
    api.clock().advance(Duration::from_secs(2));
    client.configure(instance, "event.poller.refresh_interval", "20").await;
    let received = sink.takes(1).await.remove(0);
    assert_signed(&received, KEY);
    assert_eq!(told(&received), ("http".into(), vec![["things", &id, "CREATED"].map(str::to_owned)]));

    let before = api.served().len();
    client.configure(instance, "event.poller.refresh_interval", "25").await;
    polls(before + 1).await;
    client.stands(instance, "NOTIFIED").await;
    assert_eq!(client.history(instance).await.len(), 1, "what was told is not told again");
    assert_eq!(deployment.logged(&[&key]).await, [""; 0]);
}

/// A callback that answers 503 until it is told to work.
async fn broken() -> (Sink, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&works);
    let sink = Sink::answering(move |_, _| match asked.load(Ordering::SeqCst) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    });
    (sink.await, works)
}

/// The first retry comes by a delayed message.
pub async fn a_failing_callback_is_tried_again_until_it_takes_the_notification(deployment: &mut impl Deployment) {
    let (client, (sink, works), n) = (deployment.client(), broken().await, fresh());
    let instance = client.hubspot(n, &sink.url).await;
    assert_eq!(client.hubspot_sends(&contact(n, [1, 2])).await, Some(200));
    let refused = sink.receives(1).await.remove(0);
    let entry = client.stands(instance, "DISPATCHED").await;
    assert_eq!(entry["delivery"]["attempts"][0]["status"], 503);
    works.store(true, Ordering::SeqCst);
    let taken = sink.takes(1).await.remove(0);
    assert_eq!((taken.id(), taken.events(), &taken.body), (refused.id(), refused.events(), &refused.body));
    let entry = client.stands(instance, "NOTIFIED").await;
    let attempts = entry["delivery"]["attempts"].as_array().unwrap();
    assert_eq!((&attempts[0]["status"], &attempts.last().unwrap()["status"]), (&json!(503), &json!(200)));
}

/// Longer than a message can be delayed: the wait is an item of the table, which the sweep finds.
pub async fn a_wait_of_hours_ends_through_the_schedule(deployment: &mut impl Deployment) {
    let (client, n) = (deployment.client().clone(), fresh());
    let (sink, works) = broken().await;
    let sink = sink.asking_for("7200");
    let instance = client.hubspot(n, &sink.url).await;
    assert_eq!(client.hubspot_sends(&contact(n, [1])).await, Some(200));
    let refused = sink.receives(1).await.remove(0);
    let entry = client.stands(instance, "DISPATCHED").await;
    assert_eq!(entry["delivery"]["attempts"].as_array().unwrap().len(), 1, "{entry}");
    works.store(true, Ordering::SeqCst);
    deployment.waits_pass().await;
    let taken = sink.takes(1).await.remove(0);
    assert_eq!((taken.id(), &taken.body), (refused.id(), &refused.body));
    deployment.client().stands(instance, "NOTIFIED").await;
}

/// It is answered 401, tells nobody, and an operator can read that it came.
pub async fn what_is_not_proven_is_refused_and_counted(deployment: &mut impl Deployment) {
    let (client, sink, n) = (deployment.client(), Sink::new().await, fresh());
    let instance = client.hubspot(n, &sink.url).await;
    assert_eq!(client.sends_unsigned("hubspot", &contact(n, [1])).await, 401);
    assert_eq!(client.hubspot_sends(&contact(n, [2])).await, Some(200));
    assert_eq!(sink.takes(1).await[0].events()[0].0, "2");
    client.stands(instance, "NOTIFIED").await;
    assert_eq!(client.history(instance).await.len(), 1);
    let of_instance = |sample: &Value| sample.to_string().contains(&instance.to_string());
    until("the refusal, counted with a sample", async || {
        let (_, refused) = client.get("/elements/api-v2/refused").await;
        let refused: Vec<Value> = serde_json::from_str(&refused).ok()?;
        let missing = refused.iter().filter(|line| line["reason"] == "signature_missing");
        missing.flat_map(|line| line["samples"].as_array().cloned().unwrap_or_default()).find(of_instance)
    })
    .await;
}

/// HubSpot sends a webhook again when it saw no answer in time, and counts its attempts.
pub async fn a_redelivery_is_told_once(deployment: &mut impl Deployment) {
    let (client, sink, n) = (deployment.client(), Sink::new().await, fresh());
    let instance = client.hubspot(n, &sink.url).await;
    let webhook = contact(n, [1, 2]);
    assert_eq!(client.hubspot_sends(&webhook).await, Some(200));
    client.stands(instance, "NOTIFIED").await;
    let again = webhook.replace("\"attemptNumber\":0", "\"attemptNumber\":1");
    assert_ne!(again, webhook);
    assert_eq!(client.hubspot_sends(&again).await, Some(200));
    assert_eq!(client.hubspot_sends(&contact(n, [3])).await, Some(200));
    let received = sink.takes(2).await;
    assert_eq!(received[1].events()[0].0, "3", "what comes after it is told next");
    until("both written down", async || (client.history(instance).await.len() == 2).then_some(())).await;
    assert_eq!(sink.received().len(), 2);
}

/// 100 changes in more than a message of the queue holds: five notifications, the whole body in each.
pub async fn a_large_webhook_becomes_several_notifications_in_whole(deployment: &mut impl Deployment) {
    let (client, sink, n) = (deployment.client(), Sink::new().await, fresh());
    client.hubspot(n, &sink.url).await;
    let mut changes: Vec<Value> = serde_json::from_str(&contact(n, 1..=100)).unwrap();
    changes.iter_mut().for_each(|change| change["propertyValue"] = "x".repeat(1000).into());
    let webhook = Value::Array(changes).to_string();
    assert!(webhook.len() > 64 * 1024);
    assert_eq!(client.hubspot_sends(&webhook).await, Some(200));
    let received = sink.takes(5).await;
    let raw = format!("\"raw\":{webhook}");
    assert!(received.iter().all(|one| std::str::from_utf8(&one.body).unwrap().contains(&raw)));
    assert!(received.iter().all(|one| one.events().len() == 20));
    let mut objects: Vec<u32> =
        received.iter().flat_map(Received::events).map(|(object, _)| object.parse().unwrap()).collect();
    objects.sort_unstable();
    assert_eq!(objects, (1..=100).collect::<Vec<_>>());
}

/// Two instances of one portal, one of whose callbacks is down: the other one's is told at once.
pub async fn every_instance_of_a_provider_account_is_told_at_its_own_callback(deployment: &mut impl Deployment) {
    let (client, n) = (deployment.client(), fresh());
    let (healthy, (dead, _)) = (Sink::new().await, broken().await);
    let (first, second) = (client.hubspot(n, &dead.url).await, client.hubspot(n, &healthy.url).await);
    assert_ne!(first, second);
    assert_eq!(client.hubspot_sends(&contact(n, [7])).await, Some(200));
    let received = healthy.takes(1).await.remove(0);
    assert_eq!(received.json["message"]["instanceId"], second.number());
    let refused = dead.receives(1).await.remove(0);
    assert_eq!(refused.json["message"]["instanceId"], first.number());
    assert_ne!(refused.id(), received.id());
}

/// The configuration that counts is the one of the moment of the delivery.
pub async fn a_changed_callback_and_key_count_from_the_next_delivery(deployment: &mut impl Deployment) {
    let (client, n) = (deployment.client(), fresh());
    let (before, after) = (Sink::new().await, Sink::new().await);
    let instance = client.hubspot(n, &before.url).await;
    assert_eq!(client.hubspot_sends(&contact(n, [1])).await, Some(200));
    assert_signed(&before.takes(1).await[0], KEY);
    client.configure(instance, CALLBACK, &after.url).await;
    client.configure(instance, "event.notification.signature.key", "AnotherKey").await;
    assert_eq!(client.hubspot_sends(&contact(n, [2])).await, Some(200));
    assert_signed(&after.takes(1).await[0], "AnotherKey");
    assert_eq!(before.received().len(), 1);
}

/// Also what was owed to it is dropped, and its webhooks are taken without telling anybody.
pub async fn a_deleted_instance_is_told_nothing_more(deployment: &mut impl Deployment) {
    let (client, sink, n) = (deployment.client(), Sink::new().await, fresh());
    let (gone, stays) = (client.hubspot(n, &sink.url).await, client.hubspot(n, &sink.url).await);
    let path = format!("/elements/api-v2/instances/{gone}");
    assert_eq!(client.call(Method::DELETE, &path, None).await.0, 200);
    assert_eq!(client.get(&path).await.0, 404);
    assert_eq!(client.hubspot_sends(&contact(n, [1])).await, Some(200));
    let received = sink.takes(1).await;
    client.stands(stays, "NOTIFIED").await;
    assert_eq!(sink.received().len(), 1);
    assert_eq!(received[0].json["message"]["instanceId"], stays.number());
}

/// Whether a callback can be told at all is known without waiting for a change.
pub async fn a_ping_says_how_the_callback_takes_it(deployment: &mut impl Deployment) {
    let (client, (sink, works), n) = (deployment.client(), broken().await, fresh());
    let instance = client.hubspot(n, &sink.url).await;
    let path = format!("/elements/api-v2/instances/{instance}/ping");
    let ping = async || {
        let (status, body) = client.call(Method::POST, &path, None).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    assert_eq!(ping().await["status"], 503);
    works.store(true, Ordering::SeqCst);
    assert_eq!(ping().await["status"], 200);
    assert_eq!(sink.taken().len(), 1);
}
