//! Any JSON API, in each of the ways in which such an API pages.
//!
//! | told | hidden by the API |
//! |---|---|
//! | of each record the last state that lists had as a poll came, once the second of its date is over | whatever a later change replaced before a poll came |
//! | what is gone, as DELETED, where the API lists it and the configuration says how (`deletedField`) | deletions, where it does not |
//! | what lists show up to 300 s (or `pollDelay`) after its date | what they show later, until it changes again |
//! | what a page's number or an offset skipped, by the next poll that nothing shifts | |

use std::time::Duration;

use events::Timestamp;
use serde_json::{Value, json};
use simulators::http::HttpApi;
use simulators::{Fault, Provider as _, Request, Simulator};

use super::{FOR_EVER, State, any_fault, picked};
use crate::bugs::Bug;
use crate::dice::Dice;
use crate::objects::{Objects, Rules, Version, dated};
use crate::subject::{Change, Evidence, Subject, What};

const KINDS: [&str; 2] = ["things", "others"];

/// The ways of paging: the path and its page's size, where the records are, and how it goes on.
const WAYS: [(&str, &str, &str, &str); 5] = [
    ("cursor", "limit", "data", r#"{"cursor": {"from": "meta.next_cursor", "query": "cursor"}}"#),
    ("link", "per_page", "", r#"{"link": {}}"#),
    ("page", "per_page", "results", r#"{"page": {"query": "page", "first": 1}}"#),
    ("offset", "limit", "items", r#"{"offset": {"query": "offset"}}"#),
    ("next", "limit", "value", r#"{"url": {"at": "next"}}"#),
];

/// An API.
#[derive(Debug)]
pub struct Http;

impl Subject for Http {
    type Provider = HttpApi;
    type History = Objects;

    const CONNECTOR: &'static str = "http";
    const DEFINITION: &'static str = include_str!("../../../../shared/connectors/definitions/http.yaml");
    const SCALED: &'static [(&'static str, &'static str)] = &[];
    const RECORDS: &'static [&'static str] = &["", "/data", "/results", "/items", "/value"];
    const LATEST: Duration = Duration::from_millis(300_002);
    const GRAIN: Duration = Duration::from_millis(1);

    fn start(now: Timestamp, _: &mut Dice) -> Simulator<HttpApi> {
        HttpApi::start(now)
    }

    fn settings(simulator: &Simulator<HttpApi>, dice: &mut Dice) -> Vec<(&'static str, String)> {
        let token = simulator.world(|api| {
            api.grants().rules.access = FOR_EVER;
            // So that the collections are there.
            for kind in KINDS {
                api.create(kind, &json!({}));
            }
            api.connect().access
        });
        let (way, size, records, paging) = dice.pick(&WAYS);
        let dates = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";
        let resources = KINDS.map(|kind| {
            let mut resource = json!({
                "url": format!("/{way}/{kind}?{size}=3&include_deleted=true&updated_since=${{gmtDate:{dates}}}"),
                "idField": "id",
                "datesConfiguration": {
                    "updatedDateField": "updated_at", "updatedDateFormat": dates,
                    "createdDateField": "created_at", "createdDateFormat": dates,
                },
                "deletedField": "deleted_at",
                "pagination": serde_json::from_str::<Value>(paging).unwrap_or_default(),
            });
            if !records.is_empty() {
                resource["recordsField"] = records.into();
            }
            (kind.to_owned(), resource)
        });
        let resources = Value::Object(resources.into_iter().collect());
        vec![
            ("base.url", simulator.url().to_owned()),
            ("event.poller.configuration", resources.to_string()),
            ("api.key", token),
        ]
    }

    fn change(api: &mut HttpApi, history: &mut Objects, change: Change, now: Timestamp) {
        let kind = KINDS[usize::from(change.pick.is_multiple_of(3))];
        let found = history.those(kind, false, now);
        let live = picked(&found, change.pick / 3).map(|version: &&Version| version.object.clone());
        api.lag = change.late;
        let (object, state) = match (change.what, live) {
            (What::Update | What::Restore, Some(live)) => {
                api.update(kind, &live.1, &json!({"number": change.pick}));
                (live, State::Changed)
            }
            (What::Delete, Some(live)) => {
                api.delete(kind, &live.1);
                (live, State::Gone)
            }
            _ => ((kind.to_owned(), api.create(kind, &json!({"number": change.pick}))), State::New),
        };
        history.dated(object, now, Self::GRAIN, change.late, state);
    }

    fn changes(history: &Objects) -> usize {
        history.versions.len()
    }

    fn fault(dice: &mut Dice) -> Fault<HttpApi> {
        if dice.chance(20) { Fault::before(HttpApi::expire_cursors) } else { any_fault(dice) }
    }

    fn mistaken(bug: Bug) -> &'static [(&'static str, &'static str)] {
        match bug {
            Bug::NoOverlap => &[("overlap: 300", "overlap: 0")],
            _ => &[],
        }
    }

    fn ask_strictly(request: &mut Request) {
        for (_, value) in request.query.iter_mut().filter(|(name, _)| name == "updated_since") {
            if let Some(at) = Timestamp::parse_rfc3339(value) {
                *value = at.plus(Self::GRAIN).iso_millis();
            }
        }
    }

    fn is_gone(record: &Value) -> bool {
        !record["deleted_at"].is_null()
    }

    fn judge(history: &Objects, evidence: &Evidence<'_>) -> Result<(), String> {
        let rules = Rules { latest: Self::LATEST, key: dated, hides_deleted: |_| false };
        history.judge(&rules, evidence)
    }
}
