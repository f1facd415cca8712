//! The API's paths, its budgets, and what it says of problems.
//!
//! Bodies of errors as captured: 401 in airbytehq/airbyte#74726; 429 as HubSpot/hubspot-api-nodejs's `RetryDecorator` reads it
//! (`policyName`, and for searches the message).

use serde_json::{Value, json};

use super::search::Invalid;
use super::{HubSpot, Version};
use crate::exchange::{Answer, Request};
use crate::oauth::Refused;

const LARGEST_LISTED_PAGE: usize = 100;

impl HubSpot {
    pub(super) fn respond(&mut self, request: &Request) -> Answer {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["oauth", rest @ ..] => self.oauth(request, rest),
            ["crm", "v3", "objects", kind, rest @ ..] | ["crm", "objects", "2026-03", kind, rest @ ..] => {
                self.crm(request, kind, rest)
            }
            _ => self.not_found(),
        }
    }

    fn crm(&mut self, request: &Request, kind: &str, rest: &[&str]) -> Answer {
        if let Err(refused) = self.grants.admit(request) {
            return self.unauthorized(refused);
        }
        let searches = rest == ["search"];
        let left = match self.budget(searches) {
            Ok(left) => left,
            Err(answer) => return *answer,
        };
        let Some(kind) = self.named(kind).map(str::to_owned) else {
            return self.problem(400, None, &format!("Unable to infer object type from: {kind}"));
        };
        let answer = match (request.method.as_str(), rest) {
            ("POST", ["search"]) => match self.search(&kind, request) {
                Ok(value) => Answer::json(200, &value),
                Err(Invalid(message)) => self.problem(400, Some("VALIDATION_ERROR"), &message),
            },
            ("GET", []) => self.list(&kind, request),
            ("GET", [id]) => self.read(&kind, id, request),
            _ => self.not_found(),
        };
        // Searches say nothing of the budget: developers.hubspot.com, usage guidelines.
        if searches {
            return answer;
        }
        answer
            .with("x-hubspot-ratelimit-max", &self.burst.most.to_string())
            .with("x-hubspot-ratelimit-remaining", &left.to_string())
            .with("x-hubspot-ratelimit-interval-milliseconds", &self.burst.window.as_millis().to_string())
    }

    /// Counts a request; how many more are allowed now.
    fn budget(&mut self, search: bool) -> Result<usize, Box<Answer>> {
        let now = self.clock.now();
        if self.limited && search && self.searches.left(now) == 0 {
            return Err(Box::new(self.too_many(true)));
        }
        if self.limited && self.burst.left(now) == 0 {
            return Err(Box::new(self.too_many(false)));
        }
        if search {
            self.searches.spend(now);
        }
        self.burst.spend(now);
        Ok(self.burst.left(now))
    }

    fn list(&mut self, kind: &str, request: &Request) -> Answer {
        let archived = archived(request);
        let limit = match request.parameter("limit").map(str::parse) {
            None => 10,
            Some(Ok(limit)) if (1..=LARGEST_LISTED_PAGE).contains(&limit) => limit,
            Some(_) => return self.problem(400, Some("VALIDATION_ERROR"), "limit must be between 1 and 100"),
        };
        let after = match request.parameter("after").map(str::parse::<u64>) {
            None => 0,
            Some(Ok(after)) => after,
            Some(Err(_)) => return self.problem(400, Some("VALIDATION_ERROR"), "invalid paging token"),
        };
        let properties = properties(request);
        let objects = self.types.get(kind).into_iter().flat_map(|known| &known.objects);
        let mut found = objects
            .filter(|(id, _)| **id >= after)
            .filter_map(|(id, versions)| Some((*id, versions.last()?)))
            .filter(|(_, version)| version.archived.is_some() == archived && version.merged.is_none());
        let page: Vec<(u64, &Version)> = found.by_ref().take(limit).collect();
        let results: Vec<Value> =
            page.iter().map(|(id, version)| self.shown(kind, *id, version, &properties)).collect();
        let mut answer = json!({"results": results});
        if let Some((next, _)) = found.next() {
            let link =
                format!("https://api.hubapi.com/crm/v3/objects/{kind}?limit={limit}&after={next}&archived={archived}");
            answer["paging"] = json!({"next": {"after": next.to_string(), "link": link}});
        }
        Answer::json(200, &answer)
    }

    fn read(&mut self, kind: &str, id: &str, request: &Request) -> Answer {
        let archived = archived(request);
        let properties = properties(request);
        let objects = self.types.get(kind).map(|known| &known.objects);
        let find = |id: u64| objects.and_then(|objects| Some((id, objects.get(&id)?.last()?)));
        let found = id.parse().ok().and_then(find);
        // A merged object's id leads to the survivor.
        let found = found.and_then(|(id, version)| version.merged.map_or(Some((id, version)), find));
        match found.filter(|(_, version)| version.archived.is_some() == archived) {
            Some((id, version)) => Answer::json(200, &self.shown(kind, id, version, &properties)),
            None => self.problem(404, Some("OBJECT_NOT_FOUND"), "Object not found.  objectId are usually numeric."),
        }
    }

    fn not_found(&mut self) -> Answer {
        self.problem(404, Some("OBJECT_NOT_FOUND"), "resource not found")
    }

    pub(super) fn unauthorized(&mut self, refused: Refused) -> Answer {
        if let Refused::Expired(seconds) = refused {
            let message = format!("The OAuth token used to make this call expired {seconds} second(s) ago.");
            return self.problem(401, Some("EXPIRED_AUTHENTICATION"), &message);
        }
        let message = "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more \
                       details at https://developers.hubspot.com/docs/methods/auth/oauth-overview";
        self.problem(401, Some("INVALID_AUTHENTICATION"), message)
    }

    pub(super) fn too_many(&mut self, search: bool) -> Answer {
        let (policy, message) = if search {
            ("SECONDLY", "You have reached your secondly limit.")
        } else {
            ("TEN_SECONDLY_ROLLING", "You have reached your ten_secondly_rolling limit.")
        };
        let body = json!({
            "status": "error",
            "message": message,
            "errorType": "RATE_LIMIT",
            "category": "RATE_LIMITS",
            "correlationId": self.correlation(),
            "policyName": policy,
        });
        Answer::json(429, &body)
    }

    pub(super) fn problem(&mut self, status: u16, category: Option<&str>, message: &str) -> Answer {
        let mut body = json!({"status": "error", "message": message, "correlationId": self.correlation()});
        if let Some(category) = category {
            body["category"] = category.into();
        }
        Answer::json(status, &body)
    }

    pub(super) fn correlation(&mut self) -> String {
        self.correlations += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.correlations)
    }
}

/// The properties that are asked for, in one parameter or several.
fn properties(request: &Request) -> Vec<&str> {
    let asked = request.query.iter().filter(|(name, _)| name == "properties");
    asked.flat_map(|(_, value)| value.split(',')).filter(|name| !name.is_empty()).collect()
}

/// Whether archived objects are asked for. HubSpot's own library for Python writes `True`.
fn archived(request: &Request) -> bool {
    request.parameter("archived").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
