//! The receiver as HTTP routes: the same on Lambda and in one process.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use platform::Platform;

use crate::take::Incoming;
use crate::{Answer, EVENTS_PATH, Receiver};

/// The receiver's routes.
pub fn router<P: Platform>(receiver: Arc<Receiver<P>>) -> Router {
    let connector = format!("{EVENTS_PATH}/{{connector}}");
    let instance = format!("{connector}/{{instance}}");
    Router::new()
        .route(&connector, any(by_connector::<P>))
        .route(&format!("{connector}/"), any(by_connector::<P>))
        .route(&instance, any(by_instance::<P>))
        .route(&format!("{instance}/"), any(by_instance::<P>))
        .with_state(receiver)
}

async fn by_connector<P: Platform>(
    State(receiver): State<Arc<Receiver<P>>>,
    Path(connector): Path<String>,
    request: Request,
) -> Response {
    take(&receiver, &connector, None, request).await
}

async fn by_instance<P: Platform>(
    State(receiver): State<Arc<Receiver<P>>>,
    Path((connector, instance)): Path<(String, String)>,
    request: Request,
) -> Response {
    take(&receiver, &connector, Some(&instance), request).await
}

async fn take<P: Platform>(
    receiver: &Receiver<P>,
    connector: &str,
    instance: Option<&str>,
    request: Request,
) -> Response {
    if request.method() != Method::POST {
        let mut response = plain(receiver, StatusCode::METHOD_NOT_ALLOWED, "webhooks are taken by POST");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (parts, body) = request.into_parts();
    // Held until the request is answered: what was read is worked on, and takes memory, until then.
    let (body, _room) = match receiver.intake.read(body).await {
        Ok(read) => read,
        Err(answer) => {
            receiver.refuse_unread(connector, &answer);
            return respond(receiver, &answer);
        }
    };
    let path_and_query = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let incoming = Incoming { connector, instance, method: parts.method, path_and_query, headers: parts.headers, body };
    respond(receiver, &receiver.take(incoming).await)
}

fn respond<P: Platform>(receiver: &Receiver<P>, answer: &Answer) -> Response {
    match answer.message() {
        None => json(StatusCode::OK, Bytes::from_static(b"{}")),
        Some(message) => plain(receiver, answer.status(), &message),
    }
}

fn plain<P: Platform>(receiver: &Receiver<P>, status: StatusCode, message: &str) -> Response {
    let request_id = format!("{:016x}", receiver.platform.random().bits());
    tracing::debug!(request_id, status = status.as_u16(), message, "a webhook was answered");
    let body = serde_json::json!({ "requestId": request_id, "message": message });
    json(status, Bytes::from(body.to_string()))
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = (status, Body::from(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
