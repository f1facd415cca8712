//! Making an instance and reading it back.

use http::StatusCode;
use records::instances;
use serde_json::{Value, json};

use crate::world::{CALLBACK, World, id, set};

fn body() -> Value {
    json!({
        "name": "<b>Acme</b>",
        "element": {"key": "hubspot"},
        "tags": ["<i>first</i>", "second"],
        "configuration": {
            "event.notification.enabled": true,
            "event.vendor.type": "webhook",
            "event.notification.callback.url": CALLBACK,
            "event.notification.signature.key": "s1gnature-s3cret",
            "webhook.secret": "pr0vider-s3cret",
            "oauth.user.refresh_token": "refr3sh-s3cret",
            "event.vendor.account": 62515,
            "event.objects": ["Contact", "Account"],
            "event.poller.configuration": {"contacts": {"url": "/x"}},
            "never.heard.of": "kept",
            "event.notification.contract": null,
        },
    })
}

#[tokio::test]
async fn an_instance_is_answered_in_the_contracts_words_and_reads_back_the_same() {
    let world = World::new(1).await;
    let made = world.post(&body()).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let instance = &made.json;
    assert!(instance["id"].as_u64().unwrap() < 1 << 31);
    for (field, expected) in [
        ("name", json!("Acme")),
        ("tags", json!(["first", "second"])),
        ("createdDate", json!("2026-09-21T14:13:20Z")),
        ("provisionInteractions", json!([])),
        ("valid", json!(true)),
        ("disabled", json!(false)),
        ("maxCacheSize", json!(0)),
        ("cacheTimeToLive", json!(0)),
        ("eventsEnabled", json!(true)),
        ("traceLoggingEnabled", json!(false)),
        ("cachingEnabled", json!(false)),
        ("externalAuthentication", json!("none")),
    ] {
        assert_eq!(instance[field], expected, "{field}");
    }
    assert_eq!(instance["element"]["key"], "hubspot");
    assert_eq!(instance["element"]["name"], "HubSpot");
    assert_eq!(instance["element"]["hub"], "crm");
    assert_eq!(instance["element"]["id"], instance["elementId"]);
    assert!(instance["user"]["id"].is_u64() && !instance["token"].as_str().unwrap().is_empty());
    let encoded = instance["encodedid"].as_str().unwrap();
    assert_eq!(
        instance["webhookUrl"],
        format!("https://hooks.example.com/base/elements/api-v2/events/hubspot/{encoded}")
    );
    assert_eq!(
        set(instance),
        json!({
            "event.notification.enabled": "true",
            "event.vendor.type": "webhook",
            "event.notification.callback.url": CALLBACK,
            "event.notification.signature.key": "********",
            "webhook.secret": "********",
            "oauth.user.refresh_token": "********",
            "event.vendor.account": "62515",
            "event.objects": "Contact,Account",
            "event.poller.configuration": "{\"contacts\":{\"url\":\"/x\"}}",
            "never.heard.of": "kept",
        })
    );
    // What can be set and is not is null.
    let items = world.get(&format!("/instances/{}/configuration", id(instance))).await.json;
    for item in items.as_array().unwrap() {
        let key = item["key"].as_str().unwrap();
        assert_eq!(instance["configuration"].get(key), Some(&item["propertyValue"]), "{key}");
    }
    assert_eq!(instance["configuration"].as_object().unwrap().len(), items.as_array().unwrap().len());
    assert_eq!(instance["configuration"]["event.notification.subscription.id"], json!(null));
    for path in [format!("/instances/{}", id(instance)), format!("/instances/{}/", id(instance))] {
        let read = world.get(&path).await;
        assert_eq!((read.status, &read.json), (StatusCode::OK, instance));
    }
}

#[tokio::test]
async fn a_secret_is_in_no_answer_and_nowhere_stored_in_clear() {
    let world = World::new(2).await;
    let made = world.post(&body()).await;
    let instance = id(&made.json);
    let answers = [
        made,
        world.get(&format!("/instances/{instance}")).await,
        world.patch(instance, &json!({"name": "Other"})).await,
        world
            .patch(instance, &json!({"configuration": {"event.notification.signature.key": "whsec_n3w-s3cret"}}))
            .await,
    ];
    for secret in ["s1gnature-s3cret", "pr0vider-s3cret", "refr3sh-s3cret", "n3w-s3cret"] {
        assert!(answers.iter().all(|answer| !answer.text.contains(secret)), "{secret}");
        assert!(!world.holds(secret), "{secret}");
    }
    let token = answers[0].json["token"].as_str().unwrap();
    assert!(!world.holds(token) && world.holds("kept"));
}

#[tokio::test]
async fn what_is_not_accepted_is_refused_by_name_and_nothing_is_made() {
    let world = World::new(3).await;
    let before = world.platform.steps();
    for (change, named) in [
        (json!({"name": null}), "name"),
        (json!({"element": {"key": "hubspott"}}), "hubspot"),
        (json!({"element": {}}), "element.key"),
        (json!({"tags": "x"}), "tags"),
        (json!({"configuration": []}), "configuration"),
        (json!({"configuration": {"event.notification.enabled": "maybe"}}), "event.notification.enabled"),
        (json!({"configuration": {"event.notification.callback.url": "http://192.168.0.1/"}}), "--allow-callbacks-to"),
        (json!({"configuration": {"event.notification.callback.url": "ftp://example.com/"}}), "http"),
        (json!({"configuration": {"event.notification.signature.key": ""}}), "event.notification.signature.key"),
        (json!({"configuration": {"event.notification.signature.key": "********"}}), "mask"),
        (json!({"configuration": {"event.vendor.verification": "off"}}), "signature or none"),
        (json!({"configuration": {"event.notification.contract": "loose"}}), "extended or strict"),
        (json!({"configuration": {"event.vendor.account": ""}}), "event.vendor.account"),
        (json!({"configuration": {"#token": "x"}}), "token"),
        (json!({"element": {"id": 7}}), "element.id"),
        (json!({"providerData": {"code": "x"}}), "providerData.code"),
        (json!({"configuration": {"event.vendor.type": "push"}}), "webhook or webhooks or polling"),
        (json!({"configuration": {"event.notification.type": "sms"}}), "event.notification.type"),
        (json!({"configuration": {"event.poller.refresh_interval": 0}}), "event.poller.refresh_interval"),
        (json!({"configuration": {"event.poller.configuration": "{\"a\""}}), "line 1, column 4"),
        (json!({"configuration": {"event.notification.basic.password": "x"}}), "event.notification.basic.username"),
        (json!({"configuration": {"event.notification.callback.headers": "x"}}), "accepted: lines of Name: value"),
        (json!({"configuration": {"event.notification.callback.headers": "Host: x"}}), "cannot be set: host; accepted"),
        (json!({"configuration": {"event.notification.callback.headers": {"X": 1}}}), "other JSON; accepted: it is"),
        (json!({"configuration": {"event.notification.instance.finder": "a.token|b"}}), "holds a secret"),
        (json!({"configuration": {"event.notification.instance.finder": "webhook.secret|b"}}), "accepted: another"),
        (json!({"element": "hubspot"}), "accepted: an object with the connector's key"),
        (json!({"element": {"key": "hubspot", "id": 7}}), "element.id"),
        (json!({"configuration": {"event.notification.instance.finder": "x"}}), "event.notification.instance.finder"),
        (json!({"configuration": {"event.metadata": {"webhook": []}}}), "event.metadata"),
        (json!({"configuration": {"event.mapping.objectId": "a..b"}}), "event.mapping.objectId"),
        (json!({"configuration": {"event.notification.calback.url": CALLBACK}}), "did you mean"),
        (json!({"configuration": {"webhook.secret": " x "}}), "webhook.secret"),
        (json!({"element": {"key": "sfdc"}}), "event.vendor.account"),
        (
            json!({"configuration": {"event.notification.callback.url":
                "https://hooks.example.com/base/elements/api-v2/events/hubspot/"}}),
            "event.notification.signature.key",
        ),
    ] {
        let mut body = json!({"name": "Acme", "element": {"key": "hubspot"}});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let reply = world.post(&body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{change}");
        assert!(reply.message().contains(named), "{change}: {}", reply.message());
        assert_eq!(reply.json["requestId"], reply.header("elements-request-id").unwrap());
    }
    for bad in ["", "{", "[]", "null", "\u{0}"] {
        let reply = world.call(&world.owner, "POST", "/instances", bad).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{bad:?}");
    }
    let large = world.call(&world.owner, "POST", "/instances", vec![b' '; 256 * 1024 + 1]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(large.message().contains("262144"), "{}", large.message());
    assert_eq!(world.platform.steps(), before);
}

/// Each with a word of the reason.
const NO_CALLBACKS: [(&str, &str); 26] = [
    ("http://127.0.0.1/", "loopback"),
    ("http://127.1/", "loopback"),
    ("http://2130706433/", "loopback"),
    ("http://0x7f000001/", "loopback"),
    ("http://0177.0.0.1/", "loopback"),
    ("https://localhost/", "loopback"),
    ("https://hooks.localhost./", "loopback"),
    ("http://[::1]/", "loopback"),
    ("http://0.0.0.0/", "this host"),
    ("http://169.254.1.1/", "link-local"),
    ("http://[fe80::1]/", "link-local"),
    ("http://169.254.169.254/latest/meta-data/", "metadata"),
    ("http://2852039166/", "metadata"),
    ("http://10.0.0.1/", "private"),
    ("http://172.16.0.1/", "private"),
    ("http://192.168.0.1/", "private"),
    ("http://3232235521/", "private"),
    ("http://[fd00::1]/", "unique local"),
    ("http://[::ffff:10.0.0.1]/", "private"),
    ("http://[::ffff:7f00:1]/", "loopback"),
    ("http://[64:ff9b::10.0.0.1]/", "private"),
    ("http://[64:ff9b::7f00:1]/", "loopback"),
    ("https://ann:s3cret@app.example.com/", "credentials"),
    ("https://s3cret@app.example.com/", "credentials"),
    ("ftp://app.example.com/s3cret", "http"),
    ("file:///etc/passwd", "http"),
];

#[tokio::test]
async fn no_callback_leads_into_the_house_by_whichever_route_it_is_set() {
    let world = World::new(8).await;
    let id = world.instance(json!({})).await;
    let before = world.get(&format!("/instances/{id}")).await.json;
    let key = "event.notification.callback.url";
    let items = world.get(&format!("/instances/{id}/configuration")).await.json;
    let item = items.as_array().unwrap().iter().find(|item| item["key"] == key).unwrap();
    let item = format!("/instances/{id}/configuration/{}", item["id"]);
    for (url, reason) in NO_CALLBACKS {
        let body = json!({"name": "x", "element": {"key": "hubspot"}, "configuration": {key: url}});
        for (method, path, body) in [
            ("POST", "/instances".to_owned(), body.clone()),
            ("POST", "/elements/hubspot/instances".to_owned(), body.clone()),
            ("PATCH", format!("/instances/{id}"), json!({"configuration": {key: url}})),
            ("PUT", format!("/instances/{id}"), body),
            ("PATCH", item.clone(), json!({"propertyValue": url})),
        ] {
            let reply = world.call(&world.owner, method, &path, body.to_string()).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{method} {path} {url}");
            let message = reply.message();
            assert!(message.contains(key) && message.contains(reason), "{url}: {message}");
            assert!(!message.contains("ann") && !message.contains("s3cret@"), "{message}");
        }
    }
    assert_eq!(world.get(&format!("/instances/{id}")).await.json, before);
    assert_eq!(world.get("/instances/count").await.json, json!({"count": 1}));
}

#[tokio::test]
async fn a_connector_may_be_named_by_its_number() {
    let world = World::new(5).await;
    let made = world.post(&json!({"name": "Acme", "element": {"key": "hubspot"}})).await;
    let by_number = world.post(&json!({"name": "Acme", "element": {"id": made.json["elementId"]}})).await;
    assert_eq!((by_number.status, &by_number.json["element"]), (StatusCode::OK, &made.json["element"]));
}

#[tokio::test]
async fn the_url_of_a_provider_that_proves_itself_by_it_shows_where_the_secret_is_to_stand() {
    let world = World::new(6).await;
    let configuration = json!({"event.vendor.account": "00D000000000001", "webhook.secret": "pr0vider-s3cret"});
    let made = world.post(&json!({"name": "x", "element": {"key": "sfdc"}, "configuration": configuration})).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let url = made.json["webhookUrl"].as_str().unwrap();
    assert!(url.contains("/events/sfdc/") && url.ends_with("=********"), "{url}");
    assert!(!made.text.contains("s3cret"));
}

#[tokio::test]
async fn the_providers_account_counts_as_its_connector_counts_it() {
    let world = World::new(7).await;
    let configuration = json!({"event.vendor.account": "00D000000000001AAA", "webhook.secret": "token"});
    let made = world.post(&json!({"name": "x", "element": {"key": "sfdc"}, "configuration": configuration})).await;
    let routed = async |account| instances::routed(&world.platform, "sfdc", account).await.unwrap().0;
    assert_eq!(routed("00D000000000001").await, [id(&made.json)]);
    world.patch(id(&made.json), &json!({"configuration": {"event.vendor.account": "00D000000000002AAA"}})).await;
    assert!(routed("00D000000000001").await.is_empty());
    assert_eq!(routed("00D000000000002").await, [id(&made.json)]);
}

#[tokio::test]
async fn the_largest_configuration_that_is_accepted_can_be_stored() {
    let world = World::new(4).await;
    let tags: Vec<String> = (0..64).map(|_| "é".repeat(255)).collect();
    let mut configuration = serde_json::Map::new();
    for n in 0..250 {
        configuration.insert(format!("secret.{n:03}.password"), "x".repeat(600).into());
    }
    let body = json!({"name": "Acme", "element": {"key": "hubspot"}, "tags": tags, "configuration": configuration});
    let reply = world.post(&body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let large = json!({"configuration": {"a": "x".repeat(30_000)}});
    assert_eq!(world.patch(id(&reply.json), &large).await.status, StatusCode::OK);
    let larger = json!({"configuration": {"b": "x".repeat(30_000)}});
    assert_eq!(world.patch(id(&reply.json), &larger).await.status, StatusCode::BAD_REQUEST);
}
