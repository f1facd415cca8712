//! Pollhook in one process: receiver, instances API, dispatcher and retry sweep on one embedded file.
//!
//! The roles are the same code as on AWS; only the platform below them differs. [`serve`] wires them and keeps them
//! running; [`config`] is every setting there is. Beside it, for people who try things: a callback receiver alone (`listen`)
//! and a demonstration that checks itself (`demo`); for who adds a provider, its definition checked (`connectors`); and for
//! operators, what was set aside (`dead-letters`).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
mod connections;
mod credentials;
mod dead_letters;
mod definitions;
mod demo;
mod edge;
mod figures;
mod flows;
mod listen;
mod paint;
mod pump;
pub mod run;
pub mod serve;

/// The `print!` of a program whose output a person reads: a closed pipe is no error.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}
