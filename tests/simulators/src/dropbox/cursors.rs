//! Cursors: first through what is there, then through what changes.
//!
//! A listing goes on from where it was in the order of paths, and then through everything that was changed since it began:
//! what changes meanwhile may be told twice and is never left out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tree::{Tree, is_in, shown};

/// What a listing was asked to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    /// The folder, in lower case; the root is empty.
    pub(super) path: String,
    pub(super) recursive: bool,
    pub(super) limit: usize,
}

impl Listing {
    fn has(&self, path: &str) -> bool {
        if self.recursive {
            return path == self.path || is_in(path, &self.path);
        }
        is_in(path, &self.path) && !path[self.path.len() + 1..].contains('/')
    }
}

/// Where a cursor is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Among what is there, after this path; the journal follows from the place where the listing began.
    Tree(String, usize),
    /// In the journal.
    Journal(usize),
}

#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// `None`: dead.
    known: BTreeMap<String, Option<(Listing, Place)>>,
    made: u64,
}

/// What a cursor text stands for.
pub(super) enum Found {
    Unknown,
    Reset,
    At(Listing, Place),
}

impl Cursors {
    pub(super) fn find(&self, cursor: &str) -> Found {
        match self.known.get(cursor) {
            None => Found::Unknown,
            Some(None) => Found::Reset,
            Some(Some((listing, place))) => Found::At(listing.clone(), place.clone()),
        }
    }

    pub(super) fn make(&mut self, listing: Listing, place: Place) -> String {
        self.made += 1;
        let cursor = format!("AAFsimulated_cursor_{:06}", self.made);
        self.known.insert(cursor.clone(), Some((listing, place)));
        cursor
    }

    pub(super) fn reset(&mut self) {
        for cursor in self.known.values_mut() {
            *cursor = None;
        }
    }

    /// The page after a place: entries, cursor, whether there is more.
    pub(super) fn page(&mut self, tree: &Tree, listing: Listing, place: Place) -> Value {
        let mut entries = Vec::new();
        let mut place = place;
        if let Place::Tree(after, began) = place {
            let mut rest = tree.nodes().filter(|(path, _)| **path > after && listing.has(path));
            let page: Vec<_> = rest.by_ref().take(listing.limit).collect();
            entries.extend(page.iter().map(|(path, node)| shown(path, node)));
            place = match (page.last(), rest.next()) {
                (Some((last, _)), Some(_)) => Place::Tree((*last).clone(), began),
                _ => Place::Journal(began),
            };
        }
        let mut more = matches!(place, Place::Tree(..));
        if let Place::Journal(from) = place {
            let mut rest = tree.since(from).into_iter().filter(|(_, change)| listing.has(&change.path));
            let left = listing.limit - entries.len().min(listing.limit);
            let page: Vec<_> = rest.by_ref().take(left).collect();
            entries.extend(page.iter().map(|(_, change)| tree.shown(change)));
            more = rest.next().is_some();
            let next = if more { page.last().map_or(from, |(next, _)| *next) } else { tree.end() };
            place = Place::Journal(next);
        }
        let cursor = self.make(listing, place);
        json!({"entries": entries, "cursor": cursor, "has_more": more})
    }

    /// Whether there is anything after a place.
    pub(super) fn has_news(tree: &Tree, listing: &Listing, place: &Place) -> bool {
        match place {
            Place::Tree(..) => true,
            Place::Journal(from) => tree.since(*from).iter().any(|(_, change)| listing.has(&change.path)),
        }
    }
}
