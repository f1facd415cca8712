//! A function with two triggers: a schedule, and a queue.
//!
//! An event that has `Records` is a batch of the queue's and is treated as such (see [`batch`]); any other is a tick,
//! whatever the schedule was told to send.
//!
//! *Failure:* a tick that fails, or that would outlast the invocation, is an error that Lambda counts; the next tick does
//! what was left.

use std::time::Duration;

use platform::Queue;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::batch::{self, Failure, Record, Report};
use crate::{Error, invocation};

/// Serves ticks and batches until the process ends: `tick` is done at each tick, the rest is as of [`batch::serve`]. Both are
/// told how long they may take, after which they are given up.
///
/// # Errors
/// The Runtime API's.
pub async fn serve<Q: Queue>(
    tick: impl AsyncFn(Duration) -> Result<(), Error>,
    dead: Q,
    work: impl AsyncFn(&Record, Duration) -> Result<(), Failure>,
    after: impl AsyncFn(),
) -> Result<(), Error> {
    let take = async |event: Box<RawValue>, invocation: invocation::Invocation| {
        if is_batch(&event) {
            let records = batch::read(&event)?;
            let within = invocation.for_work();
            let work = async |record: &Record| work(record, within).await;
            return Ok(Answer::Batch(batch::handle(&records, &dead, &work, within).await));
        }
        let within = invocation.for_work();
        match tokio::time::timeout(within, Box::pin(tick(within))).await {
            Ok(ticked) => ticked.map(Answer::Tick),
            Err(_) => Err(format!("the tick was not done within {} s and was given up", within.as_secs()).into()),
        }
    };
    invocation::serve(take, after).await
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Tick(()),
    Batch(Report),
}

/// Whether the event is a queue's.
fn is_batch(event: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(rename = "Records", borrow)]
        _records: &'a RawValue,
    }
    serde_json::from_str::<Shape<'_>>(event.get()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_records_is_a_batch_and_all_else_a_tick() {
        let shape = |text: &str| is_batch(&RawValue::from_string(text.to_owned()).unwrap());
        for batch in [r#"{"Records":[]}"#, r#"{"x":1,"Records":[{"messageId":"1"}]}"#] {
            assert!(shape(batch), "{batch}");
        }
        for tick in ["{}", "null", "[]", "\"tick\"", r#"{"source":"aws.events","detail":{"Records":[]}}"#] {
            assert!(!shape(tick), "{tick}");
        }
    }
}
