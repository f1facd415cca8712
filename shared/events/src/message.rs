//! What travels through the queues: batches and attempts to the dispatcher; instances to poll, and slots of the timing wheel
//! that are due, to the poller.
//!
//! Every message carries a schema version, outside the part that may change. A reader that meets a newer one gets
//! [`Undecodable::Newer`] and must send it on unchanged: it is ours, in the middle of a deployment. A message is written
//! with the lowest version that understands it, so that only what an older reader would get wrong waits for the newer one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::{Batch, InstanceId, NotificationId, Timestamp, ascii};

/// The newest schema this code reads. With the feature `newer` it reads, and writes, one that does not exist yet: a version
/// to rehearse upgrades with.
pub const SCHEMA: u32 = if cfg!(feature = "newer") { 4 } else { 3 };

/// The schema of messages that the first version understands.
const FIRST: u32 = if cfg!(feature = "newer") { SCHEMA } else { 1 };

/// The schema of attempts at the event bus: the first version would take one for an attempt at the callback.
const FLOWS: u32 = if cfg!(feature = "newer") { SCHEMA } else { 2 };

/// The schema of the timing wheel's messages: versions before it would take them for poison.
const WHEEL: u32 = if cfg!(feature = "newer") { SCHEMA } else { 3 };

/// Most instances in a [`PollsJob`]: what one worker does within an invocation's time, also when each of them asks a slow
/// provider.
pub const POLLS: usize = 50;

/// One message of a queue: [`Message::Poll`], [`Message::Polls`] and [`Message::Shard`] of the poll jobs' queue, the others of
/// the batches queue.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Changes to tell.
    Batch(Batch),
    /// The same, too large for a message: the message that [`Message::Batch`] would have been is kept as a body.
    Stored {
        /// Whose changes.
        instance: InstanceId,
        /// The body's id.
        body: String,
    },
    /// A further attempt at a notification whose payload is kept as a body.
    Attempt(Attempt),
    /// An instance to poll, because its provider or somebody asks for it.
    Poll(PollJob),
    /// Instances to poll, because their time has come.
    Polls(PollsJob),
    /// A part of the timing wheel that is due.
    Shard(ShardJob),
}

/// Where a notification goes: each way succeeds and fails by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// In one piece to the instance's callback.
    #[default]
    Callback,
    /// Event by event to the event bus.
    Flows,
}

impl To {
    fn is_callback(&self) -> bool {
        *self == Self::Callback
    }

    /// Its name in messages, records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Flows => "flows",
        }
    }
}

/// Which attempt to make. It is made only if the record counts less than (round, attempt), so that a copy sent twice
/// dies out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Whose notification.
    pub instance: InstanceId,
    /// Which notification.
    pub notification: NotificationId,
    /// Which way.
    #[serde(default, skip_serializing_if = "To::is_callback")]
    pub to: To,
    /// Raised by each replay; the first delivery is round 0.
    pub round: u32,
    /// Counts from 1 within the round.
    pub attempt: u32,
}

/// An instance to poll because its provider said that something changed, without saying what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PollJob {
    /// Which instance.
    pub instance: InstanceId,
    /// When the poll is to begin, after the provider's signal. A query that was sent before may not have seen the change.
    pub at: Timestamp,
}

/// Instances to poll because their time has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PollsJob {
    /// Which: 1 to [`POLLS`].
    pub instances: Vec<InstanceId>,
    /// When they are due: a second of a minute.
    pub at: Timestamp,
    /// How often it was sent again because of a failure of our own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,
}

/// One shard of a slot of the timing wheel, whose instances are due in one minute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardJob {
    /// Which wheel: that of the instances that are polled every so many minutes.
    pub minutes: u32,
    /// Which of its slots.
    pub slot: u16,
    /// Which of the slot's shards.
    pub shard: u32,
    /// How many shards the wheel had when this was sent.
    pub shards: u32,
    /// In which minute since the epoch it is due.
    pub minute: i64,
    /// Where in the shard to go on; without it, at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Onward>,
}

/// How far a job's work has come in a shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Onward {
    /// The table's token of the next page.
    pub page: String,
    /// How many instances were before it.
    pub before: usize,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Written by a newer version of Pollhook: send it on unchanged.
    #[error("the message has schema {0}, newer than this version reads ({SCHEMA})")]
    Newer(u32),
    /// Not one of our messages.
    #[error("not a message of Pollhook: {0}")]
    Malformed(String),
}

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    m: &'a Message,
}

#[derive(Deserialize)]
struct Read<'a> {
    v: u32,
    #[serde(borrow)]
    m: &'a RawValue,
}

impl Message {
    /// The message as queue text: JSON in printable ASCII.
    #[must_use]
    pub fn encode(&self) -> String {
        // Only a map with non-text keys or a failing writer could fail here, and there is neither.
        ascii::to_string(&Written { v: self.schema(), m: self }).unwrap_or_default()
    }

    /// The lowest schema whose readers do with the message what it says.
    fn schema(&self) -> u32 {
        match self {
            Self::Attempt(Attempt { to: To::Flows, .. }) => FLOWS,
            Self::Polls(_) | Self::Shard(_) => WHEEL,
            Self::Batch(_) | Self::Stored { .. } | Self::Attempt(_) | Self::Poll(_) => FIRST,
        }
    }

    /// Reads queue text.
    ///
    /// # Errors
    /// [`Undecodable`].
    pub fn decode(text: &str) -> Result<Self, Undecodable> {
        let malformed = |e: serde_json::Error| {
            Undecodable::Malformed(match e.classify() {
                // Its own text quotes the message, and this one is logged.
                Category::Data => format!("not as ours are, at line {} column {}", e.line(), e.column()),
                Category::Io | Category::Syntax | Category::Eof => e.to_string(),
            })
        };
        let read: Read<'_> = serde_json::from_str(text).map_err(malformed)?;
        if read.v > SCHEMA {
            return Err(Undecodable::Newer(read.v));
        }
        match serde_json::from_str(read.m.get()).map_err(malformed)? {
            Self::Batch(batch) if batch.events.is_empty() => {
                Err(Undecodable::Malformed("a batch without events".into()))
            }
            Self::Polls(PollsJob { instances, .. }) if !(1..=POLLS).contains(&instances.len()) => {
                Err(Undecodable::Malformed(format!("a job of {} polls; 1 to {POLLS}", instances.len())))
            }
            message => Ok(message),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, notification, to, round, attempt } = self;
        write!(f, "{instance}/{notification} {} round {round} attempt {attempt}", to.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::tests::batch;
    use crate::{Source, Timestamp};

    fn shard() -> ShardJob {
        ShardJob { minutes: 15, slot: 4, shard: 0, shards: 2, minute: 29_833_333, from: None }
    }

    #[test]
    fn messages_survive_the_queue() {
        let mut whole = batch(Source::Webhook, 3, Some(Timestamp::from_millis(1_790_000_000_001)));
        whole.raw = bytes::Bytes::from("{\"note\":\"Zoë ☕\u{ffff}\"}");
        whole.events[0].object_id = "é\u{ffff}".into();
        let attempt = Attempt {
            instance: whole.instance,
            notification: NotificationId::of(Timestamp::from_millis(1_790_000_000_000), [&whole.events[0].id]),
            to: To::Callback,
            round: 1,
            attempt: 4,
        };
        let poll = PollJob { instance: whole.instance, at: Timestamp::from_millis(1_790_000_000_002) };
        for message in [
            Message::Stored { instance: whole.instance, body: "b".into() },
            Message::Attempt(attempt),
            Message::Attempt(Attempt { to: To::Flows, ..attempt }),
            Message::Poll(poll),
            Message::Polls(PollsJob { instances: vec![whole.instance; POLLS], at: poll.at, failed: 1 }),
            Message::Shard(ShardJob { from: Some(Onward { page: "é".into(), before: 500 }), ..shard() }),
            Message::Batch(whole),
        ] {
            let text = message.encode();
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
            assert_eq!(Message::decode(&text), Ok(message));
        }
    }

    #[test]
    fn a_poll_job_is_written_as_every_version_reads_it() {
        let at = Timestamp::from_millis(1_790_000_000_002);
        let message = Message::Poll(PollJob { instance: InstanceId::from_random(7), at });
        assert_eq!(message.encode(), r#"{"v":1,"m":{"poll":{"instance":7,"at":1790000000002}}}"#);
    }

    #[test]
    fn the_wheels_messages_wait_for_a_reader_that_knows_of_the_wheel() {
        let at = Timestamp::from_millis(1_790_000_002_000);
        let polls = PollsJob { instances: vec![InstanceId::from_random(7), InstanceId::from_random(9)], at, failed: 0 };
        let text = r#"{"v":3,"m":{"polls":{"instances":[7,9],"at":1790000002000}}}"#;
        assert_eq!(Message::Polls(polls).encode(), text);
        let text = r#"{"v":3,"m":{"shard":{"minutes":15,"slot":4,"shard":0,"shards":2,"minute":29833333}}}"#;
        assert_eq!(Message::Shard(shard()).encode(), text);
    }

    #[test]
    fn a_job_of_no_polls_or_of_more_than_one_worker_does_is_refused() {
        for (count, taken) in [(0, false), (1, true), (POLLS, true), (POLLS + 1, false)] {
            let instances = vec![InstanceId::from_random(7); count];
            let job = Message::Polls(PollsJob { instances, at: Timestamp::from_seconds(0), failed: 0 });
            assert_eq!(Message::decode(&job.encode()).is_ok(), taken, "{count}");
        }
    }

    #[test]
    fn only_an_attempt_at_the_bus_waits_for_a_reader_that_knows_of_the_bus() {
        let instance = InstanceId::from_random(7);
        let notification = NotificationId::of(Timestamp::from_millis(1_790_000_000_000), []);
        let attempt = Attempt { instance, notification, to: To::Callback, round: 0, attempt: 2 };
        let fields = format!(r#""instance":7,"notification":"{notification}""#);
        let first = format!(r#"{{"v":1,"m":{{"attempt":{{{fields},"round":0,"attempt":2}}}}}}"#);
        assert_eq!(Message::Attempt(attempt).encode(), first, "as every version reads it");
        let flows = Message::Attempt(Attempt { to: To::Flows, ..attempt }).encode();
        assert_eq!(flows, format!(r#"{{"v":2,"m":{{"attempt":{{{fields},"to":"flows","round":0,"attempt":2}}}}}}"#));
    }

    #[test]
    fn a_newer_message_is_recognised_whatever_it_holds() {
        assert_eq!(Message::decode(r#"{"v":4,"m":{"unheard":[1]}}"#), Err(Undecodable::Newer(4)));
        assert!(matches!(Message::decode(r#"{"v":1,"m":{"unheard":[1]}}"#), Err(Undecodable::Malformed(_))));
        assert!(matches!(Message::decode("poison"), Err(Undecodable::Malformed(_))));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_told_without_quoting_it() {
        for text in
            [r#"{"v":1,"m":{"secret":1}}"#, r#"{"v":1,"m":"secret"}"#, r#"{"v":"secret"}"#, r#""secret""#, "secret"]
        {
            let error = Message::decode(text).unwrap_err().to_string();
            assert!(error.contains("line 1 column") && !error.contains("secret"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = Message::decode(&text);
        }
    }
}
