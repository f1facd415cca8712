//! What is counted and logged. One line for each attempt (one for both legs where both went well at once), of at most some
//! 250 bytes as JSON: a million lines four times as long would cost as much as the deliveries themselves. So a line leaves
//! out what goes without saying: the first attempt, the callback, a status of 200.

use events::Timestamp;
use events::message::To;
use metrics::{counter, histogram};
use records::deliveries::{Attempted, State};

use crate::deliver::Telling;
use crate::outcome::Step;

/// Bytes of an error that a line shows; the record has all of it.
const ERROR_BYTES: usize = 50;

/// A POST was made.
pub(crate) fn posted(attempted: &Attempted) {
    histogram!("pollhook_callback_ms").record(attempted.latency_ms as f64);
}

/// The bus took so many entries.
pub(crate) fn published(entries: usize) {
    if entries > 0 {
        counter!("pollhook_flows").increment(entries as u64);
    }
}

/// Attempts that were made at the same time, and written down.
pub(crate) fn attempts(steps: &[Step], telling: Telling<'_>, now: Timestamp) {
    let told = |step: &Step| matches!(step.state, State::Told { .. });
    let together = steps.len() > 1 && steps.iter().all(told);
    for step in steps {
        match step.attempt.to {
            To::Callback => attempt(step, telling, together.then_some(telling.events.len()), now),
            // Its line is the callback's.
            To::Flows if together => {}
            To::Flows => attempt(step, telling, None, now),
        }
    }
}

/// An attempt has come to this; `flows`: so many entries were published with it.
fn attempt(step: &Step, Telling { batch, events, .. }: Telling<'_>, flows: Option<usize>, now: Timestamp) {
    let (instance, notification) = (step.attempt.instance.number(), step.attempt.notification);
    let event = events.first().map(|event| event.id.as_str()).unwrap_or_default();
    let connector = batch.connector.as_str();
    let to_callback = step.attempt.to == To::Callback;
    let to = (!to_callback).then_some(step.attempt.to.as_str());
    let attempt = (step.attempt.attempt > 1).then_some(step.attempt.attempt);
    let made = step.attempted.as_ref();
    let status = made.and_then(|made| made.status).filter(|status| *status != 200);
    let ms = made.map(|made| made.latency_ms);
    let error = made.and_then(|made| made.error.as_deref()).map(beginning);
    if to_callback && error.is_some() {
        counter!("pollhook_failed").increment(1);
    }
    match &step.state {
        State::Told { .. } => {
            if to_callback {
                counter!("pollhook_delivered").increment(1);
                histogram!("pollhook_latency_ms").record(now.since(batch.accepted_at).as_millis() as f64);
            }
            // The most frequent line, billed by size: the connector stands in the webhook's line, and is the instance's.
            tracing::info!(instance, %notification, event, to, attempt, status, ms, flows, "told");
        }
        State::Waiting { next_at } => {
            counter!("pollhook_retried").increment(1);
            let retry_s = next_at.since(now).as_secs();
            tracing::warn!(instance, %notification, connector, to, attempt, retry_s, error, "not told");
        }
        State::Parked { .. } => {
            counter!("pollhook_parked").increment(1);
            tracing::error!(instance, %notification, to, attempt, error, "parked: PUT …/deliveries releases it");
        }
        State::Kept => tracing::info!(instance, %notification, event, connector, "kept"),
        State::Dropped { reason } => {
            let reason = beginning(reason);
            tracing::info!(instance, %notification, event, connector, to, reason, "dropped");
        }
    }
}

/// The beginning of a text, up to a character's end.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES)]
}
