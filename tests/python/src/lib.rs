//! Python environments of pinned packages, for the tests that hold us against software written in Python.
//!
//! *Promise:* [`environment`] is made once, under the build's target folder, and made again when its packages change. Test
//! binaries that run side by side wait for the one that makes it.
//!
//! *Failure modes:* where Python or a package cannot be had, the test panics and says what to install.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python that has the packages.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The environment's folder; logs and temporary files may be put there too.
    pub folder: PathBuf,
    /// The interpreter.
    pub python: PathBuf,
}

/// The environment `name`, with `packages`, each as `name==version`: pinned, so that a run today and a run next year test
/// the same thing. Blocks for a minute the first time ever.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn environment(name: &str, packages: &[&str]) -> Environment {
    let folder = target().join(name);
    fs::create_dir_all(folder.parent().unwrap_or(&folder)).expect("the target folder");
    let lock = File::create(folder.with_extension("lock")).expect("a lock file in the target folder");
    lock.lock().expect("the lock of the environment's folder");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let mark = folder.join("packages.txt");
    let wanted = packages.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Environment { folder, python };
    }
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
        "These tests need Python 3.10 or newer with its venv module: install python3 and (on Debian and Ubuntu) python3-venv.",
    );
    run(
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages),
        "These tests install Python packages with pip, which needs a package index: configure pip for one that can be reached.",
    );
    fs::write(mark, wanted).expect("a mark in the environment's folder");
    Environment { folder, python }
}

/// Where the build puts everything.
///
/// # Panics
/// When the workspace is not where it was built.
#[must_use]
pub fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().expect("the workspace's folder");
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => workspace.join(target),
        None => workspace.join("target"),
    }
}

fn run(command: &mut Command, otherwise: &str) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{otherwise}\n{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{otherwise}\n{command:?}: {error}"),
    }
}
