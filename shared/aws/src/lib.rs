//! The platform on AWS: [`DynamoTable`] on DynamoDB, [`SqsQueue`] on SQS.
//!
//! *Promises:* what the ports promise. No type of the AWS SDK crosses out of this crate, and a role that knows only the
//! ports cannot tell it from the platform in one file.
//!
//! *Flow:* [`connect`] finds region and credentials once per process; table and queues share what it returns. A request
//! is checked against [`platform::limits`], tried up to three times, and its end is put into the words of the port.
//!
//! *Failure modes:* each attempt of a write is watched, whether it left this computer without a definite answer. If one
//! did, only a definite proof of what happened (one's own version standing there) ends the call with anything else than
//! [`OutcomeUnknown`](platform::TableError::OutcomeUnknown). The hazard that stays: DynamoDB does not know a single put
//! from its repeat. When an answer was lost and somebody deletes the new item within the next second or two, the repeat
//! of a put on [`Absent`](platform::Condition::Absent) makes it again. A transaction does not have that hazard: its
//! attempts carry a token by which DynamoDB knows them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempts;
mod backoff;
mod connection;
mod dynamo;
mod failures;
mod sqs;

pub use connection::{Connection, Keys, Options, connect};
pub use dynamo::{DynamoTable, PARTITION_ATTRIBUTE, SORT_ATTRIBUTE, TTL_ATTRIBUTE};
pub use sqs::SqsQueue;
