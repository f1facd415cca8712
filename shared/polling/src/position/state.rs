//! Where all resources of an instance stand, as it is stored: one item, and buckets for the marks when there are many.
//!
//! *Promise:* what is encoded is decoded the same. A reader that meets a newer version says so and changes nothing.
//!
//! *Buckets* belong to one state by its generation: a number that the writer raises each time. They are written first, under
//! keys with their generation, then the item, then the old ones are deleted: so neither their number nor their size has to
//! fit into one transaction, and a crash leaves a whole state. A bucket of another generation does not count, and
//! [`Decoded::missing`] says how many lack: what they remembered may be told again, and nothing is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use events::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Marks, Position};
use crate::tree::Walk;

/// The newest version that this code reads, and writes of resources that are indexed: what knows of no index leaves them alone.
const SCHEMA: u32 = 2;
/// The version of everything else.
const FIRST: u32 = 1;
/// Most marks in the item itself: with them it has some 54 KB, and a poll reads it each time.
const INLINE_MARKS: usize = 2_000;
/// Marks to a bucket, as far as their hashes are even: some 110 KB.
const BUCKET_MARKS: usize = 4_000;
/// Most buckets, for a million marks; with more the buckets grow, up to an item's 400 KB at three million.
const MAX_BUCKETS: usize = 256;

/// Where the resources of an instance stand.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct State {
    /// By the resource's name.
    pub places: BTreeMap<String, Place>,
}

/// Where a resource stands.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// By time.
    Position(Position),
    /// By a word of the provider's own, such as Dropbox's cursor.
    Cursor(String),
    /// By such a word, and an index of what is where.
    Tree(Walk),
}

/// A state as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// The item.
    pub head: String,
    /// The buckets, by their numbers from 0.
    pub buckets: Vec<String>,
}

/// A state that was stored.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoded {
    /// The state.
    pub state: State,
    /// Its generation: the next is one more.
    pub generation: u64,
    /// How many buckets lack.
    pub missing: usize,
}

/// Why what is stored cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A newer version wrote it: leave it as it is.
    #[error("the state has schema {0}, newer than this version reads ({SCHEMA})")]
    Newer(u32),
    /// It is no state.
    #[error("the state cannot be read: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Schema {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    generation: u64,
    buckets: usize,
    places: BTreeMap<String, StoredPlace>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredPlace {
    Position {
        at: Timestamp,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        id: String,
        floor: Timestamp,
        #[serde(default, skip_serializing_if = "is_zero")]
        unsure: u32,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        told: String,
    },
    Cursor(String),
    Tree(Walk),
}

#[derive(Serialize, Deserialize)]
struct Bucket {
    v: u32,
    generation: u64,
    number: usize,
    told: BTreeMap<String, String>,
}

impl Place {
    /// The position, where it is one by time.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::Position(position) => Some(position),
            Self::Cursor(_) | Self::Tree(_) => None,
        }
    }

    /// The provider's word, where it keeps the place.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        match self {
            Self::Position(_) => None,
            Self::Cursor(cursor) | Self::Tree(Walk { cursor, .. }) => Some(cursor),
        }
    }
}

impl State {
    /// The state as it is stored; `generation` is one more than the one before.
    ///
    /// # Errors
    /// serde_json's, which does not happen: all keys are texts.
    pub fn encode(&self, generation: u64) -> Result<Encoded, StateError> {
        let failed = |error: serde_json::Error| StateError::Malformed(error.to_string());
        let positions = || self.places.iter().filter_map(|(name, place)| Some((name, place.position()?)));
        let marks: usize = positions().map(|(_, position)| position.told.len()).sum();
        let buckets = match marks {
            0..=INLINE_MARKS => 0,
            marks => marks.div_ceil(BUCKET_MARKS).next_power_of_two().min(MAX_BUCKETS),
        };
        let stored = |place: &Place| match place {
            Place::Position(Position { at, id, floor, unsure, told }) => StoredPlace::Position {
                at: *at,
                id: id.clone(),
                floor: *floor,
                unsure: *unsure,
                told: if buckets == 0 { told.encode(0, 1) } else { String::new() },
            },
            Place::Cursor(cursor) => StoredPlace::Cursor(cursor.clone()),
            Place::Tree(walk) => StoredPlace::Tree(walk.clone()),
        };
        let places = self.places.iter().map(|(name, place)| (name.clone(), stored(place))).collect();
        let indexed = self.places.values().any(|place| matches!(place, Place::Tree(_)));
        let v = if indexed { SCHEMA } else { FIRST };
        let head = serde_json::to_string(&Head { v, generation, buckets, places }).map_err(failed)?;
        let bucket = |number: usize| {
            let told = positions().map(|(name, position)| (name.clone(), position.told.encode(number, buckets)));
            let told = told.filter(|(_, marks)| !marks.is_empty()).collect();
            serde_json::to_string(&Bucket { v: FIRST, generation, number, told }).map_err(failed)
        };
        Ok(Encoded { head, buckets: (0..buckets).map(bucket).collect::<Result<_, _>>()? })
    }

    /// How many buckets belong to a state's item, for [`Self::decode`].
    ///
    /// # Errors
    /// [`StateError`].
    pub fn buckets(head: &str) -> Result<usize, StateError> {
        parse_head(head).map(|head| head.buckets)
    }

    /// The state that was stored, from its item and whatever buckets there are, in any order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn decode<'a>(head: &str, buckets: impl IntoIterator<Item = &'a str>) -> Result<Decoded, StateError> {
        let head = parse_head(head)?;
        let unreadable = || StateError::Malformed("what was told".into());
        let mut places = BTreeMap::new();
        for (name, place) in head.places {
            let place = match place {
                StoredPlace::Position { at, id, floor, unsure, told } => {
                    let mut marks = Marks::default();
                    marks.decode(&told).ok_or_else(unreadable)?;
                    Place::Position(Position { at, id, floor, unsure, told: Arc::new(marks) })
                }
                StoredPlace::Cursor(cursor) => Place::Cursor(cursor),
                StoredPlace::Tree(walk) => Place::Tree(walk),
            };
            places.insert(name, place);
        }
        let mut found = std::collections::BTreeSet::new();
        for text in buckets {
            let bucket = parse(text, |bucket: &Bucket| bucket.v)?;
            if bucket.generation != head.generation || bucket.number >= head.buckets || !found.insert(bucket.number) {
                continue;
            }
            for (name, told) in &bucket.told {
                if let Some(Place::Position(position)) = places.get_mut(name) {
                    Arc::make_mut(&mut position.told).decode(told).ok_or_else(unreadable)?;
                }
            }
        }
        let missing = head.buckets - found.len();
        Ok(Decoded { state: Self { places }, generation: head.generation, missing })
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What was stored, whose version `of` finds; read once, unless it is of another form.
fn parse<T: DeserializeOwned>(text: &str, of: impl Fn(&T) -> u32) -> Result<T, StateError> {
    match serde_json::from_str::<T>(text) {
        Ok(stored) if of(&stored) > SCHEMA => Err(StateError::Newer(of(&stored))),
        Ok(stored) => Ok(stored),
        Err(error) => check_schema(text).and(Err(malformed(&error))),
    }
}

fn parse_head(text: &str) -> Result<Head, StateError> {
    parse(text, |head: &Head| head.v)
}

fn check_schema(text: &str) -> Result<(), StateError> {
    let Schema { v } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if v > SCHEMA { Err(StateError::Newer(v)) } else { Ok(()) }
}

fn malformed(error: &serde_json::Error) -> StateError {
    StateError::Malformed(format!("line {}, column {}", error.line(), error.column()))
}
