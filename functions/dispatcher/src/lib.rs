//! The dispatcher: takes batches from the queue and tells each instance's callback.
//!
//! *Promise.* A notification leaves the system only by a 2xx of the receiver, by an operator's explicit act, or by the
//! published retention. Its id is the same on every attempt. One endpoint never holds up another.
//!
//! *Flow.*
//!
//! ```text
//! batch ─▶ CALLBACK view, read strongly once ─▶ split (pure) ─▶ for each notification, at the same time:
//!            record told already? ─▶ done
//!            POST ─▶ 2xx     ─▶ record, one write
//!                    failure ─▶ payload kept ─▶ wake-up ─▶ record           (a message delayed up to 15 minutes)
//!                                               wake-up and record at once  (a retry bucket, for longer waits)
//!                    last failure ─▶ parked: record and PENDING at once
//! attempt ─▶ the record counts less than (round, attempt)? ─▶ the same, from POST on
//! ```
//!
//! *Why this order.* A crash between two acts must never leave a notification that nobody will try again, so the wake-up
//! always comes before the record that relies on it. The price is a message too many, and it dies out: it acts only if
//! the record counts less than it does.
//!
//! *Whose fault.* A receiver's failure is recorded, rescheduled and acknowledged, so it can never fill the dead-letter
//! queue. Only a failure of our own ([`Fault`]) lets the queue hand the message over again.
//!
//! *Not promised.* Order; and exactly-once: a POST whose record could not be written is made again, with the same id, and
//! so is one whose copy another process works on at the same moment.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod at_work;
mod deliver;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use egress::{Policy, Post};
use events::message::{Attempt, Message, Undecodable};
use events::{Batch, InstanceId, Notification};
use futures_util::stream::{self, StreamExt as _};
use platform::{Outgoing, Platform, Queue as _};
use records::instances::CallbackView;
use records::{RecordError, bodies, deliveries, instances, markers};

use at_work::AtWork;
pub use retry::{LONGEST, Next, RetryPolicy};

/// Notifications of one batch that are told at the same time. A batch of a hundred changes makes five; larger ones are
/// rare, and a receiver is not to be flooded by one of them.
const AT_ONCE: usize = 8;

/// How long a message that a newer version wrote waits for that version.
const NEWER_DELAY: Duration = Duration::from_secs(60);

/// A failure of our own. The message is handed over again: on SQS as often as its redrive policy says, then it is among the
/// dead letters; in one process until it succeeds, and only [`Fault::Poison`] is set aside.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not one of our messages: no retry will mend it.
    #[error("the message cannot be read: {0}")]
    Poison(String),
    /// The table, the queue or the vault.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A secret or a record that does not say what it should.
    #[error("{0}")]
    Broken(String),
}

/// The role. One per process; shared by reference.
pub struct Dispatcher<P, C> {
    platform: Arc<P>,
    callbacks: C,
    policy: Arc<Policy>,
    retry: RetryPolicy,
    at_work: AtWork,
}

impl<P: Platform, C: Post> Dispatcher<P, C> {
    /// A dispatcher that posts through `callbacks`. `policy` tells our own URLs from others.
    pub fn new(platform: Arc<P>, callbacks: C, policy: Arc<Policy>, retry: RetryPolicy) -> Self {
        Self { platform, callbacks, policy, retry, at_work: AtWork::default() }
    }

    /// Does what a message says. `Ok`: acknowledge it.
    ///
    /// # Errors
    /// [`Fault`]: do not acknowledge it.
    pub async fn handle(&self, text: &str) -> Result<(), Fault> {
        let outcome = match Message::decode(text) {
            Ok(Message::Batch(batch)) => self.tell(&batch).await,
            Ok(Message::Stored { instance, body }) => self.tell_stored(instance, &body).await,
            Ok(Message::Attempt(attempt)) => self.attempt(&attempt).await,
            Ok(Message::Poll(_)) => Err(Fault::Poison("a poll job, which belongs in the other queue".into())),
            Err(Undecodable::Newer(schema)) => return self.send_on(text, schema).await,
            Err(Undecodable::Malformed(reason)) => Err(Fault::Poison(reason)),
        };
        match outcome {
            Err(Fault::Records(RecordError::Newer(_, schema))) => self.send_on(text, schema).await,
            outcome => outcome,
        }
    }

    /// A message (or what it is about) that a newer version wrote: ours, in the middle of a deployment. A plain return
    /// would end among SQS's dead letters.
    async fn send_on(&self, text: &str, schema: u32) -> Result<(), Fault> {
        tracing::info!(schema, "a message of a newer version is sent on unchanged");
        let again = Outgoing { body: text.to_owned(), delay: NEWER_DELAY, group: "newer".into() };
        Ok(self.platform.batches().send(vec![again]).await.map_err(RecordError::from)?)
    }

    async fn tell_stored(&self, instance: InstanceId, body: &str) -> Result<(), Fault> {
        let Some(bytes) = bodies::get(&*self.platform, body).await? else {
            // The body is removed once the batch is done, so a message handed over twice finds none.
            tracing::info!(%instance, body, "a large batch was done before");
            return Ok(());
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| Fault::Poison(e.to_string()))?;
        match Message::decode(text) {
            Ok(Message::Batch(batch)) => self.tell(&batch).await?,
            Ok(_) => return Err(Fault::Poison("a stored batch that is none".into())),
            Err(error) => return Err(Fault::Poison(error.to_string())),
        }
        Ok(bodies::delete(&*self.platform, body).await?)
    }

    async fn tell(&self, batch: &Batch) -> Result<(), Fault> {
        let view = instances::callback_view(&*self.platform, batch.instance).await?;
        let undated =
            if batch.needs_time() { markers::first_seen(&*self.platform, batch).await? } else { batch.accepted_at };
        let first = |notification| self.first(view.as_ref(), batch, notification);
        let mut all: Vec<_> = batch.notifications(undated).map(first).collect();
        if all.len() == 1
            && let Some(only) = all.pop()
        {
            return only.await;
        }
        let mut results = stream::iter(all).buffer_unordered(AT_ONCE);
        // One notification's trouble is not its neighbours': all are tried before the first trouble is reported.
        let mut outcome = Ok(());
        while let Some(result) = results.next().await {
            outcome = outcome.and(result);
        }
        outcome
    }

    async fn first(
        &self,
        view: Option<&CallbackView>,
        batch: &Batch,
        notification: Notification<'_>,
    ) -> Result<(), Fault> {
        let attempt = Attempt { instance: batch.instance, notification: notification.id, round: 0, attempt: 1 };
        let _turn = self.at_work.enter(notification.id).await;
        let (before, leftover) = deliveries::get_or_leftover(&*self.platform, batch.instance, notification.id).await?;
        self.deliver(view, batch, notification.events, attempt, before, leftover).await
    }

    async fn attempt(&self, attempt: &Attempt) -> Result<(), Fault> {
        let _turn = self.at_work.enter(attempt.notification).await;
        let before = deliveries::get(&*self.platform, attempt.instance, attempt.notification).await?;
        if let Some(stored) = before.as_ref().filter(|b| !b.delivery.callback.awaits(attempt)) {
            return Ok(deliveries::tidy(&*self.platform, stored).await?);
        }
        let payload = match &before {
            Some(stored) => deliveries::load_payload(&*self.platform, stored).await?,
            // The wake-up was sent and then we crashed, before the record: the payload came before both.
            None => deliveries::load_unrecorded(&*self.platform, attempt.notification).await?,
        };
        let Some(batch) = payload else {
            return self.payload_gone(attempt, before).await;
        };
        let view = instances::callback_view(&*self.platform, attempt.instance).await?;
        let leftover = before.is_none();
        self.deliver(view.as_ref(), &batch, &batch.events, *attempt, before, leftover).await
    }
}
