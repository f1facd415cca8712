//! Bytes too large for a message or an item, and the payload of what is not yet told.
//!
//! A body is one or more chunks, `BODY#id#n`. Chunks are written last to first, and the first one says how many there
//! are: whoever can read chunk 0 can read all, so a crash in the middle leaves nothing that looks whole.

use bytes::{Bytes, BytesMut};
use platform::{Consistency, Key, Platform, Table as _, Write};
use serde::{Deserialize, Serialize};

use crate::{RecordError, schema};

/// Bytes of a chunk: below the item limit with room for the key and the header line.
const CHUNK_BYTES: usize = 380 * 1024;

/// How long a body that only a queue message points to is kept, in seconds: a year. SQS keeps a message for 14 days at
/// most, but the queue of a local process that is stopped keeps it for as long as nobody starts it; and a body without a
/// message is left behind only by a crash between the two.
pub const QUEUED_S: i64 = 365 * 24 * 60 * 60;

#[derive(Serialize, Deserialize)]
struct Header {
    chunks: usize,
}

/// Where the first chunk is: it is there exactly when the body is.
pub(crate) fn first_key(id: &str) -> Key {
    key(id, 0)
}

fn key(id: &str, chunk: usize) -> Key {
    Key::new(format!("BODY#{id}#{chunk}"), "CHUNK")
}

/// Writes (or rewrites) a body; with `None` it never expires.
///
/// # Errors
/// The table's.
pub async fn put<P: Platform>(
    platform: &P,
    id: &str,
    body: &Bytes,
    expires_at_s: Option<i64>,
) -> Result<(), RecordError> {
    let chunks = body.len().div_ceil(CHUNK_BYTES).max(1);
    let header = Header { chunks };
    for chunk in (0..chunks).rev() {
        let part = &body[chunk * CHUNK_BYTES..body.len().min((chunk + 1) * CHUNK_BYTES)];
        let mut write = Write::put(key(id, chunk), platform.version(), schema::encode_with(&header, part));
        if let Some(at) = expires_at_s {
            write = write.expiring(at);
        }
        platform.table().write(write).await?;
    }
    Ok(())
}

/// Reads a body; `None` when it is not there (or no longer whole).
///
/// # Errors
/// The table's, or [`RecordError::Damaged`].
pub async fn get<P: Platform>(platform: &P, id: &str) -> Result<Option<Bytes>, RecordError> {
    let Some(first) = platform.table().get(&key(id, 0), Consistency::Strong).await? else { return Ok(None) };
    let (header, part) = schema::decode_with::<Header>(&first)?;
    if header.chunks == 1 {
        return Ok(Some(part));
    }
    let keys: Vec<Key> = (1..header.chunks).map(|chunk| key(id, chunk)).collect();
    let mut body = BytesMut::from(&part[..]);
    for item in platform.table().get_many(&keys, Consistency::Strong).await? {
        let Some(item) = item else { return Ok(None) };
        body.extend_from_slice(&schema::decode_with::<Header>(&item)?.1);
    }
    Ok(Some(body.freeze()))
}

/// Removes a body; the first chunk last, so that whoever finds it half removed can go on.
///
/// # Errors
/// The table's.
pub async fn delete<P: Platform>(platform: &P, id: &str) -> Result<(), RecordError> {
    let Some(first) = platform.table().get(&key(id, 0), Consistency::Strong).await? else { return Ok(()) };
    let header: Header = schema::decode(&first)?;
    if header.chunks > 1 {
        let rest = (1..header.chunks).map(|chunk| Write::delete(key(id, chunk))).collect();
        platform.table().write_many(rest).await?;
    }
    Ok(platform.table().write(Write::delete(key(id, 0))).await?)
}
