//! One shard of a slot that is due: who is in it, packed by the second in which they are polled.
//!
//! *Promise:* everybody who is in the shard while it is read is in a job once, or more often after a crash. *Cost:* a query for
//! some hundred instances, and a message for each second or for every [`POLLS`] of them, whichever is more.
//!
//! *Flow:* page by page; a job that is full is sent at once, the others at the end. When the time is short, these are sent, and
//! the rest of the shard as a job of its own.
//!
//! *Failure:* the job is handed over again and does everything once more, which polls some twice. An item that cannot be read
//! is told in each turn, and its neighbours are polled. A shard whose job waited in the queue for more than three turns is
//! told too: its instances are long overdue.

use std::collections::BTreeMap;

use events::message::{Onward, POLLS, PollsJob, ShardJob};
use events::{InstanceId, Timestamp};
use metrics::counter;
use platform::{Outgoing, Platform};
use records::wheel::{self, Interval, Minutes, Place};

use crate::job::Fault;
use crate::send;
use crate::tick::OVERDUE_TURNS;

/// Sends everybody who is in the shard on to be polled. After `until` it reads no further page.
pub(crate) async fn shard<P: Platform>(platform: &P, job: ShardJob, until: Timestamp) -> Result<(), Fault> {
    let Some(minutes) = Minutes::new(job.minutes) else {
        return Err(Fault::Poison(format!("a wheel of {} minutes", job.minutes)));
    };
    let place = Place { minutes, slot: job.slot, shard: job.shard };
    let mut packing = Packing::new(job.minute);
    let mut from = job.from.clone();
    let last = loop {
        let before = from.as_ref().map_or(0, |from| from.before);
        let page = wheel::page(platform, &place, from.map(|from| from.page)).await?;
        if let Some(error) = page.unreadable {
            tracing::error!(%error, "an instance of the wheel cannot be read and is not polled");
        }
        let count = before + page.instances.len();
        let full: Vec<PollsJob> = page.instances.into_iter().filter_map(|instance| packing.add(instance)).collect();
        send(platform, full).await?;
        let Some(next) = page.next else { break Ok(count) };
        let onward = Onward { page: next, before: count };
        if platform.now() >= until {
            break Err(onward);
        }
        from = Some(onward);
    };
    send(platform, packing.rest()).await?;
    let (Ok(count) | Err(Onward { before: count, .. })) = last;
    let before = job.from.as_ref().map_or(0, |from| from.before);
    tell_if_overdue(&job, count.saturating_sub(before), platform.now());
    match last {
        Ok(count) => {
            if wheel::is_full(job.shards, job.shard, count)
                && let Err(error) = wheel::grow(platform, Interval { minutes, shards: job.shards }).await
            {
                tracing::warn!(%error, %minutes, "a full wheel could not grow, its next turn tries again");
            }
        }
        Err(onward) => {
            send::all(platform, [send::shard(ShardJob { from: Some(onward), ..job })]).await?;
        }
    }
    Ok(())
}

/// Tells of `count` instances that are sent on to be polled much later than they were due.
fn tell_if_overdue(job: &ShardJob, count: usize, now: Timestamp) {
    let late = u64::try_from(now.minute().saturating_sub(job.minute)).unwrap_or_default();
    if count > 0 && late > OVERDUE_TURNS * u64::from(job.minutes) {
        counter!("pollhook_polls_overdue").increment(count as u64);
        let every = job.minutes;
        tracing::error!(count, late, every, "polls are long overdue: poll jobs wait too long in their queue");
    }
}

async fn send<P: Platform>(platform: &P, jobs: Vec<PollsJob>) -> Result<(), Fault> {
    let now = platform.now();
    let message = |job: PollsJob| -> Outgoing {
        let delay = send::delay(job.at, now);
        send::polls(delay, job)
    };
    Ok(send::all(platform, jobs.into_iter().map(message)).await?)
}

/// The instances of one minute, put together by their second.
struct Packing {
    minute: i64,
    by_second: BTreeMap<u8, Vec<InstanceId>>,
}

impl Packing {
    fn new(minute: i64) -> Self {
        Self { minute, by_second: BTreeMap::new() }
    }

    /// Puts an instance to those of its second: a job, once it is full.
    fn add(&mut self, instance: InstanceId) -> Option<PollsJob> {
        let second = wheel::second(instance);
        let some = self.by_second.entry(second).or_default();
        some.push(instance);
        let full = (some.len() == POLLS).then(|| std::mem::take(some));
        full.map(|instances| self.job(second, instances))
    }

    /// What is in no job yet.
    fn rest(mut self) -> Vec<PollsJob> {
        let rest = std::mem::take(&mut self.by_second).into_iter().filter(|(_, instances)| !instances.is_empty());
        rest.map(|(second, instances)| self.job(second, instances)).collect()
    }

    fn job(&self, second: u8, instances: Vec<InstanceId>) -> PollsJob {
        PollsJob { instances, at: wheel::time(self.minute, second), failed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everybody_is_in_one_job_of_their_second_and_jobs_are_as_few_as_can_be(
            count in prop_oneof![0_u32..300, 2900_u32..3500],
            minute in 0_i64..30_000_000,
        ) {
            let all: BTreeSet<InstanceId> = (1..=count).map(InstanceId::from_random).collect();
            let mut packing = Packing::new(minute);
            let mut jobs: Vec<PollsJob> = all.iter().filter_map(|instance| packing.add(*instance)).collect();
            jobs.extend(packing.rest());
            let packed: Vec<InstanceId> = jobs.iter().flat_map(|job| job.instances.clone()).collect();
            prop_assert_eq!(packed.len(), all.len());
            prop_assert!(packed.into_iter().collect::<BTreeSet<_>>() == all);
            let mut seconds: BTreeMap<u8, usize> = BTreeMap::new();
            for instance in &all {
                *seconds.entry(wheel::second(*instance)).or_default() += 1;
            }
            prop_assert_eq!(jobs.len(), seconds.values().map(|some| some.div_ceil(POLLS)).sum::<usize>());
            for job in jobs {
                prop_assert!((1..=POLLS).contains(&job.instances.len()));
                prop_assert!(job.instances.iter().all(|id| job.at == wheel::time(minute, wheel::second(*id))));
            }
        }
    }
}
