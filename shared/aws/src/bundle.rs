//! The bundle of ports that a role is given.

use std::sync::Arc;

use platform::{Clock, OsRandom, Platform, Random, SystemClock};

use crate::{Connection, DynamoTable, KmsVault, SqsQueue, sqs};

/// Where a deployment's things are. What a role has no business with may be absent: using it is then "not available".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// The table's name or ARN.
    pub table: String,
    /// The URL of the batches queue.
    pub batches_url: Option<String>,
    /// The URL of the poll jobs' queue.
    pub polls_url: Option<String>,
    /// The id, ARN or alias of the KMS key that wraps data keys.
    pub key: Option<String>,
}

/// The platform on AWS. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AwsPlatform {
    table: DynamoTable,
    batches: SqsQueue,
    polls: SqsQueue,
    vault: KmsVault,
    clock: SystemClock,
    random: OsRandom,
}

impl AwsPlatform {
    /// Sends nothing.
    #[must_use]
    pub fn new(connection: &Connection, places: Places) -> Self {
        let Places { table, batches_url, polls_url, key } = places;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let table = DynamoTable::new(connection, table, Arc::clone(&clock));
        let queues = sqs::client(connection);
        Self {
            batches: SqsQueue::of(queues.clone(), batches_url),
            polls: SqsQueue::of(queues, polls_url),
            vault: KmsVault::new(connection, key, table.clone(), clock),
            table,
            clock: SystemClock,
            random: OsRandom,
        }
    }
}

impl Platform for AwsPlatform {
    type Table = DynamoTable;
    type Queue = SqsQueue;
    type Vault = KmsVault;

    fn table(&self) -> &DynamoTable {
        &self.table
    }

    fn batches(&self) -> &SqsQueue {
        &self.batches
    }

    fn polls(&self) -> &SqsQueue {
        &self.polls
    }

    fn vault(&self) -> &KmsVault {
        &self.vault
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn random(&self) -> &dyn Random {
        &self.random
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::{Outgoing, Purpose, Queue, QueueError, Vault, VaultError};

    use super::*;
    use crate::{Keys, Options, connect};

    /// At an address where nobody is.
    fn without_anything() -> AwsPlatform {
        let keys = Some(Keys { id: "id".into(), secret: "secret".into(), token: None });
        let options =
            Options { endpoint: Some("http://127.0.0.1:1".into()), region: Some("eu-central-1".into()), keys };
        let places = Places { table: "table".into(), batches_url: None, polls_url: None, key: None };
        AwsPlatform::new(&connect(options), places)
    }

    #[tokio::test]
    async fn a_queue_that_a_role_does_not_have_is_not_available_to_it() {
        let platform = without_anything();
        let message = Outgoing { body: "body".into(), delay: Duration::ZERO, group: "group".into() };
        for queue in [platform.batches(), platform.polls()] {
            let told = queue.send(vec![message.clone(), message.clone()]).await.unwrap_err();
            assert_eq!(told.failed, [0, 1]);
            assert!(matches!(&told.error, QueueError::Unavailable(text) if text.contains("configured")), "{told:?}");
            assert!(matches!(queue.receive(1, Duration::ZERO).await, Err(QueueError::Unavailable(_))));
            let receipt = platform::Receipt("receipt".into());
            assert!(matches!(queue.acknowledge(vec![receipt]).await, Err(QueueError::Unavailable(_))));
        }
    }

    #[tokio::test]
    async fn a_place_where_nobody_is_makes_a_vault_unavailable() {
        let told = without_anything().vault().seal(Purpose::Api, "place", b"secret").await.unwrap_err();
        assert!(matches!(&told, VaultError::Unavailable(text) if text.contains("api")), "{told:?}");
    }
}
