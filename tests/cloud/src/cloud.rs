//! Tables, queues, buses, keys and connections in the emulator.
//!
//! What a deployment's template would make is made here through the API, by a client of our own: the platform's has no
//! operations for it, and goes through a [`Network`](crate::network::Network) where a test says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws::{
    Connection, DynamoTable, EventBus, Keys, KmsVault, Options, PARTITION_ATTRIBUTE, SORT_ATTRIBUTE, SqsQueue,
    TTL_ATTRIBUTE,
};
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;
use platform::{Clock, OsRandom, Random, SystemClock};
use tokio::sync::OnceCell;

use crate::emulator::{self, KEY, REGION};
use crate::target::Target;

/// Short, so that scenarios about it are.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the emulator listens; starts it if need be.
///
/// # Panics
/// When it cannot be installed or started.
pub async fn address() -> SocketAddr {
    tokio::task::spawn_blocking(|| emulator::emulator().address).await.expect("an emulator")
}

/// The platform's connection to `address`.
#[must_use]
pub fn connection(address: SocketAddr) -> Connection {
    let keys = Keys { id: KEY.into(), secret: KEY.into(), token: None };
    let endpoint = Some(format!("http://{address}"));
    aws::connect(Options { endpoint, region: Some(REGION.into()), keys: Some(keys) })
}

/// A client of our own for a service.
macro_rules! client {
    ($sdk:ident, $address:expr) => {{
        let config = $sdk::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(format!("http://{}", $address))
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(KEY, KEY, None, None, "tests"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        $sdk::Client::from_conf(config)
    }};
}

/// A client of our own for DynamoDB.
pub async fn dynamodb() -> aws_sdk_dynamodb::Client {
    client!(aws_sdk_dynamodb, address().await)
}

/// A client of our own for SQS.
pub async fn sqs() -> aws_sdk_sqs::Client {
    client!(aws_sdk_sqs, address().await)
}

/// A client of our own for EventBridge.
pub async fn eventbridge() -> aws_sdk_eventbridge::Client {
    client!(aws_sdk_eventbridge, address().await)
}

/// A client of our own for KMS.
pub async fn kms() -> aws_sdk_kms::Client {
    client!(aws_sdk_kms, address().await)
}

/// A client of our own for SQS at `address`.
#[must_use]
pub fn sqs_at(address: SocketAddr) -> aws_sdk_sqs::Client {
    client!(aws_sdk_sqs, address)
}

/// A client of our own for EventBridge at `address`.
#[must_use]
pub fn eventbridge_at(address: SocketAddr) -> aws_sdk_eventbridge::Client {
    client!(aws_sdk_eventbridge, address)
}

fn unique(kind: &str) -> String {
    format!("pollhook-{kind}-{:016x}", OsRandom.bits())
}

/// The name of this process's table, made at the first call. Scenarios keep to partitions of their own.
///
/// # Panics
/// When the emulator refuses to make it.
pub async fn table_name() -> &'static str {
    static NAME: OnceCell<String> = OnceCell::const_new();
    NAME.get_or_init(new_table).await
}

/// The name of a new table.
///
/// # Panics
/// When the emulator refuses to make it.
pub async fn new_table() -> String {
    let (client, name) = (dynamodb().await, unique("table"));
    let mut request = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, key) in [(PARTITION_ATTRIBUTE, KeyType::Hash), (SORT_ATTRIBUTE, KeyType::Range)] {
        let definition = AttributeDefinition::builder().attribute_name(attribute);
        let definition = definition.attribute_type(ScalarAttributeType::S).build().expect("a definition");
        let element = KeySchemaElement::builder().attribute_name(attribute).key_type(key).build().expect("a key");
        request = request.attribute_definitions(definition).key_schema(element);
    }
    request.send().await.expect("a new table");
    loop {
        let answer = client.describe_table().table_name(&name).send().await.expect("the table's description");
        if answer.table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL_ATTRIBUTE).build();
    let ttl = ttl.expect("a specification");
    client.update_time_to_live().table_name(&name).time_to_live_specification(ttl).send().await.expect("a TTL");
    name
}

/// The table, through `address`.
pub async fn table(address: SocketAddr) -> DynamoTable {
    table_at(address, Arc::new(SystemClock)).await
}

/// The table, through `address`, in whose view it is now what `clock` says.
pub async fn table_at(address: SocketAddr, clock: Arc<dyn Clock>) -> DynamoTable {
    DynamoTable::new(&connection(address), table_name().await, clock)
}

/// The URL of a new queue.
///
/// # Panics
/// When the emulator refuses to make it.
pub async fn queue_url() -> String {
    let seconds = VISIBILITY_TIMEOUT.as_secs().to_string();
    let request = sqs().await.create_queue().queue_name(unique("queue"));
    let request = request.attributes(QueueAttributeName::VisibilityTimeout, seconds);
    request.send().await.expect("a new queue").queue_url.expect("a new queue's URL")
}

/// The queue at `url`, through `address`.
pub async fn queue(address: SocketAddr, url: &str) -> SqsQueue {
    SqsQueue::new(&connection(address), url)
}

/// The id of this process's KMS key, made at the first call.
///
/// # Panics
/// When the emulator refuses to make it.
pub async fn key_id() -> &'static str {
    static ID: OnceCell<String> = OnceCell::const_new();
    let make = || async {
        let answer = kms().await.create_key().send().await.expect("a new key");
        answer.key_metadata.expect("a new key's description").key_id
    };
    ID.get_or_init(make).await
}

/// A vault whose data keys are in `table`, through `address`; in its view it is now what `clock` says.
pub async fn vault(address: SocketAddr, table: &str, clock: Arc<dyn Clock>) -> KmsVault {
    let connection = connection(address);
    let table = DynamoTable::new(&connection, table, Arc::new(SystemClock));
    KmsVault::new(&connection, Some(key_id().await.to_owned()), table, clock)
}

/// The name of a new event bus, and who sees all that it hands over.
///
/// # Panics
/// When the emulator refuses to make them.
pub async fn bus() -> (String, Target) {
    let (client, name, queue_url) = (eventbridge().await, unique("bus"), queue_url().await);
    client.create_event_bus().name(&name).send().await.expect("a new bus");
    let rule = client.put_rule().name("all").event_bus_name(&name).event_pattern(r#"{"source":[{"prefix":""}]}"#);
    rule.send().await.expect("a new rule");
    let attributes = sqs().await.get_queue_attributes().queue_url(&queue_url);
    let attributes = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.expect("attributes");
    let arn = &attributes.attributes.expect("attributes")[&QueueAttributeName::QueueArn];
    let target = aws_sdk_eventbridge::types::Target::builder().id("queue").arn(arn).build().expect("a target");
    let targets = client.put_targets().rule("all").event_bus_name(&name).targets(target);
    let answer = targets.send().await.expect("a rule's target");
    assert_eq!(answer.failed_entry_count, 0, "{answer:?}");
    (name, Target::new(sqs().await, queue_url))
}

/// The bus `name`, through `address`.
#[must_use]
pub fn event_bus(address: SocketAddr, name: &str) -> EventBus {
    EventBus::new(&connection(address), name)
}
