//! The secret that a provider hands over in a handshake (Asana: `X-Hook-Secret`), `WEBHOOK#id` / `HANDSHAKE`.
//!
//! *Promise:* the first secret stays until the instance is changed to forget it, or deleted: whoever comes later cannot put
//! another in its place. It is sealed for the receiver alone, which alone writes it. None outlives its instance: it is
//! written on the condition that the instance's view is the one just read.

use events::InstanceId;
use platform::{Condition, Consistency, Key, Platform, Purpose, Table as _, TableError, Write};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sealed::{Sealed, open, seal};
use super::views::webhook_key;
use crate::{RecordError, schema};

/// The secret's name where it is sealed, beside the view's secrets: a name that no configuration key has.
const NAME: &str = "#handshake";

/// How often keeping is tried while the instance is being changed. Each failure means that a change got on.
const TRIES: usize = 10;

/// What became of a handshake's secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It is the instance's secret from now on.
    New,
    /// It has been the instance's secret: a handshake that was repeated.
    Same,
    /// The instance has another secret, which stays.
    Other,
    /// There is no such instance (any more).
    Gone,
}

#[derive(Serialize, Deserialize)]
struct Handshake {
    secrets: Sealed,
}

pub(super) fn handshake_key(id: InstanceId) -> Key {
    Key::new(format!("WEBHOOK#{id}"), "HANDSHAKE")
}

/// Keeps the secret of a handshake, unless there is one.
///
/// # Errors
/// The table's or the vault's.
pub async fn keep_handshake<P: Platform>(
    platform: &P,
    id: InstanceId,
    secret: &SecretString,
) -> Result<Kept, RecordError> {
    let key = handshake_key(id);
    let mut outcome = TableError::Conflict;
    for _ in 0..TRIES {
        let keys = [webhook_key(id), key.clone()];
        let items = platform.table().get_many(&keys, Consistency::Strong).await?;
        let [Some(view), kept] = items.as_slice() else { return Ok(Kept::Gone) };
        if let Some(item) = kept {
            // Compared by their hashes, so that the time it takes tells a stranger nothing of the secret.
            let hash = |secret: &SecretString| Sha256::digest(secret.expose_secret());
            let same = hash(&unseal(platform, item).await?) == hash(secret);
            return Ok(if same { Kept::Same } else { Kept::Other });
        }
        let secrets = seal(platform, Purpose::Webhook, &key, vec![(NAME, secret)]).await?;
        let writes = vec![
            Write::put(key.clone(), platform.version(), schema::encode(&Handshake { secrets })).when(Condition::Absent),
            Write::check(webhook_key(id), Condition::Version(view.version)),
        ];
        match platform.table().transact(writes).await {
            Ok(()) => return Ok(Kept::New),
            // Another handshake, or a change of the instance: look again.
            Err(error @ (TableError::ConditionFailed(_) | TableError::Conflict)) => outcome = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(outcome.into())
}

/// The secret of the instance's handshake, read strongly: the provider's first webhook follows at once.
///
/// # Errors
/// The table's or the vault's.
pub async fn handshake<P: Platform>(platform: &P, id: InstanceId) -> Result<Option<SecretString>, RecordError> {
    match platform.table().get(&handshake_key(id), Consistency::Strong).await? {
        Some(item) => unseal(platform, &item).await.map(Some),
        None => Ok(None),
    }
}

async fn unseal<P: Platform>(platform: &P, item: &platform::Item) -> Result<SecretString, RecordError> {
    let handshake: Handshake = schema::decode(item)?;
    let damaged = || RecordError::Damaged(format!("{:?}", item.key), "it holds no secret".into());
    let sealed = handshake.secrets.get(NAME).ok_or_else(damaged)?;
    open(platform, Purpose::Webhook, &item.key, NAME, sealed).await
}
