//! Polls of one instance: exactly what changed is told, whatever dies, fails or comes twice.

#![allow(clippy::unwrap_used)]

mod budgets;
mod crashes;
mod cursors;
mod grants;
mod health;
mod reconciling;
mod sockets;
mod steps;
mod telling;
mod tokens;
mod tree;
mod troubles;
mod world;

/// A poll may run on any thread.
#[test]
fn a_poll_can_be_sent_to_another_thread() {
    fn sent<T: Send>(_: T) {}
    fn of(worker: &pollhook_poller::poll::Worker<'_, platform::testing::MemoryPlatform, egress::Client>) {
        sent(pollhook_poller::poll::poll_instance(worker, events::InstanceId::from_random(1)));
    }
    let _ = of;
}
