//! Notifications at work in this process.
//!
//! A provider's redelivery can arrive while the first copy's POST is still under way. Both would find no record and post;
//! so the second waits for the first, and then finds its record: it learns that there was a first, and reads strongly.
//! *Not promised:* the same between two processes. There a repeat can reach the callback, with the same ids.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use events::NotificationId;
use tokio::sync::Notify;

/// Notifications remembered after the work on them: those of the last seconds, by far, and some tens of kilobytes.
const REMEMBERED: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct AtWork(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ids: HashMap<NotificationId, Arc<Notify>>,
    lately: HashSet<NotificationId>,
    order: VecDeque<NotificationId>,
}

/// While this lives, nobody else works on the notification.
pub(crate) struct Turn<'a> {
    at_work: &'a AtWork,
    id: NotificationId,
    /// Whether this process worked on it lately: a read that may lag must not be trusted to have seen that.
    pub(crate) again: bool,
}

impl AtWork {
    /// Waits until nobody works on the notification.
    pub(crate) async fn enter(&self, id: NotificationId) -> Turn<'_> {
        loop {
            let over = {
                let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match state.ids.get(&id) {
                    // Made under the lock, so no end comes between the look and the wait.
                    Some(notify) => Arc::clone(notify).notified_owned(),
                    None => {
                        state.ids.insert(id, Arc::default());
                        let again = state.lately.contains(&id);
                        return Turn { at_work: self, id, again };
                    }
                }
            };
            over.await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.at_work.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lately.insert(self.id) {
            state.order.push_back(self.id);
            if state.order.len() > REMEMBERED
                && let Some(oldest) = state.order.pop_front()
            {
                state.lately.remove(&oldest);
            }
        }
        if let Some(over) = state.ids.remove(&self.id) {
            over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use events::Timestamp;

    use super::*;

    #[tokio::test]
    async fn who_comes_after_somebody_is_told_so_for_as_long_as_it_is_remembered() {
        let at_work = AtWork::default();
        let id = |n: i64| NotificationId::of(Timestamp::from_seconds(1_790_000_000 + n), []);
        assert!(!at_work.enter(id(0)).await.again);
        assert!(at_work.enter(id(0)).await.again);
        for n in 1..=REMEMBERED as i64 {
            assert!(!at_work.enter(id(n)).await.again);
        }
        assert!(!at_work.enter(id(0)).await.again, "as many others are remembered");
        let state = at_work.0.lock().unwrap();
        assert_eq!((state.ids.len(), state.lately.len(), state.order.len()), (0, REMEMBERED, REMEMBERED));
    }
}
