//! What entries tell, given what the index knows.
//!
//! The rules of a mirror (`files.stone`, `ListFolderResult.entries`): a file replaces what is at its path and all that is in it;
//! a folder replaces what is there unless that is a folder, and keeps what is in it; what is deleted takes along what is in it,
//! and is ignored where nothing is known there. A folder that something is in is one, whatever is known of it: pages of a listing
//! are not of one moment.

use std::collections::{BTreeMap, BTreeSet};

use events::EventType;

use super::{Edit, Entry, Held, Hold, Node, Object, Stamp, Thing, Walk, folders};

/// How entries are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// As what is there at first: nothing is told, and what is deleted is told later by the cursor from before.
    Seed,
    /// As what changed.
    Tell {
        /// Whether what was listed at first may have changed before it was.
        fresh: bool,
        /// What was written before this claim, which came to nothing, that one may have told otherwise.
        doubt: u64,
    },
}

/// The index as a step finds and leaves it. Whoever takes an entry has let it [know](Self::know) before what the index has.
#[derive(Debug, Default)]
pub struct Follow {
    nodes: BTreeMap<String, Option<Node>>,
    objects: BTreeMap<String, Option<Object>>,
    placed: BTreeSet<String>,
    moved: BTreeSet<String>,
    holds: Vec<Hold>,
    entries: u32,
}

impl Follow {
    /// The step of a walk, of whose next page all before may be held.
    #[must_use]
    pub fn begin(walk: &Walk) -> Self {
        Self { holds: walk.hold().into_iter().collect(), ..Self::default() }
    }

    /// The paths and the ids of entries that are to be looked up first.
    #[must_use]
    pub fn unknown(&self, entries: &[Entry]) -> (Vec<String>, Vec<String>) {
        let here = entries.iter().map(|entry| entry.path.as_str());
        let above = entries.iter().filter(|entry| entry.thing.is_some()).flat_map(|entry| folders(&entry.path));
        let paths: BTreeSet<&str> = here.chain(above).collect();
        let ids: BTreeSet<&String> = entries.iter().filter_map(|entry| Some(&entry.thing.as_ref()?.id)).collect();
        let paths = paths.into_iter().filter(|path| !self.nodes.contains_key(*path)).map(str::to_owned).collect();
        (paths, ids.into_iter().filter(|id| !self.objects.contains_key(*id)).cloned().collect())
    }

    /// Takes what the index has at paths, and of objects.
    pub fn know(
        &mut self,
        nodes: impl IntoIterator<Item = (String, Option<Node>)>,
        objects: impl IntoIterator<Item = (String, Option<Object>)>,
    ) {
        self.nodes.extend(nodes);
        self.objects.extend(objects);
    }

    /// Takes an entry. Returns what it tells, and which of the object's changes that is.
    pub fn take(&mut self, entry: &Entry, mode: Mode) -> Option<(EventType, u32)> {
        self.entries += 1;
        // What an entry replaces was there before it.
        let (before, stamp) = (Stamp::here(2 * self.entries), Stamp::here(2 * self.entries + 1));
        let at = self.nodes.get(&entry.path).and_then(Option::as_ref);
        let hold = |held: Held| Hold { path: entry.path.clone(), stamp: before, after: String::new(), held };
        let Some(thing) = &entry.thing else {
            let known = at.is_some_and(|node| !node.id.is_empty());
            let held = match mode {
                Mode::Seed => false,
                Mode::Tell { fresh, doubt } => fresh || doubt > 0 || at.is_some(),
            };
            self.holds.extend(held.then(|| hold(Held::All { known })));
            return None;
        };
        if let Some(Node { id, object_type, .. }) = at.filter(|node| node.id != thing.id && !node.id.is_empty()) {
            self.holds.push(hold(Held::Object { id: id.clone(), object_type: object_type.clone() }));
        }
        if at.is_some_and(|node| node.folder) && !thing.folder {
            self.holds.push(hold(Held::Within));
        }
        let known = self.objects.get(&thing.id).and_then(Option::as_ref);
        let told = tells(entry, thing, known, mode);
        let changes = known.map_or(0, |object| object.changes);
        let object = Object {
            id: thing.id.clone(),
            path: entry.path.clone(),
            version: thing.version.clone(),
            changes: if told == Some(EventType::Updated) { changes.saturating_add(1) } else { changes },
            // Also what an index before this one knew: what changed of it since the cursor was taken is told by nobody else.
            seeded: mode == Mode::Seed || told.is_none() && known.is_some_and(|object| object.seeded),
            stamp,
        };
        let node = Node {
            path: entry.path.clone(),
            id: thing.id.clone(),
            folder: thing.folder,
            object_type: thing.object_type.clone(),
            stamp,
        };
        let change = told.map(|told| (told, object.changes));
        for folder in folders(&entry.path) {
            self.is_folder(folder, stamp);
        }
        self.placed.insert(entry.path.clone());
        self.moved.insert(thing.id.clone());
        self.nodes.insert(entry.path.clone(), Some(node));
        self.objects.insert(thing.id.clone(), Some(object));
        change
    }

    /// Something is in a path.
    fn is_folder(&mut self, path: &str, stamp: Stamp) {
        let node = self.nodes.entry(path.to_owned()).or_default();
        match node {
            Some(Node { folder: true, .. }) => return,
            Some(node) => node.folder = true,
            None => {
                let (id, object_type) = (String::new(), String::new());
                *node = Some(Node { path: path.to_owned(), id, folder: true, object_type, stamp });
            }
        }
        self.placed.insert(path.to_owned());
    }

    /// How many entries were taken.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries as usize
    }

    /// Whether any of it is held.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.holds.is_empty()
    }

    /// What is to be written, in ranks.
    #[must_use]
    pub fn edits(mut self) -> Vec<Vec<Edit>> {
        // What is in a folder that is not there yet no sweep would reach.
        let mut nodes: BTreeMap<usize, Vec<Edit>> = BTreeMap::new();
        for node in self.placed.iter().filter_map(|path| self.nodes.remove(path).flatten()) {
            nodes.entry(folders(&node.path).count()).or_default().push(Edit::Node(node));
        }
        let objects = self.moved.iter().filter_map(|id| self.objects.remove(id).flatten()).map(Edit::Object).collect();
        let holds = self.holds.into_iter().map(Edit::Hold).collect();
        std::iter::once(holds).chain(nodes.into_values()).chain([objects]).collect()
    }
}

/// What an entry tells of an object that the index knows, or not.
fn tells(entry: &Entry, thing: &Thing, known: Option<&Object>, mode: Mode) -> Option<EventType> {
    let Mode::Tell { fresh, doubt } = mode else { return None };
    match known {
        None => Some(EventType::Created),
        Some(Object { path, version, seeded, stamp, .. }) => {
            let same = *path == entry.path && *version == thing.version;
            (!same || fresh && *seeded || stamp.0 < doubt).then_some(EventType::Updated)
        }
    }
}
