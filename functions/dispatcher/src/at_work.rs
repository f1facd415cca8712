//! Notifications at work in this process.
//!
//! A provider's redelivery can arrive while the first copy's POST is still under way. Both would find no record and post;
//! so the second waits for the first, and then finds its record. *Not promised:* the same between two processes. There a
//! repeat can reach the callback, with the same ids.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use events::NotificationId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct AtWork {
    ids: Mutex<HashMap<NotificationId, Arc<Notify>>>,
}

/// While this lives, nobody else works on the notification.
pub(crate) struct Turn<'a> {
    at_work: &'a AtWork,
    id: NotificationId,
}

impl AtWork {
    /// Waits until nobody works on the notification.
    pub(crate) async fn enter(&self, id: NotificationId) -> Turn<'_> {
        loop {
            let over = {
                let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
                match ids.get(&id) {
                    // Made under the lock, so no end comes between the look and the wait.
                    Some(notify) => Arc::clone(notify).notified_owned(),
                    None => {
                        ids.insert(id, Arc::default());
                        return Turn { at_work: self, id };
                    }
                }
            };
            over.await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let over = self.at_work.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        if let Some(over) = over {
            over.notify_waiters();
        }
    }
}
