//! `updated` and `deleted`: which ids changed in a window of time.
//!
//! Sources: providers.md §5.3; developer.salesforce.com, `resources_getupdated`, `resources_getdeleted`,
//! `sforce_api_calls_getupdated` ("startDate must chronologically precede endDate by more than one minute", "seconds are
//! ignored"). That a start of more than 30 days ago is `INVALID_REPLICATION_DATE` for both: getomnico/omni#450.

use std::time::Duration;

use events::Timestamp;
use events::time::{DAY_MS, MINUTE_MS};
use serde_json::{Value, json};

use super::Salesforce;
use super::api::Problem;
use crate::exchange::Request;
use crate::times::{floor, salesforce as shown};

const LONGEST: Duration = Duration::from_millis(30 * DAY_MS.unsigned_abs());
/// How long deletions are remembered.
const REMEMBERED: Duration = Duration::from_millis(15 * DAY_MS.unsigned_abs());

struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Salesforce {
    fn window(&self, request: &Request) -> Result<Window, Problem> {
        let at = |name: &str| {
            let text = request.parameter(name).ok_or_else(|| Problem::MissingArgument(name.to_owned()))?;
            let at = Timestamp::parse_rfc3339(text).ok_or_else(|| Problem::InvalidDate(text.to_owned()))?;
            Ok(floor(at, MINUTE_MS))
        };
        let window = Window { start: at("start")?, end: at("end")? };
        if window.end.as_millis() - window.start.as_millis() <= MINUTE_MS {
            return Err(Problem::ReplicationDate("startDate must be at least one minute greater than endDate"));
        }
        if window.start < self.clock.now().minus(LONGEST) {
            return Err(Problem::ReplicationDate("startDate cannot be more than 30 days ago"));
        }
        Ok(window)
    }

    /// Up to when nothing can still come: what an open transaction has written is not there yet (providers.md §5.3).
    fn covered(&self, window: &Window) -> Timestamp {
        let open = self.pending.iter().map(|pending| pending.written).min();
        let limits = [Some(window.end), Some(self.clock.now()), open];
        floor(limits.into_iter().flatten().min().unwrap_or(window.end), MINUTE_MS)
    }

    pub(super) fn updated(&self, object: &str, request: &Request) -> Result<Value, Problem> {
        let window = self.window(request)?;
        let of_window = self.records.iter().filter(|(_, record)| {
            record.object == object && record.deleted.is_none() && window.contains(record.modstamp)
        });
        let ids: Vec<&String> = of_window.map(|(id, _)| id).rev().collect();
        self.within_limit(ids.len())?;
        Ok(json!({"ids": ids, "latestDateCovered": shown(self.covered(&window))}))
    }

    pub(super) fn deleted(&self, object: &str, request: &Request) -> Result<Value, Problem> {
        let window = self.window(request)?;
        let earliest = self.deletions_from.max(self.clock.now().minus(REMEMBERED));
        let mut deleted = Vec::new();
        for (id, record) in self.records.iter().rev().filter(|(_, record)| record.object == object) {
            let Some(at) = record.deleted else { continue };
            if window.contains(at) && at >= earliest {
                deleted.push(json!({"id": id, "deletedDate": shown(at)}));
            }
        }
        self.within_limit(deleted.len())?;
        Ok(json!({
            "deletedRecords": deleted,
            "earliestDateAvailable": shown(earliest),
            "latestDateCovered": shown(self.covered(&window)),
        }))
    }

    fn within_limit(&self, ids: usize) -> Result<(), Problem> {
        if ids > self.id_limit { Err(Problem::TooManyIds) } else { Ok(()) }
    }
}
