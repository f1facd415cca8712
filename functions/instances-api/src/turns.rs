//! How many requests of one kind an account has other people's servers asked at the same time.
//!
//! *Why:* an account whose callbacks or provider hang keeps nobody else from theirs, and no account makes of this server a tool
//! for flooding somebody. By process: on AWS each answers one request at a time, and its concurrency is the bound.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use events::AccountId;

use crate::answer::Problem;

/// At the same time, by one account: a person or two who try things out, or a few of its customers who come back.
pub(crate) const AT_ONCE: usize = 3;

/// The requests of one kind that are under way.
pub(crate) struct Turns {
    /// What they are, for who made too many.
    what: &'static str,
    at_work: LazyLock<Mutex<HashMap<AccountId, usize>>>,
}

/// One request's place among its account's, until it is dropped.
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
    account: AccountId,
}

impl Turns {
    /// None is under way.
    pub(crate) const fn of(what: &'static str) -> Self {
        Self { what, at_work: LazyLock::new(Mutex::default) }
    }

    /// A place.
    ///
    /// # Errors
    /// None is free.
    pub(crate) fn take(&self, account: AccountId) -> Result<Turn<'_>, Problem> {
        let mut at_work = self.at_work();
        let count = at_work.entry(account).or_default();
        if *count >= AT_ONCE {
            return Err(Problem::TooMany(self.what));
        }
        *count += 1;
        Ok(Turn { turns: self, account })
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut at_work = self.turns.at_work();
        let count = at_work.get(&self.account).copied().unwrap_or_default();
        if count > 1 {
            at_work.insert(self.account, count - 1);
        } else {
            at_work.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_account_has_at_most_so_many_turns_and_gets_each_back(takes in proptest::collection::vec(any::<bool>(), 0..40)) {
            let all = Turns::of("requests");
            let (account, other) = (AccountId(1), AccountId(2));
            let mut turns = Vec::new();
            for take in takes {
                if take {
                    let free = turns.len() < AT_ONCE;
                    let turn = all.take(account).ok();
                    prop_assert_eq!(turn.is_some(), free);
                    turns.extend(turn);
                } else {
                    turns.pop();
                }
                prop_assert!(all.take(other).is_ok(), "nobody else's");
            }
            drop(turns);
            prop_assert!(all.at_work().is_empty());
        }
    }
}
