//! From batches to the queue's messages.

use std::time::Duration;

use bytes::Bytes;
use events::message::PollJob;
use events::{Batch, Message};
use platform::{Outgoing, Platform, Queue, limits};
use records::instances::WebhookView;
use records::{RecordError, bodies};

use crate::Receiver;

/// Largest batch that travels in its message, in bytes. SQS bills each 64 KB; a larger one goes through the table.
const INLINE_BYTES: usize = 64 * 1024;

impl<P: Platform> Receiver<P> {
    /// Makes the batches durable, each with its group; an error means that some may not be.
    pub(crate) async fn enqueue(&self, batches: Vec<(Batch, String)>) -> Result<(), RecordError> {
        let mut messages = Vec::with_capacity(batches.len());
        for (batch, group) in batches {
            let instance = batch.instance;
            let mut body = Message::Batch(batch).encode();
            if body.len() > INLINE_BYTES {
                body = self.store(instance, body).await?;
            }
            messages.push(Outgoing { body, delay: Duration::ZERO, group });
        }
        // Ten messages of at most 64 KB each are within one send's bytes.
        const { assert!(limits::SEND_MESSAGES * INLINE_BYTES <= limits::SEND_BYTES) }
        send(self.platform.batches(), messages).await
    }

    /// Makes a poll job durable for each of the instances; an error means that some may not be.
    ///
    /// Each instance is a group of its own: those of one callback share its troubles, and a poll calls no callback.
    pub(crate) async fn enqueue_polls(&self, views: impl Iterator<Item = &WebhookView>) -> Result<(), RecordError> {
        let at = self.platform.now();
        let job = |view: &WebhookView| {
            let body = Message::Poll(PollJob { instance: view.instance, at }).encode();
            Outgoing { body, delay: Duration::ZERO, group: view.instance.to_string() }
        };
        send(self.platform.polls(), views.map(job).collect()).await
    }

    /// Keeps a large batch as a body, and makes the message that points to it.
    async fn store(&self, instance: events::InstanceId, body: String) -> Result<String, RecordError> {
        let name = format!("B{:016x}{:016x}", self.platform.random().bits(), self.platform.random().bits());
        let expires_at_s = self.platform.now().as_seconds() + bodies::QUEUED_S;
        bodies::put(&*self.platform, &name, &Bytes::from(body), Some(expires_at_s)).await?;
        Ok(Message::Stored { instance, body: name }.encode())
    }
}

/// Sends messages, ten at a time.
async fn send(queue: &impl Queue, messages: Vec<Outgoing>) -> Result<(), RecordError> {
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let some: Vec<Outgoing> = messages.by_ref().take(limits::SEND_MESSAGES).collect();
        queue.send(some).await?;
    }
    Ok(())
}
