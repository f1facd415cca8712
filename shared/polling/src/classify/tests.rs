use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dates::{DateFormat, Zone};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn field(path: &str) -> Option<DateField> {
    let (path, format) = (Path::parse(path).unwrap(), DateFormat::parse("yyyy-MM-dd'T'HH:mm:ss.SSSXXX").unwrap());
    Some(DateField { path, format, zone: Zone::gmt() })
}

/// Both dates, the provider selects, the contract's defaults.
fn rules() -> Rules {
    Rules {
        object_type: "contacts".into(),
        types: None,
        by_cursor: false,
        id: Path::parse("id").unwrap(),
        id_else: None,
        updated: field("u"),
        created: field("c"),
        version: None,
        deleted: None,
        tolerance: Duration::ZERO,
        new_since_last: false,
        filter_by_updated: true,
        newer: Newer::Told,
        selects: true,
    }
}

/// The last poll came to 10:00, five minutes are looked at again, and it is 10:15.
fn moment() -> Moment {
    Moment { since: at("2026-01-02T09:55:00Z"), start: at("2026-01-02T10:15:00Z"), clock: at("2026-01-02T10:15:00Z") }
}

fn record(updated: &str, created: &str) -> Value {
    let day = |time: &str| if time.contains('-') { time.to_owned() } else { format!("2026-01-02T{time}Z") };
    json!({"id": 7, "u": day(updated), "c": day(created)})
}

fn told(rules: &Rules, record: &Value) -> Told {
    told_known(rules, record, false)
}

fn told_known(rules: &Rules, record: &Value, known: bool) -> Told {
    match rules.classify(record, &moment(), |_| known) {
        Classified::Told(told) => told,
        other => panic!("{other:?}"),
    }
}

fn untold(rules: &Rules, record: &Value) -> Classified {
    match rules.classify(record, &moment(), |_| false) {
        Classified::Told(told) => panic!("{told:?}"),
        other => other,
    }
}

#[test]
fn equal_dates_within_the_tolerance_are_new_and_others_are_not() {
    let ten = Rules { tolerance: Duration::from_secs(10), ..rules() };
    for (rules, updated, created, expected) in [
        (rules(), "10:05:00.000", "10:05:00.000", EventType::Created),
        (rules(), "10:05:00.001", "10:05:00.000", EventType::Updated),
        (ten.clone(), "10:05:10.000", "10:05:00.000", EventType::Created),
        (ten.clone(), "10:05:00.000", "10:05:10.000", EventType::Created),
        (ten, "10:05:10.001", "10:05:00.000", EventType::Updated),
    ] {
        let told = told(&rules, &record(updated, created));
        assert_eq!(told.event_type, expected, "{updated} {created}");
        assert_eq!(told.date, Some(at(&format!("2026-01-02T{updated}Z"))));
        assert_eq!((told.object_id.as_str(), told.object_type.as_str()), ("7", "contacts"));
    }
}

#[test]
fn what_is_known_is_not_new_however_close_its_dates_are() {
    let changed_at_once = record("10:05:00.002", "10:05:00.001");
    let tolerant = Rules { tolerance: Duration::from_secs(10), ..rules() };
    assert_eq!(told(&tolerant, &changed_at_once).event_type, EventType::Created);
    assert_eq!(told_known(&tolerant, &changed_at_once, true).event_type, EventType::Updated);
}

#[test]
fn where_a_cursor_knows_what_is_new_nothing_waits_and_each_state_is_a_version() {
    let by_cursor = Rules { by_cursor: true, filter_by_updated: false, newer: Newer::Waits, created: None, ..rules() };
    let by_cursor = Rules { version: Path::parse("rev").ok(), ..by_cursor };
    let entry = |place: &str| json!({"id": 7, "rev": "r1", "u": "2026-01-02T10:15:00Z", "path": place});
    let here = told(&by_cursor, &entry("/a"));
    assert_eq!((here.event_type, here.position), (EventType::Updated, None));
    assert_ne!(here.version, told(&by_cursor, &entry("/b")).version, "it was moved");
    assert_eq!(told(&by_cursor, &json!({"id": 8})).event_type, EventType::Updated, "nothing says that it is new");
}

#[test]
fn a_record_may_say_of_which_type_it_is() {
    let of = [("file".to_owned(), "files".to_owned())].into();
    let rules = Rules { types: Some(Types { at: Path::parse("tag").unwrap(), of }), ..rules() };
    for (tag, expected) in [(json!("file"), "files"), (json!("folder"), "contacts"), (json!(null), "contacts")] {
        let mut record = record("10:05:00.5", "10:00:00.5");
        record["tag"] = tag;
        assert_eq!(told(&rules, &record).object_type, expected);
    }
}

#[test]
fn a_connector_may_call_what_was_made_since_the_last_poll_new() {
    let since = Rules { new_since_last: true, ..rules() };
    let made_since = record("10:14:00.5", "10:05:00.0");
    assert_eq!(told(&since, &made_since).event_type, EventType::Created);
    assert_eq!(told(&rules(), &made_since).event_type, EventType::Updated, "the contract's rule");
    assert_eq!(told_known(&since, &made_since, true).event_type, EventType::Updated);
    let shown_late = record("10:14:00.5", "09:55:00.0");
    assert_eq!(told(&since, &shown_late).event_type, EventType::Created, "the last poll came to 10:00 without it");
    assert_eq!(told(&since, &record("10:14:00.5", "09:54:59.999")).event_type, EventType::Updated);
}

#[test]
fn what_is_older_than_the_window_is_ignored_unless_the_configuration_wants_it() {
    let older = record("09:54:59.999", "09:00:00.0");
    assert_eq!(untold(&rules(), &older), Classified::Ignored(Ignored::Older));
    let wants = Rules { filter_by_updated: false, ..rules() };
    assert_eq!(told(&wants, &older).position, None, "it is remembered for as long as it is listed");
    let edge = told(&rules(), &record("09:55:00.0", "09:00:00.0"));
    assert_eq!(edge.position, Some(at("2026-01-02T09:55:00Z")), "the window's first moment is in it");
}

#[test]
fn what_is_newer_than_the_start_waits_where_the_configuration_says_so() {
    let after = record("10:15:00.001", "09:00:00.0");
    let current = Rules { newer: Newer::Waits, ..rules() };
    let date = at("2026-01-02T10:15:00.001Z");
    assert_eq!(untold(&current, &after), Classified::Later(Later { date, why: Wait::AfterStart }));
    let near = Rules { newer: Newer::WaitsIfNear, ..rules() };
    assert_eq!(untold(&near, &after), Classified::Later(Later { date, why: Wait::AfterStart }));
    assert!(matches!(near.classify(&record("17:15:00.001", "09:00:00.0"), &moment(), |_| false), Classified::Told(_)));
    let later = Moment { start: at("2026-01-02T10:20:00Z"), clock: at("2026-01-02T10:20:00Z"), ..moment() };
    assert!(matches!(current.classify(&after, &later, |_| false), Classified::Told(_)));
}

#[test]
fn a_version_as_coarse_as_a_second_is_told_once_that_second_is_over() {
    let second = record("10:15:00", "09:00:00");
    let date = at("2026-01-02T10:15:00Z");
    assert_eq!(untold(&rules(), &second), Classified::Later(Later { date, why: Wait::NotOver }));
    for (clock, over) in [("10:15:00.999", false), ("10:15:01", true)] {
        let moment = Moment { clock: at(&format!("2026-01-02T{clock}Z")), ..moment() };
        assert_eq!(matches!(rules().classify(&second, &moment, |_| false), Classified::Told(_)), over, "{clock}");
    }
    let named = Rules { version: Path::parse("rev").ok(), ..rules() };
    let mut with_rev = second;
    with_rev["rev"] = json!(3);
    assert_eq!(told(&named, &with_rev).version, Version::named("3"), "a version of the provider's own is final");
}

#[test]
fn a_date_in_the_far_future_is_not_waited_for() {
    let wish = record("2099-01-01T00:00:00Z", "09:00:00");
    let (first, mut changed) = (told(&rules(), &wish), wish);
    changed["name"] = json!("other");
    assert_ne!(first.version, told(&rules(), &changed).version);
}

#[test]
fn with_one_date_a_record_is_new_in_the_window_and_its_content_is_its_version() {
    let both = Rules { created: field("u"), filter_by_updated: false, ..rules() };
    let only = Rules { updated: None, filter_by_updated: false, ..rules() };
    for rules in [both, only] {
        let mut recent = record("10:05:00.0", "10:05:00.0");
        let first = told(&rules, &recent);
        assert_eq!((first.event_type, first.position), (EventType::Created, None));
        assert_eq!(first.date, Some(at("2026-01-02T10:05:00Z")));
        recent["name"] = json!("changed");
        let second = told_known(&rules, &recent, true);
        assert_eq!(second.event_type, EventType::Updated);
        assert_ne!(first.version, second.version);
        let old = record("08:00:00.0", "08:00:00.0");
        assert_eq!(told(&rules, &old).event_type, EventType::Updated, "the provider selected it");
        let lists = Rules { selects: false, ..rules };
        assert_eq!(untold(&lists, &old), Classified::Ignored(Ignored::Older));
        assert_eq!(told(&lists, &recent).event_type, EventType::Created);
    }
    let updated_only = Rules { created: None, ..rules() };
    assert_eq!(told(&updated_only, &record("10:05:00.0", "10:05:00.0")).event_type, EventType::Updated);
}

#[test]
fn one_date_in_both_fields_is_filtered_by_unless_the_configuration_says_otherwise() {
    let both = Rules { created: field("u"), ..rules() };
    assert_eq!(untold(&both, &record("09:54:00.0", "09:54:00.0")), Classified::Ignored(Ignored::Older));
    let recent = told(&both, &record("10:05:00.0", "10:05:00.0"));
    assert_eq!((recent.event_type, recent.position), (EventType::Created, Some(at("2026-01-02T10:05:00Z"))));
}

#[test]
fn without_any_date_a_record_is_new_once() {
    let dateless = Rules { updated: None, created: None, ..rules() };
    let record = json!({"id": "2|0", "balance": 10_000});
    let first = told(&dateless, &record);
    assert_eq!((first.event_type, first.date, first.position), (EventType::Created, None, None));
    assert_eq!(told_known(&dateless, &record, true).event_type, EventType::Updated);
    assert_eq!(first.version, Version::content(None, &record));
}

#[test]
fn a_date_that_cannot_be_read_tells_the_content_of_what_the_provider_selected() {
    let unreadable = json!({"id": 7, "u": "soon", "c": "lately"});
    let told = told(&rules(), &unreadable);
    assert_eq!((told.date, told.position), (None, None));
    assert_eq!(told.version, Version::content(None, &unreadable));
    let lists = Rules { selects: false, ..rules() };
    assert_eq!(untold(&lists, &unreadable), Classified::Ignored(Ignored::NoDate));
    let nameless = json!({"u": "2026-01-02T10:05:00.5Z", "path": "/a"});
    assert_eq!(untold(&rules(), &nameless), Classified::Ignored(Ignored::NoId));
    let otherwise = Rules { id_else: Path::parse("path").ok(), ..rules() };
    assert_eq!(self::told(&otherwise, &nameless).object_id, "/a");
}

#[test]
fn a_day_is_too_coarse_to_wait_for_and_too_coarse_to_be_a_version() {
    let day = |name: &str| json!({"id": 7, "u": "2026-01-02", "c": "2025-01-01", "name": name});
    let version = |name: &str| {
        let told = told(&rules(), &day(name));
        assert_eq!(told.position, Some(at("2026-01-02T23:59:59.999Z")), "it may have been at any moment of the day");
        told.version
    };
    assert_ne!(version("a"), version("b"));
    assert_eq!(version("a"), version("a"));
}

#[test]
fn a_record_that_says_it_is_gone_is_deleted_by_another_id() {
    let deleted = |path: &str, is: Option<Value>| Deleted { path: Path::parse(path).unwrap(), is };
    for (rule, value, gone) in [
        (deleted("IsDeleted", None), json!({"IsDeleted": true}), true),
        (deleted("IsDeleted", None), json!({"IsDeleted": false}), false),
        (deleted("IsDeleted", None), json!({"IsDeleted": "false"}), false),
        (deleted("IsDeleted", None), json!({}), false),
        (deleted("IsDeleted", Some(json!(true))), json!({"IsDeleted": "True"}), true),
        (deleted("status", Some(json!("Deleted"))), json!({"status": "deleted"}), true),
        (deleted("status", Some(json!("Deleted"))), json!({"status": "Active"}), false),
        (deleted("archivedAt", None), json!({"archivedAt": "2026-01-02T10:00:00Z"}), true),
        (deleted("archivedAt", None), json!({"archivedAt": ""}), false),
        (deleted("active", Some(json!(false))), json!({"active": false}), true),
        (deleted("active", Some(json!(0))), json!({"active": 0}), true),
    ] {
        let mut record = record("10:05:00.5", "09:00:00");
        record.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        let rules = Rules { deleted: Some(rule), ..rules() };
        let found = told(&rules, &record);
        assert_eq!(found.event_type == EventType::Deleted, gone, "{record}");
        let alive = Told { event_type: EventType::Updated, ..found.clone() };
        let new = Told { event_type: EventType::Created, ..found.clone() };
        let instance = InstanceId::from_random(7);
        assert_eq!(alive.id(instance), new.id(instance), "whether it is new depends on where the poll stood");
        assert_eq!(found.id(instance) == alive.id(instance), !gone);
    }
}

proptest! {
    #[test]
    fn a_version_is_the_content_whatever_the_order_of_its_fields(names in proptest::collection::btree_set("[a-z]{1,3}", 1..6), value in "[a-z]{0,4}") {
        let object = |names: Vec<&String>| {
            let fields: Vec<String> = names.iter().map(|name| format!("\"{name}\":\"{value}\"")).collect();
            serde_json::from_str::<Value>(&format!("{{{}}}", fields.join(","))).unwrap()
        };
        let forwards = object(names.iter().collect());
        let backwards = object(names.iter().rev().collect());
        prop_assert_eq!(Version::content(None, &forwards), Version::content(None, &backwards));
        let mut changed = forwards.clone();
        changed[names.first().unwrap()] = json!(format!("{value}!"));
        prop_assert_ne!(Version::content(None, &forwards), Version::content(None, &changed));
        prop_assert_ne!(Version::content(None, &json!([value, ""])), Version::content(None, &json!(["", value, ""])));
    }

    #[test]
    fn what_a_record_is_told_as_never_changes_its_id(
        updated in 0..1200i64, created in 0..1200i64, known: bool, shift in 0..600u64, tolerance in 0..20u64,
    ) {
        let base = at("2026-01-02T09:55:00.001Z").as_millis();
        let date = |second: i64| Timestamp::from_millis(base + second * 1000).iso_millis();
        let record = json!({"id": "x", "u": date(updated), "c": date(created)});
        let rules = Rules { tolerance: Duration::from_secs(tolerance), new_since_last: known, ..rules() };
        let later = Moment {
            since: moment().since.plus(Duration::from_secs(shift)),
            start: moment().start.plus(Duration::from_secs(shift)),
            clock: moment().clock.plus(Duration::from_secs(shift)),
        };
        let id = |moment: &Moment, known: bool| match rules.classify(&record, moment, |_| known) {
            Classified::Told(told) => Some(told.id(InstanceId::from_random(7))),
            _ => None,
        };
        if let (Some(one), Some(other)) = (id(&moment(), known), id(&later, !known)) {
            prop_assert_eq!(one, other);
        }
    }
}
