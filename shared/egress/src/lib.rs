//! The only HTTP client in the house: safe to point at a stranger's URL.
//!
//! **Promise.** A callback can never reach an address that the operator did not mean strangers to reach: whatever a URL
//! says, whatever its name resolves to at the moment of connecting, and wherever its answer redirects to. A post ends
//! within [`Limits::total`] and reads at most [`Limits::body_cap`] bytes. No error text holds a URL's query or
//! credentials.
//!
//! **Flow.** Three layers, of which the last alone would do; the earlier ones tell a person sooner:
//!
//! ```text
//! configuration ─▶ Policy::check      scheme, credentials, fragment, length, literal addresses; no DNS
//! each post     ─▶ the same checks on the parsed URL: a literal address never reaches a resolver
//!   └─ connect  ─▶ resolve once, Policy::address on every answer, connect to exactly those addresses
//! ```
//!
//! Resolving and connecting are one step, so there is no window for a name that changes its mind. One forbidden address
//! refuses the whole name: a name that answers with a public and a private address is an attack, not a choice.
//!
//! **What is returned.** Any status, redirects included, is an [`Answer`]: judging it is the dispatcher's. Once the
//! status is in, the body is an excerpt for people, so a body that is endless, slow or cut short ends the reading and
//! not the answer; calling it a failure would post to a receiver that said 2xx again. Without a status it is a
//! [`Failure`] that says whose fault it was.
//!
//! What providers are asked goes the same way, in the module [`fetch`], and what tokens are asked for in [`exchange`]; their
//! answers are read whole, up to a cap.
//!
//! **Not promised: that a failed post was not received.** No post is sent twice on our own account. Below us, the HTTP
//! library sends again only what provably was not processed: a request that a kept connection could not begin to write,
//! and an HTTP/2 stream that the receiver refused or left out of its goodbye (RFC 9113, section 8.7). A kept connection
//! that the receiver closes just as the request goes out cannot be told from a receiver that died at work; that is
//! [`Failure::Protocol`] and takes its turn in the dispatcher's schedule.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
pub mod callback;
mod certificate;
mod client;
mod confidential;
pub mod crypto;
pub mod exchange;
mod failure;
pub mod fetch;
mod home;
mod limits;
mod policy;
mod ranges;
mod resolve;
mod roots;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use url::Url;

pub use answer::{Answer, BODY_START_BYTES, RetryAfter};
pub use certificate::{Certificate, CertificateDetails};
pub use client::Client;
pub use failure::{Failure, Stage};
pub use home::Home;
pub use limits::{InvalidLimits, Limits};
pub use policy::{FETCH_URL_BYTES, Forbidden, Policy, Refusal, URL_BYTES};
pub use ranges::Rule;
pub use resolve::{Lookup, Lookups, SystemLookup};

/// One POST to make.
#[derive(Clone)]
pub struct CallbackRequest {
    /// Where to; as [`Policy::check`] returned it.
    pub url: Url,
    /// Sent as given, except `User-Agent`, which is ours, and the headers that frame the message or name its
    /// destination (`Host`, `Content-Length`, `Transfer-Encoding`, …), which are dropped: the URL and the body decide
    /// those, and a header that disagrees would let its author write a second request into the connection.
    pub headers: HeaderMap,
    /// Sent as given.
    pub body: Bytes,
}

/// Only the host and sizes: the rest may hold secrets.
impl fmt::Debug for CallbackRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackRequest")
            .field("host", &self.url.host_str())
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Whoever can post: the [`Client`], and what tests put in its place.
pub trait Post: Send + Sync + 'static {
    /// Makes one POST.
    ///
    /// # Errors
    /// [`Failure`] when no status came back.
    fn post(&self, request: CallbackRequest) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// A client is shared by all who post: connections are kept in it.
impl<C: Post> Post for Arc<C> {
    async fn post(&self, request: CallbackRequest) -> Result<Answer, Failure> {
        C::post(self, request).await
    }
}

/// A post under way.
pub type Posting<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send + 'a>>;

/// [`Post`] for those who must not care who posts: whoever can post can be one.
pub trait Callbacks: Send + Sync + 'static {
    /// As [`Post::post`].
    fn call(&self, request: CallbackRequest) -> Posting<'_>;
}

impl<C: Post> Callbacks for C {
    fn call(&self, request: CallbackRequest) -> Posting<'_> {
        Box::pin(self.post(request))
    }
}
