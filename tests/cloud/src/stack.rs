//! The deployment: the real template, deployed to the emulator by the SAM CLI with our own functions, each of whose calls
//! to AWS goes over a [`Wire`].
//!
//! *Flow:* the functions are built and assembled as `sam build` would; the emulator runs them as processes of this computer.
//! One stack for all scenarios of a test binary; each has an account of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use deployment::Client;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::cloud;
use crate::emulator::{self, Emulator};
use crate::wire::Wire;

/// By which accounts are made.
const ADMIN_KEY: &str = "admin-key-of-the-scenarios";

/// The functions: logical ids and packages.
pub const FUNCTIONS: [(&str, &str); 4] = [
    ("WebhookReceiver", "webhook-receiver"),
    ("InstancesApi", "instances-api"),
    ("Dispatcher", "dispatcher"),
    ("Poller", "poller"),
];

/// What a former run wrote down is written over.
static FIRST: AtomicBool = AtomicBool::new(true);

const STACK: &str = "pollhook";

/// Optimised, and built in less time than what is deployed.
const PROFILE: &str = "quick";

/// After how long a message that we failed to work on comes again, in seconds.
const VISIBILITY_S: u32 = 6;

/// Pollhook, deployed.
#[derive(Debug)]
pub struct Stack {
    /// The template's outputs.
    pub outputs: BTreeMap<String, String>,
    /// Where it is reached.
    pub url: String,
    /// Between the functions and AWS.
    pub wire: Wire,
    emulator: Emulator,
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// # Panics
/// When it fails, with what it said.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{out}\n{err}");
    out
}

/// Builds every program of the workspace, with a feature of this package where one is named; the folder of the programs.
/// All at once and with the figures' references, as CI does it, so that nothing is built twice.
fn build(feature: Option<&str>) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--locked", "--profile", PROFILE, "--workspace", "--bins"]);
    cargo.args(["--features", "pollhook-figures/figures"]);
    if let Some(feature) = feature {
        cargo.arg("--features").arg(format!("{}/{feature}", env!("CARGO_PKG_NAME")));
    }
    run(&mut cargo);
    python::target().join(PROFILE)
}

/// Copies the functions of `from`, by package, to a folder of the target folder; where.
fn keep(name: &str, from: impl Fn(&str) -> PathBuf) -> PathBuf {
    let kept = python::target().join("functions").join(name);
    std::fs::create_dir_all(&kept).expect("a folder");
    for (_, function) in FUNCTIONS {
        std::fs::copy(from(function).join(function), kept.join(function)).expect("the program");
    }
    kept
}

/// Lays out the functions of a folder as `sam build` does; where.
fn lay_out(functions: &Path) -> PathBuf {
    run(Command::new("tests/tools/assemble").current_dir(root()).arg(functions));
    root().join(".aws-sam/build")
}

/// Builds the functions, and lays them out as `sam build` does; where. Blocks for minutes the first time.
///
/// # Panics
/// When they do not build.
#[must_use]
pub fn assemble() -> PathBuf {
    lay_out(&build(None))
}

/// Three deployments of an upgrade: folders of functions.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The functions as they are.
    pub older: PathBuf,
    /// As while a deployment is half through: the receiver is newer already.
    pub half: PathBuf,
    /// A version to come, which writes a schema that the present one does not read.
    pub newer: PathBuf,
}

impl Versions {
    /// Builds them. Blocks for minutes.
    ///
    /// # Panics
    /// When they do not build.
    #[must_use]
    pub fn build() -> Self {
        let newer = build(Some("newer"));
        let newer = keep("newer", |_| newer.clone());
        let older = build(None);
        let older = keep("older", |_| older.clone());
        let half = keep("half", |function| if function == "webhook-receiver" { newer.clone() } else { older.clone() });
        Self { older, half, newer }
    }
}

/// The one stack of this process, deployed at the first call.
///
/// # Panics
/// When it cannot be deployed.
pub async fn stack() -> &'static Stack {
    static DEPLOYED: OnceCell<Stack> = OnceCell::const_new();
    // Each test has a runtime of its own, which ends with it; the wire is everybody's.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    DEPLOYED.get_or_init(async || RUNTIME.spawn(deploy()).await.expect("a deployment")).await
}

/// `sam deploy` of what was laid out in a folder: makes the stack, or changes it to that.
fn sam_deploy(aws: std::net::SocketAddr, build: &Path) {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let admin: String = Sha256::digest(ADMIN_KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let parameters = [
        format!("Architecture={architecture}"),
        format!("AdminKeySha256={admin}"),
        "AllowCallbacksTo=127.0.0.0/8".into(),
        "ProtectTable=false".into(),
        format!("VisibilitySeconds={VISIBILITY_S}"),
    ];
    let mut sam = Command::new("tests/tools/sam");
    sam.current_dir(root()).envs(emulator::credentials()).env("AWS_ENDPOINT_URL", format!("http://{aws}"));
    sam.args(["deploy", "--stack-name", STACK, "--resolve-s3", "--no-confirm-changeset", "--no-progressbar"]);
    sam.args(["--capabilities", "CAPABILITY_IAM", "--template-file"]).arg(build.join("template.yaml"));
    sam.arg("--parameter-overrides").args(parameters);
    run(&mut sam);
}

async fn deploy() -> Stack {
    let port = emulator::free_port();
    let wire = Wire::to(([127, 0, 0, 1], port).into()).await;
    let endpoint = format!("http://{}", wire.address);
    let blocking = move || {
        let emulator = Emulator::of_functions(port, &endpoint);
        sam_deploy(emulator.address, &assemble());
        let aws = format!("http://{}", emulator.address);
        let mut list = Command::new("tests/tools/sam");
        list.current_dir(root()).envs(emulator::credentials()).env("AWS_ENDPOINT_URL", &aws);
        let listed = run(list.args(["list", "stack-outputs", "--stack-name", STACK, "--output", "json"]));
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap_or_else(|error| panic!("{error}: {listed}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let outputs: BTreeMap<_, _> =
            listed.iter().map(|output| (text(&output["OutputKey"]), text(&output["OutputValue"]))).collect();
        (emulator, outputs)
    };
    let (emulator, outputs) = tokio::task::spawn_blocking(blocking).await.expect("a deployment");
    scale(emulator.address).await;
    let url = format!("http://{}/_aws/execute-api/{}/$default", emulator.address, outputs["HttpApiId"]);
    Stack { outputs, url, wire, emulator }
}

/// Tells the emulator once more how many invocations each queue may have at a time: it keeps the template's number as a
/// text, and then hands over nothing.
async fn scale(aws: std::net::SocketAddr) {
    let url = format!("http://{aws}/2015-03-31/event-source-mappings");
    egress::crypto::provide();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let signed = || format!("AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host, Signature=0", scope("lambda"));
    let call = async |request: reqwest::RequestBuilder| {
        let answer = request.header("authorization", signed()).send().await.expect("an answer");
        let text = answer.text().await.expect("a whole answer");
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let listed = call(http.get(&url)).await;
    let mappings = listed["EventSourceMappings"].as_array().cloned().unwrap_or_default();
    assert_eq!(mappings.len(), 2, "the mappings of both queues: {listed}");
    for mapping in mappings {
        let id = mapping["UUID"].as_str().unwrap_or_default();
        let body = json!({ "ScalingConfig": { "MaximumConcurrency": 4 } }).to_string();
        call(http.put(format!("{url}/{id}")).header("content-type", "application/json").body(body)).await;
    }
}

/// The scope of a signature that the emulator does not check, but takes the region from.
fn scope(service: &str) -> String {
    format!("{}/20261127/{}/{service}/aws4_request", emulator::KEY, emulator::REGION)
}

impl Stack {
    /// Who holds the admin key.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(&self.url, &format!("Bearer {ADMIN_KEY}"))
    }

    /// A new account.
    ///
    /// # Panics
    /// When none can be made.
    pub async fn account(&self, operator: bool) -> Client {
        let body = json!({ "operator": operator });
        let (status, made) = self.admin().call(Method::POST, "/elements/api-v2/accounts", Some(&body)).await;
        assert_eq!(status, 200, "{made}");
        let made: Value = serde_json::from_str(&made).expect("an account");
        let public_url = self.outputs["WebhookUrl"].trim_end_matches("/elements/api-v2/events/");
        Client::new(&self.url, made["authorization"].as_str().unwrap_or_default()).known_as(public_url)
    }

    /// A queue that a rule on the event bus fills with one instance's changes. One for each deployment.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn flow_queue(&self, instance: u32) -> String {
        let sqs = cloud::sqs_at(self.aws());
        let made = sqs.create_queue().queue_name("flows").send().await.expect("a queue");
        let queue = made.queue_url.expect("its URL");
        let asked = sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await.expect("its attributes").attributes.expect("its attributes");
        let (bus, name) = (cloud::eventbridge_at(self.aws()), &self.outputs["BusName"]);
        let pattern = json!({ "source": ["pollhook"], "detail": { "instanceId": [instance] } }).to_string();
        bus.put_rule().name("flows").event_bus_name(name).event_pattern(pattern).send().await.expect("a rule");
        let target = Target::builder().id("queue").arn(&attributes[&QueueAttributeName::QueueArn]).build();
        let target = target.expect("a target");
        bus.put_targets()
            .rule("flows")
            .event_bus_name(name)
            .targets(target)
            .send()
            .await
            .expect("a rule with a target");
        queue
    }

    /// Deploys the functions of a folder over those that are there.
    ///
    /// # Panics
    /// When they cannot be deployed.
    pub async fn deploy(&self, functions: PathBuf) {
        let aws = self.emulator.address;
        let blocking = move || sam_deploy(aws, &lay_out(&functions));
        tokio::task::spawn_blocking(blocking).await.expect("a deployment");
        scale(aws).await;
    }

    /// The lines that the functions have logged so far.
    ///
    /// # Panics
    /// When the emulator does not tell them.
    pub async fn logs(&self) -> Vec<String> {
        let groups = self.logs_call("DescribeLogGroups", &json!({})).await;
        let mut lines = Vec::new();
        for group in groups["logGroups"].as_array().into_iter().flatten() {
            let events = self.logs_call("FilterLogEvents", &json!({ "logGroupName": group["logGroupName"] })).await;
            let messages = events["events"].as_array().into_iter().flatten();
            lines.extend(messages.filter_map(|event| event["message"].as_str().map(str::to_owned)));
        }
        lines
    }

    async fn logs_call(&self, operation: &str, body: &Value) -> Value {
        egress::crypto::provide();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = http.post(format!("http://{}/", self.emulator.address));
        let request = request.header("x-amz-target", format!("Logs_20140328.{operation}"));
        let request = request.header("content-type", "application/x-amz-json-1.1");
        let signed = format!("AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host, Signature=0", scope("logs"));
        let answer = request.header("authorization", signed).body(body.to_string()).send().await.expect("an answer");
        let text = answer.text().await.expect("a whole answer");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Adds what the functions called since the last time to `target/calls.json`, for the policies to be held against.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_down_calls(&self) {
        static FILE: Mutex<()> = Mutex::new(());
        let _turn = FILE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = python::target().join("calls.json");
        let queue = |url: &str| {
            let name =
                self.outputs.iter().find(|(_, value)| *value == url).map(|(name, _)| name.trim_end_matches("Url"));
            name.unwrap_or_else(|| panic!("a queue that is not the template's: {url}")).to_owned()
        };
        let mut all: BTreeMap<String, BTreeSet<String>> = match std::fs::read_to_string(&path) {
            Ok(text) if !FIRST.swap(false, Ordering::SeqCst) => {
                serde_json::from_str::<BTreeMap<String, Vec<Value>>>(&text)
                    .expect("the file's own form")
                    .into_iter()
                    .map(|(function, calls)| (function, calls.iter().map(Value::to_string).collect()))
                    .collect()
            }
            _ => BTreeMap::new(),
        };
        for call in self.wire.take() {
            // `pollhook-Dispatcher-1A2B3C`.
            let function = FUNCTIONS.iter().find(|(id, _)| call.caller.starts_with(&format!("{STACK}-{id}-")));
            let (function, _) = function.unwrap_or_else(|| panic!("a caller that is no function: {}", call.caller));
            all.entry((*function).to_owned()).or_default().extend(call.granted(queue).iter().map(Value::to_string));
        }
        let lines =
            |calls: &BTreeSet<String>| calls.iter().map(|call| format!("    {call}")).collect::<Vec<_>>().join(",\n");
        let functions: Vec<String> =
            all.iter().map(|(function, calls)| format!("  \"{function}\": [\n{}\n  ]", lines(calls))).collect();
        std::fs::write(path, format!("{{\n{}\n}}\n", functions.join(",\n"))).expect("the file of calls");
    }

    /// Where the emulator listens.
    #[must_use]
    pub fn aws(&self) -> std::net::SocketAddr {
        self.emulator.address
    }
}
