//! Instances in wheels, and what the poll jobs' queue holds.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::Duration;

use events::message::{PollsJob, ShardJob};
use events::{InstanceId, Message, Timestamp};
use platform::testing::{Held, MemoryPlatform};
use platform::{Outgoing, Platform, Queue as _, Table as _};
use pollhook_poller::{Due, Poll, Polled};
use records::wheel::{self, Minutes, Place};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The beginning of a minute.
pub(crate) const START: Timestamp = Timestamp::from_seconds(29_833_333 * 60);

/// Finds nothing new, whomever it polls.
pub(crate) struct Idle;

impl Poll for Idle {
    async fn poll(&self, _: Due<'_>) -> Polled {
        Polled::Done
    }
}

pub(crate) fn id(bits: u32) -> InstanceId {
    InstanceId::from_random(bits)
}

/// Puts an instance where it is polled every so many minutes, as whoever writes the instance does.
pub(crate) async fn put(platform: &impl Platform, instance: InstanceId, minutes: u32) -> Place {
    let place = wheel::place(platform, instance, Minutes::new(minutes), None).await.unwrap();
    platform.table().transact(wheel::moved(platform, instance, None, place)).await.unwrap();
    place.unwrap()
}

pub(crate) async fn send(platform: &MemoryPlatform, message: &Message) {
    let message = Outgoing { body: message.encode(), delay: Duration::ZERO, group: "g".into() };
    platform.polls().send(vec![message]).await.unwrap();
}

fn held<T>(platform: &MemoryPlatform, pick: impl Fn(Message) -> Option<T>) -> Vec<(Held, T)> {
    let messages = platform.polls().messages().into_iter();
    messages.filter_map(|held| Some((held.clone(), pick(Message::decode(&held.body).unwrap())?))).collect()
}

/// The parts of the wheel that the queue holds.
pub(crate) fn shards(platform: &MemoryPlatform) -> Vec<ShardJob> {
    let pick = |message| if let Message::Shard(job) = message { Some(job) } else { None };
    held(platform, pick).into_iter().map(|(_, job)| job).collect()
}

/// The polls that the queue holds, and when each job of them is handed over.
pub(crate) fn polls(platform: &MemoryPlatform) -> Vec<(Timestamp, PollsJob)> {
    let pick = |message| if let Message::Polls(job) = message { Some(job) } else { None };
    held(platform, pick).into_iter().map(|(held, job)| (held.visible_at, job)).collect()
}
