//! The providers' own client libraries for Python, each in a process of its own that is asked over its input.
//!
//! *Promise:* a call's value, or the type of the exception that the library raised and what it holds. What a library does that
//! its program did not expect is an exception like any other, so a test that does not name it fails with it.
//!
//! *Failure modes:* where Python or a package cannot be had, the test panics and says what to install.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// Pinned together: every program runs in one environment. `hubspot-api-client` asks urllib3 for what its version 2.6 took
/// away.
const PACKAGES: [&str; 6] = [
    "dropbox==12.2.4",
    "hubspot-api-client==12.0.0",
    "intuit-oauth==1.2.6",
    "python-quickbooks==0.9.12",
    "simple-salesforce==1.12.10",
    "urllib3==2.5.0",
];

/// What all programs have in common: reading calls, answering them, and an adapter that takes `https` to the simulator.
const CALLS: &str = include_str!("calls.py");

/// A library that raised.
#[derive(Clone, PartialEq, Debug)]
pub struct Raised {
    /// The exception's type, without its module.
    pub kind: String,
    /// What the program tells of it.
    pub details: Value,
    /// The traceback, for whoever reads a failed test.
    pub traceback: String,
}

/// A client library at work on one simulator. Its process ends with it.
#[derive(Debug)]
pub struct Client {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Client {
    /// The program `source`, whose functions are called by name, for the simulator at `url`.
    ///
    /// # Panics
    /// When there is no Python, or no package index.
    #[must_use]
    pub fn start(source: &str, url: &str) -> Self {
        let environment = python::environment("sdk-simulators", &PACKAGES);
        let mut process = Command::new(&environment.python)
            .args(["-c", &format!("{CALLS}\n{source}\nserve(globals())\n"), url])
            .env("OAUTHLIB_INSECURE_TRANSPORT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the environment's Python");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("the program's output"));
        Self { process, input, output }
    }

    /// Calls the program's function `name` with `arguments`, an object.
    ///
    /// # Errors
    /// What it raised.
    ///
    /// # Panics
    /// When the program is gone; it has said why.
    pub fn call(&mut self, name: &str, arguments: &Value) -> Result<Value, Raised> {
        let input = self.input.as_mut().expect("the program's input");
        writeln!(input, "{}", json!({"call": name, "arguments": arguments})).expect("the program's input");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the program's output");
        let mut answer: Value =
            serde_json::from_str(&line).expect("an answer; what the program says of itself stands above");
        match answer.get_mut("raised") {
            None => Ok(answer["value"].take()),
            Some(kind) => Err(Raised {
                kind: kind.as_str().unwrap_or_default().to_owned(),
                details: answer["details"].take(),
                traceback: answer["traceback"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// The same, where nothing is to be raised.
    ///
    /// # Panics
    /// With the traceback of what was.
    pub fn value(&mut self, name: &str, arguments: &Value) -> Value {
        self.call(name, arguments).unwrap_or_else(|raised| panic!("{name} raised\n{}", raised.traceback))
    }

    /// The same, where something is to be raised.
    ///
    /// # Panics
    /// When nothing was.
    pub fn raised(&mut self, name: &str, arguments: &Value) -> Raised {
        self.call(name, arguments).expect_err("an exception")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Its input closes, and it ends.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
