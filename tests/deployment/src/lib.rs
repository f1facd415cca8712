//! What every deployment of Pollhook does, seen from outside: by the customer who calls the API, the provider who posts
//! webhooks, and the callback that is told.
//!
//! [`scenarios`] knows a deployment only as a [`Deployment`]: where it is reached, and the few things that differ between one
//! process and a cloud. So the process and the AWS deployment are held to the same promises by the same words:
//!
//! ```text
//! deployment::deployment_scenarios!(setup);      // `setup` is an async function that gives a Deployment
//! ```
//!
//! Everything waits for conditions, with a [`DEADLINE`]; a scenario makes provider accounts of its own, so that scenarios on
//! one deployment do not meet.

#![expect(clippy::unwrap_used, reason = "a test kit: what fails here is to fail the test")]

mod client;
pub mod scenarios;
mod sink;

use std::time::{Duration, Instant};

use platform::{Consistency, Key, Platform, Table as _, Write};
use records::retries;

pub use client::{Client, KEY, SECRET, contact};
pub use sink::{Received, Sink};

/// Longer than anything waited for takes on a busy machine; what is not there by then will not come.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// No wait in a bucket is longer, with jitter, than what the scenarios' callbacks ask for.
const LONGEST_WAIT_MINUTES: i64 = 150;

/// Waits until `look` finds something.
///
/// # Panics
/// At the deadline, naming `what` was waited for.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Hours pass for what waits in the retry buckets of `platform`: it is due now.
pub async fn waits_are_over<P: Platform>(platform: &P) {
    let now = platform.now();
    let later = now.minute() + 1..=now.minute() + LONGEST_WAIT_MINUTES;
    for minute in later {
        let due = retries::due(platform, minute).await.unwrap();
        for (key, _) in due.wakes {
            let item = platform.table().get(&key, Consistency::Strong).await.unwrap().unwrap();
            let partition = key.partition.replacen(&format!("#{minute}#"), &format!("#{}#", now.minute()), 1);
            assert_ne!(partition, key.partition);
            let sooner = Write::put(Key::new(partition, key.sort.as_str()), platform.version(), item.body);
            platform.table().transact(vec![sooner, Write::delete(key)]).await.unwrap();
        }
    }
}

/// How many waits are due and have not been taken up yet.
pub async fn waits_due<P: Platform>(platform: &P) -> usize {
    let now = platform.now().minute();
    let mut due = 0;
    for minute in now - retries::OVERLAP_MINUTES..=now {
        due += retries::due(platform, minute).await.unwrap().wakes.len();
    }
    due
}

/// Pollhook at work somewhere.
#[expect(async_fn_in_trait, reason = "only tests await these, on one task")]
pub trait Deployment {
    /// Calls it with the keys of an account of its own.
    fn client(&self) -> &Client;

    /// Hours pass: every retry that waits in a bucket is due, and the schedule has come by. The address may change.
    async fn waits_pass(&mut self);

    /// The lines that it has logged with all of `parts` in them.
    async fn logged(&self, parts: &[&str]) -> Vec<String>;
}
