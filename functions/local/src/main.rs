//! The `pollhook` binary.

use std::process::ExitCode;

use clap::Parser as _;
use pollhook::config::Cli;
use pollhook::run;

fn main() -> ExitCode {
    run::run(Cli::parse())
}
