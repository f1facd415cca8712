//! The notification as it is posted: the one place that speaks the old product's words.
//!
//! Field names, the string and number types, the topic and the date forms are those of captured notifications. `id` in
//! each event is an addition; configuration `event.notification.contract` = `strict` leaves it out.

use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{AccountId, Batch, Event, Notification, Source, Timestamp};

/// The sender that every captured notification names.
const SENDER: &str = "notifications@cloud-elements.com";

/// What the envelope says of its instance and that instance's owner.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The instance's name, as provisioned.
    pub name: &'a str,
    /// The instance's tags, as provisioned.
    pub tags: &'a [String],
    /// The owner: the contract's `accountId`.
    pub account: AccountId,
    /// The contract's `companyId`.
    pub company: u32,
    /// The contract's `userId`.
    pub user: u32,
    /// Leave out what the old product did not send.
    pub strict: bool,
}

/// The topic of an instance's notifications, e.g. `instance-523232-sfdc-events`.
#[must_use]
pub fn topic(batch: &Batch) -> String {
    format!("instance-{}-{}-events", batch.instance, batch.connector)
}

/// The body to post. A pure function of its arguments: every attempt posts the same bytes.
///
/// # Errors
/// When the batch's raw body is not one JSON value, which the receiver has made sure of.
pub fn body(
    recipient: &Recipient<'_>,
    batch: &Batch,
    notification: &Notification<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let raw: &RawValue = serde_json::from_slice(&batch.raw)?;
    let envelope = Envelope {
        severity: "medium",
        created_date: batch.accepted_at.java_date(),
        topic: topic(batch),
        action: "create",
        id: notification.id.label().to_string(),
        message: Message {
            element_key: &batch.connector,
            account_id: recipient.account.0,
            event_id: notification.id.as_str(),
            company_id: recipient.company,
            instance_id: batch.instance.number(),
            instance_id_again: batch.instance.number(),
            instance_name: recipient.name,
            instance_tags: recipient.tags,
            raw,
            user_id: recipient.user,
            events: Events { events: notification.events, batch, strict: recipient.strict },
        },
        user: SENDER,
    };
    let mut bytes = Vec::with_capacity(batch.raw.len() + 640 + 256 * notification.events.len());
    serde_json::to_writer(&mut bytes, &envelope)?;
    Ok(bytes)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    severity: &'a str,
    created_date: String,
    topic: String,
    action: &'a str,
    id: String,
    message: Message<'a>,
    user: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    element_key: &'a str,
    account_id: u32,
    event_id: &'a str,
    company_id: u32,
    instance_id: u32,
    #[serde(rename = "instance_id")]
    instance_id_again: u32,
    instance_name: &'a str,
    instance_tags: &'a [String],
    raw: &'a RawValue,
    user_id: u32,
    events: Events<'a>,
}

struct Events<'a> {
    events: &'a [Event],
    batch: &'a Batch,
    strict: bool,
}

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.events.len()))?;
        let mut last: Option<(Timestamp, String)> = None;
        for event in self.events {
            // Changes of one request mostly share their second, and writing a date is the costliest field.
            let at = Timestamp::from_seconds(self.batch.time_of(event).as_seconds());
            let date = match &last {
                Some((same, text)) if *same == at => text,
                _ => &last.insert((at, at.iso_seconds())).1,
            };
            let id = if self.strict { None } else { Some(event.id.as_str()) };
            list.serialize_element(&WireEvent::new(self.batch, event, id, date))?;
        }
        list.end()
    }
}

/// One event as the contract writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    date: &'a str,
    element_key: &'a str,
    /// When the poll began, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_date: Option<String>,
    event_type: &'a str,
    hub_key: &'a str,
    object_id: &'a str,
    object_type: &'a str,
}

impl<'a> WireEvent<'a> {
    pub(crate) fn new(batch: &'a Batch, event: &'a Event, id: Option<&'a str>, date: &'a str) -> Self {
        Self {
            id,
            date,
            element_key: &batch.connector,
            poll_date: (batch.source == Source::Poll).then(|| batch.accepted_at.iso_seconds()),
            event_type: event.event_type.as_str(),
            hub_key: &batch.hub,
            object_id: &event.object_id,
            object_type: &event.object_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::batch;
    use crate::{EventId, EventType, InstanceId};

    #[test]
    fn the_envelope_is_that_of_a_captured_notification() {
        let mut batch = batch(Source::Webhook, 1, None);
        batch.instance = "7950647".parse().unwrap();
        batch.accepted_at = Timestamp::from_millis(1_534_779_007_000);
        batch.raw = bytes::Bytes::from_static(br#"[{"objectId": 1.10}]"#);
        batch.events = vec![Event {
            id: EventId::of(InstanceId::from_random(1), "contacts", "14682", &["x"]),
            object_type: "contacts".into(),
            object_id: "14682".into(),
            event_type: EventType::Created,
            date: Timestamp::parse_rfc3339("2018-08-20T15:29:06.999Z"),
        }];
        let tags = ["Local".to_owned()];
        let mut recipient =
            Recipient { name: "Local", tags: &tags, account: AccountId(874), company: 291, user: 2749, strict: true };
        let notification = batch.notifications(batch.accepted_at).next().unwrap();
        let text = String::from_utf8(body(&recipient, &batch, &notification).unwrap()).unwrap();
        let (id, label) = (notification.id, notification.id.label());
        assert_eq!(
            text,
            format!(
                "{{\"severity\":\"medium\",\"createdDate\":\"Mon Aug 20 15:30:07 UTC 2018\",\"topic\":\"instance-7950647-hubspot-events\",\
                 \"action\":\"create\",\"id\":\"{label}\",\"message\":{{\"elementKey\":\"hubspot\",\"accountId\":874,\"eventId\":\"{id}\",\
                 \"companyId\":291,\"instanceId\":7950647,\"instance_id\":7950647,\"instanceName\":\"Local\",\"instanceTags\":[\"Local\"],\
                 \"raw\":[{{\"objectId\": 1.10}}],\"userId\":2749,\"events\":[{{\"date\":\"2018-08-20T15:29:06Z\",\"elementKey\":\"hubspot\",\
                 \"eventType\":\"CREATED\",\"hubKey\":\"crm\",\"objectId\":\"14682\",\"objectType\":\"contacts\"}}]}},\
                 \"user\":\"notifications@cloud-elements.com\"}}"
            )
        );
        recipient.strict = false;
        let value: serde_json::Value =
            serde_json::from_slice(&body(&recipient, &batch, &notification).unwrap()).unwrap();
        assert_eq!(value["message"]["events"][0]["id"], batch.events[0].id.as_str());
        assert!(value["id"].is_string() && value["message"]["instanceId"].is_u64());
    }

    #[test]
    fn an_event_of_a_poll_says_when_that_began() {
        let recipient = Recipient { name: "", tags: &[], account: AccountId(1), company: 1, user: 1, strict: true };
        for (source, expected) in [(Source::Poll, Some("2026-09-21T14:13:20Z")), (Source::Webhook, None)] {
            let batch = batch(source, 1, None);
            let notification = batch.notifications(batch.accepted_at).next().unwrap();
            let value: serde_json::Value =
                serde_json::from_slice(&body(&recipient, &batch, &notification).unwrap()).unwrap();
            assert_eq!(value["message"]["events"][0]["pollDate"].as_str(), expected);
        }
    }

    #[test]
    fn an_event_without_a_date_is_given_the_time_it_was_taken() {
        let batch = batch(Source::Webhook, 1, None);
        let recipient = Recipient { name: "", tags: &[], account: AccountId(1), company: 1, user: 1, strict: false };
        let notification = batch.notifications(batch.accepted_at).next().unwrap();
        let value: serde_json::Value =
            serde_json::from_slice(&body(&recipient, &batch, &notification).unwrap()).unwrap();
        assert_eq!(value["message"]["events"][0]["date"], batch.accepted_at.iso_seconds());
    }
}
