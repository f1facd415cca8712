//! The leg to the callback: one POST of the whole notification.

use std::time::Duration;

use egress::callback::{self, Credentials, Notice};
use egress::{Answer, CallbackRequest, Failure, Post};
use events::message::Attempt;
use events::{Notification, Timestamp};
use platform::{Bus, Platform};
use records::deliveries::{Attempted, State};
use records::instances::{CallbackCredentials, CallbackView};

use crate::outcome::{Came, Made, unmade};
use crate::{Dispatcher, Fault, Telling, count};

/// The most of an answer's body that is kept with a failed attempt, in bytes.
const EXCERPT_BYTES: usize = 200;

/// How a POST went.
enum Posted {
    /// 2xx.
    Told(Answer),
    /// Answered, but not 2xx.
    Declined(Answer),
    /// No answer.
    Unanswered(Failure),
}

impl<P: Platform, C: Post, B: Bus> Dispatcher<P, C, B> {
    /// Makes the attempt. A [`Fault`] is nobody's attempt: nothing is to be written of it.
    pub(crate) async fn call(&self, telling: Telling<'_>, attempt: Attempt) -> Result<Made, Fault> {
        let now = self.platform.now();
        let Some(view) = telling.view else { return Ok(Made::deleted(attempt)) };
        let group = view.group.clone();
        let Some(url) = &view.url else {
            // Taken away while the notification was owed, it waits for its release: it is not forgotten.
            let (attempted, came) = if (attempt.round, attempt.attempt) == (0, 1) {
                (None, Came::Ended(State::Kept))
            } else {
                (Some(unmade(&attempt, now, "the instance has no callback any more")), Came::Waits)
            };
            return Ok(Made { attempt, attempted, came, owed: Vec::new(), group });
        };
        let posted = match self.request(view, url, telling, &attempt, now).await? {
            Ok(request) => match self.callbacks.post(request).await {
                Ok(answer) if (200..300).contains(&answer.status) => Posted::Told(answer),
                Ok(answer) => Posted::Declined(answer),
                Err(failure) if failure.is_ours() => return Err(Fault::Broken(failure.to_string())),
                Err(failure) => Posted::Unanswered(failure),
            },
            Err(refusal) => Posted::Unanswered(refusal.into()),
        };
        let ended = self.platform.now();
        let attempted = attempted(&attempt, now, ended, &posted);
        count::posted(&attempted);
        let came = match posted {
            Posted::Told(_) => Came::Ended(State::Told { at: ended }),
            Posted::Declined(answer) => Came::Failed { retry_after: answer.retry_after },
            Posted::Unanswered(_) => Came::Failed { retry_after: None },
        };
        Ok(Made { attempt, attempted: Some(attempted), came, owed: Vec::new(), group })
    }

    /// What to post; the inner error: the callback is one that may not be posted to, and nothing was opened for it.
    async fn request(
        &self,
        view: &CallbackView,
        url: &str,
        Telling { batch, events, .. }: Telling<'_>,
        attempt: &Attempt,
        at: Timestamp,
    ) -> Result<Result<CallbackRequest, egress::Refusal>, Fault> {
        let url = match self.policy.check(url) {
            Ok(url) => url,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let notification = Notification { id: attempt.notification, events };
        let CallbackCredentials { signature_key, basic, headers } = view.credentials(&*self.platform).await?;
        let credentials = Credentials { signature_key, basic, headers };
        let notice = Notice { recipient: view.recipient(), batch, notification, at, ping: false };
        let request = callback::request(&self.policy, url, &notice, credentials);
        Ok(Ok(request.map_err(|broken| Fault::Broken(broken.to_string()))?))
    }
}

fn attempted(attempt: &Attempt, began: Timestamp, ended: Timestamp, posted: &Posted) -> Attempted {
    let (status, latency, error): (_, Duration, _) = match posted {
        Posted::Told(answer) => (Some(answer.status), answer.latency, None),
        Posted::Declined(answer) => (Some(answer.status), answer.latency, Some(declined(answer))),
        Posted::Unanswered(failure) => (None, ended.since(began), Some(failure.to_string())),
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
    let redirect = if (300..400).contains(&answer.status) { " (redirects are not followed)" } else { "" };
    match &text[..text.floor_char_boundary(EXCERPT_BYTES)] {
        "" => format!("answered {}{redirect}", answer.status),
        excerpt => format!("answered {}{redirect}: {excerpt}", answer.status),
    }
}
