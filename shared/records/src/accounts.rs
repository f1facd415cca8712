//! Who may call the API.
//!
//! Keys are 256 random bits, shown once and kept as SHA-256: there is nothing to guess and nothing to leak. A request
//! names two or three, `User …` with `Organization …`, with the `Element …` of an instance, or with both, and all must belong
//! to the same account.
//!
//! An account may have several pairs of keys, so that its apps can change to a new one before the old one is void: what is
//! void is everything that was made before a time, which the account says and each of its keys is held against.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::{AccountId, InstanceId, Timestamp};
use platform::{Condition, Consistency, Key, Platform, Table as _, TableError, Version, Write};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{RecordError, schema};

/// An account of Pollhook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The contract's `accountId`.
    pub id: AccountId,
    /// The contract's `companyId`.
    pub company: u32,
    /// The contract's `userId`.
    pub user: u32,
    /// May read what concerns the whole installation.
    pub operator: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Keys that were made before it are void; instances' tokens are not. `None`: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_since: Option<Timestamp>,
}

impl Account {
    /// Whether a key that was made for the account still opens it.
    fn takes(&self, grant: &Grant) -> bool {
        let made = grant.made_at.unwrap_or(self.created_at);
        grant.kind == KeyKind::Element || self.keys_since.is_none_or(|since| made >= since)
    }
}

/// An account's keys, in clear: shown once, when they are made.
#[derive(Debug)]
pub struct Credentials {
    /// After `User ` in the `Authorization` header.
    pub user: SecretString,
    /// After `Organization ` in the `Authorization` header.
    pub organization: SecretString,
}

impl Credentials {
    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header(&self) -> SecretString {
        format!("User {}, Organization {}", self.user.expose_secret(), self.organization.expose_secret()).into()
    }
}

/// What a key opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// A user's secret.
    User,
    /// An organisation's secret.
    Organization,
    /// An instance's token.
    Element,
}

/// What is known of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Whose.
    pub account: AccountId,
    /// Which part of the header it may stand in.
    pub kind: KeyKind,
    /// Of which instance, for [`KeyKind::Element`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// When it was made; `None`: with what it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Timestamp>,
}

fn account_key(id: AccountId) -> Key {
    Key::new(format!("ACCOUNT#{id}"), "ACCOUNT")
}

/// Where the grant of a key is kept.
pub(crate) fn grant_key(secret: &str) -> Key {
    let hash: String = Sha256::digest(secret.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    Key::new(format!("KEY#{hash}"), "KEY")
}

/// The write that makes a key known.
pub(crate) fn grant_write<P: Platform>(platform: &P, secret: &SecretString, grant: &Grant) -> Write {
    Write::put(grant_key(secret.expose_secret()), platform.version(), schema::encode(grant)).when(Condition::Absent)
}

/// 256 random bits as base64.
pub(crate) fn new_secret<P: Platform>(platform: &P) -> SecretString {
    let mut bits = [0; 32];
    platform.random().fill(&mut bits);
    STANDARD.encode(bits).into()
}

/// Fresh keys and the writes that make them known.
fn issue<P: Platform>(platform: &P, account: AccountId, now: Timestamp) -> (Credentials, [Write; 2]) {
    let mut bits = [0; 16];
    platform.random().fill(&mut bits);
    let credentials = Credentials {
        user: new_secret(platform),
        // The old product's organisation secrets are 32 hex digits, and clients check for it.
        organization: bits.iter().map(|b| format!("{b:02x}")).collect::<String>().into(),
    };
    let grant = |kind| Grant { account, kind, instance: None, made_at: Some(now) };
    let writes = [
        grant_write(platform, &credentials.user, &grant(KeyKind::User)),
        grant_write(platform, &credentials.organization, &grant(KeyKind::Organization)),
    ];
    (credentials, writes)
}

fn new_account<P: Platform>(platform: &P, operator: bool) -> (Account, Write) {
    let number = || (platform.random().bits() as u32 & 0x7fff_ffff).max(1);
    let account = Account {
        id: AccountId(number()),
        company: number(),
        user: number(),
        operator,
        created_at: platform.now(),
        keys_since: None,
    };
    let put = Write::put(account_key(account.id), platform.version(), schema::encode(&account)).when(Condition::Absent);
    (account, put)
}

/// Makes an account and its keys.
///
/// # Errors
/// The table's.
pub async fn create<P: Platform>(platform: &P, operator: bool) -> Result<(Account, Credentials), RecordError> {
    let (account, put) = new_account(platform, operator);
    let (credentials, grants) = issue(platform, account.id, platform.now());
    platform.table().transact([put].into_iter().chain(grants).collect()).await?;
    Ok((account, credentials))
}

/// Which account is the operator's, where one process serves one operator, and which keys it has.
#[derive(Serialize, Deserialize)]
struct Operator {
    account: AccountId,
    /// Where the grants of its keys are: partitions.
    keys: Vec<String>,
}

/// The operator's account with fresh keys: made on the first call, the same account on every later one. The keys of the
/// call before are void from then on, whether they were lost or leaked.
///
/// # Errors
/// The table's.
pub async fn operator<P: Platform>(platform: &P) -> Result<(Account, Credentials), RecordError> {
    let key = Key::new("OPERATOR", "ACCOUNT");
    let item = platform.table().get(&key, Consistency::Strong).await?;
    let known: Option<(Operator, Version)> =
        item.map(|item| Ok::<_, RecordError>((schema::decode(&item)?, item.version))).transpose()?;
    let account = match &known {
        Some((operator, _)) => get(platform, operator.account).await?,
        None => None,
    };
    let (account, put) = match account {
        Some(account) => (account, None),
        None => {
            let (account, put) = new_account(platform, true);
            (account, Some(put))
        }
    };
    let (credentials, grants) = issue(platform, account.id, platform.now());
    let keys = grants.iter().map(|write| write.key.partition.clone()).collect();
    let operator = schema::encode(&Operator { account: account.id, keys });
    let condition = known.as_ref().map_or(Condition::Absent, |(_, version)| Condition::Version(*version));
    let mut writes = vec![Write::put(key, platform.version(), operator).when(condition)];
    writes.extend(put);
    writes.extend(grants);
    let void = known.into_iter().flat_map(|(operator, _)| operator.keys);
    writes.extend(void.map(|partition| Write::delete(Key::new(partition, "KEY"))));
    platform.table().transact(writes).await?;
    Ok((account, credentials))
}

/// One account.
///
/// # Errors
/// The table's.
pub async fn get<P: Platform>(platform: &P, id: AccountId) -> Result<Option<Account>, RecordError> {
    let item = platform.table().get(&account_key(id), Consistency::Strong).await?;
    item.map(|item| schema::decode(&item)).transpose()
}

/// Makes another pair of keys for an account, beside those it has; and since when they count. `None`: no such account.
///
/// # Errors
/// The table's.
pub async fn add_keys<P: Platform>(
    platform: &P,
    id: AccountId,
) -> Result<Option<(Account, Credentials, Timestamp)>, RecordError> {
    let Some(account) = get(platform, id).await? else { return Ok(None) };
    let now = platform.now();
    let (credentials, grants) = issue(platform, id, now);
    platform.table().transact(grants.into()).await?;
    Ok(Some((account, credentials, now)))
}

/// Voids the keys of an account that were made before a time; never those of a later one that is said twice or too late.
/// `None`: no such account.
///
/// # Errors
/// The table's.
pub async fn void_keys<P: Platform>(
    platform: &P,
    id: AccountId,
    before: Timestamp,
) -> Result<Option<Account>, RecordError> {
    let key = account_key(id);
    loop {
        let Some(item) = platform.table().get(&key, Consistency::Strong).await? else { return Ok(None) };
        let mut account: Account = schema::decode(&item)?;
        if account.keys_since.is_some_and(|since| since >= before) {
            return Ok(Some(account));
        }
        account.keys_since = Some(before);
        let put = Write::put(key.clone(), platform.version(), schema::encode(&account));
        match platform.table().write(put.when(Condition::Version(item.version))).await {
            Ok(_) => return Ok(Some(account)),
            Err(TableError::ConditionFailed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The keys that a request names. Without `Debug`: they are secrets.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// After `User `.
    pub user: &'a str,
    /// After `Organization `.
    pub organization: Option<&'a str>,
    /// After `Element `: an instance's token.
    pub element: Option<&'a str>,
}

/// Whom a request's keys belong to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The account of all of them.
    pub account: Account,
    /// The instance whose token is among them.
    pub instance: Option<InstanceId>,
}

/// Whom all of `keys` belong to; `None` when one is unknown, of the wrong kind, another account's, or a deleted instance's.
/// A user's secret alone opens nothing: at least one of the others must stand beside it.
///
/// # Errors
/// The table's.
pub async fn authenticate<P: Platform>(platform: &P, keys: Keys<'_>) -> Result<Option<Holder>, RecordError> {
    let beside = [(KeyKind::Organization, keys.organization), (KeyKind::Element, keys.element)];
    let beside = beside.into_iter().filter_map(|(kind, secret)| Some((kind, secret?)));
    let wanted: Vec<(KeyKind, &str)> = std::iter::once((KeyKind::User, keys.user)).chain(beside).collect();
    if wanted.len() < 2 {
        return Ok(None);
    }
    let places: Vec<Key> = wanted.iter().map(|(_, secret)| grant_key(secret)).collect();
    let mut grants = Vec::with_capacity(wanted.len());
    for (item, (kind, _)) in platform.table().get_many(&places, Consistency::Strong).await?.iter().zip(&wanted) {
        let Some(item) = item else { return Ok(None) };
        let grant: Grant = schema::decode(item)?;
        if grant.kind != *kind {
            return Ok(None);
        }
        grants.push(grant);
    }
    let account = grants[0].account;
    if grants.iter().any(|grant| grant.account != account) {
        return Ok(None);
    }
    let instance = grants.iter().find_map(|grant| grant.instance);
    let account = get(platform, account).await?.filter(|account| grants.iter().all(|grant| account.takes(grant)));
    Ok(account.map(|account| Holder { account, instance }))
}
