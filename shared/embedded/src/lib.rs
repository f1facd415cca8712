//! The platform in one file: the table and the queues, both durable, in redb; secrets sealed with a key file beside it.
//!
//! *Promises:* what returned `Ok` survives a crash of the process and of the machine (as far as the disk keeps its word
//! on `fdatasync`). One process at a time uses a data directory. However many groups of messages hang (up to about a
//! thousand), some workers stay free for the others, and senders who outrun the delivery of their group are slowed down
//! (not stopped: each send ends within a bounded wait).
//!
//! *Flow:* every change, of the table and of the queues alike, is a command to one writer thread, which gathers what is
//! waiting into one durable commit and then answers all of it, so the price of an fsync is shared. Reads go straight to
//! redb's snapshots and wait for nobody. Of a queue only a compact index is in memory; bodies stay in the file until they
//! are handed over.
//!
//! ```text
//! send, acknowledge ─┐              ┌─▶ writer thread: one redb transaction, one fsync ─▶ answers ─▶ queue indexes
//! write, transact   ─┼─▶ channel ───┘
//! purge             ─┘
//! get, query, receive ─────────────────▶ redb snapshot
//! ```
//!
//! Although one commit may carry a send and a table write, no role may count on it: see [`platform`].
//!
//! *Failure modes:* a full disk or an I/O error fails every command of that commit (the error says what is then known),
//! the file is reopened as redb demands, reads go on, and [`Store::healthy`] says so until a commit works again. A directory in use, a newer format and a key file that is
//! missing or readable by others are refused at [`Store::open`], saying what to do.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod bundle;
#[cfg(test)]
mod faults;
mod file;
mod layout;
mod open;
mod probe;
mod queue;
mod store;
mod table;
mod vault;
mod writer;

pub use bundle::{Embedded, POLL_WORKERS};
pub use open::{DATA_FILE, OpenError};
pub use probe::fsync_probe;
pub use queue::{Backlog, CROWDED, MAX_IN_FLIGHT_PER_GROUP, REASON_BYTES, StoreQueue, WORKERS};
pub use store::{Commits, DeadLetter, Options, Purged, Store};
pub use vault::KeyVault;
