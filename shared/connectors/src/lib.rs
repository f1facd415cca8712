//! Connectors are data: one YAML definition per provider, and one engine that reads them.
//!
//! *Promise:* everything here is a pure function of its arguments. No clock (the time is passed in), no randomness, no
//! I/O; a [`Connector`] is shared freely between threads. No request, however hostile, panics or overflows the
//! stack.
//!
//! *Flow* of one webhook:
//!
//! ```text
//! Request ─▶ handshake? ─▶ parse ─▶ Parsed ─▶ accounts ─▶ (the caller finds instances and their secrets) ─▶ verify
//!         ─▶ normalise ─▶ Change…
//!         ─▶ shown ─▶ what each instance may see of the body
//! ```
//!
//! What [`Connector::parse`] and [`Connector::accounts`] say is the claim of whoever sent the request; only
//! [`Connector::verify`], over the bytes as they came, makes it the provider's.
//!
//! *Failure:* a body that cannot be read is [`Malformed`]; a signature that is absent, late or wrong is a [`VerifyError`]
//! whose variant tells the operator which, and never holds the secret or the expected value; a request that tells more than
//! [`Connector::MAX_CHANGES`] is read no further and [says so](Normalised::too_many); one entry of a body that
//! the mapping cannot read becomes a [`Skipped`] beside its neighbours' changes, never a failure of the batch.
//!
//! Beside its webhooks a definition may say how its provider is polled ([`Connector::polling`]), which is `polling`'s to read
//! and to do.
//!
//! The schema of a definition is [`definition`], commented there; `definitions/hubspot.yaml` is the one to read first.
//! Mappings are jq programs, written by whoever runs Pollhook: a program is trusted, its input is not.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod body;
mod catalogue;
mod connector;
pub mod definition;
mod example;
mod handshake;
mod message;
mod program;
mod reading;
mod row;
mod signature;

use events::{EventType, Timestamp};

pub use catalogue::{Catalogue, NoPlace, Place, catalogue};
pub use connector::{Connector, Normalised, Parsed};
pub use definition::{DefinitionError, Reply, Scope};
pub use example::{Example, ExpectedChange};
pub use handshake::Handshake;
pub use row::{SkipReason, Skipped};
pub use signature::{Outgoing, SignError, Verified, VerifyError};

/// A provider's request, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The whole URL as the provider called it: the configured public URL, then path and query exactly as received.
    /// Never built from `Host`, which is the sender's to choose.
    pub url: &'a str,
    /// The headers.
    pub headers: &'a http::HeaderMap,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// One change that a request tells of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The place in the body of the entry that tells of it, from 0; several changes may come of one. What
    /// [`Connector::shown`] takes.
    pub entry: usize,
    /// The provider's id of the customer's account, where the entry names it. `None` (the entry names none, or none that
    /// can be read) concerns whichever instances the request reached by path or header.
    pub account: Option<String>,
    /// The contract's word for the kind of object, e.g. `contacts`; the provider's own word where there is none.
    pub object_type: String,
    /// The provider's id of the object, exactly as written.
    pub object_id: String,
    /// What happened.
    pub event_type: EventType,
    /// When, by the provider's clock, where the provider says so.
    pub date: Option<Timestamp>,
    /// What a redelivery repeats and another change does not: SHA-256 over the fields that the definition lists, as
    /// canonical bytes. Changes that came of one entry share it; object and event type tell them apart. `None`: the
    /// provider names no occurrence.
    pub occurrence: Option<[u8; 32]>,
}

/// Why a request's body cannot be read. Nothing of the body is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not one JSON value.
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where reading stopped, from 1.
        column: usize,
    },
    /// JSON, and nested too deep to be anybody's data.
    #[error("the body is nested deeper than 128 levels (line {line}, column {column})")]
    TooDeep {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where reading stopped, from 1.
        column: usize,
    },
    /// Not the XML that the definition expects.
    #[error("the body is not the XML that is expected: {0}")]
    NotXml(String),
    /// Not a form, or a query that cannot be read.
    #[error("the fields cannot be read: {0}")]
    NotAForm(String),
    /// A form without the field that holds the JSON.
    #[error("the form has no single field {0}, which is to hold the JSON")]
    NoPayload(String),
    /// JSON, but neither an object nor an array.
    #[error("the body is neither an object nor an array")]
    NotAContainer,
    /// More entries than [`Connector::MAX_ENTRIES`].
    #[error("the body holds more than {} entries", Connector::MAX_ENTRIES)]
    TooManyEntries,
}
