//! Pollhook's vocabulary. Pure: no I/O, no clock, no randomness; time and randomness come in as arguments.
//!
//! How one change travels, and the type it is at each step:
//!
//! ```text
//! provider's request ─▶ Event (one change)  ─┐
//!                       Event                ├─▶ Batch ──(Message)──▶ Notification ─▶ envelope + signatures ─▶ callback
//!                       Event                ─┘   one request,          at most 20 events,
//!                                                 one instance          what a callback receives
//!                                                                            └─▶ flow: each event by itself ─▶ event bus
//! ```
//!
//! The contract's old words (`elementKey`, `hubKey`) appear only in [`envelope`], [`flow`] and configuration keys; everything
//! else says connector and hub. Ids are explained in [`ids`]: they are what "at least once, identified" rests on.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ascii;
pub mod batch;
pub mod configuration;
pub mod envelope;
pub mod event;
pub mod flow;
pub mod ids;
pub mod message;
pub mod signature;
pub mod time;

pub use batch::{Batch, Notification, Source};
pub use event::{Event, EventType};
pub use ids::{AccountId, EventId, InstanceId, NotificationId};
pub use message::Message;
pub use signature::SignatureKey;
pub use time::Timestamp;
