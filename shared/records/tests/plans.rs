//! What the poller reads of an instance.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{owner, platform, provision};
use events::EventType;
use events::configuration::{
    CALLBACK_URL, ENABLED, FILTER_RESPONSE_NULLS, METADATA, OBJECTS, POLLER_CONFIGURATION, SIGNATURE_KEY,
};
use platform::testing::MemoryPlatform;
use platform::{Key, Platform as _, Purpose, Table as _, Vault as _, Write};
use pollhook_records::health::{self, Health};
use pollhook_records::instances::{self, Derived, Secrets, Stored};
use pollhook_records::plans::{self, Plan, Read};
use pollhook_records::polls::{self, Claimed};
use polling::definition::Polling;
use polling::position::{Place, State};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

/// An instance with its plan, of a connector whose requests are made with `api.key`.
async fn made(platform: &MemoryPlatform, plain: &[(&str, &str)], secrets: &[(&str, &str)]) -> Stored {
    let owner = owner(platform).await;
    let provision = provision("http", plain, secrets);
    let stored = instances::create(platform, &owner, provision, &Derived::default()).await.unwrap();
    let plan = plans::put(platform, &stored.instance, &stored.secrets, &["api.key"]).await.unwrap();
    platform.table().transact(vec![plan]).await.unwrap();
    stored
}

async fn plan(platform: &MemoryPlatform, plain: &[(&str, &str)]) -> Plan {
    let id = made(platform, plain, &[]).await.instance.id;
    plans::read(platform, id).await.unwrap().unwrap().plan
}

#[tokio::test]
async fn a_health_that_cannot_be_read_stops_no_poll_and_is_replaced_by_the_next_note() {
    let platform = platform(5);
    let id = made(&platform, &[], &[]).await.instance.id;
    let newer = Key::new(format!("POLL#{id}"), "HEALTH");
    platform.table().write(Write::put(newer, platform.version(), "of a version to come")).await.unwrap();
    let read = plans::read(&platform, id).await.unwrap().unwrap();
    assert!(read.health.unreadable.is_some() && read.health.health == Health::default());
    assert!(health::put(&platform, id, &read.health, &Health::of(read.version)).await.unwrap());
    let again = plans::read(&platform, id).await.unwrap().unwrap();
    assert_eq!((again.health.unreadable, again.health.health), (None, Health::of(read.version)));
}

#[tokio::test]
async fn a_poll_begins_with_one_query_for_the_plan_and_where_the_polls_stand() {
    let platform = platform(1);
    let plain = [("base.url", "https://a.example"), (POLLER_CONFIGURATION, "{}"), (CALLBACK_URL, "https://c.example")];
    let stored = made(&platform, &plain, &[]).await;
    let id = stored.instance.id;
    let Read { plan, standing, .. } = plans::read(&platform, id).await.unwrap().unwrap();
    let settings = [("base.url", "https://a.example"), (POLLER_CONFIGURATION, "{}")];
    let settings: BTreeMap<String, String> =
        settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    assert_eq!(plan.settings, settings, "whom to call is not the poller's business");
    assert_eq!((plan.instance, plan.connector.as_str(), plan.created_at), (id, "http", common::NOW));
    assert!(plan.events_on && !plan.disabled && !plan.keep_nulls);
    assert_eq!(standing, polls::read(&platform, id).await.unwrap());

    let until = platform.now().plus(Duration::from_secs(60));
    let Claimed::Ours(claim) = polls::claim(&platform, &standing, "me", until).await.unwrap() else { panic!() };
    let state = State { places: [("files".to_owned(), Place::Cursor("c".into()))].into() };
    polls::advance(&platform, &claim, state.clone()).await.unwrap();
    let Read { plan: again, standing, .. } = plans::read(&platform, id).await.unwrap().unwrap();
    assert_eq!((again, standing.state), (plan, state));
    polls::forget(&platform, id).await.unwrap();
    assert!(plans::read(&platform, id).await.unwrap().is_some(), "the plan is the API's to delete");
    platform.table().transact(vec![plans::delete(id)]).await.unwrap();
    assert!(plans::read(&platform, id).await.unwrap().is_none());
    assert!(platform.table().items("POLL#").is_empty());
}

#[tokio::test]
async fn an_instance_has_a_plan_as_long_as_it_is_polled_and_it_says_what_the_instance_says() {
    let platform = platform(6);
    let owner = owner(&platform).await;
    let section = "base_url: \"{base.url}\"\nauthentication: { api_key: { header: x-key, setting: api.key } }";
    let polling = Polling::from_yaml(section).unwrap();
    let polled = Derived { polling: Some(&polling), ..Derived::default() };
    let provision = provision("http", &[("base.url", "https://a.example")], &[("api.key", "k1")]);
    let stored = instances::create(&platform, &owner, provision, &polled).await.unwrap();
    let id = stored.instance.id;
    let said = async || {
        let plan = plans::read(&platform, id).await.unwrap()?.plan;
        let secrets = plan.secrets(&platform).await.unwrap();
        Some((plan.settings["base.url"].clone(), secrets["api.key"].expose_secret().to_owned()))
    };
    let is = |url: &str, key: &str| Some((url.to_owned(), key.to_owned()));
    assert_eq!(said().await, is("https://a.example", "k1"));

    let mut instance = stored.instance.clone();
    instance.configuration.insert("base.url".into(), "https://b.example".into());
    let secrets = || Secrets::from([("api.key".to_owned(), "k2".into())]);
    let stored = instances::update(&platform, &stored, instance.clone(), secrets(), &polled).await.unwrap();
    assert_eq!(said().await, is("https://b.example", "k2"));
    let none = Derived::default();
    let stored = instances::update(&platform, &stored, instance.clone(), secrets(), &none).await.unwrap();
    assert_eq!(said().await, None, "it is polled no longer");
    let stored = instances::update(&platform, &stored, instance, secrets(), &polled).await.unwrap();
    assert_eq!(said().await, is("https://b.example", "k2"));
    instances::delete(&platform, &stored).await.unwrap();
    assert_eq!(said().await, None);
}

#[tokio::test]
async fn the_poller_gets_the_secrets_that_the_provider_is_asked_with_and_no_other() {
    let platform = platform(2);
    let secrets = [("api.key", "clear-key"), (SIGNATURE_KEY, "clear-signature"), ("other.password", "clear-other")];
    let id = made(&platform, &[], &secrets).await.instance.id;
    let plan = plans::read(&platform, id).await.unwrap().unwrap().plan;
    let opened = plan.secrets(&platform).await.unwrap();
    let opened: Vec<_> = opened.iter().map(|(key, secret)| (key.as_str(), secret.expose_secret())).collect();
    assert_eq!(opened, [("api.key", "clear-key")]);
    assert!(!format!("{plan:?}").contains("clear"));
    let item = platform.table().items("POLL#").remove(0);
    let text = String::from_utf8_lossy(&item.body).into_owned();
    assert!(!text.contains("clear") && !text.contains(SIGNATURE_KEY) && !text.contains("other.password"));
}

#[tokio::test]
async fn a_sealed_secret_opens_for_the_poller_at_its_place_alone() {
    let platform = platform(3);
    let id = made(&platform, &[], &[("api.key", "clear-key")]).await.instance.id;
    let item = platform.table().items("POLL#").remove(0);
    let body: serde_json::Value = serde_json::from_slice(&item.body).unwrap();
    let sealed = body["secrets"]["api.key"].as_str().unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, sealed).unwrap();
    let place = format!("POLL#{id}#api.key");
    let vault = platform.vault();
    assert_eq!(vault.open(Purpose::Poll, &place, &bytes).await.unwrap(), b"clear-key");
    for (purpose, place) in [
        (Purpose::Api, place.as_str()),
        (Purpose::Webhook, place.as_str()),
        (Purpose::Callback, place.as_str()),
        (Purpose::Poll, "POLL#8#api.key"),
    ] {
        assert!(vault.open(purpose, place, &bytes).await.is_err(), "{purpose:?} at {place}");
    }
}

#[tokio::test]
async fn events_that_are_off_and_nulls_that_are_wanted_are_read_as_clients_write_them() {
    let platform = platform(4);
    let on = async |value| plan(&platform, &[(ENABLED, value)]).await.events_on;
    assert!(on("TRUE").await && !on("false").await && !on("what?").await);
    let keeps = async |value| plan(&platform, &[(FILTER_RESPONSE_NULLS, value)]).await.keep_nulls;
    assert!(keeps("False").await && !keeps("true").await && !keeps(" ").await && !keeps("what?").await);
}

#[tokio::test]
async fn what_is_polled_is_narrowed_by_objects_and_by_what_metadata_says_of_polling() {
    let platform = platform(5);
    let metadata = r#"{"webhook":{"accounts":{"eventTypes":[]}},"polling":{"accounts":{"eventTypes":["created"]}}}"#;
    let plan = plan(&platform, &[(OBJECTS, "Companies, deals"), (METADATA, metadata)]).await;
    for (resource, object_type, event_type, told) in [
        ("companies", "accounts", EventType::Created, true),
        ("companies", "accounts", EventType::Updated, false),
        ("companies", "accounts", EventType::Unknown, true),
        ("accounts", "accounts", EventType::Created, false),
        ("pipeline", "DEALS", EventType::Deleted, true),
    ] {
        assert_eq!(plan.wants(resource, object_type, event_type), told, "{resource} {object_type} {event_type:?}");
    }
    let unreadable = self::plan(&platform, &[(METADATA, "not JSON")]).await;
    assert!(unreadable.wants("a", "a", EventType::Deleted), "when in doubt it is told");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn of_a_configuration_the_poller_sees_all_but_callbacks_and_secrets(
        plain in proptest::collection::btree_map("(event\\.(notification|poller)\\.)?[a-z]{1,4}", "[a-z]{1,4}", 0..6),
        secrets in proptest::collection::btree_map("(api\\.key|api\\.secret|[a-z]{2}\\.token)", "sealed-[a-z]{4}", 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform(6);
            let pairs = |map| BTreeMap::iter(map).map(|(key, value): (&String, &String)| (key.as_str(), value.as_str()));
            let given: (Vec<_>, Vec<_>) = (pairs(&plain).collect(), pairs(&secrets).collect());
            let id = made(&platform, &given.0, &given.1).await.instance.id;
            let plan = plans::read(&platform, id).await.unwrap().unwrap().plan;
            for (key, value) in &plain {
                let seen = plan.settings.get(key) == Some(value);
                prop_assert_eq!(seen, !key.starts_with("event.notification."), "{}", key);
            }
            let opened: Vec<String> = plan.secrets(&platform).await.unwrap().into_keys().collect();
            let needed: Vec<String> = secrets.into_keys().filter(|key| key == "api.key").collect();
            prop_assert_eq!(opened, needed);
            Ok(())
        })?;
    }
}
