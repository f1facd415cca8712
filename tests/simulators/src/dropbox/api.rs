//! The API's paths, and what it says of problems: providers.md §4.3.

use serde_json::{Value, json};

use super::Dropbox;
use super::cursors::{Cursors, Found, Listing, Place};
use super::tree::shown;
use crate::exchange::{Answer, Authorization, Request};
use crate::oauth::Refused;

/// `files.stone`: the default, and the most, of `limit`.
const LARGEST_PAGE: u64 = 2000;

/// Stone's decoders take this content type and no other.
fn answer(status: u16, body: &Value) -> Answer {
    Answer::new(status, "application/json", body.to_string())
}

/// What can be wrong with a request.
enum Problem {
    /// An error of the endpoint or of the token, by its tags.
    Tagged(u16, &'static [&'static str]),
    /// A request that is not understood.
    Bad(String),
    /// There is no such function.
    Unknown,
}

impl Problem {
    fn answer(&self, function: &str) -> Answer {
        match self {
            Self::Tagged(status, tags) => {
                let error = tags.iter().rev().fold(Value::Null, |inner, tag| {
                    let mut error = json!({".tag": tag});
                    if !inner.is_null() {
                        error[*tag] = inner;
                    }
                    error
                });
                answer(*status, &json!({"error_summary": format!("{}/..", tags.join("/")), "error": error}))
            }
            Self::Bad(what) => {
                let text = format!("Error in call to API function \"{function}\": {what}");
                Answer::new(400, "text/plain; charset=utf-8", text)
            }
            Self::Unknown => Answer::new(404, "text/plain", "Unknown API function"),
        }
    }
}

/// A request whose body is not understood.
fn bad(what: impl Into<String>) -> Problem {
    Problem::Bad(what.into())
}

pub(super) fn too_many(retry_after: Option<u32>) -> Answer {
    let mut error = json!({"reason": {".tag": "too_many_requests"}});
    if let Some(seconds) = retry_after {
        error["retry_after"] = seconds.into();
    }
    answer(429, &json!({"error_summary": "too_many_requests/..", "error": error}))
}

impl Dropbox {
    pub(super) fn respond(&mut self, request: &Request) -> Answer {
        if let Some(answer) = self.oauth(request) {
            return answer;
        }
        let path = request.path.clone();
        let function = path.strip_prefix("/2/").filter(|_| request.method == http::Method::POST);
        match function {
            Some(function) => self.call(function, request).unwrap_or_else(|problem| problem.answer(function)),
            None => Problem::Unknown.answer(&path),
        }
    }

    fn call(&mut self, function: &str, request: &Request) -> Result<Answer, Problem> {
        if function == "files/list_folder/longpoll" {
            return self.longpoll(request);
        }
        self.authorize(request)?;
        match function {
            "files/list_folder" => {
                let listing = self.listing(request)?;
                Ok(self.page(listing, Place::Tree(String::new(), self.tree.end())))
            }
            "files/list_folder/get_latest_cursor" => {
                let listing = self.listing(request)?;
                let cursor = self.cursors.make(listing, Place::Journal(self.tree.end()));
                Ok(answer(200, &json!({"cursor": cursor})))
            }
            "files/list_folder/continue" => {
                let body = body(request, &["cursor"])?;
                let (listing, place) = self.cursor(&body)?;
                Ok(self.page(listing, place))
            }
            "files/get_metadata" => {
                let body = body(
                    request,
                    &[
                        "path",
                        "include_deleted",
                        "include_media_info",
                        "include_has_explicit_shared_members",
                        "include_property_groups",
                    ],
                )?;
                let path = text(&body, "path")?.to_lowercase();
                let node = self.tree.node(&path).ok_or(Problem::Tagged(409, &["path", "not_found"]))?;
                Ok(answer(200, &shown(&path, node)))
            }
            "users/get_current_account" => Ok(answer(200, &self.current_account())),
            "auth/token/revoke" => {
                if let Authorization::Bearer(token) = request.authorization() {
                    self.grants.revoke(&token);
                }
                Ok(answer(200, &Value::Null))
            }
            _ => Err(Problem::Unknown),
        }
    }

    fn authorize(&mut self, request: &Request) -> Result<(), Problem> {
        match self.grants.admit(request) {
            Ok(_) => Ok(()),
            Err(Refused::Missing) => {
                Err(bad("Must provide HTTP header \"Authorization\" or URL parameter \"authorization\"."))
            }
            Err(Refused::Expired(_)) => Err(Problem::Tagged(401, &["expired_access_token"])),
            Err(Refused::Unknown | Refused::Revoked) => Err(Problem::Tagged(401, &["invalid_access_token"])),
        }
    }

    fn listing(&self, request: &Request) -> Result<Listing, Problem> {
        const KNOWN: [&str; 10] = [
            "path",
            "recursive",
            "include_deleted",
            "include_has_explicit_shared_members",
            "include_media_info",
            "include_mounted_folders",
            "include_non_downloadable_files",
            "include_property_groups",
            "include_restorable_info",
            "limit",
        ];
        let body = body(request, &KNOWN)?;
        let path = text(&body, "path")?.to_lowercase();
        if path == "/" {
            return Err(bad("request body: path: Specify the root folder as an empty string rather than as \"/\"."));
        }
        if !path.is_empty() && !path.starts_with('/') {
            return Err(bad(format!("request body: path: '{path}' did not match pattern")));
        }
        if body.get("include_deleted") == Some(&Value::Bool(true)) {
            return Err(bad("request body: include_deleted: this simulator keeps no tombstones"));
        }
        let limit = match body.get("limit").filter(|limit| !limit.is_null()) {
            None => LARGEST_PAGE,
            Some(limit) => match limit.as_u64() {
                Some(limit) if (1..=LARGEST_PAGE).contains(&limit) => limit,
                _ => return Err(bad("request body: limit: must be between 1 and 2000")),
            },
        };
        match self.tree.node(&path) {
            None if !path.is_empty() => return Err(Problem::Tagged(409, &["path", "not_found"])),
            Some(node) if shown(&path, node)[".tag"] == "file" => {
                return Err(Problem::Tagged(409, &["path", "not_folder"]));
            }
            _ => {}
        }
        let recursive = body.get("recursive") == Some(&Value::Bool(true));
        Ok(Listing { path, recursive, limit: usize::try_from(limit).unwrap_or(1) })
    }

    fn cursor(&self, body: &Value) -> Result<(Listing, Place), Problem> {
        match self.cursors.find(text(body, "cursor")?) {
            Found::At(listing, place) => Ok((listing, place)),
            Found::Reset => Err(Problem::Tagged(409, &["reset"])),
            Found::Unknown => Err(bad("Invalid \"cursor\" parameter: u'cursor'")),
        }
    }

    fn page(&mut self, listing: Listing, place: Place) -> Answer {
        if self.empty_pages > 0 {
            self.empty_pages -= 1;
            let cursor = self.cursors.make(listing, place);
            return answer(200, &json!({"entries": [], "cursor": cursor, "has_more": true}));
        }
        answer(200, &self.cursors.page(&self.tree, listing, place))
    }

    /// Answers at once: whoever waits for news turns the clock, not this.
    fn longpoll(&self, request: &Request) -> Result<Answer, Problem> {
        if request.authorization() != Authorization::None {
            return Err(bad("This endpoint does not accept an access token."));
        }
        let body = body(request, &["cursor", "timeout"])?;
        let (listing, place) = self.cursor(&body)?;
        Ok(answer(200, &json!({"changes": Cursors::has_news(&self.tree, &listing, &place)})))
    }

    fn current_account(&self) -> Value {
        json!({
            "account_id": self.account,
            "name": {
                "given_name": "Franz",
                "surname": "Ferdinand",
                "familiar_name": "Franz",
                "display_name": "Franz Ferdinand",
                "abbreviated_name": "FF",
            },
            "email": "franz@example.com",
            "email_verified": true,
            "disabled": false,
            "locale": "en",
            "referral_link": "https://db.tt/simulated",
            "is_paired": false,
            "account_type": {".tag": "basic"},
            "root_info": {".tag": "user", "root_namespace_id": "1", "home_namespace_id": "1"},
            "country": "US",
        })
    }
}

/// The body, which has no field that is not known.
fn body(request: &Request, known: &[&str]) -> Result<Value, Problem> {
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.starts_with("application/json") {
        let what = format!(
            "Bad HTTP \"Content-Type\" header: \"{kind}\".  Expecting one of \"application/json\", \"application/json; \
             charset=utf-8\", \"text/plain; charset=dropbox-cors-hack\"."
        );
        return Err(bad(what));
    }
    let body = request.json().map_err(|_| bad("request body: could not decode input as JSON"))?;
    let Some(fields) = body.as_object() else { return Err(bad("request body: expected object")) };
    match fields.keys().find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(bad(format!("request body: unknown field '{field}'"))),
        None => Ok(body),
    }
}

fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, Problem> {
    let missing = || bad(format!("request body: missing required field '{field}'"));
    body.get(field).and_then(Value::as_str).ok_or_else(missing)
}
