//! Dropbox: the cursor of an account, which is kept between polls.
//!
//! | told | hidden by the API |
//! |---|---|
//! | of each path what is there as a poll comes, by its id, as UPDATED; and if that is moved away and back, each time | what was there in between; all before the first poll |
//! | a path at which nothing is any more, or the folder that took it along, as DELETED of the type `paths`: whether it was deleted or moved | what was made and deleted in between |
//! | after Dropbox let a cursor die, what changes from then on | what changed before it, since the last poll |
//!
//! What a death repeats has the same ids, unless the next poll is broken off between two pages: an id is of the cursor that
//! was kept as the poll began, because what comes back to an earlier state is another change.

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
                    return Self::change(
                        account,
                        history,
                        Change { what: What::Create, ..change },
                        Timestamp::from_millis(0),
                    );
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

/// What an event tells: a path, and what is there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Told {
    path: String,
    entry: Option<Entry>,
}

impl Told {
    fn of(Telling { event, record, .. }: &Telling) -> Result<Self, String> {
        let path = record["path_lower"].as_str().unwrap_or_default().to_owned();
        let entry = entry(record);
        let object_type = match &entry {
            None => "paths",
            Some(Entry { rev: Some(_), .. }) => "files",
            Some(_) => "folders",
        };
        let event_type = if entry.is_none() { EventType::Deleted } else { EventType::Updated };
        let id = entry.as_ref().map_or(&path, |entry| &entry.id);
        if (event.object_type.as_str(), event.event_type, &event.object_id) != (object_type, event_type, id) {
            return Err(format!("told as what it is not: {event:?} {record}"));
        }
        Ok(Self { path, entry })
    }
}

impl Paths {
    fn judge(&self, evidence: &Evidence<'_>) -> Result<(), String> {
        let Evidence { polls, told, .. } = evidence;
        let all: Vec<(usize, Told)> =
            told.iter().map(|telling| Ok((telling.poll, Told::of(telling)?))).collect::<Result<_, String>>()?;
        let touches = |path: &str, from: usize| {
            let rest = self.touched.iter().enumerate().skip(from);
            rest.filter(|(_, touch)| touch.path == path).collect::<Vec<_>>()
        };
        // Nothing is told that was not so since the first poll, and nothing twice but by a touch or a death.
        let first = polls.first().map_or(0, |poll| poll.changes_before);
        let mut last: BTreeMap<&Told, (usize, EventId)> = BTreeMap::new();
        for (telling, (poll, what)) in told.iter().zip(&all) {
            let was =
                |(number, touch): &(usize, &Touch)| *number < polls[*poll].changes_after && touch.entry == what.entry;
            if !touches(&what.path, first).iter().any(was) {
                return Err(format!("told, and never was since the first poll: {what:?}"));
            }
            if let Some((before, id)) = last.get(what) {
                let again = touches(&what.path, polls[*before].changes_before);
                if again.is_empty() && !polls[*before].broken {
                    return Err(format!("told again, and nothing died: {what:?}"));
                }
                // An id is of the cursor that was kept, and what was read of a part moves that.
                let part = polls.iter().take(*poll).skip(before + 1).any(|poll| !poll.complete);
                if again.is_empty() && *id != telling.event.id && !part {
                    return Err(format!("told again by another id: {what:?}"));
                }
            }
            last.insert(what, (*poll, telling.event.id));
        }
        // From the end of the first whole poll on, what is and what is no more is told by each that sees all.
        let Some(begun) = polls.iter().position(|poll| poll.complete) else { return Ok(()) };
        for (number, poll) in polls.iter().enumerate().skip(begun + 1).filter(|(_, poll)| poll.saw_all()) {
            let from = lost(polls, number).max(polls[begun].changes_after);
            let mut paths: BTreeMap<&str, usize> = BTreeMap::new();
            for (at, touch) in self.touched.iter().enumerate().take(poll.changes_before).skip(from) {
                paths.insert(&touch.path, at);
            }
            for (path, at) in paths {
                let entry = &self.touched[at].entry;
                let after = |by: &usize| *by <= number && polls[*by].changes_after > at;
                let is_told = all.iter().any(|(by, what)| {
                    let same = what.path == path && what.entry == *entry;
                    let with_its_folder = entry.is_none() && what.entry.is_none() && is_in(path, &what.path);
                    after(by) && (same || with_its_folder)
                });
                // What was made and deleted between two polls may be hidden.
                let seen = all.iter().any(|(by, what)| *by <= number && what.path == path && what.entry.is_some());
                let old = self.touched[..from].iter().rfind(|touch| touch.path == path);
                let known = seen || old.is_some_and(|touch| touch.entry.is_some());
                if !is_told && (entry.is_some() || known) {
                    return Err(format!("poll {number} could see it, and it is not told: {path} {entry:?}"));
                }
            }
        }
        Ok(())
    }
}

/// How many changes are lost to a poll because the cursor died before it: those before the first whole poll after that.
fn lost(polls: &[Poll], until: usize) -> usize {
    let died = |poll: &Poll| poll.asked.iter().any(|(_, status)| *status == Some(409));
    let Some(dead) = polls[..until].iter().rposition(died) else { return 0 };
    let whole = polls[dead + 1..=until].iter().find(|poll| poll.complete);
    whole.map_or(0, |poll| poll.changes_before)
}
