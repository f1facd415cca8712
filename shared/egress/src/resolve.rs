//! Names to addresses, with every address judged before anyone connects to it.
//!
//! The resolver's answer is what the connector dials, so nothing can change between the check and the use. A refusal
//! travels through the HTTP library as a typed error; [`crate::failure`] finds it again in the chain of causes.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};

use crate::policy::Policy;

/// A lookup under way.
pub type Lookups = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Whoever knows the addresses of a name: the system, or a table in tests.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of `name`, in the order to try them.
    fn lookup(&self, name: &str) -> Lookups;
}

/// How many names are looked up at once. The system's lookup blocks a thread, and goes on after its caller's deadline:
/// without a bound, names whose servers never answer would take every thread that blocking work (the local store's
/// included) shares. 128 of its 512 leaves those alone.
const LOOKUPS_AT_ONCE: usize = 128;

type Found = io::Result<Vec<IpAddr>>;
type Flights = Arc<Mutex<HashMap<String, watch::Receiver<Option<Arc<Found>>>>>>;

/// The operating system's resolver: `/etc/hosts`, then DNS, as configured there. Nothing is cached: connections are.
///
/// Whoever asks for a name that is being asked for shares that lookup, abandoned by its first caller or not. So a busy
/// callback whose DNS servers hang holds one thread, not all of them.
pub struct SystemLookup {
    ask: Arc<dyn Fn(&str) -> Found + Send + Sync>,
    permits: Arc<Semaphore>,
    flights: Flights,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self::asking(|name| Ok((name, 0_u16).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }
}

impl SystemLookup {
    fn asking(ask: impl Fn(&str) -> Found + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), permits: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)), flights: Arc::default() }
    }

    /// Joins the lookup of `name` that is under way, or starts one. It runs on its own, so that it is found until it
    /// ends, whoever stops waiting for it.
    fn join(&self, name: &str) -> watch::Receiver<Option<Arc<Found>>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // One that ended without a word (its runtime was shut down) is replaced.
        if let Some(flight) = flights.get(name).filter(|flight| flight.has_changed().is_ok()) {
            return flight.clone();
        }
        let (tell, told) = watch::channel(None);
        flights.insert(name.to_owned(), told.clone());
        let (ask, permits, flights) = (Arc::clone(&self.ask), Arc::clone(&self.permits), Arc::clone(&self.flights));
        let name = name.to_owned();
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await;
            let asked = name.clone();
            let found = tokio::task::spawn_blocking(move || ask(&asked)).await;
            flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            // Nobody may be left to hear it.
            tell.send(Some(Arc::new(found.unwrap_or_else(|lost| Err(io::Error::other(lost)))))).ok();
        });
        told
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> Lookups {
        let mut flight = self.join(name);
        Box::pin(async move {
            let found = flight.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
            match found.as_deref() {
                Some(Ok(addresses)) => Ok(addresses.clone()),
                // By its number if it has one: that is what tells our own shortage from the name's trouble.
                Some(Err(error)) => Err(error
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }
}

/// A name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {source}")]
pub(crate) struct Unresolved {
    pub(crate) name: String,
    pub(crate) source: io::Error,
}

/// What the HTTP library asks. Without a policy it lets every address pass.
pub(crate) struct Resolver {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) policy: Option<Arc<Policy>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        let found = self.lookup.lookup(name.as_str());
        Box::pin(async move {
            let unresolved = |source| Unresolved { name: name.as_str().to_owned(), source };
            let addresses = found.await.map_err(unresolved)?;
            if addresses.is_empty() {
                return Err(unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address")).into());
            }
            if let Some(policy) = policy {
                for address in &addresses {
                    policy.address(*address).map_err(|refusal| refusal.of_name(name.as_str()))?;
                }
            }
            // Port 0 stands for the URL's.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    /// A lookup that ends when told, with the number of times it was asked.
    fn gated(result: fn() -> Found) -> (SystemLookup, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (open, gate) = mpsc::channel();
        let (gate, asked) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let lookup = SystemLookup::asking(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            gate.lock().unwrap().recv().unwrap();
            result()
        });
        (lookup, open, asked)
    }

    #[tokio::test]
    async fn a_name_whose_servers_hang_holds_one_thread_however_often_it_is_asked_for() {
        let (lookup, open, asked) = gated(|| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        for _ in 0..1000 {
            assert!(lookup.lookup("hangs.test").now_or_never().is_none(), "abandoned at once");
        }
        let last = lookup.lookup("hangs.test");
        open.send(()).unwrap();
        assert_eq!(last.await.unwrap(), [Ipv4Addr::LOCALHOST]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Nothing is remembered.
        open.send(()).unwrap();
        lookup.lookup("hangs.test").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(lookup.flights.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_shortage_of_ours_is_told_by_its_number_to_each_who_waits() {
        let (lookup, open, _) = gated(|| Err(io::Error::from_raw_os_error(24)));
        let both = futures_util::future::join(lookup.lookup("a.test"), lookup.lookup("a.test"));
        open.send(()).unwrap();
        let (one, other) = both.await;
        assert_eq!((one.unwrap_err().raw_os_error(), other.unwrap_err().raw_os_error()), (Some(24), Some(24)));
    }

    #[test]
    fn a_lookup_lost_with_its_runtime_is_not_waited_for() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lookup = SystemLookup::asking(|_| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        let first = runtime();
        first.block_on(async { assert!(lookup.lookup("a.test").now_or_never().is_none()) });
        drop(first);
        assert!(runtime().block_on(lookup_in(&lookup)).is_ok());
    }

    async fn lookup_in(lookup: &SystemLookup) -> Found {
        lookup.lookup("a.test").await
    }
}
