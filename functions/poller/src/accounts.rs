//! What a worker knows of the accounts at providers that it asks: which are to be left alone, and how much each was asked.
//!
//! *Promise:* what a provider said to one poll of an account counts for all of them in this worker at once, and in the others
//! [`FRESH`] later; no neighbour's account is held up by it. An account's budget is not exceeded by what one worker asks.
//!
//! *Not promised:* that several workers together keep to a budget; then the provider says so.
//!
//! *Cost:* see [`records::budgets`]. Its answers are kept for [`FRESH`].
//!
//! *Bounded:* an account of which nothing counts any more is forgotten once there are many; were all of so many in use, all
//! would be, and be learnt anew.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{AccountId, Timestamp};
use platform::Platform;
use polling::definition::Budget;
use records::RecordError;
use records::budgets::{self, Account};

use crate::window::Window;

/// How long what was read is believed: a provider that limits an account does so for seconds at least, and two workers that
/// poll the same one are rare.
pub const FRESH: Duration = Duration::from_secs(15);

/// Lines in which those wait who want to look at the same time: who looks for the same waits in the same one, and a stranger
/// hardly ever.
const LINES: usize = 64;

/// Accounts that are remembered.
const MOST: usize = 10_000;

type Wait = dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A worker's memory, shared by all of its polls.
pub struct Accounts {
    known: Mutex<Known>,
    /// Whoever looks for limits: the polls of a job begin at the same time, and one look does for all.
    looking: [tokio::sync::Mutex<()>; LINES],
    wait: Box<Wait>,
}

#[derive(Default)]
struct Known {
    /// Until when to look for limits, by connector and owner, and when that was read.
    looks: HashMap<(String, AccountId), Read>,
    accounts: HashMap<Account, Asked>,
}

#[derive(Clone, Copy, Default)]
struct Read {
    at: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Read {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at <= now && now < at.plus(FRESH))
    }

    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| now < *until)
    }
}

#[derive(Default)]
struct Asked {
    limit: Read,
    window: Window,
    budget: Option<Budget>,
}

impl Asked {
    fn counts(&self, now: Timestamp) -> bool {
        self.limit.is_fresh(now)
            || self.limit.until(now).is_some()
            || self.budget.is_some_and(|budget| !self.window.is_over(budget, now))
    }
}

/// When an account may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum May {
    /// Then, at the earliest.
    At(Timestamp),
    /// Its provider wants it to be left alone until then.
    NotBefore(Timestamp),
    /// Not in time.
    Late,
}

impl Default for Accounts {
    fn default() -> Self {
        Self::waiting(|time| Box::pin(tokio::time::sleep(time)))
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("accounts", &self.known().accounts.len()).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Nothing is known yet; time passes as `wait` has it.
    pub fn waiting(
        wait: impl Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            known: Mutex::default(),
            looking: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            wait: Box::new(wait),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn wait(&self, time: Duration) {
        (self.wait)(time).await;
    }

    /// Until when an account's provider wants it to be left alone.
    ///
    /// # Errors
    /// The table's.
    pub(crate) async fn limited<P: Platform>(
        &self,
        platform: &P,
        account: &Account,
    ) -> Result<Option<Timestamp>, RecordError> {
        let now = platform.now();
        let limit = self.known().accounts.get(account).map(|asked| asked.limit).unwrap_or_default();
        if limit.until(now).is_some() || limit.is_fresh(now) {
            return Ok(limit.until(now));
        }
        if self.looks(platform, account).await?.until(now).is_none() {
            return Ok(None);
        }
        let until = budgets::not_before(platform, account).await?;
        let mut known = self.known();
        let asked = known.asked(account, now);
        // What a neighbour was told meanwhile may be later.
        asked.limit = Read { at: Some(now), until: asked.limit.until(now).max(until) };
        Ok(asked.limit.until(now))
    }

    /// Until when to look for limits of the account's connector and owner.
    async fn looks<P: Platform>(&self, platform: &P, account: &Account) -> Result<Read, RecordError> {
        let whose = (account.connector.clone(), account.owner);
        let fresh = |now| self.known().looks.get(&whose).copied().filter(|looks| looks.is_fresh(now));
        if let Some(looks) = fresh(platform.now()) {
            return Ok(looks);
        }
        let _looking = self.looking[line(&whose)].lock().await;
        let now = platform.now();
        if let Some(looks) = fresh(now) {
            return Ok(looks);
        }
        let looks = Read { at: Some(now), until: budgets::looks(platform, &whose.0, whose.1).await? };
        self.known().remember_looks(whose, looks, now);
        Ok(looks)
    }

    /// When an account may be asked; where its budget is the reason to wait, that time is then taken.
    pub(crate) fn may(&self, account: &Account, budget: Option<Budget>, now: Timestamp, until: Timestamp) -> May {
        let mut known = self.known();
        if let Some(not_before) = known.accounts.get(account).and_then(|asked| asked.limit.until(now)) {
            return May::NotBefore(not_before);
        }
        if now >= until {
            return May::Late;
        }
        let Some(budget) = budget else { return May::At(now) };
        let asked = known.asked(account, now);
        asked.budget = Some(budget);
        asked.window.take(budget, now, until).map_or(May::Late, May::At)
    }

    /// Has this worker leave an account alone; not less long than before. Whether that is news to other workers as well.
    pub(crate) fn put_off(&self, account: &Account, until: Timestamp, now: Timestamp) -> bool {
        let mut known = self.known();
        let limit = &mut known.asked(account, now).limit;
        let news = limit.until(now).is_none_or(|known| known.plus(budgets::MATERIAL) < until);
        limit.until = limit.until.max(Some(until));
        news
    }
}

/// The line of a connector and owner.
fn line(whose: &(String, AccountId)) -> usize {
    let mut hasher = DefaultHasher::new();
    whose.hash(&mut hasher);
    usize::try_from(hasher.finish() % LINES as u64).unwrap_or_default()
}

impl Known {
    fn asked(&mut self, account: &Account, now: Timestamp) -> &mut Asked {
        if self.accounts.len() >= MOST && !self.accounts.contains_key(account) {
            self.accounts.retain(|_, asked| asked.counts(now));
            if self.accounts.len() >= MOST {
                self.accounts.clear();
            }
        }
        self.accounts.entry(account.clone()).or_default()
    }

    fn remember_looks(&mut self, whose: (String, AccountId), looks: Read, now: Timestamp) {
        if self.looks.len() >= MOST {
            self.looks.retain(|_, looks| looks.is_fresh(now));
        }
        self.looks.insert(whose, looks);
    }
}
