//! The poller: what happens by the clock, and what polls.
//!
//! [`fn@sweep`], once a minute, sends the wake-ups of retries whose minute has come.
//!
//! [`handle`] takes poll jobs: an instance whose provider said that something changed, without saying what (Dropbox does).
//! **Nothing polls yet:** a job is logged and acknowledged, and the change that it stands for is not told. What it keeps
//! already is what every reader of a queue must keep: nothing of a newer version is lost, and nothing of ours is set aside.
//!
//! [`poll`] is one poll of one instance, from end to end.
//!
//! ```text
//! schedule ─▶ sweep ─▶ wake-ups that are due ─▶ batches queue
//! poll job ─▶ readable?         ─▶ log it, acknowledge
//!             a newer version's ─▶ send it on unchanged, a minute later; acknowledge
//!             not ours          ─▶ dead letter
//! ```
//!
//! *Failure:* what could not be sent stays where it is, and the next sweep or hand-over repeats it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod job;
pub mod poll;
mod sweep;

pub use job::{Fault, handle};
pub use sweep::sweep;
