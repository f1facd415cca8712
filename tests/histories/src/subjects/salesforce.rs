//! Salesforce: SOQL by `SystemModstamp`, with what is in the recycle bin.
//!
//! | told | hidden by the API |
//! |---|---|
//! | of each object the last state of each second in which a poll could see it, once that second is over | earlier ones of the second, and whatever a later change replaced before a poll came |
//! | what is in the recycle bin, as DELETED; what comes back from it, as UPDATED | what was purged from the bin before a poll came |
//! | what a transaction commits up to 602 s after the second that it is dated | what is committed later, until it changes again |

use std::time::Duration;

use events::Timestamp;
use serde_json::{Value, json};
use simulators::salesforce::Salesforce as Org;
use simulators::{Fault, Provider as _, Rotation, Simulator, Tokens};

use super::{ACCESS, State, any_fault, picked};
use crate::bugs::Bug;
use crate::dice::Dice;
use crate::objects::{Objects, Rules, Version, dated};
use crate::subject::{Change, Evidence, Subject, What};

const OBJECTS: [&str; 2] = ["Account", "Contact"];

/// An org.
#[derive(Debug)]
pub struct Salesforce;

impl Subject for Salesforce {
    type Provider = Org;
    type History = Objects;

    const CONNECTOR: &'static str = "sfdc";
    const DEFINITION: &'static str = include_str!("../../../../shared/connectors/definitions/sfdc.yaml");
    const SCALED: &'static [(&'static str, &'static str)] = &[];
    const RECORDS: &'static [&'static str] = &["/records"];
    const LATEST: Duration = Duration::from_secs(602);
    const GRAIN: Duration = Duration::from_secs(1);

    fn start(now: Timestamp, dice: &mut Dice) -> Simulator<Org> {
        let org = Org::start(now);
        let page_size = 1 + dice.count(4);
        org.world(|org| org.page_size = page_size);
        org
    }

    fn settings(simulator: &Simulator<Org>, _: &mut Dice) -> Vec<(&'static str, String)> {
        simulator.world(|org| org.grants().rules.access = ACCESS);
        vec![("event.objects", OBJECTS.join(",")), ("instance_url", simulator.url().to_owned())]
    }

    const ROTATIONS: &'static [Rotation] = &[Rotation::Never, Rotation::Always];

    fn consent(org: &mut Org) -> Option<Tokens> {
        Some(org.connect())
    }

    fn change(org: &mut Org, history: &mut Objects, change: Change, now: Timestamp) {
        let object = OBJECTS[usize::from(change.pick.is_multiple_of(3))];
        let commit = now.plus(change.late);
        let of = |found: Vec<&Version>| picked(&found, change.pick / 3).map(|version| version.object.clone());
        let (live, binned) = (of(history.those(object, false, now)), of(history.those(object, true, now)));
        let (object, state, late) = match (change.what, live, binned) {
            (What::Update, Some(live), _) => {
                org.update_in_transaction(&live.1, &json!({"Name": "changed"}), commit);
                (live, State::Changed, change.late)
            }
            (What::Delete, Some(live), _) => {
                org.delete(&live.1);
                (live, State::Gone, Duration::ZERO)
            }
            (What::Restore, _, Some(binned)) => {
                org.undelete(&binned.1);
                (binned, State::Changed, Duration::ZERO)
            }
            _ => {
                let id = org.create_in_transaction(object, &json!({"Name": "new"}), commit);
                ((object.to_owned(), id), State::New, change.late)
            }
        };
        history.dated(object, now, Self::GRAIN, late, state);
    }

    fn changes(history: &Objects) -> usize {
        history.versions.len()
    }

    fn fault(dice: &mut Dice) -> Fault<Org> {
        if dice.chance(30) { Fault::before(Org::expire_locators) } else { any_fault(dice) }
    }

    fn mistaken(bug: Bug) -> &'static [(&'static str, &'static str)] {
        match bug {
            Bug::AsksStrictly => &[("SystemModstamp >= $", "SystemModstamp > $")],
            Bug::NoOverlap => &[("overlap: 600", "overlap: 0")],
            _ => &[],
        }
    }

    fn is_gone(record: &Value) -> bool {
        record["IsDeleted"] == true
    }

    fn judge(history: &Objects, evidence: &Evidence<'_>) -> Result<(), String> {
        let rules = Rules { dated: true, latest: Self::LATEST, key: dated, hides_deleted: |_| false };
        history.judge(&rules, evidence)
    }
}
