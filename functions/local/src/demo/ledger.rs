//! What is expected, and what has arrived. Pure: notifications go in, a verdict for each scenario comes out.

use std::fmt;

use crate::demo::reply::Wanted;
use crate::listen::arrival::Told;
use crate::paint::counted;

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

/// So many changes of a notification are named where it is missing or too many: most have no more.
const SHOWN: usize = 5;

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

/// What came of a scenario, or is to come of it, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Notifications.
    pub(crate) notifications: usize,
    /// Signals that were taken.
    pub(crate) signals: usize,
    /// Handshakes that were answered.
    pub(crate) handshakes: usize,
    /// Webhooks that were refused.
    pub(crate) refused: usize,
}

impl Tally {
    /// Counts a webhook that was, or is to be, answered as wanted.
    pub(crate) fn count(&mut self, wanted: &Wanted) {
        match wanted {
            Wanted::Taken => {}
            Wanted::Signal => self.signals += 1,
            Wanted::Refused => self.refused += 1,
            Wanted::Text(_) | Wanted::Header(..) => self.handshakes += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [(self.notifications, "notification"), (self.signals, "signal"), (self.handshakes, "handshake")];
        let mut parts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| counted(*count, what)).collect();
        if self.refused > 0 {
            parts.push(format!("{} refused", self.refused));
        }
        f.write_str(if parts.is_empty() { "nothing" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// The account of one scenario.
#[derive(Debug, Default)]
struct Account {
    missing: Vec<Expected>,
    arrived: Tally,
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
        account.arrived.notifications += 1;
        match account.missing.iter().position(|expected| *expected == found) {
            Some(place) => drop(account.missing.remove(place)),
            None => account.surprises.push(format!("not expected: {found}")),
        }
    }

    /// Notes how a webhook was answered: as it should have been, or what is wrong with the answer.
    pub(crate) fn answered(&mut self, scenario: usize, wanted: &Wanted, fault: Option<String>) {
        if let Some(account) = self.accounts.get_mut(scenario) {
            match fault {
                None => account.arrived.count(wanted),
                Some(fault) => account.surprises.push(fault),
            }
        }
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

    /// What has come of a scenario.
    pub(crate) fn arrived(&self, scenario: usize) -> Tally {
        self.accounts.get(scenario).map_or_else(Tally::default, |account| account.arrived)
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
        write!(f, "{}", self.instance)?;
        for change in self.changes.iter().take(SHOWN) {
            write!(f, ", {change}")?;
        }
        if let more @ 1.. = self.changes.len().saturating_sub(SHOWN) {
            write!(f, " + {more} more")?;
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
        assert_eq!(ledger.faults(0), ["missing: a, CREATED contacts 1, CREATED contacts 2"]);
        ledger.book(Some(0), "a", &[told("1"), told("2")], 1);
        assert!(ledger.complete());
        assert_eq!((ledger.arrived(0).notifications, ledger.faults(0).len(), ledger.faults(1).len()), (2, 0, 0));
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
    fn an_answer_is_counted_as_what_it_was_and_a_wrong_one_as_a_fault() {
        let mut ledger = ledger();
        let handshake = Wanted::Text("x".into());
        for wanted in [&Wanted::Refused, &Wanted::Signal, &Wanted::Signal, &handshake, &Wanted::Taken] {
            ledger.answered(0, wanted, None);
        }
        assert_eq!(ledger.arrived(0), Tally { notifications: 0, signals: 2, handshakes: 1, refused: 1 });
        ledger.answered(1, &Wanted::Refused, Some("answered 200 instead of 401".into()));
        assert_eq!(ledger.arrived(1), Tally::default());
        assert!(ledger.faults(1).contains(&"answered 200 instead of 401".to_owned()));
    }

    #[test]
    fn a_long_notification_is_named_by_its_first_changes() {
        let long = expected("a", &["1", "2", "3", "4", "5", "6", "7"]);
        let named = long.to_string();
        assert!(named.starts_with("a, CREATED contacts 1, ") && named.ends_with(" 5 + 2 more"), "{named}");
    }

    #[test]
    fn a_tally_is_said_in_words() {
        assert_eq!(Tally::default().to_string(), "nothing");
        let tally = Tally { notifications: 1, signals: 2, handshakes: 0, refused: 3 };
        assert_eq!(tally.to_string(), "1 notification, 2 signals, 3 refused");
    }
}
