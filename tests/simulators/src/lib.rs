//! Providers' polling APIs, as they are documented, on sockets of this computer.
//!
//! *Promise:* a simulator answers as its provider's documentation says, in its own forms, down to the traps: pages, caps,
//! lags, cursors that die, faults that come with 200. Each behaviour names its source. What a simulator does not know it
//! refuses; it never makes up an answer. The same story gives the same answers: time is a clock that the test turns, ids and
//! tokens are counted.
//!
//! *Flow:* a test starts a [`Simulator`], writes history into its world, plans what goes wrong, lets a client at its URL, turns
//! the clock, and reads what was asked.
//!
//! ```
//! use events::Timestamp;
//! use serde_json::json;
//! use simulators::{Fault, RetryAfter, When, salesforce::Salesforce};
//!
//! let salesforce = Salesforce::start(Timestamp::from_seconds(1_790_000_017));
//! let tokens = salesforce.world(|org| {
//!     org.create("Account", &json!({"Name": "Acme"}));
//!     org.connect()
//! });
//! // Of the queries after the first, two are refused.
//! salesforce.plan(When::path("/query").skip(1).times(2), Fault::too_many(RetryAfter::Unsaid));
//! // … a client asks salesforce.url() with tokens.access …
//! assert!(salesforce.served().is_empty());
//! ```
//!
//! *Sources:* `providers.md §x.y` is the project's reference of what providers document and what was seen of them;
//! addresses and issues of public repositories stand beside it. What nobody documents is said where it is decided, and is
//! decided against the client.
//!
//! *Who judges the judge:* with the feature `sdk` the providers' own client libraries run against the simulators.
//!
//! ```text
//! cargo test -p pollhook-simulators --features sdk
//! ```
//!
//! *Failure modes:* a simulator is plain HTTP on a loopback address, never HTTPS. It takes one request at a time.

mod budget;
mod clock;
pub mod dropbox;
mod exchange;
mod faults;
pub mod http;
pub mod hubspot;
mod oauth;
pub mod quickbooks;
mod requests;
pub mod salesforce;
#[cfg(feature = "sdk")]
pub mod sdk;
mod server;
mod times;

pub use clock::Clock;
pub use exchange::{Answer, Authorization, Request};
pub use faults::{Change, Fault, Gate, Refusal, RetryAfter, When};
pub use oauth::{Denied, Grants, Refused, Rotation, Rules, Tokens};
pub use requests::{Outcome, Served};
pub use server::{Provider, Simulator};
