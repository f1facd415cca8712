//! What the roles count, kept and shown: on Lambda as lines of the log that CloudWatch reads ([`emf`]), in one process as
//! a page that Prometheus reads ([`prometheus`]).
//!
//! *Promise.* The roles know the facade alone (the crate `metrics`); what they count costs an addition to a number in
//! memory, whoever shows it. Nothing of a stranger's becomes a name or a label: labels are of closed sets (connectors of
//! the catalogue, reasons, classes of status codes), and beyond [`MOST_SERIES`] nothing new is counted, so that a mistake
//! there cannot fill the memory.
//!
//! *Flow.*
//!
//! ```text
//! counter!("pollhook_received", …) ─▶ facade ─▶ registry of numbers ─┬─▶ Emf::flush, once per invocation ─▶ stdout
//!                                                                    └─▶ Prometheus::render, when asked  ─▶ GET /metrics
//! ```
//!
//! *Failure.* A process that dies before a flush, or between two looks, loses what it counted since: figures are for
//! watching, what became of each event is in the records. CloudWatch may count a line twice.
//!
//! *Why not the crates there are.* `metrics_cloudwatch_embedded` makes a dimension of every label and one set of all of
//! them: each connector and reason would be a metric of its own, billed as such, with no sum over them; it writes a line
//! for each set of labels, and drops what a histogram is told beyond a hundred values. `metrics-exporter-prometheus` adds
//! some fifteen crates (`quanta`, `evmap`, `crossbeam-epoch`, `rand` among them) for a page of text, and keeps every value
//! of a histogram until somebody looks. Beside the facade both need little: the format of a line and of a page.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod emf;
pub mod known;
pub mod prometheus;
mod registry;

pub use registry::MOST_SERIES;

/// There is another recorder in this process already.
#[derive(Debug, thiserror::Error)]
#[error("the process has a recorder of metrics already")]
pub struct Installed;
