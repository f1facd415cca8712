//! The `pollhook` binary.

use std::process::ExitCode;

use clap::Parser as _;
use pollhook::config::Cli;
use pollhook::run;

/// A quarter of the server's time under load went to the system's allocator; this one takes a third of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run::run(Cli::parse())
}
