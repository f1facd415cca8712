//! A wire between something of ours and AWS that writes down every call: what was asked, and what was answered.
//!
//! It says what the policies must allow ([`Call::granted`]) and what AWS would bill ([`Call::units`]), so that both are
//! known from what really happens and not from what the code is believed to do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::trouble::{self, Act, Halves, TOO_LATE, Trouble};

/// One call and its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The access key that it was signed with: in the emulator, the function that called.
    pub caller: String,
    /// AWS's name of the operation, e.g. `GetItem`.
    pub operation: String,
    /// What was asked.
    pub request: Value,
    /// The answer's status.
    pub status: u16,
    /// What was answered.
    pub response: Value,
}

/// What a call is billed by.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Units {
    /// DynamoDB's read request units, in halves.
    pub half_reads: u64,
    /// DynamoDB's write request units.
    pub writes: u64,
    /// Requests of SQS, each 64 KB being one.
    pub queue: u64,
    /// Of these, requests with message groups, which cost more.
    pub fair: u64,
    /// Requests of KMS.
    pub key: u64,
    /// Events of EventBridge, each 64 KB being one.
    pub events: u64,
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.half_reads += other.half_reads;
        self.writes += other.writes;
        self.queue += other.queue;
        self.fair += other.fair;
        self.key += other.key;
        self.events += other.events;
    }
}

/// A wire. It ends when it is dropped.
#[derive(Debug)]
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    trouble: Arc<Mutex<Option<Arc<Trouble>>>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Ends {
    upstream: SocketAddr,
    http: reqwest::Client,
    calls: Arc<Mutex<Vec<Call>>>,
    trouble: Arc<Mutex<Option<Arc<Trouble>>>>,
}

impl Wire {
    /// A wire to `upstream`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let calls = Arc::new(Mutex::default());
        egress::crypto::provide();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let trouble = Arc::new(Mutex::default());
        let ends = Ends { upstream, http, calls: Arc::clone(&calls), trouble: Arc::clone(&trouble) };
        let router = Router::new().fallback(pass).with_state(ends);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, calls, trouble, server }
    }

    /// From now on calls have this trouble, or none.
    pub fn set_trouble(&self, trouble: Option<Arc<Trouble>>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The calls since the last time they were taken, in the order of their answers.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass(State(ends): State<Ends>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request { method, uri, headers, body };
    let trouble = ends.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match trouble.and_then(|trouble| trouble.next(request.operation())) {
        None => ends.forward(request).await,
        Some(Act::Throttled) => made(trouble::throttled(request.header("x-amz-target"))),
        Some(Act::Failed) => made(trouble::failed()),
        Some(Act::Cut) => cut(),
        Some(Act::Lost) => {
            ends.forward(request).await;
            cut()
        }
        Some(Act::Late) => {
            let answer = ends.forward(request).await;
            tokio::time::sleep(TOO_LATE).await;
            answer
        }
        Some(Act::Part) => ends.forward_part(request).await,
    }
}

/// An answer of our own.
fn made((status, body): (u16, Value)) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    (status, [("content-type", "application/x-amz-json-1.0")], body.to_string()).into_response()
}

/// A connection that dies in the middle of the answer.
fn cut() -> Response {
    let dies = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("cut"))]);
    Response::new(Body::from_stream(dies))
}

struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn operation(&self) -> &str {
        self.header("x-amz-target").rsplit('.').next().unwrap_or_default()
    }

    fn caller(&self) -> &str {
        let credential = self.header("authorization").split_once("Credential=");
        credential.and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
    }
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

impl Ends {
    async fn forward(&self, request: Request) -> Response {
        let (operation, caller) = (request.operation().to_owned(), request.caller().to_owned());
        let Request { method, uri, headers, body } = request;
        let url = format!("http://{}{uri}", self.upstream);
        let sent = self.http.request(method, url).headers(headers).body(body.clone()).send().await;
        let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Ok(bytes) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
        let call = Call { caller, operation, request: read(&body), status: status.as_u16(), response: read(&bytes) };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        let mut response = Response::builder().status(status).body(Body::from(bytes)).unwrap_or_default();
        for (name, value) in headers.iter().filter(|(name, _)| *name != "transfer-encoding" && *name != "connection") {
            response.headers_mut().append(name.clone(), value.clone());
        }
        response
    }

    /// Half of a batch.
    async fn forward_part(&self, mut request: Request) -> Response {
        let halves = Halves::of(request.operation(), &read(&request.body));
        let Some(halves) = halves else { return self.forward(request).await };
        let Some(done) = &halves.done else { return made((200, halves.answer(Value::Null))) };
        request.body = done.to_string().into();
        request.headers.remove("content-length");
        let answer = self.forward(request).await;
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
        made((200, halves.answer(read(&body))))
    }
}

/// An item's size as DynamoDB counts it: names and values in UTF-8, binary as such
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
fn item_bytes(item: &Value) -> u64 {
    let Some(attributes) = item.as_object() else { return 0 };
    let value = |value: &Value| match value.as_object().and_then(|value| value.iter().next()) {
        Some((kind, Value::String(text))) if kind == "B" => text.trim_end_matches('=').len() * 3 / 4,
        Some((kind, Value::String(text))) if kind == "N" => text.len() / 2 + 1,
        Some((_, Value::String(text))) => text.len(),
        _ => 1,
    };
    attributes.iter().map(|(name, attribute)| (name.len() + value(attribute)) as u64).sum()
}

fn items(values: &Value) -> impl Iterator<Item = &Value> {
    values.as_array().into_iter().flatten()
}

/// Half units of a read of so many bytes.
fn half_reads(bytes: u64, strong: bool) -> u64 {
    bytes.div_ceil(4096).max(1) * if strong { 2 } else { 1 }
}

fn writes(bytes: u64) -> u64 {
    bytes.div_ceil(1024).max(1)
}

/// The first value of each table's entry in a batch.
fn of_tables(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_object().into_iter().flat_map(Map::values)
}

fn partition(key: &Value) -> Option<String> {
    key["pk"]["S"].as_str().map(str::to_owned)
}

/// The one action in a write of a batch or a transaction, and its key or item.
fn write(entry: &Value) -> Option<(&str, &Value)> {
    let (kind, body) = entry.as_object()?.iter().next()?;
    Some((kind, if body["Item"].is_object() { &body["Item"] } else { &body["Key"] }))
}

impl Call {
    /// What AWS bills it by. A call that failed before it began is counted too: throttled ones are free, errors are not.
    #[must_use]
    pub fn units(&self) -> Units {
        let (asked, answered) = (&self.request, &self.response);
        let mut units = Units::default();
        match self.operation.as_str() {
            "GetItem" => units.half_reads = half_reads(item_bytes(&answered["Item"]), asked["ConsistentRead"] == true),
            "Query" => {
                let bytes = items(&answered["Items"]).map(item_bytes).sum();
                units.half_reads = half_reads(bytes, asked["ConsistentRead"] == true);
            }
            "BatchGetItem" => {
                let found: Vec<&Value> = of_tables(&answered["Responses"]).flat_map(items).collect();
                for table in of_tables(&asked["RequestItems"]) {
                    let strong = table["ConsistentRead"] == true;
                    for key in items(&table["Keys"]) {
                        let of_key = |item: &&&Value| item["pk"] == key["pk"] && item["sk"] == key["sk"];
                        let bytes = found.iter().find(of_key).map_or(0, |item| item_bytes(item));
                        units.half_reads += half_reads(bytes, strong);
                    }
                }
            }
            "PutItem" => units.writes = writes(item_bytes(&asked["Item"])),
            "DeleteItem" => units.writes = writes(item_bytes(&answered["Attributes"])),
            "BatchWriteItem" => {
                let entries = of_tables(&asked["RequestItems"]).flat_map(items).filter_map(write);
                units.writes = entries.map(|(_, item)| writes(item_bytes(item))).sum();
            }
            "TransactWriteItems" => {
                let entries = items(&asked["TransactItems"]).filter_map(write);
                units.writes = entries.map(|(_, item)| 2 * writes(item_bytes(item))).sum();
            }
            "SendMessageBatch" => {
                let bodies = items(&asked["Entries"]).filter_map(|entry| entry["MessageBody"].as_str());
                units.queue = (bodies.map(str::len).sum::<usize>() as u64).div_ceil(64 * 1024).max(1);
                if items(&asked["Entries"]).any(|entry| entry["MessageGroupId"].is_string()) {
                    units.fair = units.queue;
                }
            }
            "SendMessage" | "ReceiveMessage" | "DeleteMessage" | "DeleteMessageBatch" => units.queue = 1,
            "PutEvents" => {
                let bytes = |entry: &Value| {
                    let texts = ["Source", "DetailType", "Detail"].into_iter().filter_map(|name| entry[name].as_str());
                    14 + texts.map(str::len).sum::<usize>()
                };
                let entries = items(&asked["Entries"]);
                units.events = entries.map(|entry| (bytes(entry) as u64).div_ceil(64 * 1024).max(1)).sum();
            }
            _ if self.is_of_key() => units.key = 1,
            other => unreachable!("a call that has no price here: {other}"),
        }
        units
    }

    fn is_of_key(&self) -> bool {
        matches!(self.operation.as_str(), "Decrypt" | "GenerateDataKey" | "Encrypt")
    }

    /// What the caller's policy must allow for it, as `tests/policies` reads it; `name` gives a queue's URL its logical id.
    #[must_use]
    pub fn granted(&self, name: impl Fn(&str) -> String) -> Vec<Value> {
        let asked = &self.request;
        let table = |operation: &str, keys: Vec<String>| {
            json!({ "action": format!("dynamodb:{operation}"), "resource": "Table",
                    "context": { "dynamodb:LeadingKeys": keys } })
        };
        let one = |key: &Value| partition(key).into_iter().collect::<Vec<_>>();
        match self.operation.as_str() {
            "GetItem" | "DeleteItem" => vec![table(&self.operation, one(&asked["Key"]))],
            "PutItem" => vec![table("PutItem", one(&asked["Item"]))],
            "Query" => {
                let key = asked["ExpressionAttributeValues"][":pk"]["S"].as_str().unwrap_or_default();
                vec![table("Query", vec![key.to_owned()])]
            }
            "BatchGetItem" => {
                let keys =
                    of_tables(&asked["RequestItems"]).flat_map(|table| items(&table["Keys"])).filter_map(partition);
                vec![table("BatchGetItem", keys.collect())]
            }
            "BatchWriteItem" => {
                let entries = of_tables(&asked["RequestItems"]).flat_map(items).filter_map(write);
                vec![table("BatchWriteItem", entries.filter_map(|(_, item)| partition(item)).collect())]
            }
            "TransactWriteItems" => {
                let entries = items(&asked["TransactItems"]).filter_map(write);
                let action = |kind: &str| match kind {
                    "Put" => "PutItem",
                    "Delete" => "DeleteItem",
                    "ConditionCheck" => "ConditionCheckItem",
                    other => unreachable!("a write of a kind that is not ours: {other}"),
                };
                entries.map(|(kind, item)| table(action(kind), one(item))).collect()
            }
            "SendMessageBatch" | "SendMessage" => {
                let queue = name(asked["QueueUrl"].as_str().unwrap_or_default());
                vec![json!({ "action": "sqs:SendMessage", "resource": queue, "context": {} })]
            }
            "PutEvents" => {
                let entries = items(&asked["Entries"]);
                let grant = |entry: &Value| {
                    json!({ "action": "events:PutEvents", "resource": "Bus",
                            "context": { "events:source": entry["Source"], "events:detail-type": entry["DetailType"] } })
                };
                entries.map(grant).collect()
            }
            operation => {
                let context = asked["EncryptionContext"].as_object().into_iter().flatten();
                let context: Map<String, Value> =
                    context.map(|(key, value)| (format!("kms:EncryptionContext:{key}"), value.clone())).collect();
                vec![json!({ "action": format!("kms:{operation}"), "resource": "Key", "context": context })]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: &str, request: Value, response: Value) -> Call {
        Call { caller: "A".into(), operation: operation.into(), request, status: 200, response }
    }

    fn item(bytes: usize) -> Value {
        json!({ "pk": { "S": "A" }, "sk": { "S": "1" }, "b": { "S": "x".repeat(bytes) } })
    }

    #[test]
    fn reads_are_billed_by_4_kb_and_strong_ones_twice() {
        let read = |strong: bool, bytes| {
            call("GetItem", json!({ "ConsistentRead": strong }), json!({ "Item": item(bytes) })).units().half_reads
        };
        assert_eq!((read(true, 10), read(false, 10), read(true, 5000)), (2, 1, 4));
        let none = call("GetItem", json!({ "ConsistentRead": true }), json!({})).units();
        assert_eq!(none.half_reads, 2, "what is not there costs, too");
        let keys = json!([{ "pk": { "S": "A" }, "sk": { "S": "1" } }, { "pk": { "S": "B" }, "sk": { "S": "1" } }]);
        let asked = json!({ "RequestItems": { "t": { "ConsistentRead": true, "Keys": keys } } });
        let many = call("BatchGetItem", asked, json!({ "Responses": { "t": [item(5000)] } }));
        assert_eq!(many.units().half_reads, 4 + 2);
        assert_eq!(many.granted(str::to_owned)[0]["context"]["dynamodb:LeadingKeys"], json!(["A", "B"]));
    }

    #[test]
    fn writes_are_billed_by_the_kilobyte_and_in_transactions_twice() {
        assert_eq!(call("PutItem", json!({ "Item": item(900) }), json!({})).units().writes, 1);
        assert_eq!(call("PutItem", json!({ "Item": item(1100) }), json!({})).units().writes, 2);
        let items = json!([{ "Put": { "Item": item(900) } }, { "Delete": { "Key": item(0) } }]);
        let transaction = call("TransactWriteItems", json!({ "TransactItems": items }), json!({}));
        assert_eq!(transaction.units().writes, 4);
        let actions: Vec<Value> =
            transaction.granted(str::to_owned).into_iter().map(|grant| grant["action"].clone()).collect();
        assert_eq!(actions, ["dynamodb:PutItem", "dynamodb:DeleteItem"]);
    }

    #[test]
    fn messages_and_events_are_billed_by_64_kb() {
        let entry = |bytes: usize| json!({ "MessageBody": "x".repeat(bytes), "MessageGroupId": "g" });
        let send = |entries: Value| call("SendMessageBatch", json!({ "QueueUrl": "u", "Entries": entries }), json!({}));
        let small = send(json!([entry(10), entry(10)]));
        assert_eq!((small.units().queue, small.units().fair), (1, 1));
        assert_eq!(send(json!([entry(40_000), entry(40_000)])).units().queue, 2);
        assert_eq!(small.granted(|url| format!("of {url}"))[0]["resource"], "of u");
        let events = json!({ "Entries": [{ "Source": "s", "DetailType": "d", "Detail": "{}" }, { "Detail": "x".repeat(70_000) }] });
        assert_eq!(call("PutEvents", events, json!({})).units().events, 3);
    }
}
