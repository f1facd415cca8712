//! The retry sweep: wake-ups that were to come later than a message can be delayed.
//!
//! *Promise:* each is sent at least once, also after missed minutes and crashes; two sweeps at the same time are harmless,
//! because a wake-up too many dies out at the dispatcher. *Cost:* a handful of reads a minute when nothing is due.
//!
//! *Failure:* what could not be read or sent holds up nothing else; it stays due, and the mark stays before it until it is
//! sent.

use std::time::Duration;

use events::Message;
use metrics::counter;
use platform::{Key, Outgoing, Platform, Queue as _, Table as _, Write, limits};
use records::RecordError;
use records::retries::{self, OVERLAP_MINUTES, Wake};

/// Sends every wake-up that is due. Returns how many.
///
/// # Errors
/// The table's or the queue's; what was not sent stays due.
pub async fn sweep<P: Platform>(platform: &P) -> Result<usize, RecordError> {
    let now = platform.now().minute();
    let low_water = retries::low_water(platform).await?;
    let from = low_water.unwrap_or(now).min(now) - OVERLAP_MINUTES;
    let (mut sent, mut outcome) = (0, Ok(()));
    // One after the other: their shards are read at the same time, and each read more at once is a connection more to open.
    for minute in from..=now {
        let (some, swept) = sweep_minute(platform, minute).await;
        sent += some;
        outcome = outcome.and(swept);
    }
    if sent > 0 {
        // An idle minute counts nothing: on AWS a figure that is never told costs nothing.
        counter!("pollhook_wakeups").increment(sent as u64);
        tracing::debug!(sent, "wake-ups sent");
    }
    outcome?;
    if low_water != Some(now) {
        retries::set_low_water(platform, now).await?;
    }
    Ok(sent)
}

/// How many wake-ups were sent, and whether that was all.
async fn sweep_minute<P: Platform>(platform: &P, minute: i64) -> (usize, Result<(), RecordError>) {
    let due = match retries::due(platform, minute).await {
        Ok(due) => due,
        Err(error) => return (0, Err(error)),
    };
    let (mut sent, mut outcome) = (0, due.unreadable.map_or(Ok(()), Err));
    for some in due.wakes.chunks(limits::SEND_MESSAGES) {
        match send(platform, some).await {
            Ok(()) => sent += some.len(),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    (sent, outcome)
}

async fn send<P: Platform>(platform: &P, some: &[(Key, Wake)]) -> Result<(), RecordError> {
    platform.batches().send(some.iter().map(|(_, wake)| message(wake)).collect()).await?;
    // Only now: a crash before this sends them again, and never loses one.
    platform.table().write_many(some.iter().map(|(key, _)| Write::delete(key.clone())).collect()).await?;
    Ok(())
}

fn message(wake: &Wake) -> Outgoing {
    Outgoing { body: Message::Attempt(wake.attempt).encode(), delay: Duration::ZERO, group: wake.group.clone() }
}
