//! The receiver as HTTP routes: the same on Lambda and in one process.

use std::cell::LazyCell;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use connectors::{Handshake, Reply};
use http::{HeaderValue, StatusCode, header};
use platform::Platform;

use crate::follow::{self, Followed};
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
    let (parts, body) = request.into_parts();
    let read = receiver.intake.read(body).await;
    let of = |key: &str| receiver.catalogue.get(key).filter(|connector| connector.has_webhooks());
    let Some(known) = of(connector) else {
        let known = || receiver.catalogue.keys().filter(|key| of(key).is_some());
        let keys = || Answer::UnknownConnector(known().collect::<Vec<_>>().join(", "));
        let request_id = LazyCell::new(|| request_id(receiver));
        follow::answered_unknown(|| request_id.clone());
        return respond(None, &read.err().unwrap_or_else(keys), &request_id);
    };
    let followed = Followed::new(known, receiver.figures.get(connector));
    // The room is held until the request is answered: what was read is worked on, and takes memory, until then.
    let (answer, _room) = match read {
        Ok((body, room)) => {
            let path_and_query = parts.uri.path_and_query().map_or("/", |p| p.as_str());
            let incoming = Incoming { instance, method: parts.method, path_and_query, headers: parts.headers, body };
            (receiver.take(&followed, incoming).await, room)
        }
        Err(answer) => {
            receiver.refuse_unread(&followed, &answer);
            (answer, None)
        }
    };
    let request_id = LazyCell::new(|| request_id(receiver));
    followed.answered(&answer, || request_id.clone());
    respond(known.reply(), &answer, &request_id)
}

fn request_id<P: Platform>(receiver: &Receiver<P>) -> String {
    format!("{:016x}", receiver.platform.random().bits())
}

fn respond(reply: Option<&Reply>, answer: &Answer, request_id: &LazyCell<String, impl FnOnce() -> String>) -> Response {
    let mut response = match (answer, answer.message()) {
        (Answer::Handshake(Handshake::Text(text)), _) => echoed(text),
        (Answer::Handshake(Handshake::Header { name, value, .. }), _) => {
            let mut response = StatusCode::OK.into_response();
            response.headers_mut().insert(name.clone(), value.clone());
            response
        }
        (_, None) => match reply {
            Some(reply) => replied(reply),
            None => json(StatusCode::OK, Bytes::from_static(b"{}")),
        },
        (_, Some(_)) if reply.is_some_and(|reply| reply.bare) => answer.status().into_response(),
        (_, Some(message)) => plain(request_id, answer.status(), &message),
    };
    if let Answer::Method(allowed) = answer {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A stranger's text goes back as text, whatever it looks like to a browser.
fn echoed(text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (StatusCode::OK, headers, text.to_owned()).into_response()
}

fn replied(reply: &Reply) -> Response {
    let mut response = (StatusCode::OK, Body::from(reply.body.clone())).into_response();
    if let Some(value) = reply.content_type.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn plain(request_id: &str, status: StatusCode, message: &str) -> Response {
    tracing::debug!(request_id, status = status.as_u16(), message, "a webhook was answered");
    let body = serde_json::json!({ "requestId": request_id, "message": message });
    json(status, Bytes::from(body.to_string()))
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = (status, Body::from(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
