//! Whoever is in a part of the wheel that is due is polled in their second.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Idle, MINUTE, START, id, polls, put, send, shards};
use events::message::{Onward, POLLS, ShardJob};
use events::{InstanceId, Message};
use metrics::set_default_local_recorder;
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Key, Platform as _, Queue as _, Table as _, TableError, Version, Write};
use pollhook_metrics::prometheus::Prometheus;
use pollhook_poller::{Fault, handle};
use records::RecordError;
use records::wheel::{self, FULL_SHARD, Minutes};

const SECOND: Duration = Duration::from_secs(1);

fn job() -> ShardJob {
    ShardJob { minutes: 1, slot: 0, shard: 0, shards: 1, minute: START.minute(), from: None }
}

/// A platform with so many instances that are polled each minute.
async fn crowd(count: u32) -> MemoryPlatform {
    let platform = MemoryPlatform::with(START, 1, VISIBILITY_TIMEOUT);
    let place = put(&platform, id(1), 1).await;
    let writes = (2..=count).flat_map(|bits| wheel::moved(&platform, id(bits), None, Some(place))).collect();
    platform.table().write_many(writes).await.unwrap();
    platform.restart()
}

async fn work(platform: &MemoryPlatform, job: ShardJob, within: Duration) -> Result<(), Fault> {
    handle(platform, &Idle, &Message::Shard(job).encode(), within).await
}

/// Everybody that the queue holds a poll for, as often as it does.
fn polled(platform: &MemoryPlatform) -> Vec<InstanceId> {
    let mut all: Vec<_> = polls(platform).into_iter().flat_map(|(_, job)| job.instances).collect();
    all.sort_unstable();
    all
}

fn everybody(count: u32) -> Vec<InstanceId> {
    (1..=count).map(id).collect()
}

#[tokio::test]
async fn everybody_is_polled_once_in_their_second_and_who_is_late_at_once() {
    for late in [0, 30] {
        let platform = crowd(1_234).await;
        platform.advance(late * SECOND);
        work(&platform, job(), MINUTE).await.unwrap();
        assert_eq!(polled(&platform), everybody(1_234));
        for (handed_over, job) in polls(&platform) {
            assert_eq!(handed_over, job.at.max(platform.now()));
            assert!(job.instances.iter().all(|id| job.at == wheel::time(START.minute(), wheel::second(*id))));
        }
        assert_eq!(polls(&platform).len(), 60, "twenty or so in each second");
    }
}

#[tokio::test]
async fn what_there_is_no_time_for_is_a_job_of_its_own() {
    let platform = crowd(1_234).await;
    send(&platform, &Message::Shard(job())).await;
    let mut jobs = Vec::new();
    while !shards(&platform).is_empty() {
        for message in platform.polls().receive(10, Duration::ZERO).await.unwrap() {
            if let Ok(Message::Shard(job)) = Message::decode(&message.body) {
                jobs.push(job.from.as_ref().map(|from| from.before));
                work(&platform, job, Duration::ZERO).await.unwrap();
                platform.polls().acknowledge(vec![message.receipt]).await.unwrap();
            }
        }
    }
    assert_eq!(jobs, [None, Some(500), Some(1000)], "a page each, and they count together");
    assert_eq!(polled(&platform), everybody(1_234));
}

#[tokio::test]
async fn a_full_shard_makes_its_wheel_grow_also_when_several_jobs_counted_it() {
    let shards = async |before: usize| {
        let platform = crowd(3).await;
        // After a page whose last is no instance's.
        let from = Some(Onward { page: "0".into(), before });
        work(&platform, ShardJob { from, ..job() }, MINUTE).await.unwrap();
        assert_eq!(polled(&platform), everybody(3));
        wheel::intervals(&platform).await.unwrap().found[0].shards
    };
    assert_eq!(shards(FULL_SHARD - 4).await, 1);
    assert_eq!(shards(FULL_SHARD - 3).await, 2);
}

#[tokio::test]
async fn a_wheel_that_cannot_grow_now_polls_all_the_same() {
    let platform = crowd(3).await;
    platform.table().fail_next_write(TableError::Throttled);
    let from = Some(Onward { page: "0".into(), before: FULL_SHARD });
    work(&platform, ShardJob { from, ..job() }, MINUTE).await.unwrap();
    assert_eq!(polled(&platform), everybody(3));
}

#[tokio::test]
async fn a_job_that_dies_at_any_step_and_comes_again_loses_nobody() {
    for step in 0.. {
        let mut died = false;
        for moment in [Moment::Before, Moment::After] {
            let platform = crowd(600).await;
            platform.crash_at(step, moment);
            died |= platform.run_until_crash(work(&platform, job(), Duration::ZERO)).await.is_err();
            let platform = platform.restart();
            work(&platform, job(), MINUTE).await.unwrap();
            assert_eq!(polled(&platform).into_iter().collect::<BTreeSet<_>>().len(), 600, "{moment:?} {step}");
        }
        if !died {
            assert!(step > 60);
            return;
        }
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_not_its_neighbours_trouble() {
    let platform = crowd(POLLS as u32).await;
    let partition = platform.table().items("WHEEL#")[0].key.partition.clone();
    let newer = Write::put(Key::new(partition, "4711"), Version(1), r#"{"v":9}"#);
    platform.table().write(newer).await.unwrap();
    work(&platform, job(), MINUTE).await.unwrap();
    assert_eq!(polled(&platform), everybody(POLLS as u32));
}

#[tokio::test]
async fn a_table_or_queue_that_fails_brings_the_job_again() {
    let platform = crowd(3).await;
    platform.table().fail_next_read(TableError::Throttled);
    let outcome = work(&platform, job(), MINUTE).await;
    assert!(matches!(outcome, Err(Fault::Records(RecordError::Table(TableError::Throttled)))), "{outcome:?}");
    platform.polls().fail_next_send([0], platform::QueueError::Throttled);
    assert!(matches!(work(&platform, job(), MINUTE).await, Err(Fault::Records(RecordError::Send(_)))));
}

#[tokio::test]
async fn a_wheel_that_cannot_be_is_poison() {
    let platform = crowd(1).await;
    for minutes in [0, u32::from(Minutes::LONGEST) + 1] {
        assert!(matches!(work(&platform, ShardJob { minutes, ..job() }, MINUTE).await, Err(Fault::Poison(_))));
    }
}

#[tokio::test]
async fn a_part_of_the_wheel_that_waited_for_more_than_three_turns_is_told_with_all_of_its_instances() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let platform = crowd(1_234).await;
    for (late, told) in [(3, None), (1, Some(1_234))] {
        platform.advance(late * MINUTE);
        work(&platform, job(), MINUTE).await.unwrap();
        let page = prometheus.render();
        let found =
            page.lines().find_map(|line| line.strip_prefix("pollhook_polls_overdue_total ")?.parse::<u64>().ok());
        assert_eq!(found.filter(|told| *told > 0), told);
    }
}
