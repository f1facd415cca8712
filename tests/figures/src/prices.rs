//! What AWS asks, in us-east-1, on demand, without free tier, in dollars.
//!
//! Sources: the services' pricing pages, <https://aws.amazon.com/lambda/pricing/>,
//! <https://aws.amazon.com/api-gateway/pricing/>, <https://aws.amazon.com/sqs/pricing/>,
//! <https://aws.amazon.com/dynamodb/pricing/on-demand/>, <https://aws.amazon.com/eventbridge/pricing/>,
//! <https://aws.amazon.com/kms/pricing/>, <https://aws.amazon.com/cloudwatch/pricing/>, as of November 2026.

/// A request to an HTTP API, the first 300 million of a month, up to 512 KB.
pub(crate) const HTTP_API: f64 = 1.00e-6;
/// An invocation of a function.
pub(crate) const INVOCATION: f64 = 0.20e-6;
/// A gigabyte-second of a function on arm64.
pub(crate) const GB_SECOND: f64 = 0.000_013_333_4;
/// A request to a standard queue, each 64 KB.
pub(crate) const QUEUE: f64 = 0.40e-6;
/// What a request with message groups costs beside it (fair queues).
pub(crate) const FAIR: f64 = 0.10e-6;
/// A read request unit of DynamoDB: 4 KB read strongly, or twice that eventually.
pub(crate) const READ: f64 = 0.125e-6;
/// A write request unit of DynamoDB: 1 KB.
pub(crate) const WRITE: f64 = 0.625e-6;
/// A request of KMS.
pub(crate) const KEY_REQUEST: f64 = 0.03e-4;
/// An event on a custom bus, each 64 KB.
pub(crate) const EVENT: f64 = 1.00e-6;
/// A gigabyte of logs taken in.
pub(crate) const LOG_GB: f64 = 0.50;
/// What CloudWatch adds to each line before it counts it, in bytes.
pub(crate) const LOG_LINE_BYTES: u64 = 26;
/// A call of a schedule.
pub(crate) const SCHEDULE: f64 = 1.00e-6;
/// A key of one's own, a month.
pub(crate) const KEY_MONTH: f64 = 1.00;
/// An alarm, a month.
pub(crate) const ALARM_MONTH: f64 = 0.10;
