//! An event bus: single events for whoever wants to run something on each.
//!
//! *Promises:* an entry whose publish returned `Ok` was taken by the bus, which hands it to every rule that matches.
//!
//! *Does not promise:* order, or handing over only once. What a rule's target does with it is not the bus's concern.

use std::future::Future;

use events::Timestamp;

/// One event, as the bus takes it. On AWS an entry of EventBridge's `PutEvents`
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html>).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Who tells: rules match on it. Not empty, and not `aws.…`.
    pub source: String,
    /// What kind of thing happened: rules match on it, too. 1 to
    /// [`limits::DETAIL_TYPE_CHARACTERS`](crate::limits::DETAIL_TYPE_CHARACTERS).
    pub detail_type: String,
    /// The event: a JSON object.
    pub detail: String,
    /// When it happened, to the second.
    pub time: Timestamp,
}

/// Why a bus did not do as told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BusError {
    /// Too many requests: try again later.
    #[error("the event bus is throttled")]
    Throttled,
    /// The entry can never be taken: over the limits, or not JSON.
    #[error("the event bus cannot take this: {0}")]
    Invalid(String),
    /// The bus could not be reached or is broken. Some or all of the entries may have been taken.
    #[error("the event bus is not available: {0}")]
    Unavailable(String),
}

/// Some entries of a publish were not (known to be) taken; the others were.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} of the entries were not published: {error}", failed.len())]
pub struct PublishError {
    /// Which of them, counting from 0.
    pub failed: Vec<usize>,
    /// The first one's reason.
    pub error: BusError,
}

/// An event bus.
pub trait Bus: Send + Sync + 'static {
    /// Publishes 1 to [`limits::PUBLISH_ENTRIES`](crate::limits::PUBLISH_ENTRIES) entries, together at most
    /// [`limits::PUBLISH_BYTES`](crate::limits::PUBLISH_BYTES).
    fn publish(&self, entries: Vec<Entry>) -> impl Future<Output = Result<(), PublishError>> + Send;
}
