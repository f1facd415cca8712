//! One event as the event bus takes it: what a flow that it starts is told.
//!
//! *Promise:* one entry for each event object, with the contract's trigger context (its §10: `type`, `eventId`, `instanceId`,
//! `event`) and, beside it, whose event it is and the notification that told it. A pure function: a repeat makes the same
//! bytes. `eventId` is the event's own id, the same on every path to the bus, so that a flow can drop what it has seen; the
//! contract put the notification's id there, under which the bus's entries of one notification could not be told apart.
//!
//! *Does not promise:* the provider's body. An entry is small whatever the provider sent, as the contract's is: a flow reads
//! the object by its id, or the notification by `notificationId`.

use serde::Serialize;

use crate::envelope::WireEvent;
use crate::{AccountId, Batch, Event, NotificationId};

/// Who tells: rules of the bus match on it.
pub const SOURCE: &str = "pollhook";

/// What is told: rules of the bus match on it, too.
pub const DETAIL_TYPE: &str = "Change";

/// What a flow is told of `event`, one of `batch`'s: a JSON object.
#[must_use]
pub fn detail(account: AccountId, batch: &Batch, notification: NotificationId, event: &Event) -> String {
    let date = batch.time_of(event).iso_seconds();
    let detail = Detail {
        kind: "event",
        event_id: event.id.as_str(),
        notification_id: notification.as_str(),
        instance_id: batch.instance.number(),
        account_id: account.0,
        event: WireEvent::new(batch, event, Some(event.id.as_str()), &date),
    };
    // A struct of text and numbers, written to memory: there is nothing that could fail.
    serde_json::to_string(&detail).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    event_id: &'a str,
    notification_id: &'a str,
    instance_id: u32,
    account_id: u32,
    event: WireEvent<'a>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::batch::tests::batch;
    use crate::{EventId, EventType, InstanceId, Source, Timestamp};

    #[test]
    fn an_entry_is_the_contracts_trigger_context_and_names_whose_it_is() {
        let date = Timestamp::parse_rfc3339("2016-06-01T04:09:10.999Z");
        let mut batch = batch(Source::Webhook, 1, date);
        batch.instance = "231232132".parse().unwrap();
        batch.events[0].object_id = "n005i000003sgTd0AAE".into();
        let notification = batch.notifications(batch.accepted_at).next().unwrap();
        let (event, id) = (&batch.events[0], notification.id);
        assert_eq!(
            detail(AccountId(874), &batch, id, event),
            format!(
                "{{\"type\":\"event\",\"eventId\":\"{0}\",\"notificationId\":\"{id}\",\"instanceId\":231232132,\
                 \"accountId\":874,\"event\":{{\"id\":\"{0}\",\"date\":\"2016-06-01T04:09:10Z\",\
                 \"elementKey\":\"hubspot\",\"eventType\":\"UPDATED\",\"hubKey\":\"crm\",\
                 \"objectId\":\"n005i000003sgTd0AAE\",\"objectType\":\"contacts\"}}}}",
                event.id
            )
        );
    }

    #[test]
    fn an_event_without_a_date_is_given_the_time_it_was_taken() {
        let batch = batch(Source::Webhook, 1, None);
        let notification = batch.notifications(batch.accepted_at).next().unwrap();
        let detail: Value =
            serde_json::from_str(&detail(AccountId(1), &batch, notification.id, &batch.events[0])).unwrap();
        assert_eq!(detail["event"]["date"], batch.accepted_at.iso_seconds());
    }

    proptest! {
        #[test]
        fn whatever_a_provider_names_its_objects_the_entry_says_so_and_is_one_json_object(
            object in ".{0,40}", kind in ".{0,40}", millis: Option<i64>, account: u32, index in 0..3_usize
        ) {
            let mut batch = batch(Source::Poll, 3, millis.map(Timestamp::from_millis));
            let instance = InstanceId::from_random(31);
            batch.events[index] = Event {
                id: EventId::of(instance, &kind, &object, &["x"]),
                object_type: kind.clone(),
                object_id: object.clone(),
                event_type: EventType::Unknown,
                date: millis.map(Timestamp::from_millis),
            };
            let notification = batch.notifications(batch.accepted_at).next().unwrap();
            let event = &batch.events[index];
            let text = detail(AccountId(account), &batch, notification.id, event);
            let read: Value = serde_json::from_str(&text).unwrap();
            let told = &read["event"];
            prop_assert_eq!((&told["objectId"], &told["objectType"]), (&json!(object), &json!(kind)));
            prop_assert_eq!((&read["eventId"], &told["id"]), (&json!(event.id.as_str()), &json!(event.id.as_str())));
            prop_assert_eq!(&read["notificationId"], notification.id.as_str());
            prop_assert_eq!((&read["accountId"], &read["instanceId"]), (&json!(account), &json!(31)));
            // What tells it is the callback's words for the same event.
            prop_assert_eq!(text, detail(AccountId(account), &batch, notification.id, event));
        }

        #[test]
        fn the_entries_of_a_notification_are_its_events_each_once(count in 1_u32..21) {
            let batch = batch(Source::Webhook, count, None);
            let notification = batch.notifications(batch.accepted_at).next().unwrap();
            let ids: Vec<String> = notification.events.iter().map(|event| {
                let text = detail(AccountId(1), &batch, notification.id, event);
                let read: Value = serde_json::from_str(&text).unwrap();
                read["eventId"].as_str().unwrap().to_owned()
            }).collect();
            let expected: Vec<String> = batch.events.iter().map(|event| event.id.to_string()).collect();
            prop_assert_eq!(ids, expected);
        }
    }
}
