//! The vault on a key file: AES-256-GCM under one 32-byte key, readable by its owner alone.
//!
//! *Promises:* what is sealed opens only with the same key, for the same purpose and at the same place: both are
//! authenticated with the text. The key is never printed and is wiped from memory with the vault.
//!
//! *Limit:* nonces are 96 random bits, so one key may seal 2³² values before two nonces meet with a chance of 2⁻³²
//! (NIST SP 800-38D, 8.3): a laptop's lifetime of secrets.

use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use platform::{Purpose, Random, Vault, VaultError};

/// Bytes of the key file.
pub(crate) const KEY_BYTES: usize = 32;
/// The first byte of what this version seals.
const SEAL_VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

/// The vault of one data directory.
#[derive(Clone)]
pub struct KeyVault {
    cipher: Arc<Aes256Gcm>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyVault(…)")
    }
}

/// Purpose and place in one. A purpose's name holds no zero byte, so no two pairs read alike.
fn bound_to(purpose: Purpose, place: &str) -> Vec<u8> {
    [purpose.name().as_bytes(), &[0], place.as_bytes()].concat()
}

/// Tells one key from another without telling the key: what it makes of a fixed text under a nonce that seals nothing
/// else (the others are drawn at random).
pub(crate) fn fingerprint(key: &[u8; KEY_BYTES]) -> u64 {
    let payload = Payload { msg: &[0; 8], aad: b"fingerprint" };
    let sealed = Aes256Gcm::new(key.into()).encrypt(&Nonce::from([0xff; NONCE_BYTES]), payload).unwrap_or_default();
    sealed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl KeyVault {
    pub(crate) fn new(key: &[u8; KEY_BYTES], random: Arc<dyn Random>) -> Self {
        Self { cipher: Arc::new(Aes256Gcm::new(key.into())), random }
    }

    fn unsealed(&self, purpose: Purpose, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if version != SEAL_VERSION {
            return None;
        }
        let aad = bound_to(purpose, place);
        self.cipher.decrypt(&Nonce::from(*nonce), Payload { msg: text, aad: &aad }).ok()
    }
}

impl Vault for KeyVault {
    async fn seal(&self, purpose: Purpose, place: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce);
        let aad = bound_to(purpose, place);
        let text = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &aad })
            .map_err(|_| VaultError::Unavailable("the text is too long to seal".into()))?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + text.len());
        sealed.push(SEAL_VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    async fn open(&self, purpose: Purpose, place: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.unsealed(purpose, place, sealed).ok_or(VaultError::Refused(purpose.name()))
    }
}
