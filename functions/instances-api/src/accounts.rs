//! `POST /accounts`: makes an account, for whoever holds the installation's admin key. `POST /accounts/{account}/keys`
//! gives it another pair of secrets beside those it has, and `DELETE /accounts/{account}/keys?before=` voids the older ones,
//! once its apps use the new ones.
//!
//! *Promise:* an account's secrets are shown in the answer, once, and nowhere else. Of the admin key only its SHA-256 is
//! known here, so it stands in no configuration. Where none is configured there is no such path.
//!
//! A hash without salt and stretching is enough only for a key that cannot be guessed: 32 random bytes, not a password.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, RawQuery, State};
use bytes::Bytes;
use events::{AccountId, Timestamp};
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use platform::Platform;
use records::accounts::{self, Account, Credentials};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::Api;
use crate::answer::{Answer, Problem};
use crate::invalid::Invalid;
use crate::query::Parameters;
use crate::{text, wire};

/// The SHA-256 of the admin key. Read from 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKeySha256([u8; 32]);

/// What is no SHA-256 in hexadecimal digits. It does not repeat what was given, which may be the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("64 hexadecimal digits are wanted: the SHA-256 of the admin key")]
pub struct NoSha256;

impl FromStr for AdminKeySha256 {
    type Err = NoSha256;

    fn from_str(text: &str) -> Result<Self, NoSha256> {
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoSha256);
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| NoSha256)?;
        }
        Ok(Self(hash))
    }
}

impl AdminKeySha256 {
    /// Whether it is this key's.
    fn is_of(&self, key: &str) -> bool {
        Sha256::digest(key.as_bytes()).as_slice().ct_eq(&self.0).into()
    }
}

impl fmt::Debug for AdminKeySha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKeySha256(…)")
    }
}

/// Whoever holds the admin key.
#[derive(Debug)]
pub(crate) struct Admin;

impl<P: Platform> FromRequestParts<Arc<Api<P>>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<P>>) -> Result<Self, Problem> {
        // The route is there only with it.
        let hash = api.admin_key_sha256.as_ref().ok_or(Problem::NoSuch("path"))?;
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else { return Err(Problem::NotAdmin) };
        let key = header.to_str().ok().and_then(bearer).ok_or(Problem::NotAdmin)?;
        if hash.is_of(key) { Ok(Self) } else { Err(Problem::NotAdmin) }
    }
}

/// The key in an `Authorization` header.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start())
}

/// An account as it was made, with its secrets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    account_id: u32,
    company_id: u32,
    user_id: u32,
    operator: bool,
    /// When the secrets were made: who voids what is older keeps them.
    keys_since: String,
    user_secret: String,
    organization_secret: String,
    /// What the account's requests say in their `Authorization` header.
    authorization: String,
}

impl Made {
    fn new(account: &Account, credentials: &Credentials, since: Timestamp) -> Self {
        Self {
            account_id: account.id.0,
            company_id: account.company,
            user_id: account.user,
            operator: account.operator,
            keys_since: since.iso_millis(),
            user_secret: credentials.user.expose_secret().to_owned(),
            organization_secret: credentials.organization.expose_secret().to_owned(),
            authorization: credentials.header().expose_secret().to_owned(),
        }
    }
}

/// What must not be kept by whoever passes it on.
type NotStored<T> = ([(HeaderName, HeaderValue); 1], Answer<T>);

fn not_stored<T>(body: T) -> NotStored<T> {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Answer(body))
}

/// `POST /accounts`.
pub(crate) async fn make<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Admin: Admin,
    body: Bytes,
) -> Result<NotStored<Made>, Problem> {
    let operator = wire::operator(&body)?;
    let (account, credentials) = accounts::create(&*api.platform, operator).await?;
    tracing::info!(account = account.id.0, operator, "an account was made");
    Ok(not_stored(Made::new(&account, &credentials, account.created_at)))
}

/// `POST /accounts/{account}/keys`.
pub(crate) async fn add_keys<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Admin: Admin,
    Path(account): Path<String>,
) -> Result<NotStored<Made>, Problem> {
    let made = accounts::add_keys(&*api.platform, account_id(&account)?).await?;
    let (account, credentials, since) = made.ok_or(NO_ACCOUNT)?;
    tracing::info!(account = account.id.0, "an account has new keys");
    Ok(not_stored(Made::new(&account, &credentials, since)))
}

/// Since when an account's keys count.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Voided {
    account_id: u32,
    keys_since: Option<String>,
}

/// `DELETE /accounts/{account}/keys?before=`.
pub(crate) async fn void_keys<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Admin: Admin,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Answer<Voided>, Problem> {
    let before = before(&Parameters::read(query.as_deref()), api.platform.now())?;
    let account = accounts::void_keys(&*api.platform, account_id(&account)?, before).await?.ok_or(NO_ACCOUNT)?;
    tracing::info!(account = account.id.0, before = before.iso_millis(), "an account's older keys are void");
    Ok(Answer(Voided { account_id: account.id.0, keys_since: account.keys_since.map(Timestamp::iso_millis) }))
}

const NO_ACCOUNT: Problem = Problem::NoSuch("account");

fn account_id(text: &str) -> Result<AccountId, Problem> {
    text.parse().map(AccountId).map_err(|_| NO_ACCOUNT)
}

/// Keys made before it are void. Not in the future: keys that are made until then would be void, too, unnoticed.
fn before(parameters: &Parameters, now: Timestamp) -> Result<Timestamp, Invalid> {
    const ACCEPTED: &str = "a time that is past, as keysSince has it: 2026-11-24T10:00:00.000Z";
    let text = parameters.get("before")?.ok_or_else(|| Invalid::new("before", "nothing", ACCEPTED))?;
    let time = Timestamp::parse_rfc3339(text).filter(|time| *time <= now);
    time.ok_or_else(|| Invalid::new("before", text::quoted(text), ACCEPTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_hexadecimal_digits_and_nothing_else() {
        // `printf key | sha256sum`
        let hash = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
        for text in [hash.to_owned(), hash.to_uppercase()] {
            let hash: AdminKeySha256 = text.parse().unwrap();
            assert!(hash.is_of("key") && !hash.is_of("Key") && !hash.is_of(""));
        }
        for bad in ["", "key", &hash[1..], &format!("{hash}0"), &hash.replace('2', "g"), &format!("+{}", &hash[1..])] {
            assert_eq!(bad.parse::<AdminKeySha256>(), Err(NoSha256), "{bad}");
        }
        assert!(!format!("{:?}", hash.parse::<AdminKeySha256>().unwrap()).contains("112"));
    }

    #[test]
    fn the_key_stands_behind_its_scheme_in_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer(" bearer  abc "), Some("abc"));
        for other in ["abc", "Bearer", "Basic abc", ""] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }
}
