//! The twin of one of our functions, named by `TWIN`: the same clients, made the usual way, and the same calls.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

/// Minutes that a sweep looks at, and partitions of each.
const SWEPT: usize = 11;
const SHARDS: usize = 4;

struct Clients {
    table: String,
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    /// What the function's role has no use for is not made.
    kms: Option<aws_sdk_kms::Client>,
    _bus: Option<aws_sdk_eventbridge::Client>,
    http: Option<reqwest::Client>,
}

fn setting(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

impl Clients {
    async fn get(&self, partition: &str) -> Result<(), Error> {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let request = self.dynamodb.get_item().table_name(&self.table).consistent_read(true);
        request.key("pk", key(partition)).key("sk", key("x")).send().await?;
        Ok(())
    }

    async fn get_many(&self, partitions: &[&str]) -> Result<(), Error> {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let keys = partitions.iter().map(|partition| {
            [("pk", *partition), ("sk", "x")].into_iter().map(|(name, text)| (name.to_owned(), key(text))).collect()
        });
        let keys = KeysAndAttributes::builder().set_keys(Some(keys.collect())).consistent_read(true).build()?;
        self.dynamodb.batch_get_item().request_items(&self.table, keys).send().await?;
        Ok(())
    }

    async fn query(&self, partition: &str) -> Result<(), Error> {
        let request = self.dynamodb.query().table_name(&self.table).consistent_read(true);
        let request = request.key_condition_expression("pk = :p");
        request.expression_attribute_values(":p", AttributeValue::S(partition.to_owned())).send().await?;
        Ok(())
    }

    async fn put(&self, partition: &str) -> Result<(), Error> {
        let request =
            self.dynamodb.put_item().table_name(&self.table).item("pk", AttributeValue::S(partition.to_owned()));
        let request = request.item("sk", AttributeValue::S("x".into()));
        request.item("b", AttributeValue::B(Blob::new(vec![7; 700]))).send().await?;
        Ok(())
    }

    async fn decrypt(&self) -> Result<(), Error> {
        // Hexadecimal, so that no library is needed that the twin would not have.
        let hex = setting("TWIN_WRAPPED")?;
        let bytes: Result<Vec<u8>, _> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16)).collect();
        self.kms
            .as_ref()
            .ok_or("no KMS")?
            .decrypt()
            .ciphertext_blob(aws_sdk_kms::primitives::Blob::new(bytes?))
            .send()
            .await?;
        Ok(())
    }

    async fn send(&self) -> Result<(), Error> {
        let entry = SendMessageBatchRequestEntry::builder().id("0").message_body("x".repeat(700));
        let entry = entry.message_group_id("group").build()?;
        self.sqs.send_message_batch().queue_url(setting("POLLHOOK_BATCHES_URL")?).entries(entry).send().await?;
        Ok(())
    }

    async fn webhook_receiver(&self) -> Result<Value, Error> {
        self.query("TWIN#route").await?;
        self.get_many(&["TWIN#view"]).await?;
        self.query("TWIN#key").await?;
        self.decrypt().await?;
        self.send().await?;
        Ok(answer())
    }

    async fn instances_api(&self) -> Result<Value, Error> {
        self.get_many(&["TWIN#user", "TWIN#organization"]).await?;
        self.get("TWIN#account").await?;
        self.query("TWIN#links").await?;
        self.get_many(&["TWIN#instance"]).await?;
        Ok(answer())
    }

    async fn dispatcher(&self) -> Result<Value, Error> {
        self.get("TWIN#view").await?;
        self.get("TWIN#record").await?;
        self.query("TWIN#key").await?;
        self.decrypt().await?;
        self.http
            .as_ref()
            .ok_or("no HTTP")?
            .post(setting("TWIN_CALLBACK")?)
            .body("x".repeat(900))
            .send()
            .await?
            .error_for_status()?;
        self.put("TWIN#record").await?;
        Ok(json!({ "batchItemFailures": [] }))
    }

    async fn poller(&self) -> Result<Value, Error> {
        self.get("TWIN#mark").await?;
        for minute in 0..SWEPT {
            for shard in 0..SHARDS {
                self.query(&format!("TWIN#{minute}#{shard}")).await?;
            }
        }
        self.put("TWIN#mark").await?;
        Ok(Value::Null)
    }

    async fn work(&self, role: &str) -> Result<Value, Error> {
        match role {
            "webhook-receiver" => self.webhook_receiver().await,
            "instances-api" => self.instances_api().await,
            "dispatcher" => self.dispatcher().await,
            "poller" => self.poller().await,
            other => Err(format!("TWIN: there is no function {other:?}").into()),
        }
    }
}

fn answer() -> Value {
    json!({ "statusCode": 200, "headers": { "content-type": "application/json" }, "body": "{}", "isBase64Encoded": false })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let role = setting("TWIN")?;
    let clients = &Clients {
        table: setting("POLLHOOK_TABLE")?,
        dynamodb: aws_sdk_dynamodb::Client::new(&config),
        sqs: aws_sdk_sqs::Client::new(&config),
        kms: (role != "poller").then(|| aws_sdk_kms::Client::new(&config)),
        _bus: (role == "dispatcher").then(|| aws_sdk_eventbridge::Client::new(&config)),
        http: ["dispatcher", "instances-api"].contains(&&*role).then(reqwest::Client::new),
    };
    run(service_fn(async |_: LambdaEvent<Value>| clients.work(&role).await)).await
}
