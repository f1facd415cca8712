//! Each poll of a job is done or sent on, whatever becomes of its neighbours.

#![allow(clippy::unwrap_used)]

mod common;

use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use common::{MINUTE, START, id, polls};
use events::message::{POLLS, PollJob, PollsJob};
use events::{InstanceId, Message, Timestamp};
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Platform as _, QueueError};
use pollhook_poller::{AT_ONCE, Due, Fault, Poll, Polled, Times, handle, poll_all};
use proptest::prelude::*;
use records::RecordError;
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);

fn platform() -> MemoryPlatform {
    MemoryPlatform::with(START, 1, VISIBILITY_TIMEOUT)
}

fn times() -> Times {
    Times { begin: START.plus(30 * SECOND), end: START.plus(50 * SECOND) }
}

fn job(count: usize) -> PollsJob {
    PollsJob { instances: (1..=count as u32).map(id).collect(), at: START, failed: 0 }
}

/// What becomes of a poll, by its instance.
struct Scripted<F> {
    polled: Mutex<Vec<InstanceId>>,
    outcome: F,
}

fn scripted<F>(outcome: F) -> Scripted<F> {
    Scripted { polled: Mutex::default(), outcome }
}

impl<F> Scripted<F> {
    fn polled(&self) -> Vec<u32> {
        self.polled.lock().unwrap().iter().map(|id| id.number()).collect()
    }
}

impl<F, O> Poll for Scripted<F>
where
    F: Fn(u32) -> O + Sync,
    O: Future<Output = Polled> + Send,
{
    async fn poll(&self, Due { instance, at, .. }: Due<'_>) -> Polled {
        assert_eq!(at, START, "it is told what the poll is to have seen");
        self.polled.lock().unwrap().push(instance);
        (self.outcome)(instance.number()).await
    }
}

/// What is sent on: how long it waits, how often it has failed, and who it is.
fn rest(platform: &MemoryPlatform) -> Vec<(Duration, u32, Vec<u32>)> {
    let one = |(at, job): (Timestamp, PollsJob)| {
        assert_eq!(job.at, START, "what was due stays due since then");
        (at.since(platform.now()), job.failed, job.instances.iter().map(|id| id.number()).collect())
    };
    polls(platform).into_iter().map(one).collect()
}

#[tokio::test]
async fn nobody_waits_for_a_slow_neighbour() {
    let platform = platform();
    let (finish, finished) = watch::channel(0);
    // All but one of those that are polled at the same time wait until everybody else is done.
    let slow = AT_ONCE as u32 - 1;
    let others = POLLS - slow as usize;
    let polls = scripted(|number| {
        let (finish, mut finished) = (finish.clone(), finished.clone());
        async move {
            if number <= slow {
                finished.wait_for(|done| *done == others).await.unwrap();
            } else {
                finish.send_modify(|done| *done += 1);
            }
            Polled::Done
        }
    });
    let job = job(POLLS);
    let work = poll_all(&platform, &polls, &job, times(), pending());
    tokio::time::timeout(MINUTE, work).await.expect("somebody waits for a neighbour").unwrap();
    assert_eq!(polls.polled().len(), POLLS);
    assert_eq!(rest(&platform), []);
}

/// Those with the number `last` or less wait for their provider's account until that one is done.
struct Aside {
    last: u32,
    done: watch::Sender<bool>,
}

impl Poll for Aside {
    async fn poll(&self, Due { instance, slot, .. }: Due<'_>) -> Polled {
        if instance.number() < self.last {
            let mut done = self.done.subscribe();
            let wait = async { drop(done.wait_for(|done| *done).await.unwrap()) };
            assert!(slot.aside(wait, pending()).await);
        } else if instance.number() == self.last {
            self.done.send_replace(true);
        }
        Polled::Done
    }
}

#[tokio::test]
async fn nobody_waits_for_those_who_wait_for_their_account_however_many() {
    let platform = platform();
    let polls = Aside { last: POLLS as u32, done: watch::Sender::new(false) };
    let job = job(POLLS);
    let work = poll_all(&platform, &polls, &job, times(), pending());
    tokio::time::timeout(MINUTE, work).await.expect("the last one waits for a place").unwrap();
    assert_eq!(rest(&platform), []);
}

#[tokio::test]
async fn what_is_not_begun_when_the_time_is_short_is_sent_on_at_once() {
    let platform = platform();
    let polls = scripted(async |_| {
        platform.advance(SECOND);
        Polled::Done
    });
    poll_all(&platform, &polls, &job(POLLS), times(), pending()).await.unwrap();
    let begun = polls.polled();
    assert!((30..POLLS).contains(&begun.len()), "{}", begun.len());
    let left: Vec<u32> = (1..=POLLS as u32).filter(|number| !begun.contains(number)).collect();
    assert_eq!(rest(&platform), [(Duration::ZERO, 0, left)]);
}

#[tokio::test]
async fn a_job_that_comes_too_late_gets_on_all_the_same() {
    let platform = platform();
    platform.advance(MINUTE);
    let polls = scripted(async |_| Polled::Done);
    poll_all(&platform, &polls, &job(POLLS), times(), pending()).await.unwrap();
    assert_eq!(polls.polled(), (1..=AT_ONCE as u32).collect::<Vec<_>>());
    assert_eq!(rest(&platform), [(Duration::ZERO, 0, (AT_ONCE as u32 + 1..=POLLS as u32).collect())]);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_given_up_and_tried_later() {
    let platform = platform();
    let (done, mut all) = watch::channel(0);
    let polls = scripted(async |number| {
        if number == 2 {
            pending::<()>().await;
        }
        done.send_modify(|done| *done += 1);
        Polled::Done
    });
    let over = async { drop(all.wait_for(|done| *done == 2).await.unwrap()) };
    poll_all(&platform, &polls, &job(3), times(), over).await.unwrap();
    assert_eq!(rest(&platform), [(MINUTE, 1, vec![2])]);
}

#[tokio::test]
async fn who_is_another_worker_s_waits_until_that_one_s_claim_has_ended() {
    let platform = platform();
    let polls = scripted(async |number| match number {
        1 | 3 => Polled::Taken { until: START.plus(Duration::from_millis(89_001)) },
        2 => Polled::Taken { until: START.minus(SECOND) },
        4 => Polled::More,
        _ => Polled::Done,
    });
    poll_all(&platform, &polls, &job(5), times(), pending()).await.unwrap();
    assert_eq!(rest(&platform), [(Duration::ZERO, 0, vec![2, 4]), (90 * SECOND, 0, vec![1, 3])]);
}

#[tokio::test]
async fn what_fails_is_tried_later_and_later_and_then_left_to_its_next_turn() {
    let mut failed = Vec::new();
    let mut job = job(3);
    loop {
        let platform = platform();
        let polls = scripted(async |number| match number {
            1 => panic!("as it was told"),
            2 => Polled::Failed("the table is away".into()),
            _ => Polled::Done,
        });
        poll_all(&platform, &polls, &job, times(), pending()).await.unwrap();
        let Some((waits, next)) = polls_of(&platform) else { break };
        assert_eq!(next.instances, [id(1), id(2)]);
        failed.push((waits, next.failed));
        job = next;
    }
    assert_eq!(failed, [(MINUTE, 1), (4 * MINUTE, 2), (15 * MINUTE, 3)]);
}

fn polls_of(platform: &MemoryPlatform) -> Option<(Duration, PollsJob)> {
    let (at, job) = polls(platform).pop()?;
    Some((at.since(platform.now()), job))
}

#[tokio::test]
async fn a_rest_that_cannot_be_sent_on_brings_the_whole_job_again() {
    let platform = platform();
    platform.polls().fail_next_send([0], QueueError::Throttled);
    let outcome = poll_all(&platform, &scripted(async |_| Polled::More), &job(2), times(), pending()).await;
    assert!(matches!(outcome, Err(RecordError::Send(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_worker_that_dies_at_any_step_leaves_nobody_behind() {
    for moment in [Moment::Before, Moment::After] {
        for step in 0..2 {
            let platform = platform();
            platform.crash_at(step, moment);
            let polls = scripted(async |number| match number {
                1 => Polled::More,
                _ => platform.act_with("tell", || Polled::Done).await,
            });
            let job = job(2);
            let work = poll_all(&platform, &polls, &job, times(), pending());
            platform.run_until_crash(work).await.unwrap_err();
            // It was not acknowledged.
            let platform = platform.restart();
            let polls = scripted(async |_| Polled::Done);
            poll_all(&platform, &polls, &job, times(), pending()).await.unwrap();
            assert_eq!(polls.polled(), [1, 2]);
        }
    }
}

#[tokio::test]
async fn a_poll_that_was_asked_for_is_in_the_queue_until_it_is_done() {
    let asked = PollJob { instance: id(7), at: START };
    let again = async |polled: Polled| {
        let platform = platform();
        let polls = scripted(async |_| polled.clone());
        let outcome = handle(&platform, &polls, &Message::Poll(asked).encode(), MINUTE).await;
        let held = platform.polls().messages();
        assert!(held.iter().all(|held| held.group == "7" && Message::decode(&held.body) == Ok(Message::Poll(asked))));
        (outcome, held.iter().map(|held| held.visible_at.since(START)).collect::<Vec<_>>())
    };
    assert!(matches!(again(Polled::Done).await, (Ok(()), held) if held.is_empty()));
    assert!(matches!(again(Polled::More).await, (Ok(()), held) if held == [Duration::ZERO]));
    let until = START.plus(90 * SECOND);
    assert!(matches!(again(Polled::Taken { until }).await, (Ok(()), held) if held == [90 * SECOND]));
    let later = Polled::Later { at: START.plus(120 * SECOND) };
    assert!(matches!(again(later.clone()).await, (Ok(()), held) if held == [120 * SECOND]));
    let polls = scripted(async |_| later.clone());
    let platform = platform();
    platform.advance(3600 * SECOND);
    handle(&platform, &polls, &Message::Poll(asked).encode(), MINUTE).await.unwrap();
    assert!(platform.polls().messages().is_empty(), "each signal sends on its own, so none does for ever");
    let (outcome, held) = again(Polled::Failed("the table is away".into())).await;
    assert!(held.is_empty() && matches!(outcome, Err(Fault::Poll(instance, _)) if instance == id(7)), "{outcome:?}");
}

#[tokio::test]
async fn a_poll_that_was_asked_for_and_does_not_end_in_time_comes_again() {
    let platform = platform();
    let polls = scripted(async |_| pending().await);
    let asked = Message::Poll(PollJob { instance: id(7), at: START }).encode();
    let outcome = handle(&platform, &polls, &asked, Duration::ZERO).await;
    assert!(matches!(outcome, Err(Fault::Poll(..))), "{outcome:?}");
}

fn polled() -> impl Strategy<Value = Polled> {
    prop_oneof![
        3 => Just(Polled::Done),
        1 => Just(Polled::More),
        1 => Just(Polled::Later { at: START.plus(SECOND) }),
        1 => (-5_000_i64..2_000_000).prop_map(|ahead| Polled::Taken { until: Timestamp::from_millis(START.as_millis() + ahead) }),
        1 => Just(Polled::Failed("x".into())),
    ]
}

proptest! {
    #[test]
    fn whatever_becomes_of_them_each_is_done_or_sent_on_once(
        outcomes in proptest::collection::vec(polled(), 1..=POLLS),
        failed in 0_u32..5,
        late in 0_u64..1500,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform();
            platform.advance(Duration::from_millis(late));
            let polls = scripted(async |number: u32| outcomes[number as usize - 1].clone());
            let job = PollsJob { failed, ..job(outcomes.len()) };
            poll_all(&platform, &polls, &job, times(), pending()).await.unwrap();
            let rest = rest(&platform);
            for (number, outcome) in (1..).zip(&outcomes) {
                let mut of: Vec<_> = rest.iter().filter(|(.., numbers)| numbers.contains(&number)).collect();
                let of = of.pop().map(|(waits, failed, _)| (*waits, *failed, of.len()));
                match outcome {
                    // Its next turn is as good.
                    Polled::Done | Polled::Later { .. } => assert_eq!(of, None),
                    Polled::More => assert_eq!(of, Some((Duration::ZERO, failed, 0))),
                    Polled::Taken { until } => {
                        let (waits, of, others) = of.unwrap();
                        let needed = until.since(platform.now()).min(platform::limits::MAX_DELAY);
                        assert!(waits >= needed && waits < needed + SECOND);
                        assert_eq!((of, others), (failed, 0));
                    }
                    Polled::Failed(_) if failed < 3 => assert!(matches!(of, Some((_, of, 0)) if of == failed + 1)),
                    Polled::Failed(_) => assert_eq!(of, None),
                }
            }
        });
    }
}
