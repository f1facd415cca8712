use proptest::prelude::*;
use url::Url;

use super::*;

fn policy() -> Policy {
    Policy::new(Vec::new(), Some(&Url::parse("https://hooks.example.com/base").unwrap()))
}

fn changes(pairs: &[(&str, Option<&str>)]) -> Changes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(SecretString::from))).collect()
}

/// What the rules of a connector say.
fn judged(connector: &str, judge: impl FnOnce(&Rules<'_>) -> Result<Settings, Invalid>) -> Result<Settings, String> {
    let (policy, catalogue) = (policy(), connectors::catalogue());
    let rules = Rules { policy: &policy, catalogue, connector: catalogue.get(connector).unwrap() };
    judge(&rules).map_err(|invalid| invalid.to_string())
}

fn apply(before: Settings, pairs: &[(&str, Option<&str>)]) -> Result<Settings, String> {
    judged("hubspot", |rules| rules.change(before, &changes(pairs)))
}

fn set(key: &str, value: &str) -> Result<Settings, String> {
    apply(Settings::default(), &[(key, Some(value))])
}

#[test]
fn secrets_go_one_way_and_everything_else_the_other() {
    let settings = apply(
        Settings::default(),
        &[("oauth.api.secret", Some("s1")), ("oauth.user.token", Some("s2")), ("anything", Some(" kept "))],
    )
    .unwrap();
    assert_eq!(settings.plain, BTreeMap::from([("anything".into(), " kept ".into())]));
    assert_eq!(settings.secrets.keys().collect::<Vec<_>>(), ["oauth.api.secret", "oauth.user.token"]);
}

#[test]
fn what_connectors_are_polled_with_is_kept_and_its_secrets_sealed() {
    let plain = [
        "api.key.header",
        "api.key.parameter",
        "authentication.type",
        "base.url",
        "instance_url",
        "quickbooks.host",
        "sfdc.api.version",
        "username",
    ];
    let secret = ["api.key", "oauth.user.token", "password"];
    let given: Vec<_> = plain.iter().chain(&secret).map(|key| (*key, Some("x"))).collect();
    for connector in ["http", "hubspot", "quickbooks", "sfdc"] {
        let settings = judged(connector, |rules| rules.change(Settings::default(), &changes(&given))).unwrap();
        assert_eq!(settings.plain.keys().collect::<Vec<_>>(), plain, "{connector}");
        assert_eq!(settings.secrets.keys().collect::<Vec<_>>(), secret, "{connector}");
    }
}

#[test]
fn the_mask_keeps_a_secret_and_null_unsets_it() {
    let key = configuration::SIGNATURE_KEY;
    let before = set(key, "first").unwrap();
    let kept = apply(before.clone(), &[(key, Some(configuration::MASK))]).unwrap();
    assert_eq!(kept.secrets[key].expose_secret(), "first");
    assert!(apply(before, &[(key, None)]).unwrap().secrets.is_empty());
    assert!(set(key, configuration::MASK).unwrap_err().contains("no secret to keep"));
}

#[test]
fn blank_is_unset_for_keys_we_read_and_refused_where_that_would_switch_something_off() {
    for key in [configuration::CALLBACK_URL, configuration::CONTRACT, configuration::VENDOR_VERIFICATION] {
        assert!(set(key, " ").unwrap().plain.is_empty(), "{key}");
    }
    for key in [configuration::SIGNATURE_KEY, "oauth.api.secret", configuration::VENDOR_ACCOUNT] {
        assert!(set(key, " ").unwrap_err().contains(key), "{key}");
    }
    assert_eq!(set(configuration::ENABLED, "").unwrap().plain[configuration::ENABLED], "");
}

#[test]
fn words_are_those_we_know_in_any_case() {
    assert_eq!(set(configuration::CONTRACT, "Strict").unwrap().plain[configuration::CONTRACT], "strict");
    assert_eq!(set(configuration::CONTRACT, "extended").unwrap().plain[configuration::CONTRACT], "extended");
    let key = configuration::VENDOR_VERIFICATION;
    assert_eq!(set(key, " NONE ").unwrap().plain[key], "none");
    let error = set(key, "off").unwrap_err();
    assert_eq!(error, format!("configuration \"{key}\": given \"off\"; accepted: signature or none"));
    assert!(set(configuration::ENABLED, "yes").unwrap_err().ends_with("given \"yes\"; accepted: true or false"));
}

#[test]
fn a_private_callback_is_refused_with_the_flag_that_would_allow_it_and_without_its_credentials() {
    let error = set(configuration::CALLBACK_URL, "http://127.0.0.1:9/x?key=s3cret").unwrap_err();
    assert!(error.contains(configuration::CALLBACK_URL) && error.contains("--allow-callbacks-to"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let error = set(configuration::CALLBACK_URL, "https://me:s3cret@example.com/").unwrap_err();
    assert!(!error.contains("s3cret") && error.contains("credentials"), "{error}");
    assert!(set(configuration::CALLBACK_URL, "mailto:x@y").is_err());
    assert!(set(configuration::CALLBACK_URL, "https://example.com/hook").is_ok());
}

#[test]
fn a_callback_of_our_own_needs_a_known_connector_and_a_signature_key() {
    let own = |key: &str| format!("https://hooks.example.com/base/elements/api-v2/events/{key}/");
    let with_key = |url: &str| {
        apply(
            Settings::default(),
            &[(configuration::CALLBACK_URL, Some(url)), (configuration::SIGNATURE_KEY, Some("k"))],
        )
    };
    assert!(with_key(&own("nosuch")).unwrap_err().contains("hubspot"));
    let error = with_key(&own("http")).unwrap_err();
    assert!(error.contains("connector with webhooks: asana") && !error.contains("http,"), "{error}");
    let error = set(configuration::CALLBACK_URL, &own("hubspot")).unwrap_err();
    assert!(error.contains(configuration::SIGNATURE_KEY), "{error}");
    let settings = with_key(&own("hubspot")).unwrap();
    // The key cannot be taken away again while it is needed.
    assert!(apply(settings.clone(), &[(configuration::SIGNATURE_KEY, None)]).is_err());
    assert!(apply(settings, &[(configuration::SIGNATURE_KEY, None), (configuration::CALLBACK_URL, None)]).is_ok());
}

#[test]
fn signature_keys_are_well_formed_and_never_repeated() {
    for bad in ["whsec_", "whsec_%%s3cret%%"] {
        let error = set(configuration::SIGNATURE_KEY, bad).unwrap_err();
        assert!(error.contains(configuration::SIGNATURE_KEY) && !error.contains("s3cret"), "{error}");
    }
    assert!(set(configuration::SIGNATURE_KEY, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
    assert!(set(configuration::SIGNATURE_KEY, "12345").is_ok());
}

const POLLED: &str = configuration::VENDOR_TYPE;

#[test]
fn what_would_never_be_told_of_is_refused() {
    for word in ["webhook", "Webhooks"] {
        assert_eq!(set(POLLED, word).unwrap().plain[POLLED], word.to_lowercase());
    }
    let polled = apply(Settings::default(), &[(POLLED, Some(" Polling")), (configuration::OBJECTS, Some("contacts"))]);
    assert_eq!(polled.unwrap().plain[POLLED], "polling");
    let error = set(POLLED, "push").unwrap_err();
    assert!(error.contains("given \"push\"; accepted: webhook or webhooks or polling, as HubSpot"), "{error}");
    let of = |connector: &str, word: &str| {
        let given = changes(&[(POLLED, Some(word))]);
        judged(connector, |rules| rules.change(Settings::default(), &given)).map_err(|error| error.contains(word))
    };
    assert_eq!([of("github", "polling").err(), of("http", "webhook").err()], [Some(true); 2]);
    assert!(of("github", "webhook").is_ok());
    assert!(set(configuration::NOTIFICATION_TYPE, "email").unwrap_err().ends_with("accepted: webhook"));
    assert_eq!(set(configuration::NOTIFICATION_TYPE, "WEBHOOK").unwrap().plain["event.notification.type"], "webhook");
}

#[test]
fn what_is_polled_is_said_and_can_be_understood_by_whoever_polls_in_turns_alone() {
    let (key, objects) = (configuration::POLLER_CONFIGURATION, configuration::OBJECTS);
    let of = |connector: &str, pairs: &[(&str, Option<&str>)]| {
        judged(connector, |rules| rules.provision(&changes(pairs))).map(drop).err().unwrap_or_default()
    };
    assert_eq!(of("http", &[(key, Some(r#"{"things": {"url": "/things"}}"#))]), "");
    assert!(of("http", &[]).contains("nothing to poll"));
    assert!(of("http", &[(objects, Some("things"))]).contains("things"), "of no resource the connector knows how");
    let error = of("http", &[(key, Some(r#"{"things": {"url": "/things", "pageSize": "many"}}"#))]);
    assert!(error.contains("\"things\": pageSize") && error.contains("many"), "{error}");
    assert!(of("hubspot", &[(POLLED, Some("polling"))]).contains(objects));
    assert_eq!(of("hubspot", &[(POLLED, Some("polling")), (objects, Some("contacts"))]), "");
    assert_eq!(of("hubspot", &[(key, Some(r#"{"things": {"pageSize": "many"}}"#))]), "", "it is told by webhooks");
    let pairs = changes(&[(POLLED, Some("polling")), (objects, Some("Contact"))]);
    let polled = judged("sfdc", |rules| rules.provision(&pairs)).unwrap();
    let back = |rules: &Rules<'_>| rules.change(polled, &changes(&[(POLLED, Some("webhook"))]));
    assert!(judged("sfdc", back).unwrap_err().contains("webhook.secret"), "only webhooks need a secret");
}

#[test]
fn minutes_are_a_whole_number_of_the_old_products_range() {
    let key = configuration::POLLER_REFRESH_INTERVAL;
    for minutes in ["1", "15", " 999999999 "] {
        assert_eq!(set(key, minutes).unwrap().plain[key], minutes.trim());
    }
    for bad in ["0", "-1", "+5", "1.5", "1000000000", "99999999999999", "five"] {
        let error = set(key, bad).unwrap_err();
        assert!(error.contains(bad) && error.contains("1 to 999999999"), "{error}");
    }
    assert!(set(key, "").unwrap().plain.is_empty());
}

#[test]
fn another_token_goes_on_without_what_was_left_of_the_consent_before() {
    let consent = [
        ("oauth.user.token", Some("a0")),
        ("oauth.user.refresh_token", Some("r0")),
        ("oauth.user.refresh_interval", Some("3600")),
        ("oauth.user.refresh_time", Some("1790000000000")),
        ("oauth.api.secret", Some("s")),
    ];
    let before = apply(Settings::default(), &consent).unwrap();
    let keys = |settings: &Settings| -> Vec<String> {
        settings.plain.keys().chain(settings.secrets.keys()).cloned().collect()
    };
    assert_eq!(keys(&before).len(), consent.len());
    for same in
        [("oauth.user.token", Some("a0")), ("oauth.user.token", Some(configuration::MASK)), ("other", Some("1"))]
    {
        let after = apply(before.clone(), &[same]).unwrap();
        assert!(keys(&before).iter().all(|key| keys(&after).contains(key)), "{same:?}");
    }
    let after = apply(before.clone(), &[("oauth.user.token", Some("a1"))]).unwrap();
    assert_eq!(keys(&after), ["oauth.api.secret", "oauth.user.token"]);
    let both = [("oauth.user.refresh_token", Some("r1")), ("oauth.user.refresh_interval", Some("60"))];
    let after = apply(before, &both).unwrap();
    assert_eq!(keys(&after), ["oauth.user.refresh_interval", "oauth.api.secret", "oauth.user.refresh_token"]);
    assert_eq!(after.plain["oauth.user.refresh_interval"], "60");
}

#[test]
fn a_date_is_one_of_rfc_3339() {
    let key = configuration::POLLER_SINCE;
    for date in ["2026-01-31T00:00:00Z", " 2026-01-31T10:00:00.5+02:00 "] {
        assert_eq!(set(key, date).unwrap().plain[key], date.trim());
    }
    for bad in ["2026-01-31", "yesterday", "1790000000"] {
        let error = set(key, bad).unwrap_err();
        assert!(error.contains(bad) && error.contains("2026-01-31T00:00:00Z"), "{error}");
    }
}

#[test]
fn broken_json_is_refused_with_the_place() {
    let key = configuration::POLLER_CONFIGURATION;
    let good = "{\"contacts\": {\"url\": \" /hubs/crm/contacts?where=\"}}";
    assert_eq!(set(key, &format!(" {good}\n")).unwrap().plain[key], good);
    let error = set(key, "{\"contacts\":\n {\"url\": }}").unwrap_err();
    assert!(error.contains("line 2, column 10"), "{error}");
    assert!(set(key, "[1]").unwrap_err().contains("another JSON value"));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let _ = set(key, &deep);
    let key = configuration::METADATA;
    assert!(set(key, r#"{"webhook": {"Account": {"eventTypes": ["created"]}}}"#).is_ok());
    assert!(set(key, r#"{"webhook": {"Account": {"eventTypes": ["born"]}}}"#).unwrap_err().contains("eventTypes"));
    assert!(set(key, "{").unwrap_err().contains("line 1, column 1"));
}

#[test]
fn a_finder_names_a_key_that_is_no_secret_and_a_path() {
    let key = configuration::INSTANCE_FINDER;
    assert!(set(key, "github.organization|organization.login").is_ok());
    for bad in ["organization.login", "|x", "authorization.token|token", "a|b..c", "oauth.api.secret|x"] {
        let error = set(key, bad).unwrap_err();
        assert!(error.contains(key), "{error}");
    }
    // The value is looked at wherever it changes.
    let finder = set(key, "org|organization.login").unwrap();
    assert!(apply(finder.clone(), &[("org", Some("acme"))]).is_ok());
    assert!(apply(finder, &[("org", Some(&"x".repeat(300)))]).unwrap_err().contains(key));
}

#[test]
fn basic_authentication_is_whole_and_unambiguous() {
    let (user, password, further) =
        (configuration::BASIC_USERNAME, configuration::BASIC_PASSWORD, configuration::CALLBACK_HEADERS);
    let error = set(password, "s3cret").unwrap_err();
    assert!(error.contains(user) && !error.contains("s3cret"), "{error}");
    let both = apply(Settings::default(), &[(user, Some("me")), (password, Some("s3cret"))]).unwrap();
    assert!(apply(both.clone(), &[(user, None)]).is_err());
    assert!(apply(both.clone(), &[(user, None), (password, Some(""))]).unwrap().secrets.is_empty());
    assert!(set(user, "a:b").unwrap_err().contains("colon"));
    let header = "{\"Authorization\": \"Bearer s3cret\"}";
    assert!(set(further, header).is_ok());
    let error = apply(both, &[(further, Some(header))]).unwrap_err();
    assert!(error.contains("Authorization") && !error.contains("s3cret"), "{error}");
}

#[test]
fn further_headers_are_those_that_a_delivery_can_carry() {
    let key = configuration::CALLBACK_HEADERS;
    for good in ["X-Key: s3cret\nX-Other: b", "{\"X-Key\": \"s3cret\"}"] {
        let settings = set(key, good).unwrap();
        assert!(settings.plain.is_empty() && settings.secrets[key].expose_secret() == good);
    }
    for bad in [
        "s3cret",
        "Content-Length: s3cret",
        "User-Agent: s3cret",
        "Elements-Webhook-Id: s3cret",
        "X: s3crét",
        "{\"X\":",
    ] {
        let error = set(key, bad).unwrap_err();
        assert!(error.contains(key) && !error.contains("s3cr"), "{error}");
    }
    assert!(set(key, " ").unwrap().secrets.is_empty());
}

#[test]
fn a_mapping_is_names_with_dots_between() {
    assert!(set("event.mapping.objectId", "data.contact id").is_ok());
    assert!(set("event.mapping.anything", " data.x ").unwrap().plain["event.mapping.anything"] == "data.x");
    for bad in ["data..id", ".id", "id.", "a\u{7}"] {
        assert!(set("event.mapping.objectId", bad).unwrap_err().contains("dots"), "{bad}");
    }
}

#[test]
fn a_misspelt_key_is_refused_with_the_one_that_was_meant() {
    let error = set("event.notification.calback.url", "https://app.example.com/").unwrap_err();
    assert!(error.contains("\"event.notification.callback.url\"; did you mean that?"), "{error}");
    let error = set("webhook.secrets", "s3cret").unwrap_err();
    assert!(error.contains("\"webhook.secret\"") && !error.contains("s3cret"), "{error}");
    // Unsetting one is no slip, and one that is stored already stays as it is.
    assert!(apply(Settings::default(), &[("event.object", None)]).is_ok());
    let mut before = Settings::default();
    before.plain.insert("event.object".into(), "x".into());
    assert!(apply(before, &[("event.object", Some("y"))]).is_ok());
}

#[test]
fn a_webhook_secret_is_in_its_connectors_form() {
    let of = |connector: &str, secret: &str| {
        let given = changes(&[(configuration::WEBHOOK_SECRET, Some(secret))]);
        judged(connector, |rules| rules.provision(&given))
    };
    assert!(of("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok() && of("hubspot", "12345").is_ok());
    let error = of("standard", "whsec_%%s3cret%%").unwrap_err();
    assert!(error.contains("webhook.secret") && !error.contains("s3cret"), "{error}");
    assert!(of("hubspot", "s3cret\n").unwrap_err().contains("blanks around it"));
}

#[test]
fn all_that_a_connector_requires_and_that_is_missing_is_named() {
    let account = configuration::VENDOR_ACCOUNT;
    let error = judged("sfdc", |rules| rules.provision(&Changes::new())).unwrap_err();
    let secret = configuration::WEBHOOK_SECRET;
    assert!(error.contains(account) && error.contains(secret) && error.contains("Salesforce"), "{error}");
    let given = changes(&[(account, Some("00D000000000001")), (secret, Some("token"))]);
    let made = judged("sfdc", |rules| rules.provision(&given)).unwrap();
    assert!(judged("sfdc", |rules| rules.change(made.clone(), &changes(&[(account, None)]))).is_err());
    assert!(judged("sfdc", |rules| rules.change(made.clone(), &changes(&[("other", Some("x"))]))).is_ok());
    assert!(judged("sfdc", |rules| rules.replace(made, &changes(&[("other", Some("x"))]))).is_err());
    // An instance from before the connector asked for it can still be changed.
    assert!(judged("sfdc", |rules| rules.change(Settings::default(), &changes(&[("other", Some("x"))]))).is_ok());
}

#[test]
fn a_replaced_configuration_is_what_was_given_and_keeps_masked_secrets() {
    let key = configuration::SIGNATURE_KEY;
    let pairs = [(key, Some("first")), ("oauth.api.secret", Some("gone")), ("other", Some("x"))];
    let before = apply(Settings::default(), &pairs).unwrap();
    let given = changes(&[(key, Some(configuration::MASK)), ("more", Some("y")), ("nothing", None)]);
    let after = judged("hubspot", |rules| rules.replace(before, &given)).unwrap();
    assert_eq!(after.plain, BTreeMap::from([("more".into(), "y".into())]));
    assert_eq!(after.secrets.len(), 1);
    assert_eq!(after.secrets[key].expose_secret(), "first");
}

#[test]
fn a_handshake_is_forgotten_when_the_secret_is_set_or_unset_and_not_when_it_is_masked() {
    for (value, forgotten) in [(Some("new"), true), (None, true), (Some(configuration::MASK), false)] {
        let given = changes(&[(configuration::WEBHOOK_SECRET, value)]);
        let rules = |rules: &Rules<'_>| {
            assert_eq!(rules.renews_secret(&given), forgotten);
            assert!(!rules.renews_secret(&changes(&[("other", None)])));
            Ok(Settings::default())
        };
        judged("asana", rules).unwrap();
    }
}

#[test]
fn what_is_stored_is_not_checked_again() {
    let mut before = Settings::default();
    before.plain.insert(configuration::CALLBACK_URL.into(), "http://10.0.0.1/".into());
    assert!(apply(before.clone(), &[(configuration::CALLBACK_URL, Some("http://10.0.0.1/"))]).is_ok());
    assert!(apply(before, &[(configuration::CALLBACK_URL, Some("http://10.0.0.2/"))]).is_err());
}

#[test]
fn sizes_are_bounded() {
    assert!(set("k", &"x".repeat(VALUE_BYTES + 1)).is_err());
    assert!(set(&"k".repeat(KEY_BYTES + 1), "x").is_err());
    assert!(set("", "x").is_err() && set("a\nb", "x").is_err() && set("#token", "x").is_err());
    assert!(set(configuration::VENDOR_ACCOUNT, &"x".repeat(257)).is_err());
    assert!(set(configuration::VENDOR_ACCOUNT, "a\0b").is_err());
    assert_eq!(set(configuration::VENDOR_ACCOUNT, " 62515 ").unwrap().plain[configuration::VENDOR_ACCOUNT], "62515");
    let value = "\u{1}".repeat(VALUE_BYTES / 2);
    assert!(set("k", &value).is_err(), "control characters take six bytes each");
    let mut settings = Settings::default();
    for n in 0..KEYS {
        settings = apply(settings, &[(&format!("k{n}"), Some("x"))]).unwrap();
    }
    assert!(apply(settings, &[("one more", Some("x"))]).is_err());
}

proptest! {
    #[test]
    fn no_secret_is_in_an_error_and_any_value_is_taken_or_refused(
        key in prop_oneof![
            Just(configuration::SIGNATURE_KEY), Just(configuration::WEBHOOK_SECRET), Just("oauth.api.secret"),
            Just(configuration::CALLBACK_URL), Just(configuration::VENDOR_ACCOUNT), Just(configuration::ENABLED),
        ],
        value in ".{0,40}",
        secret in "[a-z]{16}",
    ) {
        let _ = set(key, &value);
        let rule = Settings::default();
        if let Err(error) = apply(rule, &[(configuration::SIGNATURE_KEY, Some(&format!("whsec_{secret}%")))]) {
            prop_assert!(!error.contains(&secret));
        }
        if let Err(error) = set(configuration::CALLBACK_URL, &format!("https://u:{secret}@h{value}")) {
            prop_assert!(!error.contains(&secret), "{}", error);
        }
    }

    #[test]
    fn what_is_taken_for_a_known_key_is_taken_again_as_it_was_stored(
        which in 0..known::KNOWN.len(),
        value in prop_oneof![
            ".{0,20}", "[0-9]{0,10}", "[a-z]{1,3}\\|[a-z.]{1,5}", "[A-Z]: [a-z]{0,5}",
            Just("webhook".to_owned()), Just("{\"webhook\": {}}".to_owned()), Just("https://example.com/".to_owned()),
        ],
    ) {
        let key = known::KNOWN[which].key;
        if let Ok(once) = set(key, &value) {
            let stored: Vec<&str> = once.plain.values().map(String::as_str).collect();
            prop_assert!(stored.iter().all(|stored| *stored == value.trim() || value.trim().eq_ignore_ascii_case(stored)));
            if let [stored] = stored[..] {
                prop_assert_eq!(set(key, stored).map(|again| again.plain), Ok(once.plain.clone()));
            }
            prop_assert!(once.plain.len() + once.secrets.len() <= 1);
        }
    }

    #[test]
    fn a_configuration_sent_back_with_null_for_what_is_unset_changes_nothing(
        connector in prop_oneof![Just("hubspot"), Just("sfdc"), Just("standard")],
        set_keys in proptest::collection::btree_map(
            proptest::sample::select(vec![
                configuration::VENDOR_ACCOUNT, configuration::SIGNATURE_KEY, configuration::OBJECTS, "other", "my.token",
            ]),
            "[a-z]{1,6}",
            0..5,
        ),
    ) {
        let given: Vec<(&str, Option<&str>)> = set_keys.iter().map(|(key, value)| (*key, Some(value.as_str()))).collect();
        let before = judged(connector, |rules| rules.change(Settings::default(), &changes(&given))).unwrap();
        let keys = known::listed(connectors::catalogue().get(connector).unwrap());
        let mut back: Changes = keys.map(|key| (key.to_owned(), None)).collect();
        back.extend(before.plain.iter().map(|(key, value)| (key.clone(), Some(value.clone().into()))));
        back.extend(before.secrets.keys().map(|key| (key.clone(), Some(configuration::MASK.into()))));
        let after = judged(connector, |rules| rules.change(before.clone(), &back)).unwrap();
        prop_assert_eq!(after.plain, before.plain);
        let shown = |secrets: &Secrets| {
            secrets.iter().map(|(key, secret)| (key.clone(), secret.expose_secret().to_owned())).collect::<Vec<_>>()
        };
        prop_assert_eq!(shown(&after.secrets), shown(&before.secrets));
    }

    #[test]
    fn applying_the_same_changes_twice_changes_nothing_more(value in "[a-z0-9:/. ]{0,30}") {
        let pairs = [
            (configuration::VENDOR_ACCOUNT, Some(value.as_str())),
            (configuration::OBJECTS, Some(value.as_str())),
            ("other", Some(value.as_str())),
        ];
        if let Ok(once) = apply(Settings::default(), &pairs) {
            let twice = apply(once.clone(), &pairs).unwrap();
            prop_assert_eq!(once.plain, twice.plain);
        }
    }
}
