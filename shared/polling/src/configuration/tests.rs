use proptest::prelude::*;
use serde_json::json;

use super::*;

fn settings(configuration: &str, urls: &str, objects: &str) -> BTreeMap<String, String> {
    [(POLLER_CONFIGURATION, configuration), (POLLER_URLS, urls), (OBJECTS, objects), ("calendarId", "c 1")]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn of_json(value: &Value) -> Configuration {
    read(&settings(&value.to_string(), "", ""))
}

fn one(value: &Value) -> Resource {
    let read = of_json(&json!({ "contacts": value }));
    assert_eq!(read.problems, []);
    read.resources[0].clone()
}

fn names(configuration: &Configuration) -> Vec<&str> {
    configuration.resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn date(path: &str, format: &str, zone: &str) -> Option<DateField> {
    let (path, format) = (Path::parse(path).unwrap(), DateFormat::parse(format).unwrap());
    Some(DateField { path, format, zone: Zone::parse(zone).unwrap() })
}

fn whole() -> Value {
    json!({
        "url": " /hubs/crm/contacts?where=lastmodifieddate='${date}'",
        "idField": "vid",
        "datesConfiguration": {
            "updatedDateField": "properties.lastmodifieddate", "updatedDateFormat": "milliseconds", "updatedDateTimezone": "GMT",
            "createdDateField": "properties.createdate", "createdDateFormat": "milliseconds'", "createdDateTimezone": "PST"
        },
        "filterByUpdatedDate": true, "filterByCurrentDate": true, "createdCheckTolerance": 10, "pageSize": 200, "pollDelay": 30,
        "batchSize": 5, "postHooks": [], "updatedDateTimezone": "MST"
    })
}

#[test]
fn a_whole_resource_is_read() {
    let resource = one(&whole());
    assert_eq!(
        resource,
        Resource {
            url: UrlTemplate::parse("/hubs/crm/contacts?where=lastmodifieddate='${date}'").ok(),
            id: Path::parse("vid").ok(),
            updated: date("properties.lastmodifieddate", "milliseconds", "GMT"),
            created: date("properties.createdate", "milliseconds", "PST"),
            filter_by_updated: Some(true),
            filter_by_current: true,
            created_tolerance: Some(Duration::from_secs(10)),
            page_size: Some(200),
            poll_delay: Some(Duration::from_secs(30)),
            ..Resource::named("contacts")
        }
    );
}

#[test]
fn an_api_that_no_connector_knows_is_described_by_the_resource() {
    let resource = one(
        &json!({"url": "/c", "recordsField": "data.items", "deletedField": "gone", "pagination": {"page": {"query": "page", "first": 1}}}),
    );
    assert_eq!(resource.records, Path::parse("data.items").ok());
    assert_eq!(resource.deleted, Path::parse("gone").ok());
    assert!(matches!(resource.paging, Some(Paging::Page(counting)) if counting.first == 1));
}

#[test]
fn what_shipped_configurations_have_wrong_is_put_up_with() {
    let resource = one(&json!({
        "url": "/c", "idField": "", "filterByUpdateDate": "false", "filterbycurrentdate": "TRUE", "pageSize": "20", "pollDelay": "",
        "createdCheckTolerance": null, "updatedDateTimezone": "MST",
        "datesConfiguration": {
            "updatedDateField": "u", "updatedDateFormat": "yyyy-MM-dd HH:mm:ss", "createdDateField": "", "createdDateFormat": "",
            "createdCheckTolerance": "60"
        }
    }));
    assert_eq!((resource.id, resource.created), (None, None));
    assert_eq!(resource.updated, date("u", "yyyy-MM-dd HH:mm:ss", "MST"));
    assert_eq!((resource.filter_by_updated, resource.filter_by_current), (Some(false), true));
    assert_eq!((resource.page_size, resource.poll_delay), (Some(20), None));
    assert_eq!(resource.created_tolerance, Some(Duration::from_secs(60)));
}

#[test]
fn a_date_takes_format_and_zone_from_the_other() {
    let both = |dates: Value| {
        let resource = one(&json!({ "datesConfiguration": dates }));
        (resource.updated, resource.created)
    };
    let dates = json!({"updatedDateField": "u", "updatedDateFormat": "milliseconds", "updatedDateTimezone": "CST", "createdDateField": "c"});
    assert_eq!(both(dates), (date("u", "milliseconds", "CST"), date("c", "milliseconds", "CST")));
    let dates = json!({"updatedDateField": "u", "createdDateField": "c", "createdDateFormat": "yyyy"});
    assert_eq!(both(dates), (date("u", "yyyy", ""), date("c", "yyyy", "")));
    assert_eq!(both(json!({"updatedDateField": "u"})).0, date("u", "yyyy-MM-dd'T'HH:mm:ssXXX", ""));
    assert_eq!(both(json!({})), (None, None));
}

#[test]
fn the_configuration_is_an_object_or_a_text_of_one() {
    let object = json!({"contacts": whole(), "accounts": {"url": "/a"}});
    let text = Value::String(object.to_string());
    assert_eq!(of_json(&object), of_json(&text));
    assert_eq!(names(&of_json(&text)).len(), 2);
    for nothing in ["", " ", "{}", "null", "\"\"", "\"{}\""] {
        assert_eq!(read(&settings(nothing, "", "")), Configuration::default(), "{nothing}");
    }
    for (wrong, given) in [("[1]", "an array"), ("7", "7"), ("{\"a\":", "no JSON (line 1"), ("\"x\"", "no JSON")] {
        let read = read(&settings(wrong, "contacts", ""));
        assert!(read.problems[0].given.starts_with(given), "{:?}", read.problems);
        assert!(read.problems[0].to_string().contains(POLLER_CONFIGURATION));
        assert_eq!(names(&read), ["contacts"], "what can be used is");
    }
}

#[test]
fn one_bad_resource_is_a_problem_beside_its_good_neighbours() {
    for (field, given, wrong, accepted) in [
        ("url", "\"${yesterday}\"", json!({"url": "/c?a=${yesterday}"}), "${gmtDate:FORMAT}"),
        ("url", "5", json!({"url": 5}), "a text"),
        ("idField", "\"a..b\"", json!({"idField": "a..b"}), "properties.id"),
        (
            "updatedDateFormat",
            "\"yyyyTHH\"",
            json!({"datesConfiguration": {"updatedDateFormat": "yyyyTHH"}}),
            "position 5",
        ),
        ("createdDateTimezone", "\"XST\"", json!({"datesConfiguration": {"createdDateTimezone": "XST"}}), "PST"),
        ("datesConfiguration", "an array", json!({"datesConfiguration": []}), "an object"),
        ("filterByUpdatedDate", "\"perhaps\"", json!({"filterByUpdatedDate": "perhaps"}), "true or false"),
        ("pageSize", "0", json!({"pageSize": 0}), "1 to 10000"),
        ("pollDelay", "-5", json!({"pollDelay": -5}), "whole number from 0"),
        ("createdCheckTolerance", "1.5", json!({"createdCheckTolerance": 1.5}), "whole number"),
        ("recordsField", "\"a..b\"", json!({"recordsField": "a..b"}), "properties.id"),
        ("deletedField", "\"a[\"", json!({"deletedField": "a["}), "properties.id"),
        ("pagination", "an object", json!({"pagination": {"pages": {}}}), "\"first\": 1"),
        ("the resource", "\"/url\"", json!("/url"), "an object"),
    ] {
        let read = of_json(&json!({"a": {"url": "/a"}, "bad": wrong, "z": {"url": "/z"}}));
        assert_eq!(names(&read), ["a", "z"]);
        let problem = &read.problems[0];
        assert_eq!((problem.resource.as_str(), problem.field.as_str(), problem.given.as_str()), ("bad", field, given));
        assert!(problem.accepted.contains(accepted), "{problem}");
        let text = problem.to_string();
        assert!(text.starts_with("resource \"bad\": ") && text.contains(field) && text.contains(given), "{text}");
    }
}

#[test]
fn the_old_lines_are_read_also_where_fields_are_missing() {
    let lines = "contacts|/hubs/crm/contacts?where=LastModifiedDate>=${date}||LastModifiedDate|yyyy-MM-dd'T'HH:mm:ssZ||CreatedDate|yyyy-MM-dd'T'HH:mm:ssZ\n\
                 documents| /hubs/documents/events/poll/documents?where=lastmodifieddate='${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'}'\r\n\
                 \n leads|http://own.example/leads||u|milliseconds|PST";
    let read = read(&settings("", lines, ""));
    assert_eq!((names(&read), &*read.problems), (vec!["contacts", "documents", "leads"], &[][..]));
    assert_eq!(read.resources[0].updated, date("LastModifiedDate", "yyyy-MM-dd'T'HH:mm:ssZ", ""));
    assert_eq!(read.resources[0].created, date("CreatedDate", "yyyy-MM-dd'T'HH:mm:ssZ", ""));
    let object = read.resources[1].url.as_ref().unwrap().hub_object();
    assert_eq!(object, Some(("documents".into(), "events/poll/documents".into())));
    assert_eq!((&read.resources[1].updated, &read.resources[2].created), (&None, &None));
    assert_eq!(read.resources[2].updated, date("u", "milliseconds", "PST"));
}

#[test]
fn a_bad_line_is_a_problem_that_names_its_field() {
    for (line, field) in [
        ("bad|/c?a=${x}", "the URL (field 2)"),
        ("bad|/c|/contact[1]", "the filter (field 3)"),
        ("bad|/c||a..b", "the updated date's path (field 4)"),
        ("bad|/c||a|QQ", "the updated date's format (field 5)"),
        ("bad|/c||a||XST", "the updated date's time zone (field 6)"),
        ("bad|/c|||||a..b", "the created date's path (field 7)"),
    ] {
        let read = read(&settings("", &format!("a|/a\n{line}\nz|/z"), ""));
        assert_eq!(names(&read), ["a", "z"], "{line}");
        assert_eq!((read.problems[0].resource.as_str(), read.problems[0].field.as_str()), ("bad", field));
    }
}

#[test]
fn bare_names_are_separated_by_lines_bars_or_commas() {
    for text in ["contacts\naccounts\ndeals", "contacts|accounts|deals", " contacts , accounts|\n deals|contacts"] {
        let read = read(&settings("", text, ""));
        assert_eq!(names(&read), ["contacts", "accounts", "deals"], "{text}");
        assert!(read.resources.iter().all(|resource| resource.url.is_none()));
    }
}

#[test]
fn objects_fill_names_and_are_the_list_where_there_is_none() {
    let templates =
        json!({"{objectName}": {"url": "/hubs/db/{objectName}?where=m>'${epoch}'"}, "fixed": {"url": "/f"}})
            .to_string();
    let read_objects = read(&settings(&templates, "", "Contact, Account"));
    let mut found = names(&read_objects);
    found.sort_unstable();
    assert_eq!(found, ["Account", "Contact", "fixed"]);
    let contact = read_objects.resources.iter().find(|resource| resource.name == "Contact").unwrap();
    assert_eq!(contact.values, BTreeMap::from([("objectName".into(), "Contact".into())]));
    assert_eq!(names(&read(&settings("", "", "Contact,Account"))), ["Contact", "Account"]);
    assert_eq!(names(&read(&settings("", "leads", "Contact"))), ["leads"]);
    let without = read(&settings(&templates, "", ""));
    assert_eq!(names(&without), ["fixed"]);
    assert!(without.problems[0].to_string().contains("event.objects"));
}

#[test]
fn a_key_may_hold_a_value_of_the_configuration() {
    let key = "calendars/{calendarId}/changed-events";
    let read_key = |key: &str| {
        read(&settings(&json!({key: {"url": "/hubs/calendar/calendars/{calendarId}/x"}}).to_string(), "", ""))
    };
    assert_eq!(names(&read_key(key)), ["calendars/c 1/changed-events"]);
    for (key, says) in
        [("calendars/{boardId}", "boardId"), ("{oauth.secret}", "secret"), ("", "1 to 256"), ("a\nb", "control")]
    {
        let problems = read_key(key).problems;
        assert!(problems[0].to_string().contains(says), "{problems:?}");
    }
}

#[test]
fn the_configuration_comes_before_the_urls_and_a_name_counts_once() {
    let configuration = json!({"contacts": {"url": "/one"}, "bad": 5}).to_string();
    let read = read(&settings(&configuration, "contacts|/two\nbad|/three\nleads|/four", ""));
    assert_eq!(names(&read), ["contacts", "leads"]);
    assert_eq!(read.resources[0].url, UrlTemplate::parse("/one").ok());
    assert_eq!(read.problems.len(), 1, "what is broken in the configuration is not replaced by an older line");
}

#[test]
fn there_is_a_most_of_resources() {
    let lines: Vec<String> = (0..MAX_RESOURCES + 3).map(|n| format!("r{n}")).collect();
    let read = read(&settings("", &lines.join("\n"), ""));
    assert_eq!((read.resources.len(), read.problems.len()), (MAX_RESOURCES, 3));
}

proptest! {
    #[test]
    fn any_text_is_read_and_every_name_is_a_resource_or_a_problem(
        names in proptest::collection::btree_set("[a-z]{1,6}", 0..5),
        value in prop_oneof![Just(json!({"url": "/x"})), Just(json!(5)), Just(json!({"pageSize": "many"})), Just(json!({"idField": "id"}))],
        urls in "[a-z|/\n$,{}]{0,30}|.{0,20}",
    ) {
        let object: Map<String, Value> = names.iter().map(|name| (name.clone(), value.clone())).collect();
        let configuration = read(&settings(&Value::Object(object).to_string(), &urls, ""));
        for name in &names {
            let resource = configuration.resources.iter().filter(|resource| resource.name == *name).count();
            let problem = configuration.problems.iter().filter(|problem| problem.resource == *name).count();
            prop_assert_eq!(resource + problem, 1);
        }
    }

    #[test]
    fn any_configuration_is_read_or_refused(text in "[\\[\\]{}\":a-z0-9,]{0,40}|.{0,20}") {
        let configuration = read(&settings(&text, &text, &text));
        for problem in &configuration.problems {
            prop_assert!(problem.given.chars().count() < 4 * GIVEN_CHARACTERS, "{}", problem);
        }
    }
}
