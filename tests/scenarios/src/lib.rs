//! The test kit: the roles in one process on the platform in memory, with the world around them in the test's hands.
//!
//! ```text
//! Webhook (signed, redelivered until 2xx) ─▶ receiver ─▶ queue ─▶ dispatcher ─▶ Callbacks (scripted, check signatures)
//!                                                                  │    └▶ bus (refuses as scripted)
//!                                                                  sweep ◀─ clock that the test turns
//! ```
//!
//! [`World`] holds what outlives a process: the stored items and messages, the provider's webhooks and what it was answered,
//! the callbacks and what they were told. A process may die at any step ([`World::crash_at`]) and any call to a port may fail
//! ([`Trouble`]); [`World::run`] restarts it and goes on until nothing is due. [`World::audit`] then holds the promises
//! against what was taken, posted and left behind.

#![expect(clippy::unwrap_used, reason = "a test kit: what fails here is to fail the test")]

mod audit;
mod callbacks;
mod faults;
mod flows;
mod instances;
mod logs;
mod provider;
mod story;
mod world;

pub use callbacks::{Behaviour, Callbacks, Caller, Posted, Reply};
pub use dispatcher::RetryPolicy;
pub use faults::{Faulty, FaultyBus, Trouble};
pub use flows::Published;
pub use instances::{Made, Spec, batch};
pub use logs::{Capture, Logs};
pub use provider::{Webhook, hubspot_change};
pub use story::Story;
pub use world::{PUBLIC_URL, START, World};
