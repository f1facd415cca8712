//! What the process itself answers, beside the roles: its health, paths that nobody has, and requests that take too long.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use embedded::Embedded;
use platform::{Consistency, Key, OsRandom, Platform as _, Random as _, Table as _};
use serde_json::{Value, json};

/// Gives a request up that is not answered within the state's time. Dropping it ends what it waits for; what it has
/// changed stays, and the sender, who learns that it is to try again, finds it.
pub(crate) async fn deadline(State(after): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(after, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the request was not done within {} s and was given up; try again", after.as_secs()),
        ),
    }
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

fn refusal(status: StatusCode, message: &str) -> Response {
    let request_id = format!("{:016x}", OsRandom.bits());
    tracing::debug!(request_id, status = status.as_u16(), message, "a request was refused");
    answer(status, &json!({ "requestId": request_id, "message": message }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use http_body_util::BodyExt as _;
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
