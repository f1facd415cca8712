//! From batches to the queue's messages.

use std::time::Duration;

use events::message::PollJob;
use events::{Batch, Message};
use platform::{Outgoing, Platform, Queue, limits};
use records::instances::WebhookView;
use records::{RecordError, batches};

use crate::Receiver;

impl<P: Platform> Receiver<P> {
    /// Makes the batches durable, each with its group; an error means that some may not be.
    pub(crate) async fn enqueue(&self, told: Vec<(Batch, String)>) -> Result<(), RecordError> {
        let mut messages = Vec::with_capacity(told.len());
        for (batch, group) in told {
            messages.push(batches::message(&*self.platform, batch, group).await?);
        }
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
