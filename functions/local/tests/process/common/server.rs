//! The binary as a child process.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{DEADLINE, until};

/// The binary, without the environment's settings.
pub(crate) fn binary(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollhook"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POLLHOOK_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a process that has ended left behind.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A process that prints where it listens. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens: `http://127.0.0.1:…`.
    pub(crate) url: String,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Server {
    /// The server on `data`, which may post to this machine.
    pub(crate) async fn start(data: &Path) -> Self {
        Self::spawn(&mut Self::command(data, &["--allow-callbacks-to", "127.0.0.0/8"])).await
    }

    /// The server on `data`, with further flags.
    pub(crate) fn command(data: &Path, further: &[&str]) -> Command {
        let mut command = binary(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
        command.args(further);
        command
    }

    /// Starts `command` and waits until it says where it listens.
    pub(crate) async fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let mut server = Self { child, url: String::new(), stdout, stderr };
        let began = Instant::now();
        server.url = loop {
            if let Some(url) = address(&server.stdout()) {
                break url;
            }
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < DEADLINE, "not started ({ended:?}): {}", server.stderr());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        server
    }

    /// What it has printed.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it has logged.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until it has printed `text`.
    pub(crate) async fn printed(&self, text: &str) {
        until(text, async || self.stdout().contains(text).then_some(())).await;
    }

    /// Sends it a signal, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it is still at work.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "does not end: {}", self.stderr());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.signal("TERM");
        assert!(self.ended().await.success());
    }

    /// SIGKILL: no goodbye.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe as it fills, so that it never blocks the process.
fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
    text
}

fn address(printed: &str) -> Option<String> {
    let (_, rest) = printed.split_once("http://")?;
    let end = rest.find(|c: char| c.is_whitespace())?;
    Some(format!("http://{}", &rest[..end]))
}
