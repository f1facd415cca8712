//! What a role needs from its surroundings, as small traits.
//!
//! The ports are shaped by DynamoDB and SQS, the stricter side; the file-backed platform follows. The rule that matters
//! most: **a queue send and a table write are two acts, with a crash possible between them, on every platform.** A role
//! may never use what only one file can give.
//!
//! | port | capability | AWS | one file |
//! |---|---|---|---|
//! | [`Table`] | items under (partition, sort), conditions, all-or-nothing transactions | DynamoDB | redb |
//! | [`Queue`] | delayed, at-least-once messages | SQS | redb |
//! | [`Bus`] | single events for rules and flows | EventBridge | a POST each |
//! | [`Vault`] | sealing secrets, bound to their place | KMS | key file |
//! | [`Clock`], [`Random`] | time and randomness, so that decisions are functions of their inputs | system | system |
//!
//! With feature `testing`, [`conformance`] is the suite that every implementation must pass, and [`testing`] is a platform
//! in memory that commits table and queue separately and can crash between any two acts.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bus;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod limits;
mod queue;
mod surroundings;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod vault;

pub use bus::{Bus, BusError, Entry, PublishError};
pub use queue::{Outgoing, Queue, QueueError, Receipt, Received, SendError};
pub use surroundings::{Clock, OsRandom, Platform, Random, SystemClock};
pub use table::{Act, Condition, Consistency, Failed, Item, Key, Page, Query, Table, TableError, Version, Write};
pub use vault::{Purpose, Vault, VaultError};
