//! `figures starts [--starts N] [--check] [--programs FOLDER]` and `figures costs [--check] [--programs FOLDER]`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement: what fails here is to end it")]

mod costs;
mod deployed;
mod prices;
mod start;
mod starts;
mod turn;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The functions.
const ROLES: [&str; 4] = ["webhook-receiver", "instances-api", "dispatcher", "poller"];

/// Builds what is measured with the profile of a deployment, and says where it is. Ours by themselves: built together with
/// others, they would have the features that those ask for.
fn build() -> PathBuf {
    let ours: Vec<String> = ROLES.iter().map(|role| format!("pollhook-{role}")).collect();
    let ours: Vec<&str> = ours.iter().flat_map(|package| ["-p", package.as_str()]).collect();
    for packages in [&ours[..], &["-p", "pollhook-figures", "--features", "pollhook-figures/figures"]] {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--bins"]).args(packages);
        assert!(cargo.status().unwrap().success(), "it does not build");
    }
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().any(|argument| argument == "--check");
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let starts = option("--starts").map_or(20, |number| number.parse().unwrap());
    // Programs that are built already are taken as they are.
    let programs = || option("--programs").map_or_else(build, PathBuf::from);
    match arguments.first().map(String::as_str) {
        Some("starts") => starts::run(&programs(), starts, check).await,
        Some("costs") => costs::run(&programs(), check).await,
        _ => {
            println!("figures starts [--starts N] [--check] [--programs FOLDER]");
            println!("figures costs [--check] [--programs FOLDER]");
            ExitCode::FAILURE
        }
    }
}
