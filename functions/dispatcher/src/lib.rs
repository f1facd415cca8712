//! The dispatcher: takes batches from the queue, and tells each instance's callback and, event by event, the event bus.
//!
//! *Promise.* A notification leaves the system only by a 2xx of the receiver, by an operator's explicit act, or by the
//! published retention. Its id is the same on every attempt. One endpoint never holds up another. The callback and the bus
//! are two **legs** that succeed and fail apart: neither waits for the other, and what one has is not repeated because the
//! other failed.
//!
//! *Flow.*
//!
//! ```text
//! batch ─▶ CALLBACK view, read strongly once ─▶ split (pure) ─▶ for each notification, at the same time:
//!            record told already? ─▶ done
//!            POST, and publish where flows are on, at the same time
//!              ─▶ both well ─▶ record, one write
//!              ─▶ failure   ─▶ payload kept ─▶ wake-up ─▶ record           (a message delayed up to 15 minutes)
//!                                             wake-up and record at once  (a retry bucket, for longer waits)
//!                 last failure ─▶ parked: record and PENDING at once
//!        ─▶ all of the batch recorded, of a webhook's to an instance that reconciles ─▶ what was told is noted
//! attempt ─▶ the record counts less than (round, attempt) on its leg? ─▶ the same on that leg alone
//! ```
//!
//! *Why this order.* A crash between two acts must never leave a notification that nobody will try again, so the wake-up
//! always comes before the record that relies on it. The price is a message too many, and it dies out: it acts only if
//! the record counts less than it does.
//!
//! *What a first delivery may skip.* [`Dispatcher::handle`] is told how often the queue has handed the message over. At the
//! first time two things are cheaper, and neither can lose anything, because the record is written on the condition of what
//! was read, and merged with what is there instead ([`outcome`]):
//!
//! - The record is read eventually. Read too late is only a repeat: what was told in the last moment, by another process, is
//!   told once more, with the same ids. That is the repeat that is possible between two processes anyway while the one still
//!   posts; it is longer by a store's lag. Within a process there is none: who follows another reads strongly.
//! - No payload is looked for that a dead process left without a record. Its message is not acknowledged, so it comes a
//!   second time; it then finds such a payload, or the record that another message's work made meanwhile, and tidies.
//!
//! *Whose fault.* A receiver's failure is recorded, rescheduled and acknowledged, so it can never fill the dead-letter
//! queue. Only a failure of our own ([`Fault`]) lets the queue hand the message over again.
//!
//! *Not promised.* Order; and exactly-once: a POST whose record could not be written is made again, with the same id, and
//! so is one whose copy another process works on at the same moment, or did a moment ago. So are entries, whose event ids
//! stay the same.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod at_work;
mod callback;
mod count;
mod deliver;
mod flows;
mod outcome;
mod retry;
mod views;

use std::sync::Arc;
use std::time::Duration;

use egress::{Policy, Post};
use events::message::{Attempt, Message, To, Undecodable};
use events::{Batch, InstanceId, Notification, Source};
use futures_util::stream::{self, Stream, StreamExt as _};
use platform::{Bus, Consistency, Outgoing, Platform, Queue as _};
use records::instances::CallbackView;
use records::{RecordError, bodies, deliveries, markers, told};

use at_work::AtWork;
use deliver::{Due, Telling};
pub use retry::{LONGEST, Next, RetryPolicy};
pub use views::Views;

/// Notifications of one batch that are told at the same time. A batch of a hundred changes makes five; larger ones are
/// rare, and a receiver is not to be flooded by one of them.
const AT_ONCE: usize = 8;

/// Messages of [`Dispatcher::handle_all`] at work at the same time: all that SQS hands over at once.
const MESSAGES_AT_ONCE: usize = 10;

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

/// A message as the queue handed it over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken<'a> {
    /// What it says.
    pub text: &'a str,
    /// How often it was handed over, this time included; as [`platform::Received::receive_count`].
    pub receive_count: u32,
}

/// The role. One per process; shared by reference.
pub struct Dispatcher<P, C, B> {
    platform: Arc<P>,
    callbacks: C,
    bus: B,
    policy: Arc<Policy>,
    retry: RetryPolicy,
    patience: Duration,
    at_work: AtWork,
}

impl<P: Platform, C: Post, B: Bus> Dispatcher<P, C, B> {
    /// A dispatcher that posts through `callbacks` and publishes to `bus`. `policy` tells our own URLs from others.
    pub fn new(platform: Arc<P>, callbacks: C, bus: B, policy: Arc<Policy>, retry: RetryPolicy) -> Self {
        Self { platform, callbacks, bus, policy, retry, patience: flows::PATIENCE, at_work: AtWork::default() }
    }

    /// The same dispatcher, which waits so long for the bus's answer to a publish.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Does what a message says that was handed over for the `receive_count`th time, counting from 1. `Ok`: acknowledge it.
    ///
    /// # Errors
    /// [`Fault`]: do not acknowledge it.
    pub async fn handle(&self, text: &str, receive_count: u32) -> Result<(), Fault> {
        self.handle_with(&Views::default(), Taken { text, receive_count }).await
    }

    /// Does what messages say that were taken from the queue together, each for itself: which of them, counting from 0, and
    /// its outcome as of [`Dispatcher::handle`], in the order in which they are done. Each instance's view is read once for
    /// all of them.
    pub fn handle_all<'a>(
        &'a self,
        messages: &'a [Taken<'a>],
    ) -> impl Stream<Item = (usize, Result<(), Fault>)> + Send + 'a {
        let views = Arc::new(Views::default());
        let each = messages.iter().enumerate().map(move |(index, message)| {
            let views = Arc::clone(&views);
            async move { (index, self.handle_with(&views, *message).await) }
        });
        stream::iter(each).buffer_unordered(MESSAGES_AT_ONCE)
    }

    /// As [`Dispatcher::handle`], with the views of the messages that were taken together with this one.
    ///
    /// # Errors
    /// [`Fault`]: do not acknowledge it.
    pub async fn handle_with(&self, views: &Views, message: Taken<'_>) -> Result<(), Fault> {
        let Taken { text, receive_count } = message;
        let outcome = match Message::decode(text) {
            Ok(Message::Batch(batch)) => self.tell(views, &batch, receive_count).await,
            Ok(Message::Stored { instance, body }) => self.tell_stored(views, instance, &body, receive_count).await,
            Ok(Message::Attempt(attempt)) => self.attempt(views, attempt).await,
            Ok(Message::Poll(_) | Message::Polls(_) | Message::Shard(_)) => {
                Err(Fault::Poison("a poll job, which belongs in the other queue".into()))
            }
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

    async fn tell_stored(
        &self,
        views: &Views,
        instance: InstanceId,
        body: &str,
        receive_count: u32,
    ) -> Result<(), Fault> {
        let Some(bytes) = bodies::get(&*self.platform, body).await? else {
            // The body is removed once the batch is done, so a message handed over twice finds none.
            tracing::info!(%instance, body, "a large batch was done before");
            return Ok(());
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| Fault::Poison(e.to_string()))?;
        match Message::decode(text) {
            Ok(Message::Batch(batch)) => self.tell(views, &batch, receive_count).await?,
            Ok(_) => return Err(Fault::Poison("a stored batch that is none".into())),
            Err(error) => return Err(Fault::Poison(error.to_string())),
        }
        Ok(bodies::delete(&*self.platform, body).await?)
    }

    async fn tell(&self, views: &Views, batch: &Batch, receive_count: u32) -> Result<(), Fault> {
        let view = views.get(&*self.platform, batch.instance).await?;
        let undated =
            if batch.needs_time() { markers::first_seen(&*self.platform, batch).await? } else { batch.accepted_at };
        let first = |notification| self.first(view.as_deref(), batch, notification, receive_count);
        let mut all: Vec<_> = batch.notifications(undated).map(first).collect();
        let mut outcome = Ok(());
        if all.len() == 1
            && let Some(only) = all.pop()
        {
            outcome = only.await;
        } else {
            let mut results = stream::iter(all).buffer_unordered(AT_ONCE);
            // One notification's trouble is not its neighbours': all are tried before the first trouble is reported.
            while let Some(result) = results.next().await {
                outcome = outcome.and(result);
            }
        }
        outcome?;
        // Not before what is told is recorded: what is noted here no poll tells any more.
        if batch.source == Source::Webhook && view.as_deref().is_some_and(|view| view.reconciles) {
            told::note(&*self.platform, batch).await?;
        }
        Ok(())
    }

    async fn first(
        &self,
        view: Option<&CallbackView>,
        batch: &Batch,
        notification: Notification<'_>,
        receive_count: u32,
    ) -> Result<(), Fault> {
        let (platform, instance, id) = (&*self.platform, batch.instance, notification.id);
        let turn = self.at_work.enter(id).await;
        // Why a first hand-over may read less, the crate says above.
        let (before, leftover) = if receive_count > 1 {
            deliveries::get_or_leftover(platform, instance, id).await?
        } else {
            let consistency = if turn.again { Consistency::Strong } else { Consistency::Eventual };
            (deliveries::get_with(platform, instance, id, consistency).await?, false)
        };
        let attempt = |to| Attempt { instance, notification: id, to, round: 0, attempt: 1 };
        let due = match &before {
            // What was not begun when it was first told is not begun by a copy: flows may have been switched on since.
            Some(stored) => {
                let awaited = |to| stored.delivery.leg(to).is_some_and(|leg| leg.awaits(&attempt(to)));
                let due = |to| awaited(to).then(|| attempt(to));
                Due { callback: due(To::Callback), flows: due(To::Flows) }
            }
            None => Due {
                callback: Some(attempt(To::Callback)),
                flows: view.is_some_and(|view| view.flows).then(|| attempt(To::Flows)),
            },
        };
        if let (Some(stored), Due { callback: None, flows: None }) = (&before, due) {
            return Ok(deliveries::tidy(platform, stored).await?);
        }
        self.deliver(Telling { view, batch, events: notification.events }, due, before, leftover).await
    }

    async fn attempt(&self, views: &Views, attempt: Attempt) -> Result<(), Fault> {
        let _turn = self.at_work.enter(attempt.notification).await;
        let before = deliveries::get(&*self.platform, attempt.instance, attempt.notification).await?;
        if let Some(stored) = before.as_ref().filter(|b| !b.delivery.awaits(&attempt)) {
            return Ok(deliveries::tidy(&*self.platform, stored).await?);
        }
        let payload = match &before {
            Some(stored) => deliveries::load_payload(&*self.platform, stored).await?,
            // The wake-up was sent and then we crashed, before the record: the payload came before both.
            None => deliveries::load_unrecorded(&*self.platform, attempt.notification).await?,
        };
        let Some(batch) = payload else {
            return self.payload_gone(&attempt, before).await;
        };
        let view = views.get(&*self.platform, attempt.instance).await?;
        let leftover = before.is_none();
        let telling = Telling { view: view.as_deref(), batch: &batch, events: &batch.events };
        self.deliver(telling, Due::only(attempt), before, leftover).await
    }
}
