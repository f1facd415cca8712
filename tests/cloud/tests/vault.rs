//! The vault on KMS: what every vault promises, and what only this one can get wrong.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use aws::KmsVault;
use aws_sdk_kms::primitives::Blob;
use events::Timestamp;
use platform::conformance::VaultUnderTest;
use platform::testing::ManualClock;
use platform::{Consistency, Item, Key, Purpose, Query, SystemClock, Table, Vault, VaultError, Version, Write};
use pollhook_cloud_tests::cloud;
use pollhook_cloud_tests::network::{Fault, Network};
use tokio::task::JoinSet;

async fn vault() -> VaultUnderTest<KmsVault> {
    let vault = cloud::vault(cloud::address().await, cloud::table_name().await, Arc::new(SystemClock)).await;
    VaultUnderTest { vault: Arc::new(vault), keep: Box::new(()) }
}

mod conformance {
    platform::vault_conformance!(super::vault);
}

/// As many attempts as one request makes.
const ATTEMPTS: usize = 3;
const PLACE: &str = "WEBHOOK#1/WEBHOOK";
const SECRET: &[u8] = b"correct horse battery staple";
const DAYS_90: Duration = Duration::from_secs(90 * 24 * 3600);

/// A table of its own, so that its data keys are the scenario's alone.
struct Given {
    table: String,
    network: Network,
    clock: ManualClock,
}

impl Given {
    async fn new() -> Self {
        let network = Network::to(cloud::address().await).await;
        let clock = ManualClock::new(Timestamp::from_seconds(1_700_000_000));
        Self { table: cloud::new_table().await, network, clock }
    }

    /// The vault of a new process.
    async fn process(&self) -> KmsVault {
        cloud::vault(self.network.address, &self.table, Arc::new(self.clock.clone())).await
    }

    /// The requests so far of one operation, such as `TrentService.Decrypt`.
    fn requests(&self, operation: &str) -> usize {
        self.network.requests().iter().filter(|request| request.contains(operation)).count()
    }

    fn table(&self, address: std::net::SocketAddr) -> aws::DynamoTable {
        aws::DynamoTable::new(&cloud::connection(address), self.table.as_str(), Arc::new(SystemClock))
    }

    /// The data keys of a purpose, in order.
    async fn data_keys(&self, purpose: Purpose) -> Vec<Item> {
        let partition = format!("VAULT#{}", purpose.name());
        let table = self.table(cloud::address().await);
        table.query(&Query::partition(partition, 100)).await.unwrap().items
    }
}

async fn seal(vault: &KmsVault, purpose: Purpose) -> Vec<u8> {
    vault.seal(purpose, PLACE, SECRET).await.unwrap()
}

async fn assert_opens(vault: &KmsVault, purpose: Purpose, sealed: &[u8]) {
    assert_eq!(vault.open(purpose, PLACE, sealed).await.as_deref(), Ok(SECRET));
}

/// Which data key sealed it.
fn number(sealed: &[u8]) -> u32 {
    u32::from_be_bytes(sealed[1..5].try_into().unwrap())
}

fn kms_error(code: &str) -> Fault {
    Fault::Answer(400, format!(r#"{{"__type":"{code}","message":"made up"}}"#))
}

/// Grants and reviews rely on it.
#[tokio::test]
async fn a_data_key_is_stored_wrapped_and_bound_to_its_purpose() {
    let given = Given::new().await;
    let sealed = seal(&given.process().await, Purpose::Webhook).await;
    let items = given.data_keys(Purpose::Webhook).await;
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].key.clone(), items[0].expires_at_s), (Key::new("VAULT#webhook", "0000000001"), None));
    assert_eq!((sealed[0], number(&sealed)), (1, 1));
    let wrapped = Blob::new(items[0].body[9..].to_vec());
    let decrypt = || async { cloud::kms().await.decrypt().ciphertext_blob(wrapped.clone()) };
    let context = |purpose: Purpose| ("pollhook:purpose", purpose.name());
    let (name, purpose) = context(Purpose::Webhook);
    let plain = decrypt().await.encryption_context(name, purpose).send().await.unwrap().plaintext.unwrap();
    assert_eq!(plain.as_ref().len(), 32);
    assert!(!items[0].body.windows(8).any(|part| plain.as_ref().windows(8).any(|key| key == part)));
    let (name, purpose) = context(Purpose::Callback);
    assert!(decrypt().await.encryption_context(name, purpose).send().await.is_err(), "another purpose");
    assert!(decrypt().await.send().await.is_err(), "no purpose");
}

#[tokio::test]
async fn kms_is_asked_once_for_each_data_key_however_many_ask_at_once() {
    let given = Given::new().await;
    let sealer = given.process().await;
    let mut seals = JoinSet::new();
    for _ in 0..50 {
        let sealer = sealer.clone();
        seals.spawn(async move { seal(&sealer, Purpose::Webhook).await });
    }
    let sealed = seals.join_all().await;
    assert_eq!((given.requests("TrentService.GenerateDataKey"), given.requests("TrentService.Decrypt")), (1, 0));
    let opener = given.process().await;
    let mut opens = JoinSet::new();
    for sealed in sealed {
        let opener = opener.clone();
        opens.spawn(async move { assert_opens(&opener, Purpose::Webhook, &sealed).await });
    }
    opens.join_all().await;
    assert_eq!((given.requests("TrentService.GenerateDataKey"), given.requests("TrentService.Decrypt")), (1, 1));
    let before = given.network.requests().len();
    let sealed = seal(&sealer, Purpose::Webhook).await;
    assert_opens(&opener, Purpose::Webhook, &sealed).await;
    assert_eq!(given.network.requests().len(), before, "with the data keys at hand nobody is asked");
    seal(&sealer, Purpose::Api).await;
    assert_eq!(given.requests("TrentService.GenerateDataKey"), 2, "another purpose has data keys of its own");
}

/// All of them see that there is none.
#[tokio::test]
async fn processes_that_make_a_data_key_at_once_agree_on_one() {
    let given = Given::new().await;
    let mut processes = Vec::new();
    for _ in 0..8 {
        processes.push(given.process().await);
    }
    let mut seals = JoinSet::new();
    for process in processes.clone() {
        seals.spawn(async move { seal(&process, Purpose::Callback).await });
    }
    let sealed = seals.join_all().await;
    assert!(given.requests("TrentService.GenerateDataKey") > 1, "nothing raced");
    assert_eq!(given.data_keys(Purpose::Callback).await.len(), 1);
    for process in processes {
        for sealed in &sealed {
            assert_opens(&process, Purpose::Callback, sealed).await;
        }
    }
}

#[tokio::test]
async fn what_one_process_sealed_the_next_opens_and_goes_on_with() {
    let given = Given::new().await;
    let sealed = seal(&given.process().await, Purpose::Api).await;
    let next = given.process().await;
    assert_opens(&next, Purpose::Api, &sealed).await;
    assert_eq!(number(&seal(&next, Purpose::Api).await), 1);
    assert_eq!(given.data_keys(Purpose::Api).await.len(), 1);
    assert_eq!(given.requests("TrentService.GenerateDataKey"), 1);
}

#[tokio::test]
async fn after_90_days_another_data_key_seals_and_the_old_one_opens() {
    let given = Given::new().await;
    let process = given.process().await;
    let old = seal(&process, Purpose::Webhook).await;
    given.clock.advance(DAYS_90 - Duration::from_secs(1));
    assert_eq!(number(&seal(&process, Purpose::Webhook).await), 1);
    given.clock.advance(Duration::from_secs(1));
    let new = seal(&process, Purpose::Webhook).await;
    assert_eq!(number(&new), 2);
    for process in [process, given.process().await] {
        assert_opens(&process, Purpose::Webhook, &old).await;
        assert_opens(&process, Purpose::Webhook, &new).await;
        assert_eq!(number(&seal(&process, Purpose::Webhook).await), 2);
    }
    assert_eq!(given.data_keys(Purpose::Webhook).await.len(), 2);
}

/// A secret that cannot be stored is worse than a data key a day too old.
#[tokio::test]
async fn where_no_new_data_key_can_be_made_the_old_one_seals_on() {
    let given = Given::new().await;
    let process = given.process().await;
    seal(&process, Purpose::Webhook).await;
    given.clock.advance(DAYS_90);
    let process = given.process().await;
    // After the query for the newest.
    given.network.fault_at(given.network.requests().len() + 1, kms_error("AccessDeniedException"));
    let sealed = seal(&process, Purpose::Webhook).await;
    assert_eq!(number(&sealed), 1);
    let before = given.network.requests().len();
    assert_eq!(number(&seal(&process, Purpose::Webhook).await), 1);
    assert_eq!(given.network.requests().len(), before, "nor is it tried at every seal");
    given.clock.advance(Duration::from_secs(60));
    assert_eq!(number(&seal(&process, Purpose::Webhook).await), 2);
}

#[tokio::test]
async fn a_data_key_moved_to_another_purpose_opens_nothing() {
    let given = Given::new().await;
    let process = given.process().await;
    let sealed = seal(&process, Purpose::Webhook).await;
    let item = given.data_keys(Purpose::Webhook).await.remove(0);
    let moved = Write::put(Key::new("VAULT#api", item.key.sort), Version(1), item.body);
    given.table(cloud::address().await).write(moved).await.unwrap();
    let opened = process.open(Purpose::Api, PLACE, &sealed).await;
    assert_eq!(opened, Err(VaultError::Refused("api")));
    let sealed = process.seal(Purpose::Api, PLACE, SECRET).await;
    assert!(matches!(&sealed, Err(VaultError::Unavailable(text)) if text.contains("api")), "{sealed:?}");
}

/// It may be a seal of a deleted table, restored from an old copy.
#[tokio::test]
async fn a_data_key_that_is_not_there_opens_nothing() {
    let given = Given::new().await;
    let process = given.process().await;
    let mut sealed = seal(&process, Purpose::Webhook).await;
    sealed[4] = 9;
    assert_eq!(process.open(Purpose::Webhook, PLACE, &sealed).await, Err(VaultError::Refused("webhook")));
    assert_eq!(given.requests("TrentService.Decrypt"), 0);
}

/// Each request in turn loses its answer: the query, KMS's, the write, the get.
#[tokio::test]
async fn a_lost_answer_loses_no_secret() {
    for lost in 0..3 {
        let given = Given::new().await;
        given.network.fault_at(lost, Fault::LoseAnswer);
        let sealed = seal(&given.process().await, Purpose::Webhook).await;
        assert_eq!(given.network.requests().len(), 4, "one of the three was repeated");
        assert_eq!(given.data_keys(Purpose::Webhook).await.len(), 1);
        for lost in 0..2 {
            given.network.fault_at(given.network.requests().len() + lost, Fault::LoseAnswer);
            assert_opens(&given.process().await, Purpose::Webhook, &sealed).await;
        }
    }
}

/// All attempts of a write that happened.
#[tokio::test]
async fn a_data_key_whose_write_got_no_answer_at_all_is_the_one_that_seals() {
    let given = Given::new().await;
    (0..ATTEMPTS).for_each(|attempt| given.network.fault_at(2 + attempt, Fault::LoseAnswer));
    let sealed = seal(&given.process().await, Purpose::Webhook).await;
    assert_eq!(given.data_keys(Purpose::Webhook).await.len(), 1);
    assert_opens(&given.process().await, Purpose::Webhook, &sealed).await;
}

/// The operator reads which purpose and why; the sealed value is not blamed, and nothing is remembered.
#[tokio::test]
async fn a_role_without_a_grant_for_a_purpose_is_told_so() {
    let given = Given::new().await;
    let sealed = seal(&given.process().await, Purpose::Webhook).await;
    let process = given.process().await;
    let told = |answer: Result<Vec<u8>, VaultError>| match answer {
        Err(VaultError::Unavailable(text)) => text,
        answer => panic!("{answer:?}"),
    };
    for after in 0..2 {
        given.network.fault_at(given.network.requests().len() + after, kms_error("AccessDeniedException"));
        let text = told(process.open(Purpose::Webhook, PLACE, &sealed).await);
        assert!(text.contains("webhook") && text.contains("AccessDenied"), "{text}");
    }
    assert_opens(&process, Purpose::Webhook, &sealed).await;
    for after in 0..2 {
        given.network.fault_at(given.network.requests().len() + after, kms_error("AccessDeniedException"));
        let text = told(process.seal(Purpose::Api, PLACE, SECRET).await);
        assert!(text.contains("api") && text.contains("AccessDenied"), "{text}");
    }
    assert_eq!(given.data_keys(Purpose::Api).await, []);
}

#[tokio::test]
async fn what_kms_cannot_do_now_is_no_fault_of_the_sealed_value() {
    let given = Given::new().await;
    let sealed = seal(&given.process().await, Purpose::Webhook).await;
    for code in ["DisabledException", "NotFoundException", "KMSInvalidStateException", "ThrottlingException"] {
        let before = given.network.requests().len();
        (0..ATTEMPTS).for_each(|attempt| given.network.fault_at(before + 1 + attempt, kms_error(code)));
        let process = given.process().await;
        let opened = process.open(Purpose::Webhook, PLACE, &sealed).await;
        assert!(matches!(&opened, Err(VaultError::Unavailable(text)) if text.contains(code)), "{opened:?}");
        given.network.forget_faults();
        assert_opens(&process, Purpose::Webhook, &sealed).await;
    }
}

/// In a burst all are told, at the price of one.
#[tokio::test]
async fn a_burst_that_fails_asks_once_too() {
    let given = Given::new().await;
    let sealed = seal(&given.process().await, Purpose::Webhook).await;
    let (process, before) = (given.process().await, given.network.requests().len());
    given.network.fault_at(before + 1, kms_error("DisabledException"));
    let mut opens = JoinSet::new();
    for _ in 0..20 {
        let (process, sealed) = (process.clone(), sealed.clone());
        opens.spawn(async move { process.open(Purpose::Webhook, PLACE, &sealed).await.is_err() });
    }
    let failed = opens.join_all().await.into_iter().filter(|failed| *failed).count();
    assert!(failed > 0 && given.requests("TrentService.Decrypt") <= 2, "{failed} failed");
}

#[tokio::test]
async fn the_bundle_reaches_its_places() {
    let connection = cloud::connection(cloud::address().await);
    let (batches_url, polls_url) = (Some(cloud::queue_url().await), Some(cloud::queue_url().await));
    let (table, key) = (cloud::new_table().await, Some(cloud::key_id().await.to_owned()));
    let platform = aws::AwsPlatform::new(&connection, aws::Places { table, batches_url, polls_url, key });
    let sealed = platform::Platform::vault(&platform).seal(Purpose::Api, PLACE, SECRET).await.unwrap();
    let table = platform::Platform::table(&platform);
    let held = table.get(&Key::new("VAULT#api", "0000000001"), Consistency::Strong).await.unwrap();
    assert!(held.is_some(), "the data keys are in the bundle's table");
    assert_eq!(platform::Platform::vault(&platform).open(Purpose::Api, PLACE, &sealed).await.as_deref(), Ok(SECRET));
    let message = |body: &str| platform::Outgoing { body: body.into(), delay: Duration::ZERO, group: "g".into() };
    let (batches, polls) = (platform::Platform::batches(&platform), platform::Platform::polls(&platform));
    for (queue, body) in [(batches, "batch"), (polls, "poll")] {
        platform::Queue::send(queue, vec![message(body)]).await.unwrap();
        let received = platform::Queue::receive(queue, 10, Duration::from_secs(2)).await.unwrap();
        assert_eq!(received.into_iter().map(|message| message.body).collect::<Vec<_>>(), [body]);
    }
}
