//! How a connector's requests say whose they are. No secret is in a definition: it names the configuration keys that hold them.

use std::collections::BTreeMap;

use events::configuration::is_secret;
use serde::Deserialize;
use url::Url;

use crate::path::Path;
use crate::placeholders::Template;
use crate::request::BaseUrl;
use crate::verdict::Sign;

/// How a request says whose it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// By an access token of OAuth 2.
    Oauth2(Box<Oauth2>),
    /// By a key that the customer entered.
    ApiKey(ApiKey),
    /// By user name and password.
    Basic(Basic),
    /// Not at all.
    None(None_),
    /// In one of several ways, of which an instance's configuration names one.
    Choice(Choice),
}

/// Several ways, of which an instance's configuration names one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The configuration key that names it.
    pub setting: String,
    /// Which one it is where nothing is named.
    pub default: String,
    /// The ways, by name.
    pub of: BTreeMap<String, Authentication>,
}

/// OAuth 2, by authorisation code and refresh token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth2 {
    /// Where the customer consents.
    pub authorize_url: BaseUrl,
    /// Where tokens come from.
    pub token_url: BaseUrl,
    /// What is asked for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How the client says who it is.
    pub client_auth: ClientAuth,
    /// Whether a refresh token is worth one refresh: the next comes with the answer.
    #[serde(default)]
    pub rotating: bool,
    /// Where in the tokens' answer it stands for how many seconds the refresh token is good.
    #[serde(default)]
    pub refresh_lifetime: Option<Path>,
    /// Further parameters of the consent's URL.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What the answers of `token_url` mean, where the provider has words of its own.
    #[serde(default)]
    pub signs: Vec<Sign>,
    /// Settings that come with the tokens, and where in their answer.
    #[serde(default)]
    pub keeps: BTreeMap<String, Path>,
    /// Settings that come with the code alone, and as which parameter of the redirect.
    #[serde(default)]
    pub redirect: BTreeMap<String, String>,
}

/// How an OAuth client says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// By basic authentication.
    Basic,
    /// By fields of the form.
    Body,
}

/// A key that stands in one place of every request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The header; `{…}` stands for a value of the configuration.
    pub header: Option<Template>,
    /// The parameter of the query; the same.
    pub query: Option<Template>,
    /// What stands before it, e.g. `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// The configuration key that holds it.
    pub setting: String,
}

/// Basic authentication; what is left out is blank.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The configuration key of the user name.
    pub username: Option<String>,
    /// The configuration key of the password.
    pub password: Option<String>,
}

/// Nothing to say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct None_ {}

impl Authentication {
    /// The way that counts where `value` knows the instance's configuration.
    ///
    /// # Errors
    /// The configuration key, and the names that it may have, where it names none of them.
    pub fn chosen<'a, 's>(&'a self, value: impl Fn(&str) -> Option<&'s str>) -> Result<&'a Self, Unchosen> {
        let Self::Choice(choice) = self else { return Ok(self) };
        let named = value(&choice.setting).map(str::trim).filter(|named| !named.is_empty()).unwrap_or(&choice.default);
        let found = choice.of.iter().find(|(name, _)| name.eq_ignore_ascii_case(named)).map(|(_, way)| way);
        found.ok_or_else(|| Unchosen {
            setting: choice.setting.clone(),
            known: choice.of.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// Has what is asked for tokens, and where customers consent, be at another place.
    pub(super) fn at(&mut self, to: &Url) -> Result<(), String> {
        match self {
            Self::Oauth2(oauth) => {
                oauth.authorize_url = oauth.authorize_url.at(to)?;
                oauth.token_url = oauth.token_url.at(to)?;
            }
            Self::Choice(choice) => choice.of.values_mut().try_for_each(|way| way.at(to))?,
            Self::ApiKey(_) | Self::Basic(_) | Self::None(_) => {}
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Oauth2(oauth) if !oauth.authorize_url.is_https() || !oauth.token_url.is_https() => {
                Err("`authorize_url` and `token_url` are https URLs")
            }
            Self::Oauth2(oauth) if oauth.keeps.keys().chain(oauth.redirect.keys()).any(|key| is_secret(key)) => {
                Err("what comes with the tokens is kept as plain settings: a secret is not one")
            }
            Self::ApiKey(key) if key.header.is_some() == key.query.is_some() => {
                Err("a key stands in exactly one place: `header` or `query`")
            }
            Self::ApiKey(ApiKey { header: Some(header), .. })
                if header.constant().is_some_and(|name| http::HeaderName::try_from(name).is_err()) =>
            {
                Err("the key's `header` is no header name")
            }
            Self::ApiKey(key) if key.setting.is_empty() => Err("`setting` is the configuration key that holds the key"),
            Self::Basic(Basic { username: None, password: None }) => {
                Err("basic authentication has a `username`, a `password` or both")
            }
            Self::Choice(choice) if choice.setting.is_empty() || !choice.of.contains_key(&choice.default) => {
                Err("a choice has a `setting`, and its `default` is one `of` its ways")
            }
            Self::Choice(choice) => choice.of.values().try_for_each(|way| match way {
                Self::Choice(_) => Err("a choice is not one of a choice"),
                way => way.check(),
            }),
            _ => Ok(()),
        }
    }
}

/// An instance's configuration that names no way of a [`Choice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is not one of {known}")]
pub struct Unchosen {
    /// The configuration key.
    pub setting: String,
    /// What it may be.
    pub known: String,
}
