//! The API's paths, and what it says of problems.
//!
//! Errors are arrays (providers.md §5.3); those of OAuth are objects (§5.4).

use serde_json::{Value, json};

use super::query::row;
use super::{Kind, Salesforce};
use crate::exchange::{Answer, Request};
use crate::oauth::{Denied, Refused};

/// `v65.0`, as the client wrote it.
pub(super) type Version<'a> = &'a str;

/// What can be wrong with a request.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Problem {
    Session,
    TooMany,
    Broken(u16),
    NotFound,
    MalformedQuery(String),
    InvalidType(String),
    NoSuchField(String, String),
    /// The field, its kind, and whether the value was quoted.
    WrongKind(String, Kind, bool),
    InvalidLocator,
    InvalidDate(String),
    MissingArgument(String),
    ReplicationDate(&'static str),
    TooManyIds,
    Deleted,
}

impl Problem {
    pub(super) fn answer(&self) -> Answer {
        let (status, code, message) = match self {
            Self::Session => (401, "INVALID_SESSION_ID", "Session expired or invalid".to_owned()),
            Self::TooMany => (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.".to_owned()),
            Self::Broken(503) => (503, "SERVER_UNAVAILABLE", "The server is unavailable.".to_owned()),
            Self::Broken(status) => (*status, "UNKNOWN_EXCEPTION", "An unexpected error occurred.".to_owned()),
            Self::NotFound => (404, "NOT_FOUND", "The requested resource does not exist".to_owned()),
            Self::MalformedQuery(message) => (400, "MALFORMED_QUERY", message.clone()),
            Self::InvalidType(object) => (
                400,
                "INVALID_TYPE",
                format!(
                    "sObject type '{object}' is not supported. If you are attempting to use a custom object, be sure to \
                     append the '__c' after the entity name. Please reference your WSDL or the describe call for the \
                     appropriate names."
                ),
            ),
            Self::NoSuchField(field, object) => (
                400,
                "INVALID_FIELD",
                format!(
                    "No such column '{field}' on entity '{object}'. If you are attempting to use a custom field, be sure to \
                     append the '__c' after the custom field name. Please reference your WSDL or the describe call for the \
                     appropriate names."
                ),
            ),
            Self::WrongKind(field, kind, quoted) => {
                let quotes = match (kind, quoted) {
                    (Kind::Id | Kind::Text, false) => " and should be enclosed in quotes",
                    (Kind::Id | Kind::Text, true) | (_, false) => "",
                    (_, true) => " and should not be enclosed in quotes",
                };
                let kind = name(*kind);
                let criterion = format!("value of filter criterion for field '{field}' must be of type {kind}{quotes}");
                (400, "INVALID_FIELD", criterion)
            }
            Self::InvalidLocator => (400, "INVALID_QUERY_LOCATOR", "invalid query locator".to_owned()),
            Self::InvalidDate(text) => (400, "INVALID_FIELD", format!("invalid date: {text}")),
            Self::MissingArgument(name) => (400, "MISSING_ARGUMENT", format!("Required argument missing: {name}")),
            Self::ReplicationDate(message) => (400, "INVALID_REPLICATION_DATE", (*message).to_owned()),
            Self::TooManyIds => (400, "EXCEEDED_ID_LIMIT", "too many ids in the answer".to_owned()),
            Self::Deleted => (404, "ENTITY_IS_DELETED", "entity is deleted".to_owned()),
        };
        Answer::json(status, &json!([{"message": message, "errorCode": code}]))
    }
}

/// How the API calls a kind of field.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Id => "id",
        Kind::Text => "string",
        Kind::Instant => "dateTime",
        Kind::Bool => "boolean",
        Kind::Number => "double",
    }
}

impl Salesforce {
    pub(super) fn respond(&mut self, request: &Request) -> Answer {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["services", "oauth2", "authorize"]) => {
                let org = self.org.clone();
                self.grants.consent(request, &org, &[])
            }
            ("POST", ["services", "oauth2", "token"]) => self.token(request),
            ("POST", ["services", "oauth2", "revoke"]) => self.revoke(request),
            ("GET", ["services", "data"]) => {
                Answer::json(200, &json!([{"label": "Spring", "url": "/services/data/v65.0", "version": "65.0"}]))
            }
            ("GET", ["services", "data", version, rest @ ..]) if version.starts_with('v') => {
                self.data(request, version, rest)
            }
            _ => Problem::NotFound.answer(),
        }
    }

    fn data(&mut self, request: &Request, version: Version<'_>, rest: &[&str]) -> Answer {
        match self.grants.admit(request) {
            Ok(org) if org == self.org => {}
            Ok(_) | Err(Refused::Missing | Refused::Unknown | Refused::Expired(_) | Refused::Revoked) => {
                return Problem::Session.answer().with("www-authenticate", "Token");
            }
        }
        if self.requests_made >= self.daily_requests {
            return Problem::TooMany.answer();
        }
        self.requests_made += 1;
        let usage = format!("api-usage={}/{}", self.requests_made, self.daily_requests);
        let answer = match self.resource(request, version, rest) {
            Ok(value) => Answer::json(200, &value),
            Err(problem) => problem.answer(),
        };
        answer.with("sforce-limit-info", &usage)
    }

    fn resource(&mut self, request: &Request, version: Version<'_>, rest: &[&str]) -> Result<Value, Problem> {
        let asked = request.header("sforce-query-options").and_then(|options| {
            options.split(',').find_map(|option| option.trim().strip_prefix("batchSize=")?.parse().ok())
        });
        match rest {
            [] => Ok(json!({
                "query": format!("/services/data/{version}/query"),
                "queryAll": format!("/services/data/{version}/queryAll"),
                "sobjects": format!("/services/data/{version}/sobjects"),
                "limits": format!("/services/data/{version}/limits"),
            })),
            [kind @ ("query" | "queryAll")] => {
                let text = request
                    .parameter("q")
                    .ok_or_else(|| Problem::MalformedQuery("A query string has to be specified".into()))?;
                self.query(text, *kind == "queryAll", asked, version)
            }
            ["query" | "queryAll", locator] => {
                let (locator, from) = locator.rsplit_once('-').ok_or(Problem::InvalidLocator)?;
                self.page(locator, from.parse().map_err(|_| Problem::InvalidLocator)?, asked, version)
            }
            ["limits"] => {
                let left = self.daily_requests.saturating_sub(self.requests_made);
                Ok(json!({"DailyApiRequests": {"Max": self.daily_requests, "Remaining": left}}))
            }
            ["sobjects"] => {
                let objects: Vec<Value> = self.objects.keys().map(|name| self.described(name, version)).collect();
                Ok(json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}))
            }
            ["sobjects", object, rest @ ..] => {
                let object = self.object(object).ok_or(Problem::NotFound)?.to_owned();
                self.of_object(request, version, &object, rest)
            }
            _ => Err(Problem::NotFound),
        }
    }

    fn of_object(
        &mut self,
        request: &Request,
        version: Version<'_>,
        object: &str,
        rest: &[&str],
    ) -> Result<Value, Problem> {
        let fields = self.objects.get(object).map(|object| &object.fields).ok_or(Problem::NotFound)?;
        match rest {
            [] => Ok(json!({"objectDescribe": self.described(object, version), "recentItems": []})),
            ["describe"] => {
                let described = |(field, kind): (&String, &Kind)| json!({"name": field, "label": field, "type": name(*kind).to_lowercase()});
                let mut answer = self.described(object, version);
                answer["fields"] = fields.iter().map(described).collect();
                Ok(answer)
            }
            ["updated"] => self.updated(object, request),
            ["deleted"] => self.deleted(object, request),
            [id] => {
                let id = super::ids::long(id);
                let record = self.records.get(&id).filter(|record| record.object == object && !record.purged);
                let record = record.ok_or(Problem::NotFound)?;
                if record.deleted.is_some() {
                    return Err(Problem::Deleted);
                }
                Ok(row(&id, record, &fields.keys().cloned().collect::<Vec<_>>(), version))
            }
            _ => Err(Problem::NotFound),
        }
    }

    fn described(&self, object: &str, version: Version<'_>) -> Value {
        let prefix = self.objects.get(object).map(|object| object.prefix.as_str());
        json!({
            "name": object,
            "label": object,
            "keyPrefix": prefix,
            "queryable": true,
            "replicateable": true,
            "urls": {"sobject": format!("/services/data/{version}/sobjects/{object}")},
        })
    }

    fn token(&mut self, request: &Request) -> Answer {
        let tokens = match self.grants.token(request) {
            Ok(tokens) => tokens,
            Err(denied) => return self::denied(denied),
        };
        let issued = self.clock.now().as_millis().to_string();
        let form = request.form();
        let own = form.iter().any(|(key, value)| key == "grant_type" && value == "client_credentials");
        // providers.md §5.4: no `expires_in`.
        let mut answer = json!({
            "access_token": tokens.access,
            "signature": "c2lnbmF0dXJl",
            "scope": "refresh_token api",
            "instance_url": self.url,
            "id": format!("https://login.salesforce.com/id/{}/005xX0000000001EAA", self.org),
            "token_type": "Bearer",
            "issued_at": issued,
        });
        if tokens.renewed && !own {
            answer["refresh_token"] = tokens.refresh.into();
        }
        Answer::json(200, &answer)
    }

    fn revoke(&mut self, request: &Request) -> Answer {
        let form = request.form();
        let token = form.iter().find(|(key, _)| key == "token").map(|(_, value)| value.as_str());
        if self.grants.revoke(token.unwrap_or_default()) {
            return Answer::empty(200);
        }
        let error = json!({"error": "unsupported_token_type", "error_description": "this token type is not supported"});
        Answer::json(400, &error)
    }
}

fn denied(denied: Denied) -> Answer {
    let (error, description) = match denied {
        Denied::Client => ("invalid_client_id", "client identifier invalid"),
        Denied::Secret => ("invalid_client", "invalid client credentials"),
        Denied::Code => ("invalid_grant", "invalid authorization code"),
        Denied::Refresh => ("invalid_grant", "expired access/refresh token"),
        Denied::Kind => ("unsupported_grant_type", "grant type not supported"),
    };
    Answer::json(400, &json!({"error": error, "error_description": description}))
}
