//! Pings, over real sockets and through the whole policy.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use connectors::Catalogue;
use egress::{Client, Limits, Lookup, Lookups, Policy};
use events::{InstanceId, SignatureKey, configuration};
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use platform::Platform as _;
use pollhook_instances_api::{Api, router};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::ServiceExt as _;
use url::Url;

use crate::world::{NOW, World, id};

/// For `hooks.test`, signed by an authority that nobody but tests trusts.
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/egress/tests/posting/tls/authority.pem");
const SERVER: &[u8] = include_bytes!("../../../../shared/egress/tests/posting/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../../../shared/egress/tests/posting/tls/server.key");

/// A receiver that answers every request alike, when it is let.
struct Sink {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Sink {
    async fn answering(head: &str, body: &str) -> Self {
        Self::with(head, body, None, Semaphore::MAX_PERMITS).await
    }

    async fn with(head: &str, body: &str, tls: Option<TlsAcceptor>, answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
            go: Arc::new(Semaphore::new(answers)),
        };
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (requests, connections, go) = (sink.requests.clone(), sink.connections.clone(), sink.go.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests, go, tls) = (answer.clone(), requests.clone(), go.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &answer, &requests, &go).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &answer, &requests, &go).await;
                            }
                        }
                    }
                });
            }
        });
        sink
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    requests: &Mutex<Vec<String>>,
    go: &Semaphore,
) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if body.len() == length {
            bytes.clear();
            requests.lock().unwrap().push(text);
            go.acquire().await.unwrap().forget();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

/// Names from a table; any other does not exist.
struct Names(HashMap<&'static str, Vec<IpAddr>>);

impl Lookup for Names {
    fn lookup(&self, name: &str) -> Lookups {
        let found = self.0.get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
    }
}

/// The API over the world's items, with callbacks that are really posted.
struct Posting<'a> {
    world: &'a World,
    router: Router,
}

impl<'a> Posting<'a> {
    /// Callbacks may go to public addresses and to `allowed`.
    fn to(world: &'a World, allowed: &[&str]) -> Self {
        let url = Url::parse("https://house.test/base/").unwrap();
        let policy = Policy::new(allowed.iter().map(|range| range.parse().unwrap()).collect(), Some(&url));
        let names: &[(&str, &[&str])] = &[
            ("hooks.test", &["127.0.0.1"]),
            ("other.test", &["127.0.0.1"]),
            ("both.test", &["93.184.216.34", "10.0.0.1"]),
            ("translated.test", &["64:ff9b::a00:1"]),
        ];
        let parsed = |addresses: &[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect();
        let names = Names(names.iter().map(|(name, addresses)| (*name, parsed(addresses))).collect());
        let client = Client::with_lookup(policy.clone(), Limits::default(), names).unwrap();
        let tokens = Client::new(policy.clone(), Limits::default()).unwrap();
        let router = router(Arc::new(Api {
            tokens: Arc::new(tokens),
            platform: Arc::new(world.platform.clone()),
            policy: Arc::new(policy),
            public_url: Some(url),
            catalogue: Arc::new(Catalogue::built_in()),
            callbacks: Arc::new(client),
            admin_key_sha256: None,
        }));
        Self { world, router }
    }

    async fn call(&self, who: &str, method: &str, path: &str, body: String) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(format!("/elements/api-v2{path}"));
        let request = request.header(AUTHORIZATION, who).body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn instance_of(&self, who: &str, configuration: Value) -> InstanceId {
        let body = json!({"name": "Acme", "element": {"key": "hubspot"}, "configuration": configuration});
        let (status, json) = self.call(who, "POST", "/instances", body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{json}");
        id(&json)
    }

    async fn instance(&self, configuration: Value) -> InstanceId {
        self.instance_of(&self.world.owner, configuration).await
    }

    async fn ping(&self, instance: InstanceId) -> (StatusCode, Value) {
        self.call(&self.world.owner, "POST", &format!("/instances/{instance}/ping"), String::new()).await
    }

    /// Pings an instance whose callback is `url`.
    async fn ping_at(&self, url: &str) -> Value {
        let instance = self.instance(json!({configuration::CALLBACK_URL: url})).await;
        let (status, json) = self.ping(instance).await;
        assert_eq!(status, StatusCode::OK, "{json}");
        json
    }
}

#[tokio::test]
async fn a_ping_is_sent_as_a_delivery_would_be_and_leaves_nothing_behind() {
    let world = World::new(801).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let sink = Sink::answering("200 OK", "th\u{1b}anks\n").await;
    let instance = api
        .instance(json!({
            configuration::CALLBACK_URL: sink.url("/hook?key=s3cret-1"),
            configuration::SIGNATURE_KEY: "s3cret-2",
            configuration::BASIC_USERNAME: "ann",
            configuration::BASIC_PASSWORD: "hunter2",
            configuration::CALLBACK_HEADERS: "X-Tenant: s3cret-3",
        }))
        .await;
    let before = world.platform.table().items("");
    let (status, json) = api.ping(instance).await;
    assert_eq!(status, StatusCode::OK, "{json}");

    let requests = sink.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    let notification = json["notificationId"].as_str().unwrap();
    assert!(head.starts_with("POST /hook?key=s3cret-1 "), "{head}");
    assert_eq!((header("pollhook-ping"), header("x-tenant")), (Some("true"), Some("s3cret-3")));
    assert_eq!(header("authorization"), Some("Basic YW5uOmh1bnRlcjI="));
    assert_eq!((header("elements-webhook-id"), header("webhook-id")), (Some(notification), Some(notification)));
    let key = SignatureKey::new("s3cret-2".into()).unwrap();
    key.verify_elements(header("elements-webhook-signature").unwrap(), body.as_bytes()).unwrap();
    let (time, signature) = (header("webhook-timestamp").unwrap(), header("webhook-signature").unwrap());
    key.verify_standard(notification, time, signature, body.as_bytes(), NOW).unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    let message = &told["message"];
    assert_eq!(message["raw"], json!({"ping": true}));
    assert_eq!((&message["eventId"], &message["elementKey"]), (&json!(notification), &json!("hubspot")));
    assert_eq!(message["instanceId"].to_string(), instance.to_string());
    let events = message["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["objectType"], &events[0]["objectId"], &events[0]["eventType"]),
        (&json!("ping"), &json!(notification), &json!("UNKNOWN"))
    );

    assert_eq!((&json["delivered"], &json["status"]), (&json!(true), &json!(200)));
    assert_eq!(json["url"], json!(sink.url("/hook?key=…")));
    assert_eq!((&json["tls"], &json["error"], &json["hint"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(json["bodyStart"], json!("th\u{fffd}anks "));
    assert!(json["latencyMs"].is_u64());
    for secret in ["s3cret", "hunter2", "YW5uOmh1bnRlcjI="] {
        assert!(!json.to_string().contains(secret), "{json}");
    }
    assert_eq!(world.platform.table().items(""), before, "nothing is recorded");
    assert_eq!(world.platform.batches().messages(), [], "and nothing will be tried again");
    let (_, again) = api.ping(instance).await;
    assert_ne!(again["notificationId"], json["notificationId"]);
}

#[tokio::test]
async fn a_callback_that_declines_is_told_once_and_hinted_at() {
    let world = World::new(802).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let elsewhere = Sink::answering("200 OK", "").await;
    let moved = format!("301 X\r\nlocation: {}", elsewhere.url("/"));
    for (head, status, word) in [
        ("401 X", 401, Some("event.notification.signature.key")),
        ("404 X", 404, Some("path")),
        (&moved, 301, Some("redirects are not followed")),
        ("500 X", 500, None),
    ] {
        let sink = Sink::answering(head, &"€".repeat(300)).await;
        let json = api.ping_at(&sink.url("/hook")).await;
        assert_eq!((&json["delivered"], &json["status"]), (&json!(false), &json!(status)));
        assert_eq!(json["bodyStart"].as_str().unwrap().chars().count(), 200);
        assert!(word.is_none_or(|word| json["hint"].as_str().unwrap().contains(word)), "{json}");
        assert_eq!((json["hint"].is_null(), json["error"].is_null()), (word.is_none(), true));
        assert_eq!(sink.requests().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_callback_that_does_not_answer_is_told_with_the_reason() {
    let world = World::new(803).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    for (url, error, hint) in [
        (format!("http://{gone}/?key=s3cret"), "could not connect", "nobody listens"),
        ("https://unknown.test/?key=s3cret".to_owned(), "unknown.test could not be resolved", "host"),
    ] {
        let json = api.ping_at(&url).await;
        assert_eq!((&json["delivered"], &json["status"]), (&json!(false), &Value::Null));
        assert_eq!((&json["tls"], &json["bodyStart"]), (&Value::Null, &Value::Null));
        assert!(json["error"].as_str().unwrap().contains(error), "{json}");
        assert!(json["hint"].as_str().unwrap().contains(hint), "{json}");
        assert!(!json.to_string().contains("s3cret"), "{json}");
    }
}

#[tokio::test]
async fn no_ping_reaches_what_the_policy_forbids_however_it_is_written() {
    let world = World::new(804).await;
    let sink = Sink::answering("200 OK", "secrets of the house").await;
    let port = sink.address.port();
    // Configured while it was allowed; the policy of now decides.
    let (open, strict) = (Posting::to(&world, &["0.0.0.0/0", "::/0"]), Posting::to(&world, &[]));
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "[fd00::1]",
        "hooks.test",
        "both.test",
        "translated.test",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/hook");
            let instance = open.instance(json!({configuration::CALLBACK_URL: url})).await;
            let (status, json) = strict.ping(instance).await;
            assert_eq!(status, StatusCode::OK, "{json}");
            assert_eq!((&json["delivered"], &json["status"]), (&json!(false), &Value::Null), "{url}");
            assert!(json["error"].as_str().unwrap().starts_with("refused: "), "{json}");
            let metadata = host == "169.254.169.254";
            assert_eq!(json["hint"].is_null(), metadata, "{json}");
            assert!(metadata || json["hint"].as_str().unwrap().contains("--allow-callbacks-to"), "{json}");
        }
    }
    assert_eq!(sink.connections(), 0);
    // What is no callback is not even configured.
    for url in [
        format!("http://ann:s3cret@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/#s3cret"),
        "ftp://example.com/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
    ] {
        let configuration = json!({configuration::CALLBACK_URL: url});
        let body = json!({"name": "Acme", "element": {"key": "hubspot"}, "configuration": configuration});
        let (status, json) = open.call(&world.owner, "POST", "/instances", body.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}");
        assert!(!json.to_string().contains("s3cret"), "{json}");
    }
}

#[tokio::test]
async fn what_cannot_be_pinged_says_why() {
    let world = World::new(805).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let silent = api.instance(json!({})).await;
    let (status, json) = api.ping(silent).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(json["message"].as_str().unwrap().contains("set event.notification.callback.url first"), "{json}");

    let own = "https://house.test/base/elements/api-v2/events/hubspot/";
    let own = api.instance(json!({configuration::CALLBACK_URL: own, configuration::SIGNATURE_KEY: "key"})).await;
    let (status, json) = api.ping(own).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(json["message"].as_str().unwrap().contains("hands its events to connectors here"), "{json}");
}

#[tokio::test]
async fn another_accounts_instance_is_pinged_as_little_as_one_that_does_not_exist() {
    let world = World::new(806).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let sink = Sink::answering("200 OK", "").await;
    let instance = api.instance(json!({configuration::CALLBACK_URL: sink.url("/")})).await;
    for (who, id) in [(&world.stranger, instance.to_string()), (&world.owner, "1".into()), (&world.owner, "x".into())] {
        let (status, json) = api.call(who, "POST", &format!("/instances/{id}/ping"), String::new()).await;
        assert_eq!((status, &json["message"]), (StatusCode::NOT_FOUND, &json!("there is no such instance")));
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn a_disabled_instance_is_pinged() {
    let world = World::new(807).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let sink = Sink::answering("204 X", "").await;
    let instance = api.instance(json!({configuration::CALLBACK_URL: sink.url("/")})).await;
    api.call(&world.owner, "DELETE", &format!("/instances/{instance}/enabled"), String::new()).await;
    let (_, json) = api.ping(instance).await;
    assert_eq!(json["delivered"], json!(true), "{json}");
}

#[tokio::test]
async fn an_account_has_a_few_pings_at_work_and_does_not_keep_others_from_theirs() {
    let world = World::new(808).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let slow = Sink::with("200 OK", "", None, 0).await;
    let quick = Sink::answering("200 OK", "").await;
    let instance = api.instance(json!({configuration::CALLBACK_URL: slow.url("/")})).await;
    let theirs = api.instance_of(&world.stranger, json!({configuration::CALLBACK_URL: quick.url("/")})).await;
    let path = format!("/instances/{instance}/ping");
    let three = async {
        let call = || api.call(&world.owner, "POST", &path, String::new());
        tokio::join!(call(), call(), call())
    };
    let meanwhile = async {
        while slow.requests().len() < 3 {
            tokio::task::yield_now().await;
        }
        let (status, json) = api.ping(instance).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{json}");
        assert!(json["message"].as_str().unwrap().contains("too many pings"), "{json}");
        let path = format!("/instances/{theirs}/ping");
        let (status, _) = api.call(&world.stranger, "POST", &path, String::new()).await;
        assert_eq!(status, StatusCode::OK);
        slow.go.add_permits(100);
    };
    let ((one, two, three), ()) = tokio::join!(three, meanwhile);
    assert_eq!([one.0, two.0, three.0], [StatusCode::OK; 3]);
    assert_eq!(api.ping(instance).await.0, StatusCode::OK, "a place is free again");
}

#[tokio::test]
async fn a_changed_callback_key_password_and_header_count_from_the_next_ping() {
    let world = World::new(809).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let (first, second) = (Sink::answering("200 OK", "").await, Sink::answering("200 OK", "").await);
    let configuration = |sink: &Sink, n: u8| {
        json!({
            configuration::CALLBACK_URL: sink.url("/"),
            configuration::SIGNATURE_KEY: format!("key-{n}"),
            configuration::BASIC_USERNAME: "ann",
            configuration::BASIC_PASSWORD: format!("hunter{n}"),
            configuration::CALLBACK_HEADERS: format!("X-Tenant: {n}"),
        })
    };
    let instance = api.instance(configuration(&first, 2)).await;
    api.ping(instance).await;
    let change = json!({"configuration": configuration(&second, 3)}).to_string();
    let (status, json) = api.call(&world.owner, "PATCH", &format!("/instances/{instance}"), change).await;
    assert_eq!(status, StatusCode::OK, "{json}");
    api.ping(instance).await;
    for (sink, n, basic) in [(first, 2, "YW5uOmh1bnRlcjI="), (second, 3, "YW5uOmh1bnRlcjM=")] {
        let requests = sink.requests();
        assert_eq!(requests.len(), 1);
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        assert_eq!(header("authorization"), format!("Basic {basic}"));
        assert_eq!(header("x-tenant"), n.to_string());
        let key = SignatureKey::new(format!("key-{n}").into()).unwrap();
        key.verify_elements(header("elements-webhook-signature"), body.as_bytes()).unwrap();
    }
}

fn acceptor() -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(SERVER).unwrap()];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(KEY).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_told_with_the_reason() {
    let world = World::new(810).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let sink = Sink::with("200 OK", "", Some(acceptor()), 9).await;
    let json = api.ping_at(&format!("https://hooks.test:{}/", sink.address.port())).await;
    assert_eq!((&json["delivered"], &json["tls"]["verified"]), (&json!(false), &json!(false)));
    assert!(json["tls"]["reason"].as_str().unwrap().contains("issuer is unknown"), "{json}");
    assert!(json["error"].as_str().unwrap().starts_with("TLS failed: "), "{json}");
    assert_eq!(sink.requests(), [""; 0]);
}

#[tokio::test]
async fn a_certificate_that_is_believed_is_shown() {
    // Which authorities are trusted is the environment's to say, and a process must not change its own.
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|file| file != AUTHORITY) {
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ping::a_certificate_that_is_believed_is_shown"])
            .env("SSL_CERT_FILE", AUTHORITY)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let world = World::new(811).await;
    let api = Posting::to(&world, &["127.0.0.0/8"]);
    let sink = Sink::with("200 OK", "", Some(acceptor()), 9).await;
    let json = api.ping_at(&format!("https://hooks.test:{}/", sink.address.port())).await;
    let certificate = json!({
        "subject": "CN=hooks.test,O=Example", "issuer": "CN=Test authority", "expires": "2124-01-01T00:00:00Z"
    });
    assert_eq!(json["tls"], json!({"verified": true, "certificate": certificate}));
    assert_eq!(json["delivered"], json!(true));
    let json = api.ping_at(&format!("https://other.test:{}/", sink.address.port())).await;
    assert_eq!(json["tls"], json!({"verified": false, "reason": "the certificate is not for this host"}));
}
