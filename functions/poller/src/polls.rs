//! Many polls in one invocation.
//!
//! *Promise:* each instance of a job is polled, by this worker or by the one that its rest is sent to; none waits for a slow
//! neighbour but where [`AT_ONCE`] of them are slow, and then not beyond the invocation's end; who waits for a provider's
//! budget is not slow, but [aside](crate::slots), and ends in time with what it has where its place does not come back. What is sent on is in the queue
//! before the job is acknowledged.
//!
//! *Flow.* What becomes of each:
//!
//! ```text
//! Done    ─▶ nothing more
//! More    ─▶ sent on at once: it went as far as there was time
//! Taken   ─▶ sent on, not before the other worker's claim has ended
//! Later   ─▶ the instance's next turn; a poll that a signal asked for is sent on, for an hour
//! Failed  ─▶ sent on, later and later, some times; then its next turn is its next chance
//! not begun when the time is short ─▶ sent on at once
//! not finished when it is over     ─▶ given up, and failed
//! ```
//!
//! *Why a failed poll is not sent on for ever.* The wheel comes round and sends the same instance again: what fails in each turn
//! would become more and more messages. A provider's signal comes once, so its job stays in the queue until it is done.
//!
//! *Failure:* what could not be sent on brings the whole job again, and polls some of it twice.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use events::message::{PollJob, PollsJob};
use events::{InstanceId, Message, Timestamp};
use futures_util::FutureExt as _;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use platform::{Platform, limits};
use records::RecordError;

use crate::job::Fault;
use crate::send;
use crate::slots::{Slot, Slots};

/// Polls of one job at the same time. A function has ten jobs at once: two hundred polls that wait for their providers.
pub const AT_ONCE: usize = 20;

/// How often polls that failed by our own fault are sent on, a minute, four and fifteen later.
const MOST_FAILURES: u32 = 3;

/// How long a poll that a provider's signal asked for is sent on while the provider gives no answer. A signal comes once, and
/// not every instance that is signalled has turns; but each signal sends on its own, so it cannot be for ever.
const SIGNALLED: Duration = Duration::from_secs(60 * 60);

/// What became of a poll.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Polled {
    /// There is no more to do: what changed is told, or why not is noted where its owner finds it.
    Done,
    /// It went on as far as there was time, and there is more.
    More,
    /// Another worker is at it.
    Taken {
        /// When that one's claim runs out.
        until: Timestamp,
    },
    /// The provider gives no answer for now.
    Later {
        /// When to ask again.
        at: Timestamp,
    },
    /// A failure of our own, for this reason.
    Failed(String),
}

/// Who polls one instance.
pub trait Poll: Sync {
    /// Polls an instance that is due.
    fn poll(&self, due: Due<'_>) -> impl Future<Output = Polled> + Send;
}

/// An instance that is to be polled.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    /// Which one.
    pub instance: InstanceId,
    /// Up to when for what changed: a query that was sent before may not have seen it.
    pub at: Timestamp,
    /// Whether somebody asked for it: its provider, or who made or changed it. Else its turn has come.
    pub asked: bool,
    /// The poll ends by itself before, else it is given up in the middle.
    pub until: Timestamp,
    /// Its place among those that are polled.
    pub slot: &'a Slot,
}

/// The times of an invocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// From then on no further poll is begun, but the first [`AT_ONCE`].
    pub begin: Timestamp,
    /// When polls are to have ended.
    pub end: Timestamp,
}

/// Polls the instances of a job; `over` ends when the time for it is over.
///
/// # Errors
/// What is to be sent on could not be: do not acknowledge the job.
pub async fn poll_all<P: Platform>(
    platform: &P,
    polls: &impl Poll,
    job: &PollsJob,
    times: Times,
    over: impl Future<Output = ()> + Send,
) -> Result<(), RecordError> {
    let slots = &Slots::new(AT_ONCE);
    let each = job.instances.iter().copied().enumerate().map(|(index, instance)| async move {
        let slot = &slots.take().await;
        let begins = index < AT_ONCE || platform.now() < times.begin;
        let due = Due { instance, at: job.at, asked: false, until: times.end, slot };
        // In a place of its own, and only once it begins: a poll is some kilobytes, and most of a job's wait.
        let polled = if begins { Box::pin(poll(polls, due)).await } else { Polled::More };
        (index, polled)
    });
    let mut outcomes: Vec<Option<Polled>> = vec![None; job.instances.len()];
    let mut ended = pin!(each.collect::<FuturesUnordered<_>>().take_until(over));
    while let Some((index, polled)) = ended.next().await {
        outcomes[index] = Some(polled);
    }
    let given_up = || Polled::Failed("it did not end in time".into());
    let outcomes = outcomes.into_iter().map(|polled| polled.unwrap_or_else(given_up));
    let rest = rest(job, job.instances.iter().copied().zip(outcomes), platform.now());
    send::all(platform, rest.map(|(delay, job)| send::polls(delay, job))).await
}

/// Polls the instance of a job.
///
/// # Errors
/// [`Fault`]: do not acknowledge the job.
pub(crate) async fn poll_one<P: Platform>(
    platform: &P,
    polls: &impl Poll,
    job: PollJob,
    until: Timestamp,
    over: impl Future<Output = ()> + Send,
) -> Result<(), Fault> {
    let PollJob { instance, at } = job;
    let slot = &Slots::new(1).take().await;
    let mut ended = pin!(stream::once(poll(polls, Due { instance, at, asked: true, until, slot })).take_until(over));
    let delay = match ended.next().await {
        Some(Polled::Done) => return Ok(()),
        Some(Polled::More) => Duration::ZERO,
        Some(Polled::Taken { until }) => send::delay(until, platform.now()),
        Some(Polled::Later { at: again }) if platform.now().since(at) < SIGNALLED => send::delay(again, platform.now()),
        Some(Polled::Later { .. }) => {
            tracing::error!(%instance, "a poll that was asked for is given up; the instance's next turn or signal tries it");
            return Ok(());
        }
        Some(Polled::Failed(reason)) => return Err(Fault::Poll(instance, reason)),
        None => return Err(Fault::Poll(instance, "it did not end in time".into())),
    };
    let message = send::after(delay, &Message::Poll(job), &instance.to_string());
    Ok(send::all(platform, [message]).await?)
}

/// One poll; its panic is not its neighbours'.
async fn poll(polls: &impl Poll, due: Due<'_>) -> Polled {
    let polled = AssertUnwindSafe(polls.poll(due)).catch_unwind().await;
    polled.unwrap_or_else(|_| Polled::Failed("it panicked".into()))
}

/// What of a job is to be sent on, and after which delay.
fn rest(
    job: &PollsJob,
    outcomes: impl Iterator<Item = (InstanceId, Polled)>,
    now: Timestamp,
) -> impl Iterator<Item = (Duration, PollsJob)> {
    let mut again: BTreeMap<(Duration, u32), Vec<InstanceId>> = BTreeMap::new();
    for (instance, polled) in outcomes {
        let when = match polled {
            Polled::Done | Polled::Later { .. } => continue,
            Polled::More => (Duration::ZERO, job.failed),
            Polled::Taken { until } => (send::delay(until, now), job.failed),
            Polled::Failed(reason) if job.failed < MOST_FAILURES => {
                tracing::warn!(%instance, reason, "a poll failed and is tried again");
                (later(job.failed), job.failed + 1)
            }
            Polled::Failed(reason) => {
                tracing::error!(%instance, reason, "a poll failed again and again; the instance's next turn tries it");
                continue;
            }
        };
        again.entry(when).or_default().push(instance);
    }
    let at = job.at;
    again.into_iter().map(move |((delay, failed), instances)| (delay, PollsJob { instances, at, failed }))
}

/// How long a poll waits that has failed so often before.
fn later(failed: u32) -> Duration {
    Duration::from_secs(60 * 4_u64.saturating_pow(failed)).min(limits::MAX_DELAY)
}
