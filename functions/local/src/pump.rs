//! Hands a queue's messages to the role that reads it: what Lambda's event source mapping does on AWS. There is one pump
//! for batches and one for poll jobs, each with workers of its own.
//!
//! *Promises:* a message is acknowledged when its work is done, set aside when it can never be read, and else comes back
//! after the visibility timeout for as long as it takes. As long as one worker is free, messages are taken.
//!
//! *Flow:* the queue knows how many workers there are and leaves some free for whoever has nothing in flight, so this loop
//! need not choose. A message that failed keeps its place in the queue's count until it comes back: a failure of our own
//! (a disk that is full) so slows the work down instead of hurrying through the whole backlog.

use std::sync::Arc;
use std::time::Duration;

use embedded::StoreQueue;
use platform::{Queue as _, Receipt, Received};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Messages taken from the queue at once, if so many workers are free.
const TAKEN: usize = 10;

/// How long one look at an empty queue lasts; a new message ends it at once.
const LOOK: Duration = Duration::from_secs(20);

/// How long to wait after the queue failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What the work on a message came to.
pub(crate) enum Outcome {
    /// Acknowledge it.
    Done,
    /// Nothing that we or anyone could mend by waiting: set it aside, for this reason.
    Unreadable(String),
    /// A failure of our own: it is to come back.
    Failed(String),
}

impl From<Result<(), dispatcher::Fault>> for Outcome {
    fn from(outcome: Result<(), dispatcher::Fault>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(dispatcher::Fault::Poison(reason)) => Self::Unreadable(reason),
            Err(fault) => Self::Failed(fault.to_string()),
        }
    }
}

impl From<Result<(), poller::Fault>> for Outcome {
    fn from(outcome: Result<(), poller::Fault>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(poller::Fault::Poison(reason)) => Self::Unreadable(reason),
            Err(fault) => Self::Failed(fault.to_string()),
        }
    }
}

/// Runs with so many workers until `stop`, then waits for what is at work. `work` does what a message's body says, which has
/// been handed over so many times.
pub(crate) async fn run<F, W>(queue: StoreQueue, workers: u32, work: F, mut stop: watch::Receiver<bool>)
where
    F: Fn(String, u32) -> W,
    W: Future<Output: Into<Outcome>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(workers as usize));
    while !*stop.borrow() {
        let (received, mut free) = tokio::select! {
            biased;
            _ = stop.changed() => break,
            taken = take(&queue, &room) => taken,
        };
        for message in received {
            let (queue, worker) = (queue.clone(), free.split(1));
            let Received { body, receipt, receive_count } = message;
            let done = work(body, receive_count);
            tokio::spawn(async move {
                let outcome = done.await.into();
                finish(&queue, receipt, receive_count, outcome).await;
                drop(worker);
            });
        }
    }
    let _ = room.acquire_many(workers).await;
}

/// The next messages, once there is a worker, and at least as many workers.
async fn take(queue: &StoreQueue, room: &Arc<Semaphore>) -> (Vec<Received>, OwnedSemaphorePermit) {
    let Ok(mut free) = Arc::clone(room).acquire_owned().await else {
        // It is never closed; and if it were, there would be no workers.
        return std::future::pending().await;
    };
    while free.num_permits() < TAKEN
        && let Ok(another) = Arc::clone(room).try_acquire_owned()
    {
        free.merge(another);
    }
    let received = match queue.receive(free.num_permits(), LOOK).await {
        Ok(received) => received,
        Err(error) => {
            tracing::error!(queue = queue.name(), %error, "the queue gives no messages");
            tokio::time::sleep(AFTER_FAILURE).await;
            Vec::new()
        }
    };
    (received, free)
}

async fn finish(queue: &StoreQueue, receipt: Receipt, received: u32, outcome: Outcome) {
    let name = queue.name();
    match outcome {
        Outcome::Done => {
            if let Err(error) = queue.acknowledge(vec![receipt]).await {
                tracing::error!(
                    queue = name,
                    %error,
                    "a message that is done with could not be acknowledged, it will come again"
                );
            }
        }
        Outcome::Unreadable(reason) => {
            if let Err(error) = queue.set_aside(&receipt, &reason).await {
                tracing::error!(
                    queue = name,
                    %error,
                    reason,
                    received,
                    "a message that cannot be read could not be set aside"
                );
            }
        }
        Outcome::Failed(error) => {
            tracing::error!(queue = name, error, received, "a message could not be worked on, it will come again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use embedded::{Backlog, Options, Store};
    use platform::{OsRandom, Outgoing, SystemClock};
    use tokio::sync::mpsc;

    use super::*;

    /// Far beyond what a test takes.
    const LONG: Duration = Duration::from_secs(20);
    const WORKERS: u32 = 64;

    struct Setup {
        _dir: tempfile::TempDir,
        _stop: watch::Sender<bool>,
        store: Store,
        queue: StoreQueue,
        /// The bodies, as workers begin with them.
        worked: mpsc::UnboundedReceiver<String>,
    }

    /// Work on "hang" never ends; other bodies come to what `outcomes` say, one after the other, and then to `Done`.
    fn setup(visibility: Duration, outcomes: Vec<Outcome>) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), visibility);
        let options = Options { workers: WORKERS, send_wait: Duration::ZERO, ..options };
        let store = Store::open(dir.path(), options).unwrap();
        let queue = store.queue("batches").unwrap();
        let (stop, stopped) = watch::channel(false);
        let (tell, worked) = mpsc::unbounded_channel();
        let outcomes = Mutex::new(outcomes.into_iter());
        let work = move |body: String, _| {
            let outcome = (body != "hang").then(|| outcomes.lock().unwrap().next().unwrap_or(Outcome::Done));
            // A test that is over does not listen.
            let _ = tell.send(body);
            async move {
                match outcome {
                    Some(outcome) => outcome,
                    None => std::future::pending().await,
                }
            }
        };
        tokio::spawn(run(queue.clone(), WORKERS, work, stopped));
        Setup { _dir: dir, _stop: stop, store, queue, worked }
    }

    async fn send(queue: &StoreQueue, group: &str, body: &str) {
        let message = Outgoing { body: body.into(), delay: Duration::ZERO, group: group.into() };
        queue.send(vec![message]).await.unwrap();
    }

    async fn next(worked: &mut mpsc::UnboundedReceiver<String>) -> String {
        tokio::time::timeout(LONG, worked.recv()).await.expect("nothing is worked on").unwrap()
    }

    async fn until(condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("it does not come to that");
    }

    #[tokio::test]
    async fn however_many_callbacks_hang_another_is_served() {
        let Setup { _dir, _stop, queue, mut worked, .. } = setup(LONG * 10, vec![]);
        for n in 0..40 * 4 {
            send(&queue, &format!("h{}", n % 40), "hang").await;
        }
        // One for each, and as many more as leave an eighth of the free workers to be one.
        for _ in 0..49 {
            assert_eq!(next(&mut worked).await, "hang");
        }
        for n in 0..100 {
            send(&queue, "healthy", &n.to_string()).await;
            assert_eq!(next(&mut worked).await, n.to_string());
        }
    }

    /// No message waits for ten workers to be free at once.
    #[tokio::test]
    async fn the_last_free_worker_is_used() {
        let Setup { _dir, _stop, queue, mut worked, .. } = setup(LONG * 10, vec![]);
        for n in 0..WORKERS {
            send(&queue, &format!("h{n}"), "hang").await;
            assert_eq!(next(&mut worked).await, "hang");
        }
        send(&queue, "late", "hang").await;
        assert_eq!(queue.backlog(), Backlog { ready: 1, delayed: 0, in_flight: WORKERS as usize });
    }

    #[tokio::test]
    async fn a_failure_of_our_own_brings_the_message_back_for_as_long_as_it_lasts() {
        let failures = (0..20).map(|_| Outcome::Failed("the disk is full".into())).collect();
        let Setup { _dir, _stop, store, queue, mut worked } = setup(Duration::from_millis(1), failures);
        send(&queue, "g", "accepted").await;
        for _ in 0..=20 {
            assert_eq!(next(&mut worked).await, "accepted");
        }
        until(|| queue.backlog() == Backlog::default()).await;
        assert_eq!(store.dead_letter_count().unwrap(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_set_aside_at_once_with_the_reason() {
        let poison = vec![Outcome::Unreadable("not one of ours".into())];
        let Setup { _dir, _stop, store, queue, mut worked } = setup(LONG * 10, poison);
        send(&queue, "g", "poison").await;
        assert_eq!(next(&mut worked).await, "poison");
        until(|| queue.backlog() == Backlog::default()).await;
        let letters = store.dead_letters(10).unwrap();
        assert_eq!((letters.len(), letters[0].receives), (1, 1));
        assert_eq!((letters[0].body.as_str(), letters[0].reason.as_str()), ("poison", "not one of ours"));
    }
}
