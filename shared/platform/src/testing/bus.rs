//! The event bus in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::lock;
use super::process::Process;
use crate::{Bus, BusError, Entry, PublishError, limits};

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    fail_publishes: VecDeque<(Vec<usize>, BusError)>,
    lose_answers: usize,
}

/// A [`Bus`] in memory, which keeps what it took. Clones are the same bus.
///
/// Each entry of a publish is a step of the process, although EventBridge takes them at once: a publish that was cut off
/// may have happened in part there, too.
#[derive(Clone, Debug, Default)]
pub struct MemoryBus {
    state: Arc<Mutex<State>>,
    process: Arc<Process>,
}

impl MemoryBus {
    /// The same bus, worked on by `process`.
    pub(super) fn of(&self, process: &Arc<Process>) -> Self {
        Self { process: Arc::clone(process), ..self.clone() }
    }

    /// What the bus took, in order: an entry that was published twice is there twice.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.state).entries.clone()
    }

    /// Of the next publish, the entries `which` (counted from 0) are not taken, for the reason `error`; the others are.
    /// Called again, the publish after it fails so.
    pub fn fail_next_publish(&self, which: impl Into<Vec<usize>>, error: BusError) {
        lock(&self.state).fail_publishes.push_back((which.into(), error));
    }

    /// None of the next publish's entries is taken, for the reason `error`. Called again, the publish after it fails so.
    pub fn refuse_next_publish(&self, error: BusError) {
        self.fail_next_publish((0..limits::PUBLISH_ENTRIES).collect::<Vec<_>>(), error);
    }

    /// The next publish takes all its entries, and the caller gets [`BusError::Unavailable`] for all of them.
    pub fn lose_next_answer(&self) {
        lock(&self.state).lose_answers += 1;
    }

    fn answer_is_lost(&self) -> bool {
        let mut state = lock(&self.state);
        let lost = state.lose_answers > 0;
        state.lose_answers -= usize::from(lost);
        lost
    }
}

impl Bus for MemoryBus {
    async fn publish(&self, entries: Vec<Entry>) -> Result<(), PublishError> {
        let all: Vec<usize> = (0..entries.len()).collect();
        if let Err(error) = limits::check_publish(&entries) {
            return Err(PublishError { failed: all, error });
        }
        self.process.alive().await;
        let failure = lock(&self.state).fail_publishes.pop_front();
        let fails = |index: &usize| failure.as_ref().is_some_and(|(which, _)| which.contains(index));
        for (index, entry) in entries.into_iter().enumerate() {
            if fails(&index) {
                continue;
            }
            let take = || lock(&self.state).entries.push(entry);
            self.process.act(format!("publish entry {index}"), take).await;
        }
        if self.answer_is_lost() {
            return Err(PublishError { failed: all, error: BusError::Unavailable("the answer was lost".into()) });
        }
        let failed: Vec<usize> = all.into_iter().filter(fails).collect();
        match failure {
            Some((_, error)) if !failed.is_empty() => Err(PublishError { failed, error }),
            _ => Ok(()),
        }
    }
}
