//! Salesforce signs nothing: a token in the URL, and the org's own id, prove who sends.

#![allow(clippy::unwrap_used)]

mod common;

use common::{SECRET, batches, counts, everything, of, own, queued, refused, taken, world};
use events::InstanceId;
use http::{StatusCode, header};
use records::refused::Reason;
use scenarios::{Webhook, World};

const ORG: &str = "00D000000000001EAA";
const SESSION: &str = "00D000000000001!AQ0AQsession";

/// An Outbound Message of `records` accounts of `org`.
fn message(org: &str, records: usize) -> String {
    let one = |n: usize| {
        format!(
            r#"<Notification><Id>04l{n:015}</Id><sObject xsi:type="sf:Account" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>001{n:015}</sf:Id><sf:Name>&lt;{n}&gt;</sf:Name></sObject></Notification>"#
        )
    };
    let notifications: String = (0..records).map(one).collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>{org}</OrganizationId><ActionId>04k1</ActionId><SessionId>{SESSION}</SessionId>{notifications}</notifications></soapenv:Body></soapenv:Envelope>"#
    )
}

fn sent(body: String) -> Webhook {
    Webhook::new("sfdc", SECRET, body).header("content-type", "text/xml; charset=utf-8")
}

async fn org(world: &World, id: &str) -> InstanceId {
    world.make(of("sfdc").account(id)).await.id
}

#[tokio::test]
async fn a_message_is_acknowledged_as_salesforce_wants_it() {
    let world = world(4_001).await;
    let instance = org(&world, ORG).await;
    let answer = world.answer(sent(message(ORG, 1)).path(&own(instance)).request(world.now())).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/xml; charset=utf-8");
    assert_eq!(answer.body().matches("<Ack>true</Ack>").count(), 1, "{}", answer.body());
    assert_eq!(queued(&world)[0].events[0].object_id, "001000000000000000");
}

#[tokio::test]
async fn without_the_token_or_with_another_nothing_is_taken_also_of_json() {
    let mut world = world(4_002).await;
    let instance = org(&world, ORG).await;
    world.restart();
    let json = r#"{"action":"update","objects":[{"attributes":{"type":"Contact"},"Id":"003000000000001"}]}"#;
    let (mut refusals, wrong) = (0, ["token=", "token=another", "Token=the+app%27s+secret", "x=1"]);
    for body in [message(ORG, 1), json.to_owned()] {
        for query in wrong.iter().copied().chain(["", "token=the+app%27s+secret&token=the+app%27s+secret"]) {
            let webhook = sent(body.clone()).unsigned().path(&own(instance)).query(query);
            let (status, text) = world.send(&webhook).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{query}");
            assert!(!text.contains("<Ack>") && !text.contains(SECRET), "{text}");
            refusals += 1;
        }
        taken(&world, &sent(body).unsigned().path(&own(instance)).query("token=the+app%27s+secret")).await;
    }
    assert_eq!(queued(&world).len(), 2);
    assert_eq!(refused(&world, "sfdc").await.values().sum::<u64>(), refusals);
}

#[tokio::test]
async fn another_org_s_message_is_refused_and_the_reason_is_told() {
    let world = world(4_003).await;
    let instance = org(&world, ORG).await;
    let foreign = sent(message("00D000000000002EAA", 1)).path(&own(instance));
    let (status, text) = world.send(&foreign).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(text.contains("another account"), "{text}");
    let case_differs = sent(message("00d000000000001EAA", 1)).path(&own(instance));
    assert_eq!(world.send(&case_differs).await.0, StatusCode::UNAUTHORIZED, "an id's case counts");
    assert_eq!(queued(&world), []);
    assert_eq!(refused(&world, "sfdc").await, counts(&[(Reason::UnknownAccount, 2)]));
}

#[tokio::test]
async fn a_message_that_names_no_org_is_refused_and_the_json_of_triggers_that_never_does_is_taken() {
    let world = world(4_009).await;
    let instance = org(&world, ORG).await;
    let named = format!("<OrganizationId>{ORG}</OrganizationId>");
    for unnamed in ["", "<OrganizationId></OrganizationId>", "<OrganizationId/>"] {
        let body = message(ORG, 1).replace(&named, unnamed);
        assert!(!body.contains(ORG));
        let (status, text) = world.send(&sent(body).path(&own(instance))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{unnamed:?}: {text}");
        assert!(text.contains("another account"), "{text}");
    }
    assert_eq!(queued(&world), []);
    assert_eq!(refused(&world, "sfdc").await, counts(&[(Reason::UnknownAccount, 3)]));
    let json = r#"{"action":"update","objects":[{"attributes":{"type":"Contact"},"Id":"003000000000001"}]}"#;
    taken(&world, &Webhook::new("sfdc", SECRET, json).path(&own(instance))).await;
    assert_eq!(queued(&world)[0].events[0].object_id, "003000000000001");
}

#[tokio::test]
async fn an_org_is_the_same_by_15_and_by_18_characters() {
    for (seed, configured, sent_as) in [(4_004, &ORG[..15], ORG), (4_005, ORG, &ORG[..15]), (4_006, ORG, ORG)] {
        let world = world(seed).await;
        let instance = org(&world, configured).await;
        taken(&world, &sent(message(sent_as, 1)).path(&own(instance))).await;
        // Without a path the org's id in the message finds the instance.
        taken(&world, &sent(message(sent_as, 1))).await;
        let told: Vec<InstanceId> = queued(&world).iter().map(|batch| batch.instance).collect();
        assert_eq!(told, [instance, instance], "{configured} {sent_as}");
    }
}

#[tokio::test]
async fn a_hundred_notifications_are_five_of_ours_and_what_is_shown_is_an_object_that_lists_them() {
    let world = world(4_007).await;
    let instance = org(&world, ORG).await;
    taken(&world, &sent(message(ORG, 100)).path(&own(instance))).await;
    let batches = batches(&world).await;
    assert_eq!((batches.len(), batches[0].events.len()), (1, 100));
    let sizes: Vec<usize> = batches[0].notifications(world.now()).map(|n| n.events.len()).collect();
    assert_eq!(sizes, [20; 5]);
    let raw: serde_json::Value = serde_json::from_slice(&batches[0].raw).unwrap();
    assert_eq!(raw["Notification"].as_array().unwrap().len(), 100);
    assert_eq!(raw["OrganizationId"], ORG);
    assert_eq!(raw["Notification"][7]["sObject"]["Name"], "<7>");
}

#[tokio::test]
async fn neither_the_session_nor_the_token_is_in_anything_that_is_kept() {
    let (logs, _guard) = scenarios::Logs::capture();
    let world = world(4_008).await;
    let instance = org(&world, ORG).await;
    taken(&world, &sent(message(ORG, 1)).path(&own(instance))).await;
    taken(&world, &sent(message(ORG, 100)).path(&own(instance))).await;
    let json = format!(
        r#"{{"SessionId":"{SESSION}","action":"update","objects":[{{"Id":"003000000000001"}}],"\u0053essionId":"{SESSION}"}}"#
    );
    taken(&world, &Webhook::new("sfdc", SECRET, json).path(&own(instance))).await;
    // Refused ones, too.
    assert_eq!(world.send(&sent(message("00D000000000002", 1)).path(&own(instance))).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(world.send(&sent("<".into()).path(&own(instance))).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(refused(&world, "sfdc").await.len(), 2);
    assert_eq!(batches(&world).await.len(), 3);
    let (kept, logged) = (everything(&world).await, logs.text());
    assert!(kept.contains("003000000000001") && kept.contains(ORG), "what is searched holds what was sent");
    assert!(!logged.is_empty());
    for secret in [SESSION, SECRET, "the+app%27s+secret"] {
        assert!(!kept.contains(secret), "{secret}");
        assert!(!logged.contains(secret), "{secret}");
    }
}
