//! Where polls stand: moved by one worker at a time, from what that worker had read, whatever dies or is late.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::platform;
use events::{EventType, InstanceId, Timestamp};
use platform::testing::{MemoryPlatform, Moment};
use platform::{Key, Platform as _, Table as _, TableError, Version as Written, Write};
use pollhook_records::RecordError;
use pollhook_records::polls::{self, Advanced, Claim, Claimed, Standing};
use polling::classify::{Told, Version};
use polling::position::{MAX_MARKS, Place, Position, Seen, State, Through};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn instance() -> InstanceId {
    InstanceId::from_random(7)
}

/// A state that is recognised.
fn numbered(number: u64) -> State {
    State { places: [("files".to_owned(), Place::Cursor(number.to_string()))].into() }
}

/// The number of the move after which polls stand so.
fn number(state: &State) -> u64 {
    match state.places.get("files") {
        Some(Place::Cursor(number)) => number.parse().unwrap(),
        _ => 0,
    }
}

fn told(resource: &str, id: usize) -> Told {
    let at = common::NOW;
    Told {
        object_id: id.to_string(),
        object_type: resource.into(),
        event_type: EventType::Updated,
        date: Some(at),
        version: Version::named("1"),
        position: Some(at),
    }
}

/// A state that remembers so many of each resource.
fn remembering(resources: &[&str], marks: usize) -> State {
    let position = |resource: &&str| {
        let mut seen = Seen::default();
        (0..marks).for_each(|id| seen.note(&told(resource, id), false));
        let start = Position::starting(common::NOW);
        let advance = start.advance(&seen, Through::All, common::NOW.plus(MINUTE), MINUTE);
        assert_eq!(advance.forgotten, 0);
        ((*resource).to_owned(), Place::Position(advance.position))
    };
    State { places: resources.iter().map(position).collect() }
}

async fn read(platform: &MemoryPlatform) -> Standing {
    polls::read(platform, instance()).await.unwrap()
}

async fn claim(platform: &MemoryPlatform, standing: &Standing) -> Claimed {
    polls::claim(platform, standing, "a worker", platform.now().plus(MINUTE)).await.unwrap()
}

async fn ours(platform: &MemoryPlatform, standing: &Standing) -> Claim {
    match claim(platform, standing).await {
        Claimed::Ours(claim) => claim,
        other => panic!("not ours: {other:?}"),
    }
}

async fn advance(platform: &MemoryPlatform, claim: &Claim, state: &State) -> Option<Standing> {
    match polls::advance(platform, claim, state.clone()).await.unwrap() {
        Advanced::Moved(standing) => Some(standing),
        Advanced::Lost => None,
    }
}

/// Moves the position from wherever it stands.
async fn moved(platform: &MemoryPlatform, state: &State) -> Standing {
    let claim = ours(platform, &read(platform).await).await;
    advance(platform, &claim, state).await.unwrap()
}

fn sorts(platform: &MemoryPlatform) -> Vec<String> {
    platform.table().items("POLL#").into_iter().map(|item| item.key.sort).collect()
}

#[tokio::test]
async fn a_position_moves_by_a_claim_and_is_read_as_it_was_moved() {
    let platform = platform(1);
    let fresh = read(&platform).await;
    assert_eq!((&fresh.state, fresh.forgotten), (&State::default(), false));
    assert!(platform.acts().is_empty(), "to look writes nothing");
    let claim = ours(&platform, &fresh).await;
    let after = advance(&platform, &claim, &numbered(1)).await.unwrap();
    assert_eq!(after, read(&platform).await);
    let again = ours(&platform, &after).await;
    let after = advance(&platform, &again, &numbered(2)).await.unwrap();
    assert_eq!((number(&after.state), after), (2, read(&platform).await));
    assert_eq!(platform.acts().len(), 4, "a claim and a move, each");
}

#[tokio::test]
async fn whoever_comes_second_is_told_until_when_and_gets_it_then() {
    let platform = platform(2);
    let (first, second) = (read(&platform).await, read(&platform).await);
    let claim_of_first = ours(&platform, &first).await;
    let until = platform.now().plus(MINUTE);
    assert_eq!(claim_of_first.until(), until);
    assert_eq!(claim(&platform, &second).await, Claimed::Taken { until }, "by what stands there");
    let late = read(&platform).await;
    let acts = platform.acts().len();
    assert_eq!(claim(&platform, &late).await, Claimed::Taken { until }, "by what was read");
    assert_eq!(platform.acts().len(), acts, "which costs no write");
    platform.advance(MINUTE - Duration::from_millis(1));
    assert!(claim_of_first.stands(platform.now()));
    assert_eq!(claim(&platform, &late).await, Claimed::Taken { until });
    platform.advance(Duration::from_millis(1));
    assert!(!claim_of_first.stands(platform.now()));
    let taken_over = ours(&platform, &late).await;
    assert_eq!(advance(&platform, &claim_of_first, &numbered(1)).await, None, "overtaken");
    assert!(advance(&platform, &taken_over, &numbered(2)).await.is_some());
    assert_eq!(number(&read(&platform).await.state), 2);
}

#[tokio::test]
async fn a_claim_that_ran_out_moves_the_position_as_long_as_nobody_has_taken_it() {
    let platform = platform(3);
    let claim = ours(&platform, &read(&platform).await).await;
    platform.advance(60 * MINUTE);
    assert!(advance(&platform, &claim, &numbered(1)).await.is_some());
}

#[tokio::test]
async fn a_claim_moves_the_position_once() {
    let platform = platform(4);
    let claim = ours(&platform, &read(&platform).await).await;
    advance(&platform, &claim, &numbered(1)).await.unwrap();
    assert_eq!(advance(&platform, &claim, &numbered(2)).await, None);
    polls::release(&platform, &claim).await.unwrap();
    assert_eq!(number(&read(&platform).await.state), 1);
}

#[tokio::test]
async fn a_released_claim_is_free_at_once_and_releases_nobody_else_s() {
    let platform = platform(5);
    let first = ours(&platform, &read(&platform).await).await;
    polls::release(&platform, &first).await.unwrap();
    let second = ours(&platform, &read(&platform).await).await;
    polls::release(&platform, &first).await.unwrap();
    assert!(matches!(claim(&platform, &read(&platform).await).await, Claimed::Taken { .. }));
    assert_eq!(advance(&platform, &first, &numbered(1)).await, None);
    assert!(advance(&platform, &second, &numbered(2)).await.is_some());
}

#[tokio::test]
async fn what_was_read_before_another_s_move_is_not_moved_on_from() {
    let platform = platform(6);
    let before = read(&platform).await;
    moved(&platform, &numbered(1)).await;
    assert_eq!(claim(&platform, &before).await, Claimed::Outrun);
    let claimed_before = read(&platform).await;
    moved(&platform, &numbered(2)).await;
    assert_eq!(claim(&platform, &claimed_before).await, Claimed::Outrun);
}

#[tokio::test]
async fn items_of_before_and_after_a_move_are_no_standing() {
    let platform = platform(7);
    moved(&platform, &numbered(1)).await;
    let before = platform.table().items("POLL#");
    moved(&platform, &numbered(2)).await;
    let after = platform.table().items("POLL#");
    let of = |items: [&platform::Item; 2]| Standing::of(instance(), &items.map(Clone::clone)).unwrap();
    let [claim_before, state_before] = &before[..] else { panic!("{before:?}") };
    let [claim_after, state_after] = &after[..] else { panic!("{after:?}") };
    assert_eq!(of([claim_after, state_before]), None, "it would be moved on from the older state");
    assert_eq!(of([claim_before, state_after]), None);
    assert_eq!(of([claim_after, state_after]).map(|standing| number(&standing.state)), Some(2));
}

#[tokio::test]
async fn a_state_of_any_size_is_kept_whole_and_leaves_nothing_behind() {
    let platform = platform(8);
    // More than an item, then more than a transaction takes, then little again.
    let large = remembering(&["contacts"], 20_000);
    let standing = moved(&platform, &large).await;
    assert_eq!(standing, read(&platform).await);
    let first: BTreeSet<String> = sorts(&platform).into_iter().collect();
    assert!(first.len() > 3, "{first:?}");
    let huge = remembering(&["contacts", "deals"], MAX_MARKS);
    moved(&platform, &huge).await;
    let bytes: usize = platform.table().items("POLL#").iter().map(|item| item.body.len()).sum();
    assert!(bytes > platform::limits::TRANSACTION_BYTES);
    let found = read(&platform).await;
    assert!(found.state == huge && !found.forgotten);
    assert!(sorts(&platform).iter().filter(|sort| sort.starts_with("STATE#")).all(|sort| !first.contains(sort)));
    moved(&platform, &numbered(3)).await;
    assert_eq!(sorts(&platform), ["CLAIM", "STATE"]);
}

#[tokio::test]
async fn a_state_without_one_of_its_pieces_says_so_and_keeps_its_position() {
    let platform = platform(9);
    let large = remembering(&["contacts"], 20_000);
    moved(&platform, &large).await;
    let piece = platform.table().items("POLL#").pop().unwrap().key;
    platform.table().write(Write::delete(piece)).await.unwrap();
    let found = read(&platform).await;
    let (Place::Position(was), Place::Position(is)) = (&large.places["contacts"], &found.state.places["contacts"])
    else {
        panic!("no positions")
    };
    assert!(found.forgotten && is.remembered() == 0);
    assert_eq!((is.at(), is.id()), (was.at(), was.id()));
}

#[tokio::test]
async fn a_move_whose_answer_was_lost_is_not_undone_by_its_repetition() {
    let platform = platform(10);
    let large = remembering(&["contacts"], 20_000);
    let claim = ours(&platform, &read(&platform).await).await;
    // The pieces' write is answered, the transaction's is not.
    let pieces_then_state = async {
        let moving = polls::advance(&platform, &claim, large.clone());
        tokio::pin!(moving);
        let mut lost = false;
        std::future::poll_fn(|context| {
            use std::future::Future as _;
            let poll = moving.as_mut().poll(context);
            if !lost && sorts(&platform).len() > 2 {
                platform.table().lose_next_answer();
                lost = true;
            }
            poll
        })
        .await
    };
    let outcome = pieces_then_state.await;
    assert!(matches!(outcome, Err(RecordError::Table(TableError::OutcomeUnknown(_)))), "{outcome:?}");
    let after = read(&platform).await;
    assert!(after.state == large && !after.forgotten, "it happened");
    assert_eq!(advance(&platform, &claim, &large).await, None);
    assert_eq!(read(&platform).await, after, "its pieces are still there");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_stands_until_it_runs_out() {
    let platform = platform(11);
    let standing = read(&platform).await;
    platform.table().lose_next_answer();
    let until = platform.now().plus(MINUTE);
    let lost = polls::claim(&platform, &standing, "a worker", until).await;
    assert!(matches!(lost, Err(RecordError::Table(TableError::OutcomeUnknown(_)))));
    assert_eq!(claim(&platform, &standing).await, Claimed::Taken { until });
    platform.advance(MINUTE);
    moved(&platform, &numbered(1)).await;
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_a_worker_in_the_middle_brings_none_of_it_back() {
    let platform = platform(12);
    let standing = moved(&platform, &remembering(&["contacts"], 20_000)).await;
    let plan = Key::new("POLL#7", "PLAN");
    platform.table().write(Write::put(plan, Written(1), "the API's")).await.unwrap();
    let claimed = ours(&platform, &standing).await;
    polls::forget(&platform, instance()).await.unwrap();
    assert_eq!(sorts(&platform), ["PLAN"], "what is not its own is left alone");
    assert_eq!(advance(&platform, &claimed, &remembering(&["contacts"], 20_000)).await, None);
    assert_eq!(claim(&platform, &standing).await, Claimed::Outrun);
    polls::release(&platform, &claimed).await.unwrap();
    assert_eq!(sorts(&platform), ["PLAN"]);
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_an_error_and_left_as_it_is() {
    for (sort, body) in [
        ("CLAIM", r#"{"v":9,"generation":1,"who":"w","until":null}"#.to_owned()),
        ("STATE", r#"{"v":9}"#.to_owned()),
        ("STATE", "{\"v\":1,\"generation\":0,\"pieces\":0}\n{\"v\":9}".to_owned()),
    ] {
        let platform = platform(13);
        platform.table().write(Write::put(Key::new("POLL#7", sort), Written(1), body)).await.unwrap();
        let error = polls::read(&platform, instance()).await.unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
    }
}

#[tokio::test]
async fn a_worker_that_dies_at_any_step_costs_time_and_nothing_else() {
    for state in [numbered(2), remembering(&["contacts"], 20_000)] {
        for start in [numbered(1), remembering(&["deals"], 20_000)] {
            for moment in [Moment::Before, Moment::After] {
                for step in 0.. {
                    let platform = platform(14);
                    moved(&platform, &start).await;
                    let platform = platform.restart();
                    platform.crash_at(step, moment);
                    if platform.run_until_crash(moved(&platform, &state)).await.is_ok() {
                        assert!(step >= 2);
                        break;
                    }
                    let platform = platform.restart();
                    let found = read(&platform).await;
                    assert!(found.state == start || found.state == state, "one or the other, whole");
                    assert!(!found.forgotten);
                    platform.advance(MINUTE);
                    moved(&platform, &numbered(9)).await;
                    assert_eq!(sorts(&platform), ["CLAIM", "STATE"], "{moment:?} {step}");
                }
            }
        }
    }
}

#[tokio::test]
async fn workers_at_the_same_time_each_move_from_what_the_one_before_left() {
    let platform = platform(15);
    let work = async || {
        let mut moves = 0;
        for _ in 0..200 {
            let standing = read(&platform).await;
            let Claimed::Ours(claim) = claim(&platform, &standing).await else { continue };
            let next = numbered(number(&standing.state) + 1);
            moves += u64::from(advance(&platform, &claim, &next).await.is_some());
        }
        moves
    };
    let (one, two, three) = tokio::join!(work(), work(), work());
    assert!(one > 0 && two > 0 && three > 0, "{one} {two} {three}");
    assert_eq!(number(&read(&platform).await.state), one + two + three, "no move was lost, none was made twice");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Claim,
    Advance,
    Release,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Read),
        3 => Just(Step::Claim),
        3 => Just(Step::Advance),
        1 => Just(Step::Release),
        1 => (0_u64..90).prop_map(Step::Wait),
    ]
}

#[derive(Default)]
struct Worker {
    standing: Option<Standing>,
    claim: Option<(Claim, u64)>,
}

proptest! {
    #[test]
    fn whatever_order_workers_act_in_a_position_moves_only_from_itself_and_by_the_last_claim(
        steps in proptest::collection::vec((0_usize..3, step()), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform(16);
            let mut workers: [Worker; 3] = Default::default();
            // What the table is to hold: the move's number, and whose claim was the last, until when.
            let (mut moves, mut holder): (u64, Option<(usize, Timestamp)>) = (0, None);
            for (who, step) in steps {
                let worker = &mut workers[who];
                match step {
                    Step::Read => worker.standing = Some(read(&platform).await),
                    Step::Wait(seconds) => platform.advance(Duration::from_secs(seconds)),
                    Step::Claim => {
                        let Some(standing) = &worker.standing else { continue };
                        let free = holder.is_none_or(|(_, until)| until <= platform.now());
                        match claim(&platform, standing).await {
                            Claimed::Ours(claim) => {
                                assert!(free, "while another's stood");
                                assert_eq!(number(&standing.state), moves, "of an older state");
                                holder = Some((who, claim.until()));
                                worker.claim = Some((claim, moves));
                            }
                            Claimed::Taken { until } => assert!(until > platform.now()),
                            Claimed::Outrun => {}
                        }
                    }
                    Step::Advance => {
                        let Some((claim, from)) = worker.claim.take() else { continue };
                        let was_ours = holder.is_some_and(|(holder, _)| holder == who);
                        let done = advance(&platform, &claim, &numbered(from + 1)).await;
                        assert_eq!(done.is_some(), was_ours);
                        if done.is_some() {
                            assert_eq!(from, moves);
                            (moves, holder) = (moves + 1, None);
                            worker.standing = done;
                        }
                    }
                    Step::Release => {
                        let Some((claim, _)) = worker.claim.take() else { continue };
                        polls::release(&platform, &claim).await.unwrap();
                        holder = holder.filter(|(holder, _)| *holder != who);
                    }
                }
                assert_eq!(number(&read(&platform).await.state), moves);
            }
        });
    }
}
