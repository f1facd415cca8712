//! What a queue keeps in memory: who is next, without bodies.
//!
//! Pure: time comes in as an argument. The file says which messages exist; this says which of them are ready, delayed or
//! in flight, and hands them over fairly.
//!
//! *Fairness:* the next message is of the group with the fewest in flight, and among those of the one that has waited
//! longest since its last turn. So quiet groups come first and busy ones take turns. A group is handed another one only
//! while it has fewer in flight than an eighth of the workers that are free, and than [`MAX_IN_FLIGHT_PER_GROUP`]: groups
//! that hang, however many they are, shrink each other's share rather than the rest that is left for everyone else.
//!
//! *Memory:* 16 bytes for a ready message and 24 for a delayed one, up to twice that while a list has just grown, so a
//! backlog of a million messages takes 16 to 48 MB. Beside it about 100 bytes for each one in flight and 250 for each
//! group that has messages; groups are known by a keyed 64-bit hash (two that collide share a turn, which harms nobody).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

/// Messages at work at the same time, in all. Each waits for a callback most of its time, at the price of a socket and
/// some 30 KB.
pub const WORKERS: u32 = 1024;

/// Most messages of one group in flight, whatever is free: one healthy callback answering in 50 ms is still served at
/// over a thousand messages a second, and none is called more often at the same time.
pub const MAX_IN_FLIGHT_PER_GROUP: u32 = 64;

/// A group's share is the free workers divided by this, so `n` groups that hang settle at `workers / (SHARE + n)` each:
/// one takes 64 of 1,024, a hundred take nine each and leave a tenth free. The last `2 * SHARE - 1` workers are only for
/// groups that have nothing in flight, so some are free until a thousand groups hang.
const SHARE: u32 = 8;

/// A crowded group of which nothing has landed for so long does not drain, so its senders need not wait for room. A
/// healthy callback, also one of some 100 ms, lands many within it; one that hangs, lands nothing for its deadline of
/// many seconds.
const STALLED_MS: u64 = 1000;

/// More ready messages of a group than this make its senders wait. Four rounds of the group's
/// [`MAX_IN_FLIGHT_PER_GROUP`]: its workers never run dry while senders are woken, and a message of a group that is
/// delivered at all waits for hundreds of others, not for everything that could be accepted meanwhile.
pub const CROWDED: usize = 256;

/// Names a message: its key in the file. Orders by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Id {
    /// When it was first to be handed over, milliseconds since the epoch.
    pub(crate) visible_at_ms: u64,
    /// Unique in the queue.
    pub(crate) number: u64,
}

/// A group, by its hash.
pub(crate) type GroupId = u64;

/// A message to hand over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    pub(crate) id: Id,
    /// How often, this time included.
    pub(crate) receives: u32,
}

/// How many messages there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Due, and waiting for a worker.
    pub ready: usize,
    /// Not due yet.
    pub delayed: usize,
    /// Handed over and not acknowledged yet.
    pub in_flight: usize,
}

#[derive(Default)]
struct Group {
    ready: VecDeque<Id>,
    in_flight: u32,
    /// Its place in [`Index::line`].
    place: Option<(u32, u64)>,
    /// Senders waiting for the backlog to shrink.
    room: Option<Arc<Notify>>,
    /// When a worker was last done with one of its messages; at first: when the group came.
    landed_at_ms: u64,
}

impl Group {
    fn idle(&self) -> bool {
        self.ready.is_empty() && self.in_flight == 0
    }
}

/// A message that has been handed over and is not acknowledged.
struct Known {
    group: GroupId,
    receives: u32,
    /// When it comes back; `None` when it has.
    back_at_ms: Option<u64>,
    /// Whether it takes one of its group's places in flight: until its worker is done with it.
    at_work: bool,
}

/// See the module.
pub(crate) struct Index {
    visibility_ms: u64,
    workers: u32,
    /// What the groups have in flight together.
    at_work: u32,
    groups: HashMap<GroupId, Group>,
    /// Groups that have a ready message: (in flight, turn, group), the first one next. Groups at their limit stay in it:
    /// the limit is the same for all, so when the first one is at it, so are those behind.
    line: BTreeSet<(u32, u64, GroupId)>,
    next_turn: u64,
    delayed: BinaryHeap<Reverse<(Id, GroupId)>>,
    known: HashMap<Id, Known>,
    /// Those in flight by the time they come back.
    returns: BTreeSet<(u64, Id)>,
    ready: usize,
}

impl Index {
    pub(crate) fn new(visibility_ms: u64, workers: u32) -> Self {
        Self {
            visibility_ms,
            workers,
            at_work: 0,
            groups: HashMap::new(),
            line: BTreeSet::new(),
            next_turn: 0,
            delayed: BinaryHeap::new(),
            known: HashMap::new(),
            returns: BTreeSet::new(),
            ready: 0,
        }
    }

    /// A message has been stored.
    pub(crate) fn add(&mut self, id: Id, group: GroupId, now_ms: u64) {
        if id.visible_at_ms > now_ms {
            self.delayed.push(Reverse((id, group)));
        } else {
            self.ready(id, group, now_ms);
        }
    }

    fn ready(&mut self, id: Id, group: GroupId, now_ms: u64) {
        let new = || Group { landed_at_ms: now_ms, ..Group::default() };
        self.groups.entry(group).or_insert_with(new).ready.push_back(id);
        self.ready += 1;
        self.queue_up(group);
    }

    /// Puts the group where it belongs in the line, keeping its turn if it has one; forgets an idle group.
    fn queue_up(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let turn = match group.place {
            Some((in_flight, turn)) => {
                if in_flight == group.in_flight && !group.ready.is_empty() {
                    return;
                }
                self.line.remove(&(in_flight, turn, id));
                group.place = None;
                turn
            }
            None => {
                self.next_turn += 1;
                self.next_turn
            }
        };
        if !group.ready.is_empty() {
            group.place = Some((group.in_flight, turn));
            self.line.insert((group.in_flight, turn, id));
        } else if group.idle() {
            self.groups.remove(&id);
        }
    }

    /// Lets time pass: what is due becomes ready, what was not acknowledged in time comes back.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        while let Some(&Reverse((id, group))) = self.delayed.peek()
            && id.visible_at_ms <= now_ms
        {
            self.delayed.pop();
            self.ready(id, group, now_ms);
        }
        while let Some(&(at_ms, id)) = self.returns.first()
            && at_ms <= now_ms
        {
            self.returns.pop_first();
            let Some(known) = self.known.get_mut(&id) else { continue };
            known.back_at_ms = None;
            let group = known.group;
            self.free(id);
            self.ready(id, group, now_ms);
        }
    }

    /// The message's worker is done with it: its place is free. It stays hidden until it is [forgotten](Index::forget)
    /// or its time is over.
    pub(crate) fn landed(&mut self, id: Id, now_ms: u64) {
        let Some(known) = self.known.get(&id) else { return };
        if let Some(group) = self.groups.get_mut(&known.group) {
            group.landed_at_ms = now_ms;
        }
        self.free(id);
    }

    /// Frees the message's place, if it still has one.
    fn free(&mut self, id: Id) {
        let Some(known) = self.known.get_mut(&id).filter(|known| known.at_work) else { return };
        known.at_work = false;
        let group = known.group;
        self.at_work = self.at_work.saturating_sub(1);
        if let Some(g) = self.groups.get_mut(&group) {
            g.in_flight = g.in_flight.saturating_sub(1);
        }
        self.queue_up(group);
    }

    /// A group with fewer in flight may be handed another message.
    fn limit(&self) -> u32 {
        match self.workers.saturating_sub(self.at_work) {
            0 => 0,
            free => (free / SHARE).clamp(1, MAX_IN_FLIGHT_PER_GROUP),
        }
    }

    /// How often the message was handed over since it was loaded or sent.
    pub(crate) fn receives(&self, id: Id) -> u32 {
        self.known.get(&id).map_or(0, |known| known.receives)
    }

    /// Up to `max` messages to hand over now.
    pub(crate) fn take(&mut self, max: usize, now_ms: u64) -> Vec<Taken> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(&place) = self.line.first()
            && place.0 < self.limit()
        {
            self.line.remove(&place);
            let group = place.2;
            let Some(g) = self.groups.get_mut(&group) else { continue };
            g.place = None;
            let Some(id) = g.ready.pop_front() else { continue };
            self.ready -= 1;
            g.in_flight += 1;
            self.at_work += 1;
            if g.ready.len() <= CROWDED
                && let Some(room) = &g.room
            {
                room.notify_one();
                if g.ready.is_empty() {
                    // A permit ends only one wait, and there will be no further ones.
                    room.notify_waiters();
                    g.room = None;
                }
            }
            self.queue_up(group);
            let back_at_ms = now_ms.saturating_add(self.visibility_ms);
            let known = self.known.entry(id).or_insert(Known { group, receives: 0, back_at_ms: None, at_work: false });
            known.at_work = true;
            known.receives += 1;
            known.back_at_ms = Some(back_at_ms);
            self.returns.insert((back_at_ms, id));
            taken.push(Taken { id, receives: known.receives });
        }
        taken
    }

    /// A message taken could not be read: it is ready again, as if it had not been taken.
    pub(crate) fn give_back(&mut self, id: Id, now_ms: u64) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let Some(at_ms) = known.back_at_ms.take() else { return };
        self.returns.remove(&(at_ms, id));
        known.receives -= 1;
        let group = known.group;
        self.free(id);
        self.ready(id, group, now_ms);
    }

    /// A message is gone from the file. One that has come back and waits again is found missing at its next hand-over.
    pub(crate) fn forget(&mut self, id: Id) {
        self.free(id);
        if let Some(known) = self.known.remove(&id)
            && let Some(at_ms) = known.back_at_ms
        {
            self.returns.remove(&(at_ms, id));
        }
    }

    /// Whether another worker would get something at once.
    pub(crate) fn has_more(&self) -> bool {
        self.line.first().is_some_and(|place| place.0 < self.limit())
    }

    /// When something next becomes due or comes back, milliseconds since the epoch.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let delayed = self.delayed.peek().map(|Reverse((id, _))| id.visible_at_ms);
        let back = self.returns.first().map(|(at_ms, _)| *at_ms);
        delayed.into_iter().chain(back).min()
    }

    /// Whether the group's senders are to wait: it is crowded, and waiting helps.
    pub(crate) fn crowded(&self, group: GroupId, now_ms: u64) -> bool {
        let drains = |g: &Group| now_ms.saturating_sub(g.landed_at_ms) < STALLED_MS;
        self.groups.get(&group).is_some_and(|g| g.ready.len() > CROWDED && drains(g))
    }

    /// Where a sender of a crowded group waits for room; `None` when the group is not crowded.
    pub(crate) fn room(&mut self, group: GroupId) -> Option<Arc<Notify>> {
        let group = self.groups.get_mut(&group).filter(|g| g.ready.len() > CROWDED)?;
        Some(Arc::clone(group.room.get_or_insert_default()))
    }

    pub(crate) fn backlog(&self) -> Backlog {
        Backlog { ready: self.ready, delayed: self.delayed.len(), in_flight: self.returns.len() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const VISIBILITY: u64 = 1000;

    fn id(number: u64) -> Id {
        Id { visible_at_ms: 0, number }
    }

    fn numbers(taken: &[Taken]) -> Vec<u64> {
        taken.iter().map(|t| t.id.number).collect()
    }

    #[test]
    fn a_small_group_comes_within_the_first_rounds_of_a_large_one() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        for n in 0..1000 {
            index.add(id(n), 1, 0);
        }
        for n in 1000..1005 {
            index.add(id(n), 2, 0);
        }
        let taken = numbers(&index.take(10, 0));
        assert_eq!(taken.iter().filter(|n| **n >= 1000).count(), 5, "{taken:?}");
    }

    #[test]
    fn a_quiet_group_goes_before_one_with_much_in_flight() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        for n in 0..100 {
            index.add(id(n), 1, 0);
        }
        index.take(10, 0);
        index.add(id(200), 2, 0);
        index.add(id(201), 3, 0);
        assert_eq!(numbers(&index.take(3, 0)), [200, 201, 10]);
    }

    #[test]
    fn a_group_whose_callback_hangs_takes_only_its_share() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        for n in 0..1000 {
            index.add(id(n), 1, 0);
        }
        assert_eq!(index.take(500, 0).len(), MAX_IN_FLIGHT_PER_GROUP as usize);
        assert!(!index.has_more());
        index.forget(id(3));
        assert!(index.has_more(), "an acknowledgement makes room");
        assert_eq!(index.take(500, 0).len(), 1);
    }

    #[test]
    fn delayed_messages_come_in_the_order_of_their_times() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        for (n, at) in [(1, 300), (2, 100), (3, 200)] {
            index.add(Id { visible_at_ms: at, number: n }, 1, 0);
        }
        assert_eq!((index.next_due_ms(), index.has_more()), (Some(100), false));
        index.advance(99);
        assert!(!index.has_more());
        index.advance(250);
        assert_eq!(numbers(&index.take(10, 250)), [2, 3]);
        assert_eq!(index.next_due_ms(), Some(300));
    }

    #[test]
    fn what_is_not_acknowledged_comes_back_for_as_long_as_it_takes() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        index.add(id(1), 1, 0);
        for round in 0..100 {
            let now = round * VISIBILITY;
            index.advance(now);
            let taken = index.take(10, now);
            assert_eq!(taken, [Taken { id: id(1), receives: round as u32 + 1 }]);
            index.advance(now + VISIBILITY - 1);
            assert!(!index.has_more());
        }
        assert_eq!(index.receives(id(1)), 100);
        index.forget(id(1));
        index.advance(1000 * VISIBILITY);
        assert_eq!((index.backlog(), index.groups.len(), index.at_work), (Backlog::default(), 0, 0));
    }

    #[test]
    fn sixteen_groups_that_hang_leave_workers_free_and_share_the_rest_evenly() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        for n in 0..1600 {
            index.add(id(n), n % 16, 0);
        }
        let held = index.take(usize::MAX, 0);
        let each: Vec<u32> = index.groups.values().map(|g| g.in_flight).collect();
        assert!(each.iter().all(|n| (40..=44).contains(n)), "{each:?}");
        assert!(WORKERS - held.len() as u32 > 300, "{}", held.len());
        assert!(!index.has_more());
        for n in 2000..2300 {
            index.add(id(n), n, 0);
        }
        assert_eq!(index.take(300, 0).len(), 300, "a worker for each of three hundred others");
    }

    #[test]
    fn groups_that_were_held_back_are_next_when_a_place_is_free() {
        let mut index = Index::new(VISIBILITY, 16);
        for n in 0..100 {
            index.add(id(n), n % 20, 0);
        }
        let held = index.take(usize::MAX, 0);
        assert_eq!(held.len(), 16, "never more than there are workers");
        assert!(!index.has_more());
        index.landed(held[3].id, 0);
        assert!(index.has_more());
        assert_eq!(numbers(&index.take(10, 0)), [16], "one of those that had none");
    }

    #[test]
    fn senders_wait_only_for_a_group_that_drains() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        for n in 0..=CROWDED as u64 + 1 {
            index.add(id(n), 1, 0);
        }
        assert!(index.crowded(1, STALLED_MS - 1), "it may only just have begun");
        assert!(!index.crowded(1, STALLED_MS));
        let taken = index.take(1, STALLED_MS);
        index.landed(taken[0].id, STALLED_MS);
        assert!(index.crowded(1, STALLED_MS));
        assert!(!index.crowded(1, 2 * STALLED_MS));
    }

    #[test]
    fn giving_back_counts_as_never_taken() {
        let mut index = Index::new(VISIBILITY, WORKERS);
        index.add(id(1), 1, 0);
        let first = index.take(1, 0);
        index.give_back(id(1), 0);
        assert_eq!(index.take(1, 0), first);
    }

    #[test]
    fn a_million_messages_fit_the_budget() {
        let million = 1_000_000;
        let (mut ready, mut delayed) = (Index::new(VISIBILITY, WORKERS), Index::new(VISIBILITY, WORKERS));
        for n in 0..million {
            ready.add(id(n), n % 2000, 0);
            delayed.add(Id { visible_at_ms: 1, number: n }, n % 2000, 0);
        }
        let ready: usize = ready.groups.values().map(|g| 250 + g.ready.capacity() * size_of::<Id>()).sum();
        let delayed = delayed.delayed.capacity() * size_of::<Reverse<(Id, GroupId)>>();
        assert!(ready < 50_000_000, "{ready} bytes");
        assert!(delayed < 50_000_000, "{delayed} bytes");
    }

    proptest! {
        /// Up to 900 groups that hang, each with as much as it likes, and more of it coming: a newcomer is served at the
        /// next look.
        #[test]
        fn a_new_group_is_served_at_once_however_many_others_hang(
            groups in 1_u64..=900, each in 1_u64..80, later in prop::collection::vec((0_u64..900, 1_usize..20), 0..50),
        ) {
            let mut index = Index::new(VISIBILITY, WORKERS);
            let mut next = 0;
            for n in 0..groups * each {
                index.add(id(n), n % groups, 0);
                next = n + 1;
            }
            while !index.take(10, 0).is_empty() {}
            for (group, max) in later {
                index.add(id(next), group % groups, 0);
                next += 1;
                index.take(max, 0);
            }
            while !index.take(10, 0).is_empty() {}
            prop_assert!(index.at_work < WORKERS);
            index.add(id(next), u64::MAX, 0);
            prop_assert!(index.has_more());
            prop_assert_eq!(numbers(&index.take(10, 0)), [next]);
        }

        /// Whatever happens, each message is ready, delayed, in flight or forgotten, exactly once, the cap holds, and
        /// everything is handed over in the end.
        #[test]
        fn no_message_is_lost_or_doubled(
            acts in prop::collection::vec((0_u8..5, 0_u64..4, 0_u64..2500), 1..200),
        ) {
            let mut index = Index::new(VISIBILITY, WORKERS);
            let (mut now, mut next) = (0, 0);
            let mut open: HashMap<Id, GroupId> = HashMap::new();
            let mut flying: HashMap<Id, u64> = HashMap::new();
            for (act, group, amount) in acts {
                match act {
                    0 | 1 => for _ in 0..amount / 25 {
                        next += 1;
                        let id = Id { visible_at_ms: now + if act == 0 { 0 } else { amount }, number: next };
                        index.add(id, group, now);
                        open.insert(id, group);
                    },
                    2 => for taken in index.take(amount as usize % 100, now) {
                        prop_assert!(open.contains_key(&taken.id));
                        prop_assert!(taken.id.visible_at_ms <= now);
                        prop_assert!(flying.insert(taken.id, now + VISIBILITY).is_none_or(|back| back <= now));
                    },
                    3 => now += amount,
                    _ => {
                        let done: Vec<Id> = flying.keys().copied().take(amount as usize % 50).collect();
                        for id in done {
                            // Only those still in flight: the file tells the others at their next hand-over.
                            if flying[&id] > now {
                                index.forget(id);
                                open.remove(&id);
                                flying.remove(&id);
                            }
                        }
                    }
                }
                index.advance(now);
                flying.retain(|_, back| *back > now);
                let Backlog { ready, delayed, in_flight } = index.backlog();
                prop_assert_eq!(ready + delayed + in_flight, open.len());
                prop_assert_eq!(in_flight, flying.len());
                prop_assert_eq!(index.at_work as usize, flying.len());
                for group in 0..4 {
                    let held = flying.keys().filter(|id| open[*id] == group).count();
                    prop_assert!(held <= MAX_IN_FLIGHT_PER_GROUP as usize);
                }
            }
            now += 10_000;
            index.advance(now);
            while let taken = index.take(10, now) && !taken.is_empty() {
                for taken in taken {
                    prop_assert!(open.remove(&taken.id).is_some());
                    index.forget(taken.id);
                }
            }
            prop_assert!(open.is_empty());
            prop_assert_eq!(index.groups.len(), 0);
        }
    }
}
