//! What was told, as hashes.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use events::Timestamp;
use sha2::{Digest, Sha256};

/// Bytes of a version's hash.
const VERSION: usize = 10;
/// Bytes of an object's hash.
const OBJECT: usize = 4;
/// Bytes of a date: milliseconds since 1970 until the year 6429.
const DATE: usize = 6;
const MARK: usize = VERSION + OBJECT + DATE;

/// A version that was told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    version: [u8; VERSION],
    object: Object,
}

/// Marks, each with the date from which on it counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Marks {
    marks: BTreeMap<[u8; VERSION], (Object, Timestamp)>,
    objects: BTreeSet<Object>,
}

fn first<const N: usize>(hash: Sha256) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash.finalize()[..N]);
    bytes
}

/// An object's hash.
pub(super) type Object = [u8; OBJECT];

pub(super) fn object(object_id: &str) -> Object {
    first(Sha256::new_with_prefix(b"object").chain_update(object_id))
}

impl Mark {
    pub(super) fn new(object_id: &str, version: &[u8], deleted: bool) -> Self {
        let hash = Sha256::new_with_prefix(b"version")
            .chain_update([u8::from(deleted)])
            .chain_update((object_id.len() as u64).to_be_bytes())
            .chain_update(object_id)
            .chain_update(version);
        Self { version: first(hash), object: object(object_id) }
    }

    pub(super) fn object(&self) -> Object {
        self.object
    }
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn has(&self, mark: &Mark) -> bool {
        self.marks.contains_key(&mark.version)
    }

    pub(super) fn knows(&self, object_id: &str) -> bool {
        self.objects.contains(&object(object_id))
    }

    /// Adds a mark, or renews it: the later date counts.
    pub(super) fn add(&mut self, mark: &Mark, date: Timestamp) {
        let (_, kept) = self.marks.entry(mark.version).or_insert((mark.object, date));
        *kept = date.max(*kept);
        self.objects.insert(mark.object);
    }

    pub(super) fn drop_before(&mut self, floor: Timestamp) {
        let before = self.marks.len();
        self.marks.retain(|_, (_, date)| *date >= floor);
        if self.marks.len() < before {
            self.objects = self.marks.values().map(|(object, _)| *object).collect();
        }
    }

    /// Keeps the latest `most`. Returns how many were too many.
    pub(super) fn forget_beyond(&mut self, most: usize) -> usize {
        let excess = self.marks.len().saturating_sub(most);
        if excess > 0 {
            let mut by_date: Vec<_> = self.marks.iter().map(|(version, (_, date))| (*date, *version)).collect();
            by_date.sort_unstable();
            for (_, version) in &by_date[..excess] {
                self.marks.remove(version);
            }
            self.objects = self.marks.values().map(|(object, _)| *object).collect();
        }
        excess
    }

    /// The marks whose hash falls into part `part` of `parts` (a power of two), as text.
    pub(super) fn encode(&self, part: usize, parts: usize) -> String {
        let mut bytes = Vec::with_capacity(self.marks.len() / parts * MARK);
        for (version, (object, date)) in &self.marks {
            if usize::from(u16::from_be_bytes([version[0], version[1]])) % parts == part {
                bytes.extend(version);
                bytes.extend(object);
                bytes.extend(&date.as_millis().max(0).to_be_bytes()[8 - DATE..]);
            }
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Adds what [`Self::encode`] wrote. `None`: it is something else.
    pub(super) fn decode(&mut self, text: &str) -> Option<()> {
        let bytes = STANDARD_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() % MARK == 0)?;
        for bytes in bytes.chunks_exact(MARK) {
            let (version, rest) = bytes.split_at(VERSION);
            let (object, date) = rest.split_at(OBJECT);
            let mut millis = [0; 8];
            millis[8 - DATE..].copy_from_slice(date);
            let mark = Mark { version: version.try_into().ok()?, object: object.try_into().ok()? };
            self.add(&mark, Timestamp::from_millis(i64::from_be_bytes(millis)));
        }
        Some(())
    }
}
