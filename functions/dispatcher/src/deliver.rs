//! One attempt at one notification, and what is written of it.

use std::time::Duration;

use egress::callback::{self, Credentials, Notice};
use egress::{Answer, CallbackRequest, Failure, Post};
use events::envelope::Recipient;
use events::message::{Attempt, Message};
use events::{Batch, Event, Notification, Timestamp};
use platform::{Outgoing, Platform, Queue as _, TableError, Write, limits};
use records::RecordError;
use records::deliveries::{self, Attempted, Delivery, Leg, State, Stored};
use records::instances::{CallbackCredentials, CallbackView};
use records::retries::{self, Wake};

use crate::{Dispatcher, Fault, Next};

/// How often a record is written anew on top of what somebody else wrote meanwhile.
const REWRITES: usize = 5;

/// The most of an answer's body that is kept with a failed attempt, in bytes.
const EXCERPT_BYTES: usize = 200;

/// How an attempt went.
enum Outcome {
    /// 2xx.
    Told(Answer),
    /// Answered, but not 2xx.
    Declined(Answer),
    /// No answer.
    Unanswered(Failure),
}

impl<P: Platform, C: Post> Dispatcher<P, C> {
    /// `leftover`: there is no record, and a payload is kept all the same.
    pub(crate) async fn deliver(
        &self,
        view: Option<&CallbackView>,
        batch: &Batch,
        events: &[Event],
        attempt: Attempt,
        before: Option<Stored>,
        leftover: bool,
    ) -> Result<(), Fault> {
        let mut delivery = match &before {
            Some(stored) if !stored.delivery.callback.awaits(&attempt) => {
                return Ok(deliveries::tidy(&*self.platform, stored).await?);
            }
            Some(stored) => stored.delivery.clone(),
            None => Delivery { body: leftover, ..Delivery::new(attempt.notification, batch, events) },
        };
        let Some(view) = view else {
            let reason = "the instance was deleted".to_owned();
            tracing::info!(instance = %attempt.instance, notification = %attempt.notification, reason, "dropped");
            delivery.callback.state = State::Dropped { reason };
            return self.end(before, delivery, batch, events).await;
        };
        let Some(url) = &view.url else {
            if attempt.round == 0 && attempt.attempt == 1 {
                delivery.callback.state = State::Kept;
                return self.end(before, delivery, batch, events).await;
            }
            return self.park_without_callback(batch, events, attempt, before, delivery).await;
        };
        let began = self.platform.now();
        let outcome = match self.request(view, url, batch, events, &attempt, began).await? {
            Ok(request) => match self.callbacks.post(request).await {
                Ok(answer) if (200..300).contains(&answer.status) => Outcome::Told(answer),
                Ok(answer) => Outcome::Declined(answer),
                Err(failure) if failure.is_ours() => return Err(Fault::Broken(failure.to_string())),
                Err(failure) => Outcome::Unanswered(failure),
            },
            Err(refusal) => Outcome::Unanswered(refusal.into()),
        };
        delivery.callback.note(attempted(&attempt, began, self.platform.now(), &outcome));
        if let Outcome::Told(answer) = &outcome {
            tracing::debug!(
                instance = %attempt.instance, notification = %attempt.notification, status = answer.status,
                latency_ms = answer.latency.as_millis() as u64, attempt = attempt.attempt, "told"
            );
            delivery.callback.state = State::Told { at: self.platform.now() };
            return self.end(before, delivery, batch, events).await;
        }
        self.schedule(view, batch, events, attempt, before, delivery, &outcome).await
    }

    /// What to post; the inner error: the callback is one that may not be posted to, and nothing was opened for it.
    async fn request(
        &self,
        view: &CallbackView,
        url: &str,
        batch: &Batch,
        events: &[Event],
        attempt: &Attempt,
        at: Timestamp,
    ) -> Result<Result<CallbackRequest, egress::Refusal>, Fault> {
        let url = match self.policy.check(url) {
            Ok(url) => url,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let recipient = Recipient {
            name: &view.name,
            tags: &view.tags,
            account: view.account,
            company: view.company,
            user: view.user,
            strict: view.strict,
        };
        let notification = Notification { id: attempt.notification, events };
        let CallbackCredentials { signature_key, basic, headers } = view.credentials(&*self.platform).await?;
        let credentials = Credentials { signature_key, basic, headers };
        let notice = Notice { recipient, batch, notification, at, ping: false };
        let request = callback::request(&self.policy, url, &notice, credentials);
        Ok(Ok(request.map_err(|broken| Fault::Broken(broken.to_string()))?))
    }

    /// The callback was taken away while the notification was owed: it waits for its release, it is not forgotten.
    async fn park_without_callback(
        &self,
        batch: &Batch,
        events: &[Event],
        attempt: Attempt,
        before: Option<Stored>,
        mut delivery: Delivery,
    ) -> Result<(), Fault> {
        if !delivery.body {
            deliveries::keep_payload(&*self.platform, attempt.notification, batch, events).await?;
        }
        let now = self.platform.now();
        delivery.callback.note(unmade(&attempt, now, "the instance has no callback any more"));
        delivery.callback.state = State::Parked { at: now };
        self.proceed(before, delivery, Vec::new(), &attempt).await
    }

    /// After a failure: the payload, then the wake-up, then the record.
    #[expect(clippy::too_many_arguments, reason = "one attempt's whole context, used in one place")]
    async fn schedule(
        &self,
        view: &CallbackView,
        batch: &Batch,
        events: &[Event],
        attempt: Attempt,
        before: Option<Stored>,
        mut delivery: Delivery,
        outcome: &Outcome,
    ) -> Result<(), Fault> {
        let platform = &*self.platform;
        let retry_after = match outcome {
            Outcome::Declined(answer) => answer.retry_after,
            Outcome::Told(_) | Outcome::Unanswered(_) => None,
        };
        let now = platform.now();
        let next = self.retry.next(attempt.attempt, retry_after, platform.random().bits(), now);
        if !delivery.body {
            deliveries::keep_payload(platform, attempt.notification, batch, events).await?;
        }
        let error = delivery.callback.attempts.last().and_then(|a| a.error.clone()).unwrap_or_default();
        let (instance, notification) = (attempt.instance, attempt.notification);
        let mut also = Vec::new();
        match next {
            Next::Park => {
                tracing::error!(
                    %instance, %notification, error, attempts = attempt.attempt,
                    "parked after the last attempt: release it with \
                     PUT /notifications/subscriptions/deliveries?where=channel='webhook' and status='queued'"
                );
                delivery.callback.state = State::Parked { at: now };
            }
            Next::After(wait) => {
                let wake =
                    Wake { attempt: Attempt { attempt: attempt.attempt + 1, ..attempt }, group: view.group.clone() };
                tracing::warn!(%instance, %notification, error, attempt = attempt.attempt, retry_in_s = wait.as_secs(), "not told");
                delivery.callback.state = State::Waiting { next_at: now.plus(wait) };
                if wait <= limits::MAX_DELAY {
                    let body = Message::Attempt(wake.attempt).encode();
                    let message = Outgoing { body, delay: wait, group: wake.group };
                    platform.batches().send(vec![message]).await.map_err(RecordError::from)?;
                } else {
                    retries::begin(platform).await?;
                    also.push(retries::wake(platform, now.plus(wait), &wake));
                }
            }
        }
        self.proceed(before, delivery, also, &attempt).await
    }

    /// Writes that the delivery goes on. What somebody else wrote meanwhile is written over only while this attempt is
    /// still to be made by it, as when a release was recorded after its wake-up had come; else they have made it, and a
    /// wake-up too many dies out.
    async fn proceed(
        &self,
        mut before: Option<Stored>,
        mut delivery: Delivery,
        also: Vec<Write>,
        attempt: &Attempt,
    ) -> Result<(), Fault> {
        let platform = &*self.platform;
        for _ in 0..REWRITES {
            match deliveries::proceed(platform, before.as_ref(), delivery.clone(), also.clone()).await {
                Err(RecordError::Table(TableError::ConditionFailed(_))) => {}
                other => return Ok(other?),
            }
            before = deliveries::get(platform, attempt.instance, attempt.notification).await?;
            match &before {
                None => return Ok(()),
                Some(stored) if stored.delivery.callback.awaits(attempt) => {
                    let Leg { state, attempts, .. } = delivery.callback;
                    delivery = stored.delivery.clone();
                    if let Some(ours) = attempts.last() {
                        delivery.callback.note(ours.clone());
                    }
                    delivery.callback.state = state;
                }
                // If they were told, the payload kept for this attempt is nobody's.
                Some(stored) => return Ok(deliveries::tidy(platform, stored).await?),
            }
        }
        Err(RecordError::Table(TableError::Conflict).into())
    }

    /// Writes that nothing more is owed, also on top of what somebody else wrote meanwhile: whoever was told was told.
    async fn end(
        &self,
        mut before: Option<Stored>,
        mut delivery: Delivery,
        batch: &Batch,
        events: &[Event],
    ) -> Result<(), Fault> {
        let platform = &*self.platform;
        let mut error = None;
        for _ in 0..REWRITES {
            match deliveries::end(platform, before.as_ref(), delivery.clone(), batch, events).await {
                Ok(()) => return Ok(()),
                Err(RecordError::Table(
                    e @ (TableError::ConditionFailed(_) | TableError::Conflict | TableError::OutcomeUnknown(_)),
                )) => error = Some(e),
                Err(e) => return Err(e.into()),
            }
            before = deliveries::get(platform, delivery.instance, delivery.id).await?;
            if let Some(stored) = &before {
                let ours = &delivery.callback;
                let theirs = &stored.delivery.callback;
                if !matches!(theirs.state, State::Waiting { .. } | State::Parked { .. }) {
                    return Ok(deliveries::tidy(platform, stored).await?);
                }
                let mut merged = theirs.clone();
                merged.attempts.extend(ours.attempts.iter().filter(|a| !theirs.attempts.contains(a)).cloned());
                merged.state = ours.state.clone();
                delivery.callback = merged;
            }
        }
        Err(RecordError::Table(error.unwrap_or(TableError::Conflict)).into())
    }

    /// The payload is not where the record says. Cannot happen unless the store lost it; it must not go unnoticed.
    pub(crate) async fn payload_gone(&self, attempt: &Attempt, before: Option<Stored>) -> Result<(), Fault> {
        tracing::error!(%attempt, "the payload of a notification is gone, nothing can be posted");
        let Some(stored) = before else { return Ok(()) };
        let mut delivery = stored.delivery.clone();
        delivery.callback.state = State::Parked { at: self.platform.now() };
        delivery.callback.note(unmade(attempt, self.platform.now(), "the payload is gone"));
        self.proceed(Some(stored), delivery, Vec::new(), attempt).await
    }
}

/// An attempt that could not be made.
fn unmade(attempt: &Attempt, at: Timestamp, why: &str) -> Attempted {
    let Attempt { round, attempt, .. } = *attempt;
    Attempted { at, round, attempt, status: None, latency_ms: 0, error: Some(why.to_owned()) }
}

fn attempted(attempt: &Attempt, began: Timestamp, ended: Timestamp, outcome: &Outcome) -> Attempted {
    let (status, latency, error): (_, Duration, _) = match outcome {
        Outcome::Told(answer) => (Some(answer.status), answer.latency, None),
        Outcome::Declined(answer) => (Some(answer.status), answer.latency, Some(declined(answer))),
        Outcome::Unanswered(failure) => (None, ended.since(began), Some(failure.to_string())),
    };
    Attempted {
        at: began,
        round: attempt.round,
        attempt: attempt.attempt,
        status,
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        error,
    }
}

fn declined(answer: &Answer) -> String {
    let text = &answer.body_start;
    let end = (0..=EXCERPT_BYTES.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let redirect = if (300..400).contains(&answer.status) { " (redirects are not followed)" } else { "" };
    match &text[..end] {
        "" => format!("answered {}{redirect}", answer.status),
        excerpt => format!("answered {}{redirect}: {excerpt}", answer.status),
    }
}
