//! A customer's consent from end to end: the URL, the code, polls with tokens that end, the consent taken back, another one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use events::InstanceId;
use http::{Method, StatusCode};
use platform::Platform as _;
use pollhook_scenarios::{Behaviour, Logs, Reply, RetryPolicy, START, World};
use serde_json::{Value, json};
use simulators::dropbox::Dropbox;
use simulators::hubspot::HubSpot;
use simulators::quickbooks::QuickBooks;
use simulators::salesforce::Salesforce;
use simulators::{Provider, Rotation, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

const CALLBACK: &str = "https://app.example/hook";
const BACK: &str = "https://app.example/back?from=provider";

/// How often everybody looks whether something is due.
const LOOK: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than any access token lives.
const LONG: Duration = Duration::from_secs(5 * 60 * 60);

/// A provider on a socket, and an app whose customers consent there.
struct App<P> {
    world: World,
    provider: Simulator<P>,
    connector: &'static str,
}

impl<P: Provider> App<P> {
    async fn new(seed: u64, connector: &'static str, provider: Simulator<P>) -> Self {
        let mut world = World::new(seed, RetryPolicy::default()).await;
        world.ask_providers();
        world.ask_at(connector, &provider.url().parse().unwrap());
        world.callbacks.behave(CALLBACK, Behaviour { key: None, first: Vec::new(), then: Reply::Status(200) });
        Self { world, provider, connector }
    }

    /// A customer is sent to the provider, agrees, and comes back with these parameters.
    async fn consent(&self) -> BTreeMap<String, String> {
        let query = format!("apiKey=client-id&apiSecret=client-secret&state=a%20b%26c&callbackUrl={}", encoded(BACK));
        let path = format!("/elements/{}/oauth/url?{query}", self.connector);
        let (status, answer) = self.world.api(Method::GET, &path, None).await;
        assert_eq!((status, &answer["element"]), (StatusCode::OK, &json!(self.connector)), "{answer}");
        let url: Url = answer["oauthUrl"].as_str().unwrap().parse().unwrap();
        assert!(!url.as_str().contains("client-secret"), "{url}");
        let location = redirected(&url).await;
        assert!(location.as_str().starts_with("https://app.example/back"), "{location}");
        let parameters: BTreeMap<String, String> = location.query_pairs().into_owned().collect();
        assert_eq!(parameters["state"], "a b&c");
        parameters
    }

    fn body(&self, objects: &str, code: &BTreeMap<String, String>) -> Value {
        json!({
            "name": "Acme",
            "element": {"key": self.connector},
            "providerData": code,
            "configuration": {
                "event.vendor.type": "polling",
                "event.objects": objects,
                "event.poller.refresh_interval": "1",
                "event.notification.callback.url": CALLBACK,
                "oauth.api.key": "client-id",
                "oauth.api.secret": "client-secret",
                "oauth.callback.url": BACK,
            },
        })
    }

    async fn provision(&self, objects: &str) -> InstanceId {
        let body = self.body(objects, &self.consent().await);
        let (status, made) = self.world.api(Method::POST, "/instances", Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        for key in ["oauth.user.token", "oauth.api.key", "oauth.api.secret"] {
            assert_eq!(made["configuration"][key], "********", "{key}");
        }
        made["id"].to_string().parse().unwrap()
    }

    /// Lets so many minutes pass, in which everybody does their work.
    async fn pass(&self, minutes: u32) {
        for _ in 0..minutes * 6 {
            self.world.each_minute().await;
            while self.world.pump().await {}
            self.jump(LOOK);
        }
    }

    fn jump(&self, duration: Duration) {
        self.world.platform().memory.advance(duration);
        self.provider.clock().set(self.world.now());
    }

    /// The ids of the objects that the callback was told of.
    fn told(&self) -> Vec<String> {
        let posted = self.world.callbacks.posted();
        let events = posted.iter().flat_map(|posted| posted.json()["message"]["events"].as_array().unwrap().clone());
        events.map(|event| event["objectId"].as_str().unwrap().to_owned()).collect()
    }

    fn grants<T>(&self, look: impl FnOnce(&mut simulators::Grants) -> T) -> T {
        self.provider.world(|provider| look(provider.grants()))
    }

    /// How often tokens were asked for since the requests were forgotten last.
    fn token_requests(&self) -> usize {
        let served = self.provider.served();
        served.iter().filter(|served| served.request.method == "POST" && served.request.path.contains("/token")).count()
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Where the provider sends a browser that opens this.
async fn redirected(url: &Url) -> Url {
    let mut socket = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).await.unwrap();
    let target = &url[url::Position::BeforePath..];
    let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", url.authority());
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    location.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// The whole story, with one provider. `make` makes an object, and says by which id it is told.
async fn story<P: Provider>(
    seed: u64,
    connector: &'static str,
    provider: Simulator<P>,
    objects: &str,
    rotation: Option<Rotation>,
    make: impl Fn(&mut P, &str) -> String,
) {
    let (logs, _capture) = Logs::capture();
    let app = App::new(seed, connector, provider).await;
    if let Some(rotation) = rotation {
        app.grants(|grants| grants.rules.rotation = rotation);
    }
    app.jump(Duration::from_secs(60));
    let instance = app.provision(objects).await;
    app.pass(2).await;
    let made = |name: &str| app.provider.world(|provider| make(provider, name));
    let mut expected = vec![made("one")];
    app.pass(3).await;
    assert_eq!(app.told(), expected, "with the tokens of the consent");

    for name in ["two", "three"] {
        app.jump(LONG);
        app.provider.forget();
        expected.push(made(name));
        app.pass(3).await;
        assert_eq!(app.told(), expected, "with tokens that were refreshed");
        assert_eq!(app.token_requests(), 1, "once");
    }

    app.grants(simulators::Grants::revoke_all);
    expected.push(made("four"));
    app.pass(2).await;
    app.provider.forget();
    app.jump(LONG);
    app.pass(5).await;
    assert_eq!(app.told(), expected[..3], "the customer took the consent back");
    assert_eq!(app.provider.served().len(), 0, "and nobody asks any more");
    let text = logs.text();
    let line = text.lines().rfind(|line| line.contains(&instance.to_string())).unwrap();
    assert!(line.contains("it needs a new consent"), "{line}");

    let body = app.body(objects, &app.consent().await);
    let (status, answer) = app.world.api(Method::PUT, &format!("/instances/{instance}"), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    app.provider.forget();
    while app.world.pump().await {}
    assert!(!app.provider.served().is_empty(), "it is polled at once");
    app.pass(3).await;
    assert_eq!(app.told(), expected, "nothing of what changed meanwhile is lost");
    let text = logs.text();
    let secrets = ["client-secret", "refresh-0", "code-0", app.grants(|grants| grants.rules.prefix)];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in the log");
        let items = app.world.platform().memory.table().items("");
        let holds = |item: &platform::Item| String::from_utf8_lossy(&item.body).contains(secret);
        assert!(!items.iter().any(holds), "{secret} is in the table in clear");
    }
}

#[tokio::test]
async fn salesforce_polls_go_on_with_refreshed_tokens_until_the_customer_takes_them_back() {
    for (seed, rotation) in [(12_001, None), (12_002, Some(Rotation::Always))] {
        let make = |org: &mut Salesforce, name: &str| org.create("Contact", &json!({"Name": name}));
        story(seed, "sfdc", Salesforce::start(START), "Contact", rotation, make).await;
    }
}

#[tokio::test]
async fn hubspot_polls_go_on_with_refreshed_tokens_until_the_customer_takes_them_back() {
    let make = |account: &mut HubSpot, name: &str| account.create("contacts", &json!({"firstname": name}));
    story(12_003, "hubspot", HubSpot::start(START), "contacts", None, make).await;
}

#[tokio::test]
async fn quickbooks_polls_go_on_with_refreshed_tokens_until_the_customer_takes_them_back() {
    for (seed, rotation) in [(12_004, None), (12_005, Some(Rotation::Always))] {
        let make = |company: &mut QuickBooks, name: &str| company.create("Invoice", &json!({"DocNumber": name}));
        story(seed, "quickbooks", QuickBooks::start(START), "invoices", rotation, make).await;
    }
}

#[tokio::test]
async fn dropbox_polls_go_on_with_refreshed_tokens_until_the_customer_takes_them_back() {
    let make = |dropbox: &mut Dropbox, name: &str| dropbox.write(&format!("/{name}.txt"));
    story(12_006, "dropbox", Dropbox::start(START), "files", None, make).await;
}

#[tokio::test]
async fn a_code_that_the_provider_does_not_take_provisions_nothing_and_changes_nothing() {
    let app = App::new(12_010, "hubspot", HubSpot::start(START)).await;
    let code = app.consent().await;
    let mut wrong = app.body("contacts", &code);
    wrong["configuration"]["oauth.api.secret"] = json!("an0ther-s3cret");
    let (status, answer) = app.world.api(Method::POST, "/instances", Some(wrong)).await;
    let message = answer["message"].as_str().unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message.contains("oauth.api.secret") && !message.contains("an0ther"), "{message}");
    assert_eq!(app.world.platform().memory.table().items("INSTANCE#"), []);

    let instance = app.provision("contacts").await;
    let before = app.world.api(Method::GET, &format!("/instances/{instance}"), None).await;
    let spent = app.body("contacts", &BTreeMap::from([("code".to_owned(), "code-999999".to_owned())]));
    for (method, path) in [(Method::POST, "/instances".to_owned()), (Method::PUT, format!("/instances/{instance}"))] {
        let (status, answer) = app.world.api(method, &path, Some(spent.clone())).await;
        let message = answer["message"].as_str().unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
        assert!(message.starts_with("providerData.code: given a code that the provider does not take"), "{message}");
        assert!(!message.contains("code-0"), "{message}");
    }
    // Nor is one shown to the provider that is not to be.
    app.provider.forget();
    let path = format!("/instances/{instance}?reAuthenticate=false");
    let (status, answer) = app.world.api(Method::PUT, &path, Some(spent)).await;
    assert_eq!((status, app.token_requests()), (StatusCode::OK, 0), "{answer}");
    assert_eq!(answer["configuration"], before.1["configuration"], "what the consent brought stays");
}

#[tokio::test]
async fn a_consent_that_ends_soon_whatever_is_refreshed_is_shown_until_the_customer_consents_again() {
    let app = App::new(9_520, "quickbooks", QuickBooks::start(START)).await;
    let id = app.provision("invoices").await;
    let path = format!("/instances/{id}");
    let lapses = async || app.world.api(Method::GET, &path, None).await.1["polling"].get("consentLapses").cloned();
    app.pass(2).await;
    assert_eq!(lapses().await, None);
    // The day that no refresh moves.
    app.grants(|grants| grants.rules.refresh = Some(5 * DAY));
    app.jump(LONG);
    let now = app.world.now();
    app.pass(2).await;
    let end = lapses().await.unwrap();
    let end = events::Timestamp::parse_rfc3339(end.as_str().unwrap()).unwrap();
    assert!(now.plus(5 * DAY) <= end && end <= app.world.now().plus(5 * DAY), "{end:?}");
    app.grants(|grants| grants.rules.refresh = Some(101 * DAY));
    let body = app.body("invoices", &app.consent().await);
    let (status, answer) = app.world.api(Method::PUT, &path, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    app.pass(2).await;
    assert_eq!(lapses().await, None);
}
