//! How providers write points in time.

use events::Timestamp;

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
