//! A notification as an HTTP request: the one place that builds it, for deliveries and for pings.
//!
//! **Promise.** What is sent is the contract's body and, in this order of precedence:
//!
//! | header | when |
//! |---|---|
//! | `Content-Type`, `Elements-Webhook-Id` | always |
//! | `Elements-Webhook-Signature`, `webhook-id`, `webhook-timestamp`, `webhook-signature` | with a signature key |
//! | [`HOPS`] | to our own events paths |
//! | [`PING`] | a ping |
//! | `Authorization: Basic` | with a user name and password, not to our own events paths |
//! | the instance's further headers | not to our own events paths, and never one of the names above or one that [`check_header`] refuses |
//!
//! Our own events paths get neither basic auth nor further headers. They are exempt from the address policy, so nothing
//! that a customer chose may be written to whatever answers there; the receiver verifies by the signature alone, and what
//! a header could say to it (which instances), the path says as well. A password would only be logged on the way.
//!
//! **Failure.** Only by a record of ours that is [`Broken`]: further headers were checked where they were configured. No
//! error and no `Debug` text holds a secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use events::configuration::headers;
use events::envelope::{self, Recipient};
use events::signature::{self, KeyError};
use events::{Batch, Notification, NotificationId, SignatureKey, Timestamp};
use http::header::{AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::client::FRAMING;
use crate::{CallbackRequest, Policy};

/// Marks a notification that is posted to our own connectors, and counts how often its events came back.
pub const HOPS: &str = "pollhook-hops";

/// Marks a notification that somebody asked for to try the callback: no change is behind it.
pub const PING: &str = "pollhook-ping";

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// What a callback knows the sender by. Cannot be printed.
#[derive(Default)]
pub struct Credentials {
    /// The key of both signatures.
    pub signature_key: Option<SecretString>,
    /// User name and password of HTTP Basic authentication.
    pub basic: Option<(String, SecretString)>,
    /// Further headers: names and values, as [`headers::parse`] reads them.
    pub headers: Vec<(String, SecretString)>,
}

/// Only what there is: a user name and the names of headers tell more than a log should know.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("signature_key", &self.signature_key.is_some())
            .field("basic", &self.basic.is_some())
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// A notification to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Whom the envelope addresses.
    pub recipient: Recipient<'a>,
    /// What the notification is a part of.
    pub batch: &'a Batch,
    /// The notification.
    pub notification: Notification<'a>,
    /// The time of the attempt, which is signed.
    pub at: Timestamp,
    /// Whether it is only a ping.
    pub ping: bool,
}

/// A record that does not say what it should: why there is no request. Ours, not the customer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The raw body is not JSON.
    #[error("the raw body of {0} is not JSON: {1}")]
    Raw(NotificationId, String),
    /// The signature key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a further header does not reach the callback as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// HTTP has no such name.
    #[error("its name is not that of a header")]
    Name,
    /// HTTP has no such value.
    #[error("its value has a control character")]
    Value,
    /// The name is one that we set, or that frames the message.
    #[error("its name is one that only Pollhook sets")]
    Ours,
}

/// Whether a further header reaches the callback as configured. One that does not is left out.
///
/// # Errors
/// [`HeaderFault`].
pub fn check_header(name: &str, value: &SecretString) -> Result<(), HeaderFault> {
    read_header(name, value).map(drop)
}

fn read_header(name: &str, value: &SecretString) -> Result<(HeaderName, HeaderValue), HeaderFault> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderFault::Name)?;
    if name == USER_AGENT || FRAMING.contains(&name) || headers::forbidden(name.as_str()).is_some() {
        return Err(HeaderFault::Ours);
    }
    let value = sensitive(value.expose_secret()).map_err(|_| HeaderFault::Value)?;
    Ok((name, value))
}

/// The request that tells `notice` at `url`, which is as [`Policy::check`] returned it.
///
/// # Errors
/// [`Broken`].
pub fn request(
    policy: &Policy,
    url: Url,
    notice: &Notice<'_>,
    credentials: Credentials,
) -> Result<CallbackRequest, Broken> {
    let id = notice.notification.id;
    let body = envelope::body(&notice.recipient, notice.batch, &notice.notification)
        .map_err(|error| Broken::Raw(id, error.to_string()))?;
    let own = policy.own_events_connector(&url).is_some();
    let Credentials { signature_key, basic, headers } = credentials;
    let mut sent = HeaderMap::with_capacity(8 + headers.len());
    if !own {
        customers(&mut sent, basic.as_ref(), &headers);
    }
    let key = signature_key.map(SignatureKey::new).transpose()?;
    ours(&mut sent, notice, key.as_ref(), &body, own);
    Ok(CallbackRequest { url, headers: sent, body: Bytes::from(body) })
}

fn customers(sent: &mut HeaderMap, basic: Option<&(String, SecretString)>, further: &[(String, SecretString)]) {
    for (name, value) in further {
        // They were checked where they were configured. Should a name have become ours since, its receiver must not
        // mistake the customer's value for ours.
        if let Ok((name, value)) = read_header(name, value) {
            sent.append(name, value);
        }
    }
    if let Some((user, password)) = basic {
        let pair = format!("{user}:{}", password.expose_secret());
        // Base64 is always header text.
        if let Ok(value) = sensitive(&format!("Basic {}", STANDARD.encode(pair))) {
            sent.insert(AUTHORIZATION, value);
        }
    }
}

/// A header's value that is not printed, nor remembered by HTTP/2's compression.
fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn ours(sent: &mut HeaderMap, notice: &Notice<'_>, key: Option<&SignatureKey>, body: &[u8], own: bool) {
    sent.insert(CONTENT_TYPE, JSON);
    let mut set = |name: &'static str, value: &str| {
        // Ids, numbers and base64 are always header text.
        if let Ok(value) = HeaderValue::from_str(value) {
            sent.insert(HeaderName::from_static(name), value);
        }
    };
    let (id, at) = (notice.notification.id.as_str(), notice.at);
    set(signature::ELEMENTS_ID, id);
    if let Some(key) = key {
        set(signature::ELEMENTS_SIGNATURE, &key.elements(body));
        set(signature::WEBHOOK_ID, id);
        set(signature::WEBHOOK_TIMESTAMP, &at.as_seconds().to_string());
        set(signature::WEBHOOK_SIGNATURE, &key.standard(id, at, body));
    }
    if own {
        set(HOPS, &notice.batch.hops.saturating_add(1).to_string());
    }
    if notice.ping {
        sent.insert(HeaderName::from_static(PING), TRUE);
    }
}

#[cfg(test)]
mod tests;
