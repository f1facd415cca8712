//! Places for polls that run at the same time.
//!
//! *Promise:* who only waits, until a provider's account may be asked again, takes nobody's place. So as many polls of one
//! account as there may be hold up no other account's. *The price:* those that wait keep what they have read so far.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many places.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Semaphore>);

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slots {
    /// So many.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// A place, once there is one.
    pub async fn take(&self) -> Slot {
        Slot { slots: self.clone(), held: Mutex::new(self.permit().await) }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // Fails where the semaphore is closed, which nobody does.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

impl Slot {
    /// Waits, and leaves the place to others meanwhile.
    pub async fn aside(&self, wait: impl Future<Output = ()>) {
        self.hold(None);
        wait.await;
        let permit = self.slots.permit().await;
        self.hold(permit);
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}
