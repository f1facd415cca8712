//! Reading bodies of strangers: bounded in size, in time, and all together.
//!
//! Before a signature is checked the whole body must be there, so anyone can make us hold bodies. What all of them hold is
//! bounded by [`ROOM_BYTES`], and each by [`READ_WITHIN`]; a request that finds no room is told to come again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Answer, MAX_BODY_BYTES};

/// Bytes of all bodies at work. Reading one as JSON can take twenty times its size for a moment, so this much keeps the
/// process below half a gigabyte whatever is sent; and it is four of the largest bodies, or thousands of usual ones.
const ROOM_BYTES: usize = 4 * MAX_BODY_BYTES;

/// A permit of the room, in bytes: semaphores count only so far.
const UNIT_BYTES: usize = 1024;

/// How long a body may take to arrive. The strictest provider gives up after 3 s, most after 5 to 10.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The room for bodies.
#[derive(Debug)]
pub(crate) struct Intake {
    room: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES)) }
    }
}

/// What a body takes of the room, until dropped.
pub(crate) type Room = Option<OwnedSemaphorePermit>;

impl Intake {
    /// Reads a body whole.
    pub(crate) async fn read(&self, body: Body) -> Result<(Bytes, Room), Answer> {
        match tokio::time::timeout(READ_WITHIN, self.read_on(body)).await {
            Ok(read) => read,
            Err(_) => Err(Answer::Unreadable(format!("the body did not arrive within {READ_WITHIN:?}"))),
        }
    }

    async fn read_on(&self, mut body: Body) -> Result<(Bytes, Room), Answer> {
        let mut room: Room = None;
        let mut first: Option<Bytes> = None;
        let mut whole = BytesMut::new();
        let mut taken = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Answer::Unreadable("the body ended early".into()))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = first.as_ref().map_or(whole.len(), Bytes::len) + data.len();
            if length > MAX_BODY_BYTES {
                return Err(Answer::TooLarge);
            }
            self.make_room(&mut room, &mut taken, length)?;
            // Most bodies come in one piece, which is then the body as it is.
            match first.take() {
                None if whole.is_empty() => first = Some(data),
                None => whole.extend_from_slice(&data),
                Some(piece) => {
                    whole.extend_from_slice(&piece);
                    whole.extend_from_slice(&data);
                }
            }
        }
        Ok((first.unwrap_or_else(|| whole.freeze()), room))
    }

    /// Takes as much more of the room as a body of `length` bytes needs.
    fn make_room(&self, room: &mut Room, taken: &mut usize, length: usize) -> Result<(), Answer> {
        let needed = length.div_ceil(UNIT_BYTES).saturating_sub(*taken);
        let Ok(more) = Arc::clone(&self.room).try_acquire_many_owned(needed as u32) else {
            tracing::warn!("a webhook was sent away: the bodies at work take all the room there is");
            return Err(Answer::TryAgain);
        };
        *taken += needed;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(sizes: &[usize]) -> Body {
        let pieces: Vec<_> = sizes.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size]))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_read_whole_in_however_many_pieces() {
        let intake = Intake::default();
        for sizes in [&[][..], &[0], &[5], &[1, 2, 3], &[0, 0, 7], &[MAX_BODY_BYTES], &[1; 3000]] {
            let (body, room) = intake.read(pieces(sizes)).await.unwrap();
            assert_eq!(body.len(), sizes.iter().sum::<usize>());
            drop(room);
            assert_eq!(intake.room.available_permits(), ROOM_BYTES / UNIT_BYTES, "all is given back");
        }
        assert_eq!(intake.read(pieces(&[MAX_BODY_BYTES, 1])).await.unwrap_err(), Answer::TooLarge);
        assert_eq!(intake.room.available_permits(), ROOM_BYTES / UNIT_BYTES, "also after a refusal");
    }

    #[tokio::test]
    async fn bodies_beyond_the_room_are_sent_away_until_there_is_room_again() {
        let intake = Intake::default();
        let mut held = Vec::new();
        for _ in 0..ROOM_BYTES / MAX_BODY_BYTES {
            held.push(intake.read(pieces(&[MAX_BODY_BYTES])).await.unwrap());
        }
        assert_eq!(intake.read(pieces(&[1])).await.unwrap_err(), Answer::TryAgain);
        held.pop();
        assert!(intake.read(pieces(&[1])).await.is_ok());
    }
}
