//! A poll job is taken, sent on or refused; none is lost between.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::Idle;
use events::message::{Attempt, PollJob, PollsJob, To};
use events::{InstanceId, Message, NotificationId, Timestamp};
use platform::testing::{MemoryPlatform, Moment};
use platform::{Outgoing, Platform as _, Queue as _, QueueError};
use pollhook_poller::{Fault, handle};
use records::RecordError;

const START: Timestamp = Timestamp::from_seconds(1_790_000_000);
const NEWER: &str = r#"{"v":4,"m":{"unheard":[1]}}"#;
const MINUTE: Duration = Duration::from_secs(60);

fn job() -> String {
    Message::Poll(PollJob { instance: InstanceId::from_random(7), at: START }).encode()
}

/// A platform whose poll jobs' queue holds `body`.
async fn holding(body: &str) -> MemoryPlatform {
    let platform = MemoryPlatform::new(START);
    let message = Outgoing { body: body.into(), delay: Duration::ZERO, group: "g".into() };
    platform.polls().send(vec![message]).await.unwrap();
    platform
}

/// Works on what is due, and acknowledges what is done with.
async fn work(platform: &MemoryPlatform) -> Vec<Result<(), Fault>> {
    let mut outcomes = Vec::new();
    for message in platform.polls().receive(10, Duration::ZERO).await.unwrap() {
        let outcome = handle(platform, &Idle, &message.body, MINUTE).await;
        if outcome.is_ok() {
            platform.polls().acknowledge(vec![message.receipt]).await.unwrap();
        }
        outcomes.push(outcome);
    }
    outcomes
}

fn bodies(platform: &MemoryPlatform) -> Vec<String> {
    platform.polls().messages().into_iter().map(|held| held.body).collect()
}

#[tokio::test]
async fn polls_that_found_nothing_new_are_done_with() {
    let polls =
        PollsJob { instances: vec![InstanceId::from_random(7), InstanceId::from_random(9)], at: START, failed: 0 };
    for job in [job(), Message::Polls(polls).encode()] {
        let platform = holding(&job).await;
        assert!(matches!(work(&platform).await[..], [Ok(())]));
        assert_eq!(platform.acts(), ["send message 0 to polls", "acknowledge 1 messages of polls"]);
        assert!(bodies(&platform).is_empty());
    }
}

#[tokio::test]
async fn a_poll_job_of_a_newer_version_is_sent_on_unchanged_a_minute_later() {
    let platform = holding(NEWER).await;
    assert!(matches!(work(&platform).await[..], [Ok(())]));
    let held = platform.polls().messages();
    assert_eq!((held.len(), held[0].body.as_str(), held[0].visible_at), (1, NEWER, START.plus(MINUTE)));
    assert!(platform.batches().messages().is_empty());
    platform.advance(MINUTE);
    assert!(matches!(work(&platform).await[..], [Ok(())]), "and again, until that version is there");
    assert_eq!(bodies(&platform), [NEWER]);
}

#[tokio::test]
async fn a_poll_job_of_a_newer_version_survives_a_queue_that_does_not_take_it() {
    for error in [QueueError::Throttled, QueueError::Unavailable("down".into())] {
        let platform = holding(NEWER).await;
        platform.polls().fail_next_send([0], error.clone());
        let outcomes = work(&platform).await;
        let [Err(Fault::Records(RecordError::Send(told)))] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(told.error, error);
        assert_eq!(bodies(&platform), [NEWER], "it was not acknowledged");
    }
}

#[tokio::test]
async fn a_poll_job_of_a_newer_version_survives_a_death_at_any_step() {
    for moment in [Moment::Before, Moment::After] {
        // Step 0 puts it there, step 1 sends it on, step 2 acknowledges it.
        for step in 1..=2 {
            let platform = holding(NEWER).await;
            platform.crash_at(step, moment);
            platform.run_until_crash(work(&platform)).await.unwrap_err();
            assert!(bodies(&platform.restart()).contains(&NEWER.to_owned()), "{moment:?} {step}");
        }
    }
}

#[tokio::test]
async fn what_is_no_poll_job_is_poison() {
    let instance = InstanceId::from_random(7);
    let notification = NotificationId::of(START, []);
    let attempt = Message::Attempt(Attempt { instance, notification, to: To::Callback, round: 0, attempt: 2 }).encode();
    let stored = Message::Stored { instance, body: "B".into() }.encode();
    for text in ["poison", "{}", r#"{"v":1,"m":{"poll":{"instance":7}}}"#, r#"{"v":1,"m":null}"#, &attempt, &stored] {
        let platform = holding(text).await;
        assert!(matches!(work(&platform).await[..], [Err(Fault::Poison(_))]), "{text}");
        assert_eq!(bodies(&platform), [text], "whoever hands it over sets it aside");
    }
}
