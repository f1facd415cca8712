use proptest::prelude::*;

use super::*;
use crate::classify::{Version, Wait};

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + second)
}

fn told(id: &str, date: Option<i64>, version: &str) -> Told {
    Told {
        object_id: id.into(),
        object_type: "contacts".into(),
        event_type: EventType::Updated,
        date: date.map(at),
        version: Version::named(version),
        position: date.map(at),
    }
}

const OVERLAP: Duration = Duration::from_secs(300);

fn polled(position: &Position, records: &[Told], through: Through, start: i64) -> Advance {
    let mut seen = Seen::default();
    for record in records {
        seen.note(record, position.is_told(record));
    }
    position.advance(&seen, through, at(start), OVERLAP)
}

#[test]
fn nothing_older_than_the_start_is_asked_for() {
    let position = Position::starting(at(0));
    assert_eq!(position.since(OVERLAP), at(0));
    let next = polled(&position, &[told("a", Some(100), "1")], Through::All, 120).position;
    assert_eq!((next.at(), next.since(OVERLAP)), (at(100), at(0)));
    let later = polled(&next, &[told("b", Some(900), "1")], Through::All, 960).position;
    assert_eq!((later.at(), later.since(OVERLAP)), (at(900), at(600)));
}

#[test]
fn the_position_is_time_and_id() {
    let position = Position::starting(at(0));
    let records =
        [told("b", Some(50), "1"), told("c", Some(60), "1"), told("d", Some(60), "1"), told("a", Some(60), "1")];
    let next = polled(&position, &records, Through::All, 70).position;
    assert_eq!((next.at(), next.id()), (at(60), "d"));
    let idle = polled(&next, &records, Through::All, 80).position;
    assert_eq!((idle.at(), idle.id()), (at(60), "d"));
    let moved = polled(&next, &[], Through::All, 3600).position;
    assert_eq!((moved.at(), moved.id()), (at(3300), ""));
}

#[test]
fn a_version_is_remembered_while_the_window_reaches_it_and_so_is_its_object() {
    let (one, two) = (told("a", Some(100), "1"), told("a", Some(200), "2"));
    let position = polled(&Position::starting(at(0)), std::slice::from_ref(&one), Through::All, 120).position;
    assert!(position.is_told(&one) && !position.is_told(&two) && position.knows("a") && !position.knows("b"));
    let gone = Told { event_type: EventType::Deleted, ..one.clone() };
    assert!(!position.is_told(&gone), "that it is gone is another change");
    let position = polled(&position, std::slice::from_ref(&two), Through::All, 450).position;
    assert!(position.is_told(&one) && position.is_told(&two), "the window begins at 0");
    let position = polled(&position, &[told("b", Some(450), "1")], Through::All, 460).position;
    assert!(!position.is_told(&one) && position.is_told(&two) && position.knows("a"));
    let position = polled(&position, &[told("b", Some(900), "2")], Through::All, 900).position;
    assert!(!position.knows("a"));
    assert_eq!(position.remembered(), 1);
}

#[test]
fn what_has_no_date_is_remembered_for_as_long_as_it_is_listed() {
    let (a, b) = (told("a", None, "1"), told("b", None, "1"));
    let mut position = polled(&Position::starting(at(0)), &[a.clone(), b.clone()], Through::All, 60).position;
    for start in [1000, 2000, 3000] {
        position = polled(&position, std::slice::from_ref(&a), Through::All, start).position;
        assert!(position.is_told(&a));
        assert_eq!(position.at(), at(start));
    }
    assert!(!position.is_told(&b));
}

#[test]
fn what_has_no_date_is_remembered_also_where_the_provider_s_clock_is_far_behind_ours() {
    let record = told("a", None, "1");
    let mut position = Position::beginning(at(0));
    for start in [-86_400, -3600, -1, 0, 1] {
        position = polled(&position, std::slice::from_ref(&record), Through::All, start).position;
        assert!(position.is_told(&record), "{start}");
    }
}

#[test]
fn the_position_does_not_pass_what_was_put_off_nor_the_poll_s_start() {
    let position = Position::starting(at(0));
    let mut seen = Seen::default();
    seen.note(&told("a", Some(500), "1"), false);
    seen.put_off(&Later { date: at(400), why: Wait::NotOver });
    seen.put_off(&Later { date: at(450), why: Wait::AfterStart });
    assert_eq!(position.advance(&seen, Through::All, at(600), OVERLAP).position.at(), at(400));
    let future = polled(&position, &[told("a", Some(9_999_999), "1")], Through::All, 600);
    assert_eq!(future.position.at(), at(600));
    assert!(future.position.is_told(&told("a", Some(9_999_999), "1")));
}

#[test]
fn a_part_moves_nothing_and_is_remembered() {
    let position = Position::starting(at(0));
    let records = [told("a", Some(500), "1"), told("b", Some(400), "1")];
    let part = polled(&position, &records, Through::Part, 600).position;
    assert_eq!((part.at(), part.remembered()), (at(0), 2));
    let ordered = polled(&position, &records, Through::UpTo(at(400)), 600).position;
    assert_eq!(ordered.at(), at(400));
    let counted = Through::Counted { first: at(450) };
    assert_eq!(polled(&position, &records, counted, 600).position.at(), at(450));
    assert_eq!(polled(&part, &records, counted, 600).position.at(), at(500), "nothing was new");
    let mut seen = Seen::default();
    records.iter().for_each(|record| seen.note(record, true));
    seen.put_off(&Later { date: at(599), why: Wait::NotOver });
    let shifted = part.advance(&seen, counted, at(600), OVERLAP).position;
    assert_eq!(shifted.at(), at(450), "what was put off may have shifted others past the reader");
}

#[test]
fn a_busy_resource_that_is_counted_does_not_stand_still_for_ever() {
    let mut position = Position::starting(at(0));
    let counted = |position: &Position, n: i64, version: &str| {
        polled(position, &[told("a", Some(n), version)], Through::Counted { first: at(5) }, n + 10).position
    };
    for n in 0..16 {
        position = counted(&position, 100 + n, &n.to_string());
        assert_eq!(position.at(), at(5), "{n}");
    }
    position = counted(&position, 900, "x");
    assert_eq!(position.at(), at(900));
    position = counted(&position, 1000, "y");
    assert_eq!(position.at(), at(900), "and the count begins again");
    let state = State { places: [("a".to_owned(), Place::Position(position))].into() };
    assert_eq!(State::decode(&state.encode(1).unwrap().head, []).unwrap().state, state);
}

#[test]
fn an_idle_position_is_stored_hourly_and_one_with_news_at_once() {
    let position = Position::starting(at(0));
    let next = |start| polled(&position, &[], Through::All, start).position;
    assert!(!position.worth_storing(&next(3899), false));
    assert!(position.worth_storing(&next(3900), false));
    assert!(position.worth_storing(&position, true));
}

#[test]
fn beyond_the_most_the_oldest_are_forgotten_and_counted() {
    let mut seen = Seen::default();
    let record = |n: i64| told(&n.to_string(), Some(n), "1");
    let many = i64::try_from(MAX_MARKS).unwrap() + 5;
    for n in 0..many {
        seen.note(&record(n), false);
    }
    let overlap = Duration::from_secs(1_000_000);
    let advance = Position::starting(at(0)).advance(&seen, Through::All, at(many), overlap);
    assert_eq!((advance.forgotten, advance.position.remembered()), (5, MAX_MARKS));
    assert!(!advance.position.is_told(&record(4)) && advance.position.is_told(&record(5)));
    assert!(!advance.position.knows("4") && advance.position.knows("5"));
}

fn state(marks: usize, resources: usize) -> State {
    let place = |resource: usize| {
        let records: Vec<Told> =
            (0..marks).map(|n| told(&format!("{resource}-{n}"), (n % 3 > 0).then_some(100), "1")).collect();
        Place::Position(polled(&Position::starting(at(0)), &records, Through::All, 200).position)
    };
    let mut places: std::collections::BTreeMap<_, _> = (0..resources).map(|n| (format!("r{n}"), place(n))).collect();
    places.insert("files".into(), Place::Cursor("AAF-opaque \"words\"".into()));
    State { places }
}

#[test]
fn a_state_is_decoded_as_it_was_encoded_in_one_item_or_in_buckets() {
    for (marks, resources, buckets) in [(0, 2, 0), (900, 2, 0), (3000, 2, 2), (20_000, 1, 8)] {
        let state = state(marks, resources);
        let encoded = state.encode(7).unwrap();
        assert_eq!(encoded.buckets.len(), buckets, "{marks}");
        assert_eq!(State::buckets(&encoded.head), Ok(buckets));
        let sizes = encoded.buckets.iter().map(String::len).chain([encoded.head.len()]);
        assert!(sizes.max().unwrap() < 200_000);
        let decoded = State::decode(&encoded.head, encoded.buckets.iter().rev().map(String::as_str)).unwrap();
        assert_eq!(decoded, Decoded { state, generation: 7, missing: 0 });
    }
}

#[test]
fn a_state_with_an_index_is_left_alone_by_what_knows_of_none_and_every_other_is_as_it_was() {
    let version = |state: &State| state.encode(3).unwrap().head.chars().take(6).collect::<String>();
    let mut state = state(10, 1);
    assert_eq!(version(&state), r#"{"v":1"#);
    state.places.insert("tree".into(), Place::Tree(crate::tree::Walk::begin("AAF".into())));
    assert_eq!(version(&state), r#"{"v":2"#);
    let encoded = state.encode(3).unwrap();
    assert_eq!(State::decode(&encoded.head, []), Ok(Decoded { state, generation: 3, missing: 0 }));
}

#[test]
fn a_bucket_of_another_generation_counts_as_missing_and_loses_nothing_but_memory() {
    let state = state(3000, 2);
    let (old, new) = (state.encode(6).unwrap(), state.encode(7).unwrap());
    let mixed = [old.buckets[0].as_str(), new.buckets[1].as_str(), new.buckets[1].as_str()];
    let decoded = State::decode(&new.head, mixed).unwrap();
    assert_eq!((decoded.missing, decoded.generation), (1, 7));
    let (Place::Position(whole), Place::Position(half)) = (&state.places["r0"], &decoded.state.places["r0"]) else {
        panic!("no positions")
    };
    assert_eq!((half.at(), half.since(OVERLAP)), (whole.at(), whole.since(OVERLAP)));
    assert!((1000..2000).contains(&half.remembered()), "{}", half.remembered());
}

#[test]
fn what_a_newer_version_wrote_and_what_is_no_state_are_told_apart() {
    let newer = r#"{"v":3,"something":"else"}"#;
    assert_eq!(State::decode(newer, []), Err(StateError::Newer(3)));
    let head = State::default().encode(1).unwrap().head;
    assert_eq!(State::decode(&head, [newer]), Err(StateError::Newer(3)));
    assert_eq!(head, r#"{"v":1,"generation":1,"buckets":0,"places":{}}"#);
    for wrong in [
        "",
        "7",
        "{}",
        r#"{"v":1}"#,
        r#"{"v":1,"generation":1,"buckets":0,"places":{"a":{"position":{"at":1,"floor":1,"told":"AAA"}}}}"#,
    ] {
        assert!(matches!(State::decode(wrong, []), Err(StateError::Malformed(_))), "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_state_or_refused(head in ".{0,40}", bucket in ".{0,40}") {
        let _ = State::decode(&head, [bucket.as_str()]);
        let _ = State::decode(&State::default().encode(1).unwrap().head, [bucket.as_str()]);
    }

    #[test]
    fn a_position_never_goes_back_whatever_is_seen(
        dates in proptest::collection::vec(proptest::option::of(-500..2000i64), 0..6),
        held in proptest::option::of(-500..2000i64),
        start in -500..2000i64,
        through in prop_oneof![
            Just(Through::All), Just(Through::Part), (-500..2000i64).prop_map(|date| Through::UpTo(at(date))),
            (-500..2000i64).prop_map(|date| Through::Counted { first: at(date) }),
        ],
    ) {
        let position = polled(&Position::starting(at(0)), &[told("z", Some(400), "0")], Through::All, 500).position;
        let mut seen = Seen::default();
        for (n, date) in dates.iter().enumerate() {
            let change = told(&n.to_string(), *date, "1");
            seen.note(&change, position.is_told(&change));
        }
        if let Some(held) = held {
            seen.put_off(&Later { date: at(held), why: Wait::NotOver });
        }
        let next = position.advance(&seen, through, at(start), OVERLAP).position;
        prop_assert!(next.at() >= position.at() && next.since(OVERLAP) >= position.since(OVERLAP));
        prop_assert!(next.at() <= position.at().max(at(start)));
        prop_assert!(held.is_none_or(|held| next.at() <= position.at().max(at(held))));
        let kept = match through {
            Through::Part => at(-10_000),
            Through::UpTo(_) if dates.contains(&None) => at(-10_000),
            // One more window: the list may have shrunk.
            Through::Counted { .. } if dates.contains(&None) => position.since(OVERLAP),
            _ => next.since(OVERLAP),
        };
        for (n, date) in dates.iter().enumerate() {
            let change = told(&n.to_string(), *date, "1");
            let reached = date.map_or(at(start).max(next.at()), at) >= kept;
            prop_assert_eq!(next.is_told(&change), reached);
        }
    }
}
