//! The poller: what happens by the clock, and what polls.
//!
//! Once a minute, [`each_minute`]: [`fn@sweep`] sends the wake-ups of retries whose minute has come, and [`fn@tick`] the parts of
//! the timing wheel whose minute has come. [`handle`] takes the poll jobs' queue: such parts, and instances to poll, because
//! their time has come or because their provider said that something changed, without saying what (Dropbox does).
//!
//! A [`Poller`] polls each that is due; [`poll`] is one poll of one instance, from end to end.
//!
//! ```text
//! schedule ─┬▶ sweep ─▶ wake-ups that are due ─▶ batches queue
//!           └▶ tick ─▶ a job for each shard of the wheel that is due ─┐
//! poll jobs ◀─────────────────────────────────────────────────────────┘
//!   ├▶ a shard ─▶ who is in it ─▶ jobs of up to 50 polls, each delayed to its second ─▶ poll jobs
//!   ├▶ polls, or one poll ─▶ many at once ─┬▶ what changed ─▶ batches queue
//!   │                                      └▶ what is left ─▶ poll jobs
//!   ├▶ a newer version's ─▶ sent on unchanged, a minute later
//!   └▶ not ours ─▶ dead letter
//! ```
//!
//! *Failure:* what could not be sent stays where it is, and the next sweep, tick or hand-over repeats it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod job;
pub mod poll;
mod poller;
mod polls;
mod queries;
mod send;
mod shard;
mod slots;
mod sweep;
mod tick;
mod window;

use std::time::Duration;

use platform::Platform;
use records::RecordError;

pub use accounts::{Accounts, FRESH};
pub use job::{Fault, handle};
pub use poller::Poller;
pub use polls::{AT_ONCE, Due, Poll, Polled, Times, poll_all};
pub use queries::Queries;
pub use slots::{Slot, Slots};
pub use sweep::sweep;
pub use tick::tick;

/// Kept back of a minute's time, for what a tick is in the middle of when the rest is over.
const TO_END: Duration = Duration::from_secs(10);

/// Does what is due in this minute, in about `within`: sweeps and ticks at the same time, and neither waits for the other.
///
/// # Errors
/// The table's or the queue's, of either; what was not sent stays due.
pub async fn each_minute<P: Platform>(platform: &P, within: Duration) -> Result<(), RecordError> {
    let until = platform.now().plus(within.saturating_sub(TO_END));
    let (swept, ticked) = futures_util::future::join(sweep(platform), tick(platform, until)).await;
    if let (Err(_), Err(error)) = (&swept, &ticked) {
        tracing::error!(%error, "the tick failed as well as the sweep");
    }
    swept?;
    ticked?;
    Ok(())
}
