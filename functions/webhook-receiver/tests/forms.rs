//! Every form in which the contract lets a webhook come, and how each finds its instances.

#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use common::{
    RECORDED_SECRET, SECRET, connectors, counts, of, own, polls, post, queued, refused, skipped, sorted, spec_of,
    taken, telling, told, world,
};
use connectors::catalogue;
use events::{InstanceId, configuration};
use http::{Request, StatusCode};
use records::refused::Reason;
use scenarios::{Made, Spec, Webhook, World};

const TICKET: &str = r#"{"id":"1711","title":"a+b & c","updated":"2016-05-31T10:32:15-05:00","action":"updated"}"#;

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn get(rest: &str) -> Request<Body> {
    Request::get(format!("/elements/api-v2/events/{rest}")).body(Body::empty()).unwrap()
}

fn one(instance: InstanceId, object: &str) -> (InstanceId, Vec<String>) {
    (instance, vec![object.to_owned()])
}

#[tokio::test]
async fn each_connector_s_instance_is_reached_by_path_by_header_and_where_the_body_names_it_by_account() {
    let (mut seed, mut by_account) = (8_000, 0);
    for key in connectors() {
        let example = telling(key);
        let account = example.changes.iter().find_map(|change| change.account.as_ref()).or(example.signals.first());
        let connector = catalogue().get(key).unwrap();
        seed += 1;
        let world = world(seed).await;
        let spec = spec_of(key, example);
        let id = world.make(account.map_or(spec.clone(), |account| spec.account(account))).await.id;
        let webhook = || Webhook::recorded(key, example, RECORDED_SECRET);
        let id_text = id.to_string();
        let mut ways = vec![
            webhook().path(&own(id)),
            webhook().path(&format!("{}/", own(id))),
            webhook().path("/").header("element-instances", &id_text),
            webhook().header("ELEMENT-INSTANCES", &format!(" {id_text} , 77")),
        ];
        if account.is_some() {
            by_account += 1;
            ways.extend([webhook(), webhook().path("/")]);
        }
        let count = ways.len();
        for way in ways {
            taken(&world, &way).await;
            if connector.signals() {
                world.platform().memory.advance(common::SETTLES);
            }
        }
        let sent =
            if connector.signals() { polls(&world) } else { told(&world).into_iter().map(|(id, _)| id).collect() };
        assert_eq!(sent, vec![id; count], "{key}");
        let unknown = counts(&[(Reason::UnknownInstance, 1)]);
        assert_eq!(refused(&world, key).await, unknown, "{key}: the other one named");
    }
    assert!(by_account >= 9, "{by_account}");
}

#[tokio::test]
async fn of_the_instances_that_a_header_names_each_whose_secret_verifies_is_told() {
    let world = world(8_101).await;
    let (a, b) = (world.make(of("github")).await.id, world.make(of("github")).await.id);
    let c = world.make(of("github").webhook_secret("another's")).await.id;
    let none = world.make(Spec::of("github").callback(common::APP)).await.id;
    let issue = |secret| {
        Webhook::new("github", secret, r#"{"action":"opened","issue":{"id":7}}"#).header("x-github-event", "issues")
    };
    let all = format!("{c},{a},{none},{b}");
    taken(&world, &issue(SECRET).header("Element-Instances", &all)).await;
    assert_eq!(told(&world), sorted(vec![one(a, "7"), one(b, "7")]));
    taken(&world, &issue("another's").header("Element-Instances", &all)).await;
    assert_eq!(told(&world).len(), 3);
    let (status, text) = world.send(&issue("nobody's").header("Element-Instances", &all)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{text}");
    assert_eq!(told(&world).len(), 3);
    let expected = counts(&[(Reason::SignatureMismatch, 1 + 2 + 3), (Reason::NoSecret, 3)]);
    assert_eq!(refused(&world, "github").await, expected);
}

#[tokio::test]
async fn a_get_tells_what_its_query_holds() {
    let world = world(8_102).await;
    let id = world.make(of("zendesk")).await.id;
    let (path, ticket, token) = (format!("zendesk{}", own(id)), encoded(TICKET), encoded(SECRET));
    for query in [
        format!("ticket={ticket}&token={token}"),
        format!("token={token}&x=1&ticket={ticket}"),
        format!("token=the+app%27s+secret&%74icket={}", ticket.replace("%20", "+")),
    ] {
        let (status, text) = world.call(get(&format!("{path}?{query}"))).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "{}"), "{query}");
    }
    let mut by_header = get(&format!("zendesk?ticket={ticket}&token={token}"));
    by_header.headers_mut().insert("element-instances", id.to_string().parse().unwrap());
    assert_eq!(world.call(by_header).await.0, StatusCode::OK);
    let batches = queued(&world);
    assert_eq!(told(&world), vec![one(id, "1711"); 4]);
    for batch in &batches {
        assert_eq!(batch.raw, TICKET, "what is shown is the ticket, without the URL's secret");
        let event = &batch.events[0];
        assert_eq!((event.object_type.as_str(), event.event_type.as_str()), ("ticket", "UPDATED"));
    }
    for (query, status) in [
        (format!("ticket={ticket}"), StatusCode::UNAUTHORIZED),
        (format!("ticket={ticket}&token=x"), StatusCode::UNAUTHORIZED),
        (format!("ticket={ticket}&token={token}&token={token}"), StatusCode::UNAUTHORIZED),
        (format!("ticket={ticket}&Token={token}"), StatusCode::UNAUTHORIZED),
        (format!("token={token}"), StatusCode::BAD_REQUEST),
        (format!("ticket=&token={token}"), StatusCode::BAD_REQUEST),
        (format!("ticket=7&token={token}"), StatusCode::BAD_REQUEST),
        (format!("ticket={ticket}&ticket={ticket}&token={token}"), StatusCode::BAD_REQUEST),
        (format!("ticket=%7B%22id%22%3A%22%ff%22%7D&token={token}"), StatusCode::BAD_REQUEST),
        (format!("ticket={}&token={token}", &ticket[..ticket.len() - 3]), StatusCode::BAD_REQUEST),
        (format!("token={token}{}", "&a=1".repeat(1_001)), StatusCode::BAD_REQUEST),
        (String::new(), StatusCode::BAD_REQUEST),
    ] {
        let (is, text) = world.call(get(&format!("{path}?{query}"))).await;
        assert_eq!(is, status, "{query}: {text}");
        assert!(!text.contains(SECRET) && !text.contains("the+app"), "{text}");
    }
    assert_eq!(told(&world).len(), 4);
    // A GET's body counts for nothing.
    let mut body = get(&format!("{path}?token={token}"));
    *body.body_mut() = Body::from(TICKET);
    assert_eq!(world.call(body).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_get_is_taken_only_where_the_definition_says_so() {
    for (place, key) in (0..).zip(connectors().into_iter().filter(|key| *key != "zendesk")) {
        let world = world(8_110 + place).await;
        let id = world.make(of(key).set(configuration::VENDOR_VERIFICATION, "none")).await.id;
        let answer = world.answer(get(&format!("{key}{}?ticket={{}}", own(id)))).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{key}");
        assert_eq!(answer.headers()["allow"], "POST", "{key}");
    }
    let world = world(8_130).await;
    for method in ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"] {
        let request = Request::builder().method(method).uri("/elements/api-v2/events/zendesk");
        let answer = world.answer(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status(), &answer.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET, POST".parse().unwrap())
        );
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn form(secret: &str, organization: &str, issue: u64) -> Webhook {
    let json = format!(r#"{{"action":"opened","issue":{{"id":{issue}}},"organization":{{"login":"{organization}"}}}}"#);
    Webhook::new("github", secret, format!("payload={}&x=1", encoded(&json)))
        .header(FORM.0, FORM.1)
        .header("x-github-event", "issues")
        .header("x-github-delivery", "d1")
}

#[tokio::test]
async fn a_form_tells_what_its_payload_holds() {
    let mut world = world(8_103).await;
    let id = world.make(of("github")).await.id;
    world.restart();
    taken(&world, &form(SECRET, "acme", 7).path(&own(id))).await;
    taken(&world, &form(SECRET, "acme", 7).path(&own(id)).header("content-type", "text/plain")).await;
    assert_eq!(told(&world), vec![one(id, "7"); 2]);
    let raw: serde_json::Value = serde_json::from_slice(&queued(&world)[0].raw).unwrap();
    assert_eq!(raw["organization"]["login"], "acme", "an object, not a form");
    for body in
        ["", "payload", "payload=", "payload=x", "payload=7", "payload=%7B%7D&payload=%7B%7D", "p=%7B%7D", "%ff=1"]
    {
        let webhook = Webhook::new("github", SECRET, body).path(&own(id)).header(FORM.0, FORM.1);
        let (status, text) = world.send(&webhook).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {text}");
    }
    let unsigned = form(SECRET, "acme", 7).unsigned().path(&own(id));
    assert_eq!(world.send(&unsigned).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(told(&world).len(), 2);
    // Where a connector's definition names no form, none is read.
    let hubspot = post("hubspot", &[FORM], "payload=%5B%5D");
    assert_eq!(world.call(hubspot).await.0, StatusCode::BAD_REQUEST);
}

const LOGIN: &str = "github.organization";

fn finding(organization: &str) -> Spec {
    of("github").set(configuration::INSTANCE_FINDER, &format!("{LOGIN}|organization.login")).set(LOGIN, organization)
}

fn issue(secret: &str, organization: &str, issue: u64) -> Webhook {
    let json = format!(r#"{{"action":"opened","issue":{{"id":{issue}}},"organization":{{"login":"{organization}"}}}}"#);
    Webhook::new("github", secret, json).header("x-github-event", "issues").header("x-github-delivery", "d1")
}

#[tokio::test]
async fn a_finder_finds_the_instances_whose_value_stands_in_the_body() {
    let world = world(8_201).await;
    let acme = world.make(finding("acme")).await.id;
    let also_acme = world.make(finding(" acme ")).await.id;
    let duck = world.make(finding("duck").webhook_secret("the duck's")).await.id;
    let by_number =
        of("github").set(configuration::INSTANCE_FINDER, "repository|repository.id").set("repository", "42");
    let by_number = world.make(by_number).await.id;
    taken(&world, &issue(SECRET, "acme", 1)).await;
    taken(&world, &form(SECRET, "acme", 2)).await;
    assert_eq!(told(&world), sorted(vec![one(acme, "1"), one(also_acme, "1"), one(acme, "2"), one(also_acme, "2")]));
    taken(&world, &issue("the duck's", "duck", 3)).await;
    assert_eq!(told(&world).iter().filter(|(id, _)| *id == duck).count(), 1);
    let body = r#"{"action":"opened","issue":{"id":4},"repository":{"id":42},"organization":{"login":"duck"}}"#;
    let both = |secret| Webhook::new("github", secret, body).header("x-github-event", "issues");
    taken(&world, &both(SECRET)).await;
    let of_4: Vec<_> = told(&world).into_iter().filter(|(_, objects)| objects == &["4"]).collect();
    assert_eq!(of_4, [one(by_number, "4")], "the duck is found, too, and its secret is another");
    assert_eq!(world.send(&both("nobody's")).await.0, StatusCode::UNAUTHORIZED);
    let expected = counts(&[(Reason::SignatureMismatch, 1 + 2)]);
    assert_eq!(refused(&world, "github").await, expected);
}

#[tokio::test]
async fn a_finder_that_finds_nobody_is_counted_and_so_is_what_it_may_not_reach() {
    let mut world = world(8_202).await;
    let nobody = issue(SECRET, "acme", 1);
    assert_eq!(world.send(&nobody).await.0, StatusCode::BAD_REQUEST, "no instance has a finder: name one");
    assert_eq!(refused(&world, "github").await, counts(&[(Reason::NoInstanceNamed, 1)]));
    world.make(finding("duck").set(configuration::VENDOR_VERIFICATION, "none")).await;
    world.make(finding("off").set(configuration::ENABLED, "false")).await;
    world.restart();
    for body in [
        r#"{"organization":{"login":"ACME"}}"#,
        r#"{"organization":{"login":["duck"]}}"#,
        r#"{"organization":[{"login":"duck"}]}"#,
        r#"{"organization":"duck"}"#,
        r#"{"organization.login":"duck"}"#,
        r#"{"organization":{"login":null}}"#,
        r#"{"organization":{"login":{"duck":1}}}"#,
        r#"{"organization":{"login":"off"}}"#,
        "{}",
        "[]",
    ] {
        let webhook = Webhook::new("github", SECRET, body).header("x-github-event", "issues");
        assert_eq!(world.send(&webhook).await.0, StatusCode::OK, "{body}");
    }
    let (status, _) = world.send(&issue(SECRET, "duck", 1).unsigned()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "what a body says is anybody's claim");
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    let expected = [
        (Reason::NoInstanceNamed, 1),
        (Reason::UnknownAccount, 9),
        (Reason::EventsOff, 1),
        (Reason::SignatureMissing, 1),
    ];
    assert_eq!(refused(&world, "github").await, counts(&expected));
}

#[tokio::test]
async fn a_finder_that_was_changed_or_deleted_finds_no_more() {
    let world = world(8_203).await;
    let mut moved: Made = world.make(finding("acme")).await;
    let deleted = world.make(finding("acme")).await;
    taken(&world, &issue(SECRET, "acme", 1)).await;
    assert_eq!(told(&world).len(), 2);
    moved
        .change(world.platform(), |configuration, _| {
            configuration.insert(LOGIN.into(), "duck".into());
        })
        .await;
    records::instances::delete(world.platform(), &deleted.stored).await.unwrap();
    taken(&world, &issue(SECRET, "acme", 2)).await;
    assert_eq!(told(&world).len(), 2, "nobody is found");
    taken(&world, &issue(SECRET, "duck", 3)).await;
    assert_eq!(told(&world).len(), 3);
    moved
        .change(world.platform(), |configuration, _| {
            configuration.remove(configuration::INSTANCE_FINDER);
        })
        .await;
    assert_eq!(world.send(&issue(SECRET, "duck", 4)).await.0, StatusCode::BAD_REQUEST, "no finder is left");
    assert_eq!(told(&world).len(), 3);
}

fn tenants(entries: &[(&str, &str)]) -> String {
    let entry = |(tenant, id): &(&str, &str)| {
        serde_json::json!({"tenantId": tenant, "clientState": SECRET, "changeType": "created",
            "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": id}})
    };
    serde_json::json!({"value": entries.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn of_a_body_that_tells_of_several_customers_each_that_is_found_is_shown_its_own_part() {
    let world = world(8_204).await;
    let tenant = |tenant: &str| {
        of("microsoftgraph").set(configuration::INSTANCE_FINDER, "graph.tenant|tenantId").set("graph.tenant", tenant)
    };
    let (a, b) = (world.make(tenant("tenant-a")).await.id, world.make(tenant("tenant-b")).await.id);
    let body = tenants(&[("tenant-a", "1"), ("tenant-b", "2"), ("tenant-c", "3"), ("tenant-a", "4")]);
    taken(&world, &Webhook::new("microsoftgraph", SECRET, body)).await;
    let expected = vec![(a, vec!["1".to_owned(), "4".to_owned()]), one(b, "2")];
    assert_eq!(told(&world), sorted(expected));
    for batch in queued(&world) {
        let raw = String::from_utf8(batch.raw.to_vec()).unwrap();
        let (own, other) = if batch.instance == a { ("tenant-a", "tenant-b") } else { ("tenant-b", "tenant-a") };
        assert!(
            raw.contains(own) && !raw.contains(other) && !raw.contains("tenant-c") && !raw.contains(SECRET),
            "{raw}"
        );
    }
    assert_eq!(refused(&world, "microsoftgraph").await, counts(&[(Reason::Skipped, 1)]));
    let detail = "1 of 4 entries concern no instance: no instance finder matches them";
    assert_eq!(skipped(&world, "microsoftgraph").await, [detail]);
}

#[tokio::test]
async fn entries_of_an_instance_that_is_found_and_left_out_are_not_counted_twice() {
    let world = world(8_206).await;
    let tenant = |tenant: &str| {
        of("microsoftgraph").set(configuration::INSTANCE_FINDER, "graph.tenant|tenantId").set("graph.tenant", tenant)
    };
    let a = world.make(tenant("tenant-a")).await.id;
    world.make(tenant("tenant-b").set(configuration::ENABLED, "false")).await;
    world.make(tenant("tenant-c").webhook_secret("another's")).await;
    let body = tenants(&[("tenant-a", "1"), ("tenant-b", "2"), ("tenant-c", "3")]);
    taken(&world, &Webhook::new("microsoftgraph", SECRET, body)).await;
    assert_eq!(told(&world), [one(a, "1")]);
    let expected = counts(&[(Reason::EventsOff, 1), (Reason::SignatureMismatch, 1)]);
    assert_eq!(refused(&world, "microsoftgraph").await, expected);
}

#[tokio::test]
async fn a_ping_that_tells_of_nothing_is_logged_and_not_counted() {
    let (logs, _guard) = scenarios::Logs::capture();
    let world = world(8_207).await;
    let id = world.make(of("github")).await.id;
    let ping = |event| {
        Webhook::new("github", SECRET, r#"{"zen":"Keep it logically awesome.","hook_id":30}"#)
            .header("x-github-event", event)
            .path(&own(id))
    };
    taken(&world, &ping("ping")).await;
    assert_eq!(told(&world), []);
    assert_eq!(refused(&world, "github").await, counts(&[]));
    assert_eq!(logs.text().matches("a webhook tells of no change").count(), 1);
    // The same without the event's name that the definition knows is another matter.
    taken(&world, &ping("pong")).await;
    assert_eq!(refused(&world, "github").await, counts(&[(Reason::Skipped, 1)]));
    assert_eq!(logs.text().matches("a webhook tells of no change").count(), 1);
}

#[tokio::test]
async fn a_shop_is_found_by_its_header_which_alone_proves_nothing() {
    let world = world(8_205).await;
    let a = world.make(of("shopify").account("a.myshopify.com")).await.id;
    world.make(of("shopify").account("b.myshopify.com").webhook_secret("another app's")).await;
    let order = |shop: &str| {
        Webhook::new("shopify", SECRET, r#"{"id":820982911946154508}"#)
            .header("X-Shopify-Topic", "orders/create")
            .header("X-Shopify-Shop-Domain", shop)
            .header("X-Shopify-Webhook-Id", "w1")
    };
    taken(&world, &order("a.myshopify.com")).await;
    assert_eq!(world.send(&order("b.myshopify.com")).await.0, StatusCode::UNAUTHORIZED);
    taken(&world, &order("c.myshopify.com")).await;
    let two_shops = order("a.myshopify.com").header("X-Shopify-Shop-Domain", "b.myshopify.com");
    taken(&world, &two_shops).await;
    assert_eq!(told(&world), [one(a, "820982911946154508")]);
    let expected = [(Reason::SignatureMismatch, 1), (Reason::UnknownAccount, 1), (Reason::NoInstanceNamed, 1)];
    assert_eq!(refused(&world, "shopify").await, counts(&expected));
}

/// An issue, opened, edited and deleted, and what nobody has heard of.
async fn four_changes(world: &World, instance: InstanceId) {
    for (action, event, field) in
        [("opened", "issues", "issue"), ("edited", "issues", "issue"), ("deleted", "label", "label")]
    {
        let body = format!(r#"{{"action":"{action}","{field}":{{"id":"{action}"}}}}"#);
        let webhook = Webhook::new("github", SECRET, body).header("x-github-event", event);
        taken(world, &webhook.path(&own(instance))).await;
    }
}

#[tokio::test]
async fn objects_and_event_types_filter_what_is_told() {
    let types = |text: &'static str| ("event.metadata", text);
    for (seed, settings, expected) in [
        (0, vec![], vec!["opened", "edited", "deleted"]),
        (1, vec![(configuration::OBJECTS, "ISSUES , x")], vec!["opened", "edited"]),
        (2, vec![(configuration::OBJECTS, " , ")], vec!["opened", "edited", "deleted"]),
        (3, vec![types(r#"{"webhook":{"Issues":{"eventTypes":["created"]}}}"#)], vec!["opened", "deleted"]),
        (4, vec![types(r#"{"webhook":{"{objectName}":{"eventTypes":["updated"]}}}"#)], vec!["edited"]),
        (5, vec![types(r#"{"webhook":{"label":{"eventTypes":[]}}}"#)], vec!["opened", "edited"]),
        (6, vec![types(r#"{"polling":{"issues":{"eventTypes":[]}}}"#)], vec!["opened", "edited", "deleted"]),
        (
            7,
            vec![(configuration::OBJECTS, "issues"), types(r#"{"webhook":{"issues":{"eventTypes":["UPDATED"]}}}"#)],
            vec!["edited"],
        ),
    ] {
        let world = world(8_300 + seed).await;
        let spec = settings.iter().fold(of("github"), |spec, (key, value)| spec.set(key, value));
        let id = world.make(spec).await.id;
        four_changes(&world, id).await;
        let told: Vec<String> = queued(&world).iter().map(|batch| batch.events[0].object_id.clone()).collect();
        assert_eq!(told, expected, "{settings:?}");
        let filtered = 3 - expected.len() as u64;
        let expected = if filtered == 0 { counts(&[]) } else { counts(&[(Reason::Filtered, filtered)]) };
        assert_eq!(refused(&world, "github").await, expected, "{settings:?}");
    }
}

#[tokio::test]
async fn what_is_filtered_for_one_is_told_to_its_neighbour_and_what_nobody_knows_the_type_of_is_told() {
    let world = world(8_320).await;
    let created = of("sfdc")
        .account("00D000000000001")
        .set(configuration::METADATA, r#"{"webhook":{"Contact":{"eventTypes":["created"]}}}"#);
    let creations = world.make(created).await.id;
    let all = world.make(of("sfdc").account("00D000000000001")).await.id;
    let send = async |action: &str| {
        let body =
            format!(r#"{{"action":"{action}","objects":[{{"attributes":{{"type":"Contact"}},"Id":"{action}"}}]}}"#);
        let both = format!("{creations},{all}");
        taken(&world, &Webhook::new("sfdc", SECRET, body).header("Element-Instances", &both)).await;
    };
    for action in ["create", "update", "explode"] {
        send(action).await;
    }
    let of_one = |id| -> Vec<String> {
        told(&world).into_iter().filter(|(instance, _)| *instance == id).flat_map(|(_, objects)| objects).collect()
    };
    assert_eq!(of_one(all), ["create", "explode", "update"]);
    assert_eq!(of_one(creations), ["create", "explode"]);
}
