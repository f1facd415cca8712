//! The instances API as its callers see it: the real router over a platform in memory.

#![allow(clippy::unwrap_used)]

mod access;
mod changing;
mod history;
mod provisioning;
mod release;
mod world;
