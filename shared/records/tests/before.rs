//! What the version before wrote, byte for byte: it is read, changed and deleted as if this version had written it.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{load, platform, set};
use events::configuration::{
    BASIC_PASSWORD, CALLBACK_HEADERS, CALLBACK_URL, INSTANCE_FINDER, SIGNATURE_KEY, VENDOR_ACCOUNT, WEBHOOK_SECRET,
};
use events::{AccountId, EventType, InstanceId};
use platform::testing::MemoryPlatform;
use platform::{Key, Platform as _, Table as _, Version, Write};
use pollhook_records::accounts::{self, Account, Keys};
use pollhook_records::instances::{self, WebhookView};
use secrecy::ExposeSecret as _;

const ACCOUNT: AccountId = AccountId(2_082_467_969);
const USER: &str = "VC+c33mjeuYrS4BF7Bw8cXEuPSXE+7RoPYlFjazio6c=";
const TOKEN: &str = "073/hNr8+82XXrvnFWlap8bwpoEiLG5hv2XZgRpqVSE=";

/// An account and its one instance: every item, as partition, sort and body.
const ITEMS: [(&str, &str, &str); 10] = [
    (
        "ACCOUNT#2082467969",
        "ACCOUNT",
        r#"{"v":1,"id":2082467969,"company":982949460,"user":678774508,"operator":false,"created_at":1790000000000}"#,
    ),
    ("ACCOUNT#2082467969", "INSTANCE#1501480293", r#"{"v":1}"#),
    (
        "CALLBACK#1501480293",
        "CALLBACK",
        r#"{"v":1,"instance":1501480293,"account":2082467969,"company":982949460,"user":678774508,"name":"old","tags":["t"],"url":"https://app.example/hook","strict":false,"group":"ebe81aac18aa9f4fe06a4be6","secrets":{"event.notification.signature.key":"vTkFVSxebJ3OiowsMKN6JqVHJtGXD+A="}}"#,
    ),
    (
        "INSTANCE#1501480293",
        "INSTANCE",
        r#"{"v":1,"id":1501480293,"account":2082467969,"company":982949460,"user":678774508,"name":"old","connector":"hubspot","hub":"crm","tags":["t"],"created_at":1790000000000,"updated_at":1790000000000,"disabled":false,"configuration":{"event.mapping.date":"at","event.notification.basic.username":"ann","event.notification.callback.headers":"X-Key: clear","event.notification.callback.url":"https://app.example/hook","event.objects":"Contacts, deals","event.vendor.account":" 62515 "}}"#,
    ),
    (
        "KEY#0b06eeb96b78e6d5d192c1dac56bf9d35ec466edbafd94ce94df8ca14dfec9f3",
        "KEY",
        r#"{"v":1,"account":2082467969,"kind":"element","instance":1501480293}"#,
    ),
    (
        "KEY#2a65d52cc6e75f69101914e13a8b2c7cef1be55efe450a983485131641530e20",
        "KEY",
        r#"{"v":1,"account":2082467969,"kind":"organization"}"#,
    ),
    (
        "KEY#507e6fba76b1b4ce97121bd7720435743cdc5e478a2a7489feeda0fec2cb340a",
        "KEY",
        r#"{"v":1,"account":2082467969,"kind":"user"}"#,
    ),
    ("ROUTE#hubspot#62515", "2082467969#1501480293", r#"{"v":1}"#),
    (
        "TOKEN#1501480293",
        "TOKEN",
        r##"{"v":1,"secrets":{"#token":"s7OPPDte5GErrGzlGFe2Ss/58i4tWm6S4EjcOMUYqCfb8dhQ+gQ9XqAjrpLyKnPHMW4FmUphgVFdU07m","event.notification.basic.password":"KUO2tNbovpTYVpDjWyWlMogsRldkGdI=","event.notification.signature.key":"xuS6PAngRAJqD1gXUi5L+LlYLTyWhzA=","webhook.secret":"ESCQZ/mAsasnttTq3NgekQ5aa6swefwUURKH"}}"##,
    ),
    (
        "WEBHOOK#1501480293",
        "WEBHOOK",
        r#"{"v":1,"instance":1501480293,"account":2082467969,"connector":"hubspot","disabled":false,"events_on":true,"unverified":false,"objects":["contacts","deals"],"provider_account":"62515","group":"ebe81aac18aa9f4fe06a4be6","mapping":{"event.mapping.date":"at"},"secrets":{"event.notification.signature.key":"HEyaiLPr6ua8bn8ekkz+mNEqx1CMPe8=","webhook.secret":"1RUU5vUNak9M9HJgDKandbGrxuGpn50C41SM"}}"#,
    ),
];

async fn before() -> (MemoryPlatform, Account, InstanceId) {
    let platform = platform(1);
    let write = |(number, (partition, sort, body)): (u64, (&str, &str, &'static str))| {
        Write::put(Key::new(partition, sort), Version(number), body)
    };
    platform.table().write_many((1..).zip(ITEMS).map(write).collect()).await.unwrap();
    let account = accounts::get(&platform, ACCOUNT).await.unwrap().unwrap();
    (platform, account, InstanceId::try_from(1_501_480_293).unwrap())
}

async fn webhook(platform: &MemoryPlatform, id: InstanceId) -> WebhookView {
    instances::webhook_views(platform, &[id]).await.unwrap().remove(0).unwrap()
}

#[tokio::test]
async fn what_the_version_before_wrote_is_read_by_each_role() {
    let (platform, account, id) = before().await;
    let stored = load(&platform, &account, id).await;
    let clear: BTreeMap<&str, &str> =
        stored.secrets.iter().map(|(key, secret)| (key.as_str(), secret.expose_secret())).collect();
    let secrets = [
        (SIGNATURE_KEY, "sign-me"),
        (WEBHOOK_SECRET, "hook-secret"),
        (BASIC_PASSWORD, "hunter2"),
        (CALLBACK_HEADERS, "X-Key: clear"),
    ];
    assert_eq!(clear, secrets.into());
    assert_eq!(stored.token.expose_secret(), TOKEN);
    let listed = instances::page(&platform, ACCOUNT, None, 10).await.unwrap().instances;
    assert_eq!(listed, [stored.instance]);
    assert_eq!(Some(&listed[0]), instances::get(&platform, ACCOUNT, id).await.unwrap().as_ref());
    assert_eq!(instances::routed(&platform, "hubspot", "62515").await.unwrap(), (vec![id], false));
    let keys = Keys { user: USER, organization: None, element: Some(TOKEN) };
    let holder = accounts::authenticate(&platform, keys).await.unwrap().unwrap();
    assert_eq!((holder.account, holder.instance), (account, Some(id)));

    let view = webhook(&platform, id).await;
    assert!(view.events_on && view.wants("contacts", EventType::Deleted) && !view.wants("notes", EventType::Created));
    assert_eq!((view.provider_account.as_deref(), view.finder.as_ref()), (Some("62515"), None));
    let secret = view.secret(&[WEBHOOK_SECRET]).unwrap().open(&platform).await.unwrap();
    assert_eq!(secret.expose_secret(), "hook-secret");

    let view = instances::callback_view(&platform, id).await.unwrap().unwrap();
    assert_eq!((view.url.as_deref(), view.tags.as_slice()), (Some("https://app.example/hook"), &["t".to_owned()][..]));
    assert!(!view.flows, "that version did not know of them");
    let credentials = view.credentials(&platform).await.unwrap();
    assert_eq!(credentials.signature_key.unwrap().expose_secret(), "sign-me");
    assert!(credentials.basic.is_none() && credentials.headers.is_empty(), "that version did not know of them");
    assert_eq!(instances::handshake(&platform, id).await.unwrap().map(|_| ()), None);
}

#[tokio::test]
async fn what_the_version_before_wrote_is_changed_to_what_this_one_writes() {
    let (platform, account, id) = before().await;
    let stored = load(&platform, &account, id).await;
    let to = [(VENDOR_ACCOUNT, "7"), (INSTANCE_FINDER, "k|a.b"), ("k", "v"), (CALLBACK_URL, "https://new.example/")];
    let changed = set(&platform, &stored, &to).await.unwrap();
    assert_eq!(instances::routed(&platform, "hubspot", "62515").await.unwrap(), (vec![], false));
    assert_eq!(instances::routed(&platform, "hubspot", "7").await.unwrap(), (vec![id], false));
    assert_eq!(instances::found(&platform, "hubspot", "a.b", "v").await.unwrap(), (vec![id], false));
    assert_eq!(instances::finder_paths(&platform, "hubspot").await.unwrap(), ["a.b"]);
    let view = instances::callback_view(&platform, id).await.unwrap().unwrap();
    let credentials = view.credentials(&platform).await.unwrap();
    let (user, password) = credentials.basic.unwrap();
    assert_eq!((user.as_str(), password.expose_secret()), ("ann", "hunter2"));
    assert_eq!(credentials.headers[0].1.expose_secret(), "clear");
    for item in platform.table().items("") {
        assert!(!String::from_utf8_lossy(&item.body).contains("clear"), "{:?}", item.key);
    }
    instances::delete(&platform, &changed).await.unwrap();
    only_the_account_is_left(&platform);
}

#[tokio::test]
async fn what_the_version_before_wrote_is_deleted_whole() {
    let (platform, account, id) = before().await;
    instances::delete(&platform, &load(&platform, &account, id).await).await.unwrap();
    only_the_account_is_left(&platform);
}

/// The account, its own two keys, and the tombstone that keeps the number taken.
fn only_the_account_is_left(platform: &MemoryPlatform) {
    let left: Vec<String> = platform.table().items("").into_iter().map(|item| item.key.partition).collect();
    let wanted = [ITEMS[0].0, ITEMS[3].0, ITEMS[5].0, ITEMS[6].0];
    assert_eq!(left, wanted);
}
