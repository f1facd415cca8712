//! QuickBooks Online: change data capture, and a query where there is more than that gives.
//!
//! | told | hidden by the API |
//! |---|---|
//! | of each object every `SyncToken` that a poll could see, at once; several within one second too | whatever a later change replaced before a poll came |
//! | what is deleted, as DELETED, once its second is over | what was deleted while more objects of its kind changed than one answer holds (1,000), but for those that it does hold |
//! | objects of lists that are made inactive, as UPDATED | |
//! | what is shown up to 300 s after the second that it is dated | what is shown later, until it changes again |

use std::time::Duration;

use events::{Event, EventType, Timestamp};
use serde_json::{Value, json};
use simulators::quickbooks::{QuickBooks as Company, Throttle};
use simulators::{Fault, Provider as _, Rotation, Simulator, Tokens};

use super::{ACCESS, any_fault, floor, picked};
use crate::bugs::Bug;
use crate::dice::Dice;
use crate::objects::{Objects, Rules, Version, dated};
use crate::subject::{Change, Evidence, Poll, Subject, What};

/// Object types, and what Intuit calls them. The second is a list, of which nothing is deleted.
const KINDS: [(&str, &str); 2] = [("invoices", "Invoice"), ("customers", "Customer")];
/// How many objects change data capture gives, here.
const MOST: usize = 6;

/// A company.
#[derive(Debug)]
pub struct QuickBooks;

impl Subject for QuickBooks {
    type Provider = Company;
    type History = Objects;

    const CONNECTOR: &'static str = "quickbooks";
    const DEFINITION: &'static str = include_str!("../../../../shared/connectors/definitions/quickbooks.yaml");
    const SCALED: &'static [(&'static str, &'static str)] =
        &[("page_size: 1000", "page_size: 3"), ("most: 1000", "most: 6")];
    const RECORDS: &'static [&'static str] = &[
        "/CDCResponse/0/QueryResponse/0/Invoice",
        "/CDCResponse/0/QueryResponse/0/Customer",
        "/QueryResponse/Invoice",
        "/QueryResponse/Customer",
    ];
    const LATEST: Duration = Duration::from_secs(300);
    const GRAIN: Duration = Duration::from_secs(1);

    fn start(now: Timestamp, dice: &mut Dice) -> Simulator<Company> {
        let company = Company::start(now);
        let throttle = dice.pick(&[Throttle::Json, Throttle::Xml]);
        company.world(|company| (company.cdc_limit, company.throttle) = (MOST, throttle));
        company
    }

    fn settings(simulator: &Simulator<Company>, _: &mut Dice) -> Vec<(&'static str, String)> {
        let realm = simulator.world(|company| {
            company.grants().rules.access = ACCESS;
            company.realm.clone()
        });
        let objects = KINDS.map(|(name, _)| name).join(",");
        vec![("event.objects", objects), ("event.vendor.account", realm)]
    }

    const ROTATIONS: &'static [Rotation] =
        &[Rotation::Never, Rotation::Always, Rotation::After(Duration::from_secs(86_400))];

    fn consent(company: &mut Company) -> Option<Tokens> {
        Some(company.connect())
    }

    fn change(company: &mut Company, history: &mut Objects, change: Change, now: Timestamp) {
        let (name, entity) = KINDS[usize::from(change.pick.is_multiple_of(3))];
        let found = history.those(name, false, now);
        let live = picked(&found, change.pick / 3).map(|version| (*version).clone());
        let date = floor(now, Self::GRAIN);
        let next = |live: &Version| (live.key.parse::<u64>().unwrap_or(0) + 1).to_string();
        company.lag = change.late;
        let shown = now.plus(change.late);
        let at_once = |object, key, first| Version {
            object,
            key,
            date,
            at: now,
            shown,
            over: date,
            deleted: false,
            first,
            hidden: false,
        };
        let version = match (change.what, live) {
            (What::Update, Some(live)) => {
                company.update(entity, &live.object.1, &json!({"Line": change.pick}));
                at_once(live.object.clone(), next(&live), false)
            }
            (What::Delete | What::Restore, Some(live)) if entity == "Customer" => {
                company.set_active(entity, &live.object.1, change.what == What::Restore);
                at_once(live.object.clone(), next(&live), false)
            }
            (What::Delete, Some(live)) => {
                company.delete(entity, &live.object.1);
                let (key, over) = (date.as_millis().to_string(), date.plus(Self::GRAIN));
                Version { key, over, deleted: true, ..at_once(live.object, String::new(), false) }
            }
            _ => {
                let id = company.create(entity, &json!({"Line": change.pick}));
                at_once((name.to_owned(), id), "0".into(), true)
            }
        };
        history.versions.push(version);
    }

    fn changes(history: &Objects) -> usize {
        history.versions.len()
    }

    fn fault(dice: &mut Dice) -> Fault<Company> {
        if dice.chance(20) {
            // Comes with 200.
            let fault =
                json!({"Fault": {"Error": [{"Message": "m", "Detail": "d", "code": "6000"}], "type": "SERVICE"}});
            return Fault::Answer(simulators::Answer::json(200, &fault));
        }
        any_fault(dice)
    }

    fn mistaken(bug: Bug) -> &'static [(&'static str, &'static str)] {
        match bug {
            Bug::AsksStrictly => &[("LastUpdatedTime >= '", "LastUpdatedTime > '")],
            Bug::NoOverlap => &[("overlap: 300", "overlap: 0")],
            _ => &[],
        }
    }

    fn is_gone(record: &Value) -> bool {
        record["status"] == "Deleted"
    }

    fn judge(history: &Objects, evidence: &Evidence<'_>) -> Result<(), String> {
        let hides_deleted = |poll: &Poll| poll.asked.iter().any(|(path, _)| path.ends_with("/query"));
        let rules = Rules { dated: true, latest: Self::LATEST, key, hides_deleted };
        history.judge(&rules, evidence)
    }
}

/// What was deleted has no `SyncToken`.
fn key(event: &Event, record: &Value) -> String {
    match event.event_type {
        EventType::Deleted => dated(event, record),
        _ => record["SyncToken"].as_str().unwrap_or_default().to_owned(),
    }
}
