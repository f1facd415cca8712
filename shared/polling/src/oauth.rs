//! OAuth 2 as functions: where a customer consents, what the token endpoint is asked, and what its answer means.
//!
//! *Promise:* pure. The app's secret is in no URL; a request for tokens cannot be printed but for its host, and nothing of an
//! answer is in a reason. What is not the provider's plain word is not taken for it: an answer without tokens in it, or a
//! failure of the provider's, leaves open whether the token that was sent is spent ([`Reply::Unclear`]).
//!
//! Rejected in words of its own by a provider (`signs`), or by RFC 6749, section 5.2.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use events::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use crate::definition::{ClientAuth, Oauth2, Polling};
use crate::placeholders::{Values, encoded};
use crate::request::{ACCESS_TOKEN, BaseUrl, PlanError};
use crate::verdict::{self, Answer, Verdict};

/// The configuration key of the app's id at the provider.
pub const CLIENT_ID: &str = "oauth.api.key";
/// The configuration key of the app's secret.
pub const CLIENT_SECRET: &str = "oauth.api.secret";
/// The configuration key of where the provider sends the customer back to.
pub const CALLBACK_URL: &str = "oauth.callback.url";
/// The configuration key of what is asked for, where that is not what the connector asks for.
pub const SCOPE: &str = "oauth.scope";
/// The configuration key of the refresh token; the access token's is [`ACCESS_TOKEN`].
pub const REFRESH_TOKEN: &str = "oauth.user.refresh_token";
/// The configuration key of how long the access token is good, in seconds.
pub const LIFETIME: &str = "oauth.user.refresh_interval";
/// The configuration key of when it was given, in milliseconds since 1970.
pub const GIVEN_AT: &str = "oauth.user.refresh_time";
/// The configuration key of how long the refresh token is good from then on, in seconds.
pub const REFRESH_LIFETIME: &str = "oauth.user.consent_interval";

/// The keys that a customer's consent is kept under: they are had of the provider, and stay when a configuration is replaced.
pub const CONSENT: [&str; 5] = [ACCESS_TOKEN, REFRESH_TOKEN, LIFETIME, GIVEN_AT, REFRESH_LIFETIME];

/// Longest life of an access token that is believed; a longer one is checked by its use.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Whose app it is.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: SecretString,
    /// Its secret.
    pub secret: SecretString,
}

impl Client {
    /// The app that a configuration names; `None` where its id or its secret is missing.
    pub fn of<'s>(value: impl Fn(&str) -> Option<&'s str>) -> Option<Self> {
        let set = |key: &str| value(key).map(str::trim).filter(|value| !value.is_empty()).map(SecretString::from);
        Some(Self { id: set(CLIENT_ID)?, secret: set(CLIENT_SECRET)? })
    }
}

/// What a customer is sent to the provider with.
#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    /// The app's id.
    pub client_id: &'a str,
    /// Where the provider sends the customer back to.
    pub callback: &'a str,
    /// What is asked for, where that is not what the connector asks for.
    pub scope: Option<&'a str>,
    /// Comes back with the customer.
    pub state: Option<&'a str>,
}

/// What tokens are asked for with.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// The code that a consent ended with, and where it was sent to.
    Code(&'a SecretString, &'a str),
    /// A refresh token.
    Refresh(&'a SecretString),
}

/// A request for tokens: a form. Only its host can be printed.
#[derive(Clone)]
pub struct TokenRequest {
    /// Where to.
    pub url: String,
    /// The fields.
    pub form: Vec<(&'static str, SecretString)>,
    /// User and password of basic authentication.
    pub basic: Option<(SecretString, SecretString)>,
    /// Whether the operator chose where that is.
    pub chosen: bool,
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = url::Url::parse(&self.url).ok();
        write!(f, "TokenRequest({})", url.as_ref().and_then(url::Url::host_str).unwrap_or_default())
    }
}

/// Tokens, as a provider gave them.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The access token.
    pub access: SecretString,
    /// The refresh token that is good from now on; `None`: the one before still is.
    pub refresh: Option<SecretString>,
    /// How long the access token is good, where the provider says so.
    pub lifetime: Option<Duration>,
    /// How long the refresh token that is good from now on is, where the provider says so.
    pub refresh_lifetime: Option<Duration>,
    /// The settings that came with them.
    pub settings: BTreeMap<String, String>,
}

/// What the token endpoint's answer means.
#[derive(Debug)]
pub enum Reply {
    /// Tokens.
    Tokens(Tokens),
    /// It does not take what was shown: a code that is spent, a consent that was taken back.
    Refused,
    /// It does not know the app, or not by this secret.
    UnknownClient,
    /// Too much was asked of it: nothing was done.
    Limited {
        /// How long to wait.
        after: Duration,
    },
    /// It says no to the request, for another reason.
    Failed {
        /// Which, without anything of the answer.
        reason: String,
    },
    /// Whether what was shown is spent cannot be told.
    Unclear {
        /// Why, without anything of the answer.
        reason: String,
    },
}

impl Oauth2 {
    /// The URL that a customer is sent to, of the provider that is asked as `polling` says.
    ///
    /// # Errors
    /// A part of the URL has no value in `configuration`.
    pub fn consent_url(
        &self,
        polling: &Polling,
        configuration: &BTreeMap<String, String>,
        consent: &Consent<'_>,
    ) -> Result<String, PlanError> {
        let scope = consent.scope.map_or_else(|| self.scopes.join(" "), str::to_owned);
        let own = [
            ("response_type", "code"),
            ("client_id", consent.client_id),
            ("redirect_uri", consent.callback),
            ("scope", scope.trim()),
            ("state", consent.state.unwrap_or_default()),
        ];
        let further = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let further = further.filter(|(name, _)| own.iter().all(|(own, _)| own != name));
        let pairs = own.into_iter().chain(further).filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let url = filled(&self.authorize_url, &polling.settings(configuration))?;
        Ok(format!("{url}?{}", pairs.join("&")))
    }

    /// The request that brings tokens, to the provider that is asked as `polling` says.
    ///
    /// # Errors
    /// A part of the URL has no value in `configuration`.
    pub fn token_request(
        &self,
        polling: &Polling,
        configuration: &BTreeMap<String, String>,
        client: &Client,
        shown: Shown<'_>,
    ) -> Result<TokenRequest, PlanError> {
        let mut form = match shown {
            Shown::Code(code, callback) => vec![
                ("grant_type", "authorization_code".into()),
                ("code", code.clone()),
                ("redirect_uri", callback.into()),
            ],
            Shown::Refresh(token) => vec![("grant_type", "refresh_token".into()), ("refresh_token", token.clone())],
        };
        let Client { id, secret } = client.clone();
        let basic = match self.client_auth {
            ClientAuth::Basic => Some((id, secret)),
            ClientAuth::Body => {
                form.extend([("client_id", id), ("client_secret", secret)]);
                None
            }
        };
        let url = filled(&self.token_url, &polling.settings(configuration))?;
        Ok(TokenRequest { url, form, basic, chosen: polling.chosen })
    }

    /// What an answer means; `now` is our clock's time.
    #[must_use]
    pub fn judge(&self, answer: &Answer<'_>, now: Timestamp) -> Reply {
        let status = answer.status.as_u16();
        let error = answer.body.and_then(|body| body.get("error")).and_then(Value::as_str);
        match verdict::verdict(&self.signs, answer, now) {
            Verdict::Ok => self.tokens(answer.body).map_or_else(
                || Reply::Unclear { reason: format!("there is no access token in the answer, status {status}") },
                Reply::Tokens,
            ),
            Verdict::GrantRevoked => Reply::Refused,
            Verdict::RateLimited { after } => Reply::Limited { after },
            _ if status >= 500 => Reply::Unclear { reason: format!("status {status}") },
            Verdict::TokenExpired => Reply::UnknownClient,
            _ if matches!(error, Some("invalid_client" | "unauthorized_client")) => Reply::UnknownClient,
            _ => Reply::Failed { reason: format!("status {status}") },
        }
    }

    fn tokens(&self, body: Option<&Value>) -> Option<Tokens> {
        let body = body?;
        let text = |name: &str| body.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty());
        let lifetime = body.get("expires_in").and_then(seconds);
        let kept = self.keeps.iter().filter_map(|(key, at)| Some((key.clone(), at.text(body)?.into_owned())));
        Some(Tokens {
            access: text("access_token")?.into(),
            refresh: text("refresh_token").map(SecretString::from),
            lifetime: lifetime.filter(|lifetime| !lifetime.is_zero() && *lifetime <= LONGEST),
            refresh_lifetime: self.refresh_lifetime.as_ref().and_then(|at| believed(&at.text(body)?)),
            settings: kept.collect(),
        })
    }
}

impl Polling {
    /// The values of `{…}` for an instance with this configuration, as far as they do not come with a resource.
    #[must_use]
    pub fn settings(&self, configuration: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut settings = self.defaults.clone();
        let there = |(_, value): &(&String, &String)| !value.trim().is_empty();
        settings.extend(configuration.iter().filter(there).map(|(name, value)| (name.clone(), value.clone())));
        settings
    }
}

impl Tokens {
    /// The settings that say what [`life`] and [`refresh_life`] read, of tokens that were given at `given`.
    #[must_use]
    pub fn life(&self, given: Timestamp) -> Vec<(&'static str, String)> {
        let lives = [(LIFETIME, self.lifetime), (REFRESH_LIFETIME, self.refresh_lifetime)];
        let lives = lives.into_iter().filter_map(|(key, life)| Some((key, life?.as_secs().to_string())));
        let mut settings: Vec<_> = lives.collect();
        if !settings.is_empty() {
            settings.push((GIVEN_AT, given.as_millis().to_string()));
        }
        settings
    }
}

/// A number of seconds, also as text: some providers write it so.
fn seconds(value: &Value) -> Option<Duration> {
    let text = value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed);
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

fn filled(url: &BaseUrl, settings: &BTreeMap<String, String>) -> Result<String, PlanError> {
    let zero = Timestamp::from_millis(0);
    url.fill(&Values { since: zero, now: zero, format: None, zone: None, settings: settings.into() })
}

/// When the access token of a configuration was given, and for how long, where it says so.
pub fn life<'s>(value: impl Fn(&str) -> Option<&'s str>) -> Option<(Timestamp, Duration)> {
    Some((given(&value)?, believed(value(LIFETIME)?).filter(|lifetime| *lifetime <= LONGEST)?))
}

/// When the refresh token of a configuration was given, and for how long, where it says so.
pub fn refresh_life<'s>(value: impl Fn(&str) -> Option<&'s str>) -> Option<(Timestamp, Duration)> {
    Some((given(&value)?, believed(value(REFRESH_LIFETIME)?)?))
}

fn given<'s>(value: impl Fn(&str) -> Option<&'s str>) -> Option<Timestamp> {
    value(GIVEN_AT)?.trim().parse().ok().map(Timestamp::from_millis)
}

/// So many seconds, where that is a life of any length.
fn believed(seconds: &str) -> Option<Duration> {
    let seconds = Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()?;
    (!seconds.is_zero()).then_some(seconds)
}

#[cfg(test)]
mod tests;
