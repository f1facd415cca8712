//! Where a request's secret goes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::Timestamp;

use crate::definition::{ApiKey, Authentication, Basic, Polling, Unchosen};
use crate::oauth;
use crate::placeholders::{Template, Values};

/// A secret and its place in a request. Its `Debug` shows the place alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The value of a header.
    Header(String, String),
    /// The value of a parameter of the query.
    Query(String, String),
}

impl Credential {
    /// An access token of OAuth's.
    #[must_use]
    pub fn bearer(access: &str) -> Self {
        Self::Header("authorization".into(), format!("Bearer {access}"))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Header(place, _) | Self::Query(place, _)) = self;
        write!(f, "Credential({place})")
    }
}

/// Why there is no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A secret, or a part of its place, that is not there, by its configuration key.
    #[error("{0} has no value in the instance's configuration")]
    Missing(String),
    /// The configuration names no way that there is.
    #[error(transparent)]
    Unchosen(#[from] Unchosen),
    /// The configuration names a header that cannot hold a credential.
    #[error("{0:?} is no header that a credential can stand in")]
    Header(String),
}

/// What [`Polling::credential`] asks for where the authentication is OAuth's.
pub const ACCESS_TOKEN: &str = "oauth.user.token";

/// Headers of the request itself: a configured value there would change what is asked, and of whom.
const RESERVED: [&str; 6] = ["connection", "content-length", "content-type", "host", "te", "transfer-encoding"];

impl Authentication {
    /// The configuration keys that a request's credential is made of, and that one can be had with.
    #[must_use]
    pub fn settings(&self) -> Vec<&str> {
        match self {
            Self::Choice(choice) => choice.of.values().flat_map(Self::settings).collect(),
            Self::Oauth2(_) => vec![ACCESS_TOKEN, oauth::REFRESH_TOKEN, oauth::CLIENT_ID, oauth::CLIENT_SECRET],
            Self::ApiKey(key) => vec![&key.setting],
            Self::Basic(Basic { username, password }) => {
                [username, password].into_iter().flatten().map(String::as_str).collect()
            }
            Self::None(_) => Vec::new(),
        }
    }
}

impl Polling {
    /// What a request says of whose it is; `None` where it says nothing. `value` knows the instance's configuration, its
    /// secrets and what is no secret, by their keys; OAuth's access token is [`ACCESS_TOKEN`].
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn credential<'s>(
        &self,
        value: impl Fn(&str) -> Option<&'s str>,
    ) -> Result<Option<Credential>, CredentialError> {
        let known = |key: &str| value(key).map(str::trim).filter(|value| !value.is_empty());
        let get = |key: &str| known(key).ok_or_else(|| CredentialError::Missing(key.to_owned()));
        let authorization = |value: String| Some(Credential::Header("authorization".into(), value));
        Ok(match self.authentication.value.chosen(&value)? {
            Authentication::Oauth2(_) => Some(Credential::bearer(get(ACCESS_TOKEN)?)),
            Authentication::ApiKey(ApiKey { header, query, prefix, setting }) => {
                let secret = format!("{prefix}{}", get(setting)?);
                let place = |template: &Template| {
                    let own = |name: &str| known(name).map(|value| (name.to_owned(), value.to_owned()));
                    let mut settings = self.defaults.clone();
                    settings.extend(template.names().filter_map(own));
                    let zero = Timestamp::from_millis(0);
                    let values =
                        Values { since: zero, now: zero, format: None, zone: None, settings: (&settings).into() };
                    template
                        .fill(&values)
                        .map_err(|_| CredentialError::Missing(template.names().next().unwrap_or_default().to_owned()))
                };
                match (header, query) {
                    (Some(header), _) => {
                        let name = place(header)?.to_ascii_lowercase();
                        if RESERVED.contains(&name.as_str()) || http::HeaderName::try_from(&name).is_err() {
                            return Err(CredentialError::Header(name));
                        }
                        Some(Credential::Header(name, secret))
                    }
                    (None, Some(query)) => Some(Credential::Query(place(query)?, secret)),
                    (None, None) => None,
                }
            }
            Authentication::Basic(Basic { username, password }) => {
                let part = |key: &Option<String>| key.as_deref().map_or(Ok(""), get);
                authorization(format!("Basic {}", STANDARD.encode(format!("{}:{}", part(username)?, part(password)?))))
            }
            // A choice is none of a choice's ways.
            Authentication::None(_) | Authentication::Choice(_) => None,
        })
    }
}
