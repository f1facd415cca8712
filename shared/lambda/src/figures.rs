//! What the role counts, written into the log after each event.

use std::sync::OnceLock;

use pollhook_metrics::Installed;
use pollhook_metrics::emf::{self, Emf};

static FIGURES: OnceLock<Emf> = OnceLock::new();

/// Counts from now on, for the function that is `role`.
pub(crate) fn start(role: &'static str) -> Result<(), Installed> {
    let emf = emf::install(role)?;
    FIGURES.set(emf).map_err(|_| Installed)
}

/// Writes what was counted since the last time.
pub(crate) fn write() {
    if let Some(Err(error)) = FIGURES.get().map(Emf::flush) {
        tracing::warn!(%error, "the figures could not be written, and are lost");
    }
}
