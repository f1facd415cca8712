//! One start of one function.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use lambda::testing::{Answer, RuntimeApi};

/// Far beyond what a start takes.
const LONG: Duration = Duration::from_secs(30);

/// A function as it is started: its surroundings, and its first event.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) event: String,
}

/// What is started.
#[derive(Debug)]
pub(crate) struct Function {
    binary: PathBuf,
    case: Case,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// From the spawning of the process to its first request for work.
    pub(crate) asked_ms: f64,
    /// From the spawning of the process to its first answer; its event waits for it from the beginning.
    pub(crate) answered_ms: f64,
    /// Memory of the process after that answer.
    pub(crate) resident_kb: u64,
}

impl Function {
    pub(crate) fn new(binary: PathBuf, case: Case) -> Self {
        Self { binary, case }
    }

    /// # Panics
    /// When the function answers with an error, or not at all.
    pub(crate) async fn start(&self) -> Start {
        let api = RuntimeApi::start().await;
        let mut command = Command::new(&self.binary);
        command.env_clear().envs(api.environment()).envs(self.case.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let began = Instant::now();
        let mut process = command.spawn().unwrap();
        let asked = async {
            api.started().await;
            began.elapsed()
        };
        let answered = async {
            let answer = api.invoke(self.case.event.clone(), LONG).await;
            (began.elapsed(), answer)
        };
        let both = async { tokio::join!(asked, answered) };
        let (asked, (answered, answer)) = tokio::time::timeout(LONG, both).await.expect("it does not answer");
        assert!(in_order(&answer), "{}: {answer:?}", self.binary.display());
        let resident_kb = resident_kb(process.id());
        process.kill().unwrap();
        process.wait().unwrap();
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Start { asked_ms: ms(asked), answered_ms: ms(answered), resident_kb }
    }
}

/// Whether the function did what it was asked: no error, no status but 2xx, no record that failed.
fn in_order(answer: &Answer) -> bool {
    let Answer::Done(body) = answer else { return false };
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let failures = body["batchItemFailures"].as_array().is_none_or(Vec::is_empty);
    failures && body["statusCode"].as_u64().is_none_or(|status| (200..300).contains(&status))
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The size of a binary in a zip file.
pub(crate) fn zipped(binary: &Path) -> u64 {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&std::fs::read(binary).unwrap()).unwrap();
    encoder.finish().unwrap().len() as u64
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
