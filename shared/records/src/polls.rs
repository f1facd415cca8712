//! Where an instance's polls stand, and the claim by which one worker at a time moves them on.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `POLL#id` | `CLAIM` | who may move the position, and until when; how often it was moved |
//! | `POLL#id` | `STATE` | the position of each resource, with what was told, as far as that is little |
//! | `POLL#id` | `STATE#version#n` | what was told, in pieces, where it is more than an item takes |
//!
//! *Promise:* the position moves only by a worker whose claim stood when it moved, and only from the state that this worker
//! had read: each claim is conditional on `CLAIM` as read, and each move writes `CLAIM` anew. Two workers may both send
//! what changed (a claim that ran out while its worker went on), and then they tell the same ids; they never both move the
//! position from one state.
//!
//! *Flow.* [`read`] → something new: [`claim`] → send → [`advance`], which ends the claim; or [`release`]. With nothing new
//! nothing is written.
//!
//! *Pieces* are written before their state, under the name of the write that makes it, so that nobody overwrites another's; a state without its pieces is never seen but by whoever reads while it is replaced, and that
//! one's claim is refused. They go outside of the transaction, which has room for less than they can be. Those that a state
//! leaves behind are deleted after it is replaced.
//!
//! *Failure:* a crash leaves a claim that runs out, and pieces that the next move deletes. What is lost is time: until the
//! claim runs out the position does not move, and then the same ids are told again, never fewer.

use std::collections::BTreeMap;

use events::{InstanceId, Timestamp};
use platform::{Condition, Item, Key, Platform, Query, Table as _, TableError, Version, Write};
use polling::position::{Decoded, Place, State};
use polling::tree::Tried;
use serde::{Deserialize, Serialize};

use crate::grants::GRANT;
use crate::health::HEALTH;
use crate::{RecordError, schema};

/// Bytes of a piece: below the item limit with room for the key and the header line.
const PIECE_BYTES: usize = 380 * 1024;

/// How often a read is repeated that another worker's move came between.
const READS: usize = 5;

/// Items in a page of a query. Pages end at 1 MB anyway.
const PAGE_ITEMS: usize = 100;

const CLAIM: &str = "CLAIM";
const STATE: &str = "STATE";
const PIECE: &str = "STATE#";

#[derive(Clone, Serialize, Deserialize)]
struct ClaimRecord {
    /// How often the position was moved.
    generation: u64,
    /// Who had the last claim, for people who look.
    who: String,
    /// When it runs out; `None`: it was ended.
    until: Option<Timestamp>,
    /// How many claims there were, this one included. Versions that do not count them know of nothing that is ordered by it.
    #[serde(default)]
    number: u64,
}

impl ClaimRecord {
    /// When the claim runs out, if it stands.
    fn stands(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| now < *until)
    }
}

#[derive(Serialize, Deserialize)]
struct StateRecord {
    generation: u64,
    pieces: usize,
}

#[derive(Serialize, Deserialize)]
struct Piece {}

/// Where an instance's polls stood when it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Whose polls.
    pub instance: InstanceId,
    /// The position of each resource; empty before the first move.
    pub state: State,
    /// Whether some of what was told is not remembered: it may be told again.
    pub forgotten: bool,
    generation: u64,
    claim: Option<(Version, Option<Timestamp>)>,
    claims: u64,
    pieces: Vec<Key>,
}

/// A claim: until it runs out, or is ended, nobody else moves the position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    instance: InstanceId,
    who: String,
    until: Timestamp,
    version: Version,
    generation: u64,
    number: u64,
    pieces: Vec<Key>,
}

/// What became of an attempt to claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// The position is ours to move.
    Ours(Claim),
    /// Another's claim stands.
    Taken {
        /// When it runs out: until then an attempt is in vain, unless it is ended before.
        until: Timestamp,
    },
    /// Another has moved the position since it was read, or has given up: what was found new may be told. Read again.
    Outrun,
}

/// What became of a move.
#[derive(Clone, PartialEq, Debug)]
pub enum Advanced {
    /// The position moved, and the claim is ended. From here it can be claimed again without a read.
    Moved(Standing),
    /// The claim had run out and was another's, or the instance is gone: nothing moved.
    Lost,
}

impl Claim {
    /// Whether the claim stands at `now`: to be asked before each send, as another may go on from the same position from
    /// then on.
    #[must_use]
    pub fn stands(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// When it runs out.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Whose polls it is of.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Its number: greater than that of each claim before it, whatever became of those.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    fn key(&self) -> Key {
        key(self.instance, CLAIM)
    }

    /// The write that ends it, after the move number `generation`.
    fn ended(&self, version: Version, generation: u64) -> Write {
        let record = ClaimRecord { generation, who: self.who.clone(), until: None, number: self.number };
        Write::put(self.key(), version, schema::encode(&record)).when(Condition::Version(self.version))
    }
}

pub(crate) fn partition(instance: InstanceId) -> String {
    format!("POLL#{instance}")
}

fn key(instance: InstanceId, sort: &str) -> Key {
    Key::new(partition(instance), sort)
}

pub(crate) fn state_key(instance: InstanceId) -> Key {
    key(instance, STATE)
}

/// Where the item of an instance's state says that its resources stand, without what was told.
pub(crate) fn places(instance: InstanceId, item: &Item) -> Result<BTreeMap<String, Place>, RecordError> {
    Ok(decode_state(instance, item, &[])?.state.places)
}

/// The state that an item and its pieces hold.
fn decode_state(instance: InstanceId, item: &Item, pieces: &[&Item]) -> Result<Decoded, RecordError> {
    let (record, head) = schema::decode_with::<StateRecord>(item)?;
    let told = told(instance, item.version, record.pieces, pieces)?;
    let damaged = |error: std::str::Utf8Error| RecordError::Damaged(format!("{:?}", item.key), error.to_string());
    let head = std::str::from_utf8(&head).map_err(damaged)?;
    let decoded = State::decode(head, told.lines());
    let decoded = decoded.map_err(|error| RecordError::State(format!("{:?}", item.key), error))?;
    Ok(Decoded { generation: record.generation, ..decoded })
}

impl Standing {
    /// What is known of the claims on it. Where they were not counted at first, that of those which came to nothing is another
    /// number, which grows by one with each all the same.
    #[must_use]
    pub fn tried(&self) -> Tried {
        Tried { claims: self.claims, failed: self.claims.wrapping_sub(self.generation) }
    }

    /// Where an instance's polls stand by the items of its partition `POLL#id`; those that are not its own are left alone.
    /// `None`: a move came in between, and the items are of before and after it.
    ///
    /// # Errors
    /// What an item holds cannot be read.
    pub fn of(instance: InstanceId, items: &[Item]) -> Result<Option<Self>, RecordError> {
        let find = |sort: &str| items.iter().find(|item| item.key.sort == sort);
        let claim = find(CLAIM).map(|item| Ok::<_, RecordError>((item.version, schema::decode::<ClaimRecord>(item)?)));
        let claim = claim.transpose()?;
        let pieces: Vec<&Item> = items.iter().filter(|item| item.key.sort.starts_with(PIECE)).collect();
        let mut standing = Self {
            instance,
            state: State::default(),
            forgotten: false,
            generation: 0,
            claim: claim.as_ref().map(|(version, record)| (*version, record.until)),
            claims: claim.as_ref().map_or(0, |(_, record)| record.number),
            pieces: pieces.iter().map(|item| item.key.clone()).collect(),
        };
        if let Some(item) = find(STATE) {
            let decoded = decode_state(instance, item, &pieces)?;
            standing.generation = decoded.generation;
            standing.forgotten = decoded.missing > 0;
            standing.state = decoded.state;
        }
        // Items of one query are not of one moment. Claimed as read, an older state would be moved on from: of all that
        // can come between, this alone would not make the claim fail.
        let torn = claim.is_some_and(|(_, record)| record.generation != standing.generation);
        Ok((!torn).then_some(standing))
    }
}

/// What the pieces of a state hold together; blank where not all are there.
fn told(instance: InstanceId, state: Version, count: usize, pieces: &[&Item]) -> Result<String, RecordError> {
    let mut told = Vec::new();
    for number in 0..count {
        let key = piece_key(instance, state, number);
        let Some(item) = pieces.iter().find(|item| item.key == key) else { return Ok(String::new()) };
        told.extend_from_slice(&schema::decode_with::<Piece>(item)?.1);
    }
    String::from_utf8(told).map_err(|error| RecordError::Damaged(partition(instance), error.to_string()))
}

fn piece_key(instance: InstanceId, state: Version, number: usize) -> Key {
    key(instance, &format!("{PIECE}{:016x}#{number:03}", state.0))
}

async fn items<P: Platform>(platform: &P, instance: InstanceId) -> Result<Vec<Item>, RecordError> {
    let mut query = Query::partition(partition(instance), PAGE_ITEMS);
    let mut items = Vec::new();
    loop {
        let page = platform.table().query(&query).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(items),
        }
    }
}

/// Where an instance's polls stand.
///
/// # Errors
/// The table's ([`TableError::Conflict`] when others moved the position during each of a few reads), or what is there
/// cannot be read.
pub async fn read<P: Platform>(platform: &P, instance: InstanceId) -> Result<Standing, RecordError> {
    Ok(read_all(platform, instance).await?.0)
}

/// The same, with all items of the partition.
pub(crate) async fn read_all<P: Platform>(
    platform: &P,
    instance: InstanceId,
) -> Result<(Standing, Vec<Item>), RecordError> {
    for _ in 0..READS {
        let items = items(platform, instance).await?;
        if let Some(standing) = Standing::of(instance, &items)? {
            return Ok((standing, items));
        }
    }
    Err(TableError::Conflict.into())
}

/// Claims to move the position from where it stood. `until` lies beyond the end of the invocation (or whatever ends the
/// worker): who cannot go on must not be overtaken before. `who` is for people who look.
///
/// # Errors
/// The table's. When its answer was lost the claim may stand, and nobody has it until it runs out.
pub async fn claim<P: Platform>(
    platform: &P,
    standing: &Standing,
    who: &str,
    until: Timestamp,
) -> Result<Claimed, RecordError> {
    let now = platform.now();
    let (condition, held) = match standing.claim {
        Some((version, until)) => (Condition::Version(version), until.filter(|until| now < *until)),
        None => (Condition::Absent, None),
    };
    if let Some(until) = held {
        return Ok(Claimed::Taken { until });
    }
    let claim = Claim {
        instance: standing.instance,
        who: who.to_owned(),
        until,
        version: platform.version(),
        generation: standing.generation,
        number: standing.claims + 1,
        pieces: standing.pieces.clone(),
    };
    let record =
        ClaimRecord { generation: claim.generation, who: who.to_owned(), until: Some(until), number: claim.number };
    let write = Write::put(claim.key(), claim.version, schema::encode(&record)).when(condition);
    match platform.table().write(write).await {
        Ok(()) => Ok(Claimed::Ours(claim)),
        Err(error) => match error.clone().existing() {
            Some(Some(item)) => {
                let stands = schema::decode::<ClaimRecord>(&item)?.stands(now);
                Ok(stands.map_or(Claimed::Outrun, |until| Claimed::Taken { until }))
            }
            Some(None) => Ok(Claimed::Outrun),
            None => Err(error.into()),
        },
    }
}

/// Moves the position to `state`, if the claim is still ours, and ends the claim. What `state` says was told must be durable.
///
/// # Errors
/// The table's, or [`RecordError::State`]. When the answer was lost the position may have moved; else the claim still stands.
pub async fn advance<P: Platform>(platform: &P, claim: &Claim, state: State) -> Result<Advanced, RecordError> {
    let Claim { instance, generation, .. } = *claim;
    let place = key(instance, STATE);
    let generation = generation + 1;
    let encoded = state.encode(generation).map_err(|error| RecordError::State(format!("{place:?}"), error))?;
    let told = encoded.buckets.join("\n");
    // Afresh for each try: one whose answer was lost may have happened, and its pieces are the state's.
    let version = platform.version();
    let pieces: Vec<(Key, &[u8])> = (told.as_bytes().chunks(PIECE_BYTES).enumerate())
        .map(|(number, piece)| (piece_key(instance, version, number), piece))
        .collect();
    if !pieces.is_empty() {
        let write = |(key, piece): &(Key, &[u8])| {
            Write::put(key.clone(), platform.version(), schema::encode_with(&Piece {}, piece))
        };
        platform.table().write_many(pieces.iter().map(write).collect()).await?;
    }
    let head = schema::encode_with(&StateRecord { generation, pieces: pieces.len() }, encoded.head.as_bytes());
    let pieces: Vec<Key> = pieces.into_iter().map(|(key, _)| key).collect();
    let ended = platform.version();
    let writes = vec![claim.ended(ended, generation), Write::put(place, version, head)];
    match platform.table().transact(writes).await {
        Ok(()) => {}
        Err(TableError::ConditionFailed(_)) => {
            sweep(platform, pieces).await;
            return Ok(Advanced::Lost);
        }
        Err(error) => return Err(error.into()),
    }
    let left = sweep(platform, claim.pieces.clone()).await;
    let pieces = pieces.into_iter().chain(left).collect();
    let (claims, claim) = (claim.number, Some((ended, None)));
    Ok(Advanced::Moved(Standing { instance, state, forgotten: false, generation, claim, claims, pieces }))
}

/// Deletes pieces that no state names any more, and returns those that are left to the next move: the position has moved,
/// whatever becomes of them.
async fn sweep<P: Platform>(platform: &P, pieces: Vec<Key>) -> Vec<Key> {
    if pieces.is_empty() {
        return pieces;
    }
    match platform.table().write_many(pieces.iter().cloned().map(Write::delete).collect()).await {
        Ok(()) => Vec::new(),
        Err(_) => pieces,
    }
}

/// Ends a claim without a move; one that is no longer ours is left alone.
///
/// # Errors
/// The table's: the claim then stands until it runs out.
pub async fn release<P: Platform>(platform: &P, claim: &Claim) -> Result<(), RecordError> {
    match platform.table().write(claim.ended(platform.version(), claim.generation)).await {
        Ok(()) | Err(TableError::ConditionFailed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes everything that is kept here of an instance, once it is no longer polled: a worker that still has a claim moves
/// nothing any more. Returns whether there may be an [index](crate::tree), which is [cleared](crate::tree::clear) by itself.
///
/// # Errors
/// The table's: some may be left.
pub async fn forget<P: Platform>(platform: &P, instance: InstanceId) -> Result<bool, RecordError> {
    let items = items(platform, instance).await?;
    let state = items.iter().find(|item| item.key.sort == STATE).map(|item| places(instance, item));
    // What cannot be read may have one.
    let indexed = state.is_some_and(|places| {
        places.map_or(true, |places| places.values().any(|place| matches!(place, Place::Tree(_))))
    });
    let keys = items.into_iter().map(|item| item.key);
    let ours =
        keys.filter(|key| [CLAIM, STATE, GRANT, HEALTH].contains(&key.sort.as_str()) || key.sort.starts_with(PIECE));
    platform.table().write_many(ours.map(Write::delete).collect()).await?;
    Ok(indexed)
}
