//! What the server counts, as an operator's Prometheus reads it; and the lines by which one webhook is followed.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;

use super::common::{KEY, SECRET, Server, Sink, contact, customer, until};

/// The page's figures by their series.
async fn figures(server: &Server) -> BTreeMap<String, f64> {
    let response = reqwest::get(format!("{}/metrics", server.url)).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = response.text().await.unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let types = lines.iter().filter(|line| line.starts_with("# TYPE ")).count();
    let helps = lines.iter().filter(|line| line.starts_with("# HELP ")).count();
    assert_eq!(types, helps, "each figure says what it is: {page}");
    let figures = lines.iter().filter(|line| !line.starts_with('#'));
    figures.map(|line| line.rsplit_once(' ').map(|(s, n)| (s.to_owned(), n.parse().unwrap())).unwrap()).collect()
}

async fn unsigned(server: &Server) -> u16 {
    let url = format!("{}/elements/api-v2/events/hubspot", server.url);
    reqwest::Client::new().post(url).body(contact(1, [1])).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_taken_what_was_refused_and_what_waits() {
    let sink = Sink::answering(|_, n| if n == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }).await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    assert_eq!(figures(&server).await[r#"pollhook_received_total{connector="hubspot"}"#], 0.0);
    let instance = client.hubspot(1, &sink.url).await;
    assert_eq!(client.hubspot_sends(&contact(1, [1, 2])).await, Some(200));
    assert_eq!(unsigned(&server).await, 401);
    assert_eq!(reqwest::get(format!("{}/elements/api-v2/events/no-such", server.url)).await.unwrap().status(), 404);
    client.stands(instance, "DISPATCHED").await;

    // The attempt that failed is handed over again after some seconds, and waits until then.
    let delayed = r#"pollhook_backlog{queue="batches",state="delayed"}"#;
    until("a retry in the backlog", async || (figures(&server).await[delayed] == 1.0).then_some(())).await;
    let told = figures(&server).await;
    for (series, value) in [
        (r#"pollhook_received_total{connector="hubspot"}"#, 2.0),
        (r#"pollhook_accepted_total{connector="hubspot"}"#, 2.0),
        (r#"pollhook_received_total{connector="stripe"}"#, 0.0),
        (r#"pollhook_refused_total{connector="hubspot",reason="signature_missing"}"#, 1.0),
        (r#"pollhook_refused_total{connector="unknown",reason="unknown_connector"}"#, 1.0),
        (r#"pollhook_requests_total{class="4xx"}"#, 0.0),
        (r#"pollhook_backlog{queue="batches",state="ready"}"#, 0.0),
        (r#"pollhook_backlog{queue="polls",state="ready"}"#, 0.0),
        ("pollhook_dead_letters", 0.0),
    ] {
        assert_eq!(told.get(series).copied().unwrap_or_default(), value, "{series}: {told:?}");
    }
    assert!(told[r#"pollhook_requests_total{class="2xx"}"#] >= 2.0, "{told:?}");
    client.stands(instance, "NOTIFIED").await;
    until("an empty queue", async || (figures(&server).await[delayed] == 0.0).then_some(())).await;
    assert_eq!(client.get("/elements/api-v2/instances/1").await.0, 404);
    assert_eq!(figures(&server).await[r#"pollhook_requests_total{class="4xx"}"#], 1.0);
    let page = reqwest::get(format!("{}/metrics", server.url)).await.unwrap().text().await.unwrap();
    assert!(!page.contains(KEY) && !page.contains(SECRET) && !page.contains(&instance.to_string()), "{page}");
    assert!(!server.stderr().contains("taken") && !server.stderr().contains("refused"), "{}", server.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_it_reads_a_line_for_each_webhook_that_leads_to_its_event() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let flags = ["--allow-callbacks-to", "127.0.0.0/8", "--log", "info"];
    let server = Server::spawn(&mut Server::command(folder.path(), &flags)).await;
    let client = customer(&server.url, folder.path());
    let instance = client.hubspot(1, &sink.url).await;
    assert_eq!(client.hubspot_sends(&contact(1, [1, 2])).await, Some(200));
    assert_eq!(unsigned(&server).await, 401);
    let event = sink.receives(1).await.remove(0).events().remove(0).1;
    let line = |word: &str| {
        server.stderr().lines().find(|l| l.contains(&format!("pollhook::follow: {word}"))).map(str::to_owned)
    };
    let taken = until("the line of what was taken", async || line("taken")).await;
    assert!(taken.contains(&format!("instance={instance} events=2 event=\"{event}\"")), "{taken}");
    let refused = until("the line of what was refused", async || line("refused")).await;
    assert!(refused.contains(r#"connector="hubspot" reason="signature_missing" request_id=""#), "{refused}");
    let kept: Value = until("its record", async || client.history(instance).await.into_iter().next()).await;
    assert!(kept.to_string().contains(&event), "{kept}");
}
