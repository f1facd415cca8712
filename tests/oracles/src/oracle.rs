//! The providers' libraries, in one Python process that is asked over its input.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::Timestamp;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

/// Asana, Dropbox, Shopify, Xero and Zendesk have libraries for Python too, but none that verifies a webhook.
const PACKAGES: [&str; 8] = [
    "gidgethub==6.0.0",
    "hubspot-api-client==12.0.0",
    "python-quickbooks==0.9.12",
    "slack_sdk==3.47.0",
    "squareup==46.0.0.20260916",
    "standardwebhooks==1.1.0",
    "stripe==16.1.0",
    "svix==2.9.1",
];

const PROGRAM: &str = include_str!("oracle.py");

/// What is signed or judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The secret, as the provider shows it.
    pub secret: String,
    /// The method, in capitals.
    pub method: &'static str,
    /// The whole URL, as it is called.
    pub url: String,
    /// The delivery's id.
    pub id: String,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Question<'a> {
    r#do: &'a str,
    oracle: &'a str,
    secret: &'a str,
    method: &'a str,
    url: &'a str,
    id: &'a str,
    now: i64,
    body: String,
    headers: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Headers(std::collections::BTreeMap<String, String>),
    Accepted(bool),
    Error(String),
}

struct Process {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Ends when its input closes, which the operating system does when the tests' process ends, in whatever way.
    _child: Child,
}

/// The headers that the library `oracle` sends with `delivery` at `at`.
///
/// # Panics
/// Where the library cannot sign, or fails.
#[must_use]
pub fn sign(oracle: &str, delivery: &Delivery, at: Timestamp) -> HeaderMap {
    match ask(&question("sign", oracle, delivery, &HeaderMap::new(), at)) {
        Answer::Headers(headers) => headers
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().expect("a header's name");
                (name, value.parse().expect("a header's value"))
            })
            .collect(),
        Answer::Accepted(_) => panic!("{oracle} verified instead of signing"),
        Answer::Error(traceback) => panic!("{oracle} cannot sign {delivery:?}: {traceback}"),
    }
}

/// Whether the library `oracle` accepts `delivery` with `headers` when its clock shows `now`.
///
/// # Panics
/// Where the library fails in a way that is no refusal.
#[must_use]
pub fn accepts(oracle: &str, delivery: &Delivery, headers: &HeaderMap, now: Timestamp) -> bool {
    match ask(&question("verify", oracle, delivery, headers, now)) {
        Answer::Accepted(accepted) => accepted,
        Answer::Headers(_) => panic!("{oracle} signed instead of verifying"),
        Answer::Error(traceback) => panic!("{oracle} cannot verify {delivery:?}: {traceback}"),
    }
}

fn question<'a>(
    what: &'a str,
    oracle: &'a str,
    delivery: &'a Delivery,
    headers: &HeaderMap,
    now: Timestamp,
) -> Question<'a> {
    let text = |value: &http::HeaderValue| value.to_str().expect("a header of ASCII").into();
    Question {
        r#do: what,
        oracle,
        secret: &delivery.secret,
        method: delivery.method,
        url: &delivery.url,
        id: &delivery.id,
        now: now.as_millis(),
        body: STANDARD.encode(&delivery.body),
        headers: headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
    }
}

fn ask(question: &Question<'_>) -> Answer {
    static PROCESS: OnceLock<Mutex<Process>> = OnceLock::new();
    let line = serde_json::to_string(question).expect("a question");
    // A test that panicked while it asked, panicked in `expect` below: the process is gone and the next says so too.
    let mut process = PROCESS.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(process.input, "{line}").expect("the oracle's input");
    let mut answer = String::new();
    process.output.read_line(&mut answer).expect("the oracle's output");
    serde_json::from_str(&answer).expect("an answer; what the oracle says of itself stands above")
}

fn start() -> Mutex<Process> {
    let python::Environment { python, .. } = python::environment("oracles-venv", &PACKAGES);
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle's Python, which was there a moment ago");
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { unreachable!("both are piped") };
    Mutex::new(Process { input, output: BufReader::new(output), _child: child })
}
