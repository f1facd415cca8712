//! A connector whose provider is asked where the operator chose.

use std::time::Duration;

use platform::{Clock as _, SystemClock};
use serde_json::{Value, json};
use simulators::hubspot::HubSpot;

use super::common::{Server, binary, customer, run, until};

const BACK: &str = "https://app.example/back";

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_at_the_operator_s_address_is_consented_to_and_polled_and_nobody_else_gets_there() {
    let provider = HubSpot::start(SystemClock.now().minus(Duration::from_secs(60)));
    let folder = tempfile::tempdir().unwrap();
    let place = format!("hubspot={}", provider.url());
    // No callback, and so no range of addresses that anybody may post to.
    let server = Server::spawn(&mut Server::command(folder.path(), &["--connector-url", &place])).await;
    let client = customer(&server.url, folder.path());
    let (status, answer) =
        client.get(&format!("/elements/api-v2/elements/hubspot/oauth/url?apiKey=client-id&callbackUrl={BACK}")).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let url = answer["oauthUrl"].as_str().unwrap();
    assert!(status == 200 && url.starts_with(&format!("{}/oauth/authorize?", provider.url())), "{url}");

    let code = provider.world(|hubspot| hubspot.grants.agree("62515", BACK));
    let (status, answer) = client
        .ask(&json!({
            "name": "Acme", "element": {"key": "hubspot"}, "providerData": {"code": code},
            "configuration": {
                "event.vendor.type": "polling", "event.objects": "contacts", "event.notification.enabled": "true",
                "oauth.api.key": "client-id", "oauth.api.secret": "client-secret", "oauth.callback.url": BACK,
            },
        }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let searched = async || {
        let served = provider.served();
        served.iter().find(|served| served.path.ends_with("/search")).map(|served| served.status())
    };
    assert_eq!(until("a poll", searched).await, Some(200), "{}", server.stderr());

    // The same address is another customer's to ask no more than any other of this machine.
    let settings = [
        ("base.url", provider.url()),
        ("authentication.type", "none"),
        ("event.poller.configuration", r#"{"things": {"url": "/crm/v3/objects/contacts", "idField": "id"}}"#),
        ("event.notification.enabled", "true"),
    ];
    let before = provider.served().len();
    client.provision("Other", "http", &settings).await;
    until("its refusal", async || server.stderr().contains("--allow-callbacks-to").then_some(())).await;
    assert_eq!(provider.served().len(), before);
    assert!(!server.stderr().contains("client-secret"));
    server.stop().await;
}

#[test]
fn a_place_that_is_none_stops_the_start_and_says_what_is_wanted() {
    for (place, said) in [
        ("hubspot", "hubspot=http://127.0.0.1:9000"),
        ("nobody=http://127.0.0.1:9000", "--connector-url nobody: there is no such connector"),
        ("github=http://127.0.0.1:9000", "--connector-url github: its provider is not asked anything"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let finished = run(&mut binary(&["--listen", "127.0.0.1:0", "--data", data, "--connector-url", place]));
        assert!(!finished.status.success() && finished.stderr.contains(said), "{place}: {}", finished.stderr);
    }
}
