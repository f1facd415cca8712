//! What polls tell, held against the histories that providers had.
//!
//! A seed makes a history: bursts within one moment, changes that are shown late or between two pages, deletions, hours
//! without a poll, tokens that end between two pages, clocks that are apart. The real poller polls the simulated provider by its built-in definition; the provider fails, the worker
//! dies at any act, two workers poll at once, the table and the queue fail and lose answers, and with them tokens that were replaced: then, and only then, the customer
//! consents again. At the end what was told is held
//! against what happened.
//!
//! ```text
//! seed ─▶ history ─▶ simulator ◀─ poll_instance ─▶ queue ─▶ what was told ─┐
//!            └───────────────────────────────────────────▶ judge ◀─────────┘
//! ```
//!
//! *What is promised* [`objects`] says for providers that show objects by the time of their last change, and each of
//! [`subjects`] for its own; the judges are written from that and from the history alone.
//!
//! *Who judges the judge:* [`Bug`]s are planted, and each must be found.
//!
//! *A seed that fails* is named with its history. It alone is run again, or other ones, by
//!
//! ```text
//! HISTORIES=1234 cargo test -p pollhook-histories salesforce
//! HISTORIES=0..5000 cargo test -p pollhook-histories
//! ```

#![expect(clippy::unwrap_used, reason = "a test kit: what fails here is to fail the test")]

mod bugs;
mod dice;
pub mod objects;
mod story;
mod subject;
pub mod subjects;
mod way;
mod world;

pub use bugs::{Bug, Planted};
pub use dice::Dice;
pub use story::{connector, history, history_over_sockets};
pub use subject::{Change, Evidence, Poll, Subject, Telling, What};
pub use way::Way;
