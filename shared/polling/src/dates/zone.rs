//! Time zones as the contract names them, which is as Java's `TimeZone.getTimeZone` does.
//!
//! | written | means |
//! |---|---|
//! | nothing, `GMT`, `UTC`, `UT`, `Z` | UTC |
//! | `-8:00`, `+0530`, `-08`, `GMT-8`, `UTC+05:30` | that offset |
//! | `PST`, `CST`, `AET`, … | the region that Java's table gives the abbreviation, daylight saving included |
//! | `EST`, `MST`, `HST` | −5, −7 and −10 hours, all year: so Java has it |
//! | `EDT`, `PDT`, `CET`, … | offsets that Java's table lacks and people write |
//! | `America/Denver`, … | that region |
//!
//! Java takes a name that it does not know for GMT and says nothing; here it is an error. The zones are the bundled ones:
//! what a configuration means does not depend on the machine.

use std::sync::OnceLock;

use events::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

/// A name that is no time zone's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone; one is written GMT, PST, -8:00 or America/Denver")]
pub struct UnknownZone(pub String);

/// A time zone.
#[derive(Clone, PartialEq, Debug)]
pub struct Zone(TimeZone);

/// `ZoneId.SHORT_IDS` of Java: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/time/ZoneId.html>.
const REGIONS: [(&str, &str); 24] = [
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
];

/// Abbreviations that are an offset, in hours.
const OFFSETS: [(&str, i8); 14] = [
    ("EST", -5),
    ("MST", -7),
    ("HST", -10),
    ("EDT", -4),
    ("CDT", -5),
    ("MDT", -6),
    ("PDT", -7),
    ("AKST", -9),
    ("AKDT", -8),
    ("WET", 0),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
];

/// Inside a date, an abbreviation has decided whether it is summer: `PST` is −8 then, also in July.
const STANDARD: [(&str, i8); 4] = [("PST", -8), ("CST", -6), ("AST", -4), ("BST", 1)];

impl Zone {
    /// UTC.
    #[must_use]
    pub fn gmt() -> Self {
        Self(TimeZone::UTC)
    }

    /// Reads a zone; blank is UTC.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn parse(text: &str) -> Result<Self, UnknownZone> {
        let name = text.trim();
        if name.is_empty() {
            return Ok(Self::gmt());
        }
        if let Some((offset, "")) = offset(name) {
            return Ok(Self(if offset == Offset::UTC { TimeZone::UTC } else { TimeZone::fixed(offset) }));
        }
        if let Some(offset) = listed(&OFFSETS, name) {
            return Ok(Self(TimeZone::fixed(offset)));
        }
        let region =
            REGIONS.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map_or(name, |(_, region)| region);
        database().get(region).map(Self).map_err(|_| UnknownZone(text.to_owned()))
    }

    /// The moment of a clock's reading; [`later`].
    pub(super) fn moment(&self, time: DateTime) -> Option<Timestamp> {
        later(&self.0, time)
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.0
    }
}

impl<'de> serde::Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The moment of a clock's reading. One that came twice, when summer ended, is the second: taken for the first, a change
/// would seem an hour old and be passed over, while one that seems to come is told.
pub(super) fn later(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(time).later().ok().map(|moment| Timestamp::from_millis(moment.as_millisecond()))
}

fn database() -> &'static TimeZoneDatabase {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    DATABASE.get_or_init(TimeZoneDatabase::bundled)
}

fn listed(offsets: &[(&str, i8)], name: &str) -> Option<Offset> {
    offsets.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map(|(_, hours)| Offset::constant(*hours))
}

/// The offset that a text begins with (`Z`, `GMT`, `GMT-8`, `-8:00`, `+0530`, `-08`), and what comes after it.
fn offset(text: &str) -> Option<(Offset, &str)> {
    let name = text.len() - text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
    let (name, rest) = text.split_at(name);
    let utc = ["Z", "GMT", "UTC", "UT"].iter().any(|utc| utc.eq_ignore_ascii_case(name));
    if !name.is_empty() && !utc {
        return None;
    }
    let (sign, digits) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, Some(digits)) => (-1, digits),
        _ if utc => return Some((Offset::UTC, rest)),
        _ => return None,
    };
    let run = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (hours, minutes, rest) = match run(digits) {
        count @ (1 | 2) => {
            let (hours, rest) = digits.split_at(count);
            match rest.strip_prefix(':') {
                Some(after) if run(after) == 2 => (hours, &after[..2], &after[2..]),
                _ => (hours, "0", rest),
            }
        }
        count @ (3 | 4) => (&digits[..count - 2], &digits[count - 2..count], &digits[count..]),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if minutes > 59 {
        return None;
    }
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some((offset, rest))
}

/// The zone that a date's text goes on with, and what comes after it.
pub(super) fn within(text: &str) -> Option<(TimeZone, &str)> {
    let text = text.trim_start();
    if let Some((offset, rest)) = offset(text) {
        return Some((TimeZone::fixed(offset), rest));
    }
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_');
    let (name, rest) = text.split_at(text.len() - text.trim_start_matches(name).len());
    if let Some(offset) = listed(&STANDARD, name) {
        return Some((TimeZone::fixed(offset), rest));
    }
    let zone = Zone::parse(name).ok().filter(|_| !name.is_empty())?;
    Some((zone.0, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seconds that a zone is ahead of UTC in January and in July 2020.
    fn ahead(text: &str) -> (i32, i32) {
        let zone = Zone::parse(text).unwrap();
        let at = |second| zone.zone().to_offset(jiff::Timestamp::from_second(second).unwrap()).seconds();
        (at(1_579_000_000), at(1_594_000_000))
    }

    #[test]
    fn zones_are_what_java_takes_them_for() {
        const HOUR: i32 = 3600;
        for (text, winter, summer) in [
            ("", 0, 0),
            (" GMT ", 0, 0),
            ("utc", 0, 0),
            ("Z", 0, 0),
            ("-8:00", -8 * HOUR, -8 * HOUR),
            ("-0800", -8 * HOUR, -8 * HOUR),
            ("-08", -8 * HOUR, -8 * HOUR),
            ("GMT-8", -8 * HOUR, -8 * HOUR),
            ("GMT+05:30", 5 * HOUR + 1800, 5 * HOUR + 1800),
            ("+530", 5 * HOUR + 1800, 5 * HOUR + 1800),
            ("PST", -8 * HOUR, -7 * HOUR),
            ("CST", -6 * HOUR, -5 * HOUR),
            ("MST", -7 * HOUR, -7 * HOUR),
            ("EST", -5 * HOUR, -5 * HOUR),
            ("America/Denver", -7 * HOUR, -6 * HOUR),
            ("Europe/Paris", HOUR, 2 * HOUR),
        ] {
            assert_eq!(ahead(text), (winter, summer), "{text}");
        }
    }

    #[test]
    fn a_zone_that_nobody_knows_is_refused_by_name() {
        for text in
            ["Mars/Olympus", "XST", "GMT+", "GMT-8:0", "-8:60", "-99", "8:00", "../etc/passwd", "PST8:", "-123456"]
        {
            assert_eq!(Zone::parse(text), Err(UnknownZone(text.into())), "{text}");
        }
        assert!(Zone::parse("XST").unwrap_err().to_string().contains("\"XST\""));
    }

    #[test]
    fn every_listed_region_is_bundled() {
        for (short, _) in REGIONS {
            assert!(Zone::parse(short).is_ok(), "{short}");
        }
    }

    #[test]
    fn an_hour_that_comes_twice_is_the_second_and_one_that_never_comes_is_near() {
        let at = |text: &str| Zone::parse("PST").unwrap().moment(text.parse().unwrap()).unwrap().iso_seconds();
        assert_eq!(at("2025-11-02T00:30:00"), "2025-11-02T07:30:00Z");
        assert_eq!(at("2025-11-02T01:30:00"), "2025-11-02T09:30:00Z");
        assert_eq!(at("2025-03-09T02:30:00"), "2025-03-09T10:30:00Z");
    }

    proptest! {
        #[test]
        fn an_offset_is_read_however_it_is_joined(hours in 0..15i32, minutes in 0..60i32, minus: bool, gmt: bool) {
            let sign = if minus { '-' } else { '+' };
            let seconds = (hours * 3600 + minutes * 60) * if minus { -1 } else { 1 };
            let before = if gmt { "GMT" } else { "" };
            for text in [format!("{hours}:{minutes:02}"), format!("{hours:02}:{minutes:02}"), format!("{hours:02}{minutes:02}")] {
                let text = format!("{before}{sign}{text}");
                prop_assert_eq!(ahead(&text).0, seconds, "{}", text);
            }
        }

        #[test]
        fn any_text_is_a_zone_or_refused(text in ".{0,12}") {
            let _ = Zone::parse(&text);
            let _ = within(&text);
        }
    }
}
