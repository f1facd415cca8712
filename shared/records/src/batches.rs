//! A batch as a message of the batches queue.
//!
//! A large one is kept as a body, before its message: a crash between the two leaves a body that nobody points to, which
//! expires, and never a message without its body.

use std::time::Duration;

use bytes::Bytes;
use events::{Batch, Message};
use platform::{Outgoing, Platform, limits};

use crate::{RecordError, bodies};

/// Largest batch that travels in its message, in bytes. SQS bills each 64 KB; a larger one goes through the table.
pub const INLINE_BYTES: usize = 64 * 1024;

// As many messages as a send takes are within its bytes.
const _: () = assert!(limits::SEND_MESSAGES * INLINE_BYTES <= limits::SEND_BYTES);

/// The message that tells a batch.
///
/// # Errors
/// The table's, of a large batch.
pub async fn message<P: Platform>(
    platform: &P,
    batch: Batch,
    group: impl Into<String>,
) -> Result<Outgoing, RecordError> {
    let instance = batch.instance;
    let mut body = Message::Batch(batch).encode();
    if body.len() > INLINE_BYTES {
        let name = format!("B{:016x}{:016x}", platform.random().bits(), platform.random().bits());
        let expires_at_s = platform.now().as_seconds() + bodies::QUEUED_S;
        bodies::put(platform, &name, &Bytes::from(body), Some(expires_at_s)).await?;
        body = Message::Stored { instance, body: name }.encode();
    }
    Ok(Outgoing { body, delay: Duration::ZERO, group: group.into() })
}
