//! What a turn of the wheel costs in calls: a tick and the shards that it finds due, with those who are due alone in the table,
//! and beside thousands that are not. They must be the same calls: the cost follows who is due.

use std::time::Duration;

use aws::{AwsPlatform, Places};
use cloud_tests::cloud;
use cloud_tests::function::Function;
use cloud_tests::wire::Wire;
use events::{InstanceId, Message};
use platform::{Clock as _, Platform as _, SystemClock, Table as _};
use records::wheel::{self, Minutes, Place};

use crate::costs::work;
use crate::deployed::{self, Deployed};

/// Instances that are due in the turn's minute, and those that are not.
const DUE: usize = 20;
const IDLE: usize = 10_000;
/// Enough of a minute for a tick and its shards.
const TURN: Duration = Duration::from_secs(20);

/// The calls of a turn, by operation.
pub(crate) type Calls = Vec<String>;

/// Two turns' calls: with `DUE` instances in the slowest wheel, and with `IDLE` more.
pub(crate) async fn counted(deployed: &Deployed, wire: &Wire, poller: &Function) -> (Calls, Calls) {
    let connection = cloud::connection(cloud::address().await);
    let table = cloud::table_name().await.to_owned();
    let platform = AwsPlatform::new(&connection, Places { table, batches_url: None, polls_url: None, key: None });
    let wheel = Minutes::LONGEST;
    wheel::place(&platform, InstanceId::from_random(1), Some(wheel), None).await.unwrap();
    let alone = turn(&platform, deployed, wire, poller, 0).await;
    let beside = turn(&platform, deployed, wire, poller, IDLE).await;
    (alone, beside)
}

/// One turn, in a minute that lasts long enough, with `DUE` instances in its slot and `idle` in others.
async fn turn(platform: &AwsPlatform, deployed: &Deployed, wire: &Wire, poller: &Function, idle: usize) -> Calls {
    // Whoever is in other slots than those of the next minutes is idle.
    let (begun, wheel) = (SystemClock.now().minute(), Minutes::LONGEST);
    let is_idle = |place: &Place| (begun..begun + 30).all(|minute| wheel.slot(minute) != place.slot);
    let places = || (1..).map(InstanceId::from_random).map(|instance| (instance, Place::of(instance, wheel, 1)));
    put(platform, places().filter(|(_, place)| is_idle(place)).take(idle)).await;

    let next = wheel::time(SystemClock.now().minute() + 1, 0).since(SystemClock.now());
    if next < TURN {
        tokio::time::sleep(next).await;
    }
    let minute = SystemClock.now().minute();
    let slot = wheel.slot(minute);
    put(platform, places().filter(|(_, place)| place.slot == slot).take(DUE)).await;
    // What is due beside the wheel, the tick does first.
    work(poller, deployed.event("poller")).await;
    let ticked = wheel::ticked(platform).await.unwrap();
    wheel::set_ticked(platform, ticked, minute - 1).await.unwrap();
    deployed.drain_polls().await;
    drop(wire.take());
    work(poller, deployed.event("poller")).await;
    let is_slowest = |text: &String| matches!(Message::decode(text), Ok(Message::Shard(job)) if job.minutes == u32::from(wheel) && job.slot == slot);
    let shards: Vec<String> = deployed.drain_polls().await.into_iter().filter(is_slowest).collect();
    assert_eq!(shards.len(), 1, "the slot that is due has one shard");
    work(poller, deployed::records(&shards)).await;
    let mut calls: Calls = wire.take().into_iter().map(|call| call.operation).collect();
    calls.sort_unstable();
    calls
}

async fn put(platform: &AwsPlatform, places: impl Iterator<Item = (InstanceId, Place)>) {
    let writes = places.flat_map(|(instance, place)| wheel::moved(platform, instance, None, Some(place))).collect();
    platform.table().write_many(writes).await.unwrap();
}
