//! The instances API as its callers see it: the real router over a platform in memory.

#![allow(clippy::unwrap_used)]

mod access;
mod accounts;
mod by_token;
mod changing;
mod consents;
mod elements;
mod history;
mod items;
mod listing;
mod ping;
mod polled;
mod pollers;
mod provisioning;
mod reconciling;
mod release;
mod replacing;
mod world;
