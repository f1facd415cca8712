//! What is in a Dropbox, and the journal of how it came there.

use std::collections::{BTreeMap, BTreeSet};

use events::Timestamp;
use serde_json::{Value, json};

/// A file or a folder.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    id: String,
    /// The path as it was last written.
    display: String,
    /// `None`: a folder.
    file: Option<File>,
}

#[derive(Clone, PartialEq, Debug)]
struct File {
    rev: u64,
    server_modified: Timestamp,
    client_modified: Timestamp,
}

/// What happened to a path.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    /// The path, in lower case.
    pub(super) path: String,
    display: String,
    pub(super) what: What,
}

/// What a change left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Nothing, where a file was.
    NoFile,
    /// Nothing, where a folder was with all in it.
    NoFolder,
}

/// Whether a path is below a folder; the root is the empty path.
pub(super) fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    journal: Vec<Change>,
    made: u64,
}

impl Tree {
    /// How far the journal goes.
    pub(super) fn end(&self) -> usize {
        self.journal.len()
    }

    /// What is there, by path in lower case.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter()
    }

    pub(super) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&path.to_lowercase())
    }

    /// What changed from a place of the journal on, with the place after it: only what still matters.
    pub(super) fn since(&self, from: usize) -> Vec<(usize, &Change)> {
        // Backwards: of each path what is told of it last, and whether its end is; and the paths that lost all that was in
        // them later.
        let (mut last, mut emptied) = (BTreeMap::<&str, (What, bool)>::new(), BTreeSet::<&str>::new());
        let mut matter = Vec::new();
        for (at, change) in self.journal.iter().enumerate().skip(from).rev() {
            let mut above = change.path.match_indices('/').map(|(end, _)| &change.path[..end]);
            let gone_with_its_folder = above.any(|above| emptied.contains(above));
            let matters = match last.get_mut(change.path.as_str()) {
                None => {
                    last.insert(&change.path, (change.what, false));
                    true
                }
                // A folder that is there again does not say that the old one's children are gone: its end does.
                Some((What::Folder, told)) if change.what == What::NoFolder => !std::mem::replace(told, true),
                Some(_) => false,
            };
            if matters && !gone_with_its_folder {
                matter.push((at + 1, change));
            }
            if matches!(change.what, What::NoFolder | What::File) {
                emptied.insert(&change.path);
            }
        }
        matter.reverse();
        matter
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn told(&mut self, path: &str, display: &str, what: What) {
        self.journal.push(Change { path: path.to_owned(), display: display.to_owned(), what });
    }

    pub(super) fn make_folder(&mut self, path: &str) -> String {
        let lower = path.to_lowercase();
        // A file in the way makes room.
        if let Some(node) = self.nodes.get(&lower).filter(|node| node.file.is_none()) {
            return node.id.clone();
        }
        if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            self.make_folder(parent);
        }
        let id = format!("id:a4ayc_80_OEAAAAAAF{:04}", self.next());
        self.nodes.insert(lower.clone(), Node { id: id.clone(), display: path.to_owned(), file: None });
        self.told(&lower, path, What::Folder);
        id
    }

    pub(super) fn write(&mut self, path: &str, server_modified: Timestamp, client_modified: Timestamp) -> String {
        if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            self.make_folder(parent);
        }
        let lower = path.to_lowercase();
        if self.nodes.get(&lower).is_some_and(|node| node.file.is_none()) {
            self.delete(path);
        }
        let rev = self.next();
        let id = match self.nodes.get(&lower) {
            Some(node) => node.id.clone(),
            None => format!("id:a4ayc_80_OEAAAAAAA{rev:04}"),
        };
        let file = Some(File { rev, server_modified, client_modified });
        self.nodes.insert(lower.clone(), Node { id: id.clone(), display: path.to_owned(), file });
        self.told(&lower, path, What::File);
        id
    }

    pub(super) fn delete(&mut self, path: &str) {
        let lower = path.to_lowercase();
        let Some(node) = self.nodes.remove(&lower) else { return };
        self.nodes.retain(|path, _| !is_in(path, &lower));
        let what = if node.file.is_some() { What::NoFile } else { What::NoFolder };
        self.told(&lower, &node.display, what);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let (old, new) = (from.to_lowercase(), to.to_lowercase());
        if is_in(&new, &old) {
            return;
        }
        if old != new && self.nodes.contains_key(&old) {
            self.delete(to);
        }
        let moved = self.nodes.extract_if(.., |path, _| *path == old || is_in(path, &old)).collect::<Vec<_>>();
        let Some((_, top)) = moved.first().cloned() else { return };
        let same_but_for_case = old == new;
        if !same_but_for_case {
            self.told(&old, &top.display, if top.file.is_some() { What::NoFile } else { What::NoFolder });
            if let Some((parent, _)) = to.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
                self.make_folder(parent);
            }
        }
        for (path, mut node) in moved {
            let lower = format!("{new}{}", &path[old.len()..]);
            node.display = format!("{to}{}", node.display.get(old.len()..).unwrap_or_default());
            if !same_but_for_case {
                self.told(&lower, &node.display, if node.file.is_some() { What::File } else { What::Folder });
            }
            self.nodes.insert(lower, node);
        }
    }

    /// A change, as answers have it: the path as it is by now.
    pub(super) fn shown(&self, change: &Change) -> Value {
        match self.nodes.get(&change.path) {
            Some(node) if matches!(change.what, What::File | What::Folder) => shown(&change.path, node),
            _ => json!({
                ".tag": "deleted",
                "name": name(&change.display),
                "path_lower": change.path,
                "path_display": change.display,
            }),
        }
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file or a folder, as answers have it.
pub(super) fn shown(path: &str, node: &Node) -> Value {
    let mut shown = json!({
        ".tag": "folder",
        "id": node.id,
        "name": name(&node.display),
        "path_lower": path,
        "path_display": node.display,
    });
    if let Some(file) = &node.file {
        shown[".tag"] = "file".into();
        shown["client_modified"] = file.client_modified.iso_seconds().into();
        shown["server_modified"] = file.server_modified.iso_seconds().into();
        shown["rev"] = format!("{:015x}", 0x15a_0000_0000 + file.rev).into();
        shown["size"] = file.rev.into();
        shown["is_downloadable"] = true.into();
        shown["content_hash"] = format!("{:064x}", file.rev).into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tree: &Tree, from: usize) -> Vec<String> {
        let shown = tree.since(from).into_iter().map(|(_, change)| tree.shown(change));
        shown.map(|entry| format!("{} {}", entry[".tag"], entry["path_display"]).replace('"', "")).collect()
    }

    fn write(tree: &mut Tree, path: &str) {
        let at = Timestamp::from_seconds(0);
        tree.write(path, at, at);
    }

    #[test]
    fn a_path_is_told_once_as_it_is_by_now() {
        let mut tree = Tree::default();
        write(&mut tree, "/A/x.txt");
        write(&mut tree, "/A/x.txt");
        write(&mut tree, "/y.txt");
        tree.delete("/y.txt");
        assert_eq!(told(&tree, 0), ["folder /A", "file /A/x.txt", "deleted /y.txt"]);
    }

    #[test]
    fn a_folder_takes_its_children_along_in_one_entry() {
        let mut tree = Tree::default();
        write(&mut tree, "/a/b/x");
        write(&mut tree, "/ab");
        let here = tree.end();
        write(&mut tree, "/a/b/y");
        tree.delete("/a");
        assert_eq!(told(&tree, here), ["deleted /a"]);
        assert_eq!(told(&tree, 0), ["file /ab", "deleted /a"]);
    }

    #[test]
    fn a_folder_that_is_made_again_was_gone_in_between() {
        let mut tree = Tree::default();
        write(&mut tree, "/a/old");
        let here = tree.end();
        tree.delete("/a");
        write(&mut tree, "/a/new");
        assert_eq!(told(&tree, here), ["deleted /a", "folder /a", "file /a/new"]);
        tree.delete("/a");
        write(&mut tree, "/a");
        assert_eq!(told(&tree, here), ["file /a"]);
        write(&mut tree, "/a/newer");
        assert_eq!(told(&tree, here), ["deleted /a", "folder /a", "file /a/newer"]);
    }

    #[test]
    fn a_move_is_a_deletion_and_new_entries_and_a_change_of_case_is_nothing() {
        let mut tree = Tree::default();
        write(&mut tree, "/a/b/x");
        let (here, id) = (tree.end(), tree.node("/a/b/x").map(|node| node.id.clone()));
        tree.rename("/a/b", "/C/d");
        assert_eq!(told(&tree, here), ["deleted /a/b", "folder /C", "folder /C/d", "file /C/d/x"]);
        assert_eq!(tree.node("/c/D/x").map(|node| node.id.clone()), id);
        let here = tree.end();
        tree.rename("/C/d", "/C/D");
        assert_eq!(told(&tree, here), Vec::<String>::new());
        assert_eq!(tree.node("/c/d/x").map(|node| node.display.as_str()), Some("/C/D/x"));
    }
}
