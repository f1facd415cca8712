//! Measures the starts, in turn, and prints the table.

use std::path::Path;
use std::process::ExitCode;

use cloud_tests::cloud;

use crate::ROLES;
use crate::deployed::Deployed;
use crate::start::{self, Function, Start, median};

/// Bars, see [`Row::misses`].
const OF_HELLO: f64 = 2.5;
const OF_TWIN: f64 = 0.7;
const RESIDENT_KB: u64 = 16 * 1024;
const ZIPPED_BYTES: u64 = 5_000_000;

/// A function's starts, its own and its twin's.
struct Row {
    role: &'static str,
    ours: Vec<Start>,
    twin: Vec<Start>,
    zipped: u64,
    zipped_twin: u64,
}

fn asked(starts: &[Start]) -> f64 {
    median(starts.iter().map(|start| start.asked_ms))
}

fn answered(starts: &[Start]) -> f64 {
    median(starts.iter().map(|start| start.answered_ms))
}

fn resident(starts: &[Start]) -> u64 {
    starts.iter().map(|start| start.resident_kb).max().unwrap_or_default()
}

impl Row {
    /// The bars that the function misses, in words.
    fn misses(&self, hello: f64) -> Vec<String> {
        let mut misses = Vec::new();
        let mut bar = |value: f64, most: f64, what: &str| {
            if value > most {
                misses.push(format!("{}: {what} is {value:.2}, at most {most:.2}", self.role));
            }
        };
        bar(asked(&self.ours) / hello, OF_HELLO, "the first request for work, in hellos,");
        bar(asked(&self.ours) / asked(&self.twin), OF_TWIN, "the first request for work, in twins,");
        bar(answered(&self.ours) / answered(&self.twin), 1.0, "the first answer, in twins,");
        bar(resident(&self.ours) as f64, RESIDENT_KB as f64, "memory in KB");
        bar(self.zipped as f64, ZIPPED_BYTES as f64, "the zipped bootstrap in bytes");
        misses
    }

    fn print(&self) {
        println!(
            "| `{}` | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} |",
            self.role,
            asked(&self.ours),
            asked(&self.twin),
            answered(&self.ours),
            answered(&self.twin),
            resident(&self.ours) as f64 / 1024.0,
            resident(&self.twin) as f64 / 1024.0,
            self.zipped as f64 / 1e6,
            self.zipped_twin as f64 / 1e6,
        );
    }
}

/// Measures and prints; fails with `check` where a bar is missed.
pub(crate) async fn run(folder: &Path, starts: usize, check: bool) -> ExitCode {
    let deployed = Deployed::new(folder, cloud::address().await).await;
    let reference = Function::new(folder.join("hello"), deployed.hello());
    let mut hello = Vec::new();
    let mut rows = ROLES.map(|role| Row {
        role,
        ours: Vec::new(),
        twin: Vec::new(),
        zipped: start::zipped(&folder.join(role)),
        zipped_twin: start::zipped(&folder.join("bare")),
    });
    for _ in 0..starts {
        hello.push(reference.start().await);
        for row in &mut rows {
            row.ours.push(Function::new(folder.join(row.role), deployed.ours(row.role)).start().await);
            row.twin.push(Function::new(folder.join("bare"), deployed.twin(row.role)).start().await);
        }
    }
    println!("Medians of {starts} starts, ours / the bare twin; hello asks after {:.1} ms.\n", asked(&hello));
    println!("| function | asks for work, ms | first answer, ms | resident after it, MB | zipped, MB |");
    println!("|---|---|---|---|---|");
    rows.iter().for_each(Row::print);
    let misses: Vec<String> = rows.iter().flat_map(|row| row.misses(asked(&hello))).collect();
    misses.iter().for_each(|miss| println!("\nmissed: {miss}"));
    if !misses.is_empty() && check { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
