//! From batches to the queue's messages.

use events::Batch;
use platform::{Outgoing, Platform, Queue, limits};
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
}

/// Sends messages, ten at a time.
pub(crate) async fn send(queue: &impl Queue, messages: Vec<Outgoing>) -> Result<(), RecordError> {
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let some: Vec<Outgoing> = messages.by_ref().take(limits::SEND_MESSAGES).collect();
        queue.send(some).await?;
    }
    Ok(())
}
