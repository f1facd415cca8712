//! A queue on SQS. Batches and poll jobs have one each, with a URL of its own.
//!
//! *Flow:* a send is one `SendMessageBatch`, in which each entry succeeds or fails by itself. The group is the message
//! group id, which on a standard queue makes the queue fair and orders nothing
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>).
//!
//! *Failure modes:* when the answer to a send is lost, the send is repeated and its messages may be there twice; that is
//! within "at least once". A receive whose answer was lost leaves its messages hidden until their visibility timeout.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Config;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    SendMessageBatchRequestEntry,
};
use platform::{Outgoing, Queue, QueueError, Receipt, Received, SendError, limits};

use crate::Connection;
use crate::connection::{ATTEMPT_TIMEOUT, timeouts};
use crate::failures;

/// Most messages in a receive, and most receipts in a delete:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.
const AT_ONCE: usize = 10;
/// The longest that a receive can wait (same source).
const MAX_WAIT: Duration = Duration::from_secs(20);
/// What SQS says of a receipt that it no longer knows. It acknowledges nothing and is no error: its message was
/// acknowledged before, or has been handed over again under another receipt.
const UNKNOWN_RECEIPT: &str = "ReceiptHandleIsInvalid";

/// A [`Queue`] on SQS. Cheap to clone.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    /// `None` in a function that has no such queue.
    url: Option<String>,
}

impl std::fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqsQueue({})", self.url.as_deref().unwrap_or("none"))
    }
}

impl SqsQueue {
    /// The standard queue at `url`.
    pub fn new(connection: &Connection, url: impl Into<String>) -> Self {
        Self::of(client(connection), Some(url.into()))
    }

    pub(crate) fn of(client: Client, url: Option<String>) -> Self {
        Self { client, url }
    }

    fn url(&self) -> Result<&str, QueueError> {
        self.url.as_deref().ok_or_else(|| QueueError::Unavailable("no such queue is configured".into()))
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        let mut entries = Vec::with_capacity(receipts.len());
        for (index, receipt) in receipts.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(&receipt.0);
            entries.push(entry.build().map_err(invalid)?);
        }
        let request = self.client.delete_message_batch().queue_url(self.url()?).set_entries(Some(entries));
        let answer = request.send().await.map_err(|error| failures::of_queue(&error))?;
        let failed = answer.failed().iter().find(|entry| !entry.code().ends_with(UNKNOWN_RECEIPT));
        failed.map_or(Ok(()), |entry| Err(reason(entry)))
    }
}

pub(crate) fn client(connection: &Connection) -> Client {
    Client::new(connection.config())
}

fn invalid(error: impl std::fmt::Display) -> QueueError {
    QueueError::Invalid(error.to_string())
}

/// Why an entry failed. Apart from the known codes SQS says whose fault it was; what was not ours may succeed later.
fn reason(entry: &BatchResultErrorEntry) -> QueueError {
    let text = || format!("{}: {}", entry.code(), entry.message().unwrap_or_default());
    match failures::entry(Some(entry.code()), text) {
        QueueError::Unavailable(text) if entry.sender_fault() => QueueError::Invalid(text),
        error => error,
    }
}

fn entry(index: usize, message: Outgoing) -> Result<SendMessageBatchRequestEntry, QueueError> {
    let delay_s = i32::try_from(message.delay.as_secs()).map_err(invalid)?;
    SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(message.body)
        .delay_seconds(delay_s)
        .message_group_id(message.group)
        .build()
        .map_err(invalid)
}

/// Which of `count` messages were not taken, and the first one's reason. What the answer does not name was not taken, as
/// far as anybody knows.
fn not_taken(count: usize, taken: &HashSet<String>, failed: &[BatchResultErrorEntry]) -> Result<(), SendError> {
    let missing: Vec<usize> = (0..count).filter(|index| !taken.contains(&index.to_string())).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let first = failed.iter().find(|entry| entry.id() == first.to_string());
    let error =
        first.map_or_else(|| QueueError::Unavailable("an answer that does not name each message".into()), reason);
    Err(SendError { failed: missing, error })
}

fn received(message: Message) -> Result<Received, QueueError> {
    let count = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    // "A lower bound": this time is one.
    let receive_count = count.and_then(|count| count.parse().ok()).unwrap_or(1).max(1);
    match (message.body, message.receipt_handle) {
        (Some(body), Some(receipt)) => Ok(Received { body, receipt: Receipt(receipt), receive_count }),
        _ => Err(QueueError::Unavailable("a message without body or receipt".into())),
    }
}

impl Queue for SqsQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        let count = messages.len();
        let none_taken = |error| SendError { failed: (0..count).collect(), error };
        limits::check_send(&messages).map_err(none_taken)?;
        let entries = messages.into_iter().enumerate().map(|(index, message)| entry(index, message));
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(none_taken)?;
        let url = self.url().map_err(none_taken)?;
        let request = self.client.send_message_batch().queue_url(url).set_entries(Some(entries));
        let answer = request.send().await.map_err(|error| none_taken(failures::of_queue(&error)))?;
        let taken = answer.successful().iter().map(|entry| entry.id().to_owned()).collect();
        not_taken(count, &taken, answer.failed())
    }

    /// A part of a second counts as a whole one: a receive that does not wait asks only some of SQS's servers and may
    /// miss what is there.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        if !(1..=AT_ONCE).contains(&max) || wait > MAX_WAIT {
            return Err(QueueError::Invalid(format!("a receive of {max} messages within {wait:?}")));
        }
        let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let patient = Config::builder().timeout_config(timeouts(ATTEMPT_TIMEOUT + Duration::from_secs(wait_s)));
        let request = self
            .client
            .receive_message()
            .queue_url(self.url()?)
            .max_number_of_messages(i32::try_from(max).map_err(invalid)?)
            .wait_time_seconds(i32::try_from(wait_s).map_err(invalid)?)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = request.customize().config_override(patient).send().await;
        let answer = answer.map_err(|error| failures::of_queue(&error))?;
        answer.messages.unwrap_or_default().into_iter().map(received).collect()
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), QueueError> {
        for receipts in receipts.chunks(AT_ONCE) {
            self.delete(receipts).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder().id(id).code(code).sender_fault(sender_fault).build().unwrap()
    }

    #[test]
    fn a_message_that_the_answer_does_not_name_counts_as_not_sent() {
        let taken = HashSet::from(["0".to_owned(), "2".to_owned()]);
        let error = not_taken(4, &taken, &[failed("3", "InternalError", false)]).unwrap_err();
        assert_eq!(error.failed, [1, 3]);
        assert!(matches!(error.error, QueueError::Unavailable(_)));
        assert_eq!(not_taken(1, &taken, &[]), Ok(()));
    }

    #[test]
    fn whose_fault_it_was_decides_whether_a_repeat_can_help() {
        assert!(matches!(reason(&failed("0", "InternalError", false)), QueueError::Unavailable(_)));
        assert!(matches!(reason(&failed("0", "SomethingNew", true)), QueueError::Invalid(_)));
        assert_eq!(reason(&failed("0", "RequestThrottled", true)), QueueError::Throttled);
    }
}
