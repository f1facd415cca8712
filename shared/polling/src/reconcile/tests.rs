use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::classify::{Classified, Moment};
use crate::configuration;
use crate::definition::Polling;
use crate::definition::fixtures::DROPBOX;

const SECTION: &str = r"
base_url: https://api.example
authentication: { none: {} }
reconcile: { tolerance: 1, types: { accounts: companies } }
resources:
  companies: { path: /c, id: id, updated: { at: u }, created: { at: c } }
";

fn second(n: i64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + n)
}

fn reconcile(tolerance: u64) -> Reconcile {
    Reconcile { tolerance, ..Reconcile::default() }
}

/// The query of an instance that configures this, of the only resource that it has.
fn query(section: &str, setting: &str, value: &str) -> Query {
    let settings = BTreeMap::from([(setting.to_owned(), value.to_owned())]);
    let resource = &configuration::read(&settings).resources[0];
    Query::resolve(&Polling::from_yaml(section).unwrap(), resource).unwrap()
}

/// A record that is seen now.
fn classified(query: &Query, record: &serde_json::Value) -> Classified {
    let (start, clock) = (second(0).minus(query.grace), second(0));
    query.rules.classify(record, &Moment { since: second(-100_000), start, clock }, |_| false)
}

fn date(query: &Query, record: &serde_json::Value) -> Option<Timestamp> {
    match classified(query, record) {
        Classified::Told(told) => comparable(&query.rules, &told),
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
struct Event {
    kind: EventType,
    date: Option<i64>,
}

fn event() -> impl Strategy<Value = Event> {
    let kind =
        prop::sample::select(vec![EventType::Created, EventType::Updated, EventType::Deleted, EventType::Unknown]);
    (kind, proptest::option::of(-10..10_i64)).prop_map(|(kind, date)| Event { kind, date })
}

proptest! {
    /// The model looks at each event by itself; what is kept of them is one date of each kind.
    #[test]
    fn what_is_left_out_was_told_by_an_event_of_its_kind_that_is_not_older_and_nothing_else_is(
        told in proptest::collection::vec(event(), 0..8),
        change in event(),
        tolerance in 0_u64..3,
    ) {
        let heard = told.iter().map(|Event { kind, date }| Heard::of(*kind, date.map(second)));
        let forwards = heard.clone().fold(Heard::default(), Heard::and);
        prop_assert_eq!(heard.rev().fold(Heard::default(), Heard::and), forwards, "in whichever order they came");
        let kept = serde_json::to_string(&forwards).unwrap();
        prop_assert_eq!(serde_json::from_str::<Heard>(&kept).unwrap(), forwards);

        let gone = |kind: EventType| kind == EventType::Deleted;
        let at = change.date.unwrap_or(0);
        let expected = told.iter().any(|event| {
            event.kind != EventType::Unknown
                && gone(event.kind) == gone(change.kind)
                && event.date.is_some_and(|date| date + i64::try_from(tolerance).unwrap() >= at)
        });
        prop_assert_eq!(reconcile(tolerance).was_told(change.kind, second(at), forwards), expected);
    }

    #[test]
    fn what_is_younger_than_the_grace_waits_and_the_rest_does_not(age_s in 0..700_i64) {
        let query = query(SECTION, "event.objects", "companies").reconciling();
        let record = json!({"id": 1, "u": second(-age_s).iso_millis(), "c": second(-9_000).iso_millis()});
        let found = classified(&query, &record);
        prop_assert_eq!(matches!(found, Classified::Later(_)), age_s < 300);
    }
}

#[test]
fn the_names_of_webhooks_stand_for_those_of_polls() {
    let polling = Polling::from_yaml(SECTION).unwrap();
    let reconcile = polling.reconcile.unwrap();
    assert_eq!(reconcile.names("companies").collect::<Vec<_>>(), ["companies", "accounts"]);
    assert_eq!(reconcile.names("deals").collect::<Vec<_>>(), ["deals"]);
    assert!(Polling::from_yaml(&SECTION.replace("tolerance", "tolerence")).is_err());
}

#[test]
fn a_date_that_does_not_move_with_the_change_is_none_to_compare_by() {
    let companies = query(SECTION, "event.objects", "companies");
    let record = json!({"id": 1, "u": second(-60).iso_millis(), "c": second(-90).iso_millis()});
    assert_eq!(date(&companies, &record), Some(second(-60)));
    let own = |dates: &str, more: &str| {
        let text = format!(r#"{{"x": {{"url": "/x", "idField": "id", "datesConfiguration": {{{dates}}}{more}}}}}"#);
        query(SECTION, "event.poller.configuration", &text)
    };
    let updated = r#""updatedDateField": "u""#;
    assert_eq!(date(&own(updated, ""), &record), Some(second(-60)));
    let day = json!({"id": 1, "u": "2026-09-20"});
    let end = Timestamp::parse_rfc3339("2026-09-20T23:59:59.999Z");
    let days = r#""updatedDateField": "u", "updatedDateFormat": "yyyy-MM-dd""#;
    assert_eq!(date(&own(days, ""), &day), end, "whatever of that day it was told at may be before the change");
    assert_eq!(date(&own(updated, r#", "filterByUpdatedDate": false"#), &record), None);
    for dates in [r#""createdDateField": "u""#, r#""updatedDateField": "u", "createdDateField": "u""#, ""] {
        assert_eq!(date(&own(dates, r#", "filterByUpdatedDate": true"#), &record), None, "{dates}");
    }
}

#[test]
fn what_a_cursor_shows_is_neither_compared_nor_put_off() {
    let files = query(DROPBOX, "event.objects", "files").reconciling();
    assert_eq!(files.grace, Duration::ZERO);
    let record = json!({"id": "id:1", ".tag": "file", "server_modified": second(0).iso_seconds()});
    assert_eq!(date(&files, &record), None);
}
