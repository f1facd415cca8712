//! The vault on KMS: envelope encryption.
//!
//! *Promises:* what is sealed opens only for the same purpose and at the same place, by a role that KMS lets unwrap that
//! purpose's data keys. No call of KMS per value: a process asks it once for each data key, however many ask at once, and
//! a purpose has few.
//!
//! *Flow:* each purpose has data keys of its own, numbered from 1. The newest one seals; after
//! [90 days](data_keys::SEALS_FOR) whoever seals next makes another, and the old ones go on opening what they sealed. A
//! data key is made by KMS (`GenerateDataKey`), which hands it over plain and wrapped; wrapped it is stored in the table
//! under `VAULT#<purpose>`, where every function finds it and has KMS unwrap it (`Decrypt`), and plain it is in memory
//! only. Wrapping is bound to the purpose by the encryption context `pollhook:purpose`, so a grant can name one purpose
//! (`kms:EncryptionContext:pollhook:purpose`), as one on the table can (`dynamodb:LeadingKeys`).
//!
//! *Two processes* that make a number at the same time: the table takes one, and both use that.
//!
//! *Failure modes:* [`Refused`](VaultError::Refused) is a fault of the sealed value (or of the wrapped key it names):
//! damaged, moved, sealed for another purpose. All else is [`Unavailable`](VaultError::Unavailable), with the purpose and
//! AWS's word for it: no grant, throttled, a disabled key, a table that does not answer. Where a new data key is due and
//! cannot be made, the old one seals on.
//!
//! *Limits:* KMS may rotate its key (the id stays); another KMS key in its place would open nothing that was sealed
//! before. A data key is wiped from memory when the process lets go of it, but not from the buffers it was received in.

mod data_keys;
mod flights;
mod sealed;

use std::sync::Arc;

use aws_sdk_kms::Client;
use futures_util::FutureExt as _;
use platform::{Clock, OsRandom, Purpose, Vault, VaultError};

use self::data_keys::{DataKeys, Held};
use self::flights::Flights;
use self::sealed::Sealed;
use crate::{Connection, DynamoTable};

/// A [`Vault`] on KMS. Cheap to clone; clones share the data keys at hand.
#[derive(Clone)]
pub struct KmsVault(Arc<Shared>);

struct Shared {
    keys: Arc<DataKeys>,
    /// By number, to open.
    numbered: Flights<(Purpose, u32), Held, VaultError>,
    /// To seal.
    sealing: Flights<Purpose, Held, VaultError>,
}

impl std::fmt::Debug for KmsVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KmsVault(…)")
    }
}

impl KmsVault {
    /// The vault of the KMS key `key` (id, ARN or alias) whose data keys are in `table`. Without a key it seals and opens
    /// nothing. `clock` decides which data key is old.
    #[must_use]
    pub fn new(connection: &Connection, key: Option<String>, table: DynamoTable, clock: Arc<dyn Clock>) -> Self {
        let keys = Arc::new(DataKeys { kms: Client::new(connection.config()), key, table, clock });
        Self(Arc::new(Shared { keys, numbered: Flights::default(), sealing: Flights::default() }))
    }

    /// Begins to have the newest data key of `purpose` unwrapped, so that what it sealed is opened without a wait: for the
    /// start of a function that will open something, which then does it beside its first reads. What fails is done again
    /// when it is needed. To be called in a runtime.
    pub fn warm(&self, purpose: Purpose) {
        let vault = self.clone();
        tokio::spawn(async move { vault.fetch_newest(purpose).await });
    }

    async fn fetch_newest(&self, purpose: Purpose) -> Result<(), VaultError> {
        let Shared { keys, numbered, .. } = &*self.0;
        if let Some(stored) = keys.newest(purpose).await? {
            let number = stored.number;
            let fetch = || {
                let keys = Arc::clone(keys);
                async move { keys.unwrapped(purpose, &stored).await }.boxed()
            };
            numbered.get((purpose, number), |_| true, fetch).await?;
        }
        Ok(())
    }

    async fn to_seal(&self, purpose: Purpose) -> Result<Held, VaultError> {
        let Shared { keys, sealing, .. } = &*self.0;
        let now = keys.clock.now();
        let fetch = || {
            let keys = Arc::clone(keys);
            async move { keys.to_seal(purpose).await }.boxed()
        };
        sealing.get(purpose, |held| now < held.seals_until, fetch).await
    }

    async fn numbered(&self, purpose: Purpose, number: u32) -> Result<Held, VaultError> {
        let Shared { keys, numbered, .. } = &*self.0;
        let fetch = || {
            let keys = Arc::clone(keys);
            async move { keys.numbered(purpose, number).await }.boxed()
        };
        numbered.get((purpose, number), |_| true, fetch).await
    }
}

impl Vault for KmsVault {
    async fn seal(&self, purpose: Purpose, place: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let held = self.to_seal(purpose).await?;
        let sealed = held.key.seal(purpose, place, plain, &OsRandom);
        sealed.ok_or_else(|| VaultError::Unavailable("the text is too long to seal".into()))
    }

    async fn open(&self, purpose: Purpose, place: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let refused = || VaultError::Refused(purpose.name());
        let sealed = Sealed::parse(sealed).ok_or_else(refused)?;
        let held = self.numbered(purpose, sealed.number).await?;
        held.key.open(purpose, place, &sealed).ok_or_else(refused)
    }
}
