use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn public_only() -> Policy {
    Policy::default()
}

fn refused(policy: &Policy, address: &str) -> Option<Rule> {
    match policy.address(address.parse().unwrap()) {
        Ok(()) => None,
        Err(Refusal::Address(forbidden)) => Some(forbidden.rule),
        Err(other) => panic!("{address}: {other}"),
    }
}

#[test]
fn every_special_range_is_refused_at_its_first_and_last_address() {
    let ranges = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "239.255.255.255"),
        ("240.0.0.0", "255.255.255.255"),
        ("168.63.129.16", "169.254.169.254"),
        ("::", "::1"),
        ("::2", "::ffff:ffff"),
        ("::ffff:10.0.0.0", "::ffff:10.255.255.255"),
        ("64:ff9b::127.0.0.0", "64:ff9b::127.255.255.255"),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
        ("100::", "100::ffff:ffff:ffff:ffff"),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2002:a00::", "2002:aff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fd00:ec2::254", "fd00:ec2::254"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        // Handed out to nobody.
        ("4000::", "5f00::1"),
        ("64:ff9b::1:0:0", "64:ff9b:2::"),
    ];
    for (first, last) in ranges {
        assert!(refused(&public_only(), first).is_some(), "{first}");
        assert!(refused(&public_only(), last).is_some(), "{last}");
    }
}

#[test]
fn the_neighbours_of_the_special_ranges_are_public() {
    for address in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.101.0",
        "203.0.114.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:db7:ffff::",
        "2001:db9::",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ] {
        assert_eq!(refused(&public_only(), address), None, "{address}");
    }
}

#[test]
fn a_refusal_names_the_address_the_rule_and_the_setting() {
    let text = |address: &str| public_only().address(address.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(
        text("127.0.0.1"),
        "127.0.0.1, a loopback address (127.0.0.0/8); --allow-callbacks-to 127.0.0.1/32 \
         (POLLHOOK_ALLOW_CALLBACKS_TO) would allow it"
    );
    assert_eq!(
        text("::ffff:10.1.2.3"),
        "::ffff:10.1.2.3, a private address (10.0.0.0/8); --allow-callbacks-to 10.1.2.3/32 \
         (POLLHOOK_ALLOW_CALLBACKS_TO) would allow it"
    );
    assert_eq!(text("169.254.169.254"), "169.254.169.254, a cloud's metadata service (169.254.169.254/32)");
    assert_eq!(text("fd00:ec2::254"), "fd00:ec2::254, a cloud's metadata service (fd00:ec2::254/128)");
    assert_eq!(text("4000::"), "4000::, an address outside the global range (::/0)");
}

#[test]
fn what_the_operator_allows_is_allowed_in_every_spelling_and_nothing_beside_it() {
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap(), "fd12::/16".parse().unwrap()], None);
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fd12::1"] {
        assert_eq!(refused(&policy, address), None, "{address}");
    }
    for address in ["10.0.0.1", "::1", "fd13::1"] {
        assert!(refused(&policy, address).is_some(), "{address}");
    }
    assert!(policy.check("http://localhost:8080/hook").is_ok());
}

#[test]
fn a_literal_address_is_judged_however_it_is_written() {
    for text in [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:7f00:0001]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http:\\\\127.0.0.1\\",
        "http:127.0.0.1",
        "ht\ntp://127.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost:8443/",
    ] {
        assert!(matches!(public_only().check(text), Err(Refusal::Address(_))), "{text}");
    }
}

#[test]
fn what_is_not_a_url_for_callbacks_is_told_before_it_is_saved() {
    let check = |text: &str| public_only().check(text).unwrap_err();
    for text in ["ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "data:,x"]
    {
        assert_eq!(check(text), Refusal::Scheme, "{text}");
    }
    for text in ["https://bob@example.com/", "https://bob:secret@example.com/", "https://:secret@example.com/"] {
        assert_eq!(check(text), Refusal::Credentials, "{text}");
        assert!(!check(text).to_string().contains("secret"));
    }
    assert_eq!(check("https://example.com/#top"), Refusal::Fragment);
    assert_eq!(check("https://example.com/#"), Refusal::Fragment);
    for text in
        ["", "/callback", "example.com", "https://", "https:///", "https://a b/", "https://[::1", "https://1.2.3.4.5/"]
    {
        assert!(matches!(check(text), Refusal::Malformed(_)), "{text}");
    }
    for text in ["https://a\"b.example/", "https://a{b}.example/", "https://a`b.example/", "https://example.com:99999/"]
    {
        assert!(matches!(check(text), Refusal::Malformed(_)), "{text}");
    }
}

#[test]
fn a_url_is_measured_as_written_and_as_sent() {
    let at_most = format!("https://example.com/{}", "a".repeat(URL_BYTES - 21));
    assert!(public_only().check(&at_most).is_ok());
    assert_eq!(public_only().check(&format!("{at_most}a")), Err(Refusal::TooLong(URL_BYTES, URL_BYTES)));
    let escaped = format!("https://example.com/{}", "ü".repeat(400));
    assert_eq!(public_only().check(&escaped), Err(Refusal::TooLong(20 + 6 * 400, URL_BYTES)));
}

#[test]
fn ordinary_callbacks_pass_with_international_names_as_ascii() {
    let check = |text: &str| public_only().check(text).unwrap().to_string();
    assert_eq!(check("https://mycoolapp.com/callback?a=b"), "https://mycoolapp.com/callback?a=b");
    assert_eq!(check("http://mycoolapp.com:8080"), "http://mycoolapp.com:8080/");
    assert_eq!(check("https://8.8.8.8/"), "https://8.8.8.8/");
    assert_eq!(check("https://[2606:4700::1111]/"), "https://[2606:4700::1111]/");
    assert_eq!(check("https://bücher.example/hook"), "https://xn--bcher-kva.example/hook");
    assert_eq!(check("  https://my_host.example/  "), "https://my_host.example/");
}

#[test]
fn of_our_own_urls_only_the_events_paths_are_exempt() {
    let own: Url = "http://10.0.0.5:8080/prod/".parse().unwrap();
    let policy = Policy::new(Vec::new(), Some(&own));
    let connector = |text: &str| policy.own_events_connector(&text.parse().unwrap());
    for (text, key) in [
        ("http://10.0.0.5:8080/prod/elements/api-v2/events/hubspot", "hubspot"),
        ("http://10.0.0.5:8080/prod/elements/api-v2/events/hub-spot_2/", "hub-spot_2"),
        ("http://10.0.0.5:8080/prod/elements/api-v2/events/sfdc/AbC_-=?x=y", "sfdc"),
        ("http://0xa000005:8080/prod/x/../elements/api-v2/events/sfdc", "sfdc"),
    ] {
        assert_eq!(connector(text).as_deref(), Some(key), "{text}");
        assert_eq!(policy.check(text).map(drop), Ok(()), "{text}");
    }
    for text in [
        "http://10.0.0.5:8080/prod/elements/api-v2/events/",
        "http://10.0.0.5:8080/prod/elements/api-v2/events//",
        "http://10.0.0.5:8080/prod/elements/api-v2/events/a/../../instances",
        "http://10.0.0.5:8080/prod/elements/api-v2/events/a/%2e%2e/%2e%2e/instances",
        "http://10.0.0.5:8080/prod/elements/api-v2/events/..%2finstances",
        "http://10.0.0.5:8080/prod/elements/api-v2/events/a/..%2f..%2finstances",
        "http://10.0.0.5:8080/prod/elements/api-v2/instances",
        "http://10.0.0.5:8080/prod/",
    ] {
        assert_eq!(connector(text), None, "{text}");
        assert_eq!(policy.check(text), Err(Refusal::Ours), "{text}");
    }
    for text in [
        "http://10.0.0.5:8080/elements/api-v2/events/hubspot",
        "http://10.0.0.5:8080/production/elements/api-v2/events/hubspot",
        "http://10.0.0.5/prod/elements/api-v2/events/hubspot",
        "https://10.0.0.5:8080/prod/elements/api-v2/events/hubspot",
        "http://10.0.0.6:8080/prod/elements/api-v2/events/hubspot",
    ] {
        assert_eq!(connector(text), None, "{text}");
        assert!(matches!(policy.check(text), Err(Refusal::Address(_))), "{text}");
    }
    let with_credentials = "http://a@10.0.0.5:8080/prod/elements/api-v2/events/hubspot";
    assert_eq!(policy.check(with_credentials), Err(Refusal::Credentials));
}

#[test]
fn our_public_url_is_recognised_with_and_without_its_default_port_and_slash() {
    for own in ["https://hooks.example", "https://HOOKS.example:443/"] {
        let policy = Policy::new(Vec::new(), Some(&own.parse().unwrap()));
        let url = "https://hooks.example:443/elements/api-v2/events/sfdc".parse().unwrap();
        assert_eq!(policy.own_events_connector(&url).as_deref(), Some("sfdc"));
        let other = "https://hooks.example.evil.example/elements/api-v2/events/sfdc".parse().unwrap();
        assert_eq!(policy.own_events_connector(&other), None);
    }
}

#[test]
fn a_dot_at_the_end_of_our_host_makes_it_no_other() {
    for own in ["https://hooks.example", "https://hooks.example./"] {
        let policy = Policy::new(Vec::new(), Some(&own.parse().unwrap()));
        for host in ["hooks.example", "hooks.example.", "HOOKS.EXAMPLE."] {
            let events = format!("https://{host}/elements/api-v2/events/sfdc").parse().unwrap();
            assert_eq!(policy.own_events_connector(&events).as_deref(), Some("sfdc"), "{own} {host}");
            let api = policy.check(&format!("https://{host}/elements/api-v2/instances"));
            assert_eq!(api, Err(Refusal::Ours), "{own} {host}");
        }
    }
}

#[test]
fn each_kind_of_bad_callback_is_refused_in_words() {
    let opened = |range: &str| format!("; --allow-callbacks-to {range} (POLLHOOK_ALLOW_CALLBACKS_TO) would allow it");
    let loopback = format!("127.0.0.1, a loopback address (127.0.0.0/8){}", opened("127.0.0.1/32"));
    let mapped = format!("::ffff:127.0.0.1, a loopback address (127.0.0.0/8){}", opened("127.0.0.1/32"));
    let translated = format!("64:ff9b::a00:1, a private address (10.0.0.0/8){}", opened("10.0.0.1/32"));
    let credentials = "a URL must not hold credentials";
    let scheme = "only http and https URLs can be posted to";
    let private = |address: &str, range: &str| {
        format!("{address}, a private address ({range}){}", opened(&format!("{address}/32")))
    };
    for (text, told) in [
        ("http://127.0.0.1:9001/", loopback.clone()),
        ("http://2130706433/", loopback.clone()),
        ("http://0x7f.1/", loopback.clone()),
        ("http://0177.0.0.1/", loopback.clone()),
        ("http://localhost/", format!("localhost resolves to {loopback}")),
        ("http://[::1]/", format!("::1, a loopback address (::1/128){}", opened("::1/128"))),
        ("http://[::ffff:127.0.0.1]/", mapped),
        ("http://[64:ff9b::10.0.0.1]/", translated),
        ("http://10.0.0.1/", private("10.0.0.1", "10.0.0.0/8")),
        ("http://172.16.0.1/", private("172.16.0.1", "172.16.0.0/12")),
        ("http://192.168.0.1/", private("192.168.0.1", "192.168.0.0/16")),
        (
            "http://169.254.7.7/",
            format!("169.254.7.7, a link-local address (169.254.0.0/16){}", opened("169.254.7.7/32")),
        ),
        ("http://169.254.169.254/", "169.254.169.254, a cloud's metadata service (169.254.169.254/32)".into()),
        ("http://[fe80::1]/", format!("fe80::1, a link-local address (fe80::/10){}", opened("fe80::1/128"))),
        ("http://[fd12::1]/", format!("fd12::1, a unique local address (fc00::/7){}", opened("fd12::1/128"))),
        ("http://0.0.0.0/", format!("0.0.0.0, an address of this host (0.0.0.0/8){}", opened("0.0.0.0/32"))),
        ("http://bob@app.example/", credentials.into()),
        ("http://bob:hunter2@app.example/", credentials.into()),
        ("ftp://app.example/", scheme.into()),
        ("file:///etc/passwd", scheme.into()),
        ("app.example/hook", "not a URL: it must begin with https:// or http://".into()),
        ("https://", "not a URL: it has no host".into()),
        ("https://app.example/#top", "a URL to post to has no fragment (#…)".into()),
    ] {
        assert_eq!(public_only().check(text).unwrap_err().to_string(), told, "{text}");
    }
}

/// The ways to write an IPv4 address as an IPv6 one, of which none may be milder than the address itself.
fn disguises(v4: Ipv4Addr, noise: u64) -> [Ipv6Addr; 5] {
    let bits = u128::from(v4.to_bits());
    let noise = u128::from(noise);
    [
        v4.to_ipv6_mapped(),
        Ipv6Addr::from_bits(bits),
        Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | bits),
        Ipv6Addr::from_bits((0x2002_u128 << 112) | (bits << 80) | noise),
        Ipv6Addr::from_bits((0x2001_0000_u128 << 96) | (noise << 32) | !bits & 0xffff_ffff),
    ]
}

fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let special: Vec<u32> =
        ["10.0.0.0", "127.0.0.0", "169.254.169.254", "172.16.0.0", "192.168.0.0", "100.64.0.0", "224.0.0.0"]
            .iter()
            .map(|text| text.parse::<Ipv4Addr>().unwrap().to_bits())
            .collect();
    prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from_bits),
        (proptest::sample::select(special), 0..=0xffff_u32).prop_map(|(base, low)| Ipv4Addr::from_bits(base ^ low)),
    ]
}

proptest! {
    #[test]
    fn no_disguise_makes_a_forbidden_address_acceptable(v4 in any_v4(), noise: u64) {
        if public_only().address(v4.into()).is_err() {
            for disguise in disguises(v4, noise) {
                prop_assert!(public_only().address(disguise.into()).is_err(), "{disguise}");
                let url = format!("http://[{disguise}]/");
                prop_assert!(public_only().check(&url).is_err(), "{url}");
            }
        }
    }

    #[test]
    fn an_accepted_ipv6_address_is_global_or_stands_for_a_public_one(bits: u128) {
        let address = Ipv6Addr::from_bits(bits);
        if public_only().address(address.into()).is_ok() {
            let global = bits >> 125 == 1;
            prop_assert!(global || ranges::embedded(address.into()).is_some());
        }
    }

    #[test]
    fn any_text_is_checked_without_a_panic(text in ".*") {
        let _ = public_only().check(&text);
    }

    #[test]
    fn a_url_that_passes_passes_again_and_can_be_sent(
        text in r"https?:[/\\]{0,3}([a-z:]{0,4}@)?[\[\]0-9a-fx.:%ü\-\{]{0,20}(:[0-9]{0,6})?[/?#\\.%a-z2e]{0,12}",
    ) {
        if let Ok(url) = public_only().check(&text) {
            prop_assert_eq!(public_only().check(url.as_str()), Ok(url.clone()));
            prop_assert!(url.as_str().parse::<Uri>().is_ok());
        }
    }
}

#[test]
fn the_operator_s_one_url_is_exempt_from_the_address_policy_and_from_nothing_else() {
    let only = |text: &str| Policy::only(Url::parse(text).unwrap());
    for url in ["http://127.0.0.1:9/rules", "https://[::1]/", "http://localhost/x?y=z", "https://rules.example/"] {
        let policy = only(url);
        assert_eq!(policy.check(url).map(|url| policy.vet(&url)), Ok(Ok(Route::Own)), "{url}");
    }
    for (url, refusal) in [
        ("ftp://rules.example/", Refusal::Scheme),
        ("https://u:p@rules.example/", Refusal::Credentials),
        ("https://rules.example/#x", Refusal::Fragment),
    ] {
        assert_eq!(only(url).check(url), Err(refusal), "{url}");
    }
    let policy = only("http://127.0.0.1:9/rules");
    for other in
        ["http://127.0.0.1:9/", "http://127.0.0.1:9/rules/", "http://127.0.0.1:8/rules", "https://app.example/"]
    {
        assert_eq!(policy.check(other), Err(Refusal::Other), "{other}");
    }
    // Nor does what else is asked of it let anything through.
    assert!(policy.address("127.0.0.1".parse().unwrap()).is_err());
}
