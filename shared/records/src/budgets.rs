//! Accounts at providers that are to be left alone for a while, because their provider said so.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `BUDGET#connector#provider account` | account | not before when the provider is asked again; gone once that is past |
//! | `BUDGET#connector#id` | account`#INSTANCE` | the same of an instance that names no account at its provider |
//! | `BUDGET#connector` | account | until when it is worth while to look for one of those |
//!
//! *Promise:* what one poll was told counts for all instances of that account at the provider, within one of our own
//! accounts: what a tenant calls its provider's account is its own word, and must not hold up another's polls. A time only
//! moves later, never earlier.
//!
//! *Cost:* nothing where nothing is limited, but a read every some seconds and worker: of the item that says whether to look.
//! A write where somebody is limited who was not, or for materially longer.
//!
//! *Failure:* of the two writes the second may be missing after a crash. Then other workers learn it from the provider.

use std::time::Duration;

use events::{AccountId, InstanceId, Timestamp};
use platform::{Condition, Consistency, Key, Platform, Table as _, TableError, Write};
use serde::{Deserialize, Serialize};

use crate::{RecordError, schema};

/// By how much a time must be later than the one that is stored to be worth a write: what polls of one account that are
/// under way together are told differs by less.
pub const MATERIAL: Duration = Duration::from_secs(5);

/// The item that says whether to look is written for so long at a time, so that it is written rarely.
const LOOKS_MS: i64 = 5 * 60 * 1000;

/// How often a write is tried that another's came before.
const TRIES: usize = 5;

#[derive(Serialize, Deserialize)]
struct Budget {
    not_before: Timestamp,
}

/// Who is asked for at a provider, as its limits count.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Account {
    /// The connector's key.
    pub connector: String,
    /// Whose instances.
    pub owner: AccountId,
    /// Which account there.
    pub at_provider: AtProvider,
}

/// An account at a provider.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AtProvider {
    /// That which instances name.
    Named(String),
    /// The unknown one of an instance that names none.
    Of(InstanceId),
}

impl Account {
    fn key(&self) -> Key {
        let Self { connector, owner, at_provider } = self;
        match at_provider {
            AtProvider::Named(name) => Key::new(format!("BUDGET#{connector}#{name}"), owner.to_string()),
            AtProvider::Of(id) => Key::new(format!("BUDGET#{connector}#{id}"), format!("{owner}#INSTANCE")),
        }
    }
}

fn looks_key(connector: &str, owner: AccountId) -> Key {
    Key::new(format!("BUDGET#{connector}"), owner.to_string())
}

/// Until when some account of a connector, of our account `owner`, may be limited; `None`: none is.
///
/// # Errors
/// The table's.
pub async fn looks<P: Platform>(
    platform: &P,
    connector: &str,
    owner: AccountId,
) -> Result<Option<Timestamp>, RecordError> {
    read(platform, &looks_key(connector, owner)).await
}

/// When an account is to be asked for again; `None`: now.
///
/// # Errors
/// The table's.
pub async fn not_before<P: Platform>(platform: &P, account: &Account) -> Result<Option<Timestamp>, RecordError> {
    read(platform, &account.key()).await
}

/// Reads that may lag by a second: what they miss is learnt from the provider, or at the next look.
async fn read<P: Platform>(platform: &P, key: &Key) -> Result<Option<Timestamp>, RecordError> {
    let item = platform.table().get(key, Consistency::Eventual).await?;
    let until = item.as_ref().map(schema::decode::<Budget>).transpose()?.map(|budget| budget.not_before);
    Ok(until.filter(|until| platform.now() < *until))
}

/// Has an account left alone until then, or as long as was said before, if that is longer.
///
/// # Errors
/// The table's.
pub async fn put_off<P: Platform>(platform: &P, account: &Account, until: Timestamp) -> Result<(), RecordError> {
    later(platform, account.key(), until, MATERIAL).await?;
    let looks = Timestamp::from_millis(until.as_millis().saturating_add(LOOKS_MS) / LOOKS_MS * LOOKS_MS);
    later(platform, looks_key(&account.connector, account.owner), looks, Duration::ZERO).await
}

/// Makes an item say `until`, unless it says as much already.
async fn later<P: Platform>(platform: &P, key: Key, until: Timestamp, material: Duration) -> Result<(), RecordError> {
    let body = schema::encode(&Budget { not_before: until });
    let mut condition = Condition::Absent;
    for _ in 0..TRIES {
        let write = Write::put(key.clone(), platform.version(), body.clone());
        // A second later than it says: expiry is in whole seconds.
        let write = write.when(condition).expiring(until.as_seconds() + 1);
        let error = match platform.table().write(write).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        condition = match error.clone().existing() {
            Some(Some(item)) if schema::decode::<Budget>(&item)?.not_before.plus(material) >= until => return Ok(()),
            Some(Some(item)) => Condition::Version(item.version),
            Some(None) => Condition::Absent,
            None => return Err(error.into()),
        };
    }
    Err(TableError::Conflict.into())
}
