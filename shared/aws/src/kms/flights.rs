//! Values that are expensive to fetch: kept, and fetched once however many ask for them at the same time.
//!
//! *Failure modes:* an error is told to all who waited for that fetch and is not kept. A caller that goes away does not end
//! a fetch that others wait for; when all have gone, it ends with them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

type Fetch<V, E> = BoxFuture<'static, Result<V, E>>;

/// Kept values and fetches on their way.
pub(super) struct Flights<K, V, E>(Mutex<State<K, V, E>>);

struct State<K, V, E> {
    kept: HashMap<K, V>,
    flying: HashMap<K, WeakShared<Fetch<V, E>>>,
}

impl<K, V, E> Default for Flights<K, V, E> {
    fn default() -> Self {
        Self(Mutex::new(State { kept: HashMap::new(), flying: HashMap::new() }))
    }
}

impl<K: Eq + Hash + Copy, V: Clone, E: Clone> Flights<K, V, E> {
    fn lock(&self) -> MutexGuard<'_, State<K, V, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kept value, if it still `serves`, or else what `fetch` brings.
    pub(super) async fn get(
        &self,
        key: K,
        serves: impl Fn(&V) -> bool,
        fetch: impl FnOnce() -> Fetch<V, E>,
    ) -> Result<V, E> {
        let flight = {
            let mut state = self.lock();
            if let Some(value) = state.kept.get(&key).filter(|value| serves(value)) {
                return Ok(value.clone());
            }
            let flying = state.flying.get(&key).and_then(WeakShared::upgrade);
            flying.unwrap_or_else(|| {
                let flight = fetch().shared();
                // One that has ended cannot be downgraded; this one has not begun.
                state.flying.extend(flight.downgrade().map(|weak| (key, weak)));
                flight
            })
        };
        let answer = flight.clone().await;
        self.landed(key, &flight, answer.as_ref().ok());
        answer
    }

    /// Unless another flight has begun since.
    fn landed(&self, key: K, flight: &Shared<Fetch<V, E>>, value: Option<&V>) {
        let mut state = self.lock();
        let flying = state.flying.get(&key).and_then(WeakShared::upgrade);
        if flying.is_some_and(|flying| flying.ptr_eq(flight)) {
            state.flying.remove(&key);
            state.kept.extend(value.map(|value| (key, value.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Fetches wait for the gate and count themselves.
    struct Given {
        flights: Arc<Flights<u8, usize, &'static str>>,
        fetched: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    impl Given {
        fn new() -> Self {
            let (fetched, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
            Self { flights: Arc::default(), fetched, gate }
        }

        /// The number of the fetch, or an error.
        fn fetch(&self, fails: bool) -> Fetch<usize, &'static str> {
            let (fetched, gate) = (Arc::clone(&self.fetched), Arc::clone(&self.gate));
            async move {
                let number = fetched.fetch_add(1, Ordering::SeqCst);
                // As any request does: an answer is never there at once.
                tokio::task::yield_now().await;
                gate.acquire().await.expect("a gate").forget();
                if fails { Err("failed") } else { Ok(number) }
            }
            .boxed()
        }

        /// A hundred callers, all of whom are waiting.
        async fn hundred(&self, fails: bool) -> Vec<Result<usize, &'static str>> {
            let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(self.get(fails))).collect();
            for caller in &mut waiting {
                assert!(futures_util::poll!(caller).is_pending());
            }
            self.gate.add_permits(1);
            join_all(waiting).await
        }

        async fn get(&self, fails: bool) -> Result<usize, &'static str> {
            self.flights.get(1, |_| true, || self.fetch(fails)).await
        }
    }

    #[tokio::test]
    async fn however_many_ask_at_once_one_fetch_is_made_and_its_value_kept() {
        let given = Given::new();
        assert_eq!(given.hundred(false).await, vec![Ok(0); 100]);
        assert_eq!(given.get(false).await, Ok(0));
        assert_eq!(given.fetched.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_error_is_told_to_all_who_waited_and_the_next_asks_anew() {
        let given = Given::new();
        assert_eq!(given.hundred(true).await, vec![Err("failed"); 100]);
        given.gate.add_permits(1);
        assert_eq!(given.get(false).await, Ok(1));
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_takes_nothing_from_the_others() {
        let given = Given::new();
        let mut first = Box::pin(given.get(false));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(given.get(false));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        given.gate.add_permits(1);
        assert_eq!(second.await, Ok(0));
    }

    #[tokio::test]
    async fn a_fetch_that_nobody_waits_for_any_more_is_begun_anew() {
        let given = Given::new();
        let mut first = Box::pin(given.get(false));
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        given.gate.add_permits(1);
        assert_eq!(given.get(false).await, Ok(1));
    }

    #[tokio::test]
    async fn what_serves_no_more_is_fetched_anew() {
        let given = Given::new();
        given.gate.add_permits(2);
        assert_eq!(given.get(false).await, Ok(0));
        let newer = given.flights.get(1, |value| *value > 0, || given.fetch(false)).await;
        assert_eq!(newer, Ok(1));
        assert_eq!(given.get(false).await, Ok(1), "and kept in its place");
        assert_eq!(given.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn other_keys_have_fetches_of_their_own() {
        let given = Given::new();
        given.gate.add_permits(2);
        assert_eq!(given.get(false).await, Ok(0));
        assert_eq!(given.flights.get(2, |_| true, || given.fetch(false)).await, Ok(1));
    }
}
