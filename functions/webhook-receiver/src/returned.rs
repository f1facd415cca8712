//! Events that come back: a callback may be our own `…/events/{connectorKey}/`, the contract's way to hand one
//! connector's events to another.
//!
//! Such a request carries `Pollhook-Hops`. Its body is our own notification; `message.instanceId` names the sender, whose
//! key must verify it (the signature with a time, so that a captured one cannot be replayed for long). The events go to
//! the instances of the URL's connector in the sender's account, narrowed by path or header. Hops travel with batch and
//! record, and after [`MAX_HOPS`] the request is answered 2xx and recorded as a loop: so every circle ends.

use events::{Batch, Event, EventId, EventType, InstanceId, SignatureKey, Source, Timestamp, signature};
use http::HeaderMap;
use platform::Platform;
use records::instances::{self, INSTANCES_PER_ACCOUNT, WebhookView};
use records::refused::Reason;
use serde::Deserialize;

use crate::follow::{Followed, Told};
use crate::route;
use crate::take::Incoming;
use crate::{Answer, MAX_HOPS, Receiver};

/// Marks a request as one of our own notifications.
pub(crate) const HOPS: &str = "pollhook-hops";

/// Most events that a notification of ours has. Whoever has an instance's key could sign any number of them, each twenty to
/// be posted with the whole body.
const MAX_EVENTS: usize = Source::Webhook.batch_limit();

#[derive(Deserialize)]
struct Returned {
    message: ReturnedMessage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReturnedMessage {
    instance_id: InstanceId,
    event_id: String,
    events: Vec<ReturnedEvent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReturnedEvent {
    object_type: String,
    object_id: String,
    event_type: String,
    date: Option<String>,
}

impl<P: Platform> Receiver<P> {
    pub(crate) async fn take_returned(
        &self,
        connector: &Followed<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<Answer, Answer> {
        let unreadable = |form: String| {
            self.refuse(connector, Reason::Malformed, format!("a returned notification: {form}"));
            Answer::Unreadable(form)
        };
        // The error's own text quotes the body.
        let place = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
        let returned: Returned = serde_json::from_slice(&incoming.body)
            .map_err(|error| unreadable(format!("the body is not a notification of ours ({})", place(error))))?;
        let told = returned.message.events.len();
        if told > MAX_EVENTS {
            return Err(unreadable(format!(
                "a notification of ours has at most {MAX_EVENTS} events, and this one {told}"
            )));
        }
        let named = route::named(incoming.instance, &incoming.headers).map_err(unreadable)?;
        let sender = self.sender(connector, incoming, returned.message.instance_id).await?;
        let hops = hops(&incoming.headers).ok_or_else(|| unreadable("Pollhook-Hops is a small number".into()))?;
        if hops > MAX_HOPS {
            self.refuse(connector, Reason::Loop, format!("from instance {}, {hops} hops", sender.instance));
            return Ok(Answer::Taken);
        }
        let mut ids = instances::of_account(&*self.platform, sender.account).await?;
        if let Some(named) = named {
            ids.retain(|id| named.contains(id));
        }
        let views = instances::webhook_views(&*self.platform, &ids).await?;
        let mut receivers: Vec<WebhookView> = views
            .into_iter()
            .flatten()
            .filter(|view| view.connector == connector.key() && view.account == sender.account)
            .filter(|view| !view.disabled && view.events_on)
            // To tell the sender its own events would only make them go round.
            .filter(|view| view.instance != sender.instance)
            .collect();
        let most = fan_out(hops);
        if receivers.len() > most {
            let detail = format!("returned from instance {} for {} instances", sender.instance, receivers.len());
            self.refuse(connector, Reason::TooMany, detail);
            receivers.truncate(most);
        }
        if receivers.is_empty() {
            let detail = format!("returned from instance {}: no instance takes it", sender.instance);
            self.refuse(connector, Reason::UnknownInstance, detail);
        }
        let now = self.platform.now();
        let batches = receivers
            .into_iter()
            .filter_map(|view| {
                let events = events(&view, &returned.message);
                (!events.is_empty()).then(|| {
                    let batch = Batch {
                        instance: view.instance,
                        connector: connector.key().to_owned(),
                        hub: connector.hub().to_owned(),
                        source: Source::Webhook,
                        accepted_at: now,
                        hops,
                        events,
                        raw: incoming.body.clone(),
                    };
                    (batch, view.group)
                })
            })
            .collect::<Vec<_>>();
        let told = Told::of(&batches);
        self.enqueue(batches).await?;
        connector.accepted(told);
        Ok(Answer::Taken)
    }

    /// The instance that sent the notification, proven by its key.
    async fn sender(
        &self,
        connector: &Followed<'_>,
        incoming: &Incoming<'_>,
        id: InstanceId,
    ) -> Result<WebhookView, Answer> {
        let refuse = |reason, detail: String| {
            self.refuse(connector, reason, format!("a returned notification: {detail}"));
            Answer::Unverified("the notification is not signed with its instance's key".into())
        };
        let view = instances::webhook_views(&*self.platform, &[id]).await?.into_iter().flatten().next();
        let Some(view) = view else { return Err(refuse(Reason::UnknownInstance, format!("instance {id}"))) };
        let Some(sealed) = view.signature_key() else {
            return Err(refuse(Reason::NoSecret, format!("instance {id} has no signature key")));
        };
        let key = SignatureKey::new(self.open(sealed).await?)
            .map_err(|error| refuse(Reason::NoSecret, format!("instance {id}: {error}")))?;
        let header = |name: &'static str| incoming.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let verified = key.verify_standard(
            header(signature::WEBHOOK_ID),
            header(signature::WEBHOOK_TIMESTAMP),
            header(signature::WEBHOOK_SIGNATURE),
            &incoming.body,
            self.platform.now(),
        );
        verified.map_err(|error| refuse(Reason::SignatureMismatch, format!("instance {id}: {error}")))?;
        Ok(view)
    }
}

/// Most instances that events are handed to when they come back for the `hops`th time. A hundred instances that hand their
/// events to each other would make a million notifications of one change in three rounds.
fn fan_out(hops: u8) -> usize {
    INSTANCES_PER_ACCOUNT / 10_usize.pow(u32::from(hops.clamp(1, MAX_HOPS)) - 1)
}

fn hops(headers: &HeaderMap) -> Option<u8> {
    headers.get(HOPS)?.to_str().ok()?.parse().ok()
}

fn events(view: &WebhookView, message: &ReturnedMessage) -> Vec<Event> {
    let wanted = |event: &ReturnedEvent| view.wants(&event.object_type, EventType::from_word(&event.event_type));
    let numbered = message.events.iter().enumerate().filter(|(_, event)| wanted(event));
    numbered
        .map(|(place, event)| {
            // The notification's id is the same on every attempt, and so is an event's place in it.
            let parts = [b"returned", message.event_id.as_bytes(), &place.to_be_bytes()];
            Event {
                id: EventId::of(view.instance, &event.object_type, &event.object_id, &parts),
                object_type: event.object_type.clone(),
                object_id: event.object_id.clone(),
                event_type: EventType::from_word(&event.event_type),
                date: event.date.as_deref().and_then(Timestamp::parse_rfc3339),
            }
        })
        .collect()
}
