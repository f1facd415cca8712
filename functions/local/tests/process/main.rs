//! The binary as people run it: real processes, real sockets, real files. Everything waits for conditions, with deadlines.

#![allow(clippy::unwrap_used)]

mod common;
mod connectors;

mod commands;
mod dead_letters;
mod delivery;
mod deployed;
mod elsewhere;
mod flows;
mod kill;
mod metrics;
mod reconciling;
mod returned;
mod start;
mod stop;
