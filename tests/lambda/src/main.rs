//! A function to rehearse with: `rehearsal http|batch|schedule`. It stands on the same room as the roles' functions, and
//! does what an event tells it to do.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use lambda::batch::{self, Failure, Record};
use lambda::{http, schedule};
use platform::{Outgoing, Queue, QueueError, Receipt, Received, SendError};
use serde_json::json;

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    lambda::main("rehearsal", async move |settings| {
        let table = settings.table()?;
        tracing::info!(table, "starts");
        let done = AtomicU64::new(0);
        let after = async || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(done, "after");
        };
        match role.as_str() {
            "http" => http::serve(router(), after).await,
            "batch" => batch::serve(Dead, || (), async |&(): &(), record: &Record| work(record).await, after).await,
            "schedule" => {
                let work = async |record: &Record, _: Duration| work(record).await;
                let tick = async |_: Duration| {
                    tracing::info!("tick");
                    Ok(())
                };
                schedule::serve(tick, Dead, work, after).await
            }
            "late" => {
                let work = async |record: &Record, _: Duration| work(record).await;
                schedule::serve(async |_: Duration| std::future::pending().await, Dead, work, after).await
            }
            other => Err(format!("{other:?} is no role").into()),
        }
    })
}

fn router() -> Router {
    Router::new()
        .route("/echo/{*path}", any(echo))
        .route("/binary", any(async |body: Bytes| ([(header::CONTENT_TYPE, "application/octet-stream")], body)))
        .route("/slow", get(std::future::pending::<()>))
        .route("/panic", get(panics))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

async fn panics() {
    panic!("as it was told");
}

/// What arrived.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let headers: serde_json::Map<_, _> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").into())).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let body = json!({ "bytes": body.len(), "sum": sum });
    let told = json!({ "method": method.as_str(), "uri": uri.to_string(), "headers": headers, "body": body });
    ([(header::CONTENT_TYPE, "application/json"), (header::SET_COOKIE, "a=b")], told.to_string())
}

async fn work(record: &Record) -> Result<(), Failure> {
    match record.body.as_str() {
        body if body.starts_with("poison") => Err(Failure::Poison("not one of ours".into())),
        "fails" => Err(Failure::ours("the table is away")),
        "panics" => panic!("at the record"),
        "hangs" => std::future::pending().await,
        body => {
            tracing::info!(body, received = record.receive_count, "worked on");
            Ok(())
        }
    }
}

/// The dead letters: logged, and away for what says so.
struct Dead;

impl Queue for Dead {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        let body = messages.into_iter().map(|message| message.body).collect::<String>();
        if body == "poison, unsendable" {
            return Err(SendError { failed: vec![0], error: QueueError::Throttled });
        }
        tracing::info!(body, "dead");
        Ok(())
    }

    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Received>, QueueError> {
        Ok(Vec::new())
    }

    async fn acknowledge(&self, _: Vec<Receipt>) -> Result<(), QueueError> {
        Ok(())
    }
}
