//! The first start, later starts, and starts that are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::common::{Server, Sink, binary, contact, customer, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_prints_credentials_once_and_keeps_them_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data).await;
    server.printed("Then have HubSpot post").await;
    let kept = fs::read_to_string(data.join("credentials")).unwrap();
    assert!(kept.starts_with("User ") && kept.contains(", Organization "));
    assert!(server.stdout().contains(kept.trim()), "printed are the credentials that are kept");
    assert_eq!(mode(&data), 0o700);
    for file in ["credentials", "pollhook.redb", "vault.key"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    let client = customer(&server.url, &data);
    let instance = client.hubspot(1, "https://example.com/callback").await;
    server.stop().await;

    let server = Server::start(&data).await;
    server.printed("Then have HubSpot post").await;
    assert!(!server.stdout().contains("User ") && !server.stdout().contains("account was made"));
    assert_eq!(fs::read_to_string(data.join("credentials")).unwrap(), kept);
    let (status, body) = client.at(&server.url).get(&format!("/elements/api-v2/instances/{instance}")).await;
    assert_eq!(status, 200, "{body}");
    let stranger = client.at(&server.url).authorized("User x, Organization y");
    assert_eq!(stranger.get(&format!("/elements/api-v2/instances/{instance}")).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_credentials_are_replaced_by_others_of_the_same_account() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let instance = customer(&server.url, folder.path()).hubspot(1, "https://example.com/callback").await;
    server.stop().await;
    let file = folder.path().join("credentials");
    let before = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();

    let server = Server::start(folder.path()).await;
    server.printed("Then have HubSpot post").await;
    let after = fs::read_to_string(&file).unwrap();
    assert!(after != before && server.stdout().contains(after.trim()));
    let client = customer(&server.url, folder.path());
    let (status, body) = client.get(&format!("/elements/api-v2/instances/{instance}")).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let second = run(&mut Server::command(folder.path(), &[]));
    assert!(!second.status.success());
    assert!(second.stderr.contains("another pollhook is using"), "{}", second.stderr);
    assert!(!second.stdout.contains("listens"));
    assert_eq!(customer(&server.url, folder.path()).get("/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_says_what_flags_say_and_the_server_is_healthy() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let mut command = binary(&[]);
    command
        .env("POLLHOOK_LISTEN", "127.0.0.1:0")
        .env("POLLHOOK_DATA", folder.path())
        .env("POLLHOOK_PUBLIC_URL", "https://hooks.example.com/base/")
        .env("POLLHOOK_ALLOW_CALLBACKS_TO", "10.0.0.0/8,127.0.0.0/8")
        .env("POLLHOOK_LOG", "error,pollhook_dispatcher=debug");
    let server = Server::spawn(&mut command).await;
    server.printed("https://hooks.example.com/base/elements/api-v2/events/hubspot").await;
    let client = customer(&server.url, folder.path());
    let (status, body) = client.get("/healthz").await;
    assert_eq!((status, body.contains("ok")), (200, true), "{body}");
    // Allowed by the second of the two networks.
    let instance = client.hubspot(1, &sink.url).await;
    let (_, shown) = client.get(&format!("/elements/api-v2/instances/{instance}")).await;
    assert!(shown.contains("https://hooks.example.com/base/elements/api-v2/events/"), "{shown}");
    // Signed for this machine's URL, which is not the public one.
    assert_eq!(client.hubspot_sends(&contact(1, [1])).await, Some(401));
    assert!(!server.stderr().contains("INFO"), "{}", server.stderr());
    assert!(!server.stderr().contains('\u{1b}'), "no colours in a pipe: {}", server.stderr());
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    let base = ["--listen", "127.0.0.1:0", "--data", data];
    for (arguments, told) in [
        (vec!["--listen", "nowhere"], "'nowhere' for '--listen <ADDRESS>'"),
        (vec!["--allow-callbacks-to", "10.0.0.0/99"], "'10.0.0.0/99' for '--allow-callbacks-to <CIDR>'"),
        (vec!["--public-url", "not a url"], "'not a url' for '--public-url <URL>'"),
        (vec!["--frobnicate"], "unexpected argument '--frobnicate'"),
        (vec!["frobnicate"], "frobnicate"),
        ([&base[..], &["--public-url", "ftp://example.com"]].concat(), "--public-url is http(s)://host"),
        ([&base[..], &["--public-url", "https://example.com/?a=b"]].concat(), "without a query"),
        ([&base[..], &["--log", "pollhook=loud"]].concat(), "--log: "),
        (vec!["--data", file.to_str().unwrap(), "--listen", "127.0.0.1:0"], "a-file"),
        (vec!["--data", data, "--listen", &taken], "choose another with --listen"),
        (vec!["listen", "--port", "70000"], "'70000' for '--port <NUMBER>'"),
        (vec!["listen", "--port", "0", "--secret", " "], "--secret: the key is blank"),
        (vec!["listen", "--port", "0", "--secret", "whsec_%"], "--secret: a key that starts with whsec_"),
    ] {
        let refused = run(&mut binary(&arguments));
        assert!(!refused.status.success(), "{arguments:?}");
        assert!(refused.stderr.contains(told), "{arguments:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains("panicked") && !refused.stdout.contains("listens"), "{}", refused.stderr);
    }
}

#[test]
fn without_certificates_it_does_not_start_and_names_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let mut command = Server::command(&folder.path().join("data"), &[]);
    let refused = run(command.env("SSL_CERT_FILE", &missing).env("SSL_CERT_DIR", &missing));
    assert!(!refused.status.success() && !refused.stdout.contains("listens"), "{}", refused.stdout);
    assert!(refused.stderr.contains("package ca-certificates"), "{}", refused.stderr);
    assert!(!folder.path().join("data/credentials").exists(), "shown once, so not before it can start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_nobody_has_is_told_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (status, body) = customer(&server.url, folder.path()).get("/elements/api-v2/evnts/hubspot").await;
    assert!(status == 404 && body.contains("requestId") && body.contains("/elements/api-v2/events/"), "{body}");
}

#[test]
fn help_lists_every_flag_with_its_twin_and_never_a_secret() {
    let help = run(&mut binary(&["--help"]));
    assert!(help.status.success());
    for flag in ["listen", "data", "public-url", "allow-callbacks-to", "connectors", "log"] {
        let twin = format!("POLLHOOK_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.stdout.contains(&format!("--{flag} ")) && help.stdout.contains(&twin), "{flag}: {}", help.stdout);
    }
    assert!(help.stdout.contains("  demo") && help.stdout.contains("  listen"), "{}", help.stdout);
    let help = run(binary(&["listen", "--help"]).env("POLLHOOK_SECRET", "topsecret"));
    assert!(run(&mut binary(&["dead-letters", "--help"])).stdout.contains("POLLHOOK_REQUEUE"));
    for flag in ["port", "secret", "fail-first", "bodies"] {
        let twin = format!("POLLHOOK_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.stdout.contains(&format!("--{flag}")) && help.stdout.contains(&twin), "{flag}: {}", help.stdout);
    }
    assert!(!help.stdout.contains("topsecret"));
    let help = run(&mut binary(&["connectors", "--help"])).stdout;
    assert!(help.contains("POLLHOOK_JSON") && help.contains("  check"), "{help}");
    assert!(run(&mut binary(&["demo", "--help"])).stdout.contains("removed at the end"));
    assert!(run(&mut binary(&["--version"])).stdout.starts_with("pollhook "));
}
