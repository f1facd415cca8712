//! Messages to the poll jobs' queue, as many as there are.

use std::time::Duration;

use events::message::{PollsJob, ShardJob};
use events::{Message, Timestamp};
use futures_util::stream::{self, StreamExt as _};
use platform::{Outgoing, Platform, Queue as _, limits};
use records::RecordError;

/// How many fairness groups there are of what the wheel makes.
const LANES: u32 = 8;

/// The fairness group of what the wheel makes, by a number of the job: instances of all accounts together, in a few lanes. A
/// queue keeps workers free for whoever has nothing in flight, so in one lane jobs would come one after the other, and a slow
/// provider's would hold up all; and an instance whose provider says that something changed, which has a group of its own, is
/// polled before a crowd that is due.
fn wheel(number: u32) -> String {
    format!("wheel-{}", number % LANES)
}

/// The fairness group of a job of the wheel's.
fn lane(job: &PollsJob) -> String {
    wheel(job.instances.first().copied().map_or(0, u32::from))
}

/// A job of the wheel's, to be handed over after a delay.
pub(crate) fn polls(delay: Duration, job: PollsJob) -> Outgoing {
    let lane = lane(&job);
    after(delay, &Message::Polls(job), &lane)
}

/// A part of the wheel, to be handed over at once.
pub(crate) fn shard(job: ShardJob) -> Outgoing {
    let lane = wheel(job.shard);
    after(Duration::ZERO, &Message::Shard(job), &lane)
}

/// Sends at the same time: with some 10 ms each, thousands of messages a second.
const SENDS_AT_ONCE: usize = 8;

/// Sends messages, ten at a time. All are tried before the first trouble is told.
pub(crate) async fn all<P: Platform>(
    platform: &P,
    messages: impl IntoIterator<Item = Outgoing>,
) -> Result<(), RecordError> {
    let mut messages = messages.into_iter().peekable();
    let mut tens: Vec<Vec<Outgoing>> = Vec::new();
    while messages.peek().is_some() {
        tens.push(messages.by_ref().take(limits::SEND_MESSAGES).collect());
    }
    let sends = tens.into_iter().map(|some| platform.polls().send(some));
    let mut sends = stream::iter(sends).buffer_unordered(SENDS_AT_ONCE);
    let mut outcome = Ok(());
    while let Some(sent) = sends.next().await {
        outcome = outcome.and(sent.map_err(RecordError::from));
    }
    outcome
}

/// A message to be handed over after a delay.
pub(crate) fn after(delay: Duration, message: &Message, group: &str) -> Outgoing {
    Outgoing { body: message.encode(), delay, group: group.to_owned() }
}

/// How long a message waits that is not to be handed over before `at`: as long as a message can wait, and none where it is
/// past. In whole seconds, so up to one longer.
pub(crate) fn delay(at: Timestamp, now: Timestamp) -> Duration {
    let seconds = at.since(now).as_millis().div_ceil(1000);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)).min(limits::MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::InstanceId;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jobs_of_the_wheel_are_in_all_lanes_and_in_no_other() {
        let job = |number| PollsJob {
            instances: vec![InstanceId::from_random(number)],
            at: Timestamp::from_millis(0),
            failed: 0,
        };
        let lanes: BTreeSet<String> =
            (0..1_000_u32).map(|number| lane(&job(number.wrapping_mul(2_654_435_761)))).collect();
        assert_eq!(lanes, (0..LANES).map(wheel).collect());
        assert_eq!(lanes.len(), LANES as usize);
    }

    proptest! {
        #[test]
        fn nothing_is_handed_over_early_nor_a_second_late(now in 0_i64..4_000_000_000_000, ahead in -5_000_000_i64..5_000_000) {
            let (now, at) = (Timestamp::from_millis(now), Timestamp::from_millis(now + ahead));
            let waits = delay(at, now);
            prop_assert!(waits <= limits::MAX_DELAY && waits.subsec_nanos() == 0);
            if at <= now {
                prop_assert_eq!(waits, Duration::ZERO);
            } else if ahead <= 900_000 {
                prop_assert!(now.plus(waits) >= at && now.plus(waits) < at.plus(Duration::from_secs(1)));
            }
        }
    }
}
