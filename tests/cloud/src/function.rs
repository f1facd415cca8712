//! One of our functions as a process of this computer, handed events as Lambda would.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambda::testing::{Answer, RuntimeApi};
use serde_json::Value;

/// Far beyond what an event takes.
pub const LONG: Duration = Duration::from_secs(60);

/// A function at work. Ended when it is dropped.
#[derive(Debug)]
pub struct Function {
    api: RuntimeApi,
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Function {
    /// `binary` with `environment`, and what Lambda sets beside it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start(binary: &Path, environment: &[(String, String)]) -> Self {
        let api = RuntimeApi::start().await;
        let mut command = Command::new(binary);
        command.env_clear().envs(api.environment()).envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| lock(&kept).push(line)));
        Self { api, process, lines }
    }

    /// What it answers to an event.
    ///
    /// # Panics
    /// When it reports an error, or does not answer.
    pub async fn answer(&self, event: impl Into<String>) -> Value {
        let answer = tokio::time::timeout(LONG, self.api.invoke(event.into(), LONG)).await;
        match answer.unwrap_or_else(|_| panic!("it does not answer: {:?}", lock(&self.lines))) {
            Answer::Done(body) => serde_json::from_slice(&body).unwrap_or_default(),
            Answer::Failed(body) => panic!("{body:?}: {:?}", lock(&self.lines)),
        }
    }

    /// The lines that it wrote since the last time. What is written before an answer may be read a moment after it.
    pub async fn lines(&self) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::mem::take(&mut lock(&self.lines))
    }
}
