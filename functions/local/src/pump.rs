//! Hands the queue's messages to the dispatcher: what Lambda's event source mapping does on AWS.

use std::sync::Arc;
use std::time::Duration;

use dispatcher::{Dispatcher, Fault};
use egress::Post;
use platform::{Platform, Queue as _, Received};
use tokio::sync::{Semaphore, watch};

/// Messages at work at the same time. Each waits for a callback most of its time; the queue gives no single callback
/// more than a fraction of these, so one that hangs leaves room for the others.
const AT_WORK: u32 = 1024;

/// Messages taken from the queue at once.
const TAKEN: u32 = 10;

/// How long one look at an empty queue lasts; a new message ends it at once.
const LOOK: Duration = Duration::from_secs(20);

/// How long to wait after the queue failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs until `stop`, then waits for what is at work.
pub(crate) async fn run<P: Platform, C: Post>(
    platform: Arc<P>,
    dispatcher: Arc<Dispatcher<P, C>>,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(AT_WORK as usize));
    while !*stop.borrow() {
        let received = tokio::select! {
            biased;
            _ = stop.changed() => break,
            received = take(&*platform, &room) => received,
        };
        for message in received {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
            let (platform, dispatcher) = (Arc::clone(&platform), Arc::clone(&dispatcher));
            tokio::spawn(async move {
                work(&*platform, &dispatcher, message).await;
                drop(permit);
            });
        }
    }
    let _ = room.acquire_many(AT_WORK).await;
}

/// The next messages, once there is room for them.
async fn take<P: Platform>(platform: &P, room: &Semaphore) -> Vec<Received> {
    let Ok(permits) = room.acquire_many(TAKEN).await else { return Vec::new() };
    let received = platform.batches().receive(TAKEN as usize, LOOK).await;
    drop(permits);
    match received {
        Ok(received) => received,
        Err(error) => {
            tracing::error!(%error, "the queue gives no messages");
            tokio::time::sleep(AFTER_FAILURE).await;
            Vec::new()
        }
    }
}

async fn work<P: Platform, C: Post>(platform: &P, dispatcher: &Dispatcher<P, C>, message: Received) {
    match dispatcher.handle(&message.body).await {
        Ok(()) => {
            if let Err(error) = platform.batches().acknowledge(vec![message.receipt]).await {
                tracing::error!(%error, "a message that is done with could not be acknowledged, it will come again");
            }
        }
        // Not acknowledged: it comes again, and after some times it is set aside among the dead letters.
        Err(error @ Fault::Poison(_)) => tracing::error!(%error, "a message cannot be read"),
        Err(error) => tracing::error!(%error, received = message.receive_count, "a message could not be worked on"),
    }
}
