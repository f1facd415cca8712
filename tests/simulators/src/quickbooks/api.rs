//! The API's paths.

use serde_json::json;

use super::{QuickBooks, shown};
use crate::exchange::{Answer, Request};
use crate::oauth::Refused;
use crate::times::pacific_millis;

impl QuickBooks {
    pub(super) fn respond(&mut self, request: &Request) -> Answer {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["v3", "company", realm, rest @ ..] => self.company(request, realm, rest),
            rest => self.oauth(request, rest).unwrap_or_else(|| Answer::empty(404)),
        }
    }

    fn company(&mut self, request: &Request, realm: &str, rest: &[&str]) -> Answer {
        match self.grants.admit(request) {
            Ok(account) if account == realm => {}
            Ok(_) => return self.forbidden(),
            Err(Refused::Expired(_)) => return self.unauthorized("Token expired"),
            Err(Refused::Revoked) => return self.unauthorized("Token revoked"),
            Err(Refused::Missing | Refused::Unknown) => {
                return self.unauthorized("Malformed bearer token: too short or too long");
            }
        }
        let now = self.clock.now();
        if self.limited && (self.minute.left(now) == 0 || self.second.left(now) == 0) {
            return self.too_many();
        }
        self.minute.spend(now);
        self.second.spend(now);
        // XML is what is sent to whoever does not ask for JSON; only its frame is written here.
        if !request.header("accept").is_some_and(|accept| accept.contains("application/json")) {
            return self.xml(200, "");
        }
        match (request.method.as_str(), rest) {
            ("GET", ["cdc"]) => self.cdc(request),
            ("GET", ["query"]) => self.query(request.parameter("query").unwrap_or_default()),
            ("POST", ["query"]) => {
                let kind = request.header("content-type").unwrap_or_default();
                if !kind.starts_with("application/text") {
                    let detail = format!("Operation query with content type {kind} is not supported.");
                    return self.invalid("500", "Unsupported Operation", &detail);
                }
                self.query(&String::from_utf8_lossy(&request.body))
            }
            ("GET", [entity, id]) => self.read(entity, id),
            _ => {
                let detail = format!("Operation Could not find resource for relative : {}", request.path);
                self.invalid("500", "Unsupported Operation", &detail)
            }
        }
    }

    fn read(&self, entity: &str, id: &str) -> Answer {
        let found = self.named(entity).and_then(|entity| {
            let id = id.parse().ok()?;
            let object = self.objects.get(entity)?.get(&id).filter(|object| !object.deleted)?;
            Some((entity, id, object))
        });
        match found {
            Some((entity, id, object)) => {
                let time = pacific_millis(self.clock.now());
                Answer::json(200, &json!({entity: shown(id, object), "time": time}))
            }
            None => {
                let detail = "Object Not Found : Something you're trying to use has been made inactive. Check the fields with \
                              accounts, customers, items, vendors or employees.";
                self.invalid("610", "Object Not Found", detail)
            }
        }
    }
}
