//! What a provider is answered.

use connectors::Handshake;
use http::StatusCode;
use records::RecordError;

/// The answer to a webhook. The variant decides the status; texts are for the provider's delivery log and hold nothing
/// that the sender did not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The events are durable, or there is nobody to tell.
    Taken,
    /// What a handshake asks for.
    Handshake(Handshake),
    /// The connector's requests come by other methods.
    Method(&'static str),
    /// The body cannot be read.
    Unreadable(String),
    /// Not signed by a secret we know.
    Unverified(String),
    /// No connector of that name has webhooks.
    UnknownConnector(String),
    /// Larger than taken.
    TooLarge,
    /// Tells more than one request may.
    TooMany,
    /// Could not be made durable: to be sent again.
    TryAgain,
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Taken | Self::Handshake(_) => StatusCode::OK,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::Unverified(_) => StatusCode::UNAUTHORIZED,
            Self::UnknownConnector(_) => StatusCode::NOT_FOUND,
            Self::TooLarge | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TryAgain => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What to say with it; `None` for success.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Taken | Self::Handshake(_) => None,
            Self::Method(allowed) => Some(format!("webhooks are taken by {allowed}")),
            Self::Unreadable(reason) | Self::Unverified(reason) => Some(reason.clone()),
            Self::UnknownConnector(known) => {
                Some(format!("there is no such connector that has webhooks; known are: {known}"))
            }
            Self::TooLarge => Some(format!("the body is larger than {} bytes", crate::MAX_BODY_BYTES)),
            Self::TooMany => Some(format!(
                "the body tells of more changes than one request may: at most {}, and fewer in a large body",
                connectors::Connector::MAX_CHANGES
            )),
            Self::TryAgain => Some("the events could not be stored, send them again".into()),
        }
    }
}

impl From<RecordError> for Answer {
    fn from(error: RecordError) -> Self {
        tracing::error!(%error, "a webhook could not be taken");
        Self::TryAgain
    }
}
