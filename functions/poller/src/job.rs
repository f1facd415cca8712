//! A poll job: decoded, and for now only logged.
//!
//! *Promise:* a job that a newer version wrote is sent on unchanged before it is acknowledged. *Not promised yet:* a poll;
//! see the crate.

use std::time::Duration;

use events::message::{Message, PollJob, Undecodable};
use platform::{Outgoing, Platform, Queue as _};
use records::RecordError;

/// How long a job that a newer version wrote waits for that version: about as long as a deployment takes.
const NEWER_DELAY: Duration = Duration::from_secs(60);

/// Why a job is not to be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not a poll job: no retry will mend it.
    #[error("the poll job cannot be read: {0}")]
    Poison(String),
    /// The queue: a failure of our own, and the job is handed over again.
    #[error(transparent)]
    Records(#[from] RecordError),
}

/// Does what a poll job says, which until there is polling is to log it. `Ok`: acknowledge it.
///
/// # Errors
/// [`Fault`]: do not acknowledge it.
pub async fn handle<P: Platform>(platform: &P, text: &str) -> Result<(), Fault> {
    match Message::decode(text) {
        Ok(Message::Poll(PollJob { instance, at })) => {
            tracing::info!(
                %instance,
                signalled_at = at.iso_millis(),
                "the provider's signal was taken; nothing polls yet, so what changed is not told"
            );
            Ok(())
        }
        Ok(_) => Err(Fault::Poison("a message of the batches queue".into())),
        Err(Undecodable::Newer(schema)) => {
            tracing::info!(schema, "a poll job of a newer version is sent on unchanged");
            let again = Outgoing { body: text.to_owned(), delay: NEWER_DELAY, group: "newer".into() };
            Ok(platform.polls().send(vec![again]).await.map_err(RecordError::from)?)
        }
        Err(Undecodable::Malformed(reason)) => Err(Fault::Poison(reason)),
    }
}
