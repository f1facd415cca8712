//! Points in time, and the three ways the contract writes them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Milliseconds in a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60 * 1000;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Days since the Unix epoch, rounded down: how the table names a day.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// Minutes since the Unix epoch, rounded down: how the table names a minute.
    #[must_use]
    pub const fn minute(self) -> i64 {
        self.0.div_euclid(MINUTE_MS)
    }

    /// This point, `duration` later (saturating).
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This point, `duration` earlier (saturating).
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2018-08-20T15:29:06Z`: the form of `events[].date`. Milliseconds are cut off, as in the captured notifications.
    #[must_use]
    pub fn iso_seconds(self) -> String {
        self.calendar().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `2018-08-20T15:29:06.123Z`: the form of Pollhook's own fields.
    #[must_use]
    pub fn iso_millis(self) -> String {
        self.calendar().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    /// `Mon Aug 20 15:30:07 UTC 2018`: Java's `Date.toString()`, the form of the envelope's `createdDate`.
    #[must_use]
    pub fn java_date(self) -> String {
        self.calendar().strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
    }

    /// Reads an RFC 3339 time such as `2025-09-10T21:31:25.179851517Z`; also an offset without a colon (`-0700`).
    /// Anything else, and a time without a zone, is `None`.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp =
            text.parse().ok().or_else(|| jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok())?;
        Some(Self(parsed.as_millisecond()))
    }

    fn calendar(self) -> jiff::Timestamp {
        let end = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(end)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_match_the_captured_notification() {
        let at = Timestamp::from_millis(1_534_778_974_827);
        assert_eq!(at.iso_seconds(), "2018-08-20T15:29:34Z");
        assert_eq!(at.iso_millis(), "2018-08-20T15:29:34.827Z");
        assert_eq!(at.java_date(), "Mon Aug 20 15:29:34 UTC 2018");
    }

    #[test]
    fn times_beyond_the_calendar_do_not_panic() {
        for millis in [i64::MIN, i64::MAX, 0, -1] {
            let _ = Timestamp::from_millis(millis).iso_seconds();
            let _ = Timestamp::from_millis(millis).java_date();
        }
    }

    #[test]
    fn rfc3339_with_nanoseconds_and_with_an_offset_without_colon_is_read() {
        assert_eq!(
            Timestamp::parse_rfc3339("2025-09-10T21:31:25.179851517Z"),
            Some(Timestamp::from_millis(1_757_539_885_179))
        );
        assert_eq!(
            Timestamp::parse_rfc3339("2015-10-05T14:42:19-0700"),
            Timestamp::parse_rfc3339("2015-10-05T21:42:19Z")
        );
        assert!(Timestamp::parse_rfc3339("2015-10-05T21:42:19").is_none());
        assert!(Timestamp::parse_rfc3339("yesterday").is_none());
    }
}
