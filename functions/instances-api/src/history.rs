//! What became of an instance's notifications: the contract's event resource, and beside it why nothing arrived.
//!
//! An event resource is one notification. `status` is the contract's word for how it stands:
//!
//! | stands | `status` | `delivery.state` |
//! |---|---|---|
//! | the callback answered 2xx | `NOTIFIED` | `told` |
//! | an attempt is due, or it waits for its release | `DISPATCHED` | `waiting`, `parked` |
//! | the instance has no callback | `RECEIVED` | `kept` |
//! | nothing will be posted | `CONSUMED` | `dropped` |
//!
//! `status` and `delivery` are about the callback. Where the instance has flows on, `flows` says the same of the event bus.
//!
//! `providerData` is the provider's body as text. `notifiedData` has one entry, the notification as it was or would be
//! posted now, without `message.raw`, which is `providerData` once more.
//!
//! *Bounded:* an answer carries at most [`RAW_BYTES`] of provider's bodies (Lambda answers at most 6 MB). A page ends early
//! rather than pass it, and says how to go on; one body larger than that is cut, and marked `providerDataTruncated`.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::envelope::{self, Recipient};
use events::{Batch, InstanceId, Notification, NotificationId, Timestamp};
use futures_util::future::try_join_all;
use http::HeaderValue;
use platform::Platform;
use records::deliveries::{self, Attempted, Leg, State as Stands, Stored};
use records::instances::{self as repository, Instance};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Answer, NEXT_PAGE, Problem, RETURNED_COUNT};
use crate::authorization::Target;
use crate::invalid::Invalid;
use crate::query::Parameters;
use crate::{Api, instances};

/// Most bytes of provider's bodies in an answer: JSON within JSON at worst doubles, and events come on top.
const RAW_BYTES: usize = 2 * 1024 * 1024;

/// Entries of a page when the caller does not say.
const PAGE: usize = 50;
/// Payloads read at a time: each may be a few megabytes.
const AT_A_TIME: usize = 8;

/// Which part of the list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    size: usize,
    before: Option<NotificationId>,
}

impl Page {
    fn read(query: &Parameters) -> Result<Self, Invalid> {
        let size = query.page_size(PAGE)?;
        let before = query.next_page()?;
        Ok(Self { size, before })
    }
}

/// The path parameter that names an event.
#[derive(Deserialize)]
pub(crate) struct Named {
    event: String,
}

/// `GET /instances/{id}/events`, `GET /instances/events`: newest first.
pub(crate) async fn list<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let page = Page::read(&Parameters::read(query.as_deref()))?;
    let instance = owned(&api, &target).await?;
    // One more than asked for tells whether there is a next page.
    let found = deliveries::list(&*api.platform, instance.id, page.before, page.size + 1).await?;
    let wanted = &found[..found.len().min(page.size)];
    let (mut resources, mut bytes) = (Vec::with_capacity(wanted.len()), 0);
    'page: for chunk in wanted.chunks(AT_A_TIME) {
        let payloads = chunk.iter().map(|stored| deliveries::load_payload(&*api.platform, stored));
        for (stored, batch) in chunk.iter().zip(try_join_all(payloads).await?) {
            bytes += batch.as_ref().map_or(0, |batch| batch.raw.len());
            if bytes > RAW_BYTES && !resources.is_empty() {
                break 'page;
            }
            resources.push(resource(&instance, stored, batch.as_ref())?);
        }
    }
    let next = (resources.len() < found.len()).then(|| resources.last().map(|last| last.id)).flatten();
    let count = HeaderValue::from(resources.len());
    let mut response = ([(RETURNED_COUNT, count)], Answer(resources)).into_response();
    if let Some(token) = next.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        response.headers_mut().insert(NEXT_PAGE, token);
    }
    Ok(response)
}

/// `GET /instances/{id}/events/{eventId}`, `GET /instances/events/{eventId}`.
pub(crate) async fn one<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
    Path(named): Path<Named>,
) -> Result<Answer<Resource>, Problem> {
    let instance = owned(&api, &target).await?;
    let no_such = Problem::NoSuch("event");
    let id: NotificationId = named.event.parse().map_err(|_| no_such.clone())?;
    let stored = deliveries::get(&*api.platform, instance.id, id).await?.ok_or(no_such)?;
    let batch = deliveries::load_payload(&*api.platform, &stored).await?;
    Ok(Answer(resource(&instance, &stored, batch.as_ref())?))
}

async fn owned<P: Platform>(api: &Api<P>, target: &Target) -> Result<Instance, Problem> {
    let instance = repository::get(&*api.platform, target.account.id, target.id).await?;
    instance.ok_or_else(|| target.absent())
}

/// The contract's event resource, with what to append to the connector's webhook URL; `instanceId`, `delivery`, `flows` and the mark of a cut body are additions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    id: NotificationId,
    instance_id: InstanceId,
    encodedid: String,
    event_date: String,
    status: &'static str,
    provider_data: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    provider_data_truncated: bool,
    notified_data: Vec<Value>,
    delivery: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<Shown>,
}

/// How a leg of the delivery stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    state: &'static str,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    /// Since when it is told or parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Why nothing more will be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    round: u32,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    at: String,
    round: u32,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    latency_ms: u64,
}

impl From<&Attempted> for Attempt {
    fn from(made: &Attempted) -> Self {
        Self {
            at: made.at.iso_millis(),
            round: made.round,
            attempt: made.attempt,
            status: made.status,
            error: made.error.clone(),
            latency_ms: made.latency_ms,
        }
    }
}

/// The contract's word for how a delivery stands.
fn status(state: &Stands) -> &'static str {
    match state {
        Stands::Told { .. } => "NOTIFIED",
        Stands::Waiting { .. } | Stands::Parked { .. } => "DISPATCHED",
        Stands::Kept => "RECEIVED",
        Stands::Dropped { .. } => "CONSUMED",
    }
}

fn shown(leg: &Leg) -> Shown {
    let time = |at: &Timestamp| Some(at.iso_millis());
    let (state, next_attempt_at, since, reason) = match &leg.state {
        Stands::Waiting { next_at } => ("waiting", time(next_at), None, None),
        Stands::Told { at } => ("told", None, time(at), None),
        Stands::Parked { at } => ("parked", None, time(at), None),
        Stands::Kept => ("kept", None, None, None),
        Stands::Dropped { reason } => ("dropped", None, None, Some(reason.clone())),
    };
    let attempts = leg.attempts.iter().map(Attempt::from).collect();
    Shown { state, next_attempt_at, since, reason, round: leg.round, attempts }
}

fn resource(instance: &Instance, stored: &Stored, batch: Option<&Batch>) -> Result<Resource, Problem> {
    let delivery = &stored.delivery;
    let (provider_data, provider_data_truncated) = batch.map(|batch| beginning(&batch.raw)).unwrap_or_default();
    let notified_data = match batch {
        Some(batch) => vec![posted(instance, delivery.id, batch).map_err(|e| Problem::Broken(e.to_string()))?],
        None => Vec::new(),
    };
    Ok(Resource {
        id: delivery.id,
        instance_id: delivery.instance,
        encodedid: delivery.instance.to_path(),
        event_date: delivery.accepted_at.iso_seconds(),
        status: status(&delivery.callback.state),
        provider_data,
        provider_data_truncated,
        notified_data,
        delivery: shown(&delivery.callback),
        flows: delivery.flows.as_ref().map(shown),
    })
}

/// The notification as it would be posted, without the provider's body.
fn posted(instance: &Instance, id: NotificationId, batch: &Batch) -> Result<Value, serde_json::Error> {
    let recipient = Recipient {
        name: &instance.name,
        tags: &instance.tags,
        account: instance.account,
        company: instance.company,
        user: instance.user,
        strict: instances::strict(instance),
    };
    let bare = Batch { raw: Bytes::from_static(b"null"), ..batch.clone() };
    let body = envelope::body(&recipient, &bare, &Notification { id, events: &bare.events })?;
    let mut notification: Value = serde_json::from_slice(&body)?;
    if let Some(message) = notification.get_mut("message").and_then(Value::as_object_mut) {
        message.remove("raw");
    }
    Ok(notification)
}

/// A body as text, and whether it is only the beginning.
fn beginning(raw: &[u8]) -> (String, bool) {
    let cut = &raw[..raw.len().min(RAW_BYTES)];
    // What is left of a character that the cut went through is dropped; a body is one JSON value, so it is UTF-8 else.
    let text = match std::str::from_utf8(cut) {
        Err(error) if cut.len() < raw.len() => String::from_utf8_lossy(&cut[..error.valid_up_to()]),
        _ => String::from_utf8_lossy(cut),
    };
    (text.into_owned(), cut.len() < raw.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::MAX_PAGE;

    fn page(query: &str) -> Result<Page, String> {
        Page::read(&Parameters::read(Some(query))).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_page_has_fifty_entries_unless_asked_and_never_more_than_two_hundred() {
        assert_eq!(page(""), Ok(Page { size: PAGE, before: None }));
        assert_eq!(page("pageSize=7").unwrap().size, 7);
        for many in ["pageSize=201", "pageSize=18446744073709551615"] {
            assert_eq!(page(many).unwrap().size, MAX_PAGE);
        }
        for bad in
            ["pageSize=0", "pageSize=-1", "pageSize=x", "pageSize=", "nextPage=x", "nextPage=", "pageSize=1&pageSize=2"]
        {
            assert!(page(bad).is_err(), "{bad}");
        }
        let id = NotificationId::of(Timestamp::from_seconds(1_790_000_000), []);
        assert_eq!(page(&format!("nextPage={id}")).unwrap().before, Some(id));
    }

    #[test]
    fn a_body_too_large_for_an_answer_is_cut_between_characters_and_marked() {
        assert_eq!(beginning(b"{}"), ("{}".to_owned(), false));
        let long = "é".repeat(RAW_BYTES);
        let (text, cut) = beginning(&long.as_bytes()[..RAW_BYTES * 2]);
        assert!(cut && text.len() == RAW_BYTES && !text.contains('\u{fffd}'));
        let (text, cut) = beginning(format!("x{long}").as_bytes());
        assert!(cut && text.len() == RAW_BYTES - 1 && !text.contains('\u{fffd}'));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,60}", size in any::<u64>()) {
            let _ = page(&query);
            if let Ok(page) = page(&format!("pageSize={size}")) {
                prop_assert!((1..=MAX_PAGE).contains(&page.size));
            }
        }
    }
}
