//! What is confidential stays where it belongs: whatever is sent, by whomever, and whatever fails, no log line at any level
//! and no text of an error holds a secret, a token, a password or a customer's data.

#![allow(clippy::unwrap_used)]

use axum::body::Body;
use connectors::catalogue;
use events::{InstanceId, Message};
use http::{Method, Request, StatusCode, header};
use pollhook_scenarios::{Behaviour, Logs, Reply, RetryPolicy, Trouble, Webhook, World, batch};
use records::accounts;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// In every provider's form.
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SIGNATURE_KEY: &str = "s1gn4tur3-k3y-0f-4-cust0mer";
const PASSWORD: &str = "p4ssw0rd-0f-4-c4llb4ck";
/// The password as `Authorization` carries it, with the user `ann`.
const BASIC: &str = "YW5uOnA0c3N3MHJkLTBmLTQtYzRsbGI0Y2s=";
const HEADER_TOKEN: &str = "t0k3n-1n-4-c4llb4ck-h34d3r";
const URL_TOKEN: &str = "t0k3n-1n-4-c4llb4ck-url";
/// What a customer's data, or a stranger's request, holds.
const CANARY: &str = "c4n4ry-0f-4-cust0mer";

const API: &str = "/elements/api-v2";

/// The world, who calls its API, and what no text may hold.
struct Watched {
    world: World,
    authorization: String,
    confidential: Vec<String>,
}

impl Watched {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed, RetryPolicy::new(&[5, 30])).await;
        let (_, credentials) = accounts::create(world.platform(), false).await.unwrap();
        let authorization = credentials.header().expose_secret().to_owned();
        let secrets = [WEBHOOK_SECRET, SIGNATURE_KEY, PASSWORD, BASIC, HEADER_TOKEN, URL_TOKEN, CANARY];
        let mut confidential: Vec<String> = secrets.map(str::to_owned).to_vec();
        let words = authorization.split([' ', ',']).filter(|word| word.len() > 15);
        confidential.extend(words.map(str::to_owned));
        assert_eq!(confidential.len(), secrets.len() + 2, "two secrets of an account");
        Self { world, authorization, confidential }
    }

    fn holds(&self, text: &str) -> Option<&str> {
        self.confidential.iter().map(String::as_str).find(|secret| text.contains(secret))
    }

    /// One request to the API; what it was answered, which is searched.
    async fn api(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(format!("{API}{path}"));
        let request = request.header(header::AUTHORIZATION, &self.authorization).body(body.into()).unwrap();
        let (status, text) = self.world.call(request).await;
        assert_eq!(self.holds(&text), None, "{path}: {status} {text}");
        (status, text)
    }

    /// An instance with every kind of secret, made as a customer makes it.
    async fn provision(&mut self, connector: &str, account: Option<&str>, secret: &str) -> InstanceId {
        let callback = format!("https://{connector}.example/hook?key={URL_TOKEN}");
        let mut configuration = json!({
            "event.notification.callback.url": callback,
            "event.notification.callback.headers": format!("X-Api: {HEADER_TOKEN}"),
            "event.notification.basic.username": "ann",
            "event.notification.basic.password": PASSWORD,
            "event.notification.signature.key": SIGNATURE_KEY,
            "webhook.secret": secret,
        });
        if let Some(account) = account {
            configuration["event.vendor.account"] = account.into();
        }
        let first = vec![Reply::Status(503), Reply::Timeout, Reply::Ours];
        self.world
            .callbacks
            .behave(&callback, Behaviour { key: Some(SIGNATURE_KEY.into()), first, then: Reply::Status(200) });
        let body = json!({ "name": "Acme", "element": { "key": connector }, "configuration": configuration });
        let request = Request::post(format!("{API}/instances")).header(header::AUTHORIZATION, &self.authorization);
        let (status, text) = self.world.call(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{connector}: {text}");
        for secret in [secret, SIGNATURE_KEY, PASSWORD, HEADER_TOKEN] {
            assert!(!text.contains(secret), "{connector}: {text}");
        }
        let made: Value = serde_json::from_str(&text).unwrap();
        // Shown to its owner here and nowhere else.
        self.confidential.push(made["token"].as_str().unwrap().to_owned());
        made["id"].to_string().parse().unwrap()
    }

    /// What a stranger sends to a connector's URL; refused, and the answer is searched.
    async fn stranger(&self, request: Request<Body>) {
        let (path, (status, text)) = (request.uri().path().to_owned(), self.world.call(request).await);
        assert!(!status.is_success(), "{path}: {status}");
        assert_eq!(self.holds(&text), None, "{path}: {status} {text}");
    }
}

/// The body with one more field, where it is JSON.
fn with_canary(body: &str) -> String {
    match body.trim_start().starts_with(['{', '[']) {
        true => body.replacen('{', &format!("{{\"note\":\"{CANARY}\","), 1),
        false => body.to_owned(),
    }
}

#[tokio::test]
async fn no_log_line_and_no_error_holds_a_secret_a_token_a_password_or_a_body() {
    let (logs, _capture) = Logs::capture();
    let mut watched = Watched::new(61_000).await;
    let mut told = 0;
    for key in catalogue().keys() {
        let connector = catalogue().get(key).unwrap();
        let tells = |e: &&connectors::Example| {
            e.answer.is_none() && e.method == "POST" && e.configuration.is_empty() && !e.changes.is_empty()
        };
        let Some(example) = connector.examples().iter().find(tells) else { continue };
        let secret = example.secret.as_deref().unwrap_or(WEBHOOK_SECRET);
        let account = example.changes.iter().find_map(|change| change.account.as_deref());
        let id = watched.provision(key, account, secret).await;
        watched.world.restart();
        let recorded = Webhook::recorded(key, example, WEBHOOK_SECRET).path(&format!("/{}", id.to_path()));
        let webhook = recorded.clone().body(with_canary(&example.body));
        let (status, text) = watched.world.send(&webhook).await;
        assert_eq!(status, StatusCode::OK, "{key}: {text}");
        told += 1;

        let now = watched.world.now();
        let forged = webhook.clone().unsigned();
        let mut elsewhere = forged.request(now);
        *elsewhere.uri_mut() = format!("{API}/events/{key}/{CANARY}?token={CANARY}").parse().unwrap();
        watched.stranger(elsewhere).await;
        watched
            .stranger(forged.clone().header("authorization", &format!("Bearer {CANARY}")).body(CANARY).request(now))
            .await;
        watched.stranger(forged.clone().body(format!("{{\"a\":\"{CANARY}\"")).request(now)).await;
        watched.world.platform().fail(0, Trouble::NotDone);
        let (status, text) = watched.world.send(&webhook.clone().id("another")).await;
        assert_eq!((status, watched.holds(&text)), (StatusCode::SERVICE_UNAVAILABLE, None), "{key}: {text}");
    }
    assert!(told >= 12, "{told}");
    watched
        .stranger(Request::post(format!("{API}/events/{CANARY}?x={CANARY}")).body(Body::from(CANARY)).unwrap())
        .await;

    // Delivered, after every kind of failure.
    watched.world.settle().await;
    assert!(watched.world.callbacks.posted().iter().filter(|posted| posted.taken).count() >= told);

    api(&mut watched).await;

    for poison in [
        CANARY.to_owned(),
        format!("\"{CANARY}\""),
        format!("{{\"v\":1,\"m\":{{\"{CANARY}\":1}}}}"),
        format!("{{\"v\":1,\"m\":\"{CANARY}\"}}"),
        Message::Batch(batch(InstanceId::from_random(1), 1..2, "[]")).encode().replacen("contacts", CANARY, 1) + CANARY,
    ] {
        let error = watched.world.handle(&poison).await.unwrap_err().to_string();
        assert_eq!(watched.holds(&error), None, "{error}");
        let error = watched.world.poll_job(&poison).await.unwrap_err().to_string();
        assert_eq!(watched.holds(&error), None, "{error}");
    }

    let log = logs.text();
    for line in ["taken", "refused", "a webhook could not be taken"] {
        assert!(log.contains(line), "what is searched holds what is logged: {line}");
    }
    for line in log.lines() {
        assert_eq!(watched.holds(line), None, "{line}");
    }
}

/// The API, as it is used and as it is misused.
async fn api(watched: &mut Watched) {
    let id = watched.provision("hubspot", Some("77"), WEBHOOK_SECRET).await;
    let one = format!("/instances/{id}");
    for path in ["", "/configuration", "/events"] {
        let request = Request::get(format!("{API}{one}{path}")).header(header::AUTHORIZATION, &watched.authorization);
        let (status, text) = watched.world.call(request.body(Body::empty()).unwrap()).await;
        assert!(status.is_success(), "{path}: {text}");
        for secret in [WEBHOOK_SECRET, SIGNATURE_KEY, PASSWORD, BASIC, HEADER_TOKEN] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
    }
    let change = |key: &str, value: &str| json!({ "configuration": { key: value } }).to_string();
    let refused = [
        (Method::POST, "/instances".to_owned(), format!("{{\"name\": \"{CANARY}")),
        (
            Method::POST,
            "/instances".to_owned(),
            format!("{{\"configuration\": {{\"webhook.secret\": [\"{CANARY}\"]}}}}"),
        ),
        (Method::PATCH, one.clone(), change("event.notification.signature.key", &format!("whsec_{CANARY}"))),
        (Method::PATCH, one.clone(), change("event.notification.callback.headers", &format!("{CANARY}: a\u{0}b"))),
        (
            Method::PATCH,
            one.clone(),
            change("event.notification.callback.url", &format!("https://ann:{CANARY}@a.example/")),
        ),
        (Method::PATCH, format!("{one}?secret={CANARY}"), CANARY.to_owned()),
        (Method::PUT, "/notifications/subscriptions/deliveries?where=no%20such".to_owned(), CANARY.to_owned()),
        (Method::GET, "/refused".to_owned(), String::new()),
        (Method::DELETE, "/instances/4711".to_owned(), String::new()),
    ];
    for (method, path, body) in refused {
        let (status, text) = watched.api(method, &path, body).await;
        assert!(status.is_client_error(), "{path}: {status} {text}");
    }
    // A slip in what proves who calls: none of it is repeated.
    let slips = [CANARY.to_owned(), format!("User {CANARY}"), watched.authorization.replace("User ", "Usr ")];
    for slip in slips {
        let request = Request::get(format!("{API}/instances")).header(header::AUTHORIZATION, slip);
        let (status, text) = watched.world.call(request.body(Body::empty()).unwrap()).await;
        assert_eq!((status, watched.holds(&text)), (StatusCode::UNAUTHORIZED, None), "{text}");
    }
    watched.world.platform().fail(0, Trouble::Lost);
    let (status, _) = watched.api(Method::PATCH, &one, change("webhook.secret", WEBHOOK_SECRET)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    watched.world.restart();
    let (status, text) = watched.api(Method::POST, &format!("{one}/ping"), "{}").await;
    assert!(!status.is_server_error(), "{text}");
}
