//! What a caller is told: JSON, a request id, and for what was not done the status and message that say why.
//!
//! Handlers answer with an [`Answer`] or a [`Problem`]; [`finish`], around all of them, gives the request its id, writes
//! the problem's body and logs the causes that the caller is not shown.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use metrics::counter;
use platform::{Platform, QueueError, SendError, TableError, VaultError};
use records::RecordError;
use serde::Serialize;
use tracing::error;

use crate::invalid::Invalid;
use crate::{Api, BODY_BYTES};

/// The contract's name for the request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("elements-request-id");
/// How many entries the list in the answer has.
pub(crate) const RETURNED_COUNT: HeaderName = HeaderName::from_static("elements-returned-count");
/// How many entries there are in all; only where that is known without looking further.
pub(crate) const TOTAL_COUNT: HeaderName = HeaderName::from_static("elements-total-count");
/// What to send as `nextPage`; absent on the last page.
pub(crate) const NEXT_PAGE: HeaderName = HeaderName::from_static("elements-next-page-token");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, JSON)], body).into_response(),
            Err(error) => Problem::Broken(error.to_string()).into_response(),
        }
    }
}

/// Why a request was not done. The variant decides the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The caller's: something in the request is not accepted.
    Invalid(String),
    /// The caller's: it did not say who it is, or not so that we believe it.
    Unauthorized,
    /// The caller's: neither its path nor its keys name an instance.
    NoToken,
    /// The caller's: it did not show the admin key.
    NotAdmin,
    /// The caller's: only operators may.
    OperatorsOnly,
    /// The caller's: there is no such thing, or it is another account's.
    NoSuch(&'static str),
    /// The caller's: no instance is as its filters say. The contract answers 404 rather than an empty list.
    NoneMatch,
    /// The caller's: the path does not take this method.
    Method,
    /// The caller's: the body is larger than [`BODY_BYTES`].
    TooLarge,
    /// The caller's: as many as are allowed at once are at work. Of what.
    TooMany(&'static str),
    /// The provider's: it did not answer, or not as it should. Why, without anything secret.
    Provider(String),
    /// Somebody else's change came in between, again and again.
    Changed,
    /// Ours: storage cannot be reached or is throttled; nothing was changed. Why, for the log.
    Busy(String),
    /// Ours: the answer was lost, the change may have been made. Why, for the log.
    Unknown(String),
    /// Ours: what should not happen. What, for the log.
    Broken(String),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::NoToken | Self::NotAdmin => StatusCode::UNAUTHORIZED,
            Self::OperatorsOnly => StatusCode::FORBIDDEN,
            Self::NoSuch(_) | Self::NoneMatch => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Provider(_) => StatusCode::BAD_GATEWAY,
            Self::Changed => StatusCode::CONFLICT,
            Self::Busy(_) | Self::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Invalid(message) => message.clone(),
            // What was sent is not repeated: it may be a secret with a slip in it.
            Self::Unauthorized => "the Authorization header must be: User <user secret>, Organization <organization \
                                   secret>, both of one account; for one instance alone, User <user secret>, Element \
                                   <the instance's token> will do"
                .into(),
            Self::NoToken => "a path without an instance's id means the instance of a token: add Element <the \
                              instance's token> to the Authorization header, or the id to the path"
                .into(),
            Self::NotAdmin => "the Authorization header must be: Bearer <the installation's admin key>".into(),
            Self::OperatorsOnly => "only an operator's account may read this".into(),
            Self::NoSuch(what) => format!("there is no such {what}"),
            Self::NoneMatch => "there is no instance, or none that the filters match".into(),
            Self::Method => "this path does not take this method; the Allow header names those it takes".into(),
            Self::TooLarge => format!("the body is too large; accepted: at most {BODY_BYTES} bytes"),
            Self::TooMany(what) => format!("too many {what} at the same time; try again when one is done"),
            Self::Provider(reason) => format!(
                "the provider gave no tokens, and nothing was stored: {reason}; have the customer consent again"
            ),
            Self::Changed => "the instance is being changed by others at the same time; try again".into(),
            Self::Busy(_) => "Pollhook cannot reach its storage at the moment; try again".into(),
            Self::Unknown(_) => "Pollhook cannot tell whether the change was made; read before trying again".into(),
            Self::Broken(_) => {
                "something is wrong inside Pollhook; its log has the details under this requestId".into()
            }
        }
    }

    fn cause(&self) -> Option<&str> {
        match self {
            Self::Busy(cause) | Self::Unknown(cause) | Self::Broken(cause) => Some(cause),
            _ => None,
        }
    }

    /// The problem behind an answer that was not made here, but by the router or by reading the request.
    fn behind(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::NOT_FOUND => Some(Self::NoSuch("path")),
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::Method),
            StatusCode::PAYLOAD_TOO_LARGE => Some(Self::TooLarge),
            status if status.is_client_error() => Some(Self::Invalid("the request cannot be read".into())),
            status if status.is_server_error() => Some(Self::Broken(format!("an answer of {status}"))),
            _ => None,
        }
    }
}

impl IntoResponse for Problem {
    /// The status alone; [`finish`] adds the body, which holds the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if self.status() == StatusCode::UNAUTHORIZED {
            let wanted = if self == Self::NotAdmin { "Bearer" } else { "User, Organization, Element" };
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(wanted));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.to_string())
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        let cause = error.to_string();
        match error {
            RecordError::TooManyFinders(_) => Self::Invalid(cause),
            RecordError::Table(TableError::OutcomeUnknown(_)) => Self::Unknown(cause),
            RecordError::Table(TableError::Throttled | TableError::Conflict | TableError::Unavailable(_))
            | RecordError::Vault(VaultError::Unavailable(_))
            | RecordError::Queue(QueueError::Throttled | QueueError::Unavailable(_))
            | RecordError::Send(SendError { error: QueueError::Throttled | QueueError::Unavailable(_), .. }) => {
                Self::Busy(cause)
            }
            _ => Self::Broken(cause),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    request_id: &'a str,
    message: String,
}

/// Around every request: its id, the body of what went wrong, the log's line for what is ours, and its count.
pub(crate) async fn finish<P: Platform>(State(api): State<Arc<Api<P>>>, request: Request, next: Next) -> Response {
    let id = format!("{:016x}", api.platform.random().bits());
    // Not the query: a callback URL in it may hold a secret.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| Problem::behind(response.status()));
    if let Some(problem) = problem {
        if let Some(cause) = problem.cause() {
            error!(request_id = %id, %method, %path, cause, "a request was not done");
        }
        let body = serde_json::to_vec(&Message { request_id: &id, message: problem.message() }).unwrap_or_default();
        *response.status_mut() = problem.status();
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        *response.body_mut() = Body::from(body);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    counter!("pollhook_requests", "class" => class(response.status())).increment(1);
    response
}

/// The class of a status, as figures are told by.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..400 => "2xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
