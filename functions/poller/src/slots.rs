//! Places for polls that run at the same time.
//!
//! *Promise:* who only waits, until a provider's account may be asked again, takes nobody's place. So as many polls of one
//! account as there may be hold up no other account's. *The price:* those that wait keep what they have read so far.
//!
//! *Bounded:* who comes back and finds no place until it is late has none, and makes no further request: it tells what it has.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{Either, select};
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
    /// Waits, and leaves the place to others meanwhile. Whether there was one again before `late` ended.
    pub async fn aside(&self, wait: impl Future<Output = ()>, late: impl Future<Output = ()>) -> bool {
        self.hold(None);
        wait.await;
        match select(pin!(self.slots.permit()), pin!(late)).await {
            Either::Left((permit, _)) => {
                self.hold(permit);
                true
            }
            Either::Right(_) => false,
        }
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn who_waits_leaves_its_place_and_has_it_again_unless_others_keep_it_until_it_is_late() {
        let slots = Slots::new(1);
        let slot = slots.take().await;
        let mut neighbour = None;
        assert!(slot.aside(async { drop(slots.take().await) }, pending()).await, "the neighbour was done in time");
        assert_eq!(slots.0.available_permits(), 0);
        assert!(!slot.aside(async { neighbour = Some(slots.take().await) }, ready(())).await);
        assert!(slot.held.lock().unwrap().is_none() && neighbour.is_some());
        drop(neighbour);
        assert_eq!(slots.0.available_permits(), 1, "who was late waits for none any more");
        assert!(slot.aside(ready(()), ready(())).await, "one that is free is taken, however late");
        drop(slot);
        assert_eq!(slots.0.available_permits(), 1);
    }
}
