//! A provider's token endpoint in memory.

use std::time::Duration;

use egress::exchange::NoAnswer;
use polling::oauth::TokenRequest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// How long an access token is good.
pub(crate) const LIFE: Duration = Duration::from_secs(3600);

/// What becomes of the next calls, before the usual answers.
#[derive(Clone, Debug)]
pub(crate) enum Mishap {
    /// The provider sees nothing.
    Unsent,
    /// It does what it is asked, and its answer is lost.
    Lost,
    /// This is answered instead.
    Instead(u16, Value),
}

/// One customer's grant. Tokens are counted: the `n`th pair is `clear-an` and `clear-rn`.
#[derive(Clone, Debug)]
pub(crate) struct TokenServer {
    /// Whether each refresh replaces the refresh token, of which the old one dies.
    pub(crate) rotates: bool,
    /// Whether answers say how long an access token is good.
    pub(crate) says_life: bool,
    /// For how many seconds answers say that the refresh token is good.
    pub(crate) refresh_life: Option<u64>,
    pub(crate) revoked: bool,
    pub(crate) mishaps: Vec<Mishap>,
    /// The refresh tokens that were shown, in order.
    pub(crate) shown: Vec<String>,
    /// How many access tokens there were, and refresh tokens; the last of each is good.
    pub(crate) access: usize,
    pub(crate) refresh: usize,
    /// Access tokens that are no good any more, though they are the last.
    pub(crate) expired: bool,
}

impl TokenServer {
    pub(crate) fn new(rotates: bool) -> Self {
        let (says_life, revoked, mishaps, shown) = (true, false, Vec::new(), Vec::new());
        Self { rotates, says_life, refresh_life: None, revoked, mishaps, shown, access: 0, refresh: 0, expired: false }
    }

    pub(crate) fn admits(&self, credential: Option<&str>) -> bool {
        let good = format!("authorization: Bearer clear-a{}", self.access);
        !self.revoked && !self.expired && credential == Some(good.as_str())
    }

    pub(crate) fn exchange(&mut self, request: &TokenRequest) -> Result<(u16, Value), NoAnswer> {
        let field = |name: &str| {
            let found = request.form.iter().find(|(field, _)| *field == name);
            found.map(|(_, value)| value.expose_secret().to_owned()).unwrap_or_default()
        };
        assert_eq!(request.url, "https://login.example/token");
        assert_eq!((field("grant_type"), field("client_id")), ("refresh_token".into(), "the-app".into()));
        let mishap = if self.mishaps.is_empty() { None } else { Some(self.mishaps.remove(0)) };
        if let Some(Mishap::Unsent) = mishap {
            return Err(NoAnswer::Unsent("could not connect".into()));
        }
        self.shown.push(field("refresh_token"));
        if let Some(Mishap::Instead(status, body)) = mishap {
            return Ok((status, body));
        }
        if field("client_secret") != "the-app-s3cret" {
            return Ok((401, json!({"error": "invalid_client"})));
        }
        let answer = if self.revoked || field("refresh_token") != format!("clear-r{}", self.refresh) {
            (400, json!({"error": "invalid_grant", "error_description": field("refresh_token")}))
        } else {
            self.access += 1;
            self.expired = false;
            let mut body = json!({"access_token": format!("clear-a{}", self.access), "site": "clear-of-secrets"});
            if self.says_life {
                body["expires_in"] = LIFE.as_secs().into();
            }
            if let Some(seconds) = self.refresh_life {
                body["refresh_lives"] = seconds.into();
            }
            if self.rotates {
                self.refresh += 1;
                body["refresh_token"] = format!("clear-r{}", self.refresh).into();
            }
            (200, body)
        };
        match mishap {
            Some(Mishap::Lost) => Err(NoAnswer::Unclear("timed out while waiting for the answer".into())),
            _ => Ok(answer),
        }
    }
}
