//! A queue: delayed, at-least-once messages.
//!
//! *Promises:* a message whose send returned `Ok` is durable and is handed over after its delay, again and again until it
//! is acknowledged; one that is not acknowledged within the queue's visibility timeout comes back.
//!
//! *Does not promise:* order, or handing over only once.

use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Printable ASCII, tab, line feed and carriage return; not empty.
    pub body: String,
    /// How long it stays hidden: whole seconds, at most [`limits::MAX_DELAY`](crate::limits::MAX_DELAY).
    pub delay: Duration,
    /// Whom it concerns (up to 128 printable ASCII characters without spaces): a group with much in flight is handed over
    /// after quieter ones. Not an order.
    pub group: String,
}

/// Handed over with a message; acknowledges it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt(…)")
    }
}

/// A message handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// What [`Outgoing::body`] was.
    pub body: String,
    /// Acknowledges it.
    pub receipt: Receipt,
    /// How often it has been handed over, this time included (a lower bound).
    pub receive_count: u32,
}

/// Why a queue did not do as told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueueError {
    /// Too many requests: try again later.
    #[error("the queue is throttled")]
    Throttled,
    /// The request can never succeed: a body, a delay or a request over the limits.
    #[error("the queue cannot take this: {0}")]
    Invalid(String),
    /// The queue could not be reached or is broken. After a send, some or all of the messages may have been taken.
    #[error("the queue is not available: {0}")]
    Unavailable(String),
}

/// Some messages of a send were not (known to be) taken; the others are durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} of the messages were not sent: {error}", failed.len())]
pub struct SendError {
    /// Which of them, counting from 0.
    pub failed: Vec<usize>,
    /// The first one's reason.
    pub error: QueueError,
}

/// A queue.
pub trait Queue: Send + Sync + 'static {
    /// Sends 1 to [`limits::SEND_MESSAGES`](crate::limits::SEND_MESSAGES) messages, together at most
    /// [`limits::SEND_BYTES`](crate::limits::SEND_BYTES).
    fn send(&self, messages: Vec<Outgoing>) -> impl Future<Output = Result<(), SendError>> + Send;

    /// Up to `max` (1 to 10) messages; waits up to `wait` (at most 20 s) for the first.
    fn receive(&self, max: usize, wait: Duration) -> impl Future<Output = Result<Vec<Received>, QueueError>> + Send;

    /// The messages are done with; already acknowledged ones are no error. Any number.
    fn acknowledge(&self, receipts: Vec<Receipt>) -> impl Future<Output = Result<(), QueueError>> + Send;
}
