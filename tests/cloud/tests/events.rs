//! The sample events, each handed to the function that it is for: what they are said to be is what comes of them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use aws_sdk_sqs::types::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use deployment::Sink;
use pollhook_cloud_tests::emulator::{KEY, REGION};
use pollhook_cloud_tests::function::Function;
use pollhook_cloud_tests::{cloud, stack};
use serde_json::{Value, json};

/// As the sample events' `README.md` has them.
const ADMIN_SHA256: &str = "13a76b24b3e8a1446fa162e3a29f5eb31d1c12224f40733c8a88397f71db23e5";
const KEYS: &str = "User c2FtcGxlIHVzZXIgc2VjcmV0, Organization 5a4d6c0e5a4d6c0e5a4d6c0e5a4d6c0e";
const INSTANCE: &str = "20931";
const CALLBACK: &str = "https://callback.example/pollhook";
const SECRET: &str = "sample webhook secret";

/// What the functions find, and what stands in for the made-up keys, instance and callback.
struct World {
    environment: Vec<(String, String)>,
    batches: String,
    polls: String,
    dead: String,
    functions: PathBuf,
    sink: Sink,
    replaced: BTreeMap<String, String>,
}

impl World {
    async fn new() -> Self {
        let (batches, polls, dead) = (cloud::queue_url().await, cloud::queue_url().await, cloud::queue_url().await);
        let endpoint = format!("http://{}", cloud::address().await);
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("POLLHOOK_TABLE", cloud::table_name().await),
            ("POLLHOOK_BATCHES_URL", &batches),
            ("POLLHOOK_POLLS_URL", &polls),
            ("POLLHOOK_BATCHES_DEAD_URL", &dead),
            ("POLLHOOK_POLLS_DEAD_URL", &dead),
            ("POLLHOOK_KEY", cloud::key_id().await),
            ("POLLHOOK_BUS", "default"),
            ("POLLHOOK_PUBLIC_URL", "https://pollhook.example"),
            ("POLLHOOK_ALLOW_CALLBACKS_TO", "127.0.0.0/8"),
            ("POLLHOOK_ADMIN_KEY_SHA256", ADMIN_SHA256),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let functions = tokio::task::spawn_blocking(stack::assemble).await.unwrap();
        let sink = Sink::new().await;
        let replaced = BTreeMap::from([(CALLBACK.to_owned(), sink.url.clone())]);
        Self { environment, batches, polls, dead, functions, sink, replaced }
    }

    async fn function(&self, name: &str) -> Function {
        Function::start(&self.functions.join(name).join("bootstrap"), &self.environment).await
    }

    /// A sample event, with the real keys and ids in the made-up ones' place.
    fn event(&self, name: &str) -> String {
        let mut text = std::fs::read_to_string(stack::root().join(format!("events/{name}.json"))).unwrap();
        for (sample, real) in &self.replaced {
            text = text.replace(sample, real);
        }
        text
    }

    /// Every message of a queue that is there now.
    /// What comes of a queue within so many seconds.
    async fn taken(&self, queue: &str, seconds: i32) -> Vec<String> {
        let request = cloud::sqs().await.receive_message().queue_url(queue).max_number_of_messages(10);
        let received = request.wait_time_seconds(seconds).send().await.unwrap().messages.unwrap_or_default();
        for message in &received {
            let receipt = message.receipt_handle.as_deref().unwrap();
            cloud::sqs().await.delete_message().queue_url(queue).receipt_handle(receipt).send().await.unwrap();
        }
        received.into_iter().filter_map(|Message { body, .. }| body).collect()
    }

    /// The instance that events name is another of the account's from now on.
    fn is_instance(&mut self, id: &str) {
        self.replaced.insert(STANDARD_NO_PAD.encode(INSTANCE), STANDARD_NO_PAD.encode(id));
        self.replaced.insert(format!("instance\\\":{INSTANCE}"), format!("instance\\\":{id}"));
        self.replaced.insert(format!("/instances/{INSTANCE}"), format!("/instances/{id}"));
    }
}

fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default()
}

fn status(answer: &Value) -> u64 {
    answer["statusCode"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_event_does_what_it_is_said_to_do() {
    let mut world = World::new().await;

    let api = world.function("InstancesApi").await;
    let made = api.answer(world.event("api-make-account")).await;
    assert_eq!(status(&made), 200, "{made}");
    let authorization = body(&made)["authorization"].as_str().unwrap().to_owned();
    world.replaced.insert(KEYS.to_owned(), authorization.clone());
    let provisioned = api.answer(world.event("api-provision")).await;
    assert_eq!(status(&provisioned), 200, "{provisioned}");
    let hubspot = body(&provisioned)["id"].to_string();
    let listed = api.answer(world.event("api-list")).await;
    assert_eq!(body(&listed)[0]["id"].to_string(), hubspot, "{listed}");
    let connectors = api.answer(world.event("api-connectors")).await;
    assert!(body(&connectors).as_array().unwrap().len() >= 14, "{connectors}");
    assert_eq!(status(&api.answer(world.event("api-unauthorized")).await), 401);
    world.is_instance(&hubspot);
    let history = api.answer(world.event("api-history")).await;
    assert_eq!((status(&history), body(&history)), (200, json!([])));

    // Instances for the other providers' events, made as the sample one is.
    let mut other = BTreeMap::new();
    for (key, account) in [
        ("quickbooks", "9130347798120106"),
        ("sfdc", "00D000000000001EAA"),
        ("dropbox", "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"),
        ("github", "acme"),
    ] {
        let mut event: Value = serde_json::from_str(&world.event("api-provision")).unwrap();
        let configuration = json!({
            "event.vendor.account": account, "webhook.secret": SECRET, "event.notification.callback.url": world.sink.url,
        });
        event["body"] =
            json!({ "name": "sample", "element": { "key": key }, "configuration": configuration }).to_string().into();
        let made = api.answer(event.to_string()).await;
        assert_eq!(status(&made), 200, "{key}: {made}");
        other.insert(key, body(&made)["id"].to_string());
    }

    assert_eq!(world.taken(&world.polls, 1).await.len(), 1, "who is polled at signals is polled at once");

    let receiver = world.function("WebhookReceiver").await;
    for (event, instance, expected, batches, polls) in [
        ("webhook-hubspot", &hubspot, 200, 1, 0),
        ("webhook-hubspot-forged", &hubspot, 401, 0, 0),
        ("webhook-quickbooks", &hubspot, 200, 1, 0),
        ("webhook-sfdc", &other["sfdc"], 200, 1, 0),
        ("webhook-dropbox", &hubspot, 200, 0, 1),
        ("webhook-dropbox-challenge", &hubspot, 200, 0, 0),
        ("webhook-github-form", &other["github"], 200, 1, 0),
        ("webhook-unknown-connector", &hubspot, 404, 0, 0),
    ] {
        world.is_instance(instance);
        let answer = receiver.answer(world.event(event)).await;
        assert_eq!(status(&answer), expected, "{event}: {answer}");
        // The poll of a signal begins some seconds after it.
        let wait = if polls > 0 { 10 } else { 1 };
        let sent = (world.taken(&world.batches, 1).await.len(), world.taken(&world.polls, wait).await.len());
        assert_eq!(sent, (batches, polls), "{event}: {:?}", receiver.lines().await);
        if event == "webhook-dropbox-challenge" {
            assert_eq!(answer["body"], "sample-challenge");
        }
    }

    world.is_instance(&hubspot);
    let dispatcher = world.function("Dispatcher").await;
    let done = json!({ "batchItemFailures": [] });
    assert_eq!(dispatcher.answer(world.event("batches")).await, done);
    assert_eq!(world.sink.takes(2).await.len(), 2);
    assert_eq!(dispatcher.answer(world.event("batches-poisoned")).await, done);
    assert_eq!(world.taken(&world.dead, 1).await, ["not a message of ours"]);
    assert_eq!(world.sink.received().len(), 2, "what was told is not told again");
    assert_eq!(dispatcher.answer(world.event("batches-newer")).await, done);
    let history = body(&api.answer(world.event("api-history")).await);
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");

    let poller = world.function("Poller").await;
    assert_eq!(poller.answer(world.event("polls")).await, done);
    assert_eq!(poller.answer(world.event("polls-poisoned")).await, done);
    assert_eq!(world.taken(&world.dead, 1).await, ["not a message of ours"]);
    poller.answer(world.event("tick")).await;
    let said = poller.lines().await;
    let of = |what: &str| said.iter().filter(|line| line.contains(what)).count();
    assert_eq!((of("\"ERROR\""), of("dead letters")), (1, 1), "{said:#?}");
}

/// No file without a test.
#[test]
fn every_sample_event_is_used() {
    let used = std::fs::read_to_string(stack::root().join("tests/cloud/tests/events.rs")).unwrap();
    for entry in std::fs::read_dir(stack::root().join("events")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(used.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
