use proptest::prelude::*;

use super::fixtures::{DROPBOX, HTTP, HUBSPOT, QUICKBOOKS, SALESFORCE};
use super::*;

#[test]
fn the_sections_of_real_connectors_load() {
    for (text, resources) in [(HUBSPOT, 1), (QUICKBOOKS, 2), (SALESFORCE, 1), (DROPBOX, 1), (HTTP, 0)] {
        let polling = Polling::from_yaml(text).unwrap();
        assert_eq!(polling.resources.len(), resources);
    }
    let hubspot = Polling::from_yaml(HUBSPOT).unwrap();
    assert_eq!((hubspot.overlap, hubspot.page_size, hubspot.max_pages), (600, Some(200), 100));
    assert_eq!(hubspot.budget, Some(Budget { requests: 5, seconds: 1 }));
    let Authentication::Oauth2(oauth) = &hubspot.authentication.value else { panic!("{hubspot:?}") };
    assert_eq!((oauth.client_auth, oauth.rotating), (ClientAuth::Body, false));
    assert_eq!(Polling::from_yaml(HTTP).unwrap().overlap, 300);
}

/// A section with a line replaced, and where that line is.
fn with(original: &str, line: &str) -> (String, u64) {
    let place = HUBSPOT.lines().position(|here| here.trim_start().starts_with(original)).unwrap();
    let lines: Vec<String> = HUBSPOT
        .lines()
        .enumerate()
        .map(|(n, here)| {
            let indent = &here[..here.len() - here.trim_start().len()];
            if n == place { format!("{indent}{line}") } else { here.to_owned() }
        })
        .collect();
    (lines.join("\n"), u64::try_from(place).unwrap() + 1)
}

#[test]
fn a_mistake_in_a_line_is_told_with_that_line() {
    for (original, line, says) in [
        ("base_url:", "base_url: ftp", "https://host/path"),
        ("base_url:", "base_url: https://api.hubapi.com?x=1", "no query"),
        ("base_url:", "base_url: https://${x}.example", "placeholder"),
        ("client_auth:", "client_auth: header", "basic, body"),
        ("client_auth:", "client-auth: body", "client-auth"),
        ("method:", "method: DELETE", "DELETE"),
        ("limit:", "limit: \"${page_size}\"", "${page_size}"),
        ("paging:", "paging: { cursor: { form: x, body: y } }", "form"),
        ("paging:", "paging: { next: {} }", "next"),
        ("records:", "records: a..b", "a..b"),
        ("updated:", "updated: { at: updatedAt, format: yyyyTHH }", "position 5"),
        ("updated:", "updated: { at: updatedAt, zone: XST }", "XST"),
        ("updated:", "updated: { field: updatedAt }", "field"),
        ("- { status: 477", "- { status: 477, means: slow }", "slow"),
        ("new_since_last:", "new_since: true", "new_since"),
    ] {
        let (text, at) = with(original, line);
        let error = Polling::from_yaml(&text).unwrap_err();
        assert!(error.message.contains(says), "{line}: {error}");
        // The body is read whole before its texts are.
        let near = if original == "limit:" { at - 4..=at } else { at..=at };
        assert!(near.contains(&error.line), "{line}: {error}, not {at}");
    }
}

#[test]
fn what_does_not_fit_together_is_told_with_the_resource() {
    for (original, line, says) in [
        ("path: /crm", "path: https://other.example/x", "comes after the base URL"),
        ("method:", "method: GET", "POST"),
        ("new_since_last:", "headers: { \"a b\": c }", "\"a b\" is no header name"),
        ("ordered:", "ordered: false", "begins again"),
        ("created:", "page_size: 100", "new_since_last"),
        ("deleted:", "page_size: 0", "at least 1"),
        ("paging:", "paging: { offset: {} }", "exactly one place"),
        ("paging:", "paging: { cursor: { from: a, query: b, body: c } }", "exactly one place"),
        ("paging:", "paging: { page: { query: page, first: 1 } }\n    start: /x", "cursor"),
        ("paging:", "paging: { page: { query: page, from_last: true } }", "offset or a cursor"),
        ("ordered:", "ordered: false\n    overlap: 5", "begins again"),
        ("paging:", "most: 10\n    paging: { link: {} }", "`most`"),
        ("records:", "records: \"{entity}\"", "one of `values`"),
        ("records:", "records: \"a.{entity}\"\n    values: { entity: a..b }", "one of `values`"),
        ("paging:", "beyond: { path: /x, paging: { link: {} }, records: x }", "`most`"),
        ("paging:", "most: 5\n    beyond: { path: /x, paging: { offset: {} }, records: x }", "exactly one place"),
        ("paging:", "most: 5\n    beyond: { path: https://x.example, paging: { link: {} }, records: x }", "base URL"),
        ("paging:", "most: 5\n    beyond: { path: /x, paging: { since: {} }, records: x }", "begins again"),
        ("paging:", "start: /x\n    paging: { cursor: { from: a, body: b } }", "what is new"),
        ("paging:", "index: { path: a, folder: { at: b } }\n    paging: { link: {} }", "needs `start`"),
        ("contacts:", "\"con{tacts}\":", "no placeholders"),
    ] {
        let (text, _) = with(original, line);
        let error = Polling::from_yaml(&text).unwrap_err();
        assert!(error.message.contains(says) && error.message.starts_with("resource \"con"), "{line}: {error}");
        let resources = u64::try_from(text.lines().position(|line| line == "resources:").unwrap()).unwrap() + 1;
        assert!(error.line > resources && error.line <= resources + 2, "{line}: {error}");
    }
    let (unsized_pages, _) = with("page_size: 200", "max_pages: 5");
    assert!(Polling::from_yaml(&unsized_pages).unwrap_err().message.contains("{page_size} needs"));
    let unordered = HUBSPOT.replace("    updated: { at: updatedAt }\n", "").replace("    new_since_last: true\n", "");
    assert!(Polling::from_yaml(&unordered).unwrap_err().message.contains("`ordered`"));
}

#[test]
fn an_authentication_that_cannot_work_is_refused() {
    for (authentication, says) in [
        ("api_key: { setting: k }", "exactly one place"),
        ("api_key: { header: a, query: b, setting: k }", "exactly one place"),
        ("api_key: { header: \"a b\", setting: k }", "no header name"),
        ("api_key: { header: a, setting: \"\" }", "`setting`"),
        ("basic: {}", "`username`"),
        ("choice: { setting: a, default: b, of: {} }", "`default`"),
        ("choice: { setting: \"\", default: b, of: { b: { none: {} } } }", "`setting`"),
        ("choice: { setting: a, default: b, of: { b: { basic: {} } } }", "`username`"),
        (
            "choice: { setting: a, default: b, of: { b: { choice: { setting: a, default: c, of: { c: { none: {} } } } } } }",
            "not one of a choice",
        ),
        ("oauth2: { authorize_url: http://a.example, token_url: https://a.example, client_auth: body }", "https"),
        ("oauth2: { authorize_url: https://a.example, token_url: \"https://\", client_auth: body }", "https"),
    ] {
        let text = format!("base_url: https://a.example\nauthentication:\n  {authentication}\n");
        let error = Polling::from_yaml(&text).unwrap_err();
        assert!(error.message.contains(says) && (2..=3).contains(&error.line), "{authentication}: {error}");
    }
    for (line, says) in [
        ("budget: { requests: 0, seconds: 1 }", "budget"),
        ("max_pages: 0", "max_pages"),
        ("headers: { \"a b\": c }", "header name"),
    ] {
        let text = format!("base_url: https://a.example\nauthentication: {{ none: {{}} }}\n{line}\n");
        assert!(Polling::from_yaml(&text).unwrap_err().message.contains(says), "{line}");
    }
}

proptest! {
    #[test]
    fn a_section_with_any_line_is_read_or_refused(at in 0..40usize, line in "[a-z_]{1,9}: [\\[\\]{}a-z0-9:,\"]{0,12}|.{0,12}") {
        let lines: Vec<&str> = HUBSPOT.lines().enumerate().map(|(n, here)| if n == at { line.as_str() } else { here }).collect();
        if let Err(error) = Polling::from_yaml(&lines.join("\n")) {
            prop_assert!(!error.message.is_empty());
        }
    }
}
