//! The platform's conformance suite over the file.

use std::sync::Arc;
use std::time::Duration;

use events::Timestamp;
use platform::Platform as _;
use platform::conformance::{QueueUnderTest, QueuesUnderTest, TableUnderTest, VaultUnderTest};
use platform::testing::{ManualClock, SeededRandom};
use pollhook_embedded::{Embedded, KeyVault, Options, Store, StoreQueue};

const VISIBILITY: Duration = Duration::from_secs(60);

fn given() -> (Options, ManualClock, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory for the data");
    let clock = ManualClock::new(Timestamp::from_seconds(1_700_000_000));
    (Options::new(Arc::new(clock.clone()), Arc::new(SeededRandom::new(1)), VISIBILITY), clock, dir)
}

fn store() -> (Store, ManualClock, tempfile::TempDir) {
    let (options, clock, dir) = given();
    let store = Store::open(dir.path(), options).expect("a store");
    (store, clock, dir)
}

async fn table() -> TableUnderTest<Store, ManualClock> {
    let (store, time, dir) = store();
    TableUnderTest { table: Arc::new(store), time, keep: Box::new(dir) }
}

async fn queue() -> QueueUnderTest<StoreQueue, ManualClock> {
    let (store, time, dir) = store();
    let queue = store.queue("batches").expect("a queue");
    QueueUnderTest { queue: Arc::new(queue), time, visibility_timeout: VISIBILITY, keep: Box::new(dir) }
}

async fn queues() -> QueuesUnderTest<StoreQueue, ManualClock> {
    let (options, time, dir) = given();
    let platform = Embedded::open(dir.path(), options).expect("a platform");
    let (batches, polls) = (Arc::new(platform.batches().clone()), Arc::new(platform.polls().clone()));
    QueuesUnderTest { batches, polls, time, visibility_timeout: VISIBILITY, keep: Box::new(dir) }
}

async fn vault() -> VaultUnderTest<KeyVault> {
    let (store, _, dir) = store();
    VaultUnderTest { vault: Arc::new(store.vault().clone()), keep: Box::new(dir) }
}

mod table_conformance {
    platform::table_conformance!(super::table);
}

mod queue_conformance {
    platform::queue_conformance!(super::queue);
}

mod queues_conformance {
    platform::queues_conformance!(super::queues);
}

mod vault_conformance {
    platform::vault_conformance!(super::vault);
}
