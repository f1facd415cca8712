//! Pollhook as the template deploys it: what every deployment does, and what only this one can get wrong.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use aws::{AwsPlatform, Places};
use aws_sdk_sqs::types::QueueAttributeName;
use deployment::{Client, Deployment, Sink, contact, until};
use platform::{Platform as _, Queue as _};
use pollhook_cloud_tests::cloud;
use pollhook_cloud_tests::stack::{self, Stack};
use reqwest::Method;
use serde_json::{Value, json};

/// Longer than from one tick of the schedule to the next, which comes up to ten seconds late.
const TICK: Duration = Duration::from_secs(120);

/// An account of the one deployment.
struct Account {
    stack: &'static Stack,
    client: Client,
}

async fn account() -> Account {
    let stack = stack::stack().await;
    Account { stack, client: stack.account(true).await }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.stack.write_down_calls();
    }
}

fn platform(stack: &Stack) -> AwsPlatform {
    let places = Places {
        table: stack.outputs["TableName"].clone(),
        batches_url: Some(stack.outputs["BatchesUrl"].clone()),
        polls_url: Some(stack.outputs["PollsUrl"].clone()),
        key: Some(stack.outputs["KeyArn"].clone()),
    };
    AwsPlatform::new(&cloud::connection(stack.aws()), places)
}

/// How many messages wait in a queue, or are worked on.
async fn held(stack: &Stack, queue: &str) -> u32 {
    // The poll of a signal is delayed.
    let kinds = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let request = cloud::sqs_at(stack.aws()).get_queue_attributes().queue_url(&stack.outputs[queue]);
    let answer = request.set_attribute_names(Some(kinds.to_vec())).send().await.unwrap();
    let attributes = answer.attributes.unwrap();
    kinds.iter().filter_map(|kind| attributes.get(kind)).map(|count| count.parse::<u32>().unwrap()).sum()
}

impl Deployment for Account {
    fn client(&self) -> &Client {
        &self.client
    }

    async fn waits_pass(&mut self) {
        let platform = platform(self.stack);
        deployment::waits_are_over(&platform).await;
        let began = Instant::now();
        while deployment::waits_due(&platform).await > 0 {
            assert!(began.elapsed() < TICK, "the schedule does not come");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn logged(&self, parts: &[&str]) -> Vec<String> {
        let logs = self.stack.logs().await;
        logs.into_iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
    }
}

deployment::deployment_scenarios!(account);

/// It is set aside with its reason in the log, and its neighbours are told.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_can_read_is_among_the_dead_letters() {
    let account = account().await;
    let stack = account.stack;
    let poison = platform::Outgoing { body: "poison".into(), delay: Duration::ZERO, group: "g".into() };
    platform(stack).batches().send(vec![poison]).await.unwrap();
    let sink = Sink::new().await;
    let portal = deployment::scenarios::fresh();
    account.client.hubspot(portal, &sink.url).await;
    assert_eq!(account.client.hubspot_sends(&contact(portal, [1])).await, Some(200));
    sink.takes(1).await;
    let dead = until("a dead letter", async || {
        let sqs = cloud::sqs_at(stack.aws());
        let received = sqs.receive_message().queue_url(&stack.outputs["BatchesDeadUrl"]).send().await.unwrap();
        received.messages.and_then(|messages| messages.into_iter().next())
    })
    .await;
    assert_eq!(dead.body.as_deref(), Some("poison"));
}

/// A rule sees each change by itself, whatever the callback does.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_an_instance_with_flows_is_an_entry_that_a_rule_can_match() {
    let account = account().await;
    let stack = account.stack;
    let sqs = cloud::sqs_at(stack.aws());
    let portal = deployment::scenarios::fresh().to_string();
    // Nobody listens there: flows do not wait for the callback.
    let settings = [
        ("event.vendor.account", portal.as_str()),
        ("event.notification.callback.url", "http://127.0.0.1:9/"),
        ("event.flow.enabled", "true"),
    ];
    let instance = account.client.provision("Acme", "hubspot", &settings).await;
    let queue = stack.flow_queue(instance.number()).await;

    let webhook = contact(portal.parse().unwrap(), [11, 12, 13]);
    assert_eq!(account.client.hubspot_sends(&webhook).await, Some(200));
    let objects = std::cell::RefCell::new(Vec::new());
    until("three entries", async || {
        let received = sqs.receive_message().queue_url(&queue).max_number_of_messages(10).send().await.unwrap();
        for message in received.messages.unwrap_or_default() {
            let entry: Value = serde_json::from_str(message.body.as_deref().unwrap()).unwrap();
            assert_eq!((&entry["source"], &entry["detail"]["type"]), (&json!("pollhook"), &json!("event")));
            objects.borrow_mut().push(entry["detail"]["event"]["objectId"].as_str().unwrap().to_owned());
            let delete = sqs.delete_message().queue_url(&queue).receipt_handle(message.receipt_handle.unwrap());
            delete.send().await.unwrap();
        }
        (objects.borrow().len() >= 3).then_some(())
    })
    .await;
    objects.borrow_mut().sort();
    assert_eq!(*objects.borrow(), ["11", "12", "13"]);
    let history = account.client.history(instance).await;
    assert_eq!(history.len(), 1);
}

/// A second pair, then the first is void.
#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_keys_are_replaced() {
    let stack = stack::stack().await;
    let admin = stack.admin();
    let call = async |method: Method, path: &str| {
        let (status, body) = admin.call(method, &format!("/elements/api-v2/accounts{path}"), None).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let first = call(Method::POST, "").await;
    let keys = format!("/{}/keys", first["accountId"]);
    let second = call(Method::POST, &keys).await;
    call(Method::DELETE, &format!("{keys}?before={}", second["keysSince"].as_str().unwrap())).await;
    let status = async |made: &Value| {
        let client = Client::new(&stack.url, made["authorization"].as_str().unwrap());
        client.get("/elements/api-v2/instances/count").await.0
    };
    assert_eq!((status(&first).await, status(&second).await), (401, 200));
    stack.write_down_calls();
}

/// What is done with is gone from the queues; nothing of the scenarios fails for a reason of our own.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_job_is_taken_from_its_queue() {
    let account = account().await;
    let stack = account.stack;
    let provider = format!("dbid:{}", deployment::scenarios::fresh());
    account
        .client
        .provision(
            "Acme",
            "dropbox",
            &[("event.vendor.account", provider.as_str()), ("event.notification.enabled", "true")],
        )
        .await;
    let body = json!({ "list_folder": { "accounts": [provider] }, "delta": { "users": [1] } }).to_string();
    assert_eq!(account.client.sends("dropbox", None, "", &body).await, Some(200));
    until("an empty queue", async || (held(stack, "PollsUrl").await == 0).then_some(())).await;
    assert_eq!(held(stack, "PollsDeadUrl").await, 0);
}
