//! Who polls: one [poll](crate::poll) of one instance, and what its worker is to do next.
//!
//! *Promise:* what is our own fault is tried again, and what is not waits for the instance's next turn: to ask a provider again
//! at once that refused, or with a configuration that is wrong, helps nobody. What a signal of the provider's asked for is kept
//! meanwhile, for a signal comes once. Each poll that told something or failed is a line
//! of the log with its instance, so that its owner can be told why; one that found nothing new is none.

use std::time::Duration;

use connectors::{Catalogue, Connector};
use events::Timestamp;
use platform::Platform;

use crate::accounts::Accounts;
use crate::poll::{End, Fetch, Outcome, Trouble, Unpolled, Worker, poll_instance};
use crate::polls::{Due, Poll, Polled};
use crate::queries::Queries;

/// Named in claims.
const NAME: &str = "poller";

/// What a page that is asked for last may take: as long as [`egress::Limits::fetching`] waits for it, and some seconds in which
/// it is told.
pub(crate) const LAST_PAGE: Duration = Duration::from_secs(33);

/// A poll is given up at its end, or dies with its process soon after it: from then on its claim is nobody's.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Polls the instances of the catalogue's connectors.
#[derive(Clone, Copy, Debug)]
pub struct Poller<'a, P, F> {
    /// The platform.
    pub platform: &'a P,
    /// How providers are asked.
    pub fetch: &'a F,
    /// The connectors there are.
    pub catalogue: &'a Catalogue,
    /// What this process knows of the accounts that it asks.
    pub accounts: &'a Accounts,
    /// What this process knows of what instances ask for.
    pub queries: &'a Queries,
}

impl<P: Platform, F: Fetch> Poll for Poller<'_, P, F> {
    // A job is handed over at its time or later, so each query of the poll is sent after it.
    async fn poll(&self, Due { instance, asked, until, slot, .. }: Due<'_>) -> Polled {
        let polling = |key: &str| self.catalogue.get(key).and_then(Connector::polling);
        let account_key = |key: &str, account: &str| {
            self.catalogue.get(key).map_or(account, |connector| connector.account_key(account)).to_owned()
        };
        let worker = Worker {
            platform: self.platform,
            fetch: self.fetch,
            polling: &polling,
            account_key: &account_key,
            accounts: self.accounts,
            queries: self.queries,
            slot,
            asked,
            name: NAME,
            asks_until: until.minus(LAST_PAGE),
            claims_until: until.plus(GIVEN_UP),
        };
        let outcome = poll_instance(&worker, instance).await;
        let told = outcome.told;
        match reasons(&outcome) {
            reasons if !reasons.is_empty() => {
                tracing::warn!(%instance, told, reason = reasons.join("; "), "a poll did not come to all there is");
            }
            _ if told > 0 => tracing::info!(%instance, told, "a poll found changes"),
            _ => {}
        }
        became(outcome, self.platform.now())
    }
}

/// How long a provider that failed is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(120);

/// What is to be done after a poll that ended `now`.
fn became(outcome: Outcome, now: Timestamp) -> Polled {
    let Outcome { troubles, end, .. } = outcome;
    let theirs = troubles.values().any(|trouble| matches!(trouble, Trouble::Theirs(_)));
    let ours = troubles.into_values().find(|trouble| matches!(trouble, Trouble::Ours(_)));
    match end {
        End::More => Polled::More,
        End::Elsewhere { until } => Polled::Taken { until },
        End::Ours(error) => Polled::Failed(error.to_string()),
        end => match (ours, end) {
            (Some(trouble), _) => Polled::Failed(trouble.to_string()),
            (None, End::PutOff { until }) => Polled::Later { at: until },
            (None, End::Asked) if theirs => Polled::Later { at: now.plus(AFTER_FAILURE) },
            (None, _) => Polled::Done,
        },
    }
}

/// Why a poll told less than there may be, for the instance's owner. A failure of our own that ended it is told where it is
/// tried again.
fn reasons(outcome: &Outcome) -> Vec<String> {
    let end = match &outcome.end {
        End::PutOff { until } => Some(format!("the provider wants to be left alone until {}", until.iso_seconds())),
        End::Revoked => Some("the provider takes back what the customer consented to: it needs a new consent".into()),
        End::NoCredential(reason) => Some(reason.clone()),
        End::Unpolled(Unpolled::Connector) => Some("its connector cannot be polled by this server".into()),
        End::Unpolled(Unpolled::Deleted | Unpolled::Disabled)
        | End::Asked
        | End::Resting
        | End::More
        | End::Elsewhere { .. }
        | End::Ours(_) => None,
    };
    let left_out = (outcome.left_out > 0)
        .then(|| format!("{} records without an id, or without any date, tell nothing", outcome.left_out));
    let troubles = outcome.troubles.iter().map(|(resource, trouble)| match resource.as_str() {
        "" => trouble.to_string(),
        resource => format!("{resource}: {trouble}"),
    });
    end.into_iter().chain(left_out).chain(troubles).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use records::RecordError;

    use super::*;

    fn trouble() -> impl Strategy<Value = Trouble> {
        prop_oneof![
            Just(Trouble::Unauthorised),
            "[a-z]{1,9}".prop_map(Trouble::Configuration),
            "[a-z]{1,9}".prop_map(Trouble::Theirs),
            "[a-z]{1,9}".prop_map(Trouble::Ours),
        ]
    }

    fn end() -> impl Strategy<Value = End> {
        let until = Timestamp::from_seconds(1_790_000_000);
        prop_oneof![
            3 => Just(End::Asked),
            1 => Just(End::More),
            1 => Just(End::Elsewhere { until }),
            1 => Just(End::PutOff { until }),
            1 => Just(End::Revoked),
            1 => Just(End::Resting),
            1 => Just(End::NoCredential("api.key is missing".into())),
            1 => proptest::sample::select(vec![Unpolled::Deleted, Unpolled::Disabled, Unpolled::Connector])
                .prop_map(End::Unpolled),
            1 => Just(End::Ours(RecordError::Damaged("POLL".into(), "x".into()))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_ours_is_tried_again_what_is_not_waits_and_every_trouble_is_said(
            end in end(),
            troubles in proptest::collection::btree_map("[a-z]{0,3}", trouble(), 0..3),
            told in 0_usize..3,
            left_out in 0_usize..2,
        ) {
            let ours = troubles.values().any(|trouble| matches!(trouble, Trouble::Ours(_)));
            let theirs = troubles.values().any(|trouble| matches!(trouble, Trouble::Theirs(_)));
            let (finished, troubles_of_it, end_of_it) = (BTreeSet::new(), troubles.clone(), end.clone());
            let outcome =
                Outcome { told, left_out, finished, troubles: troubles_of_it, lasts: None, end: end_of_it };
            let said = reasons(&outcome);
            for (resource, trouble) in &troubles {
                let text = trouble.to_string();
                prop_assert!(said.iter().any(|reason| reason.starts_with(resource.as_str()) && reason.ends_with(&text)));
            }
            let of_end = matches!(
                end,
                End::PutOff { .. } | End::Revoked | End::NoCredential(_) | End::Unpolled(Unpolled::Connector)
            );
            prop_assert_eq!(said.len(), troubles.len() + left_out + usize::from(of_end));
            let now = Timestamp::from_seconds(1_780_000_000);
            match (became(outcome, now), end) {
                (Polled::More, End::More) | (Polled::Failed(_), End::Ours(_)) => {}
                (Polled::Taken { until }, End::Elsewhere { until: expected }) => prop_assert_eq!(until, expected),
                (Polled::Failed(_), _) => prop_assert!(ours),
                (Polled::Done, End::More | End::Elsewhere { .. } | End::Ours(_)) => prop_assert!(false, "given up"),
                (Polled::Later { at }, End::PutOff { until }) => prop_assert!(at == until && !ours),
                (Polled::Done, End::PutOff { .. }) => prop_assert!(false, "its signal would be forgotten"),
                (Polled::Later { at }, End::Asked) => prop_assert!(at > now && theirs && !ours),
                (Polled::Done, End::Asked) => prop_assert!(!ours && !theirs),
                (Polled::Done, _) => prop_assert!(!ours),
                (polled, end) => prop_assert!(false, "{end:?} became {polled:?}"),
            }
        }
    }

    #[test]
    fn a_poll_that_finds_nothing_new_has_nothing_to_say() {
        let (finished, troubles) = (BTreeSet::new(), BTreeMap::new());
        let idle = Outcome { told: 0, left_out: 0, finished, troubles, lasts: None, end: End::Asked };
        assert!(reasons(&idle).is_empty());
        assert_eq!(became(idle, Timestamp::from_seconds(0)), Polled::Done);
    }
}
