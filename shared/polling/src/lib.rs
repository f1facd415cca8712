//! Polling as functions: everything about asking a provider what changed that needs no I/O.
//!
//! *Promise:* pure. No clock (the time is passed in), no randomness, no I/O, no time zones but the bundled ones. Whatever
//! an instance's configuration or a provider's answer holds, nothing here panics.
//!
//! [`dates`] reads and writes dates in the patterns that the contract uses; [`placeholders`] fills them into what is asked;
//! [`path`] finds the fields of a record. [`configuration`] reads what an instance is to poll;
//! [`classify`] says what a record tells; [`position`] how far the polls have come, and
//! what was told already. [`pagination`] leads from page to page; [`verdict`]
//! judges an answer. [`definition`] is what a connector says of all this, and [`request`] asks by it.
//!
//! [`poll`] puts them together: one poll of one resource, from which only sending is left out, and
//! [`batches`] makes of its changes what is dispatched.
//!
//! *Failure:* what a person wrote is refused with what was written, where, and what would do; what a provider sent is
//! described, never quoted: it is the customer's data.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batches;
pub mod classify;
pub mod configuration;
pub mod dates;
pub mod definition;
pub mod pagination;
pub mod path;
pub mod placeholders;
pub mod poll;
pub mod position;
pub mod request;
mod same;
pub mod verdict;
