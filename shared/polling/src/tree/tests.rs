//! A naive tree, its journal, and the index in a table that a death leaves half written.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What is at a path of the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
struct There {
    id: String,
    folder: bool,
    version: String,
}

/// What became of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Touch {
    There,
    NoFile,
    NoFolder,
}

/// A provider's tree, and what was touched: of each path what is there by now is shown, of what is gone with its folder
/// nothing.
#[derive(Clone, Default, Debug)]
struct Provider {
    there: BTreeMap<String, There>,
    journal: Vec<(String, Touch)>,
    made: u32,
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl Provider {
    fn touch(&mut self, path: &str, touch: Touch) {
        self.journal.push((path.to_owned(), touch));
    }

    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    fn folders(&mut self, path: &str) {
        let (folder, _) = parent(path);
        if folder.is_empty() || self.there.get(folder).is_some_and(|there| there.folder) {
            return;
        }
        self.folders(folder);
        let id = format!("d{}", self.next());
        self.there.insert(folder.to_owned(), There { id, folder: true, version: String::new() });
        self.touch(folder, Touch::There);
    }

    fn write(&mut self, path: &str) {
        self.folders(path);
        if self.there.get(path).is_some_and(|there| there.folder) {
            self.delete(path);
        }
        let number = self.next();
        let id = self.there.get(path).map_or_else(|| format!("f{number}"), |there| there.id.clone());
        self.there.insert(path.to_owned(), There { id, folder: false, version: number.to_string() });
        self.touch(path, Touch::There);
    }

    fn delete(&mut self, path: &str) {
        if let Some(there) = self.there.remove(path) {
            self.there.retain(|other, _| !is_in(other, path));
            self.touch(path, if there.folder { Touch::NoFolder } else { Touch::NoFile });
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if from == to || is_in(to, from) || is_in(from, to) || !self.there.contains_key(from) {
            return;
        }
        self.delete(to);
        let moved: Vec<_> = self.there.extract_if(.., |path, _| path == from || is_in(path, from)).collect();
        self.touch(from, if moved[0].1.folder { Touch::NoFolder } else { Touch::NoFile });
        self.folders(to);
        for (path, there) in moved {
            let path = format!("{to}{}", &path[from.len()..]);
            self.there.insert(path.clone(), there);
            self.touch(&path, Touch::There);
        }
    }

    fn entry(path: &str, there: Option<&There>) -> Entry {
        let thing = there.map(|There { id, folder, version }| Thing {
            id: id.clone(),
            folder: *folder,
            object_type: if *folder { "folders" } else { "files" }.into(),
            version: version.clone(),
            date: None,
        });
        Entry { path: path.to_owned(), thing }
    }

    /// Entries after a place of the journal, a few, with the place after them and whether that is the end.
    fn page(&self, from: usize, size: usize) -> (Vec<Entry>, usize, bool) {
        let (mut entries, mut at) = (Vec::new(), from);
        while at < self.journal.len() && entries.len() < size {
            let (path, touch) = &self.journal[at];
            at += 1;
            let later = self.journal[at..]
                .iter()
                .any(|(other, touch)| other == path || *touch == Touch::NoFolder && is_in(path, other));
            // That a folder went away counts although something is there again.
            match (touch, later) {
                (Touch::NoFolder, _) | (Touch::NoFile, false) => entries.push(Self::entry(path, None)),
                (Touch::There, false) => {
                    entries.extend(self.there.get(path).map(|there| Self::entry(path, Some(there))));
                }
                (Touch::There | Touch::NoFile, true) => {}
            }
        }
        (entries, at, at == self.journal.len())
    }

    /// What is there after a path, a few.
    fn listed(&self, after: &str, size: usize) -> (Vec<Entry>, Option<String>) {
        let page: Vec<_> = self.there.iter().filter(|(path, _)| path.as_str() > after).take(size).collect();
        let next = page.last().filter(|_| page.len() == size).map(|(path, _)| (*path).clone());
        (page.into_iter().map(|(path, there)| Self::entry(path, Some(there))).collect(), next)
    }
}

/// What was told of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Telling {
    /// An object's id, or a path of which no object is known.
    of: String,
    event_type: EventType,
    path: String,
    version: String,
    /// What its event's id is made of.
    id: String,
}

/// The index as a table, the place, and what was told.
#[derive(Clone, Default, Debug)]
struct Store {
    nodes: BTreeMap<String, Node>,
    objects: BTreeMap<String, Object>,
    holds: BTreeMap<(Stamp, String), Hold>,
    walk: Option<Walk>,
    claims: u64,
    moves: u64,
    told: Vec<Telling>,
}

fn name(hold: &Hold) -> String {
    format!("{:?}", hold.held.name(&hold.path))
}

/// Which item an edit writes.
fn item(edit: &Edit) -> (char, String, Option<Stamp>) {
    match edit {
        Edit::Hold(hold) | Edit::NoHold(hold) => ('H', name(hold), Some(hold.stamp)),
        Edit::Node(Node { path, .. }) | Edit::NoNode(path) => ('P', path.clone(), None),
        Edit::Object(Object { id, .. }) | Edit::NoObject(id) => ('I', id.clone(), None),
    }
}

impl Store {
    fn edit(&mut self, edit: Edit, claim: u64) {
        match edit {
            Edit::Hold(mut hold) => {
                hold.stamp = hold.stamp.claimed(claim);
                self.holds.insert((hold.stamp, name(&hold)), hold);
            }
            Edit::Node(mut node) => {
                node.stamp = node.stamp.claimed(claim);
                self.nodes.insert(node.path.clone(), node);
            }
            Edit::Object(mut object) => {
                object.stamp = object.stamp.claimed(claim);
                self.objects.insert(object.id.clone(), object);
            }
            Edit::NoHold(hold) => drop(self.holds.remove(&(hold.stamp, name(&hold)))),
            Edit::NoNode(path) => drop(self.nodes.remove(&path)),
            Edit::NoObject(id) => drop(self.objects.remove(&id)),
        }
    }

    /// Sends, writes and moves, as far as there are acts left. Of the rank in which it dies, some is written: not the first.
    fn step(&mut self, told: Vec<Telling>, edits: Vec<Vec<Edit>>, walk: Walk, acts: Option<usize>) {
        self.claims += 1;
        let mut left = acts.unwrap_or(usize::MAX);
        let mut act = || {
            left = left.saturating_sub(1);
            left > 0
        };
        if !act() {
            return;
        }
        self.told.extend(told);
        for rank in edits {
            let items: BTreeSet<_> = rank.iter().map(item).collect();
            assert_eq!(items.len(), rank.len(), "a table refuses two writes of one item: {rank:?}");
            let whole = act();
            for edit in
                rank.into_iter().rev().enumerate().filter(|(number, _)| whole || number % 2 == 0).map(|(_, edit)| edit)
            {
                self.edit(edit, self.claims);
            }
            if !whole {
                return;
            }
        }
        self.walk = Some(walk);
        self.moves += 1;
    }

    fn within(&self, hold: &Hold, size: usize) -> (Vec<Node>, Option<String>) {
        let all = self.nodes.values().filter(|node| parent(&node.path).0 == hold.path && node.path > hold.after);
        let mut all: Vec<Node> = all.filter(|node| !node.path.is_empty()).cloned().collect();
        let next = (all.len() > size).then(|| all[size - 1].path.clone());
        all.truncate(size);
        (all, next)
    }

    /// Reads once, as the poller does. `true`: there is more.
    fn read(&mut self, provider: &Provider, size: usize, acts: Option<usize>) -> bool {
        let tried = Tried { claims: self.claims, failed: self.claims - self.moves };
        let Some(walk) = self.walk.clone() else {
            let begun = Walk::begin(provider.journal.len().to_string()).after(tried);
            self.step(Vec::new(), Vec::new(), begun, acts);
            return true;
        };
        let mut walk = walk.after(tried);
        if walk.phase == Phase::Sweeping {
            let (mut sweep, loops) = (Sweep::default(), walk.loops);
            let (mut whole, mut seen) = (true, 0);
            for hold in self.holds.values() {
                if seen == size {
                    whole = false;
                    break;
                }
                seen += 1;
                if let Held::Object { id, .. } = &hold.held {
                    sweep.object(hold, self.objects.get(id));
                    continue;
                }
                let (within, next) = self.within(hold, size);
                sweep.piece((hold, true), self.nodes.get(&hold.path), (&within, next), |id| self.objects.get(id));
                while sweep.looked() < 2 * size
                    && let Some(folder) = sweep.below()
                {
                    let (within, next) = self.within(&folder, size);
                    sweep.piece((&folder, false), None, (&within, next), |id| self.objects.get(id));
                }
            }
            if whole && sweep.is_whole() {
                walk.swept();
            }
            let (gone, edits) = sweep.finish();
            let told = gone.into_iter().map(|Gone { path, object }| {
                let of = object.map_or(path.clone(), |(id, _)| id);
                Telling {
                    id: format!("gone {of} {loops}"),
                    of,
                    event_type: EventType::Deleted,
                    path,
                    version: String::new(),
                }
            });
            self.step(told.collect(), edits, walk, acts);
            return true;
        }
        let (entries, next, ended) = match &walk.phase {
            Phase::Listing { at, .. } => {
                let (entries, next) = provider.listed(at.as_deref().unwrap_or_default(), size);
                let ended = next.is_none();
                (entries, next, ended)
            }
            _ => {
                let (entries, next, ended) = provider.page(walk.cursor.parse().unwrap(), size);
                (entries, Some(next.to_string()), ended)
            }
        };
        let mut follow = Follow::begin(&walk);
        let (paths, ids) = follow.unknown(&entries);
        let nodes = paths.into_iter().map(|path| (path.clone(), self.nodes.get(&path).cloned())).collect::<Vec<_>>();
        follow.know(nodes, ids.into_iter().map(|id| (id.clone(), self.objects.get(&id).cloned())));
        let (mut told, loops, lists) = (Vec::new(), walk.loops, matches!(walk.phase, Phase::Listing { .. }));
        for entry in &entries {
            if let (Some((event_type, change)), Some(thing)) = (follow.take(entry, walk.mode()), &entry.thing) {
                let (of, path, version) = (thing.id.clone(), entry.path.clone(), thing.version.clone());
                let id = format!("{of} {loops} {change} {version} {path}");
                told.push(Telling { of, event_type, path, version, id });
            }
        }
        walk.held |= follow.holds();
        walk.pass(next, ended);
        let more = !ended || lists || walk.phase == Phase::Sweeping;
        self.step(told, follow.edits(), walk, acts);
        more
    }

    fn reset(&mut self, provider: &Provider, acts: Option<usize>) {
        let Some(walk) = &self.walk else { return };
        let again = walk.begin_again(provider.journal.len().to_string());
        self.step(Vec::new(), Vec::new(), again, acts);
    }

    fn settle(&mut self, provider: &Provider, size: usize) {
        for _ in 0..10_000 {
            if !self.read(provider, size, None) {
                return;
            }
        }
        panic!("it has no end: {self:?}");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Write(usize),
    Delete(usize),
    Rename(usize, usize),
    Read(Option<usize>),
    Settle,
    Reset(Option<usize>),
}

const PATHS: [&str; 12] =
    ["/a", "/b", "/c", "/a/x", "/a/y", "/a/z", "/b/x", "/b/y", "/a/z/p", "/a/z/q", "/b/y/p", "/c/x/p"];

fn act() -> impl Strategy<Value = Act> {
    let path = || 0..PATHS.len();
    prop_oneof![
        8 => path().prop_map(Act::Write),
        3 => path().prop_map(Act::Delete),
        4 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        8 => proptest::option::weighted(0.5, 1..8_usize).prop_map(Act::Read),
        2 => Just(Act::Settle),
        1 => proptest::option::weighted(0.3, 1..4_usize).prop_map(Act::Reset),
    ]
}

/// What is there, by id.
fn places(provider: &Provider) -> BTreeMap<&String, (&String, &String)> {
    provider.there.iter().map(|(path, there)| (&there.id, (path, &there.version))).collect()
}

/// Holds what was told since `before` against what is there since then.
fn judge(
    store: &Store,
    from: usize,
    before: &Provider,
    after: &Provider,
    (dies, resets): (bool, bool),
) -> Result<(), TestCaseError> {
    let (was, is) = (places(before), places(after));
    let told = &store.told[from..];
    let ids: BTreeSet<&String> = was.keys().chain(is.keys()).copied().collect();
    for id in ids {
        let of: Vec<&Telling> = told.iter().filter(|telling| telling.of == *id).collect();
        let last = of.last().map(|telling| (telling.event_type, &telling.path, &telling.version));
        match (was.get(id), is.get(id)) {
            (Some(_), None) => prop_assert_eq!(last.map(|last| last.0), Some(EventType::Deleted), "{} {:?}", id, of),
            (was, Some(now)) if was != Some(now) => {
                let (event_type, path, version) = last.ok_or_else(|| TestCaseError::fail(format!("{id} untold")))?;
                prop_assert_eq!((path, version), *now, "{} {:?}", id, of);
                prop_assert!(event_type != EventType::Deleted);
                prop_assert!(dies || was.is_none() || event_type == EventType::Updated, "{} {:?}", id, of);
            }
            (_, Some(_)) => prop_assert!(last.is_none_or(|last| last.0 != EventType::Deleted), "{} {:?}", id, of),
            (None, None) => {}
        }
    }
    // What came and went in between has an end, if it was told of.
    let passed: BTreeSet<&String> = told.iter().map(|telling| &telling.of).collect();
    for of in passed.into_iter().filter(|of| !was.contains_key(of) && !is.contains_key(of)) {
        let of: Vec<&Telling> = told.iter().filter(|telling| telling.of == *of).collect();
        let Some(last) = of.last().filter(|last| last.event_type != EventType::Deleted) else { continue };
        // What a step that died told of the index does not know: of that what became of its place is told, if the cursor
        // lived on.
        let gone = |telling: &&Telling| {
            telling.of != last.of && (telling.path == last.path || is_in(&last.path, &telling.path))
        };
        prop_assert!(dies && (resets || told.iter().any(|telling| gone(&telling))), "{:?} {:?}", of, told);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_comes_to_what_is_there_and_what_was_and_is_otherwise_is_told(
        acts in proptest::collection::vec(act(), 1..60),
        size in 1..5_usize,
    ) {
        let (mut provider, mut store) = (Provider::default(), Store::default());
        provider.write("/a/x");
        provider.write("/b/y/p");
        store.settle(&provider, size);
        let (before, from) = (provider.clone(), store.told.len());
        prop_assert_eq!(from, 0, "nothing of what is there at first");
        let resets = acts.iter().any(|act| matches!(act, Act::Reset(_)));
        let mut dies = false;
        for act in acts {
            match act {
                Act::Write(path) => provider.write(PATHS[path]),
                Act::Delete(path) => provider.delete(PATHS[path]),
                Act::Rename(from, to) => provider.rename(PATHS[from], PATHS[to]),
                Act::Read(acts) => {
                    dies |= acts.is_some();
                    store.read(&provider, size, acts);
                }
                Act::Settle => store.settle(&provider, size),
                Act::Reset(acts) => store.reset(&provider, acts),
            }
        }
        store.settle(&provider, size);
        judge(&store, from, &before, &provider, (dies, resets))?;
        let known: BTreeMap<_, _> = store.nodes.values().map(|node| (&node.path, &node.id)).collect();
        let there: BTreeMap<_, _> = provider.there.iter().map(|(path, there)| (path, &there.id)).collect();
        prop_assert_eq!(known, there);
        let objects: BTreeMap<_, _> =
            store.objects.values().map(|object| (&object.id, (&object.path, &object.version))).collect();
        prop_assert_eq!(objects, places(&provider));
        prop_assert!(store.holds.is_empty());
        if !dies {
            // What was at two paths in one loop, two steps of its sweep may both find gone: by one id.
            let told: Vec<&Telling> =
                store.told.iter().filter(|telling| telling.event_type != EventType::Deleted).collect();
            let ids: BTreeSet<&String> = told.iter().map(|telling| &telling.id).collect();
            prop_assert_eq!(ids.len(), told.len(), "one id for each: {:?}", store.told);
        }
    }

    #[test]
    fn what_changes_while_all_is_listed_for_the_first_time_is_told_and_what_was_listed_and_is_gone(
        before in proptest::collection::vec(act(), 1..20),
        during in proptest::collection::vec(act(), 1..20),
        size in 1..4_usize,
    ) {
        let (mut provider, mut store) = (Provider::default(), Store::default());
        let change = |provider: &mut Provider, act: &Act| match act {
            Act::Write(path) => provider.write(PATHS[*path]),
            Act::Delete(path) => provider.delete(PATHS[*path]),
            Act::Rename(from, to) => provider.rename(PATHS[*from], PATHS[*to]),
            _ => {}
        };
        before.iter().for_each(|act| change(&mut provider, act));
        store.read(&provider, size, None);
        let was = provider.clone();
        let mut listed = BTreeSet::new();
        for act in &during {
            change(&mut provider, act);
            if let Act::Read(acts) = act {
                store.read(&provider, size, *acts);
            }
            listed.extend(store.objects.keys().cloned());
        }
        store.settle(&provider, size);
        for (path, there) in &provider.there {
            let same = was.there.get(path) == Some(there);
            let telling = store.told.iter().rfind(|telling| telling.of == there.id);
            let told = telling.is_some_and(|last| last.event_type != EventType::Deleted && last.path == *path && last.version == there.version);
            prop_assert!(same || told, "{path} {there:?} {:?}", store.told);
        }
        let now = places(&provider);
        for id in listed.iter().filter(|id| !now.contains_key(id)) {
            let last = store.told.iter().rfind(|telling| telling.of == *id);
            prop_assert!(last.is_some_and(|last| last.event_type == EventType::Deleted), "{id} {:?}", store.told);
        }
    }

    #[test]
    fn a_move_is_one_change_and_nothing_is_deleted(
        made in proptest::collection::vec(0..PATHS.len(), 1..12),
        (from, to) in (0..PATHS.len(), 0..PATHS.len()),
        size in 1..4_usize,
    ) {
        let (mut provider, mut store) = (Provider::default(), Store::default());
        made.into_iter().for_each(|path| provider.write(PATHS[path]));
        provider.delete(PATHS[to]);
        store.settle(&provider, size);
        let before = provider.clone();
        provider.rename(PATHS[from], PATHS[to]);
        store.settle(&provider, size);
        let (was, is) = (places(&before), places(&provider));
        for telling in &store.told {
            let event_type = if was.contains_key(&telling.of) { EventType::Updated } else { EventType::Created };
            let gone = telling.event_type == EventType::Deleted && !is.contains_key(&telling.of);
            prop_assert!(gone || telling.event_type == event_type, "{telling:?}");
        }
        let changed = is.iter().filter(|(id, now)| was.get(*id) != Some(now)).count();
        let gone = was.keys().filter(|id| !is.contains_key(*id)).count();
        prop_assert_eq!(store.told.len(), changed + gone, "each once");
    }
}

#[test]
fn a_walk_is_stored_and_read_again() {
    let following =
        Walk { cursor: "c".into(), phase: Phase::Following, loops: 7, fresh: false, held: true, failed: 2, doubt: 9 };
    let again = following.begin_again("d".into());
    for walk in [Walk::begin("c".into()), following, again] {
        let text = serde_json::to_string(&walk).unwrap();
        assert_eq!(serde_json::from_str::<Walk>(&text).unwrap(), walk, "{text}");
    }
}

#[test]
fn a_record_of_what_is_gone_says_what_it_was() {
    let path = |text: &str| Path::parse(text).unwrap();
    let gone = |is: Option<Value>| Deleted { path: path("['.tag']"), is };
    let shape = Shape { path: path("path_lower"), folder: gone(Some("folder".into())) };
    let section = "base_url: https://x.example\nauthentication: { none: {} }\nresources:\n  files:\n    path: /f\n    start: /s\n    \
                   paging: { cursor: { from: cursor, query: c } }\n    id: meta.id\n    deleted: { at: \"['.tag']\", is: deleted }\n    \
                   types: { at: \"['.tag']\", of: { deleted: paths } }\n";
    let polling = crate::definition::Polling::from_yaml(section).unwrap();
    let settings = [("event.objects".to_owned(), "files".to_owned())].into();
    let resource = crate::configuration::read(&settings).resources.remove(0);
    let rules = crate::request::Query::resolve(&polling, &resource).unwrap().rules;
    let known = Gone { path: "/a".into(), object: Some(("id:1".into(), "folders".into())) };
    let change = shape.gone(&rules, &known, 3);
    assert_eq!(change.record, serde_json::json!({".tag": "deleted", "path_lower": "/a", "meta": {"id": "id:1"}}));
    assert_eq!((change.told.object_id.as_str(), change.told.object_type.as_str()), ("id:1", "folders"));
    let unknown = shape.gone(&rules, &Gone { path: "/a".into(), object: None }, 3);
    assert_eq!((unknown.told.object_id.as_str(), unknown.told.object_type.as_str()), ("/a", "paths"));
    assert_ne!(shape.gone(&rules, &known, 4).told.version, change.told.version);
}

#[test]
fn a_folder_that_is_held_and_reached_from_above_is_written_once() {
    let node = |path: &str, folder: bool| Node {
        path: path.to_owned(),
        id: format!("id:{path}"),
        folder,
        object_type: "files".to_owned(),
        stamp: Stamp(9, 0),
    };
    let hold =
        |path: &str| Hold { path: path.to_owned(), stamp: Stamp(5, 0), after: String::new(), held: Held::Within };
    let (folder, within) = (node("/x", true), [node("/x/a", false), node("/x/b", true)]);
    let mut sweep = Sweep::default();
    sweep.piece((&hold(""), true), None, (std::slice::from_ref(&folder), None), |_| None);
    let below = sweep.below().unwrap();
    assert_eq!(below.path, "/x");
    sweep.piece((&below, false), None, (&within, Some("/x/b".to_owned())), |_| None);
    sweep.piece((&hold("/x"), true), None, (&within[..1], Some("/x/a".to_owned())), |_| None);
    let (gone, ranks) = sweep.finish();
    assert_eq!(gone, []);
    for rank in &ranks {
        assert_eq!(rank.iter().map(item).collect::<BTreeSet<_>>().len(), rank.len(), "{rank:?}");
    }
    let further = Edit::Hold(Hold { after: "/x/a".to_owned(), ..hold("/x") });
    assert!(ranks.last().unwrap().contains(&further), "from where less was done: {ranks:?}");
}
