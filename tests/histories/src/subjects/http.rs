//! Any JSON API, in each of the ways in which such an API pages.
//!
//! | told | hidden by the API |
//! |---|---|
//! | of each record the last state that lists had as a poll came, once the second of its date is over | whatever a later change replaced before a poll came |
//! | what is gone, as DELETED, where the API lists it and the configuration says how (`deletedField`) | deletions, where it does not |
//! | what lists show up to 300 s (or `pollDelay`) after its date | what they show later, until it changes again |
//! | what a page's number or an offset skipped, by the next poll that nothing shifts | |

use std::time::Duration;

use events::{Event, Timestamp};
use serde_json::{Value, json};
use simulators::http::{HttpApi, Needs};
use simulators::{Fault, Provider as _, Request, Simulator};

use super::{FOR_EVER, State, any_fault, picked};
use crate::bugs::Bug;
use crate::dice::Dice;
use crate::objects::{Object, Objects, Rules, Version, dated};
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
        settings(simulator, dice, true)
    }

    fn change(api: &mut HttpApi, history: &mut Objects, change: Change, now: Timestamp) {
        let (object, state) = happens(api, history, change, now);
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
        let rules = Rules { dated: true, latest: Self::LATEST, key: dated, hides_deleted: |_| false };
        history.judge(&rules, evidence)
    }
}

/// The configuration of an instance that polls by the dates of records, or lists them without any.
fn settings(simulator: &Simulator<HttpApi>, dice: &mut Dice, dated: bool) -> Vec<(&'static str, String)> {
    let token = simulator.world(|api| {
        api.grants().rules.access = FOR_EVER;
        api.needs = Needs::Bearer;
        for kind in KINDS {
            api.collection(kind);
        }
        api.connect().access
    });
    let (way, size, records, paging) = dice.pick(&WAYS);
    let dates = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";
    let resources = KINDS.map(|kind| {
        let mut resource = json!({
            "url": format!("/{way}/{kind}?{size}=3"),
            "idField": "id",
            "pagination": serde_json::from_str::<Value>(paging).unwrap_or_default(),
        });
        if dated {
            resource["url"] =
                format!("/{way}/{kind}?{size}=3&include_deleted=true&updated_since=${{gmtDate:{dates}}}").into();
            resource["datesConfiguration"] = json!({
                "updatedDateField": "updated_at", "updatedDateFormat": dates,
                "createdDateField": "created_at", "createdDateFormat": dates,
            });
            resource["deletedField"] = "deleted_at".into();
        }
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

/// Makes a change.
fn happens(api: &mut HttpApi, history: &Objects, change: Change, now: Timestamp) -> (Object, State) {
    let kind = KINDS[usize::from(change.pick.is_multiple_of(3))];
    let found = history.those(kind, false, now);
    let live = picked(&found, change.pick / 3).map(|version: &&Version| version.object.clone());
    api.lag = change.late;
    match (change.what, live) {
        (What::Update | What::Restore, Some(live)) => {
            api.update(kind, &live.1, &json!({"number": change.pick}));
            (live, State::Changed)
        }
        (What::Delete, Some(live)) => {
            api.delete(kind, &live.1);
            (live, State::Gone)
        }
        _ => ((kind.to_owned(), api.create(kind, &json!({"number": change.pick}))), State::New),
    }
}

/// The same API by an instance that knows no dates: everything is listed at each poll, and a version is its content.
///
/// | told | hidden by the API |
/// |---|---|
/// | each content of a record that was listed as a poll came, at once; at the first poll everything | whatever a later change replaced before a poll came; what is gone |
#[derive(Debug)]
pub struct Listed;

impl Subject for Listed {
    type Provider = HttpApi;
    type History = Objects;

    const CONNECTOR: &'static str = Http::CONNECTOR;
    const DEFINITION: &'static str = Http::DEFINITION;
    const SCALED: &'static [(&'static str, &'static str)] = &[];
    const RECORDS: &'static [&'static str] = Http::RECORDS;
    const LATEST: Duration = Http::LATEST;
    const GRAIN: Duration = Http::GRAIN;

    fn start(now: Timestamp, dice: &mut Dice) -> Simulator<HttpApi> {
        Http::start(now, dice)
    }

    fn settings(simulator: &Simulator<HttpApi>, dice: &mut Dice) -> Vec<(&'static str, String)> {
        settings(simulator, dice, false)
    }

    fn change(api: &mut HttpApi, history: &mut Objects, change: Change, now: Timestamp) {
        let (object, state) = happens(api, history, change, now);
        let shown = now.plus(change.late);
        let (first, deleted) = (state == State::New, state == State::Gone);
        let key = change.pick.to_string();
        history.versions.push(Version {
            object,
            key,
            date: now,
            at: now,
            shown,
            over: now,
            deleted,
            first,
            hidden: false,
        });
    }

    fn changes(history: &Objects) -> usize {
        history.versions.len()
    }

    fn fault(dice: &mut Dice) -> Fault<HttpApi> {
        Http::fault(dice)
    }

    fn is_gone(record: &Value) -> bool {
        Http::is_gone(record)
    }

    fn judge(history: &Objects, evidence: &Evidence<'_>) -> Result<(), String> {
        let key = |_: &Event, record: &Value| record["number"].to_string();
        let rules = Rules { dated: false, latest: Self::LATEST, key, hides_deleted: |_| true };
        history.judge(&rules, evidence)
    }
}
