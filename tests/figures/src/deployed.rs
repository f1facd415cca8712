//! What the functions find: a table, queues and a key in the emulator, an instance, and the first event of each function.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_kms::types::DataKeySpec;
use axum::Router;
use axum::routing::{get, post};
use cloud_tests::cloud;
use cloud_tests::emulator::{KEY, REGION};
use cloud_tests::function::Function;
use events::message::PollsJob;
use events::{InstanceId, Message, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::start::Case;

const PORTAL: u32 = 62515;
const SECRET: &str = "hubspot-app-secret";
const ADMIN: &str = "admin-key";
const BASE: &str = "/elements/api-v2";

pub(crate) struct Deployed {
    batches_url: String,
    polls_url: String,
    environment: Vec<(String, String)>,
    authorization: String,
    /// What the receiver sends for a webhook.
    batch: String,
    /// The id of the batch's one event.
    event_id: String,
    number: AtomicU32,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request as API Gateway hands it over.
fn request(method: &str, path: &str, headers: &Value, body: &str) -> String {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "domainName": "pollhook.example", "domainPrefix": "pollhook",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "x" },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
            "time": "27/Nov/2026:12:00:00 +0000", "timeEpoch": 1_795_780_800_000_u64,
        },
        "isBase64Encoded": false, "body": body,
    })
    .to_string()
}

/// HubSpot's webhook of one new contact, signed by its version 1.
fn webhook(object: u32) -> String {
    let body = json!([{
        "eventId": object, "subscriptionId": 25, "portalId": PORTAL, "appId": 1, "occurredAt": 1_795_780_799_000_u64,
        "subscriptionType": "contact.creation", "attemptNumber": 0, "objectId": object, "changeSource": "CRM",
    }])
    .to_string();
    let signature = hex(&Sha256::digest(format!("{SECRET}{body}")));
    let headers = json!({ "content-type": "application/json", "x-hubspot-signature": signature });
    request("POST", &format!("{BASE}/events/hubspot"), &headers, &body)
}

/// A batch of messages as Lambda hands it over.
pub(crate) fn records(bodies: &[String]) -> String {
    let record = |(number, body): (usize, &String)| {
        json!({
            "messageId": number.to_string(), "receiptHandle": "receipt", "body": body, "md5OfBody": "",
            "attributes": { "ApproximateReceiveCount": "1" }, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:q", "awsRegion": REGION,
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() }).to_string()
}

/// A callback that takes everything.
async fn callback() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(async || ()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A provider that has nothing new.
async fn provider() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/things", get(async || r#"{"data":[]}"#));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// One event, worked on by one process; what it answered.
async fn once(binary: &Path, environment: &[(String, String)], event: String) -> Value {
    answered(&Function::start(binary, environment).await, event).await
}

async fn answered(function: &Function, event: String) -> Value {
    let answer = function.answer(event).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

impl Deployed {
    /// Made with our own functions of `folder`, which find AWS at `aws`.
    pub(crate) async fn new(folder: &Path, aws: SocketAddr) -> Self {
        let endpoint = format!("http://{aws}");
        let (kms, key) = (cloud::kms().await, cloud::key_id().await);
        let wrapped = kms.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256).send().await.unwrap();
        let wrapped = hex(wrapped.ciphertext_blob.unwrap().as_ref());
        let callback = callback().await;
        let (batches, polls, dead) = (cloud::queue_url().await, cloud::queue_url().await, cloud::queue_url().await);
        let environment: Vec<(String, String)> = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("POLLHOOK_TABLE", cloud::table_name().await),
            ("POLLHOOK_BATCHES_URL", &batches),
            ("POLLHOOK_POLLS_URL", &polls),
            ("POLLHOOK_BATCHES_DEAD_URL", &dead),
            ("POLLHOOK_POLLS_DEAD_URL", &dead),
            ("POLLHOOK_KEY", key),
            ("POLLHOOK_BUS", "default"),
            ("POLLHOOK_PUBLIC_URL", "https://pollhook.example"),
            ("POLLHOOK_ALLOW_CALLBACKS_TO", "127.0.0.0/8"),
            ("POLLHOOK_ADMIN_KEY_SHA256", &hex(&Sha256::digest(ADMIN))),
            ("TWIN_WRAPPED", &wrapped),
            ("TWIN_CALLBACK", &callback),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();

        let api = folder.join("instances-api");
        let admin = json!({ "authorization": format!("Bearer {ADMIN}") });
        let account = once(&api, &environment, request("POST", &format!("{BASE}/accounts"), &admin, "")).await;
        let authorization = account["authorization"].as_str().unwrap().to_owned();
        let instance = json!({ "name": "Acme", "element": { "key": "hubspot" }, "configuration": {
            "event.vendor.account": PORTAL.to_string(), "webhook.secret": SECRET,
            "event.notification.callback.url": callback, "event.notification.signature.key": "MyKey",
        }});
        let headers = json!({ "authorization": authorization, "content-type": "application/json" });
        let provision = request("POST", &format!("{BASE}/instances"), &headers, &instance.to_string());
        once(&api, &environment, provision).await;
        once(&folder.join("webhook-receiver"), &environment, webhook(1)).await;
        let received = cloud::sqs().await.receive_message().queue_url(&batches).wait_time_seconds(10).send().await;
        let message = received.unwrap().messages.unwrap().remove(0);
        let delete = cloud::sqs().await.delete_message().queue_url(&batches);
        delete.receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
        let batch = message.body.unwrap();
        let message: Value = serde_json::from_str(&batch).unwrap();
        let event_id = message["m"]["batch"]["events"][0]["id"].as_str().unwrap().to_owned();
        Self {
            batches_url: batches,
            polls_url: polls,
            environment,
            authorization,
            batch,
            event_id,
            number: AtomicU32::new(2),
        }
    }

    /// A job of so many instances that are polled, whose provider has nothing new.
    pub(crate) async fn polls(&self, folder: &Path, count: usize) -> String {
        let api = Function::start(&folder.join("instances-api"), &self.environment).await;
        let things = json!({ "things": {
            "url": "/things?since=${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'}", "recordsField": "data", "idField": "id",
            "datesConfiguration": { "updatedDateField": "updated_at", "updatedDateFormat": "yyyy-MM-dd'T'HH:mm:ss'Z'" },
        }});
        let callback = self.environment.iter().find(|(name, _)| name == "TWIN_CALLBACK").map(|(_, url)| url.as_str());
        let instance = json!({ "name": "Acme", "element": { "key": "http" }, "configuration": {
            "base.url": provider().await, "api.key": "customer-key", "event.poller.configuration": things,
            "event.notification.callback.url": callback, "event.notification.signature.key": "MyKey",
        }});
        let headers = json!({ "authorization": self.authorization, "content-type": "application/json" });
        let provision = request("POST", &format!("{BASE}/instances"), &headers, &instance.to_string());
        let mut instances = Vec::with_capacity(count);
        for _ in 0..count {
            let made = answered(&api, provision.clone()).await;
            let id = made["id"].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap();
            instances.push(InstanceId::try_from(id).unwrap());
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let at = Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap());
        records(&[Message::Polls(PollsJob { instances, at, failed: 0 }).encode()])
    }

    /// Takes everything out of the poll jobs' queue that is due.
    pub(crate) async fn drain_polls(&self) -> Vec<String> {
        let (sqs, mut bodies) = (cloud::sqs().await, Vec::new());
        loop {
            let request = sqs.receive_message().queue_url(&self.polls_url).max_number_of_messages(10);
            let received = request.send().await.unwrap().messages.unwrap_or_default();
            if received.is_empty() {
                return bodies;
            }
            for message in received {
                let delete = sqs.delete_message().queue_url(&self.polls_url);
                delete.receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
                bodies.extend(message.body);
            }
        }
    }

    pub(crate) fn batches_url(&self) -> &str {
        &self.batches_url
    }

    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// An event that none before it is equal to, where that matters.
    pub(crate) fn event(&self, role: &str) -> String {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        match role {
            "webhook-receiver" => webhook(number),
            "instances-api" => {
                let headers = json!({ "authorization": self.authorization });
                request("GET", &format!("{BASE}/instances"), &headers, "")
            }
            "dispatcher" => records(&[self.batch.replace(&self.event_id, &format!("{number:020}"))]),
            _ => json!({ "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}" }).to_string(),
        }
    }

    pub(crate) fn hello(&self) -> Case {
        Case { environment: Vec::new(), event: request("GET", "/", &json!({}), "") }
    }

    pub(crate) fn ours(&self, role: &str) -> Case {
        Case { environment: self.environment.clone(), event: self.event(role) }
    }

    pub(crate) fn twin(&self, role: &str) -> Case {
        let mut environment = self.environment.clone();
        environment.push(("TWIN".into(), role.into()));
        Case { environment, event: self.event(role) }
    }
}
