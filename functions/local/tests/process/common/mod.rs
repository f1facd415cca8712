//! What all tests start, call and wait for.

mod client;
mod server;
mod sink;

use std::time::{Duration, Instant};

pub(crate) use client::{Client, KEY, SECRET, contact};
pub(crate) use server::{Finished, Server, binary, run};
pub(crate) use sink::Sink;

/// Longer than anything waited for takes on a busy machine; what is not there by then will not come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
///
/// # Panics
/// At the deadline, naming `what` was waited for.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
