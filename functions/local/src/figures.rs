//! `GET /metrics`: what the roles count, and how the queues stand, as Prometheus reads it. Like `/healthz` it asks for no
//! authorization: it names connectors and reasons, and nothing of a customer's.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use embedded::{Backlog, Embedded, StoreQueue};
use metrics::gauge;
use platform::Platform as _;
use pollhook_metrics::prometheus::{CONTENT_TYPE, Prometheus};

/// Answers with the page. The queues count in memory, and the dead letters are one look into the store.
pub(crate) async fn page(State((prometheus, platform)): State<(Prometheus, Arc<Embedded>)>) -> Response {
    stand(platform.batches());
    stand(platform.polls());
    let dead_letters = platform.store().dead_letter_count().map(|count| count as f64).unwrap_or_else(|error| {
        tracing::error!(%error, "the dead letters cannot be counted");
        // As Prometheus writes what is not known. What was known last would be taken for true.
        f64::NAN
    });
    gauge!("pollhook_dead_letters").set(dead_letters);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], prometheus.render()).into_response()
}

/// How a queue stands.
fn stand(queue: &StoreQueue) {
    let Backlog { ready, delayed, in_flight } = queue.backlog();
    for (state, messages) in [("ready", ready), ("delayed", delayed), ("in_flight", in_flight)] {
        gauge!("pollhook_backlog", "queue" => queue.name().to_owned(), "state" => state).set(messages as f64);
    }
}
