//! Change data capture: providers.md §3.7.

use std::time::Duration;

use events::time::DAY_MS;
use serde_json::{Value, json};

use super::faults::fault;
use super::{Object, QuickBooks, WITHOUT_CDC, shown};
use crate::exchange::{Answer, Request};
use crate::times::{pacific_millis, parse_pacific};

const LOOK_BACK: Duration = Duration::from_millis(30 * DAY_MS.unsigned_abs());

impl QuickBooks {
    pub(super) fn cdc(&self, request: &Request) -> Answer {
        let asked = request.parameter("entities").unwrap_or_default();
        let since = request.parameter("changedSince").unwrap_or_default();
        let Some(at) = parse_pacific(since) else {
            let detail = format!("Invalid value for changedSince : {since}");
            return self.invalid("2030", "Invalid ID or date", &detail);
        };
        let now = self.clock.now();
        if now.since(at) > LOOK_BACK {
            // In the words of Wish-Org/QuickBooksSharp#19.
            let detail = format!(
                "Operation cdc with changedSince date {since} which is older than fixed days is not supported."
            );
            return self.invalid("500", "Unsupported Operation", &detail);
        }
        let mut entities = Vec::new();
        for entity in asked.split(',').map(str::trim) {
            match self.named(entity).filter(|entity| !WITHOUT_CDC.contains(entity)) {
                Some(entity) => entities.push(entity),
                None => {
                    let detail = format!("Operation cdc on entity {entity} is not supported.");
                    return self.invalid("500", "Unsupported Operation", &detail);
                }
            }
        }
        let mut left = self.cdc_limit;
        let mut responses: Vec<Value> = Vec::new();
        for entity in entities {
            if self.broken.contains(entity) {
                let detail = format!("QueryProcessingError: {entity}");
                responses.push(json!({"Fault": fault("Service", "4002", "Error processing query", &detail)}));
                continue;
            }
            let changed = |object: &Object| object.updated > at;
            let all = self.objects.get(entity).into_iter().flatten().rev();
            let found = all.filter_map(|(id, object)| Some((id, object.found(now)?)));
            let found = found.filter(|(_, object)| changed(object));
            // What does not fit is left out, and nothing says so.
            let page: Vec<Value> = found.take(left).map(|(id, object)| shown(*id, object)).collect();
            left -= page.len();
            let count = page.len();
            responses.push(if count == 0 {
                json!({})
            } else {
                json!({entity: page, "startPosition": 1, "maxResults": count})
            });
        }
        let total = self.cdc_limit - left;
        if let Some(last) = responses.last_mut().filter(|last| last.get("maxResults").is_some()) {
            last["totalCount"] = total.into();
        }
        Answer::json(200, &json!({"CDCResponse": [{"QueryResponse": responses}], "time": pacific_millis(now)}))
    }
}
