//! Tables, queues and connections in the emulator.
//!
//! What a deployment's template would make is made here through the API, by a client of our own: the platform's has no
//! operations for it, and goes through a [`Network`](crate::network::Network) where a test says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws::{Connection, DynamoTable, Keys, Options, PARTITION_ATTRIBUTE, SORT_ATTRIBUTE, SqsQueue, TTL_ATTRIBUTE};
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;
use platform::{Clock, OsRandom, Random, SystemClock};
use tokio::sync::OnceCell;

use crate::emulator;

/// Short, so that scenarios about it are.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(2);
const REGION: &str = "eu-central-1";
/// The emulator asks for keys and takes any.
const KEY: &str = "emulated";

/// Where the emulator listens; starts it if need be.
///
/// # Panics
/// When it cannot be installed or started.
pub async fn address() -> SocketAddr {
    tokio::task::spawn_blocking(|| emulator::emulator().address).await.expect("an emulator")
}

/// The platform's connection to `address`.
pub async fn connection(address: SocketAddr) -> Connection {
    let keys = Keys { id: KEY.into(), secret: KEY.into() };
    let endpoint = Some(format!("http://{address}"));
    aws::connect(Options { endpoint, region: Some(REGION.into()), keys: Some(keys) }).await
}

/// A client of our own for DynamoDB.
pub async fn dynamodb() -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://{}", address().await))
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(KEY, KEY, None, None, "tests"))
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// A client of our own for SQS.
pub async fn sqs() -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://{}", address().await))
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(KEY, KEY, None, None, "tests"))
        .build();
    aws_sdk_sqs::Client::from_conf(config)
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
    NAME.get_or_init(make_table).await
}

async fn make_table() -> String {
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
    DynamoTable::new(&connection(address).await, table_name().await, clock)
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
    SqsQueue::new(&connection(address).await, url)
}
