//! The platform on AWS: [`DynamoTable`] on DynamoDB, [`SqsQueue`] on SQS, [`KmsVault`] on KMS, bundled as
//! [`AwsPlatform`]; and [`EventBus`] on EventBridge.
//!
//! *Promises:* what the ports promise. No type of the AWS SDK crosses out of this crate, and a role that knows only the
//! ports cannot tell it from the platform in one file.
//!
//! *Flow:* [`connect_from_environment`] reads region and credentials once per process and sends nothing; table, queues,
//! vault and bus share what it returns. A request is checked against [`platform::limits`], tried up to three times, and
//! its end is put into the words of the port.
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
mod bundle;
mod connection;
mod dynamo;
mod eventbridge;
mod failures;
mod kms;
mod sqs;

pub use bundle::{AwsPlatform, Places};
pub use connection::{Connection, Keys, Options, connect, connect_from_environment};
pub use dynamo::{DynamoTable, PARTITION_ATTRIBUTE, SORT_ATTRIBUTE, TTL_ATTRIBUTE};
pub use eventbridge::EventBus;
pub use kms::KmsVault;
pub use sqs::SqsQueue;
