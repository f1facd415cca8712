//! How fast this disk is: a throughput of durable writes says nothing without it.

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Enough for a steady median, few enough to end within a second on a slow disk.
const ROUNDS: usize = 50;
/// One page of the store.
const PAGE_BYTES: usize = 4096;

/// The median time of writing one page and making it durable with `fdatasync` in `dir`.
///
/// # Errors
/// When `dir` cannot be written to.
pub fn fsync_probe(dir: &Path) -> io::Result<Duration> {
    let path = dir.join("fsync.probe");
    let measured = measure(&path);
    std::fs::remove_file(&path)?;
    measured
}

fn measure(path: &Path) -> io::Result<Duration> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let page = [0x5a; PAGE_BYTES];
    file.write_all(&page)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}
