//! The paths, and the ways of paging.

use events::Timestamp;
use serde_json::{Value, json};

use super::{HttpApi, Needs, shown};
use crate::exchange::{Answer, Authorization, Request};
use crate::oauth::Denied;

/// What a request asks for wrongly.
struct Wrong(u16, &'static str);

impl Wrong {
    fn answer(&self) -> Answer {
        Answer::json(self.0, &json!({"error": self.1}))
    }
}

impl HttpApi {
    pub(super) fn respond(&mut self, request: &Request) -> Answer {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["oauth", "authorize"]) => return self.grants.consent(request, "account-1", &[]),
            ("POST", ["oauth", "token"]) => return self.token(request),
            _ => {}
        }
        if !self.admits(request) {
            let answer = Wrong(401, "unauthorized").answer();
            return answer.with("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        let answer = match (request.method.as_str(), segments.as_slice()) {
            ("GET", [way, collection]) => self.list(way, collection, request),
            ("GET", [_, collection, id]) => self.read(collection, id),
            _ => Err(Wrong(404, "not_found")),
        };
        answer.unwrap_or_else(|wrong| wrong.answer())
    }

    fn admits(&mut self, request: &Request) -> bool {
        match &self.needs {
            Needs::Nothing => true,
            Needs::Bearer => self.grants.admit(request).is_ok(),
            Needs::Header(name, key) => request.header(name.as_str()) == Some(key),
            Needs::Parameter(name, key) => request.parameter(name) == Some(key),
            Needs::Basic(name, password) => {
                request.authorization() == Authorization::Basic(name.clone(), password.clone())
            }
        }
    }

    fn read(&self, collection: &str, id: &str) -> Result<Answer, Wrong> {
        let found = id.parse().ok().and_then(|id| Some((id, self.collections.get(collection)?.get(&id)?.last()?)));
        match found {
            None => Err(Wrong(404, "not_found")),
            Some((_, record)) if record.deleted => Err(Wrong(410, "gone")),
            Some((id, record)) => Ok(Answer::json(200, &shown(id, record))),
        }
    }

    /// What is asked for, by the time of the last change; what is equal comes in the least convenient order.
    fn records(&self, collection: &str, request: &Request) -> Result<Vec<Value>, Wrong> {
        let records = self.collections.get(collection).ok_or(Wrong(404, "not_found"))?;
        let since = match request.parameter("updated_since") {
            None => None,
            Some(text) => Some(Timestamp::parse_rfc3339(text).ok_or(Wrong(400, "invalid_updated_since"))?),
        };
        let deleted = request.parameter("include_deleted") == Some("true");
        let now = self.clock.now();
        let mut found: Vec<_> = records
            .iter()
            .filter_map(|(id, states)| Some((id, states.iter().rfind(|record| record.listed <= now)?)))
            .filter(|(_, record)| since.is_none_or(|since| record.updated >= since))
            .filter(|(_, record)| deleted || !record.deleted)
            .collect();
        found.sort_by(|(one, a), (other, b)| a.updated.cmp(&b.updated).then(other.cmp(one)));
        Ok(found.into_iter().map(|(id, record)| shown(*id, record)).collect())
    }

    fn number(&self, request: &Request, name: &str, default: usize) -> Result<usize, Wrong> {
        match request.parameter(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Wrong(400, "invalid_number")),
        }
    }

    fn size(&self, request: &Request, name: &str) -> Result<usize, Wrong> {
        Ok(self.number(request, name, self.page_size)?.clamp(1, self.largest_page))
    }

    fn list(&mut self, way: &str, collection: &str, request: &Request) -> Result<Answer, Wrong> {
        match way {
            "cursor" => self.by_cursor(collection, request),
            "link" | "page" => {
                let size = self.size(request, "per_page")?;
                let page = self.number(request, "page", 1)?.max(1);
                let records = self.records(collection, request)?;
                let pages = records.len().div_ceil(size).max(1);
                let found: Vec<_> = records.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
                if way == "page" {
                    return Ok(Answer::json(200, &json!({"results": found, "page": page, "pages": pages})));
                }
                let mut links = vec![(1, "first"), (pages, "last")];
                if page < pages {
                    links.insert(0, (page + 1, "next"));
                }
                let link = |(page, rel): (usize, &str)| {
                    format!("<{}>; rel=\"{rel}\"", self.same_with(request, &[("page", &page.to_string())]))
                };
                let header = links.into_iter().map(link).collect::<Vec<_>>().join(", ");
                Ok(Answer::json(200, &Value::Array(found)).with("link", &header))
            }
            "offset" | "next" => {
                let size = self.size(request, "limit")?;
                let offset = self.number(request, "offset", 0)?;
                let records = self.records(collection, request)?;
                let total = records.len();
                let found: Vec<_> = records.into_iter().skip(offset).take(size).collect();
                if way == "offset" {
                    return Ok(Answer::json(200, &json!({"items": found, "total": total, "offset": offset})));
                }
                let mut page = json!({"value": found});
                if offset.saturating_add(size) < total {
                    page["next"] = self.same_with(request, &[("offset", &(offset + size).to_string())]).into();
                }
                Ok(Answer::json(200, &page))
            }
            _ => Err(Wrong(404, "not_found")),
        }
    }

    /// The request's whole URL with other parameters.
    fn same_with(&self, request: &Request, changed: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let kept = |name: &String| changed.iter().all(|(other, _)| name != other);
        query.extend_pairs(request.query.iter().filter(|(name, _)| kept(name)));
        query.extend_pairs(changed);
        format!("{}{}?{}", self.url, request.path, query.finish())
    }

    fn by_cursor(&mut self, collection: &str, request: &Request) -> Result<Answer, Wrong> {
        let size = self.size(request, "limit")?;
        let (records, from) = match request.parameter("cursor") {
            None => (self.records(collection, request)?, 0),
            Some(cursor) => match self.cursors.get(cursor) {
                None => return Err(Wrong(400, "invalid_cursor")),
                Some(None) => return Err(Wrong(410, "cursor_expired")),
                Some(Some(place)) => place.clone(),
            },
        };
        let end = records.len().min(from + size);
        let mut page = json!({"data": records[from..end], "meta": {"next_cursor": null}});
        if end < records.len() {
            self.made += 1;
            let cursor = format!("c{:06}==", self.made);
            page["meta"]["next_cursor"] = cursor.as_str().into();
            self.cursors.insert(cursor, Some((records, end)));
        }
        Ok(Answer::json(200, &page))
    }

    fn token(&mut self, request: &Request) -> Answer {
        let (status, error) = match self.grants.token(request) {
            Ok(tokens) => {
                let mut body = json!({
                    "access_token": tokens.access,
                    "token_type": "Bearer",
                    "expires_in": self.grants.rules.access.as_secs(),
                });
                if tokens.renewed {
                    body["refresh_token"] = tokens.refresh.into();
                }
                return Answer::json(200, &body);
            }
            Err(Denied::Client | Denied::Secret) => (401, "invalid_client"),
            Err(Denied::Code | Denied::Refresh) => (400, "invalid_grant"),
            Err(Denied::Kind) => (400, "unsupported_grant_type"),
        };
        Answer::json(status, &json!({"error": error}))
    }
}
