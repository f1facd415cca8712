//! What is gone of what is held, piece by piece.
//!
//! *Promise:* a piece that is swept again, because its step died, tells the same or what is left of it. Whatever a hold reaches
//! is looked at, however it is named since: a folder that was made again may have lost what is in it.
//!
//! *Folders within* are swept by the same step, as far as it goes, and are held for the next one where it ends. What is deepest is
//! removed first: what a step that died has left must be reached from above.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Edit, Held, Hold, Node, Object, folders};

/// What is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    /// Where it was.
    pub path: String,
    /// Its id, and the type of its events; `None`: the index did not know it.
    pub object: Option<(String, String)>,
}

/// What a step sweeps.
#[derive(Debug, Default)]
pub struct Sweep {
    gone: Vec<Gone>,
    /// The ids and paths in `gone`: holds may reach what another reached before.
    ids: BTreeSet<String>,
    looked: usize,
    /// Folders that nobody holds yet.
    below: Vec<Hold>,
    begun: Vec<Hold>,
    nodes: BTreeSet<String>,
    done: Vec<Edit>,
}

impl Sweep {
    /// Takes a hold of an object, and where the index has it.
    pub fn object(&mut self, hold: &Hold, object: Option<&Object>) {
        self.looked += 1;
        if let Held::Object { id, object_type } = &hold.held
            && object.is_none_or(|object| object.path == hold.path && object.stamp < hold.stamp)
        {
            self.is_gone(&hold.path, id, object_type);
        }
        self.done.push(Edit::NoHold(hold.clone()));
    }

    /// A folder that is to be swept next, which nobody holds.
    pub fn below(&mut self) -> Option<Hold> {
        self.below.pop()
    }

    /// Takes a piece of a hold of a path, [of which nobody knows](Self::below) or that is `stored`: what is `at` it, the next of
    /// what is in it, and from where on there is more. `find` says where the index has an object.
    pub fn piece<'o>(
        &mut self,
        (hold, stored): (&Hold, bool),
        at: Option<&Node>,
        (within, next): (&[Node], Option<String>),
        find: impl Fn(&str) -> Option<&'o Object>,
    ) {
        self.looked += 1 + within.len();
        // What was swept of it before began with what is at it.
        if let (Held::All { known }, true) = (&hold.held, hold.after.is_empty()) {
            match at.filter(|node| *known || !node.id.is_empty() || node.stamp >= hold.stamp) {
                Some(node) => self.node(hold, node, &find),
                None if !known && self.ids.insert(hold.path.clone()) => {
                    self.gone.push(Gone { path: hold.path.clone(), object: None });
                }
                None => {}
            }
            self.nodes
                .extend(at.filter(|node| node.id.is_empty() && node.stamp < hold.stamp).map(|node| node.path.clone()));
        }
        for node in within {
            self.node(hold, node, &find);
            if node.folder {
                let (path, after) = (node.path.clone(), String::new());
                self.below.push(Hold { path, stamp: hold.stamp, after, held: Held::Within });
            }
        }
        match next {
            Some(after) => {
                self.done.push(Edit::Hold(Hold { after, ..hold.clone() }));
                // What was swept of it is removed after it is held, and held from further on after that.
                self.begun.extend((!stored).then(|| hold.clone()));
            }
            None if stored => self.done.push(Edit::NoHold(hold.clone())),
            None => {}
        }
    }

    fn node<'o>(&mut self, hold: &Hold, node: &Node, find: impl Fn(&str) -> Option<&'o Object>) {
        if node.stamp >= hold.stamp {
            return;
        }
        match find(&node.id) {
            // Nobody was told of it.
            _ if node.id.is_empty() => {}
            Some(object) if object.path == node.path && object.stamp >= hold.stamp => return,
            // It is elsewhere.
            Some(object) if object.path != node.path => {}
            _ => self.is_gone(&node.path, &node.id, &node.object_type),
        }
        self.nodes.insert(node.path.clone());
    }

    fn is_gone(&mut self, path: &str, id: &str, object_type: &str) {
        if self.ids.insert(id.to_owned()) {
            let object = Some((id.to_owned(), object_type.to_owned()));
            self.gone.push(Gone { path: path.to_owned(), object });
        }
    }

    /// Whether nothing is left of what was taken.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.below.is_empty() && !self.done.iter().any(|edit| matches!(edit, Edit::Hold(_)))
    }

    /// How many are gone.
    #[must_use]
    pub fn found(&self) -> usize {
        self.gone.len()
    }

    /// How many items were looked at.
    #[must_use]
    pub fn looked(&self) -> usize {
        self.looked
    }

    /// What is gone, and what is to be written, in ranks.
    #[must_use]
    pub fn finish(self) -> (Vec<Gone>, Vec<Vec<Edit>>) {
        let objects = self.gone.iter().filter_map(|gone| gone.object.as_ref());
        let objects = objects.map(|(id, _)| Edit::NoObject(id.clone())).collect();
        let held = once(self.below.into_iter().chain(self.begun).map(Edit::Hold));
        let mut nodes: BTreeMap<usize, Vec<Edit>> = BTreeMap::new();
        for path in self.nodes {
            nodes.entry(folders(&path).count()).or_default().push(Edit::NoNode(path));
        }
        let ranks = [held, objects].into_iter().chain(nodes.into_values().rev()).chain([once(self.done)]);
        (self.gone, ranks.collect())
    }
}

/// Of several writes of one hold the one that leaves most to be done: a folder may be reached from above and be held by itself,
/// and of one rank each item is written once.
fn once(edits: impl IntoIterator<Item = Edit>) -> Vec<Edit> {
    let mut each: BTreeMap<_, Edit> = BTreeMap::new();
    for edit in edits {
        let (Edit::Hold(hold) | Edit::NoHold(hold)) = &edit else { continue };
        let left = |edit: &Edit| match edit {
            Edit::Hold(hold) => Some(Reverse(hold.after.clone())),
            _ => None,
        };
        let (kind, name) = hold.held.name(&hold.path);
        let key = (hold.stamp, kind, name.to_owned());
        if each.get(&key).is_none_or(|other| left(other) < left(&edit)) {
            each.insert(key, edit);
        }
    }
    each.into_values().collect()
}
