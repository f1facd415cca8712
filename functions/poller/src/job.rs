//! The jobs of the poll jobs' queue: parts of the wheel that are due, and polls.
//!
//! *Promise:* a job is acknowledged when what it says is done, or is in the queue as another job; one that a newer version
//! wrote is sent on unchanged.

use std::time::Duration;

use events::InstanceId;
use events::message::{Message, Undecodable};
use platform::{Outgoing, Platform, Queue as _};
use records::RecordError;

use crate::poller::LAST_PAGE;
use crate::polls::{self, Poll, Times};
use crate::shard;

/// How long a job that a newer version wrote waits for that version: about as long as a deployment takes.
const NEWER_DELAY: Duration = Duration::from_secs(60);

/// Kept back of a job's time, for sending on what is left of it.
const TO_SEND: Duration = Duration::from_secs(5);

/// A poll that begins has at least so long, if its job has: some seconds in which it asks, and what its last page may take.
const TO_POLL: Duration = Duration::from_secs(5).saturating_add(LAST_PAGE);

/// Why a job is not to be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not a poll job: no retry will mend it.
    #[error("the poll job cannot be read: {0}")]
    Poison(String),
    /// The table or the queue: a failure of our own, and the job is handed over again.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A poll that somebody asked for failed by our own fault: the job is handed over again.
    #[error("the poll of instance {0} failed: {1}")]
    Poll(InstanceId, String),
}

/// Does what a poll job says, in about `within`. `Ok`: acknowledge it.
///
/// # Errors
/// [`Fault`]: do not acknowledge it.
pub async fn handle<P: Platform>(platform: &P, polls: &impl Poll, text: &str, within: Duration) -> Result<(), Fault> {
    let within = within.saturating_sub(TO_SEND);
    let end = platform.now().plus(within);
    let over = tokio::time::sleep(within);
    match Message::decode(text) {
        Ok(Message::Poll(job)) => polls::poll_one(platform, polls, job, end, over).await,
        Ok(Message::Polls(job)) => {
            let times = Times { begin: end.minus(TO_POLL), end };
            Ok(polls::poll_all(platform, polls, &job, times, over).await?)
        }
        Ok(Message::Shard(job)) => shard::shard(platform, job, end).await,
        Ok(Message::Batch(_) | Message::Stored { .. } | Message::Attempt(_)) => {
            Err(Fault::Poison("a message of the batches queue".into()))
        }
        Err(Undecodable::Newer(schema)) => {
            tracing::info!(schema, "a poll job of a newer version is sent on unchanged");
            let again = Outgoing { body: text.to_owned(), delay: NEWER_DELAY, group: "newer".into() };
            Ok(platform.polls().send(vec![again]).await.map_err(RecordError::from)?)
        }
        Err(Undecodable::Malformed(reason)) => Err(Fault::Poison(reason)),
    }
}
