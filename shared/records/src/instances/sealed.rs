//! Secrets as an item holds them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::{Key, Platform, Purpose, Vault as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::RecordError;

/// Sealed for one purpose at one place, base64, by their names.
pub(crate) type Sealed = BTreeMap<String, String>;

pub(crate) async fn seal<P: Platform>(
    platform: &P,
    purpose: Purpose,
    place: &Key,
    secrets: Vec<(&str, &SecretString)>,
) -> Result<Sealed, RecordError> {
    let mut sealed = Sealed::new();
    for (name, secret) in secrets {
        let place = format!("{}#{name}", place.partition);
        let bytes = platform.vault().seal(purpose, &place, secret.expose_secret().as_bytes()).await?;
        sealed.insert(name.to_owned(), STANDARD.encode(bytes));
    }
    Ok(sealed)
}

pub(crate) async fn open<P: Platform>(
    platform: &P,
    purpose: Purpose,
    place: &Key,
    name: &str,
    sealed: &str,
) -> Result<SecretString, RecordError> {
    let damaged = || RecordError::Damaged(format!("{place:?}"), "a sealed value is not text".into());
    let bytes = STANDARD.decode(sealed).map_err(|_| damaged())?;
    let plain = platform.vault().open(purpose, &format!("{}#{name}", place.partition), &bytes).await?;
    Ok(String::from_utf8(plain).map_err(|_| damaged())?.into())
}
