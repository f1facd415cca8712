//! What a provider is to be answered, and whether it was. Pure.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use connectors::Connector;

/// What a request must be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// That it was taken, in the provider's form.
    Taken,
    /// The same; and nothing is told yet: it says only that something changed.
    Signal,
    /// That it is not signed as it should be.
    Refused,
    /// A handshake's text.
    Text(String),
    /// A handshake's header.
    Header(HeaderName, String),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: String,
}

impl Wanted {
    /// What is wrong with the answer of `connector`'s URL, if anything is.
    pub(crate) fn fault(&self, connector: &Connector, answered: &Answered) -> Option<String> {
        let status = if *self == Self::Refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        if answered.status != status {
            return Some(format!("answered {} instead of {}", answered.status.as_u16(), status.as_u16()));
        }
        let content_type = answered.header(&header::CONTENT_TYPE);
        let same = match (self, connector.reply()) {
            (Self::Taken | Self::Signal, None) => answered.body == "{}",
            (Self::Taken | Self::Signal, Some(reply)) => {
                answered.body == reply.body && content_type == reply.content_type.as_deref()
            }
            (Self::Refused, reply) => answered.body.is_empty() == reply.is_some_and(|reply| reply.bare),
            (Self::Text(text), _) => answered.body == *text,
            (Self::Header(name, value), _) => answered.header(name) == Some(value),
        };
        (!same).then(|| "answered otherwise than the provider wants it".into())
    }
}

impl Answered {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use connectors::catalogue;

    use super::*;

    fn answered(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answered {
        let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        Answered { status, headers: headers.iter().map(header).collect(), body: body.into() }
    }

    #[test]
    fn an_answer_is_what_its_provider_wants_to_the_letter() {
        let fault = |key: &str, wanted: &Wanted, answered| wanted.fault(catalogue().get(key).unwrap(), &answered);
        let ack = &catalogue().get("sfdc").unwrap().reply().unwrap().body;
        let xml = [("content-type", "text/xml; charset=utf-8")];
        let (text, token) = (Wanted::Text("abc".into()), HeaderName::from_static("x-hook-secret"));
        let secret = Wanted::Header(token, "s".into());
        for (key, wanted, right) in [
            ("hubspot", &Wanted::Taken, answered(200, &[], "{}")),
            ("dropbox", &Wanted::Signal, answered(200, &[], "{}")),
            ("sfdc", &Wanted::Taken, answered(200, &xml, ack)),
            ("hubspot", &Wanted::Refused, answered(401, &[], "no")),
            ("xero", &Wanted::Refused, answered(401, &[], "")),
            ("dropbox", &text, answered(200, &[], "abc")),
            ("asana", &secret, answered(200, &[("x-hook-secret", "s")], "")),
        ] {
            assert_eq!(fault(key, wanted, right), None, "{key}");
        }
        for (key, wanted, wrong) in [
            ("hubspot", &Wanted::Taken, answered(200, &[], "")),
            ("hubspot", &Wanted::Taken, answered(401, &[], "{}")),
            ("sfdc", &Wanted::Taken, answered(200, &[("content-type", "text/plain")], ack)),
            ("sfdc", &Wanted::Taken, answered(200, &xml, "{}")),
            ("hubspot", &Wanted::Refused, answered(200, &[], "{}")),
            ("xero", &Wanted::Refused, answered(401, &[], "why")),
            ("dropbox", &text, answered(200, &[], "abcd")),
            ("asana", &secret, answered(200, &[("x-hook-secret", "t")], "")),
            ("asana", &secret, answered(200, &[], "s")),
        ] {
            assert!(fault(key, wanted, wrong).is_some(), "{key}");
        }
    }
}
