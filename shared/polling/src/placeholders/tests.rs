use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn values(settings: &BTreeMap<String, String>) -> Values<'_> {
    let (since, now) = (at("2018-08-20T15:29:06.123Z"), at("2018-08-20T15:44:06Z"));
    Values { since, now, format: None, zone: None, settings: settings.into() }
}

fn filled(text: &str) -> String {
    Template::parse(text).unwrap().fill(&values(&settings(&[("realm", "46 20")]))).unwrap()
}

fn url(text: &str) -> String {
    let settings = settings(&[("realm", "a/b+c&d=e"), ("site", "eu-1"), ("dots", "..")]);
    UrlTemplate::parse(text).unwrap().fill(&values(&settings)).unwrap()
}

/// A URL's parameters as a provider reads them.
fn parameters(url: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'%' => {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                    rest = &rest[2..];
                }
                b'+' => bytes.push(b' '),
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

#[test]
fn every_placeholder_of_the_contract_is_filled() {
    for (text, expected) in [
        ("${gmtDate:yyyy-MM-dd'T'HH:mm:ssXXX}", "2018-08-20T15:29:06Z"),
        ("${date:yyyy-MM-dd'T'HH:mm:ssXXX}", "2018-08-20T15:29:06Z"),
        ("${gmtDate:MM/dd/yyyy HH:mm:ss}", "08/20/2018 15:29:06"),
        ("${date:MM/dd/yyy'T'HH:mm:ssXXX}", "08/20/2018T15:29:06Z"),
        ("${date:milliseconds}", "1534778946123"),
        ("${date}", "1534778946123"),
        ("${gmtDate}", "1534778946123"),
        ("${dateTimeZone:PST:yyyy-MM-dd HH:mm:ss -0800}", "2018-08-20 08:29:06 -0800"),
        ("${dateTimeZone:-8:00:yyyy-MM-dd HH:mm:ss}", "2018-08-20 07:29:06"),
        ("${dateTimeZone:GMT-8:00:HH:mm yyyy}", "07:29 2018"),
        ("${dateTimeZone:America/Denver:HH:mm yyyy}", "09:29 2018"),
        ("${dateTimeZone:CST}", "1534778946123"),
        ("${nowTimeZone:GMT:yyyy-MM-dd'T'HH:mm:ss}", "2018-08-20T15:44:06"),
        ("${epoch}", "1534778946123"),
        ("${epoch:ms}", "1534778946123"),
        ("${epoch:s}", "1534778946"),
        ("${epoch:us}", "1534778946123000"),
        ("${epoch:0}", "0"),
        ("${milliseconds}", "1534778946123"),
        ("/v3/{realm}/x", "/v3/46 20/x"),
        ("{\"since\": \"${epoch:s}\"}", "{\"since\": \"1534778946\"}"),
        ("a ${epoch:0}${epoch:0} $5 {} {a b} $", "a 00 $5 {} {a b} $"),
    ] {
        assert_eq!(filled(text), expected, "{text}");
    }
}

#[test]
fn a_placeholder_without_a_format_has_the_record_s() {
    let (format, zone, none) =
        (DateFormat::parse("yyyy-MM-dd HH:mm").unwrap(), Zone::parse("PST").unwrap(), settings(&[]));
    let values = Values { format: Some(&format), zone: Some(&zone), ..values(&none) };
    let fill = |text: &str| Template::parse(text).unwrap().fill(&values).unwrap();
    assert_eq!(fill("${date}"), "2018-08-20 08:29");
    assert_eq!(fill("${gmtDate}"), "2018-08-20 15:29");
    assert_eq!(fill("${date:HH yyyy}"), "15 2018");
}

#[test]
fn a_where_clause_is_data() {
    for (text, clause) in [
        (
            "/hubs/crm/contacts?where=LastModifiedDate>='${gmtDate:yyyy-MM-dd'T'HH:mm:ssXXX}'&pageSize=5",
            "LastModifiedDate>='2018-08-20T15:29:06Z'",
        ),
        ("/c?where=a>='${dateTimeZone:PST:yyyy-MM-dd'T'HH:mm:ssZ}'&pageSize=5", "a>='2018-08-20T08:29:06-0700'"),
        ("/c?where=a>='${dateTimeZone:+05:30:yyyy-MM-dd'T'HH:mm:ssZ}'&pageSize=5", "a>='2018-08-20T20:59:06+0530'"),
        ("/c?where=name='A&B=C' and b>${epoch:s}&pageSize=5", "name='A&B=C' and b>1534778946"),
        ("/c?where=name%3D'100%25'&pageSize=5", "name='100%'"),
        ("/c?where=name='100%'&pageSize=5", "name='100%'"),
        ("/c?where=created+>+'é'&pageSize=5", "created > 'é'"),
        ("/c?where=it's open&pageSize=5", "it's open"),
        ("/c?where=id='{realm}'&pageSize=5", "id='a/b+c&d=e'"),
    ] {
        let url = url(text);
        assert!(url.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"' ".contains(&b)), "{url}");
        let expected = [("where".to_owned(), clause.to_owned()), ("pageSize".to_owned(), "5".to_owned())];
        assert_eq!(parameters(&url), expected, "{text}");
    }
}

#[test]
fn what_shipped_configurations_have_wrong_is_put_up_with() {
    let date = ("where".to_owned(), "a='2018-08-20T15:29:06Z'".to_owned());
    for text in [
        " /c?where=a='${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'}'",
        "/c?where=a='$yyyy-MM-dd'T'HH:mm:ss'Z''",
        "/c?where=a='$yyyy-MM-dd'T'HH:mm:ss'Z'}'",
        "/c?where=a='${yyyy-MM-dd'T'HH:mm:ss'Z'}'",
        "/c?where=a='${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z''",
        "/c?where=a='${ GMTDATE : yyyy-MM-dd'T'HH:mm:ss'Z' }'",
        "/c?where=a='${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z''}'",
    ] {
        assert_eq!(parameters(&url(text)), std::slice::from_ref(&date), "{text}");
    }
    assert_eq!(parameters(&url("/c?where=a=${date:milliseconds'}")), [("where".into(), "a=1534778946123".into())]);
    assert_eq!(url(" /c?where="), "/c");
    assert_eq!(url("/c?where=&pageSize=5"), "/c?pageSize=5");
    assert_eq!(url("/c?where&a&&b=#x?y"), "/c?a&b=");
}

#[test]
fn a_value_stays_within_its_part_of_the_path_and_of_the_host() {
    assert_eq!(url("/v3/{realm}/c d/100%25"), "/v3/a%2Fb%2Bc%26d%3De/c%20d/100%25");
    assert_eq!(
        url("HTTPS://{site}.api.example/{realm}?x={realm}"),
        "https://eu-1.api.example/a%2Fb%2Bc%26d%3De?x=a%2Fb%2Bc%26d%3De"
    );
    assert_eq!(url("https://api.example?x=1"), "https://api.example/?x=1");
    let settings = settings(&[("realm", "evil.example/"), ("dots", ".."), ("blank", " ")]);
    let fill = |text: &str| UrlTemplate::parse(text).unwrap().fill(&values(&settings));
    assert_eq!(fill("https://{realm}.api.example/x"), Err(Unfilled::Misplaced("realm".into())));
    assert_eq!(fill("/a/{dots}/b"), Err(Unfilled::Dotted));
    for dotted in [".", "..", "%2e", ".%2E", "%2e.", "%2e%2E"] {
        assert_eq!(fill(&format!("/a/{dotted}/b")), Err(Unfilled::Dotted), "{dotted}");
        assert_eq!(fill(&format!("/a/{dotted}")), Err(Unfilled::Dotted), "{dotted}");
    }
    for plain in ["...", "%2e%2e%2e", ".a", "a.", "%2f", "..%2f", "", "é."] {
        assert!(fill(&format!("/a/{plain}/b")).is_ok(), "{plain}");
    }
    assert_eq!(fill("/a/{blank}"), Err(Unfilled::Missing("blank".into())));
    assert_eq!(fill("/a/{absent}"), Err(Unfilled::Missing("absent".into())));
}

#[test]
fn a_placeholder_that_means_nothing_is_named_with_its_place() {
    for (text, placeholder, says) in [
        ("/c?a=é${yesterday}", "${yesterday}", "${gmtDate:FORMAT}"),
        ("/c?a=b${epoch:m}", "${epoch:m}", "s, ms, us and 0"),
        ("/c?a=b${date:QQ}", "${date:QQ}", "'Q'"),
        ("/c?a=b${dateTimeZone:XST:yyyy}", "${dateTimeZone:XST:yyyy}", "XST"),
        ("/c?a=b{oauth.user.token}", "{oauth.user.token}", "secret"),
    ] {
        let error = UrlTemplate::parse(text).unwrap_err();
        assert_eq!((error.placeholder.as_str(), error.position), (placeholder, 7), "{text}");
        assert!(error.problem.contains(says), "{error}");
    }
}

#[test]
fn a_url_says_whether_the_provider_selects_and_which_object_of_the_hub_it_is() {
    let parse = |text: &str| UrlTemplate::parse(text).unwrap();
    assert!(parse("/c?where=a>${epoch:s}").asks_since() && parse("/c/${date}").asks_since());
    assert!(!parse("/c?to=${nowTimeZone:GMT:yyyy}&from=${epoch:0}&b={realm}").asks_since());
    let object = |text: &str| parse(text).hub_object();
    assert_eq!(object("/hubs/crm/contacts?where=a>'${date}'"), Some(("crm".into(), "contacts".into())));
    assert_eq!(object("hubs/finance/ledger/accounts/"), Some(("finance".into(), "ledger/accounts".into())));
    for other in ["/crm/v3/contacts", "/hubs/crm", "/hubs/db/{objectName}", "/api/hubs/crm/x"] {
        assert_eq!(object(other), None, "{other}");
    }
    assert_eq!(parse("https://{site}/{a}?b={c}&{d}").names().collect::<Vec<_>>(), ["site", "a", "c", "d"]);
}

proptest! {
    #[test]
    fn a_value_reaches_the_provider_unchanged(value in ".{1,30}", before in "[a-z' ]{0,6}", after in "[a-z' ]{0,6}") {
        prop_assume!(!value.trim().is_empty());
        let settings = settings(&[("v", &value)]);
        let template = UrlTemplate::parse(&format!("/c/x{{v}}?q={before}{{v}}{after}&r=1")).unwrap();
        let url = template.fill(&values(&settings)).unwrap();
        prop_assert!(url.is_ascii());
        let read = parameters(&url);
        prop_assert_eq!(read.last().unwrap(), &("r".to_owned(), "1".to_owned()));
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!(&read[0].1, &format!("{before}{}{after}", value.trim()));
    }

    #[test]
    fn any_text_is_a_url_or_refused(text in "[/?&='$ {}a-z:%#.yMdT-]{0,40}|.{0,20}") {
        let settings = settings(&[("a", "1")]);
        if let Ok(template) = UrlTemplate::parse(&text)
            && let Ok(url) = template.fill(&values(&settings))
        {
            let place = url.strip_prefix("https://").or(url.strip_prefix("http://"));
            let after_host = place.map_or(url.as_str(), |rest| &rest[rest.find('/').unwrap_or(0)..]);
            prop_assert!(after_host.bytes().all(|b| b.is_ascii_graphic()), "{}", url);
        }
        if let Ok(template) = Template::parse(&text) {
            let _ = template.fill(&values(&settings));
        }
    }
}
