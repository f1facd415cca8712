//! From a poll's changes to the batches that are dispatched, with the body that the contract's consumers read
//! (its §2.4).
//!
//! *Promise:* each change is in exactly one batch, in order, and its record in that batch's `raw`: a consumer never gets
//! records of other notifications (the old product repeated the whole body in each). The ids of events are the same however
//! the changes are grouped.
//!
//! ```json
//! {"instance_id": 12345, "objectType": "accounts", "pollDate": 1533066036000,
//!  "accounts": [{"id": "lead_1", "objectId": "lead_1", "eventType": "CREATED"}],
//!  "events": [{"objectType": "accounts", "objectId": "lead_1", "date": "2018-07-31T19:39:46Z", "eventType": "CREATED", …}]}
//! ```
//!
//! The records stand under the object type, also where that is `events` or another of the names above: consumers look there.
//! A record's own `objectId` and `eventType` stay. Nulls are left out unless the configuration (`filter.response.nulls`) is
//! false.

use events::{Batch, Event, InstanceId, Source, Timestamp};
use serde_json::{Map, Value, json};

use crate::poll::Change;

/// Most bytes of records in a batch of more than one: it travels within a message where it has no more.
const BATCH_BYTES: usize = 40 * 1024;

/// Whose poll it was, and when.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// The connector's key.
    pub connector: &'a str,
    /// The connector's hub.
    pub hub: &'a str,
    /// When the poll began: the contract's `pollDate`.
    pub start: Timestamp,
    /// Whether fields that are null are kept in records.
    pub keep_nulls: bool,
}

/// The batches of a poll's changes, each of one notification.
///
/// # Errors
/// serde_json's, which does not happen: all keys are texts.
pub fn batches(origin: &Origin<'_>, changes: Vec<Change>) -> Result<Vec<Batch>, serde_json::Error> {
    let (mut batches, mut group, mut bytes) = (Vec::new(), Vec::<(Event, Value)>::new(), 0);
    for Change { told, mut record } in changes {
        if !origin.keep_nulls {
            drop_nulls(&mut record);
        }
        let size = serde_json::to_string(&record)?.len();
        let event = Event {
            id: told.id(origin.instance),
            object_type: told.object_type,
            object_id: told.object_id,
            event_type: told.event_type,
            date: told.date,
        };
        let full = group.len() == Source::Poll.batch_limit() || bytes + size > BATCH_BYTES;
        let other = group.last().is_some_and(|(last, _)| last.object_type != event.object_type);
        if !group.is_empty() && (full || other) {
            batches.push(batch(origin, std::mem::take(&mut group))?);
            bytes = 0;
        }
        bytes += size;
        group.push((event, record));
    }
    if !group.is_empty() {
        batches.push(batch(origin, group)?);
    }
    Ok(batches)
}

fn batch(origin: &Origin<'_>, group: Vec<(Event, Value)>) -> Result<Batch, serde_json::Error> {
    let object_type = group.first().map(|(event, _)| event.object_type.clone()).unwrap_or_default();
    let (mut told, mut records, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for (event, mut record) in group {
        if let Value::Object(fields) = &mut record {
            fields.entry("objectId").or_insert_with(|| Value::from(event.object_id.as_str()));
            fields.entry("eventType").or_insert_with(|| Value::from(event.event_type.as_str()));
        }
        told.push(json!({
            "objectType": event.object_type,
            "objectId": event.object_id,
            "date": event.date.unwrap_or(origin.start).iso_seconds(),
            "pollDate": origin.start.iso_seconds(),
            "eventType": event.event_type.as_str(),
            "elementKey": origin.connector,
            "hubKey": origin.hub,
        }));
        records.push(record);
        events.push(event);
    }
    let mut raw = Map::from_iter([
        ("instance_id".to_owned(), Value::from(origin.instance.number())),
        ("objectType".to_owned(), Value::from(object_type.as_str())),
        ("pollDate".to_owned(), Value::from(origin.start.as_millis())),
        ("events".to_owned(), Value::Array(told)),
    ]);
    raw.insert(object_type, Value::Array(records));
    Ok(Batch {
        instance: origin.instance,
        connector: origin.connector.to_owned(),
        hub: origin.hub.to_owned(),
        source: Source::Poll,
        accepted_at: origin.start,
        hops: 0,
        events,
        raw: serde_json::to_vec(&raw)?.into(),
    })
}

/// Leaves out fields that are null, at any depth; a null in a list stays, since its place counts.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use events::EventType;
    use proptest::prelude::*;

    use super::*;
    use crate::classify::{Told, Version};

    fn origin(keep_nulls: bool) -> Origin<'static> {
        let start = Timestamp::parse_rfc3339("2018-07-31T19:40:36.827Z").unwrap();
        Origin { instance: InstanceId::from_random(12_345), connector: "closeio", hub: "crm", start, keep_nulls }
    }

    fn change(object_type: &str, id: &str, record: Value) -> Change {
        let told = Told {
            object_id: id.into(),
            object_type: object_type.into(),
            event_type: EventType::Created,
            date: Timestamp::parse_rfc3339("2018-07-31T19:39:46.5Z"),
            version: Version::named(id),
            position: None,
        };
        Change { told, record }
    }

    fn raw(batch: &Batch) -> Value {
        serde_json::from_slice(&batch.raw).unwrap()
    }

    #[test]
    fn the_body_is_that_of_the_contract() {
        let record =
            json!({"id": "lead_1", "date_created": "2017-05-18T21:54:27.795000+00:00", "n": 1.10, "none": null});
        let batches = batches(&origin(false), vec![change("accounts", "lead_1", record)]).unwrap();
        let expected = json!({
            "instance_id": 12345, "objectType": "accounts", "pollDate": 1_533_066_036_827_i64,
            "accounts": [{"id": "lead_1", "date_created": "2017-05-18T21:54:27.795000+00:00", "n": 1.1,
                          "objectId": "lead_1", "eventType": "CREATED"}],
            "events": [{"objectType": "accounts", "objectId": "lead_1", "date": "2018-07-31T19:39:46Z",
                        "pollDate": "2018-07-31T19:40:36Z", "eventType": "CREATED", "elementKey": "closeio", "hubKey": "crm"}]
        });
        assert_eq!((batches.len(), raw(&batches[0])), (1, expected));
        let batch = &batches[0];
        assert_eq!((batch.source, batch.accepted_at, batch.hops), (Source::Poll, origin(false).start, 0));
        assert_eq!(batch.events[0].id, change("accounts", "lead_1", json!(null)).told.id(batch.instance));
    }

    #[test]
    fn what_a_record_says_itself_stays_and_so_do_nulls_where_they_are_wanted() {
        let record = json!({"objectId": 5, "eventType": "own", "a": {"b": null, "c": [null, {"d": null}]}});
        let of = |keep_nulls| {
            raw(&batches(&origin(keep_nulls), vec![change("x", "1", record.clone())]).unwrap()[0])["x"][0].clone()
        };
        assert_eq!(of(true), record);
        assert_eq!(of(false), json!({"objectId": 5, "eventType": "own", "a": {"c": [null, {}]}}));
    }

    #[test]
    fn the_records_stand_under_their_type_whatever_it_is_called() {
        for object_type in ["events", "objectType", "calendars/1/changed-events"] {
            let batch = &batches(&origin(false), vec![change(object_type, "1", json!({"id": 1}))]).unwrap()[0];
            assert_eq!(raw(batch)[object_type][0]["id"], json!(1));
        }
        let body = batches(&origin(false), vec![change("x", "1", json!("no object"))]).unwrap();
        assert_eq!(raw(&body[0])["x"], json!(["no object"]));
    }

    proptest! {
        #[test]
        fn each_change_is_in_one_batch_in_order_with_its_record_and_nothing_else(
            sizes in proptest::collection::vec((prop_oneof![9 => 0..400usize, 1 => 0..60_000usize], prop_oneof![20 => Just(0), 1 => Just(1)]), 0..60),
        ) {
            let changes: Vec<Change> = sizes
                .iter()
                .enumerate()
                .map(|(n, (size, kind))| change(&format!("t{kind}"), &n.to_string(), json!({"id": n, "text": "x".repeat(size / 4)})))
                .collect();
            let batches = batches(&origin(false), changes.clone()).unwrap();
            let told: Vec<_> = batches.iter().flat_map(|batch| batch.events.iter().map(|event| event.id)).collect();
            let given: Vec<_> = changes.iter().map(|change| change.told.id(origin(false).instance)).collect();
            prop_assert_eq!(told, given);
            for batch in &batches {
                prop_assert_eq!(batch.notifications(batch.accepted_at).count(), 1);
                let object_type = &batch.events[0].object_type;
                let records = raw(batch)[object_type].as_array().unwrap().clone();
                let ids: Vec<String> = records.iter().map(|record| record["id"].to_string()).collect();
                prop_assert_eq!(ids, batch.events.iter().map(|event| event.object_id.clone()).collect::<Vec<_>>());
                prop_assert!(records.len() == 1 || batch.raw.len() < BATCH_BYTES + 10 * 400);
                prop_assert!(batch.events.iter().all(|event| event.object_type == *object_type));
            }
        }
    }
}
