//! What is expected, and what has arrived. Pure: notifications go in, a verdict for each scenario comes out.

use std::fmt;

use crate::listen::arrival::Told;

/// A change as far as it is known beforehand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// `CREATED`, `UPDATED`, `DELETED` or `UNKNOWN`.
    pub(crate) event_type: String,
    /// The kind of object.
    pub(crate) object_type: String,
    /// The object.
    pub(crate) object_id: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.event_type, self.object_type, self.object_id)
    }
}

impl From<&Told> for Change {
    fn from(told: &Told) -> Self {
        Self {
            event_type: told.event_type.clone(),
            object_type: told.object_type.clone(),
            object_id: told.object_id.clone(),
        }
    }
}

/// A notification that must arrive once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    /// The instance's name.
    pub(crate) instance: String,
    /// Its changes, in order.
    pub(crate) changes: Vec<Change>,
    /// At which attempt it is taken, from 1.
    pub(crate) attempt: u32,
}

/// The account of one scenario.
#[derive(Debug, Default)]
struct Account {
    missing: Vec<Expected>,
    arrived: usize,
    refused: usize,
    /// What arrived beyond what was expected, in words.
    surprises: Vec<String>,
}

/// The accounts of all scenarios, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    /// Opens the next scenario's account.
    pub(crate) fn open(&mut self, expected: Vec<Expected>) {
        self.accounts.push(Account { missing: expected, ..Account::default() });
    }

    /// Books a notification that was taken; `scenario` is its instance's, if that is known.
    pub(crate) fn book(&mut self, scenario: Option<usize>, instance: &str, events: &[Told], attempt: u32) {
        let changes: Vec<Change> = events.iter().map(Change::from).collect();
        let found = Expected { instance: instance.to_owned(), changes, attempt };
        let known = scenario.filter(|scenario| *scenario < self.accounts.len());
        // What nobody awaits is put where it will be seen.
        let Some(account) = self.accounts.get_mut(known.unwrap_or(0)) else { return };
        account.arrived += 1;
        match account.missing.iter().position(|expected| *expected == found) {
            Some(place) => drop(account.missing.remove(place)),
            None => account.surprises.push(format!("not expected: {found}")),
        }
    }

    /// Notes how a webhook was answered, and how it should have been.
    pub(crate) fn answered(&mut self, scenario: usize, status: u16, expected: u16) {
        if let Some(account) = self.accounts.get_mut(scenario) {
            account.refused += usize::from(status == 401);
            if status != expected {
                account.surprises.push(format!("answered {status} instead of {expected}"));
            }
        }
    }

    /// How many webhooks of a scenario were refused.
    pub(crate) fn refused(&self, scenario: usize) -> usize {
        self.accounts.get(scenario).map_or(0, |account| account.refused)
    }

    /// Notes something else that went wrong in a scenario.
    pub(crate) fn complain(&mut self, scenario: usize, what: String) {
        if let Some(account) = self.accounts.get_mut(scenario) {
            account.surprises.push(what);
        }
    }

    /// Whether everything expected has arrived.
    pub(crate) fn complete(&self) -> bool {
        self.accounts.iter().all(|account| account.missing.is_empty())
    }

    /// How many notifications have arrived in a scenario.
    pub(crate) fn arrived(&self, scenario: usize) -> usize {
        self.accounts.get(scenario).map_or(0, |account| account.arrived)
    }

    /// What is wrong with a scenario: nothing, if it went as expected.
    pub(crate) fn faults(&self, scenario: usize) -> Vec<String> {
        let Some(account) = self.accounts.get(scenario) else { return Vec::new() };
        let missing = account.missing.iter().map(|expected| format!("missing: {expected}"));
        missing.chain(account.surprises.iter().cloned()).collect()
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, first) = (self.changes.len(), self.changes.first());
        write!(f, "{}", self.instance)?;
        if let Some(first) = first {
            write!(f, ", {first}")?;
        }
        if count > 1 {
            write!(f, " + {} more", count - 1)?;
        }
        if self.attempt > 1 { write!(f, ", at attempt {}", self.attempt) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: &str) -> Told {
        Told { event_type: "CREATED".into(), object_type: "contacts".into(), object_id: id.into(), date: String::new() }
    }

    fn expected(instance: &str, ids: &[&str]) -> Expected {
        let changes = ids.iter().map(|id| Change::from(&told(id))).collect();
        Expected { instance: instance.into(), changes, attempt: 1 }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.open(vec![expected("a", &["1", "2"]), expected("a", &["3"])]);
        ledger.open(vec![expected("b", &["1"])]);
        ledger
    }

    #[test]
    fn what_arrives_as_expected_in_any_order_closes_the_accounts() {
        let mut ledger = ledger();
        ledger.book(Some(1), "b", &[told("1")], 1);
        ledger.book(Some(0), "a", &[told("3")], 1);
        assert!(!ledger.complete());
        assert_eq!(ledger.faults(0), ["missing: a, CREATED contacts 1 + 1 more"]);
        ledger.book(Some(0), "a", &[told("1"), told("2")], 1);
        assert!(ledger.complete());
        assert_eq!((ledger.arrived(0), ledger.faults(0).len(), ledger.faults(1).len()), (2, 0, 0));
    }

    #[test]
    fn a_second_time_another_order_another_attempt_and_an_unknown_instance_are_told() {
        let mut ledger = ledger();
        for _ in 0..2 {
            ledger.book(Some(1), "b", &[told("1")], 1);
        }
        assert_eq!(ledger.faults(1), ["not expected: b, CREATED contacts 1"]);
        ledger.book(Some(0), "a", &[told("2"), told("1")], 1);
        ledger.book(Some(0), "a", &[told("3")], 2);
        ledger.book(None, "stranger", &[told("3")], 1);
        ledger.complain(0, "no answer".into());
        assert_eq!(ledger.faults(0).len(), 2 + 4);
    }

    #[test]
    fn a_refusal_is_counted_and_a_fault_only_where_none_was_expected() {
        let mut ledger = ledger();
        ledger.answered(0, 401, 401);
        ledger.answered(1, 401, 200);
        assert_eq!((ledger.refused(0), ledger.refused(1)), (1, 1));
        assert!(ledger.faults(1).contains(&"answered 401 instead of 200".to_owned()));
        assert!(!ledger.faults(0).iter().any(|fault| fault.contains("401")));
    }
}
