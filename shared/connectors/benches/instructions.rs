//! Instructions of one webhook, per connector: verify it, normalise it, and sign the notification's bytes with both of our
//! signatures; beside the floor that no engine gets under, reading the same bytes as JSON and one HMAC over them.
//!
//! `cargo bench -p pollhook-connectors --bench instructions` counts with callgrind (Debian's package `valgrind`), since
//! instructions do not vary with the machine's load as times do. Callgrind knows no SHA instructions, so each HMAC counts
//! some ten times what it costs on a machine that has them, in the floor as in the rest. `-- --times` measures times
//! instead. `-- --at-most 6` exits with 1 where a connector takes more than that many floors.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;

use connectors::{Connector, Outgoing, Request, catalogue};
use events::{SignatureKey, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use pollhook_connectors as connectors;
use sha2::Sha256;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "https://hooks.example.com/events/x";
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The parts that are counted.
const PARTS: [&str; 4] = ["verify", "normalise", "sign", "floor"];

/// Runs that are counted, and those before them whose count is subtracted: compiling the definition and the like.
const RUNS: [u32; 2] = [100, 300];

struct Webhook {
    connector: &'static Connector,
    url: String,
    secret: String,
    headers: HeaderMap,
    body: Vec<u8>,
    configuration: BTreeMap<String, String>,
    key: SignatureKey,
}

/// The first recorded request that tells of something, leaves nothing out and needs no configuration, as its provider sends
/// it.
fn webhook(key: &str) -> Option<Webhook> {
    let connector = catalogue().get(key)?;
    let tells = |example: &&connectors::Example| {
        example.method == "POST"
            && example.configuration.is_empty()
            && example.skipped.is_empty()
            && !(example.changes.is_empty() && example.signals.is_empty())
    };
    let example = connector.examples().iter().find(tells)?;
    let secret = example.secret.as_deref().unwrap_or(SECRET).to_owned();
    let url = connector.url_with_secret(URL, &secret).into_owned();
    let body = example.body.clone().into_bytes();
    let mut headers = HeaderMap::new();
    for (name, value) in &example.headers {
        headers.insert(name.parse::<http::HeaderName>().ok()?, value.parse().ok()?);
    }
    let outgoing = Outgoing { method: "POST", url: &url, body: &body, id: "msg_1", at: NOW };
    for (name, value) in connector.sign(&secret, &outgoing).ok()? {
        headers.insert(name, value);
    }
    let key = SignatureKey::new(SECRET.into()).ok()?;
    Some(Webhook { connector, url, secret, headers, body, configuration: example.configuration.clone(), key })
}

impl Webhook {
    fn request(&self) -> Request<'_> {
        Request { method: "POST", url: &self.url, headers: &self.headers, body: black_box(&self.body) }
    }

    fn run(&self, part: &str) {
        let request = self.request();
        match part {
            "verify" => {
                black_box(self.connector.verify(&request, self.parsed_before_verifying(), &[&self.secret], NOW)).ok();
            }
            "normalise" => {
                if let Ok(parsed) = self.connector.parse(&request) {
                    black_box(self.connector.accounts(&parsed));
                    black_box(self.connector.normalise(&request, &parsed, &self.configuration));
                }
            }
            "sign" => {
                black_box((
                    self.key.elements(request.body),
                    self.key.standard("BetyzYXaIHh3gQyBJKpG", NOW, request.body),
                ));
            }
            _ => {
                black_box(serde_json::from_slice::<serde_json::Value>(request.body)).ok();
                if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()) {
                    mac.update(request.body);
                    black_box(mac.finalize());
                }
            }
        }
    }

    /// What a token in the body is looked up in is read for normalising anyway, and counted there.
    fn parsed_before_verifying(&self) -> Option<&'static connectors::Parsed> {
        None
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--run", key, part, runs] = arguments.as_slice() {
        let (Some(webhook), Ok(runs)) = (webhook(key), runs.parse::<u32>()) else { return ExitCode::FAILURE };
        (0..runs).for_each(|_| webhook.run(part));
        return ExitCode::SUCCESS;
    }
    let times = arguments.contains(&"--times");
    let at_most = arguments.iter().position(|a| *a == "--at-most").and_then(|at| arguments.get(at + 1)?.parse().ok());
    match table(times, at_most) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("instructions: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what it is run for")]
fn say(line: &str) {
    println!("{line}");
}

fn table(times: bool, at_most: Option<f64>) -> Result<bool, String> {
    say(if times {
        "| connector | bytes | verify ns | normalise ns | sign ns | floor ns | × |"
    } else {
        "| connector | bytes | verify | normalise | sign | floor | × |"
    });
    say("|---|---|---|---|---|---|---|");
    let mut within = true;
    let sent = |key: &&str| catalogue().get(key).is_some_and(Connector::has_webhooks);
    for key in catalogue().keys().filter(sent) {
        let Some(webhook) = webhook(key) else { return Err(format!("{key} has no recorded request to measure")) };
        let mut counts = Vec::new();
        for part in PARTS {
            counts.push(if times { nanoseconds(&webhook, part) } else { instructions(key, part)? });
        }
        let ratio = (counts[0] + counts[1] + counts[2]) / counts[3];
        within &= at_most.is_none_or(|most| ratio <= most);
        let cells: Vec<String> = counts.iter().map(|count| format!("{count:.0}")).collect();
        say(&format!("| {key} | {} | {} | {ratio:.1} |", webhook.body.len(), cells.join(" | ")));
    }
    Ok(within)
}

/// Instructions of one run: of many runs, less those of fewer.
fn instructions(key: &str, part: &str) -> Result<f64, String> {
    let [few, many] = RUNS.map(|runs| counted(key, part, runs));
    Ok((many? - few?) / f64::from(RUNS[1] - RUNS[0]))
}

fn counted(key: &str, part: &str, runs: u32) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--run", key, part, &runs.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be run ({error}); install it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind did not count {key} {part}: {said}"))
}

/// The shortest of several rounds: what disturbs only makes it longer.
fn nanoseconds(webhook: &Webhook, part: &str) -> f64 {
    let round = || {
        let began = Instant::now();
        (0..2_000).for_each(|_| webhook.run(part));
        began.elapsed().as_nanos() as f64 / 2_000.0
    };
    (0..20).map(|_| round()).fold(f64::INFINITY, f64::min)
}
