//! The target of a bus's rule: a queue that keeps what the bus hands over.

use std::sync::{Mutex, PoisonError};

use aws_sdk_sqs::Client;
use events::Timestamp;
use platform::Entry;
use platform::conformance::bus::Subscriber;
use serde_json::Value;

/// How long a look may last, in seconds.
const WAIT_S: i32 = 1;
/// How often a look finds nothing before a scenario believes it.
const LOOKS: usize = 3;

/// A queue, and what came out of it.
#[derive(Debug)]
pub struct Target {
    client: Client,
    url: String,
    seen: Mutex<Vec<Entry>>,
}

impl Target {
    pub(crate) fn new(client: Client, url: String) -> Self {
        Self { client, url, seen: Mutex::default() }
    }

    /// How many came.
    async fn look(&self) -> usize {
        let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let answer = request.wait_time_seconds(WAIT_S).send().await.expect("a receive");
        for message in answer.messages() {
            let receipt = message.receipt_handle().expect("a receipt");
            let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
            delete.send().await.expect("an acknowledgement");
            let entry = entry(message.body().expect("a body"));
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
        answer.messages().len()
    }

    fn seen(&self) -> Vec<Entry> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The envelope that EventBridge puts around an entry:
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html>.
fn entry(body: &str) -> Entry {
    let event: Value = serde_json::from_str(body).expect("an event");
    let text = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("{name} in {body}")).to_owned();
    Entry {
        source: text("source"),
        detail_type: text("detail-type"),
        detail: event["detail"].to_string(),
        time: Timestamp::parse_rfc3339(&text("time")).unwrap_or_else(|| panic!("the time in {body}")),
    }
}

impl Subscriber for Target {
    async fn handed_over(&self, count: usize) -> Vec<Entry> {
        let mut empty = 0;
        // One look more than needed finds what ought not to be there.
        while empty < if self.seen().len() < count.max(1) { LOOKS } else { 1 } {
            empty = if self.look().await == 0 { empty + 1 } else { 0 };
        }
        self.seen()
    }
}
