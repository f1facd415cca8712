//! The webhook receiver: what providers call.
//!
//! *Promise.* A webhook is answered 2xx only after its events are durable, or when there is nobody to tell them to, and
//! then that is counted. An unverifiable webhook is refused. No request, however hostile, is stored, echoed or trusted
//! before its signature holds.
//!
//! *Flow.*
//!
//! ```text
//! size ─▶ handshake? ─▶ body is read ─▶ instances by path, header, the provider account in the body, or a finder
//!      ─▶ their WEBHOOK views ─▶ verify the raw bytes with each secret ─▶ normalise once ─▶ filter
//!      ─▶ one message per instance ─▶ queue ─▶ 200
//! ```
//!
//! Most requests need no more of the table than reads that may lag by a moment: the module `glimpse`.
//!
//! A connector whose webhooks only signal that something changed makes a poll job for each instance instead: the module
//! `signals`.
//!
//! *One instance's trouble is its own.* A secret that is wrong, absent or damaged leaves out the instance that has it, and
//! that is counted; its neighbours are told. Only what no instance can do without (table, queue, vault) fails the request.
//!
//! *Nothing is written on the way* but the queue's messages (and, for a large batch, its body, before its message): a
//! marker written before the enqueue would turn a crash into a loss. The dispatcher drops repeats. If any instance's
//! message could not be sent the answer is 5xx, and the provider's redelivery is harmless. There are two exceptions. A secret
//! that the provider hands over in a handshake is kept for the instance that the path names, once, and never overwritten. And
//! once a signal's poll job is in the queue it is noted, so that what comes before its time makes no second.
//!
//! *Answers.* 200: taken, or nobody to tell (counted, see [`records::refused`]). 400: not readable. 401: not signed, or
//! with another secret; also where no secret is configured. 404: no such connector, or one
//! without webhooks. 405: not a POST. 413: too large.
//! 503: could not be made durable, send it again.
//!
//! What one request came to is counted and told in one line of the log: the module `follow`.
//!
//! Events that come back from a callback of our own are in the module `returned`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod enqueue;
mod follow;
mod glimpse;
mod handshake;
mod intake;
mod refusals;
mod returned;
mod route;
mod routes;
mod signals;
mod take;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;

use connectors::Catalogue;
use follow::Figures;
use intake::Intake;
use moka::sync::Cache;
use platform::Platform;
use records::RecordError;
use records::instances::SealedSecret;
use secrecy::SecretString;

pub use answer::Answer;
pub use follow::FOLLOW;
pub use refusals::RefusalCounts;
pub use routes::router;

/// Largest body taken, in bytes. Lambda's 6 MB covers the whole JSON event, the body in base64 included; less here would
/// refuse what providers send (the largest are a few hundred KB).
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Path under which providers' webhooks arrive, below the public URL.
pub const EVENTS_PATH: &str = "/elements/api-v2/events";

/// How often events may come back to our own connectors before they are taken for going round in a circle.
pub const MAX_HOPS: u8 = 3;

/// Opened secrets remembered. An entry is keyed by the sealed text, which holds fresh randomness: a changed secret is
/// another key, so what is remembered is never out of date.
const OPENED_KEPT: u64 = 10_000;

/// The role. One per process; shared by reference.
pub struct Receiver<P> {
    platform: Arc<P>,
    /// What providers call, without a trailing slash: some sign the whole URL, and `Host` is the sender's to choose.
    public_url: String,
    catalogue: Arc<Catalogue>,
    refusals: RefusalCounts,
    figures: HashMap<String, Figures>,
    intake: Intake,
    opened: Cache<String, SecretString>,
}

impl<P: Platform> Receiver<P> {
    /// A receiver of the catalogue's connectors, which providers reach at `public_url`. It counts where the process's
    /// recorder of metrics says, which is to be installed before.
    pub fn new(platform: Arc<P>, public_url: &str, catalogue: Arc<Catalogue>) -> Self {
        Self {
            platform,
            public_url: public_url.trim_end_matches('/').to_owned(),
            figures: Figures::of(&catalogue),
            catalogue,
            refusals: RefusalCounts::default(),
            intake: Intake::default(),
            opened: Cache::new(OPENED_KEPT),
        }
    }

    /// Writes down what was refused since the last time. To be called about once a second, and at the end.
    ///
    /// # Errors
    /// The table's; what could not be written stays counted.
    pub async fn flush(&self) -> Result<(), RecordError> {
        self.refusals.flush(&*self.platform).await
    }

    /// [`flush`](Self::flush), if something was refused and the last time is a second ago: for a process that may be
    /// frozen after any request, to be called after each. What is still counted then may be lost with the process.
    pub async fn flush_when_due(&self) {
        if self.refusals.due(self.platform.now())
            && let Err(error) = self.flush().await
        {
            tracing::error!(%error, "refusals could not be written down, the next try repeats it");
        }
    }

    async fn open(&self, sealed: SealedSecret<'_>) -> Result<SecretString, RecordError> {
        if let Some(secret) = self.opened.get(sealed.name()) {
            return Ok(secret);
        }
        let secret = sealed.open(&*self.platform).await?;
        self.opened.insert(sealed.name().to_owned(), secret.clone());
        Ok(secret)
    }
}
