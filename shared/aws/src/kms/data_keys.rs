//! Data keys: made and unwrapped by KMS, stored in the table.
//!
//! *Layout:* an item `VAULT#<purpose>` / `<number>` (ten digits, from 1) whose body is a version byte, the time it was made
//! (8 bytes, milliseconds) and the wrapped key.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use bytes::Bytes;
use events::Timestamp;
use platform::{
    Clock, Condition, Consistency, Item, Key, OsRandom, Purpose, Query, Random, Table, TableError, VaultError, Version,
    Write,
};
use zeroize::Zeroizing;

use super::sealed::{DataKey, KEY_BYTES};
use crate::{DynamoTable, failures};

/// How long one data key seals. Under one key 2³² random nonces may be drawn before two meet with a chance of 2⁻³² (NIST
/// SP 800-38D, 8.3): in 90 days that is 550 a second. And a key that got out opens no more than a quarter's secrets.
pub(super) const SEALS_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// When no new data key could be made, the old one seals for as long again before another try: it is no weaker than the
/// day before, and a secret that cannot be stored is a customer who cannot begin.
pub(super) const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The key of the encryption context that holds the purpose. Grants name it.
const CONTEXT: &str = "pollhook:purpose";
/// The first byte of an item's body.
const BODY_VERSION: u8 = 1;
/// Decimal digits of the largest number, so that sort keys are in order of numbers.
const DIGITS: usize = 10;
/// A write whose answer was lost is repeated once: its version lets it recognise itself.
const WRITES: usize = 2;

/// A data key at hand.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) key: Arc<DataKey>,
    /// From when on another one is to seal.
    pub(super) seals_until: Timestamp,
}

/// Which data key is to seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Choice {
    /// The newest one.
    Newest,
    /// One to be made, with this number; until then the newest one, if there is any.
    New(u32),
}

/// The newest data key's number and when it was made; what seals `now`.
fn choose(newest: Option<(u32, Timestamp)>, now: Timestamp) -> Choice {
    match newest {
        None => Choice::New(1),
        Some((number, made_at)) if made_at.plus(SEALS_FOR) <= now => {
            number.checked_add(1).map_or(Choice::Newest, Choice::New)
        }
        Some(_) => Choice::Newest,
    }
}

/// A data key as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) number: u32,
    made_at: Timestamp,
    wrapped: Bytes,
}

fn partition(purpose: Purpose) -> String {
    format!("VAULT#{}", purpose.name())
}

fn item_key(purpose: Purpose, number: u32) -> Key {
    Key::new(partition(purpose), format!("{number:0DIGITS$}"))
}

impl Stored {
    fn body(&self) -> Vec<u8> {
        [&[BODY_VERSION][..], &self.made_at.as_millis().to_be_bytes(), &self.wrapped].concat()
    }

    fn read(item: &Item) -> Option<Self> {
        let number = item.key.sort.parse().ok()?;
        let (&version, rest) = item.body.split_first()?;
        let (made_at, wrapped) = rest.split_first_chunk()?;
        let made_at = Timestamp::from_millis(i64::from_be_bytes(*made_at));
        (version == BODY_VERSION).then(|| Self { number, made_at, wrapped: item.body.slice_ref(wrapped) })
    }
}

/// The data keys of all purposes.
pub(super) struct DataKeys {
    pub(super) kms: Client,
    /// The KMS key that wraps them; `None` in a function that seals and opens nothing.
    pub(super) key: Option<String>,
    pub(super) table: DynamoTable,
    pub(super) clock: Arc<dyn Clock>,
}

impl DataKeys {
    /// The data key that sealed what is to be opened.
    pub(super) async fn numbered(&self, purpose: Purpose, number: u32) -> Result<Held, VaultError> {
        let found = self.table.get(&item_key(purpose, number), Consistency::Strong).await;
        let item = found.map_err(|error| unavailable(purpose, &error))?.ok_or(VaultError::Refused(purpose.name()))?;
        self.unwrapped(purpose, &read(purpose, &item)?).await
    }

    /// The data key that is to seal now, made if need be.
    pub(super) async fn to_seal(&self, purpose: Purpose) -> Result<Held, VaultError> {
        let now = self.clock.now();
        let newest = self.newest(purpose).await?;
        match choose(newest.as_ref().map(|stored| (stored.number, stored.made_at)), now) {
            Choice::Newest => {
                let Some(stored) = newest else { return Err(missing(purpose)) };
                self.to_seal_with(purpose, &stored).await
            }
            Choice::New(number) => match (self.made(purpose, number, now).await, newest) {
                (Err(error), Some(stored)) => {
                    tracing::warn!(purpose = purpose.name(), %error, "no new data key could be made; the old one seals on");
                    let held = self.to_seal_with(purpose, &stored).await?;
                    Ok(Held { seals_until: now.plus(TRY_AGAIN_AFTER), ..held })
                }
                (made, _) => made,
            },
        }
    }

    pub(super) async fn newest(&self, purpose: Purpose) -> Result<Option<Stored>, VaultError> {
        let mut query = Query { descending: true, ..Query::partition(partition(purpose), 1) };
        loop {
            let page = self.table.query(&query).await.map_err(|error| unavailable(purpose, &error))?;
            if let Some(item) = page.items.first() {
                return read(purpose, item).map(Some);
            }
            match page.next {
                None => return Ok(None),
                after => query.after = after,
            }
        }
    }

    async fn made(&self, purpose: Purpose, number: u32, now: Timestamp) -> Result<Held, VaultError> {
        let request = self.kms.generate_data_key().key_id(self.key(purpose)?).key_spec(DataKeySpec::Aes256);
        let answer = request.encryption_context(CONTEXT, purpose.name()).send().await;
        let answer = answer.map_err(|error| of_kms(purpose, &error))?;
        let (Some(plain), Some(wrapped)) = (answer.plaintext, answer.ciphertext_blob) else {
            return Err(incomplete(purpose));
        };
        let held = held(purpose, number, now, plain)?;
        let stored = Stored { number, made_at: now, wrapped: wrapped.into_inner().into() };
        let write = Write::put(item_key(purpose, number), Version(OsRandom.bits()), stored.body());
        let write = write.when(Condition::Absent);
        let mut outcome = self.table.write(write.clone()).await;
        for _ in 1..WRITES {
            if let Err(TableError::OutcomeUnknown(_)) = outcome {
                outcome = self.table.write(write.clone()).await;
            }
        }
        match outcome {
            Ok(()) => Ok(held),
            // Another process was first: its key serves, ours goes.
            Err(TableError::ConditionFailed(_)) => self.numbered(purpose, number).await,
            Err(error) => Err(unavailable(purpose, &error)),
        }
    }

    async fn to_seal_with(&self, purpose: Purpose, stored: &Stored) -> Result<Held, VaultError> {
        self.unwrapped(purpose, stored).await.map_err(|error| match error {
            // No fault of what is to be sealed.
            VaultError::Refused(_) => VaultError::Unavailable(format!(
                "the newest data key for {}, number {}, cannot be unwrapped",
                purpose.name(),
                stored.number
            )),
            error @ VaultError::Unavailable(_) => error,
        })
    }

    /// The KMS key is named, so that a data key which somebody else's KMS key wraps is none of ours.
    pub(super) async fn unwrapped(&self, purpose: Purpose, stored: &Stored) -> Result<Held, VaultError> {
        let request = self.kms.decrypt().key_id(self.key(purpose)?).encryption_context(CONTEXT, purpose.name());
        let answer = request.ciphertext_blob(Blob::new(stored.wrapped.to_vec())).send().await;
        let answer = answer.map_err(|error| of_kms(purpose, &error))?;
        held(purpose, stored.number, stored.made_at, answer.plaintext.ok_or_else(|| incomplete(purpose))?)
    }

    fn key(&self, purpose: Purpose) -> Result<&str, VaultError> {
        let none = || VaultError::Unavailable(format!("no KMS key is configured, wanted for {}", purpose.name()));
        self.key.as_deref().ok_or_else(none)
    }
}

fn read(purpose: Purpose, item: &Item) -> Result<Stored, VaultError> {
    let damaged = || VaultError::Unavailable(format!("the item {:?} is no data key that this version reads", item.key));
    // A number that was not written so would be found under another key again.
    Stored::read(item).filter(|stored| item_key(purpose, stored.number) == item.key).ok_or_else(damaged)
}

fn held(purpose: Purpose, number: u32, made_at: Timestamp, plain: Blob) -> Result<Held, VaultError> {
    let plain = Zeroizing::new(plain.into_inner());
    let key: &[u8; KEY_BYTES] = plain.as_slice().try_into().map_err(|_| incomplete(purpose))?;
    Ok(Held { key: Arc::new(DataKey::new(number, key)), seals_until: made_at.plus(SEALS_FOR) })
}

fn unavailable(purpose: Purpose, error: &dyn std::fmt::Display) -> VaultError {
    VaultError::Unavailable(format!("the data keys for {}: {error}", purpose.name()))
}

fn missing(purpose: Purpose) -> VaultError {
    unavailable(purpose, &"there is none")
}

fn incomplete(purpose: Purpose) -> VaultError {
    unavailable(purpose, &"an answer of KMS without a key of the right length")
}

/// KMS's words: what it does not unwrap for this purpose is damaged, was moved, or was wrapped with another key; all else
/// (throttled, no grant for the purpose, a key that is disabled or gone) is no fault of the sealed value.
fn of_kms<E>(purpose: Purpose, error: &SdkError<E>) -> VaultError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code() {
        Some("InvalidCiphertextException" | "IncorrectKeyException") => VaultError::Refused(purpose.name()),
        _ => unavailable(purpose, &failures::text(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    #[test]
    fn the_newest_seals_until_it_is_old() {
        let made = |seconds: i64| Some((7, Timestamp::from_seconds(NOW.as_seconds() - seconds)));
        let age = i64::try_from(SEALS_FOR.as_secs()).unwrap();
        assert_eq!(choose(None, NOW), Choice::New(1));
        assert_eq!(choose(made(0), NOW), Choice::Newest);
        assert_eq!(choose(made(age - 1), NOW), Choice::Newest);
        assert_eq!(choose(made(age), NOW), Choice::New(8));
        assert_eq!(choose(made(-age), NOW), Choice::Newest, "made by a clock that is ahead");
        assert_eq!(choose(Some((u32::MAX, Timestamp::from_seconds(0))), NOW), Choice::Newest);
    }

    #[test]
    fn sort_keys_are_in_order_of_numbers() {
        let sort = |number| item_key(Purpose::Api, number).sort;
        assert_eq!(item_key(Purpose::Api, 1), Key::new("VAULT#api", "0000000001"));
        assert!(sort(9) < sort(10) && sort(10) < sort(u32::MAX));
    }

    proptest! {
        #[test]
        fn an_item_comes_back(number: u32, millis: i64, wrapped: Vec<u8>) {
            let stored = Stored { number, made_at: Timestamp::from_millis(millis), wrapped: wrapped.into() };
            let key = item_key(Purpose::Webhook, number);
            let item = Item { key, version: Version(1), body: stored.body().into(), expires_at_s: None };
            prop_assert_eq!(read(Purpose::Webhook, &item), Ok(stored));
            prop_assert!(read(Purpose::Api, &item).is_err());
        }

        #[test]
        fn whatever_stands_there_is_read_or_reported(body: Vec<u8>, sort: String) {
            let item = Item { key: Key::new("VAULT#api", sort), version: Version(1), body: body.into(), expires_at_s: None };
            let _ = read(Purpose::Api, &item);
        }
    }
}
