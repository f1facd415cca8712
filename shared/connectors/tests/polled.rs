//! Definitions that say how their provider is polled.

#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderValue};
use pollhook_connectors::{Connector, Request, Scope, catalogue};
use polling::definition::Polling;
use serde_json::Value;

const POLLED: &str = "\
key: acme
name: Acme
hub: crm
polling:
  base_url: https://api.acme.example
  authentication: { none: {} }
  page_size: 50
  resources:
    contacts:
      path: /contacts
      query: { limit: '{page_size}' }
      id: id
";

#[test]
fn a_connector_may_be_polled_sent_webhooks_of_or_both_but_not_neither() {
    let acme = Connector::from_yaml(POLLED).unwrap();
    let resources: Vec<&str> = acme.polling().unwrap().resources.keys().map(String::as_str).collect();
    assert_eq!((resources, acme.scope(), acme.has_webhooks()), (vec!["contacts"], None, false));
    let both = format!("{POLLED}webhook: {{ scope: app, mapping: '[1]' }}\n");
    let both = Connector::from_yaml(&both).unwrap();
    assert!(both.polling().is_some() && both.scope() == Some(Scope::App));
    let neither = Connector::from_yaml("key: acme\nname: Acme\nhub: crm\n").unwrap_err();
    assert!(neither.message.contains("`webhook`, `polling` or both"), "{neither}");
    let example = Connector::from_yaml(&format!("{POLLED}examples:\n  - {{ about: x, body: '{{}}' }}\n")).unwrap_err();
    assert!(example.message.contains("needs `webhook`") && example.line == 14, "{example}");
}

#[test]
fn a_mistake_in_how_it_is_polled_is_told_by_the_line_of_the_definition_it_is_in() {
    for (needle, instead, line, says) in [
        ("base_url: https", "base_url: ftp", 5, "https://host/path"),
        ("none: {}", "nobody: {}", 6, "nobody"),
        ("none: {}", "basic: {}", 6, "`username`"),
        ("page_size: 50\n", "pagesize: 50\n", 7, "pagesize"),
        ("  page_size: 50\n", "", 9, "{page_size} needs"),
        ("      id: id", "      ordered: true\n      id: id", 10, "`ordered`"),
        ("      id: id", "      id: a..b", 12, "a..b"),
    ] {
        let error = Connector::from_yaml(&POLLED.replacen(needle, instead, 1)).unwrap_err();
        assert!(error.message.contains(says) && error.line == line, "{instead}: {error}");
    }
}

#[test]
fn a_connector_without_webhooks_takes_nothing_and_nothing_is_its_provider_s() {
    let acme = Connector::from_yaml(POLLED).unwrap();
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
    for method in ["GET", "POST", "PUT"] {
        assert!(!acme.takes(method));
        let request = Request { method, url: "https://hooks.example.com/?challenge=1", headers: &headers, body: b"{}" };
        assert!(acme.handshake(&request, None).is_none());
    }
    assert!(!acme.signals() && !acme.verifies() && !acme.routes_by_account() && !acme.keeps_handshake());
    assert!(acme.secret_keys().is_empty() && acme.required().is_empty() && acme.proofs().is_empty());
    assert_eq!(acme.url_with_secret("https://hooks.example.com/", "s"), "https://hooks.example.com/");
    assert_eq!(acme.check_examples(), []);
}

/// The build makes parts of them, which are not checked again.
#[test]
fn every_built_in_definition_is_right_as_a_file_and_its_parts_say_the_same() {
    for key in catalogue().keys() {
        let file = format!("{}/definitions/{key}.yaml", env!("CARGO_MANIFEST_DIR"));
        let whole = Connector::from_yaml(&std::fs::read_to_string(file).unwrap());
        let (whole, parts) = (whole.unwrap_or_else(|error| panic!("{key}: {error}")), catalogue().get(key).unwrap());
        assert_eq!(whole.polling().is_some(), parts.polling().is_some(), "{key}");
        assert_eq!(whole.scope(), parts.scope(), "{key}");
        assert_eq!((whole.required(), whole.secret_keys()), (parts.required(), parts.secret_keys()), "{key}");
        assert_eq!(whole.check_examples(), [], "{key}");
    }
}

#[test]
fn built_in_sections_are_read_from_json_as_from_yaml() {
    let polled = catalogue().keys().filter_map(|key| Some((key, catalogue().get(key)?.polling()?)));
    let mut keys = Vec::new();
    for (key, polling) in polled {
        let file = format!("{}/definitions/{key}.yaml", env!("CARGO_MANIFEST_DIR"));
        let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let read: Polling = serde_json::from_value(definition["polling"].clone()).unwrap();
        assert_eq!(read.check(), Ok(()), "{key}");
        assert!(read.resources.keys().eq(polling.resources.keys()), "{key}");
        assert_eq!((read.overlap, &read.signs), (polling.overlap, &polling.signs), "{key}");
        keys.push(key);
    }
    assert!(keys.contains(&"http"), "{keys:?}");
}
