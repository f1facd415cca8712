//! Where a request's secret goes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::definition::{ApiKey, Authentication, Basic, Polling};

/// A secret and its place in a request. Its `Debug` shows the place alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The value of a header.
    Header(String, String),
    /// The value of a parameter of the query.
    Query(String, String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Header(place, _) | Self::Query(place, _)) = self;
        write!(f, "Credential({place})")
    }
}

/// A secret that is not there, by its configuration key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no value in the instance's configuration")]
pub struct Missing(pub String);

/// What [`Polling::credential`] asks for where the authentication is OAuth's.
pub const ACCESS_TOKEN: &str = "oauth.user.token";

impl Authentication {
    /// The configuration keys that a request's credential is made of.
    #[must_use]
    pub fn settings(&self) -> Vec<&str> {
        match self {
            Self::Oauth2(_) => vec![ACCESS_TOKEN],
            Self::ApiKey(key) => vec![&key.setting],
            Self::Basic(Basic { username, password }) => {
                [username, password].into_iter().flatten().map(String::as_str).collect()
            }
            Self::None(_) => Vec::new(),
        }
    }
}

impl Polling {
    /// What a request says of whose it is; `None` where it says nothing. `secret` knows secrets by their configuration keys;
    /// that of OAuth's access token is [`ACCESS_TOKEN`].
    ///
    /// # Errors
    /// [`Missing`].
    pub fn credential<'s>(&self, secret: impl Fn(&str) -> Option<&'s str>) -> Result<Option<Credential>, Missing> {
        let get = |key: &str| {
            secret(key).map(str::trim).filter(|value| !value.is_empty()).ok_or_else(|| Missing(key.to_owned()))
        };
        let authorization = |value: String| Some(Credential::Header("authorization".into(), value));
        Ok(match &self.authentication.value {
            Authentication::Oauth2(_) => authorization(format!("Bearer {}", get(ACCESS_TOKEN)?)),
            Authentication::ApiKey(ApiKey { header, query, prefix, setting }) => {
                let value = format!("{prefix}{}", get(setting)?);
                match (header, query) {
                    (Some(header), _) => Some(Credential::Header(header.to_ascii_lowercase(), value)),
                    (None, Some(query)) => Some(Credential::Query(query.clone(), value)),
                    (None, None) => None,
                }
            }
            Authentication::Basic(Basic { username, password }) => {
                let part = |key: &Option<String>| key.as_deref().map_or(Ok(""), get);
                authorization(format!("Basic {}", STANDARD.encode(format!("{}:{}", part(username)?, part(password)?))))
            }
            Authentication::None(_) => None,
        })
    }
}
