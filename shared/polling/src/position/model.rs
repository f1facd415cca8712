//! The promise of the module, held against a model of a provider and of crashes; and against mutants, each of which must
//! break it.
//!
//! Time is in ticks. A change at a tick is shown from `lag` ticks later on (to reads after that tick), dated by its own
//! tick, rounded down to the provider's grain, or `ahead` of it. The provider shows each object's latest change.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::classify::{Version, Wait};

const LAG: i64 = 12;

#[derive(Clone, Debug)]
struct Change {
    object: usize,
    tick: i64,
    lag: i64,
    /// How far ahead of its tick it is dated.
    ahead: i64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Paging {
    /// What comes after the last record's date and id.
    ByDate,
    /// What comes after the last record's id: in no order of dates.
    ById,
    /// So many records further.
    Counted,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Crash {
    No,
    BeforeTelling,
    BeforeStoring,
}

#[derive(Clone, Debug)]
struct Poll {
    after: i64,
    page: usize,
    /// Ticks that a page takes.
    pause: i64,
    /// Most news of one poll.
    limit: usize,
    crash: Crash,
    /// Whether an idle position is stored.
    idle: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Versions {
    /// The provider's own.
    Named,
    /// The date: final once its grain is over.
    Dated,
    /// The content; the records show no date.
    Undated,
}

#[derive(Clone, Debug)]
struct World {
    changes: Vec<Change>,
    polls: Vec<Poll>,
    paging: Paging,
    versions: Versions,
    grain: i64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mutation {
    No,
    /// `>` for `>=`.
    AsksStrictly,
    /// The next poll begins where this one came to.
    NoOverlap,
    /// An object that was told is never told again.
    IdAlone,
    /// The position follows whatever date it sees.
    NoClamp,
    /// Only the last poll's versions are remembered.
    ForgetsOlder,
    /// The position is stored first.
    StoresBeforeTelling,
    /// A reading by counting is taken for one piece.
    CountsOnCounting,
    /// What is dated in a moment that is not over is told at once.
    DoesNotWait,
    /// A part is taken for the whole.
    TakesPartForAll,
}

fn tick(tick: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + tick)
}

fn worlds() -> impl Strategy<Value = World> {
    let change = (0..5usize, 0..60i64, 0..=LAG, prop_oneof![4 => Just(0i64), 1 => 1..40i64]);
    let crash = prop_oneof![4 => Just(Crash::No), 1 => Just(Crash::BeforeTelling), 1 => Just(Crash::BeforeStoring)];
    let poll = (1..20i64, 1..4usize, 0..4i64, 1..6usize, crash, any::<bool>());
    let poll =
        poll.prop_map(|(after, page, pause, limit, crash, idle)| Poll { after, page, pause, limit, crash, idle });
    let paging = prop_oneof![Just(Paging::ByDate), Just(Paging::ById), Just(Paging::Counted)];
    let versions = prop_oneof![Just(Versions::Named), Just(Versions::Dated), Just(Versions::Undated)];
    let parts = (proptest::collection::vec(change, 1..24), proptest::collection::vec(poll, 1..9), paging, versions);
    (parts, prop_oneof![Just(1i64), Just(4i64)]).prop_map(|((changes, polls, paging, versions), grain)| {
        let mut seen = BTreeSet::new();
        let mut changes: Vec<Change> = changes
            .into_iter()
            .map(|(object, tick, lag, ahead)| match versions {
                // A version that is a date is worth what the date is: neither made up nor shown after its moment is over.
                Versions::Dated => Change { object, tick, lag: if grain > 1 { 0 } else { lag }, ahead: 0 },
                Versions::Named | Versions::Undated => Change { object, tick, lag, ahead },
            })
            .filter(|change| seen.insert((change.object, change.tick)))
            .collect();
        changes.sort_by_key(|change| change.tick);
        World { changes, polls, paging, versions, grain }
    })
}

/// An object as a page shows it.
#[derive(Clone, Debug)]
struct Record {
    object: usize,
    date: Timestamp,
    /// Which change it is.
    content: usize,
}

impl World {
    /// What is shown at a tick from a date on.
    fn shown(&self, at: i64, since: Timestamp, strictly: bool) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for (content, change) in self.changes.iter().enumerate().filter(|(_, change)| change.tick + change.lag < at) {
            let date = tick((change.tick + change.ahead).div_euclid(self.grain) * self.grain);
            match records.iter_mut().find(|record| record.object == change.object) {
                Some(record) => (record.date, record.content) = (date, content),
                None => records.push(Record { object: change.object, date, content }),
            }
        }
        records.retain(|record| if strictly { record.date > since } else { record.date >= since });
        match self.paging {
            Paging::ById => records.sort_by_key(|record| record.object),
            Paging::ByDate | Paging::Counted => records.sort_by_key(|record| (record.date, record.object)),
        }
        records
    }

    fn told(&self, record: &Record, mutation: Mutation) -> Told {
        let version = match self.versions {
            _ if mutation == Mutation::IdAlone => Version::named("any"),
            Versions::Named | Versions::Undated => Version::named(&record.content.to_string()),
            Versions::Dated => Version::dated(record.date),
        };
        Told {
            object_id: format!("{:02}", record.object),
            object_type: "things".into(),
            event_type: EventType::Updated,
            date: Some(record.date),
            version,
            position: (self.versions != Versions::Undated).then_some(record.date),
        }
    }

    /// Polls as the schedule says, then until nothing is new. `Err`: a promise is broken.
    fn run(&self, mutation: Mutation) -> Result<(), String> {
        let overlap = if mutation == Mutation::NoOverlap { 0 } else { LAG + self.grain - 1 };
        let overlap = Duration::from_millis(overlap.unsigned_abs());
        let mut position = Position::starting(tick(-1));
        let mut told = BTreeSet::new();
        let mut stored = BTreeSet::new();
        let mut now = 0;
        let quiet = Poll { after: 200, page: 3, pause: 0, limit: 100, crash: Crash::No, idle: true };
        let last = [quiet.clone(), Poll { after: 1, ..quiet.clone() }, quiet];
        for poll in self.polls.iter().chain(&last) {
            now += poll.after;
            let (start, since) = (now, position.since(overlap));
            let (mut seen, mut fresh) = (Seen::default(), Vec::new());
            let (mut read, mut pages, mut first, mut ended) = (0, 0, None, false);
            let mut after: Option<Record> = None;
            while !ended {
                let shown = self.shown(now, since, mutation == Mutation::AsksStrictly);
                let beyond = |record: &&Record| match (&after, self.paging) {
                    (Some(last), Paging::ByDate) => (record.date, record.object) > (last.date, last.object),
                    (Some(last), Paging::ById) => record.object > last.object,
                    _ => true,
                };
                let skip = if self.paging == Paging::Counted { read } else { 0 };
                let page: Vec<Record> = shown.iter().filter(beyond).skip(skip).take(poll.page).cloned().collect();
                ended = page.len() < poll.page;
                (read, pages) = (read + page.len(), pages + 1);
                if pages == 1 {
                    first = page.last().map(|record| record.date);
                }
                for record in &page {
                    let over = record.date.as_millis() + self.grain <= tick(start).as_millis();
                    if self.versions == Versions::Dated && !over && mutation != Mutation::DoesNotWait {
                        seen.put_off(&Later { date: record.date, why: Wait::NotOver });
                        continue;
                    }
                    let change = self.told(record, mutation);
                    let was_told = position.is_told(&change) || seen.has(&change);
                    seen.note(&change, was_told);
                    if !was_told {
                        fresh.push(record.clone());
                    }
                }
                after = page.last().cloned().or(after);
                if fresh.len() >= poll.limit {
                    break;
                }
                now += poll.pause;
            }
            let through = match (ended, self.paging, &after) {
                _ if mutation == Mutation::TakesPartForAll => Through::All,
                (true, Paging::Counted, _) if pages > 1 && mutation != Mutation::CountsOnCounting => {
                    first.map_or(Through::All, |first| Through::Counted { first })
                }
                (true, _, _) => Through::All,
                (false, Paging::ByDate, Some(last)) if self.versions != Versions::Undated => Through::UpTo(last.date),
                _ => Through::Part,
            };
            let from = match mutation {
                Mutation::ForgetsOlder => Position { told: Arc::default(), ..position.clone() },
                _ => position.clone(),
            };
            let end = if mutation == Mutation::NoClamp { tick(now + 1000) } else { tick(start) };
            let next = from.advance(&seen, through, end, overlap).position;
            if next.at() < position.at() || next.since(overlap) < position.since(overlap) {
                return Err(format!("the position went back: {position:?} {next:?}"));
            }
            if mutation == Mutation::StoresBeforeTelling && poll.crash == Crash::BeforeStoring {
                position = next;
                continue;
            }
            if poll.crash == Crash::BeforeTelling {
                continue;
            }
            for record in &fresh {
                told.insert(record.content);
                let key = match self.versions {
                    Versions::Dated => (record.object, record.date.as_millis()),
                    Versions::Named | Versions::Undated => (record.object, i64::try_from(record.content).unwrap()),
                };
                if stored.contains(&key) {
                    return Err(format!("told again: {record:?}"));
                }
                if poll.crash == Crash::No {
                    stored.insert(key);
                }
            }
            if poll.crash == Crash::No && (!fresh.is_empty() || poll.idle) {
                let state = State { places: [("things".to_owned(), Place::Position(next))].into() };
                let encoded = state.encode(1).unwrap();
                let decoded = State::decode(&encoded.head, encoded.buckets.iter().map(String::as_str)).unwrap();
                let Some(Place::Position(next)) = decoded.state.places.get("things") else { panic!("{encoded:?}") };
                position = next.clone();
            }
        }
        for object in 0..5 {
            let last = self.changes.iter().enumerate().rfind(|(_, change)| change.object == object);
            if let Some((content, change)) = last.filter(|(content, _)| !told.contains(content)) {
                return Err(format!("never told: change {content}, {change:?}"));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn every_change_is_told_and_no_version_again_once_its_position_is_stored(world in worlds()) {
        prop_assert_eq!(world.run(Mutation::No), Ok(()));
    }
}

#[test]
fn every_mutant_breaks_a_promise() {
    for mutation in [
        Mutation::AsksStrictly,
        Mutation::NoOverlap,
        Mutation::IdAlone,
        Mutation::NoClamp,
        Mutation::ForgetsOlder,
        Mutation::StoresBeforeTelling,
        Mutation::CountsOnCounting,
        Mutation::DoesNotWait,
        Mutation::TakesPartForAll,
    ] {
        let mut runner = TestRunner::deterministic();
        let broken = (0..20_000).find_map(|_| worlds().new_tree(&mut runner).unwrap().current().run(mutation).err());
        assert!(broken.is_some(), "{mutation:?} is not noticed");
    }
}
