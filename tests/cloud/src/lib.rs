//! The AWS platform against an emulator of AWS on this computer.
//!
//! ```text
//! cargo test -p pollhook-cloud-tests --features emulator
//! ```
//!
//! Without the feature this package is empty, so that a plain `cargo test --workspace` needs neither Python nor a network.
//!
//! *Flow:* the first test of a binary starts one `emulator` (installed once, under the build's target folder); each
//! scenario that needs a bad network puts a `network::Network` of its own before it; `cloud` makes tables and queues with
//! names of their own.
//!
//! *Failure modes:* where the emulator cannot be installed or started, the tests panic and say what to install. It ends with
//! the test binary, however that ends: it watches its input, which closes then.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "emulator")]
pub mod cloud;
#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "emulator")]
mod entries;
#[cfg(feature = "emulator")]
pub mod function;
#[cfg(feature = "emulator")]
pub mod network;
#[cfg(feature = "emulator")]
pub mod stack;
#[cfg(feature = "emulator")]
pub mod target;
#[cfg(feature = "emulator")]
pub mod trouble;
#[cfg(feature = "emulator")]
pub mod wire;
