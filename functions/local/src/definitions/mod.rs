//! Connectors from files: `--connectors FOLDER` of the server, and `pollhook connectors`.
//!
//! *Promise.* A definition that does not load is told as `FILE:LINE: message`, all of a folder's at once, and nothing
//! starts with it: a connector that is silently missing would answer its provider 404, and providers give up on those.
//! Examples are run by `pollhook connectors check`, not at the start: a server must come up also after an update that reads
//! one of them differently.
//!
//! *Flow.* [`mod@load`] reads a folder into a catalogue, above the built-in definitions; [`check`] reads one file and runs its
//! examples; [`list`] shows a catalogue.

mod check;
mod list;
mod load;

use std::path::Path;
use std::process::ExitCode;

use crate::config::{Connectors, ConnectorsCommand};
use crate::paint::Paint;
use crate::run::failed;
use crate::say;

pub(crate) use load::{Broken, Loaded, load};

/// Shows the connectors, or checks one.
pub(crate) fn run(settings: &Connectors) -> ExitCode {
    match &settings.command {
        Some(ConnectorsCommand::Check { file }) => check_file(file),
        None => match load(settings.connectors.as_deref()) {
            Ok(loaded) if settings.json => {
                say!("{}", list::json(&loaded));
                ExitCode::SUCCESS
            }
            Ok(loaded) => {
                say!("{}", list::table(&loaded, Paint::of_stdout()));
                ExitCode::SUCCESS
            }
            Err(broken) => failed(&broken),
        },
    }
}

fn check_file(file: &Path) -> ExitCode {
    use std::io::Write as _;
    let checked = check::check(file);
    if let Some(told) = checked.told() {
        say!("{told}");
    }
    let mut errors = std::io::stderr();
    for problem in &checked.problems {
        let _ = writeln!(errors, "{problem}");
    }
    if let Some(warning) = checked.warning() {
        let _ = writeln!(errors, "{}: warning: {warning}", file.display());
    }
    if checked.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
