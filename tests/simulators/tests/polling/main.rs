//! The built-in definitions against the providers they are of: what changed after the start is told, once, as what it is.
//!
//! Each scenario writes history into a simulator, polls it over a socket as the connector's definition says, and compares
//! what was told. [`driver`] is all of a poller but its store and its queue.

#![allow(clippy::unwrap_used)]

mod driver;
mod dropbox;
mod http;
mod hubspot;
mod quickbooks;
mod salesforce;
