//! The tick: what the timing wheel has due, sent on minute by minute.
//!
//! *Promise:* every slot whose minute has come is sent at least once, also after missed ticks and crashes, and slots that came
//! round several times in between once. *Cost:* two reads and one write when nothing is due; else a tenth of a send for each
//! shard that is.
//!
//! *Flow:* the mark and the intervals → what is due since the mark, in the order of minutes → a job for each shard → the mark,
//! as far as everything was sent. The first tick ever does the present minute: no instance was placed before.
//!
//! *Failure:* a crash before the mark moves sends the same once more, as do two ticks at the same time; a job too many polls
//! once more. What a full queue does not take is sent by the next tick, and so is what a tick has no time for. A wheel that
//! cannot be read is told each minute, and the others turn on: what it has due meanwhile is not polled, because to wait for it
//! would poll all others again each minute.

use events::Timestamp;
use events::message::ShardJob;
use metrics::counter;
use platform::Platform;
use records::RecordError;
use records::wheel::{self, Interval, Minutes};

use crate::send;

/// Jobs sent before the time is looked at: a second's work or two.
const JOBS_AT_A_TIME: usize = 1000;

/// An instance that missed so many turns is long overdue: of one that is polled each minute, so many minutes.
pub(crate) const OVERDUE_TURNS: u64 = 3;

/// How far ahead of now the mark may be, in minutes, and be believed: the clocks of two machines differ by less.
const AHEAD_MINUTES: i64 = 5;

/// Sends every part of the wheel that is due. Returns how many jobs. Ends when `until` is past, and does one portion at least.
///
/// # Errors
/// The table's or the queue's; what was not sent stays due.
pub async fn tick<P: Platform>(platform: &P, until: Timestamp) -> Result<usize, RecordError> {
    let now = platform.now().minute();
    let ticked = wheel::ticked(platform).await?;
    let Some(first) = first(ticked.minute(), now) else { return Ok(0) };
    tell_missed(ticked.minute(), now);
    let intervals = wheel::intervals(platform).await?;
    let (mut jobs, mut sent, mut done, mut outcome) = (Vec::new(), 0, None, Ok(()));
    for minute in first..=now {
        jobs.extend(intervals.found.iter().flat_map(|interval| due(*interval, minute, now)));
        if jobs.len() < JOBS_AT_A_TIME && minute < now {
            continue;
        }
        let count = jobs.len();
        outcome = send::all(platform, jobs.drain(..).map(send::shard)).await;
        if outcome.is_err() {
            break;
        }
        sent += count;
        done = Some(minute);
        if platform.now() >= until {
            break;
        }
    }
    if sent > 0 {
        tracing::debug!(sent, "parts of the wheel are due");
    }
    if let Some(done) = done {
        // `None`: another tick was faster, and has sent the same.
        wheel::set_ticked(platform, ticked, done).await?;
    }
    outcome?;
    intervals.unreadable.map_or(Ok(sent), Err)
}

/// The first minute whose slots are still to be sent; `None`: none are, up to now.
fn first(ticked: Option<i64>, now: i64) -> Option<i64> {
    let after = match ticked {
        // Else a clock was wrong once, and nothing would be polled until it is right again.
        Some(minute) if minute <= now + AHEAD_MINUTES => minute,
        _ => now - 1,
    };
    // In a turn of the slowest wheel every slot comes round.
    let first = (after + 1).max(now - i64::from(Minutes::LONGEST.number()) + 1);
    (first <= now).then_some(first)
}

/// Tells of ticks that stood still so long that polls are long overdue: those that are due more than three times in it.
fn tell_missed(ticked: Option<i64>, now: i64) {
    let missed = ticked.map_or(0, |minute| now.saturating_sub(minute) - 1);
    if let Ok(minutes @ OVERDUE_TURNS..) = u64::try_from(missed) {
        counter!("pollhook_ticks_missed").increment(minutes);
        let overdue_up_to = minutes / OVERDUE_TURNS;
        tracing::error!(minutes, overdue_up_to, "no tick came for minutes; whoever is polled as often is long overdue");
    }
}

/// A wheel's shards that are due in a minute, and not once more up to now.
fn due(Interval { minutes, shards }: Interval, minute: i64, now: i64) -> impl Iterator<Item = ShardJob> {
    minutes.due(minute - 1, minute, now).flat_map(move |(slot, minute)| {
        (0..shards).map(move |shard| ShardJob { minutes: minutes.into(), slot, shard, shards, minute, from: None })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_was_missed_each_slot_is_due_once_in_its_last_minute(
            minutes in 1_u32..=1440,
            shards in 1_u32..=3,
            missed in 0_i64..5000,
            now in 6000_i64..30_000_000,
        ) {
            let minutes = Minutes::new(minutes).unwrap();
            let from = first(Some(now - missed), now);
            prop_assert_eq!(from.is_none(), missed == 0, "a second tick in one minute has nothing to do");
            let interval = Interval { minutes, shards };
            let jobs: Vec<ShardJob> = (from.unwrap_or(now + 1)..=now).flat_map(|minute| due(interval, minute, now)).collect();
            let distinct: BTreeSet<(u16, u32)> = jobs.iter().map(|job| (job.slot, job.shard)).collect();
            prop_assert_eq!(distinct.len(), jobs.len());
            let turns = usize::try_from(missed).unwrap().min(minutes.number().into());
            prop_assert_eq!(jobs.len(), turns * shards as usize);
            for job in jobs {
                prop_assert_eq!(minutes.slot(job.minute), job.slot);
                prop_assert!(job.minute > now - missed && job.minute + i64::from(minutes.number()) > now);
            }
        }
    }

    #[test]
    fn a_mark_from_a_clock_that_was_wrong_stops_nothing() {
        assert_eq!(first(None, 100), Some(100), "the first tick");
        assert_eq!(first(Some(105), 100), None, "another machine's clock");
        assert_eq!(first(Some(5_000_000), 100), Some(100));
    }
}
