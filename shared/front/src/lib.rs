//! What stands before the roles wherever they are served, on Lambda and in one process: what is answered on paths that
//! nobody has, and for requests that take too long; and what a public URL may be.
//!
//! *Promise:* whoever asks gets an answer, JSON with a request id, in time to tell it from a server that is gone.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use platform::{OsRandom, Random as _};
use serde_json::{Value, json};
use url::Url;

/// What `answering` comes to, unless it takes longer than `after`: then it is given up. Dropping it ends what it waits
/// for; what it has changed stays, and the sender, who learns that it is to try again, finds it.
pub async fn within(after: Duration, answering: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(after, answering).await {
        Ok(response) => response,
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the request was not done within {} s and was given up; try again", after.as_secs()),
        ),
    }
}

/// Answers paths that no role has.
pub async fn nowhere() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; webhooks are taken at /elements/api-v2/events/{connector}, and instances are at \
         /elements/api-v2/instances",
    )
}

/// An answer of JSON.
#[must_use]
pub fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// An answer that says why not, under an id of its own.
#[must_use]
pub fn refusal(status: StatusCode, message: &str) -> Response {
    let request_id = format!("{:016x}", OsRandom.bits());
    tracing::debug!(request_id, status = status.as_u16(), message, "a request was refused");
    answer(status, &json!({ "requestId": request_id, "message": message }))
}

/// What a public URL may be, for messages.
pub const PUBLIC_URL: &str = "http(s)://host[:port][/path], without a query or credentials";

/// Whether `url` can be what providers call: paths are added at its end, and it is shown to people.
#[must_use]
pub fn is_public_url(url: &Url) -> bool {
    let bare = url.query().is_none() && url.fragment().is_none();
    let open = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https") && url.has_host() && bare && open
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::middleware::{self, Next};
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str) -> (u16, Value) {
        let router = Router::new()
            .route("/slow", get(std::future::pending::<()>))
            .fallback(nowhere)
            .layer(middleware::from_fn(|request: Request, next: Next| within(Duration::ZERO, next.run(request))));
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_told_to_try_again() {
        let (status, body) = ask("/slow").await;
        assert_eq!((status, body["requestId"].as_str().unwrap().len()), (503, 16));
        assert!(body["message"].as_str().unwrap().contains("try again"), "{body}");
    }

    #[tokio::test]
    async fn an_unknown_path_is_told_what_there_is() {
        let (status, body) = ask("/elements/api-v2/nothing").await;
        assert_eq!((status, body["requestId"].as_str().unwrap().len()), (404, 16));
        assert!(body["message"].as_str().unwrap().contains("/elements/api-v2/events/{connector}"), "{body}");
    }

    #[test]
    fn a_public_url_is_one_that_paths_can_be_added_to_and_people_be_shown() {
        for (good, url) in [
            (true, "https://hooks.example.com"),
            (true, "http://127.0.0.1:8080/base/"),
            (false, "ftp://hooks.example.com"),
            (false, "https://hooks.example.com/?a=b"),
            (false, "https://hooks.example.com/#a"),
            (false, "https://user:secret@hooks.example.com"),
        ] {
            assert_eq!(is_public_url(&Url::parse(url).unwrap()), good, "{url}");
        }
    }
}
