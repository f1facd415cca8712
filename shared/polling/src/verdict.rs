//! What a provider's answer means for the poll that asked.
//!
//! *Promise:* a pure function of the answer, the connector's [`Sign`]s and the time. The first sign that matches decides;
//! where none does: 2xx is an answer, 401 an expired token, `invalid_grant` with 400 or 401 a revoked grant, 429 (and 503
//! with `Retry-After`) a limit; the rest has failed. Nothing of the body is in the reason.
//!
//! *How long to wait* is what `Retry-After` says (seconds, or an HTTP date against our clock), else what the sign says, else
//! a minute; at least a second, and at most an hour: a header that says "come back in a month" costs one idle query an hour.

use std::time::Duration;

use events::Timestamp;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::path::Path;
use crate::same::same;

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The page that was asked for.
    Ok,
    /// The account's or the app's limit: nothing of this account is asked for `after`.
    RateLimited {
        /// How long to wait.
        after: Duration,
    },
    /// A fresh access token may help.
    TokenExpired,
    /// Nothing helps but a new consent of the customer.
    GrantRevoked,
    /// The cursor is dead: the query begins anew.
    Reset,
    /// Something else.
    Failed {
        /// What, without anything of the body.
        reason: String,
    },
}

/// A sign that an answer means something: all that it names must hold.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The answer's status.
    pub status: Option<u16>,
    /// Where in its body something stands.
    pub at: Option<Path>,
    /// What stands there, texts in any case; without it anything but null does.
    pub is: Option<Value>,
    /// How the text there begins.
    pub begins: Option<String>,
    /// What that means.
    pub means: Meaning,
    /// How many seconds to wait where the answer does not say.
    pub after: Option<u64>,
}

/// What a sign means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// [`Verdict::Ok`].
    Ok,
    /// [`Verdict::RateLimited`].
    RateLimited,
    /// [`Verdict::TokenExpired`].
    TokenExpired,
    /// [`Verdict::GrantRevoked`].
    GrantRevoked,
    /// [`Verdict::Reset`].
    Reset,
    /// [`Verdict::Failed`].
    Failed,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, where that is JSON.
    pub body: Option<&'a Value>,
}

/// How long to wait when nobody says: QuickBooks wants a minute, HubSpot ten seconds, Salesforce longer.
const UNSAID: Duration = Duration::from_secs(60);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Shortest wait: "0" and dates that are over still mean that it was too much.
const SHORTEST: Duration = Duration::from_secs(1);

/// What an answer means; `now` is our clock's time.
#[must_use]
pub fn verdict(signs: &[Sign], answer: &Answer<'_>, now: Timestamp) -> Verdict {
    let waited = |unsaid: Option<u64>| {
        let unsaid = unsaid.map_or(UNSAID, Duration::from_secs);
        Verdict::RateLimited { after: retry_after(answer.headers, now).unwrap_or(unsaid).clamp(SHORTEST, LONGEST) }
    };
    let status = answer.status.as_u16();
    let failed = |why: &str| Verdict::Failed { reason: format!("{why}status {status}") };
    if let Some(sign) = signs.iter().find(|sign| sign.matches(answer)) {
        return match sign.means {
            Meaning::Ok => Verdict::Ok,
            Meaning::RateLimited => waited(sign.after),
            Meaning::TokenExpired => Verdict::TokenExpired,
            Meaning::GrantRevoked => Verdict::GrantRevoked,
            Meaning::Reset => Verdict::Reset,
            Meaning::Failed => failed("the provider tells of an error, "),
        };
    }
    let revoked = || answer.body.and_then(|body| body.get("error")).and_then(Value::as_str) == Some("invalid_grant");
    match status {
        200..300 => Verdict::Ok,
        400 | 401 if revoked() => Verdict::GrantRevoked,
        401 => Verdict::TokenExpired,
        429 => waited(None),
        503 if answer.headers.contains_key(RETRY_AFTER) => waited(None),
        _ => failed(""),
    }
}

/// How long `Retry-After` wants to be waited; `None` where it is absent or cannot be read. A date that is over is no wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        // Some providers send fractions.
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let millis = i64::try_from(date.as_millis()).ok()?;
    Some(Timestamp::from_millis(millis).since(now))
}

impl Sign {
    fn matches(&self, answer: &Answer<'_>) -> bool {
        if self.status.is_some_and(|status| status != answer.status.as_u16()) {
            return false;
        }
        let Some(path) = &self.at else { return true };
        let Some(found) = answer.body.and_then(|body| path.find(body)) else { return false };
        let is = self.is.as_ref().map_or(!found.is_null(), |expected| same(expected, found));
        let begins =
            self.begins.as_ref().is_none_or(|begin| found.as_str().is_some_and(|text| text.starts_with(begin)));
        is && begins
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-01-02T10:00:00Z").unwrap()
    }

    fn signs() -> Vec<Sign> {
        let signs = json!([
            {"status": 403, "at": "[0].errorCode", "is": "REQUEST_LIMIT_EXCEEDED", "means": "rate_limited", "after": 900},
            {"status": 401, "at": "[0].errorCode", "is": "INVALID_SESSION_ID", "means": "token_expired"},
            {"at": "Fault.Error[0].code", "is": 3001, "means": "rate_limited"},
            {"at": "Fault", "means": "failed"},
            {"status": 409, "at": "error_summary", "begins": "reset/", "means": "reset"},
            {"at": "error.reason['.tag']", "is": "too_many_requests", "means": "rate_limited", "after": 7200},
            {"status": 404, "means": "ok"},
        ]);
        serde_json::from_value(signs).unwrap()
    }

    fn judged(status: u16, retry_after: Option<&str>, body: &Value) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        verdict(&signs(), &Answer { status, headers: &headers, body: Some(body) }, now())
    }

    fn limited(seconds: u64) -> Verdict {
        Verdict::RateLimited { after: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_limit_waits_for_what_the_answer_says_in_any_form() {
        for (retry_after, seconds) in [
            (Some("120"), 120),
            (Some(" 7 "), 7),
            (Some("0"), 1),
            (Some("0.2"), 1),
            (Some("Fri, 02 Jan 2026 10:02:00 GMT"), 120),
            (Some("Fri, 02 Jan 2026 09:00:00 GMT"), 1),
            (Some("2592000"), 3600),
            (Some("1e300"), 60),
            (Some("-5"), 60),
            (Some("soon"), 60),
            (Some(""), 60),
            (None, 60),
        ] {
            assert_eq!(judged(429, retry_after, &json!(null)), limited(seconds), "{retry_after:?}");
        }
        assert_eq!(judged(503, Some("5"), &json!(null)), limited(5));
        assert_eq!(judged(503, None, &json!(null)), Verdict::Failed { reason: "status 503".into() });
    }

    #[test]
    fn the_connector_s_signs_come_before_the_status() {
        for (status, body, expected) in [
            (200, json!({"results": []}), Verdict::Ok),
            (204, json!(null), Verdict::Ok),
            (403, json!([{"errorCode": "REQUEST_LIMIT_EXCEEDED"}]), limited(900)),
            (403, json!([{"errorCode": "request_limit_exceeded "}]), limited(900)),
            (403, json!([{"errorCode": "OTHER"}]), Verdict::Failed { reason: "status 403".into() }),
            (200, json!({"Fault": {"Error": [{"code": "3001"}]}}), limited(60)),
            (200, json!({"Fault": {"Error": [{"code": 3001}]}}), limited(60)),
            (200, json!({"Fault": null}), Verdict::Ok),
            (409, json!({"error_summary": "reset/...", "error": {".tag": "reset"}}), Verdict::Reset),
            (409, json!({"error_summary": "path/not_found"}), Verdict::Failed { reason: "status 409".into() }),
            (429, json!({"error": {"reason": {".tag": "too_many_requests"}}}), limited(3600)),
            (404, json!(null), Verdict::Ok),
            (401, json!([{"errorCode": "INVALID_SESSION_ID"}]), Verdict::TokenExpired),
            (401, json!({"message": "expired"}), Verdict::TokenExpired),
            (400, json!({"error": "invalid_grant"}), Verdict::GrantRevoked),
            (401, json!({"error": "invalid_grant"}), Verdict::GrantRevoked),
            (400, json!({"error": "invalid_request"}), Verdict::Failed { reason: "status 400".into() }),
            (302, json!(null), Verdict::Failed { reason: "status 302".into() }),
        ] {
            assert_eq!(judged(status, None, &body), expected, "{status} {body}");
        }
        let fault = judged(200, None, &json!({"Fault": {"Error": [{"code": "6000", "Detail": "customer's data"}]}}));
        assert!(
            matches!(&fault, Verdict::Failed { reason } if reason.contains("200") && !reason.contains("data")),
            "{fault:?}"
        );
    }

    #[test]
    fn a_sign_that_looks_into_the_body_does_not_match_what_is_no_json() {
        let headers = HeaderMap::new();
        let answer = Answer { status: StatusCode::CONFLICT, headers: &headers, body: None };
        assert_eq!(verdict(&signs(), &answer, now()), Verdict::Failed { reason: "status 409".into() });
    }

    proptest! {
        #[test]
        fn a_wait_is_between_a_second_and_an_hour(value in "[0-9.e:+-]{0,12}|[A-Za-z0-9 ,:]{0,30}", status in 100..600u16) {
            if let Verdict::RateLimited { after } = judged(status, Some(&value), &json!({})) {
                prop_assert!((SHORTEST..=LONGEST).contains(&after));
            }
        }
    }
}
