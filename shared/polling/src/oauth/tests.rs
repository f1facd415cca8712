use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;
use crate::definition::Authentication;

const SECTION: &str = r#"
base_url: "{instance_url}"
defaults: { siteAddress: login.example.com }
authentication:
  oauth2:
    authorize_url: https://{siteAddress}/authorize
    token_url: https://{siteAddress}/token
    scopes: [read, "offline access"]
    client_auth: body
    parameters: { prompt: "a&b", state: mine }
    keeps: { instance_url: instance_url }
    refresh_lifetime: x_lives_for
    signs: [{ at: status, is: BAD_REFRESH_TOKEN, means: grant_revoked }]
"#;

fn oauth(section: &str) -> (Oauth2, Polling, BTreeMap<String, String>) {
    let polling = Polling::from_yaml(section).unwrap();
    let Authentication::Oauth2(oauth) = polling.authentication.value.clone() else { panic!() };
    (*oauth, polling, BTreeMap::new())
}

fn client() -> Client {
    Client { id: "the id".into(), secret: "s3cret".into() }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_790_000_000)
}

fn judged(status: u16, body: Option<&Value>) -> Reply {
    let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
    let status = StatusCode::from_u16(status).unwrap();
    oauth(SECTION).0.judge(&Answer { status, headers: &headers, body }, now())
}

fn pairs(url: &str) -> Vec<(String, String)> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

#[test]
fn a_customer_is_sent_where_the_definition_says_with_the_app_s_id_and_never_its_secret() {
    let (oauth, polling, mut settings) = oauth(SECTION);
    let consent =
        Consent { client_id: "id", callback: "https://app.example/back?x=1", scope: None, state: Some("a b&c") };
    let url = oauth.consent_url(&polling, &settings, &consent).unwrap();
    assert_eq!(
        url,
        "https://login.example.com/authorize?response_type=code&client_id=id\
         &redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fx%3D1&scope=read%20offline%20access&state=a%20b%26c&prompt=a%26b"
    );
    settings.insert("siteAddress".into(), "test.example.com".into());
    let other = Consent { scope: Some("all"), state: None, ..consent };
    let url = oauth.consent_url(&polling, &settings, &other).unwrap();
    assert!(url.starts_with("https://test.example.com/authorize?") && url.contains("&scope=all&"), "{url}");
    assert!(!url.contains("state"), "what nobody gave is not sent, and none of the definition's is: {url}");
    settings.insert("siteAddress".into(), "evil.test/x?".into());
    assert!(oauth.consent_url(&polling, &settings, &consent).is_err());
    assert!(oauth.token_request(&polling, &settings, &client(), Shown::Refresh(&"r".into())).is_err());
}

#[test]
fn where_the_operator_chose_is_where_every_request_goes() {
    let (_, polling, settings) = oauth(SECTION);
    for (to, base) in
        [("http://127.0.0.1:9", "http://127.0.0.1:9"), ("https://proxy.example/x/", "https://proxy.example/x")]
    {
        let polling = polling.clone().at(&to.parse().unwrap()).unwrap();
        let Authentication::Oauth2(oauth) = &polling.authentication.value else { panic!() };
        let consent = Consent { client_id: "id", callback: "https://app.example", scope: None, state: None };
        let url = oauth.consent_url(&polling, &settings, &consent).unwrap();
        assert!(url.starts_with(&format!("{base}/authorize?")), "{url}");
        let request = oauth.token_request(&polling, &settings, &client(), Shown::Refresh(&"r".into())).unwrap();
        assert_eq!((request.url, request.chosen), (format!("{base}/token"), true));
    }
    assert!(polling.clone().at(&"https://proxy.example/?a=b".parse().unwrap()).is_err());
    assert!(polling.at(&"ftp://proxy.example".parse().unwrap()).is_err());
}

#[test]
fn tokens_are_asked_for_with_a_form_in_which_the_client_says_who_it_is_as_the_provider_wants() {
    let fields = |request: &TokenRequest| -> Vec<String> {
        request.form.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect()
    };
    let (body, polling, settings) = oauth(SECTION);
    let code = SecretString::from("c0de");
    let request =
        body.token_request(&polling, &settings, &client(), Shown::Code(&code, "https://app.example")).unwrap();
    let expected = [
        "grant_type=authorization_code",
        "code=c0de",
        "redirect_uri=https://app.example",
        "client_id=the id",
        "client_secret=s3cret",
    ];
    assert_eq!(
        (request.url.as_str(), fields(&request)),
        ("https://login.example.com/token", expected.map(str::to_owned).into())
    );
    assert!(request.basic.is_none());
    assert_eq!(format!("{request:?}"), "TokenRequest(login.example.com)");

    let (basic, polling, settings) = oauth(&SECTION.replace("client_auth: body", "client_auth: basic"));
    let request = basic.token_request(&polling, &settings, &client(), Shown::Refresh(&"r0".into())).unwrap();
    assert_eq!(fields(&request), ["grant_type=refresh_token", "refresh_token=r0"]);
    let (id, secret) = request.basic.unwrap();
    assert_eq!((id.expose_secret(), secret.expose_secret()), ("the id", "s3cret"));
}

#[test]
fn only_the_provider_s_own_word_is_a_refusal_and_what_may_have_happened_is_unclear() {
    let said = |status: u16, body: Option<Value>| match judged(status, body.as_ref()) {
        Reply::Tokens(_) => "tokens".to_owned(),
        Reply::Refused => "refused".to_owned(),
        Reply::UnknownClient => "client".to_owned(),
        Reply::Limited { after } => format!("limited {}", after.as_secs()),
        Reply::Failed { reason } => format!("failed {reason}"),
        Reply::Unclear { reason } => format!("unclear {reason}"),
    };
    for (status, body, expected) in [
        (200, Some(json!({"access_token": "a"})), "tokens"),
        (200, Some(json!({"access_token": " "})), "unclear there is no access token in the answer, status 200"),
        (200, None, "unclear there is no access token in the answer, status 200"),
        (400, Some(json!({"error": "invalid_grant"})), "refused"),
        (401, Some(json!({"error": "invalid_grant"})), "refused"),
        (400, Some(json!({"status": "BAD_REFRESH_TOKEN"})), "refused"),
        (401, Some(json!({"error": "invalid_client"})), "client"),
        (400, Some(json!({"error": "invalid_client"})), "client"),
        (400, Some(json!({"error": "invalid_request"})), "failed status 400"),
        (404, None, "failed status 404"),
        (429, None, "limited 7"),
        (503, None, "limited 7"),
        (500, Some(json!({"error": "invalid_client"})), "client"),
        (502, None, "unclear status 502"),
    ] {
        let expected = if status == 500 { "unclear status 500" } else { expected };
        assert_eq!(said(status, body.clone()), expected, "{status} {body:?}");
    }
}

#[test]
fn what_comes_with_the_tokens_is_read_and_what_makes_no_sense_left_out() {
    let read = |body: Value| match judged(200, Some(&body)) {
        Reply::Tokens(tokens) => tokens,
        other => panic!("{other:?}"),
    };
    let tokens = read(json!({"access_token": "a", "refresh_token": "r", "expires_in": "1800",
                             "x_lives_for": 8_726_400, "instance_url": "https://one.example"}));
    assert_eq!((tokens.access.expose_secret(), tokens.refresh.unwrap().expose_secret()), ("a", "r"));
    let lives = [tokens.lifetime, tokens.refresh_lifetime];
    assert_eq!(lives, [1800, 8_726_400].map(|seconds| Some(Duration::from_secs(seconds))));
    assert_eq!(tokens.settings, [("instance_url".to_owned(), "https://one.example".to_owned())].into());
    for none in [json!(null), json!(0), json!(-5), json!("soon"), json!(1e300), json!([1])] {
        let tokens = read(json!({"access_token": "a", "refresh_token": "", "expires_in": none, "x_lives_for": none,
                                 "instance_url": {}}));
        assert_eq!(tokens.refresh_lifetime, None, "{none}");
        assert!(tokens.refresh.is_none() && tokens.lifetime.is_none() && tokens.settings.is_empty(), "{none}");
    }
}

#[test]
fn a_configuration_says_when_its_access_token_ends_as_an_answer_that_was_kept_in_it_did() {
    let Reply::Tokens(tokens) = judged(200, Some(&json!({"access_token": "a", "expires_in": 60}))) else { panic!() };
    let kept: BTreeMap<&str, String> = tokens.life(now()).into_iter().collect();
    assert_eq!(life(|key| kept.get(key).map(String::as_str)), Some((now(), Duration::from_secs(60))));
    assert_eq!((life(|_| None), life(|_| Some("soon")), life(|_| Some("0"))), (None, None, None));
}

#[test]
fn a_secret_does_not_become_a_setting() {
    let section = SECTION.replace("keeps: { instance_url: instance_url }", "keeps: { my.token: access_token }");
    assert!(Polling::from_yaml(&section).unwrap_err().message.contains("secret"));
}

proptest! {
    #[test]
    fn a_consent_s_url_holds_what_it_was_made_of(
        client_id in ".{1,20}",
        callback in "https://a\\.example/[ -~]{0,20}",
        scope in "[ -~é]{0,20}",
        state in ".{0,20}",
    ) {
        let (oauth, polling, settings) = oauth(SECTION);
        let consent = Consent { client_id: &client_id, callback: &callback, scope: Some(&scope), state: Some(&state) };
        let pairs = pairs(&oauth.consent_url(&polling, &settings, &consent).unwrap());
        let found = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        prop_assert_eq!(found("client_id"), Some(client_id.as_str()));
        prop_assert_eq!(found("redirect_uri"), Some(callback.as_str()));
        prop_assert_eq!(found("scope").unwrap_or_default(), scope.trim());
        prop_assert_eq!(found("state").unwrap_or_default(), state.as_str());
    }

    #[test]
    fn any_answer_is_judged_and_none_is_quoted(status in 100..600_u16, text in "[a-z\"{}:_ ]{0,40}", error in "[a-z_]{0,20}") {
        let bodies = [serde_json::from_str(&text).ok(), Some(json!({"error": error, "secret": "s3cret"}))];
        for body in bodies {
            let judged = format!("{:?}", judged(status, body.as_ref()));
            prop_assert!(!judged.contains("s3cret"), "{}", judged);
        }
    }
}
