//! Polls of one instance: exactly what changed is told, whatever dies, fails or comes twice.

#![allow(clippy::unwrap_used)]

mod crashes;
mod cursors;
mod sockets;
mod steps;
mod telling;
mod troubles;
mod world;
