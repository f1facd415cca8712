//! What a provider must be answered before it sends anything: it asks whether somebody is there who meant to be asked.
//!
//! *Promise:* only what the request itself says is echoed, as plain text that no browser takes for anything else, and
//! bounded; nothing of ours is in it, so answering needs no proof of who asks. A secret that is handed over in a header
//! is another matter: it is for the caller to keep, once, for an instance that the request names.

use http::{HeaderName, HeaderValue};

use crate::connector::{Parsed, field};
use crate::definition::HandshakeRule;
use crate::signature::parameters;
use crate::{Request, row};

/// Longest text that is echoed, in bytes. Microsoft's validation tokens are some hundred.
const ECHO_BYTES: usize = 4_096;

/// What a handshake is answered: 200 with this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// A body of plain text.
    Text(String),
    /// An empty body, and the header as it came.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: HeaderValue,
        /// Whether the value is the secret that the instance's webhooks are signed with.
        keep: bool,
    },
}

/// The answer by the first rule that matches. Without `parsed`, rules about the body match nothing.
pub(crate) fn find(rules: &[HandshakeRule], request: &Request<'_>, parsed: Option<&Parsed>) -> Option<Handshake> {
    rules.iter().filter(|rule| rule.method.as_deref().is_none_or(|method| method == request.method)).find_map(|rule| {
        if let Some(name) = &rule.query {
            return parameters(request.url, name).next().and_then(|value| echo(&value));
        }
        if let Some(name) = &rule.header {
            let value = request.headers.get(name)?.clone();
            return Some(Handshake::Header { name: name.clone(), value, keep: rule.keep });
        }
        let body = parsed?.body();
        let is = |(name, wanted): (&String, &String)| field(body, name).and_then(row::text) == Some(wanted);
        if !rule.fields.iter().all(is) {
            return None;
        }
        echo(field(body, rule.field.as_deref()?).and_then(row::text)?)
    })
}

fn echo(text: &str) -> Option<Handshake> {
    (1..=ECHO_BYTES).contains(&text.len()).then(|| Handshake::Text(text.to_owned()))
}
