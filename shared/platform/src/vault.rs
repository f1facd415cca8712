//! Sealing of secrets: what is sealed can be opened only for the same purpose and at the same place, so a sealed value
//! moved to another item is useless.

use std::future::Future;

/// What a sealed value is for. On AWS each role may open only its own purposes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Verifying what providers send: opened by the receiver.
    Webhook,
    /// Posting to callbacks: opened by the dispatcher.
    Callback,
    /// Asking providers: opened by the poller.
    Poll,
    /// Answering the instances API.
    Api,
}

impl Purpose {
    /// The purpose's name, as stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Callback => "callback",
            Self::Poll => "poll",
            Self::Api => "api",
        }
    }
}

/// Why the vault did not do as told. Never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VaultError {
    /// The sealed value is damaged, or belongs to another purpose, place or key.
    #[error("a sealed value cannot be opened for {0}: it is damaged, was moved, or was sealed with another key")]
    Refused(&'static str),
    /// The vault could not be reached or is broken.
    #[error("the vault is not available: {0}")]
    Unavailable(String),
}

/// The vault.
pub trait Vault: Send + Sync + 'static {
    /// Seals `plain` for `purpose` at `place` (the name of the item that will hold it).
    fn seal(
        &self,
        purpose: Purpose,
        place: &str,
        plain: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, VaultError>> + Send;

    /// Opens what [`Vault::seal`] made with the same purpose and place.
    fn open(
        &self,
        purpose: Purpose,
        place: &str,
        sealed: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, VaultError>> + Send;
}
