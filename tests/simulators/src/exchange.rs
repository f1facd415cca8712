//! What a simulator is asked and what it answers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, as it was sent: still percent-encoded.
    pub path: String,
    /// The query's parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// The path's segments, decoded. A slash at the end makes no difference.
    #[must_use]
    pub fn segments(&self) -> Vec<Cow<'_, str>> {
        let decode = |segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
        self.path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
    }

    /// The first value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, as a form.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body, as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// How the request says who sends it.
    #[must_use]
    pub fn authorization(&self) -> Authorization {
        let Some(text) = self.header(header::AUTHORIZATION) else { return Authorization::None };
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Authorization::Bearer(token.to_owned()),
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => {
                let decoded = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                match decoded.as_deref().and_then(|text| text.split_once(':')) {
                    Some((user, password)) => Authorization::Basic(user.to_owned(), password.to_owned()),
                    None => Authorization::Other(text.to_owned()),
                }
            }
            _ => Authorization::Other(text.to_owned()),
        }
    }
}

/// How a request says who sends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authorization {
    /// Not at all.
    None,
    /// By a bearer token.
    Bearer(String),
    /// By a name and a password.
    Basic(String, String),
    /// In another way, or a malformed one.
    Other(String),
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, besides `Date` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// JSON, with the content type that most providers send.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json;charset=UTF-8", body.to_string())
    }

    /// Any body.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self { status, headers, body: body.into() }
    }

    /// No body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        let mut answer = Self::new(status, "text/plain", Bytes::new());
        answer.headers.clear();
        answer
    }

    /// The same with a header. A value that no header can carry is left out.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}
