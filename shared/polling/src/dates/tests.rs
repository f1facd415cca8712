use proptest::prelude::*;
use serde_json::json;

use super::*;

fn format(text: &str) -> DateFormat {
    DateFormat::parse(text).unwrap()
}

fn zone(text: &str) -> Zone {
    Zone::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// Every format that the contract counts (its §5.2, §5.3), and what Java writes in it for 2018-08-20T15:29:06.123Z.
const OCCURRING: [(&str, &str); 20] = [
    ("yyyy-MM-dd'T'HH:mm:ssXXX", "2018-08-20T15:29:06Z"),
    ("milliseconds", "1534778946123"),
    ("milliseconds'", "1534778946123"),
    ("yyyy-MM-dd'T'HH:mm:ss'Z'", "2018-08-20T15:29:06Z"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "2018-08-20T15:29:06.123Z"),
    ("yyyy-MM-dd HH:mm:ss", "2018-08-20 15:29:06"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSSZ", "2018-08-20T15:29:06.123+0000"),
    ("EEE, dd MMM yyyy HH:mm:ss Z", "Mon, 20 Aug 2018 15:29:06 +0000"),
    ("yyyy-MM-dd'T'HH:mm:ssX", "2018-08-20T15:29:06Z"),
    ("MM/dd/yyyy HH:mm:ss", "08/20/2018 15:29:06"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2018-08-20T15:29:06.123"),
    ("yyyy-MM-dd", "2018-08-20"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2018-08-20T15:29:06.123Z"),
    ("yyyy-MM-dd'T'HH:mmz", "2018-08-20T15:29GMT"),
    ("yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "2018-08-20T15:29:06.123000Z"),
    ("MM/dd/yyy'T'HH:mm:ssXXX", "08/20/2018T15:29:06Z"),
    ("yyyy-MM-dd HH:mm:ss -0800", "2018-08-20 15:29:06 -0800"),
    ("yyyyMMddHHmmss", "20180820152906"),
    ("EEE MMM dd HH:mm:ss zzz yyyy", "Mon Aug 20 15:29:06 GMT 2018"),
    ("d MMMM yy, h:mm:ss a", "20 August 18, 3:29:06 PM"),
];

#[test]
fn every_format_that_occurs_is_written_as_java_writes_it_and_read_back() {
    let moment = at("2018-08-20T15:29:06.123Z");
    for (pattern, expected) in OCCURRING {
        let format = format(pattern);
        assert_eq!(format.write(moment, &Zone::gmt()), expected, "{pattern}");
        let read = format.read(&json!(expected), &Zone::gmt()).unwrap().unwrap();
        let (unit, grain) = match () {
            () if expected.contains("123") => (1, Grain::Millisecond),
            () if expected.contains("06") => (1000, Grain::Second),
            () if expected.contains("29") => (60_000, Grain::Minute),
            () => (86_400_000, Grain::Day),
        };
        assert_eq!(read.at.as_millis(), moment.as_millis().div_euclid(unit) * unit, "{pattern}");
        assert_eq!((read.grain, read.otherwise), (grain, false), "{pattern}");
        assert_eq!(format.grain(), grain, "{pattern}");
    }
}

#[test]
fn the_configured_zone_counts_where_the_text_names_none() {
    let format = format("yyyy-MM-dd HH:mm:ss");
    for (name, expected) in [
        ("PST", "2018-08-20T22:29:06Z"),
        ("MST", "2018-08-20T22:29:06Z"),
        ("-8:00", "2018-08-20T23:29:06Z"),
        ("America/Denver", "2018-08-20T21:29:06Z"),
        ("", "2018-08-20T15:29:06Z"),
    ] {
        let read = format.read(&json!("2018-08-20 15:29:06"), &zone(name)).unwrap().unwrap();
        assert_eq!(read.at, at(expected), "{name}");
        assert_eq!(format.write(at(expected), &zone(name)), "2018-08-20 15:29:06", "{name}");
    }
    let own = DateFormat::parse("EEE, dd MMM yyyy HH:mm:ss z").unwrap();
    for text in ["Mon, 20 Aug 2018 07:29:06 PST", "Mon, 20 Aug 2018 08:29:06 PDT", "Mon, 20 Aug 2018 08:29:06 GMT-7"] {
        assert_eq!(own.read(&json!(text), &zone("CET")).unwrap().unwrap().at, at("2018-08-20T15:29:06Z"), "{text}");
    }
    assert_eq!(own.write(at("2018-08-20T15:29:06Z"), &zone("PST")), "Mon, 20 Aug 2018 08:29:06 PDT");
}

#[test]
fn a_zone_in_the_text_is_read_in_whatever_form_it_has() {
    let format = format("yyyy-MM-dd'T'HH:mm:ss.SSSXXX");
    for text in [
        "2018-08-20T15:29:06.123Z",
        "2018-08-20T15:29:06.123+0000",
        "2018-08-20T08:29:06.123-07:00",
        "2018-08-20T08:29:06.123-07",
        "2018-08-20T15:29:06.123000+00:00",
        "2018-08-20T15:29:06.123000000999Z",
        "2018-08-20T15:29:06.123 GMT",
    ] {
        let read = format.read(&json!(text), &Zone::gmt()).unwrap().unwrap();
        assert_eq!(read.at, at("2018-08-20T15:29:06.123Z"), "{text}");
    }
}

#[test]
fn an_iso_date_that_its_pattern_does_not_match_is_read_all_the_same_and_says_so() {
    for (pattern, value, expected, grain) in [
        // NetSuite's configurations say milliseconds, its records do not.
        ("milliseconds", json!("2018-08-20T15:29:06Z"), "2018-08-20T15:29:06Z", Grain::Second),
        ("yyyy-MM-dd", json!("2018-08-20T15:29:06.5Z"), "2018-08-20T15:29:06.5Z", Grain::Millisecond),
        ("MM/dd/yyyy HH:mm:ss", json!("2018-08-20T08:29:06-0700"), "2018-08-20T15:29:06Z", Grain::Second),
        ("MM/dd/yyyy HH:mm:ss", json!("2018-08-20 08:29:06"), "2018-08-20T15:29:06Z", Grain::Second),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", json!("2018-08-20"), "2018-08-20T07:00:00Z", Grain::Day),
        ("MM/dd/yyyy", json!("2018-08-20T15:29+00:00"), "2018-08-20T15:29:00Z", Grain::Minute),
        ("MM/dd/yyyy", json!("2018-08-20T15:29:00-00:00"), "2018-08-20T15:29:00Z", Grain::Second),
        ("yyyy-MM-dd", json!(1_534_778_946_123_i64), "2018-08-20T15:29:06.123Z", Grain::Millisecond),
        ("yyyy-MM-dd", json!("1534778946"), "2018-08-20T15:29:06Z", Grain::Second),
        ("milliseconds", json!(1_534_778_946), "2018-08-20T15:29:06Z", Grain::Second),
        ("seconds", json!(1_534_778_946_123_i64), "2018-08-20T15:29:06.123Z", Grain::Millisecond),
    ] {
        let read = format(pattern).read(&value, &zone("PST")).unwrap().unwrap();
        assert_eq!(read, Read { at: at(expected), grain, otherwise: true }, "{pattern} {value}");
    }
}

#[test]
fn numbers_are_read_as_numbers_and_as_text() {
    let expected = Read { at: at("2018-08-20T15:29:06.123Z"), grain: Grain::Millisecond, otherwise: false };
    for value in [json!(1_534_778_946_123_i64), json!("1534778946123"), json!(1_534_778_946_123.0)] {
        assert_eq!(format("milliseconds").read(&value, &Zone::gmt()), Ok(Some(expected)), "{value}");
    }
    assert_eq!(format("seconds").read(&json!(1_534_778_946.123), &Zone::gmt()), Ok(Some(expected)));
    assert_eq!(
        format("Milliseconds ").read(&json!(-1_000_000_000_000_i64), &Zone::gmt()).unwrap().unwrap().grain,
        Grain::Second
    );
    let digits = format("yyyyMMdd").read(&json!(20_180_820), &Zone::gmt()).unwrap().unwrap();
    assert_eq!((digits.at, digits.otherwise), (at("2018-08-20T00:00:00Z"), false));
}

#[test]
fn no_date_is_no_error_and_no_quotation_is_in_one() {
    for value in [json!(null), json!(""), json!(" "), json!(0), json!("0")] {
        assert_eq!(format("yyyy-MM-dd").read(&value, &Zone::gmt()), Ok(None), "{value}");
    }
    for value in [
        json!("soon-secret"),
        json!("2018-13-01"),
        json!("2018-02-30T00:00:00Z"),
        json!(true),
        json!(["2018-08-20"]),
        json!({"secret": 1}),
        json!(1e300),
        json!("NaN"),
        json!("inf"),
    ] {
        for pattern in ["yyyy-MM-dd", "milliseconds", "EEE, dd MMM yyyy HH:mm:ss Z"] {
            let error = format(pattern).read(&value, &Zone::gmt()).unwrap_err().to_string();
            assert!(error.contains(pattern) && !error.contains("secret"), "{error}");
        }
    }
}

#[test]
fn a_pattern_that_means_nothing_is_refused_with_its_position() {
    for (pattern, position) in
        [("yyyy-MM-ddTHH:mm:ss", 11), ("yyyy-QQ", 6), ("", 1), ("'T'", 1), ("HH:mm", 1), ("iso", 1), ("yyyyyyyyyy", 1)]
    {
        let error = DateFormat::parse(pattern).unwrap_err();
        assert_eq!((error.pattern.as_str(), error.position), (pattern, position), "{error}");
    }
    let error = DateFormat::parse("yyyy-MM-ddTHH:mm").unwrap_err().to_string();
    assert!(error.contains("'T'") && error.contains("position 11") && error.contains("yyyy-MM-ddTHH:mm"), "{error}");
}

#[test]
fn quotes_that_shipped_configurations_have_wrong_are_put_up_with() {
    let moment = at("2018-08-20T15:29:06Z");
    for pattern in ["yyyy-MM-dd'T'HH:mm:ss'Z''", "yyyy-MM-dd'T'HH:mm:ss'Z", " yyyy-MM-dd'T'HH:mm:ss'Z' "] {
        assert_eq!(format(pattern).write(moment, &Zone::gmt()), "2018-08-20T15:29:06Z", "{pattern}");
    }
    assert_eq!(format("yyyy ''MM'o''clock'").write(moment, &Zone::gmt()), "2018 '08o'clock");
}

proptest! {
    #[test]
    fn what_a_format_writes_it_reads_back(
        // From where a number is milliseconds to where two digits are a year of the last century.
        millis in 100_000_000_000i64..3_100_000_000_000,
        which in 0..OCCURRING.len(),
        name in proptest::sample::select(vec!["GMT", "PST", "-8:00", "+05:30", "Asia/Kolkata"]),
    ) {
        let (pattern, _) = OCCURRING[which];
        let (format, zone) = (format(pattern), zone(name));
        let text = format.write(Timestamp::from_millis(millis), &zone);
        let read = format.read(&json!(text), &zone).unwrap();
        let read = read.unwrap();
        prop_assert!(!read.otherwise);
        let grain = i64::try_from(read.grain.duration().as_millis()).unwrap();
        // An hour that the clock reads twice is one of the two.
        let apart = millis - read.at.as_millis();
        let twice = name == "PST" && (apart - 3_600_000 < grain && apart >= 3_600_000 || (-3_600_000..grain - 3_600_000).contains(&apart));
        prop_assert!((0..grain).contains(&apart) || twice, "{} {}", text, apart);
        prop_assert!(read.grain.end(read.at).as_millis() > millis || twice);
    }

    #[test]
    fn any_pattern_any_text_and_any_time_are_taken_or_refused(
        pattern in "[yMdHmsSZzX'T :./-]{0,24}|.{0,16}",
        text in "[0-9T:.Z +-]{0,30}|.{0,16}",
        millis: i64,
    ) {
        if let Ok(format) = DateFormat::parse(&pattern) {
            let _ = format.read(&json!(text), &Zone::gmt());
            let _ = format.write(Timestamp::from_millis(millis), &Zone::parse("PST").unwrap());
        }
    }
}
