//! Signals of a change, and the polls that look for it.
//!
//! *Promise:* a signal that was taken is followed by a poll that begins after it. Many signals of one instance within moments
//! are followed by few.
//!
//! *Flow:*
//!
//! ```text
//! what is noted of the instances (one read) ─▶ covered: nothing to do
//!                                           └▶ else a poll job that begins in `SETTLES` ─▶ note when that is
//! ```
//!
//! *Why it waits.* A provider signals each of many changes that were made together, and may do so before its own index shows
//! them. A poll that begins a moment later finds all of them, and one that has begun already may not: so a signal is covered
//! by a job that has not begun yet, and by no other.
//!
//! *Failure:* whatever is in doubt is polled: a note that cannot be read, or whose poll may have begun by another server's
//! clock. The note is written after the job was sent, so a crash between them costs one poll more, as does a note that cannot
//! be written. A job that could not be sent is not noted, and the provider sends its signal again.

use std::time::Duration;

use events::message::PollJob;
use events::{InstanceId, Message, Timestamp};
use platform::{Outgoing, Platform};
use records::instances::WebhookView;
use records::{RecordError, signals};

use crate::Receiver;
use crate::enqueue::send;

/// How long after its signal a poll begins: of people who save a file or drop a folder the signals come within a second or
/// two, and three more are not felt.
const SETTLES: Duration = Duration::from_secs(3);

/// How far the clocks of two servers may be apart: those of AWS are by some milliseconds.
const SKEW: Duration = Duration::from_secs(1);

/// Whether a poll that begins at `noted` sees all that changed before `now`.
fn covers(noted: Timestamp, now: Timestamp) -> bool {
    // One that is further ahead than any job was noted by a clock that is wrong.
    now.plus(SKEW) < noted && noted <= now.plus(SETTLES + SKEW)
}

impl<P: Platform> Receiver<P> {
    /// Sees to it that each of the instances is polled by a job that begins from now on; an error means that some may not be.
    /// How many jobs that took.
    ///
    /// Each instance is a group of its own: those of one callback share its troubles, and a poll calls no callback.
    pub(crate) async fn enqueue_polls(&self, views: &[&WebhookView]) -> Result<usize, RecordError> {
        let platform = &*self.platform;
        let instances: Vec<InstanceId> = views.iter().map(|view| view.instance).collect();
        let noted = signals::noted(platform, &instances).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "what is noted of signals cannot be read");
            vec![None; instances.len()]
        });
        let now = platform.now();
        let covered = |noted: Option<Timestamp>| noted.is_some_and(|noted| covers(noted, now));
        let due = instances.into_iter().zip(noted).filter(|(_, noted)| !covered(*noted)).map(|(instance, _)| instance);
        let due: Vec<InstanceId> = due.collect();
        let at = now.plus(SETTLES);
        let job = |instance: &InstanceId| {
            let body = Message::Poll(PollJob { instance: *instance, at }).encode();
            Outgoing { body, delay: SETTLES, group: instance.to_string() }
        };
        send(platform.polls(), due.iter().map(job).collect()).await?;
        if !due.is_empty()
            && let Err(error) = signals::note(platform, due.iter().copied(), at).await
        {
            tracing::warn!(%error, "polls that were signalled could not be noted: the next signal polls once more");
        }
        Ok(due.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_signal_that_is_covered_came_before_its_poll_began_by_either_clock(
            sent_ms in 0_i64..100_000,
            after_ms in -10_000_i64..10_000,
            skew_ms in -1_000_i64..=1_000,
        ) {
            // Noted by the clock of one server, read by that of another.
            let (sent, now) = (Timestamp::from_millis(sent_ms), Timestamp::from_millis(sent_ms + after_ms + skew_ms));
            if covers(sent.plus(SETTLES), now) {
                let begins_in = i64::try_from(SETTLES.as_millis()).unwrap() - after_ms;
                prop_assert!(begins_in > 0, "it had begun");
            }
            let really = Timestamp::from_millis(sent_ms + after_ms);
            let soon = (0..i64::try_from((SETTLES - SKEW).as_millis()).unwrap()).contains(&after_ms);
            prop_assert_eq!(covers(sent.plus(SETTLES), really), soon || (-1_000..0).contains(&after_ms));
        }
    }
}
