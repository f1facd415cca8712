use events::{EventType, InstanceId};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::configuration;
use crate::definition::fixtures::{DROPBOX, HTTP, HUBSPOT, QUICKBOOKS};
use crate::position::State;

fn second(n: i64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + n)
}

fn query(section: &str, resources: &Value) -> (Polling, Query) {
    let polling = Polling::from_yaml(section).unwrap();
    let settings = BTreeMap::from([("event.poller.configuration".to_owned(), resources.to_string())]);
    let read = configuration::read(&settings);
    let query = Query::resolve(&polling, &read.resources[0]).unwrap();
    (polling, query)
}

fn dated(at: Timestamp) -> HeaderMap {
    let date = std::time::UNIX_EPOCH + Duration::from_secs(at.as_seconds().unsigned_abs());
    HeaderMap::from_iter([(DATE, httpdate::fmt_http_date(date).parse().unwrap())])
}

/// A HubSpot whose objects change at seconds.
#[derive(Default)]
struct Search {
    objects: BTreeMap<u32, (i64, i64)>,
    asked: usize,
}

impl Search {
    fn changes(&mut self, ids: std::ops::Range<u32>, at: i64) {
        for id in ids {
            self.objects.entry(id).or_insert((at, at)).1 = at;
        }
    }

    /// What the search of a request shows.
    fn answer(&mut self, request: &Request) -> Value {
        self.asked += 1;
        let body = request.body.as_ref().unwrap();
        let since = body["filterGroups"][0]["filters"][0]["value"].as_str().unwrap().parse::<i64>().unwrap();
        let limit = usize::try_from(body["limit"].as_u64().unwrap()).unwrap();
        let after = body["after"].as_str().map_or(0, |after| after.parse().unwrap());
        assert!(after + limit <= 10_000, "HubSpot answers 400");
        let mut found: Vec<_> = self.objects.iter().filter(|(_, (_, at))| second(*at).as_millis() >= since).collect();
        found.sort_by_key(|(id, (_, at))| (*at, **id));
        let page: Vec<Value> = found
            .iter()
            .skip(after)
            .take(limit)
            .map(|(id, (made, at))| json!({"id": id.to_string(), "createdAt": second(*made).iso_millis(), "updatedAt": second(*at).iso_millis()}))
            .collect();
        let more = found.len() > after + limit;
        let paging = if more { json!({"next": {"after": (after + limit).to_string()}}) } else { json!(null) };
        json!({"results": page, "paging": paging})
    }
}

/// A poll at a second, stored as it would be. Returns what it told.
fn poll(polling: &Polling, query: &Query, search: &mut Search, place: &mut Place, at: i64, limit: usize) -> Finished {
    let none = BTreeMap::new();
    let mut poll = Poll::begin(polling, query, &none, place, second(at), limit);
    loop {
        let request = poll.request().unwrap();
        let body = search.answer(&request);
        let before = poll.found();
        let step = poll.take(&request, &dated(second(at)), &body).unwrap();
        assert!(poll.found() >= before);
        if step == Step::Done {
            break;
        }
    }
    let found = poll.found();
    let finished = poll.finish();
    assert_eq!(found, finished.changes.len());
    let state = State { places: [("contacts".to_owned(), finished.place.clone())].into() };
    let encoded = state.encode(1).unwrap();
    let decoded = State::decode(&encoded.head, encoded.buckets.iter().map(String::as_str)).unwrap();
    *place = decoded.state.places["contacts"].clone();
    finished
}

fn ids(finished: &Finished) -> Vec<&str> {
    finished.changes.iter().map(|change| change.told.object_id.as_str()).collect()
}

#[test]
fn changes_are_told_once_with_their_kind_and_an_idle_poll_asks_once_and_tells_nothing() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {"pageSize": 2}}));
    let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
    search.changes(0..2, -500);
    search.changes(1..5, 10);
    let first = poll(&polling, &query, &mut search, &mut place, 60, 2000);
    assert_eq!(ids(&first), ["1", "2", "3", "4"], "what changed before the start is not told");
    let types: Vec<EventType> = first.changes.iter().map(|change| change.told.event_type).collect();
    assert_eq!(types, [EventType::Updated, EventType::Created, EventType::Created, EventType::Created]);
    assert_eq!(first.changes[0].record["id"], json!("1"));
    assert!(first.complete && first.worth_storing);
    let asked = search.asked;
    let idle = poll(&polling, &query, &mut search, &mut place, 120, 2000);
    assert_eq!((idle.changes.len(), idle.worth_storing, idle.summary.repeated), (0, false, 4));
    assert_eq!(search.asked - asked, 2);
    search.changes(3..4, 130);
    let again = poll(&polling, &query, &mut search, &mut place, 180, 2000);
    assert_eq!(ids(&again), ["3"]);
    assert_eq!(again.changes[0].told.event_type, EventType::Updated);
    let instance = InstanceId::from_random(7);
    assert_ne!(again.changes[0].told.id(instance), first.changes[2].told.id(instance));
}

#[test]
fn a_large_change_is_told_in_steps_beyond_what_the_provider_shows_of_one_query() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {}}));
    let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
    for n in 0..12_500 {
        search.changes(n..n + 1, i64::from(n / 100));
    }
    let (mut told, mut polls) = (std::collections::BTreeSet::new(), 0);
    loop {
        let finished = poll(&polling, &query, &mut search, &mut place, 1000 + polls, 2000);
        polls += 1;
        assert!(finished.changes.len() < 2200 && finished.stopped.is_none());
        for change in &finished.changes {
            assert!(told.insert(change.told.object_id.clone()), "{change:?}");
        }
        if finished.complete {
            break;
        }
        assert!(polls < 20);
    }
    assert_eq!((told.len(), polls), (12_500, 7));
}

#[test]
fn what_pages_repeat_is_told_once() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {}}));
    let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
    for n in 0..12_500 {
        search.changes(n..n + 1, i64::from(n / 100));
    }
    let finished = poll(&polling, &query, &mut search, &mut place, 1000, usize::MAX);
    let told: std::collections::BTreeSet<&str> = ids(&finished).into_iter().collect();
    assert_eq!((told.len(), finished.changes.len(), finished.complete), (12_500, 12_500, true));
    assert!(finished.summary.repeated > 0, "the query began again in the middle of a second");
}

#[test]
fn what_changes_between_two_pages_is_created_once() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {"pageSize": 2}}));
    let (mut search, place) = (Search::default(), Place::Position(Position::starting(second(0))));
    for id in 1..5 {
        search.changes(id..id + 1, i64::from(id));
    }
    let none = BTreeMap::new();
    let mut poll = Poll::begin(&polling, &query, &none, &place, second(60), 2000);
    loop {
        let request = poll.request().unwrap();
        let body = search.answer(&request);
        // Seen by the first page, and again, as another version, by the last one.
        search.changes(1..2, 30);
        if poll.take(&request, &dated(second(60)), &body).unwrap() == Step::Done {
            break;
        }
    }
    let finished = poll.finish();
    let of_it = finished.changes.iter().filter(|change| change.told.object_id == "1");
    let types: Vec<EventType> = of_it.map(|change| change.told.event_type).collect();
    assert_eq!(types, [EventType::Created, EventType::Updated]);
}

#[test]
fn the_position_stays_before_the_first_page_was_answered() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {"pageSize": 1}}));
    let (none, place) = (BTreeMap::new(), Place::Position(Position::starting(second(0))));
    let mut poll = Poll::begin(&polling, &query, &none, &place, second(40), 10);
    for (at, date, after) in [(10, 50, json!({"next": {"after": "1"}})), (90, 100, json!(null))] {
        let request = poll.request().unwrap();
        let updated = second(at).iso_millis();
        let body = json!({"results": [{"id": at, "updatedAt": updated, "createdAt": updated}], "paging": after});
        poll.take(&request, &dated(second(date)), &body).unwrap();
    }
    let finished = poll.finish();
    let Place::Position(position) = &finished.place else { panic!() };
    assert_eq!((ids(&finished), position.at()), (vec!["10", "90"], second(50)));
}

#[test]
fn a_change_in_a_second_that_is_not_over_is_told_by_the_next_poll() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {}}));
    let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
    search.changes(1..2, 59);
    search.changes(2..3, 60);
    let first = poll(&polling, &query, &mut search, &mut place, 60, 2000);
    assert_eq!((ids(&first), first.summary.put_off), (vec!["1"], 1));
    let second = poll(&polling, &query, &mut search, &mut place, 61, 2000);
    assert_eq!(ids(&second), ["2"]);
}

#[test]
fn the_provider_s_clock_counts_unless_it_is_no_clock() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {}}));
    let none = BTreeMap::new();
    let place = Place::Position(Position::starting(second(0)));
    let body =
        json!({"results": [{"id": "1", "createdAt": second(5).iso_millis(), "updatedAt": second(100).iso_millis()}]});
    let polled = |headers: &HeaderMap| {
        let mut poll = Poll::begin(&polling, &query, &none, &place, second(100), 10);
        let request = poll.request().unwrap();
        poll.take(&request, headers, &body).unwrap();
        (poll.finish().summary.put_off, headers.len())
    };
    assert_eq!(polled(&HeaderMap::new()), (1, 0), "by our clock its second is not over");
    assert_eq!(polled(&dated(second(130))), (0, 1));
    assert_eq!(polled(&dated(second(90))), (1, 1));
    assert_eq!(polled(&dated(second(100_000))), (1, 1), "a day off: ours counts");
}

#[test]
fn what_was_read_before_a_bad_page_is_told_and_the_rest_comes_later() {
    let (polling, query) = query(HUBSPOT, &json!({"contacts": {"pageSize": 2}}));
    let none = BTreeMap::new();
    let place = Place::Position(Position::starting(second(0)));
    let record = |id: &str, at: i64| json!({"id": id, "createdAt": second(1).iso_millis(), "updatedAt": second(at).iso_millis()});
    let page = json!({"results": [record("1", 10), record("2", 20)], "paging": {"next": {"after": "2"}}});
    let mut poll = Poll::begin(&polling, &query, &none, &place, second(700), 10);
    let request = poll.request().unwrap();
    assert_eq!(poll.take(&request, &HeaderMap::new(), &page), Ok(Step::More));
    let error = poll.take(&request, &HeaderMap::new(), &json!({"message": "sorry"}));
    assert_eq!(error, Err(NoRecords("results".into())));
    let finished = poll.finish();
    assert_eq!((ids(&finished), finished.complete), (vec!["1", "2"], false));
    let Place::Position(position) = &finished.place else { panic!() };
    assert_eq!(position.at(), second(20));

    let mut poll = Poll::begin(&polling, &query, &none, &place, second(700), 10);
    let request = poll.request().unwrap();
    let other = json!({"results": [record("3", 30), record("4", 40)], "paging": {"next": {"after": "2"}}});
    assert_eq!(poll.take(&request, &HeaderMap::new(), &page), Ok(Step::More));
    assert_eq!(poll.take(&request, &HeaderMap::new(), &other), Ok(Step::Done));
    let finished = poll.finish();
    assert_eq!(finished.stopped, Some(PagingError::Repeats(2)));
    assert_eq!(ids(&finished), ["1", "2", "3", "4"]);
    assert!(!finished.complete && finished.worth_storing);
}

#[test]
fn a_list_of_everything_is_told_by_its_dates_and_the_rest_is_counted() {
    let resources = json!({"things": {"url": "/things", "idField": "id", "datesConfiguration": {
        "updatedDateField": "u", "updatedDateFormat": "milliseconds", "createdDateField": "c"}}});
    let (polling, query) = query(HTTP, &resources);
    let settings = BTreeMap::from([("base.url".to_owned(), "https://a.example".to_owned())]);
    let place = Place::Position(Position::starting(second(0)));
    let millis = |n: i64| second(n).as_millis() + 1;
    let body = json!([
        {"id": 1, "u": millis(-10), "c": millis(-20)}, {"id": 2, "u": millis(10), "c": millis(-20)},
        {"id": 3, "u": millis(20), "c": millis(20)}, {"u": millis(20), "c": millis(20)}, {"id": 5, "u": "soon"},
    ]);
    let mut poll = Poll::begin(&polling, &query, &settings, &place, second(100), 10);
    let request = poll.request().unwrap();
    assert_eq!(poll.take(&request, &HeaderMap::new(), &body), Ok(Step::Done));
    let finished = poll.finish();
    assert_eq!(ids(&finished), ["2", "3"]);
    let summary = Summary { older: 1, without_id: 1, without_date: 1, ..Summary::default() };
    assert_eq!((finished.summary, finished.complete), (summary, true));
}

#[test]
fn a_cursor_is_kept_from_page_to_page_and_from_poll_to_poll() {
    let (polling, query) = query(DROPBOX, &json!({"files": {}}));
    let none = BTreeMap::new();
    let place = Place::Cursor("A".into());
    let entry = |tag: &str, id: Option<&str>, rev: &str| json!({".tag": tag, "id": id, "path_lower": "/x", "rev": rev, "server_modified": "2015-05-12T15:50:38Z"});
    let mut poll = Poll::begin(&polling, &query, &none, &place, second(0), 10);
    let request = poll.request().unwrap();
    assert_eq!(request.body, Some(json!({"cursor": "A"})));
    let body = json!({"entries": [entry("file", Some("id:1"), "r1")], "cursor": "B", "has_more": true});
    assert_eq!(poll.take(&request, &HeaderMap::new(), &body), Ok(Step::More));
    let request = poll.request().unwrap();
    assert_eq!(request.body, Some(json!({"cursor": "B"})));
    let body = json!({"entries": [entry("deleted", None, "")], "cursor": "C", "has_more": false});
    assert_eq!(poll.take(&request, &HeaderMap::new(), &body), Ok(Step::Done));
    let finished = poll.finish();
    assert_eq!((&finished.place, finished.complete, finished.worth_storing), (&Place::Cursor("C".into()), true, true));
    assert_eq!(ids(&finished), ["id:1", "/x"], "however old the file is");
    assert_eq!(finished.changes[1].told.event_type, EventType::Deleted);
    let unread = Poll::begin(&polling, &query, &none, &place, second(0), 10).finish();
    assert_eq!((unread.place, unread.worth_storing, unread.complete), (place.clone(), false, false));
}

#[test]
fn what_is_moved_and_moved_back_is_told_each_time_and_a_poll_that_is_repeated_tells_the_same() {
    let (polling, query) = query(DROPBOX, &json!({"files": {}}));
    let none = BTreeMap::new();
    let polled = |cursor: &str, path: &str| {
        let place = Place::Cursor(cursor.into());
        let mut poll = Poll::begin(&polling, &query, &none, &place, second(0), 10);
        let request = poll.request().unwrap();
        let entry = json!({".tag": "file", "id": "id:1", "rev": "r", "path_lower": path, "server_modified": "2015-05-12T15:50:38Z"});
        let folder = json!({".tag": "folder", "id": "id:2", "path_lower": "/f"});
        poll.take(&request, &HeaderMap::new(), &json!({"entries": [entry, folder, entry], "cursor": "Z"})).unwrap();
        let finished = poll.finish();
        assert_eq!((ids(&finished), finished.summary.repeated), (vec!["id:1", "id:2"], 1));
        assert!(
            finished.changes.iter().all(|change| change.told.event_type == EventType::Updated),
            "none is known to be new"
        );
        finished.changes[0].told.id(InstanceId::from_random(7))
    };
    let (there, moved, back) = (polled("A", "/a"), polled("B", "/b"), polled("C", "/a"));
    assert!(there != moved && moved != back && back != there);
    assert_eq!(polled("B", "/b"), moved);
}

#[test]
fn an_answer_that_was_cut_moves_nothing_and_is_told_all_the_same() {
    let (polling, query) = query(QUICKBOOKS, &json!({"invoices": {}}));
    let settings = BTreeMap::from([("realm.id".to_owned(), "1".to_owned())]);
    let place = Place::Position(Position::starting(second(0)));
    let record = |n: i64| json!({"Id": n.to_string(), "SyncToken": "0", "MetaData": {"LastUpdatedTime": second(n % 50).iso_seconds()}});
    let body = |count: i64| json!({"CDCResponse": [{"QueryResponse": [{"Invoice": (0..count).map(record).collect::<Vec<_>>()}]}]});
    for (count, at, complete) in [(1000, 0, false), (999, 49, true)] {
        let mut poll = Poll::begin(&polling, &query, &settings, &place, second(60), 2000);
        let request = poll.request().unwrap();
        assert_eq!(poll.take(&request, &HeaderMap::new(), &body(count)), Ok(Step::Done));
        let finished = poll.finish();
        let Place::Position(position) = &finished.place else { panic!() };
        assert_eq!(
            (finished.changes.len(), position.at(), finished.complete),
            (usize::try_from(count).unwrap(), second(at), complete)
        );
    }
}

/// QuickBooks, where what was cut off is asked for by a query.
fn beyond() -> String {
    QUICKBOOKS.replace(
        "    most: 1000\n",
        r#"    most: 3
    page_size: 2
    values: { entity: Invoice }
    beyond:
      path: /query
      query: { query: "SELECT * FROM {entity} WHERE Metadata.LastUpdatedTime >= '${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'}' STARTPOSITION {offset} MAXRESULTS {page_size}" }
      paging: { offset: { first: 1, from_last: true } }
      ordered: true
      records: QueryResponse.{entity}
      may_lack: true
"#,
    )
}

#[test]
fn what_was_cut_off_is_asked_for_in_another_way_and_then_the_position_moves() {
    let (polling, query) = query(&beyond(), &json!({"invoices": {}}));
    let settings = BTreeMap::from([("realm.id".to_owned(), "1".to_owned())]);
    let place = Place::Position(Position::starting(second(0)));
    let record = |n: i64| json!({"Id": n.to_string(), "SyncToken": "0", "MetaData": {"LastUpdatedTime": second(n).iso_seconds()}});
    let list = |numbers: &[i64]| numbers.iter().map(|n| record(*n)).collect::<Vec<_>>();
    let cut = json!({"CDCResponse": [{"QueryResponse": [{"Invoice": list(&[5, 4, 3])}]}]});
    let pages = [list(&[1, 2]), list(&[2, 3]), list(&[3, 4]), list(&[4, 5]), list(&[5])];
    let mut poll = Poll::begin(&polling, &query, &settings, &place, second(60), 2000);
    let mut urls = Vec::new();
    let answers = std::iter::once(cut).chain(pages.map(|page| json!({"QueryResponse": {"Invoice": page}})));
    for (n, answer) in answers.enumerate() {
        let request = poll.request().unwrap();
        let expected = if n < 5 { Step::More } else { Step::Done };
        assert_eq!(poll.take(&request, &HeaderMap::new(), &answer), Ok(expected), "{n}");
        urls.push(request.url);
    }
    assert!(
        urls[0].contains("/cdc?") && urls[1].contains("STARTPOSITION%201%20") && urls[1].contains("Invoice"),
        "{urls:?}"
    );
    let since = |n: i64| second(n).iso_seconds().replace(':', "%3A");
    assert!(urls[2].contains(&since(2)) && urls[5].contains(&since(5)), "{urls:?}");
    let finished = poll.finish();
    assert_eq!(ids(&finished), ["5", "4", "3", "1", "2"]);
    assert!(finished.complete && finished.summary.beyond);
    let Place::Position(position) = &finished.place else { panic!() };
    assert_eq!(position.at(), second(5));

    let mut poll = Poll::begin(&polling, &query, &settings, &place, second(60), 2000);
    let request = poll.request().unwrap();
    let whole = json!({"CDCResponse": [{"QueryResponse": [{"Invoice": list(&[5, 4])}]}]});
    assert_eq!(poll.take(&request, &HeaderMap::new(), &whole), Ok(Step::Done));
    assert!(!poll.finish().summary.beyond);
}

#[test]
fn what_shifts_while_records_are_counted_is_told_however_old_it_is() {
    let section = HUBSPOT.replace("restart: 10000", "restart: 10000, from_last: true");
    let (polling, query) = query(&section, &json!({"contacts": {"pageSize": 2}}));
    let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
    for n in 0..6 {
        search.changes(n..n + 1, i64::from(n) + 1);
    }
    let mut told = std::collections::BTreeSet::new();
    for at in [10_000, 10_001, 10_002] {
        let none = BTreeMap::new();
        let begun = place.clone();
        let mut poll = Poll::begin(&polling, &query, &none, &begun, second(at), 2000);
        loop {
            let request = poll.request().unwrap();
            let body = search.answer(&request);
            // The first object goes to the end, and the others move up.
            search.changes(0..1, 9_999);
            if poll.take(&request, &dated(second(at)), &body).unwrap() == Step::Done {
                break;
            }
        }
        let finished = poll.finish();
        told.extend(ids(&finished).iter().map(ToString::to_string));
        place = finished.place;
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn what_a_list_without_dates_skips_once_as_it_shrinks_is_not_told_again() {
    let paged = json!({"url": "/things", "pageSize": 2, "pagination": {"offset": {"query": "offset"}}});
    let (polling, query) = query(HTTP, &json!({ "things": paged }));
    let settings = BTreeMap::from([("base.url".to_owned(), "https://a.example".to_owned())]);
    let mut place = Place::Position(Position::starting(second(0)));
    let mut listed: Vec<u32> = (1..8).collect();
    let mut told = Vec::new();
    for (number, at) in (0_i64..6).map(|number| (number, 60 + number * 5_000)) {
        let begun = place.clone();
        let mut poll = Poll::begin(&polling, &query, &settings, &begun, second(at), 2000);
        loop {
            let request = poll.request().unwrap();
            let offset = request.url.split_once("offset=").map_or(0, |(_, offset)| offset.parse().unwrap());
            let page: Vec<Value> = listed.iter().skip(offset).take(2).map(|id| json!({ "id": id })).collect();
            // After the first page the first is gone, and the others move up.
            if number % 2 == 1 && offset == 0 {
                listed.remove(0);
            }
            let step = poll.take(&request, &dated(second(at)), &json!(page)).unwrap();
            // The next but one breaks off after its first page.
            if step == Step::Done || number == 2 {
                break;
            }
        }
        let finished = poll.finish();
        told.push(ids(&finished).into_iter().map(str::to_owned).collect::<Vec<_>>());
        place = finished.place;
    }
    assert_eq!(told[0], ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(told[1..].concat(), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn every_version_that_is_last_is_told_and_none_twice(
        steps in proptest::collection::vec((0..12u32, 1..8u32, 1..90i64, 1..6usize), 1..12),
        page in 1..5u32,
    ) {
        let (polling, query) = query(HUBSPOT, &json!({"contacts": {"pageSize": page}}));
        let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
        let (mut now, mut told) = (1, std::collections::BTreeSet::new());
        let mut tell = |finished: &Finished| {
            finished.changes.iter().all(|change| told.insert((change.told.object_id.clone(), change.told.date)))
        };
        for (from, count, after, limit) in &steps {
            search.changes(*from..from + count, now);
            now += after;
            let finished = poll(&polling, &query, &mut search, &mut place, now, *limit);
            prop_assert!(tell(&finished));
        }
        let last = (0..2).map(|n| poll(&polling, &query, &mut search, &mut place, now + 1 + n, 1000)).collect::<Vec<_>>();
        prop_assert!(last.iter().all(&mut tell));
        prop_assert!(last[1].complete && last[1].changes.is_empty());
        for (id, (_, at)) in &search.objects {
            prop_assert!(told.contains(&(id.to_string(), Some(second(*at)))), "{} at {}", id, at);
        }
    }

    #[test]
    fn whatever_changes_while_it_reads_the_last_version_of_each_is_told_and_none_twice(
        steps in proptest::collection::vec((proptest::collection::vec(0..8u32, 0..7), 1..3000i64, 1..9usize), 1..10),
        page in 1..4u32,
        first in proptest::collection::vec(0..3i64, 8),
    ) {
        let section = HUBSPOT.replace("restart: 10000", "restart: 10000, from_last: true");
        let (polling, query) = query(&section, &json!({"contacts": {"pageSize": page}}));
        let (mut search, mut place) = (Search::default(), Place::Position(Position::starting(second(0))));
        for (id, at) in (0..).zip(&first) {
            search.changes(id..id + 1, *at);
        }
        let (none, mut now, mut told) = (BTreeMap::new(), 5, std::collections::BTreeSet::new());
        let ends = std::iter::repeat_n((Vec::new(), 1, 1000), 3);
        for (changes, after, limit) in steps.into_iter().chain(ends) {
            now += after;
            let (begun, mut changes) = (place.clone(), changes.into_iter());
            let mut poll = Poll::begin(&polling, &query, &none, &begun, second(now), limit);
            loop {
                let request = poll.request().unwrap();
                let body = search.answer(&request);
                if let Some(id) = changes.next() {
                    search.changes(id..id + 1, now);
                }
                if poll.take(&request, &dated(second(now)), &body).unwrap() == Step::Done {
                    break;
                }
            }
            let finished = poll.finish();
            prop_assert!(finished.stopped.is_none());
            for change in &finished.changes {
                prop_assert!(told.insert((change.told.object_id.clone(), change.told.date)), "{:?}", change);
            }
            place = finished.place;
        }
        for (id, (_, at)) in &search.objects {
            prop_assert!(told.contains(&(id.to_string(), Some(second(*at)))), "{} at {}", id, at);
        }
    }

    #[test]
    fn any_answer_is_taken_or_refused_and_the_position_never_goes_back(
        which in 0..4usize,
        values in proptest::collection::vec(prop_oneof![
            Just(json!(null)), Just(json!(true)), Just(json!([])), Just(json!({})), Just(json!("2026-09-21T14:13:25Z")),
            any::<i64>().prop_map(|number| json!(number)), any::<f64>().prop_map(|number| json!(number)),
            ".{0,6}".prop_map(|text| json!(text)),
        ], 12),
    ) {
        let (section, resources) = [
            (HUBSPOT, json!({"contacts": {}})), (QUICKBOOKS, json!({"invoices": {}})), (DROPBOX, json!({"files": {}})),
            (HTTP, json!({"x": {"url": "/x", "datesConfiguration": {"updatedDateField": "u", "createdDateField": "c"}}})),
        ][which].clone();
        let (polling, query) = query(section, &resources);
        let settings = BTreeMap::from([("realm.id".to_owned(), "1".to_owned()), ("base.url".to_owned(), "https://a.example".to_owned())]);
        let v = |n: usize| values[n].clone();
        let record = json!({"id": v(0), "Id": v(0), "path_lower": v(1), "updatedAt": v(2), "createdAt": v(3), "archived": v(4), "u": v(2), "c": v(3),
            "MetaData": {"LastUpdatedTime": v(2), "CreateTime": v(3)}, "SyncToken": v(5), "status": v(4), "server_modified": v(2), "rev": v(5), ".tag": v(4)});
        let bodies = [
            json!({"results": [record, v(6)], "entries": [record, v(6)], "paging": {"next": {"after": v(7)}}, "cursor": v(7), "has_more": v(8),
                "CDCResponse": [{"QueryResponse": [{"Invoice": [record, v(6)]}]}]}),
            json!([record, v(6)]), v(9), json!({"results": v(10), "entries": v(10)}), json!({"x": [v(11)]}),
        ];
        let start = Position::starting(second(0));
        for place in [Place::Position(start.clone()), Place::Cursor("A".into())] {
            for body in &bodies {
                let mut poll = Poll::begin(&polling, &query, &settings, &place, second(100), 10);
                let Ok(request) = poll.request() else { continue };
                let _ = poll.take(&request, &HeaderMap::new(), body);
                let finished = poll.finish();
                if let Place::Position(position) = &finished.place {
                    prop_assert!(position.at() >= start.at() && position.at() <= second(100));
                }
                for change in &finished.changes {
                    prop_assert!(!change.told.object_id.is_empty());
                }
            }
        }
    }
}
