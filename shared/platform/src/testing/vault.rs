//! The vault in memory: a stand-in for encryption, worth nothing against an attacker.
//!
//! A sealed value is a nonce, a check sum and the plain text under a key stream; check sum and key stream depend on
//! purpose, place and nonce.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::lock;
use super::surroundings::splitmix64;
use crate::{Purpose, Vault, VaultError};

/// Bytes of the nonce, and bytes of the check sum.
const WORD_BYTES: usize = size_of::<u64>();

#[derive(Debug, Default)]
struct State {
    sealed: u64,
    failures: VecDeque<VaultError>,
}

/// A [`Vault`] in memory. Clones are the same vault.
#[derive(Clone, Debug, Default)]
pub struct MemoryVault(Arc<Mutex<State>>);

impl MemoryVault {
    /// The next seal or open gets this error. Called again, the one after it does.
    pub fn fail_next(&self, error: VaultError) {
        lock(&self.0).failures.push_back(error);
    }

    fn begin(&self) -> Result<(), VaultError> {
        lock(&self.0).failures.pop_front().map_or(Ok(()), Err)
    }
}

/// Mixes `parts` into 64 bits, their lengths included.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut state = 0;
    for part in parts {
        state ^= part.len() as u64;
        splitmix64(&mut state);
        for byte in *part {
            state ^= u64::from(*byte);
            state = splitmix64(&mut state);
        }
    }
    state
}

/// Covers `text`, or uncovers it.
fn cover(purpose: Purpose, place: &str, nonce: &[u8], text: &[u8]) -> Vec<u8> {
    let mut state = digest(&[b"stream", purpose.name().as_bytes(), place.as_bytes(), nonce]);
    let stream = std::iter::from_fn(|| Some(splitmix64(&mut state).to_le_bytes())).flatten();
    text.iter().zip(stream).map(|(byte, key)| byte ^ key).collect()
}

fn check_sum(purpose: Purpose, place: &str, nonce: &[u8], plain: &[u8]) -> [u8; WORD_BYTES] {
    digest(&[b"sum", purpose.name().as_bytes(), place.as_bytes(), nonce, plain]).to_le_bytes()
}

impl Vault for MemoryVault {
    async fn seal(&self, purpose: Purpose, place: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.begin()?;
        let nonce = {
            let mut state = lock(&self.0);
            state.sealed += 1;
            digest(&[&state.sealed.to_le_bytes()]).to_le_bytes()
        };
        let sum = check_sum(purpose, place, &nonce, plain);
        Ok([&nonce[..], &sum, &cover(purpose, place, &nonce, plain)].concat())
    }

    async fn open(&self, purpose: Purpose, place: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.begin()?;
        let refused = VaultError::Refused(purpose.name());
        let Some((nonce, rest)) = sealed.split_at_checked(WORD_BYTES) else { return Err(refused) };
        let Some((sum, covered)) = rest.split_at_checked(WORD_BYTES) else { return Err(refused) };
        let plain = cover(purpose, place, nonce, covered);
        if sum == check_sum(purpose, place, nonce, &plain) { Ok(plain) } else { Err(refused) }
    }
}
