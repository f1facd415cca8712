//! Installs, starts and ends the emulator.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use python::Environment;

/// Which emulator. A run has one; [`VARIABLE`] chooses another than the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The one that every scenario must pass.
    Ministack,
    /// A second opinion, by other people. `tests/moto.rs` has what it gets wrong.
    Moto,
}

/// The region of everything.
pub const REGION: &str = "eu-central-1";
/// It asks for keys and takes any.
pub const KEY: &str = "emulated";

/// What tools of AWS are told to call it.
#[must_use]
pub fn credentials() -> [(&'static str, &'static str); 4] {
    [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", KEY), ("AWS_REGION", REGION), ("AWS_DEFAULT_REGION", REGION)]
}

/// The environment variable that names the emulator; `ministack` where it is absent.
pub const VARIABLE: &str = "POLLHOOK_EMULATOR";

/// How long the emulator may take to answer. It takes two seconds; a busy computer may take longer.
const START: Duration = Duration::from_secs(90);
/// Another process may take a free port between our finding it and the emulator's binding it.
const STARTS: usize = 3;

/// Ends with the tests' process, however that ends: the operating system closes the input then.
const END_WITH_PARENT: &str = r"
import os, signal, sys, threading, time

def end_with_parent():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)
    os._exit(0)

threading.Thread(target=end_with_parent, daemon=True).start()
";

/// It counts a transaction's size by the request's text, in which binary values are a third longer; DynamoDB counts the
/// items (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>). And it tells an
/// event's arrival as its time, where EventBridge tells the entry's
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html>).
const MINISTACK: &str = r#"
import ministack.services.dynamodb as dynamodb
assert dynamodb._DDB_TXN_MAX_BYTES == 4 * 1024 * 1024
dynamodb._DDB_TXN_MAX_BYTES = 6 * 1024 * 1024

import ministack.services.eventbridge as eventbridge
arrival = eventbridge._now_ts

def time_of_entry():
    entry = sys._getframe(1).f_locals.get("entry")
    return entry["Time"] if isinstance(entry, dict) and "Time" in entry else arrival()

eventbridge._now_ts = time_of_entry

# A function's access key is its name, by which tests know who calls.
import ministack.services.lambda_svc as functions
credentials = functions.execution_credentials
def named(config):
    return credentials(config) | {"AWS_ACCESS_KEY_ID": config["FunctionName"]}
functions.execution_credentials = named

sys.argv = ["ministack"]
from ministack.app import main
main()
"#;

/// It lets requests of the table run into one another, between a condition and its write; which of the racing scenarios
/// fail then is luck. One at a time they are told apart from what is wrong each time.
const MOTO: &str = r#"
from moto.dynamodb.responses import DynamoHandler
one_at_a_time, call_action = threading.RLock(), DynamoHandler.call_action

def locked(self):
    with one_at_a_time:
        return call_action(self)

DynamoHandler.call_action = locked

from moto.server import main
main(["-H", os.environ["BIND_HOST"], "-p", os.environ["GATEWAY_PORT"]])
"#;

impl Kind {
    /// # Panics
    /// When [`VARIABLE`] names none.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok("" | "ministack") => Self::Ministack,
            Ok("moto") => Self::Moto,
            Ok(other) => panic!("{VARIABLE} is {other:?}; ministack and moto are known"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ministack => "ministack",
            Self::Moto => "moto",
        }
    }

    /// Pinned: what the scenarios say of it was true of this version.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            // The translator makes CloudFormation of a SAM template.
            Self::Ministack => &["ministack==1.5.33", "aws-sam-translator==1.115.0"],
            Self::Moto => &["moto[server]==5.2.5"],
        }
    }

    fn environment(self) -> Environment {
        python::environment(&format!("emulator-{}", self.name()), self.packages())
    }

    fn program(self) -> String {
        let main = match self {
            Self::Ministack => MINISTACK,
            Self::Moto => MOTO,
        };
        format!("{END_WITH_PARENT}{main}")
    }

    /// What answers 200 once it runs.
    const fn health(self) -> &'static str {
        match self {
            Self::Ministack => "/_ministack/health",
            Self::Moto => "/moto-api/data.json",
        }
    }
}

/// An emulator that runs.
#[derive(Debug)]
pub struct Emulator {
    /// Where it listens.
    pub address: SocketAddr,
    /// Holds the input open; see [`END_WITH_PARENT`].
    _child: Child,
}

/// This process's emulator, started at the first call. Blocks for some seconds then, or for a minute the first time ever.
///
/// # Panics
/// When it cannot be installed or started.
pub fn emulator() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        let kind = Kind::chosen();
        let Environment { folder, python } = kind.environment();
        for _ in 0..STARTS {
            let port = free_port();
            if let Some(emulator) = start(kind, &python, &folder, port, &format!("http://127.0.0.1:{port}")) {
                return emulator;
            }
        }
        panic!("the emulator does not start; see {}/log-*.txt", folder.display());
    })
}

impl Emulator {
    /// One that runs functions, which find AWS at `endpoint`, on a port that was free a moment ago. Blocks like
    /// [`emulator`].
    ///
    /// # Panics
    /// When it cannot be installed or started.
    #[must_use]
    pub fn of_functions(port: u16, endpoint: &str) -> Self {
        let Environment { folder, python } = Kind::Ministack.environment();
        let started = start(Kind::Ministack, &python, &folder, port, endpoint);
        started.unwrap_or_else(|| panic!("the emulator does not start; see {}/log-*.txt", folder.display()))
    }
}

/// A port of this computer that nobody listens on at this moment.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

/// `None` when it ended instead of answering.
fn start(kind: Kind, python: &Path, folder: &Path, port: u16, endpoint: &str) -> Option<Emulator> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // One of each per test binary, written over by its next run.
    let binary = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let binary = binary.as_deref().and_then(|name| name.split('-').next()).unwrap_or("tests");
    let temporary = folder.join(format!("run-{binary}"));
    fs::create_dir_all(&temporary).expect("a temporary folder for the emulator");
    let log = File::create(folder.join(format!("log-{binary}.txt"))).expect("a log file for the emulator");
    let mut child = Command::new(python)
        .args(["-c", &kind.program()])
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("AWS_ENDPOINT_URL", endpoint)
        // Functions are processes of this computer, whether or not it has a Docker engine.
        .env("LAMBDA_EXECUTOR", "local")
        // Servers that no test needs, on ports that two emulators would contend for.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("TMPDIR", &temporary)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("the emulator's log"))
        .stderr(log)
        .spawn()
        .expect("the emulator's Python, which was there a moment ago");
    let begun = Instant::now();
    while begun.elapsed() < START {
        if child.try_wait().expect("the emulator's state").is_some() {
            return None;
        }
        if healthy(kind, address) {
            return Some(Emulator { address, _child: child });
        }
        thread::sleep(Duration::from_millis(50));
    }
    // Only ours, by its handle.
    child.kill().expect("an emulator that can be ended");
    child.wait().expect("an emulator that has ended");
    None
}

fn healthy(kind: Kind, address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let path = kind.health();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
