//! Reading a resource whose provider says of what is gone no more than where it was (see [`polling::tree`]).
//!
//! *Promise:* a reading is one step: what it found is told, then written to the index, then its place moves, and the next reading
//! begins from what is stored. So memory and what a death repeats are bounded, however large a tree is that is listed, a loop of
//! pages or what a folder took along.
//!
//! *Flow.* One page of the listing, or pages of a loop until there is enough, or a piece of what is held. Nobody is asked for a
//! page while something is held of a loop that has ended.
//!
//! *When the cursor dies* all is listed again, and the difference to the index is told. Where the first listing was not yet told
//! of, what changed before it was listed is lost, and said.

use std::collections::BTreeMap;

use events::{InstanceId, Timestamp};
use platform::Platform;
use polling::pagination::{Next, Progress};
use polling::poll::Change;
use polling::position::Place;
use polling::request::{self, Query};
use polling::tree::{Edit, Entry, Follow, Held, Hold, Node, Object, Phase, Shape, Sweep, Walk};
use records::RecordError;
use records::tree::{Index, clear};

use super::read::{Asker, FRESH_BYTES, Found, Page, Reading, Stop};
use super::{End, Fetch, Outcome, Trouble, Unpolled};

/// Entries of a step: it ends with the page that brings it there.
const ENTRIES: usize = 2_000;

/// Items of the index that a step of a sweep looks at, where little of it is gone.
const LOOKED: usize = 5_000;

/// Items of a range that are read at once.
const RANGE: usize = 500;

/// Holds that are read at once.
const HOLDS: usize = 100;

/// What a step does to a resource's index, in ranks.
pub(super) type Edits = Vec<Vec<Edit>>;

/// What a step came to beside where it leads.
#[derive(Default)]
struct Stepped {
    changes: Vec<Change>,
    edits: Edits,
    stop: Option<Stop>,
    more: bool,
    left_out: usize,
}

impl Stepped {
    fn stopped(stop: impl Into<Stop>) -> Self {
        Self { stop: Some(stop.into()), ..Self::default() }
    }
}

/// What is read, and for whom.
struct Tree<'q> {
    query: &'q Query,
    shape: &'q Shape,
    index: Index<'q>,
    start: Timestamp,
    room: usize,
}

impl<P: Platform, F: Fetch> Asker<'_, '_, P, F> {
    /// Reads a resource that is indexed, from its place on, for one step.
    pub(super) async fn read_tree(
        &mut self,
        (query, shape): (&Query, &Shape),
        place: Option<&Place>,
        start: Timestamp,
        room: usize,
    ) -> Reading {
        let index = Index { instance: self.instance, resource: &query.name };
        let tree = Tree { query, shape, index, start, room };
        // Of its loops none has the number of one that an index before this one had: each of those took a claim.
        let claims = self.tried.claims;
        let begin = |cursor: String| Walk { loops: claims, ..Walk::begin(cursor) };
        let begun = match place {
            Some(Place::Tree(walk)) => Ok(walk.clone()),
            // It was polled before there was an index.
            Some(Place::Cursor(cursor)) => Ok(begin(cursor.clone())),
            Some(Place::Position(_)) | None => self.start_cursor(query, start).await.map(begin),
        };
        let mut walk = match begun {
            Ok(walk) => walk.after(self.tried),
            Err(stop) => return reading(&tree, None, false, Stepped::stopped(stop)),
        };
        let before = walk.clone();
        let is_new = !matches!(place, Some(Place::Tree(_)));
        let stepped = match walk.phase {
            // The cursor is stored before anything is listed: a death between the two would come to a later one.
            _ if is_new => Stepped { more: true, ..Stepped::default() },
            Phase::Sweeping => self.sweep(&tree, &mut walk).await,
            Phase::Listing { .. } | Phase::Following => self.follow(&tree, &mut walk).await,
        };
        // A loop that brought nothing is not counted where its cursor stayed.
        let moved = is_new || walk.cursor != before.cursor || walk.phase != before.phase;
        reading(&tree, Some(walk), moved, stepped)
    }

    /// Reads pages of the listing, or of a loop.
    async fn follow(&mut self, tree: &Tree<'_>, walk: &mut Walk) -> Stepped {
        let Tree { query, shape, start, .. } = *tree;
        let mut progress = match walk.at() {
            Some(cursor) => Progress::resuming(cursor, self.polling.max_pages),
            None => Progress::new(start, self.polling.max_pages),
        };
        let (mut known, mut stepped, mut bytes) = (Follow::begin(walk), Stepped::default(), 0);
        let lists = matches!(walk.phase, Phase::Listing { .. });
        let mut ended = false;
        while !ended {
            let asking = request::Asking { progress: &progress, now: start, settings: self.settings };
            let request = match query.plan(self.polling, &asking) {
                Ok(request) => request,
                Err(error) => {
                    stepped.stop = Some(Trouble::Configuration(error.to_string()).into());
                    break;
                }
            };
            let page = match self.ask(&request).await {
                Page::Is(page) => page,
                Page::Not(stop) => {
                    stepped.stop = Some(stop);
                    break;
                }
                // The next reading comes here at once.
                Page::Reset if known.entries() > 0 => {
                    stepped.more = true;
                    break;
                }
                Page::Reset => return self.begin_again(tree, walk).await,
            };
            let read = match query.read(&request, &page.headers, &page.body, &mut progress) {
                Ok(read) => read,
                Err(error) => {
                    stepped.stop = Some(Trouble::Theirs(error.to_string()).into());
                    break;
                }
            };
            let entries: Vec<Option<Entry>> =
                read.records.iter().map(|record| shape.entry(&query.rules, record)).collect();
            if let Err(error) = self.look_up(tree, &mut known, entries.iter().flatten().cloned().collect()).await {
                stepped.stop = Some(Stop::Account(End::Ours(error)));
                break;
            }
            for (record, entry) in read.records.into_iter().zip(entries) {
                let Some(entry) = entry else {
                    stepped.left_out += 1;
                    continue;
                };
                let told = known.take(&entry, walk.mode());
                stepped.changes.extend(told.and_then(|told| shape.changed(&entry, told, walk.loops, record)));
            }
            walk.held |= known.holds();
            bytes += page.bytes;
            ended = matches!(read.next, Ok(Next::End));
            walk.pass(query.cursor(&page.body), ended);
            let enough = known.entries() >= ENTRIES || stepped.changes.len() >= tree.room || bytes >= FRESH_BYTES;
            match read.next {
                Ok(Next::Turn(_)) if !enough => {}
                Ok(Next::Turn(_)) => {
                    stepped.more = true;
                    break;
                }
                Ok(Next::Budget) => {
                    stepped.more = true;
                    break;
                }
                Ok(Next::End) => {}
                Err(error) => {
                    stepped.stop = Some(Trouble::Theirs(error.to_string()).into());
                    break;
                }
            }
        }
        // What comes next of a loop that has ended is a sweep, and of the listing the first loop.
        stepped.more |= ended && (lists || walk.phase == Phase::Sweeping);
        // Without a page nothing is begun.
        if progress.pages() > 0 {
            stepped.edits = known.edits();
        }
        stepped
    }

    /// Has the index say what it has of entries.
    async fn look_up(&self, tree: &Tree<'_>, known: &mut Follow, entries: Vec<Entry>) -> Result<(), RecordError> {
        let (paths, ids) = known.unknown(&entries);
        let nodes = tree.index.nodes(self.asking.platform, &paths).await?;
        let objects = tree.index.objects(self.asking.platform, &ids).await?;
        known.know(paths.into_iter().zip(nodes), ids.into_iter().zip(objects));
        Ok(())
    }

    /// A cursor has died: that of the listing, which begins again, or the one that is followed.
    async fn begin_again(&mut self, tree: &Tree<'_>, walk: &mut Walk) -> Stepped {
        if let Phase::Listing { at, .. } = &mut walk.phase {
            *at = None;
            let lost = "the provider's cursor has died in the middle of a listing, which begins again";
            return Stepped::stopped(Trouble::Theirs(lost.into()));
        }
        let cursor = match self.start_cursor(tree.query, tree.start).await {
            Ok(cursor) => cursor,
            Err(stop) => return Stepped::stopped(stop),
        };
        let lost =
            "the provider's cursor has died: what changed while all was listed for the first time cannot be told";
        let stop = walk.fresh.then(|| Trouble::Theirs(lost.into()).into());
        *walk = walk.begin_again(cursor);
        Stepped { more: stop.is_none(), stop, ..Stepped::default() }
    }

    /// Sweeps a piece of what is held.
    async fn sweep(&self, tree: &Tree<'_>, walk: &mut Walk) -> Stepped {
        if self.asking.platform.now() >= self.asking.asks_until {
            return Stepped::stopped(Stop::Account(End::More));
        }
        let (mut sweep, loops) = (Sweep::default(), walk.loops);
        match self.sweep_all(tree, &mut sweep).await {
            Ok(true) => walk.swept(),
            Ok(false) => {}
            Err(error) => return Stepped::stopped(Stop::Account(End::Ours(error))),
        }
        let (gone, edits) = sweep.finish();
        let changes = gone.iter().map(|gone| tree.shape.gone(&tree.query.rules, gone, loops)).collect();
        Stepped { changes, edits, more: true, ..Stepped::default() }
    }

    /// Sweeps until there is enough. `true`: nothing is held any more.
    async fn sweep_all(&self, tree: &Tree<'_>, sweep: &mut Sweep) -> Result<bool, RecordError> {
        let (platform, index) = (self.asking.platform, &tree.index);
        let mut after = None;
        loop {
            let (holds, next) = index.holds(platform, after, HOLDS).await?;
            // What is at the paths, and where the objects are, of all of them at once.
            let paths: Vec<String> = holds.iter().filter(|hold| asks_at(hold)).map(|hold| hold.path.clone()).collect();
            let at = index.nodes(platform, &paths).await?;
            let at: BTreeMap<String, _> =
                paths.into_iter().zip(at).filter_map(|(path, at)| Some((path, at?))).collect();
            let of_holds = holds.iter().filter_map(|hold| match &hold.held {
                Held::Object { id, .. } => Some(id),
                Held::All { .. } | Held::Within => None,
            });
            let ids: Vec<String> = at.values().map(|node| &node.id).chain(of_holds).cloned().collect();
            let mut objects = self.objects(index, ids).await?;
            for hold in &holds {
                if enough(tree, sweep) || self.is_late(sweep) {
                    return Ok(false);
                }
                if let Held::Object { id, .. } = &hold.held {
                    sweep.object(hold, objects.get(id));
                    continue;
                }
                let here = at.get(&hold.path).filter(|_| asks_at(hold));
                // Nothing is in a file, and what was in a folder that it replaced is held by itself.
                let (within, next) = match here.is_some_and(|node| !node.folder) {
                    true => (Vec::new(), None),
                    false => index.within(platform, &hold.path, &hold.after, RANGE).await?,
                };
                objects.extend(self.objects(index, ids_of(&within)).await?);
                sweep.piece((hold, true), here, (&within, next), |id| objects.get(id));
                while !enough(tree, sweep)
                    && !self.is_late(sweep)
                    && let Some(folder) = sweep.below()
                {
                    let (within, next) = index.within(platform, &folder.path, &folder.after, RANGE).await?;
                    let objects = self.objects(index, ids_of(&within)).await?;
                    sweep.piece((&folder, false), None, (&within, next), |id| objects.get(id));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(sweep.is_whole()),
            }
        }
    }

    /// Whether there is no time to look at more: many folders with little in them take long.
    fn is_late(&self, sweep: &Sweep) -> bool {
        sweep.looked() > 0 && self.asking.platform.now() >= self.asking.asks_until
    }

    async fn objects(&self, index: &Index<'_>, ids: Vec<String>) -> Result<BTreeMap<String, Object>, RecordError> {
        let found = index.objects(self.asking.platform, &ids).await?;
        Ok(ids.into_iter().zip(found).filter_map(|(id, object)| Some((id, object?))).collect())
    }
}

fn enough(tree: &Tree<'_>, sweep: &Sweep) -> bool {
    sweep.found() >= tree.room || sweep.looked() >= LOOKED
}

fn ids_of(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| node.id.clone()).collect()
}

/// Whether what is at a hold's path is of interest.
fn asks_at(hold: &Hold) -> bool {
    matches!(hold.held, Held::All { .. }) && hold.after.is_empty()
}

fn reading(tree: &Tree<'_>, walk: Option<Walk>, moved: bool, stepped: Stepped) -> Reading {
    let Stepped { changes, edits, stop, more, left_out } = stepped;
    let edits: Edits = edits.into_iter().filter(|rank| !rank.is_empty()).collect();
    let worth_storing = moved || !edits.is_empty();
    // A step of its own, also where nothing is to be written but the place.
    let edits = worth_storing.then_some(edits);
    let found = Found { changes, place: walk.map(Place::Tree), worth_storing, start: tree.start, edits };
    Reading { found, more: more && stop.is_none(), stop, left_out }
}

/// What is left to do for an instance that there is no plan of.
pub(super) async fn left_behind<P: Platform>(platform: &P, instance: InstanceId, until: Timestamp) -> Outcome {
    Outcome::ended(match clear(platform, instance, until).await {
        Ok(true) => End::Unpolled(Unpolled::Deleted),
        Ok(false) => End::More,
        Err(error) => End::Ours(error),
    })
}
