//! Polling as functions: everything about asking a provider what changed that needs no I/O.
//!
//! *Promise:* pure. No clock (the time is passed in), no randomness, no I/O, no time zones but the bundled ones. Whatever
//! an instance's configuration or a provider's answer holds, nothing here panics.
//!
//! ```text
//! instance's configuration ─▶ configuration ─┐
//! connector's section ─▶ definition ─────────┴▶ request::Query ─▶ poll::Poll ─▶ request ─▶ (send) ─▶ verdict
//!                                                                     ▲                                │
//!                                  position (where it stands) ────────┤◀── classify ◀── page ◀─────────┘
//!                                                                     ▼
//!                                          changes ─▶ batches ─▶ (make durable) ─▶ (store the position)
//! ```
//!
//! [`dates`] reads and writes dates in the patterns that the contract uses, [`placeholders`] fills them into what is asked,
//! [`path`] finds the fields of a record, [`pagination`] leads from page to page. Where a provider says of what is gone no more
//! than where it was, [`tree`] knows what that was.
//!
//! For instances that have webhooks as well, [`reconcile`] says which changes these told.
//!
//! *Failure:* what a person wrote is refused with what was written, where, and what would do; what a provider sent is
//! described, never quoted: it is the customer's data.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batches;
pub mod classify;
pub mod configuration;
pub mod dates;
pub mod definition;
pub mod oauth;
pub mod pagination;
pub mod path;
pub mod placeholders;
pub mod poll;
pub mod position;
pub mod reconcile;
pub mod request;
mod same;
pub mod tree;
pub mod verdict;
