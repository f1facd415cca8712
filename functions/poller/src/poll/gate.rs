//! The way to a provider's account, for one poll: whether it may be asked, and when.

use std::sync::OnceLock;

use events::Timestamp;
use events::configuration::VENDOR_ACCOUNT;
use platform::Platform;
use polling::definition::Budget;
use records::budgets::{self, Account, AtProvider};
use records::plans::Plan;

use super::End;
use crate::accounts::{Accounts, May};
use crate::slots::Slot;

/// The way to an account.
pub(super) struct Gate<'a> {
    account: Account,
    accounts: &'a Accounts,
    slot: &'a Slot,
    budget: Option<Budget>,
    asks_until: Timestamp,
    /// What the provider said to this poll, and other workers do not know.
    news: OnceLock<Timestamp>,
}

/// Whose limits count for an instance: its account's at the provider, as `key` says what counts of that one's name, else
/// its own.
fn account(plan: &Plan, key: impl Fn(&str) -> String) -> Account {
    let named = plan.settings.get(VENDOR_ACCOUNT).map(|name| name.trim()).filter(|name| !name.is_empty());
    let at_provider = named.map_or(AtProvider::Of(plan.instance), |name| AtProvider::Named(key(name)));
    Account { connector: plan.connector.clone(), owner: plan.account, at_provider }
}

impl<'a> Gate<'a> {
    pub(super) fn new(
        plan: &Plan,
        key: impl Fn(&str) -> String,
        budget: Option<Budget>,
        (accounts, slot): (&'a Accounts, &'a Slot),
        asks_until: Timestamp,
    ) -> Self {
        Self { account: account(plan, key), accounts, slot, budget, asks_until, news: OnceLock::new() }
    }

    /// Before anything is asked: `Err` where the account is to be left alone.
    pub(super) async fn open<P: Platform>(&self, platform: &P) -> Result<(), End> {
        match self.accounts.limited(platform, &self.account).await {
            Ok(None) => Ok(()),
            Ok(Some(until)) => Err(End::PutOff { until }),
            Err(error) => Err(End::Ours(error)),
        }
    }

    /// Waits until a request may be sent. `Err`: none is to be.
    pub(super) async fn pass<P: Platform>(&self, platform: &P) -> Result<(), End> {
        let now = platform.now();
        match self.accounts.may(&self.account, self.budget, now, self.asks_until) {
            May::At(at) if at <= now => return Ok(()),
            May::At(at) => {
                let late = async { self.accounts.wait(self.asks_until.since(platform.now())).await };
                if !self.slot.aside(self.accounts.wait(at.since(now)), late).await {
                    return Err(End::More);
                }
            }
            May::NotBefore(until) => return Err(End::PutOff { until }),
            May::Late => return Err(End::More),
        }
        // A neighbour may have been told meanwhile, or the place came late.
        match self.accounts.may(&self.account, None, platform.now(), self.asks_until) {
            May::At(_) => Ok(()),
            May::NotBefore(until) => Err(End::PutOff { until }),
            May::Late => Err(End::More),
        }
    }

    /// The provider wants the account to be left alone.
    pub(super) fn put_off(&self, until: Timestamp, now: Timestamp) -> End {
        if self.accounts.put_off(&self.account, until, now) {
            // It ends the poll, so there is no second.
            let _ = self.news.set(until);
        }
        End::PutOff { until }
    }

    /// Tells other workers what the provider said.
    pub(super) async fn share<P: Platform>(&self, platform: &P) {
        if let Some(until) = self.news.get()
            && let Err(error) = budgets::put_off(platform, &self.account, *until).await
        {
            tracing::warn!(%error, connector = self.account.connector, "a limit could not be shared with other workers");
        }
    }
}
