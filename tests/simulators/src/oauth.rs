//! OAuth 2, as far as all providers agree: codes, access tokens that expire, refresh tokens that may rotate, grants that
//! users take back.
//!
//! *Promise:* a code is good once; an access token until it expires or its grant is revoked; a refresh token until its grant
//! is revoked, it is too old, or it was replaced. Tokens are counted, not random: the same story gives the same tokens.
//!
//! Words, statuses and the forms of answers are each provider's own.

use std::collections::BTreeMap;
use std::time::Duration;

use events::Timestamp;

use crate::clock::Clock;
use crate::exchange::{Answer, Authorization, Request};

/// Whether a refresh gives a new refresh token, of which the old one dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// Never.
    Never,
    /// At every refresh.
    Always,
    /// When the token is older than this.
    After(Duration),
}

/// How a provider's tokens live.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long an access token is good.
    pub access: Duration,
    /// Whether its use prolongs it.
    pub sliding: bool,
    /// How long a refresh token is good that nobody uses; `None`: until it is revoked.
    pub refresh: Option<Duration>,
    /// Whether refresh tokens are replaced.
    pub rotation: Rotation,
    /// How access tokens begin.
    pub prefix: &'static str,
}

/// What a token request brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token that is good from now on.
    pub refresh: String,
    /// Whether it is another one than before.
    pub renewed: bool,
    /// Whose tokens they are.
    pub account: String,
}

/// Why a token request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The client's id is not known.
    Client,
    /// The client's secret is wrong.
    Secret,
    /// The code is unknown, spent, or was given for another redirect.
    Code,
    /// The refresh token is unknown, replaced, too old or revoked.
    Refresh,
    /// Another kind of grant.
    Kind,
}

/// Why an access token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is none.
    Missing,
    /// It was never given.
    Unknown,
    /// It has expired, that many seconds ago.
    Expired(i64),
    /// The user took its grant back.
    Revoked,
}

#[derive(Debug)]
struct Grant {
    account: String,
    revoked: bool,
}

#[derive(Debug)]
struct Code {
    account: String,
    redirect: String,
}

#[derive(Debug)]
struct Access {
    grant: usize,
    until: Timestamp,
}

#[derive(Debug)]
struct Refresh {
    grant: usize,
    issued: Timestamp,
    used: Timestamp,
    replaced: bool,
}

/// Everything that a provider's authorization server knows of one app.
#[derive(Debug)]
pub struct Grants {
    /// How tokens live. Tests may change it at any time.
    pub rules: Rules,
    /// The app's id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: String,
    /// The account that the app may act for by its own secret (`client_credentials`), where a provider has that.
    pub own_account: Option<String>,
    clock: Clock,
    grants: Vec<Grant>,
    codes: BTreeMap<String, Code>,
    access: BTreeMap<String, Access>,
    refresh: BTreeMap<String, Refresh>,
    made: u64,
}

impl Grants {
    /// No grants yet, to the app `client-id` with the secret `client-secret`.
    #[must_use]
    pub fn new(clock: &Clock, rules: Rules) -> Self {
        Self {
            rules,
            client_id: "client-id".into(),
            client_secret: "client-secret".into(),
            own_account: None,
            clock: clock.clone(),
            grants: Vec::new(),
            codes: BTreeMap::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            made: 0,
        }
    }

    fn next(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{:06}", self.made)
    }

    /// A user of `account` agrees: the code that the redirect to `redirect` carries.
    pub fn agree(&mut self, account: &str, redirect: &str) -> String {
        let code = self.next("code-");
        self.codes.insert(code.clone(), Code { account: account.into(), redirect: redirect.into() });
        code
    }

    /// Tokens for `account`, as if a code had been exchanged.
    pub fn grant(&mut self, account: &str) -> Tokens {
        self.grants.push(Grant { account: account.into(), revoked: false });
        let grant = self.grants.len() - 1;
        let refresh = self.issue_refresh(grant);
        self.issue_access(grant, refresh, true)
    }

    fn issue_refresh(&mut self, grant: usize) -> String {
        let token = self.next("refresh-");
        let now = self.clock.now();
        self.refresh.insert(token.clone(), Refresh { grant, issued: now, used: now, replaced: false });
        token
    }

    fn issue_access(&mut self, grant: usize, refresh: String, renewed: bool) -> Tokens {
        let access = self.next(self.rules.prefix);
        let until = self.clock.now().plus(self.rules.access);
        self.access.insert(access.clone(), Access { grant, until });
        Tokens { access, refresh, renewed, account: self.grants[grant].account.clone() }
    }

    /// Answers a token request: a form, whose client is named in it or in the header `Authorization`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn token(&mut self, request: &Request) -> Result<Tokens, Denied> {
        let form = request.form();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (id, secret) = match request.authorization() {
            Authorization::Basic(id, secret) => (id, secret),
            _ => (field("client_id").unwrap_or_default().into(), field("client_secret").unwrap_or_default().into()),
        };
        if id != self.client_id {
            return Err(Denied::Client);
        }
        if secret != self.client_secret {
            return Err(Denied::Secret);
        }
        match field("grant_type") {
            Some("authorization_code") => {
                let code = self.codes.remove(field("code").unwrap_or_default()).ok_or(Denied::Code)?;
                if field("redirect_uri") != Some(code.redirect.as_str()) {
                    return Err(Denied::Code);
                }
                Ok(self.grant(&code.account))
            }
            Some("refresh_token") => self.refresh(field("refresh_token").unwrap_or_default()),
            Some("client_credentials") => {
                let account = self.own_account.clone().ok_or(Denied::Kind)?;
                Ok(self.grant(&account))
            }
            _ => Err(Denied::Kind),
        }
    }

    fn refresh(&mut self, token: &str) -> Result<Tokens, Denied> {
        let (now, rules) = (self.clock.now(), self.rules);
        let known = self.refresh.get_mut(token).ok_or(Denied::Refresh)?;
        let too_old = rules.refresh.is_some_and(|lifetime| now.since(known.used) >= lifetime);
        if known.replaced || too_old || self.grants[known.grant].revoked {
            return Err(Denied::Refresh);
        }
        known.used = now;
        let grant = known.grant;
        let renew = match rules.rotation {
            Rotation::Never => false,
            Rotation::Always => true,
            Rotation::After(age) => now.since(known.issued) >= age,
        };
        known.replaced = renew;
        let refresh = if renew { self.issue_refresh(grant) } else { token.to_owned() };
        Ok(self.issue_access(grant, refresh, renew))
    }

    /// Whose access token this is.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&mut self, token: &str) -> Result<String, Refused> {
        let now = self.clock.now();
        let access = self.access.get_mut(token).ok_or(Refused::Unknown)?;
        if self.grants[access.grant].revoked {
            return Err(Refused::Revoked);
        }
        if now >= access.until {
            return Err(Refused::Expired((now.as_millis() - access.until.as_millis()) / 1000));
        }
        if self.rules.sliding {
            access.until = now.plus(self.rules.access);
        }
        Ok(self.grants[access.grant].account.clone())
    }

    /// Whose request this is, by its bearer token.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn admit(&mut self, request: &Request) -> Result<String, Refused> {
        match request.authorization() {
            Authorization::Bearer(token) => self.check(&token),
            _ => Err(Refused::Missing),
        }
    }

    /// Whose refresh token this is, if it is good.
    #[must_use]
    pub fn holder(&self, token: &str) -> Option<&str> {
        let known = self.refresh.get(token)?;
        let grant = &self.grants[known.grant];
        (!known.replaced && !grant.revoked).then_some(grant.account.as_str())
    }

    /// Ends the grant of an access or a refresh token; whether there was one.
    pub fn revoke(&mut self, token: &str) -> bool {
        let access = self.access.get(token).map(|access| access.grant);
        let grant = access.or_else(|| self.refresh.get(token).map(|refresh| refresh.grant));
        if let Some(grant) = grant {
            self.grants[grant].revoked = true;
        }
        grant.is_some()
    }

    /// All access tokens have expired.
    pub fn expire_all(&mut self) {
        let now = self.clock.now();
        for access in self.access.values_mut() {
            access.until = access.until.min(now);
        }
    }

    /// All users take their grants back.
    pub fn revoke_all(&mut self) {
        for grant in &mut self.grants {
            grant.revoked = true;
        }
    }

    /// The page where a user agrees, who does so at once: the redirect with the code, the state, and `more`.
    pub fn consent(&mut self, request: &Request, account: &str, more: &[(&str, &str)]) -> Answer {
        let redirect = request.parameter("redirect_uri").unwrap_or_default().to_owned();
        let asked = request.parameter("response_type") == Some("code");
        if !asked || redirect.is_empty() || request.parameter("client_id") != Some(&self.client_id) {
            return Answer::new(400, "text/plain", "this app cannot ask like this");
        }
        let code = self.agree(account, &redirect);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &code);
        if let Some(state) = request.parameter("state") {
            query.append_pair("state", state);
        }
        query.extend_pairs(more);
        let separator = if redirect.contains('?') { '&' } else { '?' };
        Answer::empty(302).with("location", &format!("{redirect}{separator}{}", query.finish()))
    }
}
