use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::configuration::{self, Problem};
use crate::definition::fixtures::{DROPBOX, HTTP, HUBSPOT, QUICKBOOKS, SALESFORCE};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn since() -> Timestamp {
    at("2026-01-02T09:50:00.5Z")
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The resources that a configuration's JSON means with a connector.
fn resolved(section: &str, configuration: &Value) -> (Polling, Vec<Result<Query, Problem>>) {
    let polling = Polling::from_yaml(section).unwrap();
    let read = configuration::read(&settings(&[("event.poller.configuration", &configuration.to_string())]));
    assert_eq!(read.problems, []);
    let queries = read.resources.iter().map(|resource| Query::resolve(&polling, resource)).collect();
    (polling, queries)
}

fn one(section: &str, configuration: &Value) -> (Polling, Query) {
    let (polling, mut queries) = resolved(section, configuration);
    (polling, queries.remove(0).unwrap())
}

fn plan(polling: &Polling, query: &Query, progress: &Progress, pairs: &[(&str, &str)]) -> Result<Request, PlanError> {
    let settings = settings(pairs);
    query.plan(polling, &Asking { progress, now: at("2026-01-02T10:00:00Z"), settings: &settings })
}

fn progress() -> Progress {
    Progress::new(since(), 100)
}

/// Answers, one after the other, until reading ends: what was asked, and how it ended.
fn asked(polling: &Polling, query: &Query, pairs: &[(&str, &str)], answers: &[Value]) -> (Vec<Request>, Through) {
    let (mut progress, mut requests, mut ended) = (progress(), Vec::new(), false);
    for body in answers {
        let request = plan(polling, query, &progress, pairs).unwrap();
        let page = query.read(&request, &HeaderMap::new(), body, &mut progress).unwrap();
        requests.push(request);
        ended = page.next == Ok(Next::End);
        if !matches!(page.next, Ok(Next::Turn(_))) {
            break;
        }
    }
    (requests, query.through(&progress, ended))
}

#[test]
fn hubspot_s_search_goes_on_by_its_cursor() {
    let configuration = json!({"contacts": {"url": "/hubs/crm/contacts?where=lastmodifieddate='${date}'", "idField": "vid", "pageSize": 2,
        "datesConfiguration": {"updatedDateField": "properties.lastmodifieddate"}, "createdCheckTolerance": 10}});
    let (polling, query) = one(HUBSPOT, &configuration);
    assert_eq!(query.rules.id, Path::parse("id").unwrap(), "the old product's record had other fields");
    assert_eq!((query.rules.tolerance, query.overlap), (Duration::from_secs(10), Duration::from_secs(600)));
    assert!(query.rules.selects && query.rules.filter_by_updated);
    let record = |second: u32| json!({"id": "1", "updatedAt": format!("2026-01-02T09:55:{second:02}Z")});
    let answers = [
        json!({"results": [record(1), record(2)], "paging": {"next": {"after": "2"}}}),
        json!({"results": [record(3)]}),
    ];
    let (requests, through) = asked(&polling, &query, &[], &answers);
    assert_eq!(through, Through::All);
    let first = &requests[0];
    assert_eq!(
        (first.method, first.url.as_str()),
        (Method::Post, "https://api.hubapi.com/crm/v3/objects/contacts/search")
    );
    assert_eq!(first.headers, settings(&[("accept", "application/json"), ("content-type", "application/json")]));
    let body = first.body.as_ref().unwrap();
    assert_eq!(body["limit"], json!(2), "a number, and the smaller of the two sizes");
    assert_eq!(body["filterGroups"][0]["filters"][0]["value"], json!("1767347400500"));
    assert_eq!(requests[1].body.as_ref().unwrap()["after"], json!("2"));
    let (_, part) = asked(&polling, &query, &[], &answers[..1]);
    assert_eq!(part, Through::UpTo(at("2026-01-02T09:55:02Z")));
    let (polling, large) = one(HUBSPOT, &json!({"contacts": {"pageSize": 500}}));
    let body = plan(&polling, &large, &progress(), &[]).unwrap().body.unwrap();
    assert_eq!(body["limit"], json!(200), "more than the provider allows is not asked for");
}

#[test]
fn quickbooks_tells_deletions_and_a_full_answer_is_a_part() {
    let (polling, query) = one(QUICKBOOKS, &json!({"invoices": {}}));
    let realm = [("realm.id", "4620 81")];
    let record = |n: usize| json!({"Id": n.to_string(), "status": "Deleted", "MetaData": {"LastUpdatedTime": "2026-01-02T01:55:00-08:00"}});
    let answer = |count: usize| json!({"CDCResponse": [{"QueryResponse": [{"Invoice": (0..count).map(record).collect::<Vec<_>>()}]}]});
    let (requests, through) = asked(&polling, &query, &realm, &[answer(2)]);
    assert_eq!(
        requests[0].url,
        "https://quickbooks.api.intuit.com/v3/company/4620%2081/cdc?changedSince=2026-01-02T09%3A50%3A00Z&entities=Invoice"
    );
    assert_eq!(through, Through::All);
    assert_eq!(asked(&polling, &query, &realm, &[answer(1000)]).1, Through::Part);
    let nothing = json!({"CDCResponse": [{"QueryResponse": [{}]}]});
    assert_eq!(query.way.records(&nothing), Ok(vec![]));
    let moment = crate::classify::Moment {
        since: since(),
        start: at("2026-01-02T10:00:00Z"),
        clock: at("2026-01-02T10:00:00Z"),
    };
    let crate::classify::Classified::Told(told) = query.rules.classify(&record(7), &moment, |_| false) else {
        panic!()
    };
    assert_eq!((told.event_type, told.object_type.as_str()), (events::EventType::Deleted, "invoices"));
    assert_eq!(told.date, Some(at("2026-01-02T09:55:00Z")));
}

#[test]
fn quickbooks_s_query_counts_within_its_text() {
    let (polling, query) = one(QUICKBOOKS, &json!({"customers": {"pageSize": 2}}));
    let record =
        |second: u32| json!({"Id": "1", "MetaData": {"LastUpdatedTime": format!("2026-01-02T09:55:{second:02}Z")}});
    let page = |seconds: &[u32]| json!({"QueryResponse": {"Customer": seconds.iter().map(|s| record(*s)).collect::<Vec<_>>()}});
    let host = [("realm.id", "1"), ("host", "sandbox-quickbooks.api.intuit.com")];
    let (requests, through) = asked(&polling, &query, &host, &[page(&[1, 2]), page(&[3])]);
    assert!(
        requests[0]
            .url
            .starts_with("https://sandbox-quickbooks.api.intuit.com/v3/company/1/query?query=SELECT%20%2A%20FROM")
    );
    assert!(requests[0].url.ends_with("STARTPOSITION%201%20MAXRESULTS%202"), "{}", requests[0].url);
    assert!(requests[1].url.ends_with("STARTPOSITION%203%20MAXRESULTS%202"), "{}", requests[1].url);
    assert_eq!(through, Through::Counted { first: at("2026-01-02T09:55:02Z") });
    let (_, one_page) = asked(&polling, &query, &host, &[page(&[1])]);
    assert_eq!(one_page, Through::All);
    let (_, part) = asked(&polling, &query, &host, &[page(&[1, 2]), page(&[3, 4])]);
    assert_eq!(part, Through::UpTo(at("2026-01-02T09:55:02Z")));
}

#[test]
fn salesforce_is_asked_for_any_object_at_the_instance_s_own_host() {
    let (polling, query) = one(SALESFORCE, &json!({"Contact": {}}));
    let host = [("instance_url", "https://na1.salesforce.com/")];
    let pages =
        [json!({"records": [], "nextRecordsUrl": "/services/data/v65.0/query/01g-500"}), json!({"records": []})];
    let (requests, through) = asked(&polling, &query, &host, &pages);
    assert!(requests[0].url.starts_with("https://na1.salesforce.com/services/data/v65.0/queryAll?q=SELECT%20Id"));
    assert!(
        requests[0].url.contains("FROM%20Contact%20WHERE%20SystemModstamp%20%3E%3D%202026-01-02T09%3A50%3A00Z%20ORDER")
    );
    assert_eq!(requests[1].url, "https://na1.salesforce.com/services/data/v65.0/query/01g-500");
    assert_eq!(requests[1].base, "https://na1.salesforce.com", "what the instance says, not what the page says");
    assert_eq!((through, query.rules.object_type.as_str()), (Through::All, "Contact"));
    for name in ["Invoice__c", "2-3453932"] {
        assert!(resolved(SALESFORCE, &json!({ name: {} })).1[0].is_ok(), "{name}");
    }
    for name in ["Contact WHERE 1=1", "-Contact", "Contact--", "Contact/x", "Contact,Account"] {
        let (_, queries) = resolved(SALESFORCE, &json!({ name: {} }));
        assert!(queries[0].as_ref().unwrap_err().to_string().contains("{objectName}"), "{name}");
    }
    let (_, hub) = one(SALESFORCE, &json!({"accounts": {"url": "/hubs/crm/Account?where=x"}}));
    let request = plan(&polling, &hub, &progress(), &host).unwrap();
    assert!(request.url.contains("FROM%20Account"), "{}", request.url);
    for (value, error) in [
        (" ", PlanError::Unfilled(Unfilled::Missing("instance_url".into()))),
        ("ftp://na1.salesforce.com", PlanError::NoBase),
        ("na1.salesforce.com", PlanError::NoBase),
        ("https://user:secret@na1.salesforce.com", PlanError::NoBase),
        ("https://na1.salesforce.com/?x=", PlanError::NoBase),
        ("https://na1.salesforce.com/#", PlanError::NoBase),
    ] {
        assert_eq!(plan(&polling, &query, &progress(), &[("instance_url", value)]), Err(error), "{value}");
    }
}

#[test]
fn dropbox_goes_on_where_its_cursor_left_it() {
    let (polling, query) = one(DROPBOX, &json!({"files": {}}));
    assert!(query.keeps_cursor() && !query.rules.filter_by_updated);
    let none = settings(&[]);
    let asking = Asking { progress: &progress(), now: since(), settings: &none };
    let start = query.plan_start(&polling, &asking).unwrap().unwrap();
    assert_eq!(start.url, "https://api.dropboxapi.com/2/files/list_folder/get_latest_cursor");
    assert_eq!(start.body.as_ref().unwrap()["recursive"], json!(true));
    assert_eq!(query.cursor(&json!({"cursor": "AAF"})), Some("AAF".into()));
    let mut resuming = Progress::resuming("AAF", 100);
    let request = plan(&polling, &query, &resuming, &[]).unwrap();
    assert_eq!(request.url, "https://api.dropboxapi.com/2/files/list_folder/continue");
    assert_eq!(request.body, Some(json!({"cursor": "AAF"})));
    let body = json!({"entries": [], "cursor": "AAG", "has_more": true});
    let page = query.read(&request, &HeaderMap::new(), &body, &mut resuming).unwrap();
    assert_eq!(page.next, Ok(Next::Turn(Turn::Cursor("AAG".into()))));
}

#[test]
fn any_api_is_polled_from_the_instance_s_configuration_alone() {
    let configuration = json!({"deals": {
        "url": "/deals?where=modified>='${gmtDate:yyyy-MM-dd'T'HH:mm:ssXXX}'&team={team}", "idField": "ref.id", "pollDelay": 900,
        "recordsField": "data", "pagination": {"page": {"query": "page", "first": 1}},
        "datesConfiguration": {"updatedDateField": "modified", "updatedDateFormat": "yyyy-MM-dd"}
    }});
    let (polling, query) = one(HTTP, &configuration);
    assert_eq!(
        query.overlap,
        Duration::from_secs(86_400),
        "a date without a time of day says nothing of the hours before"
    );
    let set = [("base.url", "https://crm.example/api/"), ("team", "a&b")];
    let pages = [json!({"data": [{"ref": {"id": 1}}]}), json!({"data": []})];
    let (requests, through) = asked(&polling, &query, &set, &pages);
    assert_eq!(
        requests[0].url,
        "https://crm.example/api/deals?where=modified%3E%3D%272026-01-02T09%3A50%3A00Z%27&team=a%26b"
    );
    assert_eq!(requests[1].url, format!("{}&page=2", requests[0].url));
    assert!(requests.iter().all(|request| request.base == "https://crm.example/api"));
    assert_eq!(through, Through::Counted { first: Timestamp::from_millis(i64::MIN) }, "nobody knows the order");
    assert!(query.rules.selects);
    let secret = |key: &str| (key == "api.key").then_some("s3cret");
    let credential = polling.credential(secret).unwrap().unwrap();
    assert_eq!(credential, Credential::Header("authorization".into(), "Bearer s3cret".into()));
    assert!(!format!("{credential:?}").contains("s3cret"));
    assert_eq!(polling.credential(|_| None), Err(CredentialError::Missing("api.key".into())));
}

#[test]
fn an_own_url_stays_at_the_base_url_s_host() {
    let set = [("base.url", "https://crm.example/api")];
    let planned = |url: &str| {
        let (polling, query) = one(HTTP, &json!({ "x": { "url": url } }));
        plan(&polling, &query, &progress(), &set).map(|request| request.url)
    };
    assert_eq!(planned("x?y"), Ok("https://crm.example/api/x?y".into()));
    assert_eq!(planned("https://crm.example/other"), Ok("https://crm.example/other".into()));
    for url in
        ["https://evil.example/x", "http://crm.example/x", "https://crm.example:8443/x", "https://a@crm.example/x"]
    {
        assert!(matches!(planned(url), Err(PlanError::OtherHost(_))), "{url}");
    }
    assert_eq!(planned("//evil.example/x"), Ok("https://crm.example/api//evil.example/x".into()));
    assert_eq!(planned("/a/../x"), Err(PlanError::Unfilled(Unfilled::Dotted)));
}

#[test]
fn an_own_url_s_records_are_found_where_they_can_be() {
    let (polling, query) = one(HTTP, &json!({"x": {"url": "/x"}}));
    assert!(!query.rules.selects);
    let (a, b) = (json!({"id": 1}), json!({"id": 2}));
    assert_eq!(query.way.records(&json!([a, b])).unwrap().len(), 2);
    assert_eq!(query.way.records(&json!({"total": 2, "items": [a, b]})).unwrap().len(), 2);
    for other in [json!({"one": [a], "two": [b]}), json!({"id": 1}), json!("x"), json!(null)] {
        assert_eq!(query.way.records(&other), Err(NoRecords("the body".into())), "{other}");
    }
    let (_, placed) = one(HTTP, &json!({"x": {"url": "/x", "recordsField": "data.list"}}));
    assert_eq!(placed.way.records(&json!({"data": {"list": {"id": 1}}})).unwrap().len(), 1);
    assert_eq!(placed.way.records(&json!({"data": {"list": {}}})).unwrap().len(), 0, "as some APIs write nothing");
    assert_eq!(placed.way.records(&json!({"data": []})), Err(NoRecords("data.list".into())));
    let mut headers = HeaderMap::new();
    headers.insert(http::header::LINK, "</api/x?page=2>; rel=next".parse().unwrap());
    let mut progress = progress();
    let request = plan(&polling, &query, &progress, &[("base.url", "https://crm.example/api")]).unwrap();
    let body = json!([a]);
    let page = query.read(&request, &headers, &body, &mut progress).unwrap();
    assert_eq!(page.next, Ok(Next::Turn(Turn::Url("https://crm.example/api/x?page=2".into()))));
    let request = plan(&polling, &query, &progress, &[("base.url", "https://crm.example/api")]).unwrap();
    assert_eq!(request.url, "https://crm.example/api/x?page=2");
}

#[test]
fn a_resource_that_the_connector_does_not_have_is_a_problem_that_names_those_it_has() {
    let (_, queries) =
        resolved(QUICKBOOKS, &json!({"vendors": {}, "orders": {"url": "/hubs/finance/orders"}, "invoices": {}}));
    assert!(queries[0].is_ok(), "its neighbours are good");
    let orders = queries[1].as_ref().unwrap_err().to_string();
    assert_eq!(orders, r#"resource "orders": url is "orders"; the connector knows customers, invoices"#);
    let vendors = queries[2].as_ref().unwrap_err().to_string();
    assert_eq!(vendors, r#"resource "vendors": the resource is "vendors"; the connector knows customers, invoices"#);
    let (_, queries) = resolved(HTTP, &json!({"vendors": {}}));
    assert!(queries[0].as_ref().unwrap_err().to_string().contains("give a URL"));
}

#[test]
fn a_secret_goes_to_its_place_and_nowhere_else() {
    let section = |authentication: &str| {
        Polling::from_yaml(&format!("base_url: https://a.example\nauthentication:\n  {authentication}\n")).unwrap()
    };
    let secrets = |key: &str| match key {
        "user" => Some("me"),
        "pass" => Some(" pw "),
        "oauth.user.token" => Some("t0ken"),
        _ => None,
    };
    for (authentication, expected) in [
        ("basic: { username: user, password: pass }", Some(("authorization", "Basic bWU6cHc="))),
        ("basic: { username: user }", Some(("authorization", "Basic bWU6"))),
        ("api_key: { header: X-Key, setting: pass }", Some(("x-key", "pw"))),
        (
            "oauth2: { authorize_url: https://a.example/a, token_url: https://a.example/t, client_auth: basic }",
            Some(("authorization", "Bearer t0ken")),
        ),
        ("none: {}", None),
    ] {
        let known = ["user", "pass", "oauth.user.token"];
        let needed = |key: &&str| section(authentication).authentication.value.settings().contains(key);
        let needed: Vec<&str> = known.into_iter().filter(needed).collect();
        let only = |key: &str| needed.contains(&key).then(|| secrets(key)).flatten();
        assert_eq!(section(authentication).credential(only), section(authentication).credential(secrets));
        let expected = expected.map(|(name, value)| Credential::Header(name.into(), value.into()));
        assert_eq!(section(authentication).credential(secrets), Ok(expected), "{authentication}");
    }
    let query = section("api_key: { query: api_key, setting: pass }").credential(secrets);
    assert_eq!(query, Ok(Some(Credential::Query("api_key".into(), "pw".into()))));
    assert_eq!(
        section("basic: { username: absent }").credential(secrets),
        Err(CredentialError::Missing("absent".into()))
    );
}

const CHOICE: &str = r#"
base_url: "{base.url}"
defaults: { api.key.header: X-Api-Key }
authentication:
  choice:
    setting: authentication.type
    default: bearer
    of:
      bearer: { api_key: { header: authorization, prefix: "Bearer ", setting: api.key } }
      header: { api_key: { header: "{api.key.header}", setting: api.key } }
      query: { api_key: { query: "{api.key.parameter}", setting: api.key } }
      basic: { basic: { username: username, password: password } }
      none: { none: {} }
"#;

#[test]
fn an_instance_chooses_how_its_requests_say_whose_they_are() {
    let polling = Polling::from_yaml(CHOICE).unwrap();
    let credential = |pairs: &[(&str, &str)]| {
        let settings = settings(pairs);
        polling.credential(|key| settings.get(key).map(String::as_str))
    };
    let key = ("api.key", "s3cret");
    let way = |way| ("authentication.type", way);
    let header = |name: &str, value: &str| Ok(Some(Credential::Header(name.into(), value.into())));
    for (pairs, expected) in [
        (vec![key], header("authorization", "Bearer s3cret")),
        (vec![key, way(" ")], header("authorization", "Bearer s3cret")),
        (vec![key, way("Header")], header("x-api-key", "s3cret")),
        (vec![key, way("header"), ("api.key.header", "X-Token")], header("x-token", "s3cret")),
        (vec![key, way("query"), ("api.key.parameter", "k")], Ok(Some(Credential::Query("k".into(), "s3cret".into())))),
        (vec![way("none")], Ok(None)),
        (vec![key, way("query")], Err(CredentialError::Missing("api.key.parameter".into()))),
        (vec![way("basic"), ("username", "u")], Err(CredentialError::Missing("password".into()))),
        (vec![way("bearer")], Err(CredentialError::Missing("api.key".into()))),
        (vec![key, way("header"), ("api.key.header", "Host")], Err(CredentialError::Header("host".into()))),
        (vec![key, way("header"), ("api.key.header", "a b")], Err(CredentialError::Header("a b".into()))),
    ] {
        assert_eq!(credential(&pairs), expected, "{pairs:?}");
    }
    let error = credential(&[key, way("oauth")]).unwrap_err();
    assert_eq!(error.to_string(), "authentication.type is not one of basic, bearer, header, none, query");
}

#[test]
fn what_is_gone_is_told_where_the_configuration_says_so() {
    let deleted = |section: &str, resource: Value| one(section, &json!({ "contacts": resource })).1.rules.deleted;
    let at = |path: &str| Some(crate::classify::Deleted { path: Path::parse(path).unwrap(), is: None });
    assert_eq!(deleted(HTTP, json!({"url": "/x"})), None);
    assert_eq!(deleted(HTTP, json!({"url": "/x", "deletedField": "meta.gone"})), at("meta.gone"));
    assert_eq!(deleted(HUBSPOT, json!({})), at("archived"));
    assert_eq!(deleted(HUBSPOT, json!({"deletedField": "gone"})), at("gone"));
    assert_eq!(deleted(HUBSPOT, json!({"url": "/hubs/crm/contacts", "deletedField": "gone"})), at("archived"));
}

proptest! {
    #[test]
    fn a_parameter_is_set_once_and_the_others_stay(name in "[a-z]{1,3}", value in ".{0,8}", others in proptest::collection::vec("[a-z]{1,3}=[a-z%2]{0,3}", 0..4)) {
        let url = format!("https://a.example/p?{}", others.join("&"));
        let set = set_parameter(&set_parameter(&url, &name, "first"), &name, &value);
        let read: Vec<(String, String)> = Url::parse(&set).unwrap().query_pairs().into_owned().collect();
        let mine: Vec<&str> = read.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_str()).collect();
        prop_assert_eq!(mine, [value.as_str()]);
        for other in others.iter().filter(|other| !other.starts_with(&format!("{name}="))) {
            prop_assert!(set.contains(other.as_str()));
        }
    }

    #[test]
    fn a_field_is_set_whatever_is_there(path in "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}", body in prop_oneof![Just(json!(null)), Just(json!({"a": 1, "b": {"a": [1]}})), Just(json!([]))]) {
        let mut set = body;
        set_field(&mut set, &path, json!("here"));
        prop_assert_eq!(Path::parse(&path).unwrap().find(&set), Some(&json!("here")));
    }

    #[test]
    fn no_value_leads_a_request_elsewhere(value in "[a-z./:@#?%\\\\]{1,12}|.{1,8}", realm in "[a-z./:@#?%\\\\]{1,12}") {
        let (polling, query) = one(QUICKBOOKS, &json!({"invoices": {}}));
        if let Ok(request) = plan(&polling, &query, &progress(), &[("realm.id", &realm), ("host", &value)]) {
            let url = Url::parse(&request.url).unwrap();
            // A blank value leaves the default in its place.
            let host = if value.trim().is_empty() { "quickbooks.api.intuit.com" } else { value.trim() };
            // A number is an address: `1` is 0.0.0.1.
            let host = Url::parse(&format!("https://{host}")).unwrap();
            prop_assert_eq!(url.origin(), host.origin());
            prop_assert_eq!(host.path(), "/");
            prop_assert!(url.path().starts_with("/v3/company/") && url.path().ends_with("/cdc"), "{}", url);
        }
    }
}
