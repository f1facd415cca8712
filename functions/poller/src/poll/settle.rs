//! Where each resource of an instance stands as a poll begins: those that are new, and those that are no more.
//!
//! *Promise:* no change since the provisioning, or since a resource was configured later, lies before where it begins. A
//! resource without a place was configured after the state was last stored, because with the first move every resource gets
//! one, told or not. So it begins at the furthest that any had come by then: an hour or so too early, and never too late.
//! An instance may say itself from when on it wants to be told ([`POLLER_SINCE`]): then each resource begins there, also one
//! that is configured later.
//! It begins a second before, since providers date by the second: what changed just after the instance was made is dated
//! before it.
//!
//! *A mistake is no wish to begin anew:* what cannot be used keeps its place until it can; and where the whole configuration
//! cannot be read, everything does.
//!
//! *Not promised:* anything of what changed before the first poll of a resource that the provider keeps a cursor of: there is
//! none of an earlier time.

use std::collections::BTreeMap;

use events::Timestamp;
use events::configuration::POLLER_SINCE;
use polling::position::{Place, Position, State};

use crate::queries::Asked;

/// How a resource is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    ByTime,
    ByCursor,
    /// It cannot be, as it is configured.
    NotNow,
}

/// The state with a place for each resource, but for those that begin with a cursor.
pub(super) fn settle(stored: &State, asked: &Asked, provisioned: Timestamp, since: Option<Timestamp>) -> State {
    let positions = stored.places.values().filter_map(|place| Some(place.position()?.at()));
    let come = || positions.max().map_or(provisioned, |furthest| furthest.max(provisioned));
    let beginning = since.unwrap_or_else(come);
    let problems = asked.problems.iter().map(|problem| (problem.resource.as_str(), How::NotNow));
    let queries = asked
        .queries
        .iter()
        .map(|query| (query.name.as_str(), if query.keeps_cursor() { How::ByCursor } else { How::ByTime }));
    let mut asked: BTreeMap<&str, How> = problems.chain(queries).collect();
    let unreadable = asked.remove("").is_some();
    let mut state = State { places: stored.places.clone() };
    state.places.retain(|name, place| match asked.get(name.as_str()) {
        Some(How::ByTime) => place.position().is_some(),
        Some(How::ByCursor) => place.cursor().is_some(),
        Some(How::NotNow) => true,
        None => unreadable,
    });
    for (name, _) in asked.into_iter().filter(|(_, asked)| *asked != How::ByCursor) {
        let place = || Place::Position(Position::beginning(beginning));
        state.places.entry(name.to_owned()).or_insert_with(place);
    }
    state
}

/// From when on the instance wants to be told; a date that cannot be read, which the API does not let in, is none.
pub(super) fn since(settings: &BTreeMap<String, String>) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(settings.get(POLLER_SINCE)?.trim())
}

#[cfg(test)]
mod tests {
    use polling::configuration;
    use polling::definition::Polling;
    use proptest::prelude::*;

    use super::*;

    const SECTION: &str = r#"
base_url: https://api.example
authentication: { none: {} }
resources:
  a: { path: /a, id: id }
  b: { path: /b, id: id }
  c: { path: /c, start: /now, paging: { cursor: { from: cursor, query: cursor } }, id: id }
"#;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000 + n)
    }

    fn settled(places: &[(&str, Place)], objects: &str, poller: &str) -> State {
        settled_since(places, objects, poller, "")
    }

    fn settled_since(places: &[(&str, Place)], objects: &str, poller: &str, from: &str) -> State {
        let stored = State { places: places.iter().map(|(name, place)| ((*name).to_owned(), place.clone())).collect() };
        let settings = [("event.objects", objects), ("event.poller.configuration", poller), (POLLER_SINCE, from)];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let polling = Polling::from_yaml(SECTION).unwrap();
        settle(&stored, &Asked::of(Some(&polling), configuration::read(&settings)), second(0), since(&settings))
    }

    fn at(n: i64) -> Place {
        Place::Position(Position::starting(second(n)))
    }

    /// Where what has no place yet begins.
    fn new(n: i64) -> Place {
        at(n - 1)
    }

    fn cursor() -> Place {
        Place::Cursor("c".into())
    }

    fn places(pairs: &[(&str, Place)]) -> BTreeMap<String, Place> {
        pairs.iter().map(|(name, place)| ((*name).to_owned(), place.clone())).collect()
    }

    #[test]
    fn at_first_everything_begins_at_the_provisioning_and_later_where_the_others_had_come() {
        assert_eq!(settled(&[], "a, b, c", "").places, places(&[("a", new(0)), ("b", new(0))]));
        let stored = [("a", at(50)), ("c", cursor())];
        assert_eq!(settled(&stored, "a, b, c", "").places, places(&[("a", at(50)), ("b", new(50)), ("c", cursor())]));
        assert_eq!(settled(&[("a", at(-9))], "a, b", "").places, places(&[("a", at(-9)), ("b", new(0))]));
    }

    #[test]
    fn who_wants_to_be_told_since_a_date_is_told_since_then_of_what_is_polled_for_the_first_time() {
        let from = second(-3_000_000).iso_seconds();
        let since = |places: &[(&str, Place)]| settled_since(places, "a, b, c", "", &from).places;
        assert_eq!(since(&[]), places(&[("a", new(-3_000_000)), ("b", new(-3_000_000))]));
        assert_eq!(since(&[("a", at(50))]), places(&[("a", at(50)), ("b", new(-3_000_000))]));
        assert_eq!(settled_since(&[], "a", "", "yesterday").places, places(&[("a", new(0))]));
    }

    #[test]
    fn what_is_no_longer_configured_is_forgotten_and_what_is_a_mistake_is_not() {
        let stored = [("a", at(50)), ("b", at(60)), ("c", cursor())];
        assert_eq!(settled(&stored, "a", "").places, places(&[("a", at(50))]));
        let mistake = r#"{"a": {}, "c": {"pageSize": "many"}, "unknown": {}}"#;
        let expected = places(&[("a", at(50)), ("c", cursor()), ("unknown", new(60))]);
        assert_eq!(settled(&stored, "", mistake).places, expected);
        assert_eq!(settled(&stored, "", "{").places, places(&stored));
    }

    #[test]
    fn a_place_of_another_kind_is_none() {
        let stored = [("a", cursor()), ("c", at(70))];
        assert_eq!(settled(&stored, "a, c", "").places, places(&[("a", new(70))]));
    }

    proptest! {
        #[test]
        fn settling_keeps_what_fits_gives_what_lacks_and_changes_nothing_the_second_time(
            stored in proptest::collection::btree_map("[a-d]", prop_oneof![3 => (0..100_i64).prop_map(at), 1 => Just(cursor())], 0..4),
            objects in proptest::collection::btree_set("[a-d]", 0..4),
        ) {
            let stored: Vec<(&str, Place)> = stored.iter().map(|(name, place)| (name.as_str(), place.clone())).collect();
            let names = objects.iter().cloned().collect::<Vec<_>>().join(",");
            let state = settled(&stored, &names, "");
            let furthest = stored.iter().filter_map(|(_, place)| Some(place.position()?.at()));
            let beginning = furthest.max().unwrap_or(second(0));
            for name in &objects {
                let before = stored.iter().find(|(other, _)| other == name).map(|(_, place)| place);
                let fits = before.filter(|place| name == "d" || matches!(place, Place::Cursor(_)) == (name == "c"));
                let begun = (name != "c").then(|| Place::Position(Position::beginning(beginning)));
                prop_assert_eq!(state.places.get(name), fits.or(begun.as_ref()));
            }
            prop_assert!(state.places.keys().all(|name| objects.contains(name)));
            let again: Vec<(&str, Place)> = state.places.iter().map(|(name, place)| (name.as_str(), place.clone())).collect();
            prop_assert_eq!(settled(&again, &names, ""), state);
        }
    }
}
