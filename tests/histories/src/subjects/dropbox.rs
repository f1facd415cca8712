//! Dropbox: the cursor of an account, which is kept between polls, and an index of what is where.
//!
//! | told | hidden by the API |
//! |---|---|
//! | what is new, as CREATED, and what changed or moved, as UPDATED: once, where it is as a poll comes | what was in between; all before the first poll |
//! | what is gone, as DELETED, each file and folder by its id, also with its folder | what was made and deleted in between |
//! | after Dropbox let a cursor die, the same: what is otherwise than it was | |
//!
//! *Until the first whole poll* what is new may be UPDATED, and what is gone DELETED by its path, of the type `paths`; and so it
//! may be after a death. Of what was told by polls alone that died, and is gone before the next, there may be no more than what
//! became of its path or its folder. What a single death repeats has the same id.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use events::{EventId, EventType, Timestamp};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use simulators::dropbox::Dropbox as Account;
use simulators::{Fault, Provider as _, Request, Simulator};

use super::{FOR_EVER, any_fault, picked};
use crate::dice::Dice;
use crate::subject::{Change, Evidence, Poll, Subject, Telling, What};

const FOLDERS: [&str; 5] = ["", "/a", "/b", "/a/c", "/m/n"];
const FILES: [&str; 4] = ["x.txt", "y.txt", "z.txt", "w.txt"];

/// An account's files.
#[derive(Debug)]
pub struct Dropbox;

/// What is at a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    id: String,
    /// Of a file.
    rev: Option<String>,
}

/// What became of a path.
#[derive(Clone, Debug)]
struct Touch {
    path: String,
    /// `None`: nothing is there any more.
    entry: Option<Entry>,
}

/// What happened to an account's files.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    there: BTreeMap<String, Entry>,
    touched: Vec<Touch>,
    /// How many touches there were after each change: within one, what is moved is nowhere.
    moments: Vec<usize>,
}

impl Paths {
    fn touch(&mut self, path: &str, entry: Option<Entry>) {
        match &entry {
            Some(entry) => self.there.insert(path.to_owned(), entry.clone()),
            None => self.there.remove(path),
        };
        self.touched.push(Touch { path: path.to_owned(), entry });
    }

    /// A path and all below it.
    fn below(&self, path: &str) -> Vec<String> {
        self.there.keys().filter(|other| *other == path || is_in(other, path)).cloned().collect()
    }

    fn gone(&mut self, path: &str) {
        for path in self.below(path) {
            self.touch(&path, None);
        }
    }

    /// What Dropbox says is there now, with the folders above it that are new.
    fn made(&mut self, account: &mut Account, path: &str) {
        for (end, _) in path.match_indices('/').skip(1) {
            if !self.there.contains_key(&path[..end]) {
                let entry = said(account, &path[..end]);
                self.touch(&path[..end], entry);
            }
        }
        let entry = said(account, path);
        self.touch(path, entry);
    }
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// What Dropbox says is at a path.
fn said(account: &mut Account, path: &str) -> Option<Entry> {
    let bearer = format!("Bearer {}", account.connect().access);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::AUTHORIZATION, bearer.parse().ok()?);
    let body = Bytes::from(json!({ "path": path }).to_string());
    let (method, asked) = (Method::POST, "/2/files/get_metadata".to_owned());
    let answer = account.answer(&Request { method, path: asked, query: Vec::new(), headers, body });
    entry(&serde_json::from_slice(&answer.body).ok()?)
}

fn entry(record: &Value) -> Option<Entry> {
    let rev = record["rev"].as_str().map(str::to_owned);
    Some(Entry { id: record["id"].as_str()?.to_owned(), rev })
}

fn happen(account: &mut Account, history: &mut Paths, change: Change) {
    let all: Vec<String> = history.there.keys().cloned().collect();
    let files: Vec<&String> = all.iter().filter(|path| path.ends_with(".txt")).collect();
    let (folder, other) = (picked(&FOLDERS, change.pick / 7), picked(&FOLDERS, change.pick / 11));
    let (folder, other) = (folder.copied().unwrap_or_default(), other.copied().unwrap_or_default());
    let file = format!("{folder}/{}", picked(&FILES, change.pick).copied().unwrap_or_default());
    match (change.what, picked(&all, change.pick / 3), picked(&files, change.pick / 3)) {
        (What::Update, _, Some(path)) => {
            account.write(path);
            history.made(account, path);
        }
        (What::Delete, Some(path), _) => {
            account.delete(path);
            history.gone(path);
        }
        (What::Restore, Some(from), _) => {
            let is_file = from.ends_with(".txt");
            let to = if is_file { file } else { other.to_owned() };
            let within = to == *from || is_in(&to, from) || is_in(from, &to);
            if within || to.is_empty() {
                return happen(account, history, Change { what: What::Create, ..change });
            }
            account.rename(from, &to);
            let moved = history.below(from);
            history.gone(&to);
            history.gone(from);
            for path in moved {
                history.made(account, &format!("{to}{}", &path[from.len()..]));
            }
        }
        // In any case, which Dropbox does not tell apart.
        _ => {
            account.write(&if change.pick.is_multiple_of(5) { file.to_uppercase() } else { file.clone() });
            history.made(account, &file);
        }
    }
}

impl Subject for Dropbox {
    type Provider = Account;
    type History = Paths;

    const CONNECTOR: &'static str = "dropbox";
    const DEFINITION: &'static str = include_str!("../../../../shared/connectors/definitions/dropbox.yaml");
    const SCALED: &'static [(&'static str, &'static str)] = &[("page_size: 2000", "page_size: 2")];
    const RECORDS: &'static [&'static str] = &["/entries"];
    const LATEST: Duration = Duration::ZERO;
    const GRAIN: Duration = Duration::from_millis(1);

    fn start(now: Timestamp, _: &mut Dice) -> Simulator<Account> {
        Account::start(now)
    }

    fn settings(simulator: &Simulator<Account>, _: &mut Dice) -> Vec<(&'static str, String)> {
        let token = simulator.world(|account| {
            account.grants().rules.access = FOR_EVER;
            account.connect().access
        });
        vec![("event.objects", "files".into()), ("oauth.user.token", token)]
    }

    fn change(account: &mut Account, history: &mut Paths, change: Change, _: Timestamp) {
        happen(account, history, change);
        history.moments.push(history.touched.len());
    }

    fn changes(history: &Paths) -> usize {
        history.touched.len()
    }

    fn fault(dice: &mut Dice) -> Fault<Account> {
        match dice.below(10) {
            0 => Fault::before(Account::reset_cursors),
            1 | 2 => Fault::before(|account: &mut Account| account.empty_pages = 2),
            _ => any_fault(dice),
        }
    }

    fn is_gone(record: &Value) -> bool {
        record[".tag"] == "deleted"
    }

    fn judge(history: &Paths, evidence: &Evidence<'_>) -> Result<(), String> {
        history.judge(evidence)
    }
}

/// What an event tells.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Told {
    /// An object is at a path.
    Is(String, Entry),
    /// An object is gone.
    Gone(String),
    /// Nothing is at a path, of which no object was known.
    Nothing(String),
}

impl Told {
    fn of(Telling { event, record, .. }: &Telling) -> Result<Self, String> {
        let path = record["path_lower"].as_str().unwrap_or_default().to_owned();
        let entry = entry(record);
        let what = match entry {
            Some(entry) if Dropbox::is_gone(record) => Self::Gone(entry.id),
            Some(entry) => Self::Is(path, entry),
            None => Self::Nothing(path),
        };
        let (object_type, id) = match &what {
            Self::Is(_, Entry { id, rev: Some(_) }) => ("files", id),
            Self::Is(_, Entry { id, rev: None }) => ("folders", id),
            // What it was, the judge knows.
            Self::Gone(id) => (event.object_type.as_str(), id),
            Self::Nothing(path) => ("paths", path),
        };
        let is_deleted = event.event_type == EventType::Deleted;
        let is_there = matches!(what, Self::Is(..));
        let named = event.object_type == object_type && event.object_id == *id;
        if named && is_deleted != is_there {
            Ok(what)
        } else {
            Err(format!("told as what it is not: {event:?} {record}"))
        }
    }

    /// The object's id; of what has none its path.
    fn object(&self) -> &str {
        match self {
            Self::Is(_, Entry { id, .. }) | Self::Gone(id) => id,
            Self::Nothing(path) => path,
        }
    }
}

/// Where each object is.
type Places = BTreeMap<String, (String, Entry)>;

impl Paths {
    /// Where each object was after so many touches.
    fn at(&self, touches: usize) -> Places {
        let mut there: BTreeMap<&str, &Entry> = BTreeMap::new();
        for touch in &self.touched[..touches] {
            match &touch.entry {
                Some(entry) => there.insert(&touch.path, entry),
                None => there.remove(touch.path.as_str()),
            };
        }
        there.into_iter().map(|(path, entry)| (entry.id.clone(), (path.to_owned(), entry.clone()))).collect()
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Result<(), String> {
        let Evidence { polls, told, .. } = evidence;
        let all: Vec<Told> = told.iter().map(Told::of).collect::<Result<_, String>>()?;
        let begun = polls.iter().position(|poll| poll.complete).unwrap_or(polls.len());
        let mut moments: Vec<(usize, Places)> = Vec::new();
        for touches in self.moments.iter().copied() {
            moments.push((touches, self.at(touches)));
        }
        let broken = |from: usize, to: usize| polls[from..=to].iter().filter(|poll| poll.broken).count();
        let mut ids: BTreeMap<EventId, usize> = BTreeMap::new();
        for (number, (telling, what)) in told.iter().zip(&all).enumerate() {
            let poll = telling.poll;
            let before = (0..number).rfind(|before| all[*before].object() == what.object());
            self.judge_one(
                polls,
                (telling, what),
                before.map(|before| (&told[before], &all[before])),
                begun,
                &moments,
            )?;
            if let Some(first) = ids.insert(telling.event.id, number)
                && (all[first] != *what || broken(told[first].poll, poll) == 0)
            {
                return Err(format!("two changes by one id: {what:?}"));
            }
            // What a single death repeats has the same id.
            if let Some(before) = before.filter(|before| all[*before] == *what) {
                let since = polls[told[before].poll].changes_before;
                let touched = self.touched[since..].iter().any(|touch| self.concerns(touch, what));
                let deaths = broken(told[before].poll, poll);
                // Another claim that came to nothing in between, which is not seen from outside, leaves it in doubt.
                let alone = polls[told[before].poll..poll].iter().filter(|poll| !poll.complete).count() <= 1;
                let other = told[before].event.id != telling.event.id;
                if !touched && (deaths == 0 || deaths == 1 && alone && other) {
                    return Err(format!("told again, after {deaths} deaths: {what:?}"));
                }
            }
        }
        for (number, poll) in polls.iter().enumerate().skip(begun + 1).filter(|(_, poll)| poll.saw_all()) {
            let tellings = || told.iter().zip(&all).filter(|(telling, _)| telling.poll <= number);
            let (was, is) = (self.at(polls[begun].changes_after), self.at(poll.changes_before));
            let early = self.at(polls[begun].changes_before);
            let known = tellings().filter_map(|(_, what)| match what {
                Told::Is(_, Entry { id, .. }) | Told::Gone(id) => Some(id),
                Told::Nothing(_) => None,
            });
            for id in was.keys().chain(is.keys()).chain(known) {
                let last = tellings().rfind(|(_, what)| what.object() == id);
                let last = last.map(|(telling, what)| (&telling.poll, what));
                let right = match (last, is.get(id)) {
                    (Some((_, Told::Is(path, entry))), Some((at, there))) => path == at && entry == there,
                    // What came while the first poll read, and is gone, may have been seen by none.
                    (None, None) => !was.contains_key(id) || !early.contains_key(id),
                    (None, there) => was.get(id) == there,
                    (Some((_, Told::Gone(_))), None) => true,
                    (Some((by, Told::Is(path, _))), None) if *by <= begun || polls[*by].broken => {
                        let of_it = || tellings().filter(|(_, what)| what.object() == id);
                        // Of what only polls told that died the index may know nothing: its folder may have moved without it.
                        let unknown = of_it().all(|(telling, _)| polls[telling.poll].broken);
                        unknown
                            || tellings().any(|(telling, what)| {
                                let at = telling.record["path_lower"].as_str().unwrap_or_default();
                                telling.poll >= *by && what.object() != id && (at == path || is_in(path, at))
                            })
                    }
                    (Some(_), _) => false,
                };
                if !right {
                    return Err(format!("poll {number} could see it, and it is not told: {id} {:?}", is.get(id)));
                }
            }
        }
        Ok(())
    }

    /// Whether a touch is of what is told.
    fn concerns(&self, touch: &Touch, what: &Told) -> bool {
        match what {
            Told::Is(path, _) | Told::Nothing(path) => touch.path == *path,
            Told::Gone(id) => touch.entry.as_ref().is_some_and(|entry| entry.id == *id),
        }
    }

    /// Whether something is told that was so, as what it was; `before` is what was told last of the same object.
    fn judge_one(
        &self,
        polls: &[Poll],
        (telling, what): (&Telling, &Told),
        before: Option<(&Telling, &Told)>,
        begun: usize,
        moments: &[(usize, Places)],
    ) -> Result<(), String> {
        let poll = telling.poll;
        let (first, until) = (polls[0].changes_before, polls[poll].changes_after);
        let since = before.map_or(first, |(telling, _)| polls[telling.poll].changes_before);
        let wrong = |why: &str| Err(format!("{why}: {what:?} {:?}", telling.event));
        let dies = |from: usize| polls[from..=poll].iter().any(|poll| poll.broken);
        // The last whole poll before this one: what died since then may have told what is not known.
        let whole = polls[..poll].iter().rposition(|poll| poll.complete).unwrap_or(0);
        match what {
            Told::Is(path, entry) => {
                let was = |touch: &Touch| touch.path == *path && touch.entry.as_ref() == Some(entry);
                if !self.touched[..until].iter().skip(first).any(was) {
                    return wrong("told, and never was since the first poll");
                }
                let early = self.at(first).contains_key(&entry.id);
                let known = matches!(before, Some((_, Told::Is(..))));
                let died = before.is_some_and(|(telling, _)| dies(telling.poll)) || poll <= begun || dies(whole);
                let right = match telling.event.event_type {
                    EventType::Created => !known && (!early || before.is_some()) || died,
                    _ => {
                        known
                            || self.at(polls[begun.min(polls.len() - 1)].changes_after).contains_key(&entry.id)
                            || died
                    }
                };
                if !right {
                    return wrong("told as new, or as not new");
                }
            }
            Told::Gone(id) => {
                let file = self.touched.iter().filter_map(|touch| touch.entry.as_ref()).find(|entry| entry.id == *id);
                let object_type = match file {
                    Some(Entry { rev: Some(_), .. }) => "files",
                    Some(_) => "folders",
                    None => return wrong("told, and never was"),
                };
                if telling.event.object_type != object_type {
                    return wrong("told as what it is not");
                }
                let absent = |(touches, places): &&(usize, Places)| {
                    (since..=until).contains(touches) && !places.contains_key(id)
                };
                if !moments.iter().any(|moment| absent(&moment)) {
                    return wrong("told as gone, and always was somewhere");
                }
                if matches!(before, Some((telling, Told::Gone(_))) if !dies(telling.poll)) {
                    return wrong("told as gone once more");
                }
            }
            Told::Nothing(path) => {
                let was = |touch: &Touch| touch.path == *path && touch.entry.is_none();
                if !self.touched[..until].iter().skip(first).any(was) {
                    return wrong("told, and never was since the first poll");
                }
                // A claim that ran out before anything was sent is no death that is seen from outside.
                if poll > begun && !dies(whole) && whole + 1 == poll {
                    return wrong("told by its path, and it was known");
                }
            }
        }
        Ok(())
    }
}
