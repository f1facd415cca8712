//! How providers write points in time.

use events::Timestamp;
use jiff::tz::TimeZone;

/// California's rule since 2007, as POSIX writes it: no database of time zones is needed.
const PACIFIC: &str = "PST8PDT,M3.2.0,M11.1.0";

/// `at` without what is smaller than `unit_ms`.
#[must_use]
pub(crate) fn floor(at: Timestamp, unit_ms: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(unit_ms) * unit_ms)
}

/// `2026-01-02T03:04:05.000+0000`, without a colon.
#[must_use]
pub(crate) fn salesforce(at: Timestamp) -> String {
    let text = at.iso_millis();
    format!("{}+0000", text.trim_end_matches('Z'))
}

/// `2026-01-02T03:04:05-08:00`.
#[must_use]
pub(crate) fn pacific(at: Timestamp) -> String {
    shown(at, "%Y-%m-%dT%H:%M:%S%:z")
}

/// `2026-01-02T03:04:05.123-08:00`.
#[must_use]
pub(crate) fn pacific_millis(at: Timestamp) -> String {
    shown(at, "%Y-%m-%dT%H:%M:%S%.3f%:z")
}

fn shown(at: Timestamp, format: &str) -> String {
    let zone = TimeZone::posix(PACIFIC).unwrap_or(TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(zone).strftime(format).to_string()
}

/// A point in time that a client wrote by RFC 3339, or in California's time where it wrote no zone.
#[must_use]
pub(crate) fn parse_pacific(text: &str) -> Option<Timestamp> {
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        return Some(at);
    }
    let zone = TimeZone::posix(PACIFIC).ok()?;
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(Timestamp::from_millis(zone.to_timestamp(civil).ok()?.as_millisecond()))
}
