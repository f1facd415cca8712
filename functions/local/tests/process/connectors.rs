//! Providers defined by files: checked, listed, served.

use std::fs;
use std::path::{Path, PathBuf};

use connectors::Connector;
use events::signature::SignatureKey;
use serde_json::Value;

use super::common::{Finished, KEY, Server, Sink, binary, customer, run};

/// What the demo defines, and the README shows.
const LANTERN: &str = include_str!("../../src/demo/lantern.yaml");

/// Writes `text` as `folder`/`name`.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    file
}

fn check(file: &Path) -> Finished {
    run(&mut binary(&["connectors", "check", file.to_str().unwrap()]))
}

/// What is said on standard error, of files in `folder`.
fn complaint(checked: &Finished, folder: &Path) -> String {
    checked.stderr.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_definition_that_is_right_is_told_with_its_examples() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "lantern.yaml", LANTERN);
    let own = "about: A sign of life.\nbody: '{\"events\": []}'\n";
    write(folder.path(), "examples/lantern/empty.yaml", own);
    let checked = check(&file);
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", checked.stderr);
    let told = "Lantern (lantern): 2 examples passed\n  ✓ A table is booked, and moved by another guest.\n  ✓ A sign of life.\n";
    assert_eq!(checked.stdout, told);
}

#[test]
fn every_built_in_definition_passes_as_a_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/connectors/definitions");
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let found = check(&file);
            assert!(found.status.success() && found.stderr.is_empty(), "{}", found.stderr);
            // Examples are of webhooks, which `http` has none of.
            let good =
                if file.ends_with("http.yaml") { "(http): how it is polled is well formed" } else { "passed\n  ✓ " };
            assert!(found.stdout.contains(good) && found.stdout.contains("stands in"), "{}", found.stdout);
            checked += 1;
        }
    }
    assert!(checked >= 14);
}

#[test]
fn each_mistake_is_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (right, wrong, told) in [
        ("name: Lantern", "name: [Lantern", "lantern.yaml:3: "),
        ("entries:", "entrys:", "lantern.yaml:8: unknown field `entrys`"),
        ("[.kind, .id", "[.kind, $nope", "lantern.yaml:15: jq: there is no variable $nope"),
        ("hmac-sha256", "sha256", "lantern.yaml:11: a plain sha256 must hash {secret}"),
        ("key: lantern", "key: light", "lantern.yaml:2: the key is light, so the file must be called light.yaml"),
        ("event: UPDATED", "event: DELETED", "lantern.yaml:17: example \"A table is booked, and moved"),
        ("{\"events\": [", "{\"events\": [[", "lantern.yaml:17: example"),
    ] {
        assert!(LANTERN.contains(right), "{right}");
        let file = write(folder.path(), "lantern.yaml", &LANTERN.replace(right, wrong));
        let checked = check(&file);
        assert_eq!(checked.status.code(), Some(1), "{wrong}");
        let complaint = complaint(&checked, folder.path());
        assert!(complaint.starts_with(told) && complaint.lines().count() == 1, "{wrong}: {complaint}");
    }
    let differs = check(&write(folder.path(), "lantern.yaml", &LANTERN.replace("event: UPDATED", "event: DELETED")));
    assert!(differs.stderr.contains("wants { account: \"v-1\", type: \"tables\", id: \"9\", event: DELETED,"));
    assert!(differs.stderr.contains("makes { account: \"v-1\", type: \"tables\", id: \"9\", event: UPDATED,"));
    assert_eq!(differs.stdout, "Lantern (lantern): 0 of 1 example passed\n");
    let missing = check(&folder.path().join("missing.yaml"));
    assert!(missing.status.code() == Some(1) && missing.stderr.contains("missing.yaml: cannot be read: "));
}

#[test]
fn a_mistake_in_an_examples_own_file_is_told_with_that_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "lantern.yaml", LANTERN);
    write(folder.path(), "examples/lantern/a.yaml", "about: a\nbody: \"{}\"\nbodie: x\n");
    let change = "changes: [{ type: tables, id: \"1\", event: CREATED }]\n";
    write(folder.path(), "examples/lantern/b.yaml", &format!("about: b\nbody: \"[]\"\n{change}"));
    let checked = check(&file);
    assert_eq!(checked.status.code(), Some(1));
    let complaint = complaint(&checked, folder.path());
    let lines: Vec<&str> = complaint.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("examples/lantern/a.yaml:3: unknown field `bodie`"), "{lines:?}");
    assert!(lines[1].starts_with("examples/lantern/b.yaml:1: example \"b\": changes: "), "{lines:?}");
    assert!(checked.stdout.starts_with("Lantern (lantern): 1 of 2 examples passed"), "{}", checked.stdout);
}

#[test]
fn a_definition_without_examples_passes_with_a_warning_that_says_what_they_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let (definition, _) = LANTERN.split_once("examples:").unwrap();
    let checked = check(&write(folder.path(), "lantern.yaml", definition));
    assert!(checked.status.success(), "{}", checked.stderr);
    assert!(checked.stderr.contains("lantern.yaml: warning: there are no examples"), "{}", checked.stderr);
    assert!(checked.stderr.contains("a recorded request") && checked.stderr.contains("examples/<key>/*.yaml"));
}

#[test]
fn the_list_tells_built_in_connectors_from_those_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "lantern.yaml", LANTERN).display().to_string();
    let shown = run(&mut binary(&["connectors"]));
    assert!(shown.status.success() && !shown.stdout.contains("lantern"), "{}", shown.stdout);
    let with = ["connectors", "--connectors", folder.path().to_str().unwrap()];
    let shown = run(&mut binary(&with));
    let line = |key: &str| shown.stdout.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("hubspot ").ends_with("built in") && line("lantern ").ends_with(&file), "{}", shown.stdout);
    assert!(shown.stdout.contains("signature in x-lantern-signature; secret: webhook.secret"), "{}", shown.stdout);
    assert!(!shown.stdout.contains('\u{1b}'), "no colours in a pipe");

    let json = run(binary(&["connectors", "--json"]).env("POLLHOOK_CONNECTORS", folder.path()));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let find = |key: &str| json.as_array().unwrap().iter().find(|connector| connector["key"] == key).unwrap();
    assert_eq!((&find("lantern")["file"], &find("lantern")["scope"]), (&Value::from(file), &"app".into()));
    assert!(find("hubspot").get("file").is_none());

    write(folder.path(), "broken.yaml", "key: broken\n");
    let broken = run(&mut binary(&with));
    assert_eq!((broken.status.code(), broken.stdout.as_str()), (Some(1), ""));
    assert!(broken.stderr.contains("broken.yaml:"), "{}", broken.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_a_file_is_served_as_any_other_and_may_stand_in_for_a_built_in_one() {
    let (data, folder, sink) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Sink::new().await);
    write(folder.path(), "lantern.yaml", LANTERN);
    write(folder.path(), "github.yaml", &LANTERN.replace("lantern", "github"));
    let connectors = folder.path().to_str().unwrap();
    let flags = ["--allow-callbacks-to", "127.0.0.0/8", "--connectors", connectors];
    let server = Server::spawn(&mut Server::command(data.path(), &flags)).await;
    let client = customer(&server.url, data.path());
    for key in ["lantern", "github"] {
        let connector = Connector::from_yaml(&LANTERN.replace("lantern", key)).unwrap();
        let settings = [("event.vendor.account", "v-1"), ("event.notification.callback.url", sink.url.as_str())];
        let instance = client.provision("Acme", key, &settings).await;
        let body = &connector.examples()[0].body;
        assert_eq!(client.sends_as(&connector, None, "", body).await, Some(200));
        client.stands(instance, "NOTIFIED").await;
        assert_eq!(client.sends_as(&connector, None, "", &body.replace("v-1", "v-2")).await, Some(200));
    }
    let received = sink.receives(2).await;
    let message = &received[0].json["message"];
    assert_eq!((&message["elementKey"], &message["events"][1]["objectId"]), (&"lantern".into(), &"9".into()));
    assert_eq!(message["events"][0]["hubKey"], "scheduling");
    let key = SignatureKey::new(KEY.into()).unwrap();
    key.verify_elements(received[0].header("elements-webhook-signature"), &received[0].body).unwrap();
    let log = server.stderr();
    let line = |key: &str| log.lines().find(|line| line.contains(key) && line.contains("was read")).unwrap().to_owned();
    assert!(line("github.yaml").contains("stands in for the built-in one"), "{log}");
    assert!(!line("lantern.yaml").contains("stands in"), "{log}");
}

#[test]
fn a_definition_that_does_not_load_stops_the_start_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "lantern.yaml", &LANTERN.replace("entries:", "entrys:"));
    write(folder.path(), "light.yaml", LANTERN);
    let data = folder.path().join("data");
    let refused = run(&mut Server::command(&data, &["--connectors", folder.path().to_str().unwrap()]));
    assert_eq!((refused.status.code(), refused.stdout.as_str()), (Some(1), ""));
    let complaint = complaint(&refused, folder.path());
    assert!(complaint.contains("lantern.yaml:8: unknown field `entrys`"), "{complaint}");
    assert!(complaint.contains("light.yaml:2: the key is lantern"), "{complaint}");
    assert!(!data.exists());
    let refused = run(&mut Server::command(&data, &["--connectors", data.to_str().unwrap()]));
    assert!(!refused.status.success() && refused.stderr.contains("data: cannot be read"), "{}", refused.stderr);
}
