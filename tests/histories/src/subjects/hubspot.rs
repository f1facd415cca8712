//! HubSpot: the CRM's search by the date of the last change, and the list of what is archived.
//!
//! | told | hidden by the API |
//! |---|---|
//! | of each object the last state that the index had as a poll came, once the second of its date is over; of a merge, the one that is left, as UPDATED | whatever a later change replaced before a poll came |
//! | what is archived as a poll comes, as DELETED; what is restored, as UPDATED | what was archived and restored, or deleted for good, in between |
//! | what the index shows up to 600 s after its date | what it shows later, until it changes again; of a merge, the object that is no more |
//! | | of more than 10,000 objects of one moment all but these, and what comes after them, until they change |

use std::time::Duration;

use events::Timestamp;
use serde_json::{Value, json};
use simulators::hubspot::{HubSpot as Portal, Lag};
use simulators::{Fault, Provider as _, Simulator, Tokens};

use super::{ACCESS, State, any_fault, picked};
use crate::bugs::Bug;
use crate::dice::Dice;
use crate::objects::{Objects, Rules, Version, dated};
use crate::subject::{Change, Evidence, Subject, What};

/// Object types, and what HubSpot calls them.
const KINDS: [(&str, &str); 2] = [("contacts", "contacts"), ("accounts", "companies")];
/// How many results a query has at most, here.
const CAP: usize = 60;

/// A portal.
#[derive(Debug)]
pub struct HubSpot;

impl Subject for HubSpot {
    type Provider = Portal;
    type History = Objects;

    const CONNECTOR: &'static str = "hubspot";
    const DEFINITION: &'static str = include_str!("../../../../shared/connectors/definitions/hubspot.yaml");
    const SCALED: &'static [(&'static str, &'static str)] =
        &[("page_size: 200", "page_size: 3"), ("page_size: 100", "page_size: 2"), ("restart: 10000", "restart: 60")];
    const RECORDS: &'static [&'static str] = &["/results"];
    const LATEST: Duration = Duration::from_millis(600_002);
    const GRAIN: Duration = Duration::from_millis(1);

    fn start(now: Timestamp, _: &mut Dice) -> Simulator<Portal> {
        let portal = Portal::start(now);
        portal.world(|portal| portal.cap = CAP);
        portal
    }

    fn settings(simulator: &Simulator<Portal>, _: &mut Dice) -> Vec<(&'static str, String)> {
        simulator.world(|portal| portal.grants().rules.access = ACCESS);
        let objects = KINDS.map(|(name, _)| format!("{name},{name}/archived")).join(",");
        vec![("event.objects", objects)]
    }

    fn consent(portal: &mut Portal) -> Option<Tokens> {
        Some(portal.connect())
    }

    fn change(portal: &mut Portal, history: &mut Objects, change: Change, now: Timestamp) {
        let (name, kind) = KINDS[usize::from(change.pick.is_multiple_of(3))];
        let lag = |late| Lag { created: late, updated: late };
        let of = |found: Vec<&Version>| picked(&found, change.pick / 3).map(|version| version.object.clone());
        let (live, archived) = (of(history.those(name, false, now)), of(history.those(name, true, now)));
        let mut others = history.those(name, false, now);
        others.retain(|version| Some(&version.object) != live.as_ref());
        let other = of(others).filter(|_| change.what == What::Merge);
        let (object, state, late) = match (change.what, live, archived) {
            (What::Merge, Some(live), _) if other.is_some() => {
                portal.lag = lag(Duration::ZERO);
                let lost = other.unwrap_or_else(|| live.clone());
                portal.merge(kind, &live.1, &lost.1);
                history.dated(lost, now, Self::GRAIN, Duration::ZERO, State::Hidden);
                (live, State::Changed, Duration::ZERO)
            }
            (What::Update, Some(live), _) => {
                portal.lag = lag(change.late);
                portal.update(kind, &live.1, &json!({"name": "changed"}));
                (live, State::Changed, change.late)
            }
            (What::Delete, Some(live), _) => {
                portal.lag = lag(Duration::ZERO);
                portal.archive(kind, &live.1);
                (live, State::Gone, Duration::ZERO)
            }
            (What::Restore, _, Some(archived)) => {
                portal.lag = lag(Duration::ZERO);
                portal.restore(kind, &archived.1);
                (archived, State::Changed, Duration::ZERO)
            }
            _ => {
                portal.lag = lag(change.late);
                let id = portal.create(kind, &json!({"name": "new"}));
                ((name.to_owned(), id), State::New, change.late)
            }
        };
        history.dated(object, now, Self::GRAIN, late, state);
    }

    fn changes(history: &Objects) -> usize {
        history.versions.len()
    }

    fn fault(dice: &mut Dice) -> Fault<Portal> {
        any_fault(dice)
    }

    fn mistaken(bug: Bug) -> &'static [(&'static str, &'static str)] {
        match bug {
            Bug::AsksStrictly => &[("operator: GTE", "operator: GT")],
            Bug::NoOverlap => &[("overlap: 600", "overlap: 0")],
            _ => &[],
        }
    }

    fn is_gone(record: &Value) -> bool {
        record["archived"] == true
    }

    fn judge(history: &Objects, evidence: &Evidence<'_>) -> Result<(), String> {
        let rules = Rules { dated: true, latest: Self::LATEST, key: dated, hides_deleted: |_| false };
        history.judge(&rules, evidence)
    }
}
