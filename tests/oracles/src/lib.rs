//! Signatures held against the providers' own libraries.
//!
//! ```text
//! cargo test -p pollhook-oracles --features sdk
//! ```
//!
//! Our verifier and our signer share one reading of a provider's documentation, so they agree with each other however
//! wrong it is. Here each meets what it was not made with: a library of the provider judges what we sign, we judge what
//! the library signs, and both judge the same tampered requests.
//!
//! Without the feature this package is empty, so that a plain `cargo test --workspace` needs neither Python nor a network.
//!
//! *Flow:* the first test of a binary starts one `oracle` (its packages are installed once, under the build's target
//! folder); every question to it is a line, every answer one.
//!
//! *Failure modes:* where Python or a package cannot be had, the tests panic and say what to install. A library that fails
//! in a way of which its documentation says nothing is not taken to have refused: the test panics with its traceback.

#[cfg(feature = "sdk")]
pub mod oracle;
