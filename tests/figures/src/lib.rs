//! How fast the functions start, and what they cost.
//!
//! ```text
//! cargo run --release -p pollhook-figures --features figures -- starts [--starts 20] [--check]
//! cargo run --release -p pollhook-figures --features figures -- costs [--check]
//! ```
//!
//! `starts`: each start is a new process, driven over the Runtime API as Lambda drives it, and measured from its spawning to
//! its first request for work, and to its first answer. In turn with ours start two references of the same profile:
//! `hello`, which answers "hello" and knows nothing of AWS, and `bare`, which makes the same clients as ours the usual way
//! (`aws_config::load_defaults`, `reqwest::Client::new`) and makes the same calls with them. AWS is an emulator on this
//! computer, so what is compared is our own part.
//!
//! `costs`: every call that a webhook, its notification and an idle minute make is counted at the wire and multiplied by
//! AWS's prices. A turn of the wheel must make the same calls whether ten thousand idle instances are in the table or none.
