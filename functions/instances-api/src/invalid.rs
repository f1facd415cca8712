//! What was wrong with a request.

/// A part of a request that is not accepted.
///
/// `given` goes back to the caller and into nobody's log, but it may be shown on a screen: whoever makes one leaves out
/// secrets and the credentials in URLs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: given {given}; accepted: {accepted}")]
pub(crate) struct Invalid {
    field: String,
    given: String,
    accepted: String,
}

impl Invalid {
    /// `field` by its name in the request, what was `given`, and what is `accepted`.
    pub(crate) fn new(field: impl Into<String>, given: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { field: field.into(), given: given.into(), accepted: accepted.into() }
    }

    /// The same, of the configuration key `key`.
    pub(crate) fn setting(key: &str, given: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self::new(format!("configuration \"{}\"", crate::text::start(key)), given, accepted)
    }
}
