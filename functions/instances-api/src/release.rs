//! Parked notifications: listing them, and releasing them to be attempted again.
//!
//! *Promise:* what the answer says is released will be attempted, also when everything stops right after. **The wake-up
//! comes before the record:** the message that makes the attempt is durable in the queue first, and it acts on the record
//! as it stands before the release as well as after. A crash in between leaves a record that still says parked, and a
//! message that attempts it all the same. The other order could leave a record that waits for a message nobody sent.
//!
//! *At least once:* two releases at a time send the message twice; the record's round and attempt let the second copy die
//! out. A record that somebody else has changed in between is left to them.
//!
//! *Both legs:* what is parked on its way to the event bus is listed and released with what is parked on its way to the
//! callback; `legs` says which are meant. Each leg has its own message, and a leg that is not parked is left alone.
//!
//! *Bounded:* [`AT_ONCE`] per request, the instances in a fixed order; `Pollhook-More-Remain` says whether to ask again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use events::message::{Attempt, To};
use events::{InstanceId, Message, NotificationId, Timestamp};
use futures_util::future::{join_all, try_join_all};
use http::{HeaderName, HeaderValue};
use platform::limits::SEND_MESSAGES;
use platform::{Outgoing, Platform, Queue as _, TableError};
use records::RecordError;
use records::accounts::Account;
use records::deliveries::{self, Delivery, State as Stands, Stored};
use records::instances::{self, CallbackView};
use serde::Serialize;
use url::Url;

use crate::Api;
use crate::answer::{Answer, Problem, RETURNED_COUNT};
use crate::authorization::Caller;
use crate::query::Parameters;
use crate::where_clause::Where;

/// Most notifications listed or released by one request: some seconds' work, well within API Gateway's 30 s
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>).
const AT_ONCE: usize = 1000;

/// Rounds of [`AT_ONCE`] after a deletion: what a callback that failed for days has parked, within a request's time.
const ROUNDS_AFTER_DELETION: usize = 10;

/// Instances looked at, and records read, at a time.
const AT_A_TIME: usize = 10;

/// Notifications released at a time: each may have two legs, and so two messages.
const RELEASED_AT_A_TIME: usize = SEND_MESSAGES / 2;

/// How long a wake-up waits. Enough for the record to be written first: an attempt between the two would find its own
/// record changed under it and be made twice.
const DELAY: Duration = Duration::from_secs(2);

/// Whether there was more than one request may release.
const MORE_REMAIN: HeaderName = HeaderName::from_static("pollhook-more-remain");

/// `GET /notifications/subscriptions/deliveries`.
pub(crate) async fn queued<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (parked, more) = parked(&api, &account, query.as_deref()).await?;
    let mut listed = Vec::with_capacity(parked.len());
    for chunk in parked.chunks(AT_A_TIME) {
        for (parked, stored) in read(&*api.platform, chunk).await? {
            let legs = parked_legs(&stored.delivery);
            listed.push(resource(parked, &stored.delivery, Status::Queued, legs));
        }
    }
    Ok(answer(listed, more))
}

/// `PUT /notifications/subscriptions/deliveries`.
pub(crate) async fn release<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (parked, more) = parked(&api, &account, query.as_deref()).await?;
    let mut released = Vec::with_capacity(parked.len());
    for chunk in parked.chunks(RELEASED_AT_A_TIME) {
        released.extend(release_some(&*api.platform, chunk).await?);
    }
    Ok(answer(released, more))
}

/// Wakes up what is parked for an instance that has just been deleted: the dispatcher records each as dropped, and from
/// then on it expires like any other record. `view` is what the instance's view was. What a crash or
/// [`ROUNDS_AFTER_DELETION`] leaves stays parked, and does no harm but take room.
pub(crate) async fn let_go<P: Platform>(platform: &P, view: CallbackView) -> Result<(), Problem> {
    let view = Arc::new(view);
    for _ in 0..ROUNDS_AFTER_DELETION {
        let ids = deliveries::parked(platform, view.instance, AT_ONCE).await?;
        let parked: Vec<Parked> = ids.into_iter().map(|id| Parked { view: Arc::clone(&view), id }).collect();
        for chunk in parked.chunks(RELEASED_AT_A_TIME) {
            release_some(platform, chunk).await?;
        }
        if parked.len() < AT_ONCE {
            break;
        }
    }
    Ok(())
}

/// A parked notification, and what it needs to be released.
struct Parked {
    view: Arc<CallbackView>,
    id: NotificationId,
}

/// The account's parked notifications that the query means, at most [`AT_ONCE`], and whether there are more.
async fn parked<P: Platform>(
    api: &Api<P>,
    account: &Account,
    query: Option<&str>,
) -> Result<(Vec<Parked>, bool), Problem> {
    let query = Parameters::read(query);
    let clause = Where::read(query.get("where")?)?;
    let platform = &*api.platform;
    let mut found: Vec<Parked> = Vec::new();
    for instances in instances::of_account(platform, account.id).await?.chunks(AT_A_TIME) {
        let limit = AT_ONCE + 1 - found.len();
        let of_instances = instances.iter().map(|id| of_instance(platform, account, *id, &clause, limit));
        found.extend(try_join_all(of_instances).await?.into_iter().flatten());
        if found.len() > AT_ONCE {
            found.truncate(AT_ONCE);
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

async fn of_instance<P: Platform>(
    platform: &P,
    account: &Account,
    id: InstanceId,
    clause: &Where,
    limit: usize,
) -> Result<Vec<Parked>, RecordError> {
    let Some(view) = instances::callback_view(platform, id).await? else { return Ok(Vec::new()) };
    if view.account != account.id || !clause.url.as_deref().is_none_or(|url| is_callback(&view, url)) {
        return Ok(Vec::new());
    }
    let view = Arc::new(view);
    let ids = deliveries::parked(platform, id, limit).await?;
    Ok(ids.into_iter().map(|id| Parked { view: Arc::clone(&view), id }).collect())
}

/// Whether `url` is the instance's callback, however it is written.
fn is_callback(view: &CallbackView, url: &str) -> bool {
    let Some(callback) = view.url.as_deref() else { return false };
    callback == url.trim() || matches!((Url::parse(callback), Url::parse(url)), (Ok(a), Ok(b)) if a == b)
}

/// The records of those that are parked still.
async fn read<'a, P: Platform>(platform: &P, parked: &'a [Parked]) -> Result<Vec<(&'a Parked, Stored)>, RecordError> {
    let records = parked.iter().map(|parked| deliveries::get(platform, parked.view.instance, parked.id));
    let records = try_join_all(records).await?;
    let pairs = parked.iter().zip(records).filter_map(|(parked, stored)| Some((parked, stored?)));
    Ok(pairs.filter(|(_, stored)| !parked_legs(&stored.delivery).is_empty()).collect())
}

/// Which of the legs are parked.
fn parked_legs(delivery: &Delivery) -> Vec<To> {
    delivery.legs().filter(|(_, leg)| leg.parked_at().is_some()).map(|(to, _)| to).collect()
}

/// The attempt that the release of a leg asks for; `after` is from then on what the record says while it is due.
fn raise(after: &mut Delivery, to: To, due: Timestamp) -> Attempt {
    let (instance, notification) = (after.instance, after.id);
    let leg = after.leg_mut(to);
    leg.round = leg.round.saturating_add(1);
    leg.attempt = 0;
    leg.state = Stands::Waiting { next_at: due };
    Attempt { instance, notification, to, round: leg.round, attempt: 1 }
}

/// Releases at most [`RELEASED_AT_A_TIME`].
async fn release_some<P: Platform>(platform: &P, parked: &[Parked]) -> Result<Vec<Resource>, Problem> {
    let found = read(platform, parked).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let due = platform.now().plus(DELAY);
    let (mut messages, mut of) = (Vec::new(), Vec::new());
    for (index, (parked, before)) in found.iter().enumerate() {
        for to in parked_legs(&before.delivery) {
            let attempt = raise(&mut before.delivery.clone(), to, due);
            let group = parked.view.group.clone();
            messages.push(Outgoing { body: Message::Attempt(attempt).encode(), delay: DELAY, group });
            of.push((index, to));
        }
    }
    // A message that is not known to be in the queue may not be relied on: its leg stays parked.
    let sent = platform.batches().send(messages).await;
    let mut place = 0;
    of.retain(|_| {
        place += 1;
        !sent.as_ref().is_err_and(|error| error.failed.contains(&(place - 1)))
    });
    let mut released = Vec::with_capacity(found.len());
    for (index, (parked, before)) in found.into_iter().enumerate() {
        let legs: Vec<To> = of.iter().filter(|(of, _)| *of == index).map(|(_, to)| *to).collect();
        if legs.is_empty() {
            continue;
        }
        let mut after = before.delivery.clone();
        for to in &legs {
            raise(&mut after, *to, due);
        }
        released.push((parked, before, after, legs));
    }
    let writes = released
        .iter()
        .map(|(_, before, after, _)| deliveries::proceed(platform, Some(before), after.clone(), Vec::new()));
    for written in join_all(writes).await {
        match written {
            // The attempt is on its way, whoever wrote the record last and whether or not this write happened.
            Ok(())
            | Err(RecordError::Table(
                TableError::ConditionFailed(_) | TableError::Conflict | TableError::OutcomeUnknown(_),
            )) => {}
            Err(error) => return Err(error.into()),
        }
    }
    sent.map_err(RecordError::from)?;
    let resources = released.into_iter().map(|(parked, _, after, legs)| resource(parked, &after, Status::Retry, legs));
    Ok(resources.collect())
}

fn answer(deliveries: Vec<Resource>, more: bool) -> Response {
    let more = HeaderValue::from_static(if more { "true" } else { "false" });
    let headers = [(RETURNED_COUNT, HeaderValue::from(deliveries.len())), (MORE_REMAIN, more)];
    (headers, Answer(deliveries)).into_response()
}

/// The contract's words for how a delivery stands, as far as this route shows them.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Parked.
    Queued,
    /// Released: an attempt is due.
    Retry,
}

/// A delivery in the contract's words. An instance has one subscription, so its number serves for both. `notificationId`
/// is the number that the notification's envelope carries; `eventId` is its name, and where to read its data:
/// `/instances/{instanceId}/events/{eventId}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    notification_id: u64,
    subscription_id: InstanceId,
    instance_id: InstanceId,
    event_id: NotificationId,
    status: Status,
    /// Which legs are meant: `callback`, `flows`. An addition to the contract, which knows of no other than the callback.
    legs: Vec<To>,
    created_date: String,
    updated_date: String,
    subscription: Subscription,
}

#[derive(Debug, Serialize)]
struct Subscription {
    id: InstanceId,
    channel: &'static str,
    topics: [String; 1],
    config: Config,
    active: bool,
}

#[derive(Debug, Serialize)]
struct Config {
    url: Option<String>,
}

fn resource(parked: &Parked, delivery: &Delivery, status: Status, legs: Vec<To>) -> Resource {
    let updated = legs.iter().filter_map(|to| delivery.leg(*to)).filter_map(|leg| match leg.state {
        Stands::Parked { at } | Stands::Told { at } | Stands::Waiting { next_at: at } => Some(at),
        Stands::Kept | Stands::Dropped { .. } => None,
    });
    let updated = updated.max().unwrap_or(delivery.accepted_at);
    Resource {
        notification_id: delivery.id.label(),
        subscription_id: delivery.instance,
        instance_id: delivery.instance,
        event_id: delivery.id,
        status,
        legs,
        created_date: delivery.accepted_at.iso_seconds(),
        updated_date: updated.iso_seconds(),
        subscription: Subscription {
            id: delivery.instance,
            channel: "webhook",
            topics: [format!("instance-{}-{}-events", delivery.instance, delivery.connector)],
            config: Config { url: parked.view.url.clone() },
            active: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use events::{EventId, Source};
    use proptest::prelude::*;

    use super::*;

    fn delivery(round: u32, attempt: u32, parked: bool) -> Delivery {
        let instance = InstanceId::from_random(1);
        let event = events::Event {
            id: EventId::of(instance, "contacts", "1", &["x"]),
            object_type: "contacts".into(),
            object_id: "1".into(),
            event_type: events::EventType::Updated,
            date: None,
        };
        let batch = events::Batch {
            instance,
            connector: "hubspot".into(),
            hub: "crm".into(),
            source: Source::Webhook,
            accepted_at: Timestamp::from_seconds(0),
            hops: 0,
            events: vec![event],
            raw: bytes::Bytes::from_static(b"{}"),
        };
        let id = NotificationId::of(batch.accepted_at, [&batch.events[0].id]);
        let mut delivery = Delivery::new(id, &batch, &batch.events);
        (delivery.callback.round, delivery.callback.attempt) = (round, attempt);
        if parked {
            delivery.callback.state = Stands::Parked { at: Timestamp::from_seconds(1) };
        }
        delivery
    }

    proptest! {
        #[test]
        fn the_message_is_awaited_before_the_record_is_written_and_after(
            round in 0..u32::MAX, attempt: u32, to_bus: bool
        ) {
            let mut before = delivery(round, attempt, true);
            before.flows = Some(before.callback.clone());
            let due = Timestamp::from_seconds(9);
            let to = if to_bus { To::Flows } else { To::Callback };
            let mut after = before.clone();
            let message = raise(&mut after, to, due);
            prop_assert!(before.awaits(&message));
            prop_assert!(after.awaits(&message));
            prop_assert_eq!(&after.leg(to).unwrap().state, &Stands::Waiting { next_at: due });
            // The other leg is left alone.
            prop_assert_eq!(parked_legs(&after), vec![if to_bus { To::Callback } else { To::Flows }]);
            // What was due before is not made any more.
            let old = Attempt { round, attempt: attempt.saturating_add(1), ..message };
            prop_assert!(!after.awaits(&old));
            // Made once, it is not made again.
            let round = message.round;
            let made = deliveries::Attempted { at: due, round, attempt: 1, status: None, latency_ms: 0, error: None };
            after.leg_mut(to).note(made);
            prop_assert!(!after.awaits(&message));
        }
    }
}
