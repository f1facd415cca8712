//! What the process itself answers, beside the roles: its health, paths that nobody has, and requests that take too long.
//! What that looks like is the room `front`'s, as on AWS.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use embedded::Embedded;
use front::{answer, refusal};
use platform::{Consistency, Key, Platform as _, Table as _};
use serde_json::json;

/// Gives a request up that is not answered within the state's time.
pub(crate) async fn deadline(State(after): State<Duration>, request: Request, next: Next) -> Response {
    front::within(after, next.run(request)).await
}

/// Answers paths that no role has.
pub(crate) async fn nowhere() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; webhooks are taken at /elements/api-v2/events/{connector}, instances are at \
         /elements/api-v2/instances, /healthz tells whether the server is well, and /metrics what it counts",
    )
}

/// Healthy is what can read and write its store.
pub(crate) async fn healthz(State(platform): State<Arc<Embedded>>) -> Response {
    let read = platform.table().get(&Key::new("OPERATOR", "ACCOUNT"), Consistency::Strong).await;
    health(read.map(drop).map_err(|error| format!("the store cannot be read: {error}")), platform.store().healthy())
}

fn health(reads: Result<(), String>, writes: Result<(), String>) -> Response {
    match reads.and(writes) {
        Ok(()) => answer(StatusCode::OK, &json!({ "status": "ok" })),
        Err(reason) => {
            tracing::error!(reason, "not healthy");
            answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": reason }))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header;
    use axum::routing::get;
    use axum::{Router, middleware};
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    async fn read(response: Response) -> (u16, Value) {
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    async fn ask(path: &str) -> (u16, Value) {
        let router = Router::new()
            .route("/slow", get(std::future::pending::<()>))
            .fallback(nowhere)
            .layer(middleware::from_fn_with_state(Duration::ZERO, deadline));
        read(router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()).await
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

    #[tokio::test]
    async fn what_can_only_read_is_not_healthy() {
        assert_eq!(read(health(Ok(()), Ok(()))).await, (200, json!({ "status": "ok" })));
        let (status, body) = read(health(Ok(()), Err("the last commit failed: no space".into()))).await;
        assert_eq!((status, body), (503, json!({ "status": "the last commit failed: no space" })));
        assert_eq!(read(health(Err("unread".into()), Ok(()))).await.0, 503);
    }
}
