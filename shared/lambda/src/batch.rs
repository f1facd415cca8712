//! A queue's records, as Lambda takes them from SQS: some at once, each for itself.
//!
//! *Promise.* A record is reported as failed unless it is done with: by its work, or by having been set aside because it
//! can never be read. What is reported comes back after the queue's visibility timeout. One record's failure, or panic,
//! is not its neighbours'.
//!
//! *Flow.*
//!
//! ```text
//! batch ─▶ each record, several at the same time ─▶ its work ─▶ done
//!                                                             ─▶ failed: reported
//!                                                             ─▶ poison: sent to the dead letters ─▶ done, else reported
//!       ─▶ shortly before the invocation's end: what is not done is given up and reported
//! ```
//!
//! *Failure modes.* A batch that cannot be read is an error, and all of it comes back. A process that is killed has
//! reported nothing, and all of it comes back. Work that is given up may have had its effect: the roles' messages are
//! made to be repeated.
//!
//! *Not promised:* that the dead letters hold poison alone. SQS moves there, too, what has been reported too often.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use platform::{Outgoing, Queue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::invocation;

/// Records at work at the same time: a whole batch as the template asks for it.
const AT_ONCE: usize = 10;

/// The fairness group of what is set aside: dead letters are nobody's in particular.
const GROUP: &str = "poison";

/// A record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// By which it is reported.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// How often it has been handed over, this time included.
    pub receive_count: u32,
}

/// Why a record is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It can never be read, for this reason: no repetition mends it.
    Poison(String),
    /// A failure of our own: it is to come back.
    Ours(String),
}

impl Failure {
    /// A failure of our own.
    pub fn ours(error: impl Display) -> Self {
        Self::Ours(error.to_string())
    }
}

/// Serves batches until the process ends: `work` does what a record says, with what `shared` makes for the records of each
/// batch; what it cannot read is sent to `dead`; `after` is done after each batch, before it is answered.
///
/// # Errors
/// The Runtime API's.
pub async fn serve<Q: Queue, S>(
    dead: Q,
    shared: impl Fn() -> S,
    work: impl AsyncFn(&S, &Record) -> Result<(), Failure>,
    after: impl AsyncFn(),
) -> Result<(), Error> {
    let take = async |event: Box<RawValue>, invocation: invocation::Invocation| {
        let records = read(&event)?;
        let shared = shared();
        Ok(handle(&records, &dead, &async |record: &Record| work(&shared, record).await, invocation.for_work()).await)
    };
    invocation::serve(take, after).await
}

/// The answer to a batch: what of it is to come back.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    batch_item_failures: Vec<Item>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    item_identifier: String,
}

#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Given>,
}

/// What of SQS's record concerns us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    message_id: String,
    body: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    approximate_receive_count: Option<String>,
}

/// The records of a batch. What their bodies hold is the role's to read, each for itself; around them stands what AWS
/// wrote.
pub(crate) fn read(event: &RawValue) -> Result<Vec<Record>, Error> {
    let batch: Batch =
        serde_json::from_str(event.get()).map_err(|error| format!("the event is no batch of a queue's: {error}"))?;
    let record = |Given { message_id, body, attributes }| Record {
        id: message_id,
        body,
        receive_count: attributes.approximate_receive_count.and_then(|count| count.parse().ok()).unwrap_or(1),
    };
    Ok(batch.records.into_iter().map(record).collect())
}

/// Works on all of them, for so long, and says what is to come back.
pub(crate) async fn handle<Q: Queue>(
    records: &[Record],
    dead: &Q,
    work: &impl AsyncFn(&Record) -> Result<(), Failure>,
    within: Duration,
) -> Report {
    let deadline = Instant::now() + within;
    let mut open: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let each = records.iter().map(|record| async move { one(record, dead, work).await.then_some(&record.id) });
    let mut done = stream::iter(each).buffer_unordered(AT_ONCE);
    loop {
        match timeout_at(deadline, done.next()).await {
            Ok(Some(Some(id))) => open.retain(|other| other != id),
            Ok(Some(None)) => {}
            Ok(None) => break,
            Err(_) => {
                tracing::warn!(returned = open.len(), "the time is over: what is not done is given up and comes again");
                break;
            }
        }
    }
    Report { batch_item_failures: open.into_iter().map(|id| Item { item_identifier: id.to_owned() }).collect() }
}

/// Whether the record is done with.
async fn one<Q: Queue>(record: &Record, dead: &Q, work: &impl AsyncFn(&Record) -> Result<(), Failure>) -> bool {
    let Record { id, receive_count: received, .. } = record;
    let outcome = AssertUnwindSafe(Box::pin(work(record))).catch_unwind().await;
    match outcome.unwrap_or_else(|_| Err(Failure::ours("it panicked"))) {
        Ok(()) => true,
        Err(Failure::Poison(reason)) => set_aside(dead, record, &reason).await,
        Err(Failure::Ours(error)) => {
            tracing::error!(id, error, received, "a message could not be worked on, it will come again");
            false
        }
    }
}

/// Sends what cannot be read to the dead letters, now: coming back a few times first would only delay the alarm.
async fn set_aside<Q: Queue>(dead: &Q, record: &Record, reason: &str) -> bool {
    let Record { id, body, receive_count: received } = record;
    let message = Outgoing { body: body.clone(), delay: Duration::ZERO, group: GROUP.to_owned() };
    match dead.send(vec![message]).await {
        Ok(()) => {
            tracing::error!(id, reason, received, "a message cannot be read and is among the dead letters");
            true
        }
        Err(error) => {
            tracing::error!(id, %error, reason, received, "a message that cannot be read could not be set aside");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use events::Timestamp;
    use platform::Platform as _;
    use platform::testing::MemoryPlatform;
    use tokio::sync::Barrier;

    use super::*;

    fn records(bodies: &[&str]) -> Vec<Record> {
        bodies
            .iter()
            .map(|body| Record { id: format!("id of {body}"), body: (*body).into(), receive_count: 1 })
            .collect()
    }

    fn failed(bodies: &[&str]) -> Report {
        let item = |body: &&str| Item { item_identifier: format!("id of {body}") };
        Report { batch_item_failures: bodies.iter().map(item).collect() }
    }

    const LONG: Duration = Duration::from_secs(600);

    async fn by_its_body(record: &Record) -> Result<(), Failure> {
        match record.body.as_str() {
            "poison" | "p\u{e4}son" => Err(Failure::Poison("not one of ours".into())),
            "fails" => Err(Failure::ours("the table is away")),
            "panics" => panic!("at the record"),
            "hangs" => std::future::pending().await,
            _ => Ok(()),
        }
    }

    #[test]
    fn a_batch_is_read_as_sqs_writes_it() {
        let event = r#"{"Records": [{"messageId": "059f", "receiptHandle": "x", "body": "a\nb", "attributes":
            {"ApproximateReceiveCount": "3", "SentTimestamp": "1"}, "messageAttributes": {}, "md5OfBody": "0",
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:x:1:q", "awsRegion": "x"}]}"#;
        let read = |event: &str| read(&RawValue::from_string(event.to_owned()).unwrap());
        assert_eq!(read(event).unwrap(), [Record { id: "059f".into(), body: "a\nb".into(), receive_count: 3 }]);
        assert_eq!(read(r#"{"Records": [{"messageId": "1", "body": ""}]}"#).unwrap()[0].receive_count, 1);
        for bad in ["{}", r#"{"Records": [{"s3": {}}]}"#, r#"{"Records": [{"body": "x"}]}"#] {
            assert!(read(bad).unwrap_err().to_string().starts_with("the event is no batch of a queue's: "), "{bad}");
        }
    }

    #[tokio::test]
    async fn one_records_failure_or_panic_is_not_its_neighbours() {
        let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
        let records = records(&["a", "fails", "b", "panics", "c"]);
        let report = handle(&records, platform.batches(), &by_its_body, LONG).await;
        assert_eq!(report, failed(&["fails", "panics"]));
        assert!(platform.batches().messages().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_set_aside_as_it_was_and_done_with() {
        let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
        assert_eq!(handle(&records(&["poison", "a"]), platform.batches(), &by_its_body, LONG).await, failed(&[]));
        let dead = platform.batches().messages();
        assert_eq!(dead.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["poison"]);
    }

    /// The port takes ASCII alone.
    #[tokio::test]
    async fn what_could_not_be_set_aside_comes_back() {
        let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
        let report = handle(&records(&["p\u{e4}son", "a"]), platform.batches(), &by_its_body, LONG).await;
        assert_eq!(report, failed(&["p\u{e4}son"]));
    }

    #[tokio::test]
    async fn what_is_not_done_when_the_time_is_over_is_returned_not_lost() {
        let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
        let began = Instant::now();
        let within = Duration::from_millis(20);
        let report = handle(&records(&["hangs", "a", "fails"]), platform.batches(), &by_its_body, within).await;
        assert_eq!(report, failed(&["hangs", "fails"]));
        assert!(began.elapsed() >= within);
    }

    /// Each waits for all the others.
    #[tokio::test]
    async fn a_whole_batch_is_worked_on_at_the_same_time_and_no_more() {
        let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
        let bodies: Vec<String> = (0..=AT_ONCE).map(|n| n.to_string()).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        let meeting = |count, within| {
            let (all, most) = (Barrier::new(count), Mutex::new((0, 0)));
            let records = records(&bodies[..count]);
            let platform = &platform;
            async move {
                let work = async |_: &Record| {
                    let enter = |step: i32| {
                        let mut at_work = most.lock().unwrap();
                        *at_work = (at_work.0 + step, at_work.1.max(at_work.0 + step));
                    };
                    enter(1);
                    all.wait().await;
                    enter(-1);
                    Ok(())
                };
                let report = handle(&records, platform.batches(), &work, within).await;
                let most = most.lock().unwrap().1;
                (report.batch_item_failures.len(), most)
            }
        };
        assert_eq!(meeting(AT_ONCE, LONG).await, (0, AT_ONCE as i32));
        // One more never all meet.
        assert_eq!(meeting(AT_ONCE + 1, Duration::from_millis(20)).await, (AT_ONCE + 1, AT_ONCE as i32));
    }
}
