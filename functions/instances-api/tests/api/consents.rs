//! Consents by OAuth 2: where they are given, what their codes bring, and what becomes of what does not come.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use egress::exchange::{Exchange, ExchangeRequest, NoAnswer};
use egress::fetch::Fetched;
use events::{InstanceId, Message};
use http::{HeaderMap, StatusCode};
use platform::Platform as _;
use polling::oauth::{GIVEN_AT, LIFETIME, REFRESH_LIFETIME};
use records::plans;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::world::{CALLBACK, NOW, Reply, World, id, set};

const BACK: &str = "https://app.example/back?x=1";

/// Status and body, or why there are none.
type Answer = Result<(u16, Value), NoAnswer>;

/// A token endpoint: answers what it is told to, one after the other, and keeps what it was shown.
#[derive(Clone, Default)]
struct Endpoint {
    answers: Arc<Mutex<Vec<Answer>>>,
    shown: Arc<Mutex<Vec<String>>>,
    /// Where it takes its time: answers may be given so often.
    slow: Option<Arc<Semaphore>>,
}

impl Exchange for Endpoint {
    async fn exchange(&self, request: ExchangeRequest) -> Result<Fetched, NoAnswer> {
        let fields = request.form.iter().map(|(name, value)| format!("{name}={}", value.expose_secret()));
        let basic =
            request.basic.iter().map(|(id, secret)| format!("{}:{}", id.expose_secret(), secret.expose_secret()));
        let all: Vec<String> = [request.url.to_string()].into_iter().chain(basic).chain(fields).collect();
        self.shown.lock().unwrap().push(all.join(" "));
        if let Some(slow) = &self.slow {
            slow.acquire().await.unwrap().forget();
        }
        let (status, body) = self.answers.lock().unwrap().remove(0)?;
        let body = Bytes::from(body.to_string());
        Ok(Fetched { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body })
    }
}

impl Endpoint {
    fn answers(&self, answer: Answer) {
        self.answers.lock().unwrap().push(answer);
    }

    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }
}

async fn world(seed: u64) -> (World, Endpoint) {
    let endpoint = Endpoint::default();
    let world = World::new(seed).await;
    (World { tokens: Arc::new(endpoint.clone()), ..world }, endpoint)
}

fn body(connector: &str, data: &Value) -> Value {
    let objects = if connector == "quickbooks" { "customers" } else { "contacts" };
    json!({
        "name": "Acme",
        "element": {"key": connector},
        "providerData": data,
        "configuration": {
            "event.vendor.type": "polling", "event.objects": objects, "event.notification.callback.url": CALLBACK,
            "oauth.api.key": "clear-id", "oauth.api.secret": "clear-secret", "oauth.callback.url": BACK,
        },
    })
}

fn tokens(n: u32) -> Value {
    json!({"access_token": format!("clear-a{n}"), "refresh_token": format!("clear-r{n}"), "expires_in": 1800})
}

async fn put(world: &World, id: InstanceId, query: &str, body: &Value) -> Reply {
    world.call(&world.owner, "PUT", &format!("/instances/{id}{query}"), body.to_string()).await
}

/// The tokens that the poller reads.
async fn read(world: &World, id: InstanceId) -> Vec<String> {
    let plan = plans::read(&world.platform, id).await.unwrap().unwrap().plan;
    let secrets = plan.secrets(&world.platform).await.unwrap();
    let token = |key: &str| secrets.get(key).map(|token| token.expose_secret().to_owned());
    ["oauth.user.token", "oauth.user.refresh_token"].into_iter().filter_map(token).collect()
}

/// How many polls were asked for.
fn polls(world: &World) -> usize {
    let messages = world.platform.polls().messages().into_iter().map(|held| Message::decode(&held.body).unwrap());
    messages.filter(|message| matches!(message, Message::Poll(_))).count()
}

#[tokio::test]
async fn a_customer_is_sent_to_the_provider_with_all_that_it_wants_and_no_secret() {
    let (world, endpoint) = world(9_101).await;
    let query =
        "apiKey=the%20id&apiSecret=clear-secret&callbackUrl=https%3A%2F%2Fapp.example%2Fback%3Fx%3D1&state=a%26b";
    let reply = world.get(&format!("/elements/dropbox/oauth/url?{query}")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(
        reply.json,
        json!({"element": "dropbox", "oauthUrl": "https://www.dropbox.com/oauth2/authorize?response_type=code\
               &client_id=the%20id&redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fx%3D1&scope=files.metadata.read\
               &state=a%26b&token_access_type=offline"})
    );
    let number = world.get("/elements/sfdc").await.json["id"].clone();
    let url =
        world.get(&format!("/elements/{number}/oauth/url?{query}&siteAddress=test.salesforce.com&scope=api")).await;
    let text = url.json["oauthUrl"].as_str().unwrap();
    assert!(text.starts_with("https://test.salesforce.com/services/oauth2/authorize?") && text.contains("&scope=api&"));
    assert_eq!(url.json["element"], "sfdc");
    for (path, named) in [
        ("/elements/sfdc/oauth/url?apiKey=x", "callbackUrl: given nothing"),
        ("/elements/sfdc/oauth/url?callbackUrl=x&apiKey=%20", "apiKey: given nothing"),
        ("/elements/sfdc/oauth/url?callbackUrl=x&apiKey=x&siteAddress=evil.test%2Fx", "siteAddress"),
        ("/elements/github/oauth/url?callbackUrl=x&apiKey=x", "do not consent by OAuth"),
    ] {
        let reply = world.get(path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(reply.message().contains(named), "{}", reply.message());
    }
    assert_eq!(world.get("/elements/nobody/oauth/url").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.call("", "GET", "/elements/sfdc/oauth/url", "").await.status, StatusCode::UNAUTHORIZED);
    assert!(endpoint.shown().is_empty());
    let (oauth, other) = (world.get("/elements/sfdc").await.json, world.get("/elements/github").await.json);
    assert_eq!((&oauth["typeOauth"], &oauth["authentication"]["type"]), (&json!(true), &json!("oauth2")));
    assert_eq!((&other["typeOauth"], &other["authentication"]["type"]), (&json!(false), &json!("custom")));
}

#[tokio::test]
async fn a_code_is_exchanged_and_what_comes_is_the_poller_s_and_nobody_else_s_to_see() {
    let (world, endpoint) = world(9_102).await;
    endpoint.answers(Ok((200, tokens(1))));
    let reply = world.post(&body("hubspot", &json!({"code": " c0de ", "state": "x"}))).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let form = format!(
        "https://api.hubapi.com/oauth/v1/token grant_type=authorization_code code=c0de redirect_uri={BACK} \
         client_id=clear-id client_secret=clear-secret"
    );
    assert_eq!(endpoint.shown(), [form]);
    let made = id(&reply.json);
    assert_eq!(read(&world, made).await, ["clear-a1", "clear-r1"]);
    let shown = set(&reply.json);
    for secret in ["oauth.user.token", "oauth.user.refresh_token", "oauth.api.key", "oauth.api.secret"] {
        assert_eq!(shown[secret], "********", "{secret}");
    }
    assert_eq!((&shown[LIFETIME], &shown[GIVEN_AT]), (&json!("1800"), &json!(NOW.as_millis().to_string())));
    assert!(!reply.text.contains("clear") && !world.holds("clear") && !world.holds("c0de"));
    assert_eq!(world.get(&format!("/instances/{made}")).await.json, reply.json);
    // Sent back as it was read, it stays as it is.
    assert_eq!(put(&world, made, "", &reply.json).await.json, reply.json);
    assert!(endpoint.shown().is_empty());
}

#[tokio::test]
async fn what_comes_beside_the_code_and_the_tokens_becomes_the_instance_s_configuration() {
    let (world, endpoint) = world(9_103).await;
    let mut answer = tokens(1);
    answer["x_refresh_token_expires_in"] = json!(8_726_400);
    endpoint.answers(Ok((200, answer)));
    let reply = world.post(&body("quickbooks", &json!({"code": "c", "realmId": 4_620_816_365_u64}))).await;
    assert_eq!(set(&reply.json)[REFRESH_LIFETIME], "8726400");
    assert_eq!(
        (reply.status, &reply.json["configuration"]["event.vendor.account"]),
        (StatusCode::OK, &json!("4620816365"))
    );
    assert!(
        endpoint.shown()[0]
            .starts_with("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer clear-id:clear-secret")
    );
    let reply = world.post(&body("quickbooks", &json!({"code": "c"}))).await;
    assert!(reply.message().starts_with("providerData.realmId: given nothing"), "{}", reply.message());
    assert!(endpoint.shown().is_empty(), "the code is not spent");
    let mut answer = tokens(2);
    answer["instance_url"] = json!("https://acme.my.salesforce.com");
    endpoint.answers(Ok((200, answer)));
    let reply = world.post(&body("sfdc", &json!({"code": "c"}))).await;
    assert_eq!(reply.json["configuration"]["instance_url"], "https://acme.my.salesforce.com", "{}", reply.text);
}

#[tokio::test]
async fn what_the_provider_does_not_give_is_said_and_nothing_is_stored() {
    let (world, endpoint) = world(9_104).await;
    let given = body("hubspot", &json!({"code": "c0de"}));
    for (answer, status, named) in [
        (
            Ok((400, json!({"status": "BAD_AUTH_CODE", "message": "c0de clear-secret"}))),
            400,
            "providerData.code: given a code",
        ),
        (Ok((400, json!({"error": "invalid_grant"}))), 400, "providerData.code: given a code"),
        (Ok((400, json!({"status": "BAD_CLIENT_SECRET"}))), 400, "\"oauth.api.key\" and \"oauth.api.secret\""),
        (Ok((400, json!({"error": "invalid_request"}))), 502, "status 400"),
        (Ok((500, json!({"error": "c0de"}))), 502, "status 500"),
        (Ok((200, json!({"hello": "c0de"}))), 502, "no access token"),
        (Ok((429, json!(null))), 502, "too much"),
        (Err(NoAnswer::Unsent("could not connect".into())), 502, "could not connect"),
        (Err(NoAnswer::Ours("no files".into())), 500, "requestId"),
    ] {
        endpoint.answers(answer);
        let reply = world.post(&given).await;
        assert_eq!((reply.status.as_u16(), reply.message().contains(named)), (status, true), "{}", reply.message());
        assert!(!reply.text.contains("c0de") && !reply.text.contains("clear"), "{}", reply.text);
    }
    assert_eq!(world.platform.table().items("INSTANCE#"), []);
    endpoint.shown();
    for (change, named) in [
        (
            json!({"configuration": {"event.vendor.type": "polling", "event.objects": "contacts", "oauth.api.key": "x"}}),
            "\"oauth.api.secret\", \"oauth.callback.url\"",
        ),
        (json!({"configuration": {"event.notification.callback.url": "ftp://x"}}), "http"),
        (json!({"element": {"key": "github"}, "configuration": {}}), "do not consent"),
        (json!({"providerData": {"oauth_token": "c0de"}}), "providerData.oauth_token"),
    ] {
        let mut body = given.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let reply = world.post(&body).await;
        assert_eq!(
            (reply.status, reply.message().contains(named)),
            (StatusCode::BAD_REQUEST, true),
            "{}",
            reply.message()
        );
    }
    assert!(endpoint.shown().is_empty(), "a code is shown once all else is accepted");
}

#[tokio::test]
async fn another_consent_takes_the_place_of_the_one_before_and_the_instance_is_polled_at_once() {
    let (world, endpoint) = world(9_105).await;
    endpoint.answers(Ok((200, tokens(1))));
    let made = id(&world.post(&body("hubspot", &json!({"code": "c1"}))).await.json);
    assert_eq!(polls(&world), 1);
    endpoint.answers(Ok((200, json!({"access_token": "clear-a2"}))));
    let reply = put(&world, made, "", &body("hubspot", &json!({"code": "c2"}))).await;
    assert_eq!((reply.status, polls(&world)), (StatusCode::OK, 2), "{}", reply.text);
    assert_eq!(read(&world, made).await, ["clear-a2"], "nothing of the one before is left");
    assert!(set(&reply.json).get(LIFETIME).is_none());

    endpoint.answers(Ok((200, tokens(3))));
    let reply = world.patch(made, &json!({"providerData": {"code": "c3"}})).await;
    assert_eq!((reply.status, polls(&world)), (StatusCode::OK, 3), "{}", reply.text);
    assert_eq!(read(&world, made).await, ["clear-a3", "clear-r3"]);
    // A refused one leaves it as it was, and so does a replacement that brings none.
    endpoint.answers(Ok((400, json!({"error": "invalid_grant"}))));
    assert_eq!(world.patch(made, &json!({"providerData": {"code": "c4"}})).await.status, StatusCode::BAD_REQUEST);
    endpoint.shown();
    let reply = put(&world, made, "?reAuthenticate=false", &body("hubspot", &json!({"code": "c5"}))).await;
    assert_eq!((reply.status, polls(&world), endpoint.shown().len()), (StatusCode::OK, 3, 0), "{}", reply.text);
    assert_eq!(put(&world, made, "", &body("hubspot", &json!(null))).await.status, StatusCode::OK);
    assert_eq!(read(&world, made).await, ["clear-a3", "clear-r3"]);
    assert_eq!(
        put(&world, made, "?reAuthenticate=maybe", &body("hubspot", &json!(null))).await.status,
        StatusCode::BAD_REQUEST
    );
    let unset = json!({"configuration": {"oauth.user.token": null, "oauth.user.refresh_token": null}});
    assert_eq!(world.patch(made, &unset).await.status, StatusCode::OK);
    assert_eq!(read(&world, made).await, [""; 0]);
}

#[tokio::test]
async fn tokens_that_are_brought_along_are_taken_as_they_are() {
    let (world, endpoint) = world(9_106).await;
    let mut given = body("hubspot", &json!(null));
    given["externalAuthentication"] = json!("initial");
    let reply = world.post(&given).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.message().starts_with("externalAuthentication: given \"initial\""), "{}", reply.message());
    given["configuration"]["oauth.user.refresh_token"] = json!("clear-r9");
    let reply = world.post(&given).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(read(&world, id(&reply.json)).await, ["clear-r9"]);
    assert!(endpoint.shown().is_empty() && !world.holds("clear"));
    let changed = world.patch(id(&reply.json), &json!({"configuration": {"oauth.user.token": "clear-a9"}})).await;
    assert_eq!((changed.status, polls(&world)), (StatusCode::OK, 2), "it is polled at once");
}

#[tokio::test]
async fn where_nobody_consented_a_replacement_unsets_what_it_does_not_name() {
    let (world, _) = world(9_107).await;
    let mut given = body("quickbooks", &json!(null));
    given["configuration"]["event.vendor.account"] = json!("4620816365");
    let made = world.post(&given).await;
    assert_eq!(set(&made.json)["event.vendor.account"], "4620816365", "{}", made.text);
    let reply = put(&world, id(&made.json), "", &body("quickbooks", &json!(null))).await;
    assert_eq!((reply.status, set(&reply.json).get("event.vendor.account")), (StatusCode::OK, None), "{}", reply.text);
}

#[tokio::test]
async fn an_account_has_a_few_codes_exchanged_at_once_and_keeps_nobody_else_from_theirs() {
    let (_, endpoint) = world(9_120).await;
    let go = Arc::new(Semaphore::new(0));
    let endpoint = Endpoint { slow: Some(go.clone()), ..endpoint };
    let world = World { tokens: Arc::new(endpoint.clone()), ..World::new(9_121).await };
    for n in 0..5 {
        endpoint.answers(Ok((200, tokens(n))));
    }
    let given = |code: &str| body("hubspot", &json!({"code": code})).to_string();
    let call = |key: &'_ str, code: &'_ str| {
        let (key, body) = (key.to_owned(), given(code));
        let world = &world;
        async move { world.call(&key, "POST", "/instances", body).await }
    };
    let owner = world.owner.clone();
    let three = async { tokio::join!(call(&owner, "c1"), call(&owner, "c2"), call(&owner, "c3")) };
    let meanwhile = async {
        while endpoint.shown.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        let reply = call(&owner, "c4").await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.text);
        assert!(reply.message().contains("too many codes"), "{}", reply.message());
        assert_eq!(endpoint.shown.lock().unwrap().len(), 3, "the code is not spent");
        go.add_permits(100);
        assert_eq!(call(&world.stranger, "c5").await.status, StatusCode::OK);
    };
    let ((one, two, three), ()) = tokio::join!(three, meanwhile);
    assert_eq!([one.status, two.status, three.status], [StatusCode::OK; 3]);
    assert_eq!(call(&owner, "c4").await.status, StatusCode::OK, "a place is free again");
}
