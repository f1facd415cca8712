//! Dropbox's files API, as far as polling and OAuth need it.
//!
//! *Promise:* a cursor gives what changed since, each path as it is by now and not each change it went through; a page may be
//! empty and not the last; cursors die when Dropbox says so. What is deleted has a path and no id, and a folder takes all
//! that is in it along in one entry; what is moved is deleted in one place and new in another, with its id, maybe on another
//! page. A change of a name's case is not told (providers.md §4.3).
//!
//! *Not here:* files' contents, sharing, teams, tombstones in a listing (`include_deleted` is refused), writing through the
//! API.
//!
//! Sources: providers.md §4.3, §4.4; github.com/dropbox/dropbox-api-spec (`files.stone`, `auth.stone`, `common.stone`);
//! dropbox.com/developers/documentation/http/documentation, …/oauth-guide.

mod api;
mod cursors;
mod oauth;
mod tree;

use std::time::Duration;

use events::Timestamp;

use crate::clock::Clock;
use crate::exchange::{Answer, Request};
use crate::faults::{Refusal, RetryAfter};
use crate::oauth::{Grants, Rotation, Rules, Tokens};
use crate::server::{Provider, Simulator};

use cursors::Cursors;
use tree::Tree;

/// providers.md §4.4: four hours; refresh tokens stay until they are revoked.
const RULES: Rules = Rules {
    access: Duration::from_secs(14_400),
    sliding: false,
    refresh: None,
    rotation: Rotation::Never,
    prefix: "sl.simulated",
};

/// A user's Dropbox.
#[derive(Debug)]
pub struct Dropbox {
    /// Who may ask.
    pub grants: Grants,
    /// The account's id, as its webhooks name it: the account of its grants.
    pub account: String,
    /// How many of the next pages of a cursor are empty although there is more.
    pub empty_pages: usize,
    clock: Clock,
    tree: Tree,
    cursors: Cursors,
}

impl Dropbox {
    /// An empty Dropbox, on a socket.
    #[must_use]
    pub fn start(now: Timestamp) -> Simulator<Self> {
        Simulator::start(now, |clock, _| Self {
            grants: Grants::new(clock, RULES),
            account: "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc".into(),
            empty_pages: 0,
            clock: clock.clone(),
            tree: Tree::default(),
            cursors: Cursors::default(),
        })
    }

    /// The user agrees: tokens, as if a code had been exchanged.
    pub fn connect(&mut self) -> Tokens {
        self.grants.grant(&self.account.clone())
    }

    /// Writes a file now, new or not, in folders that are made where they are not there; what is in the way
    /// is gone. Its id.
    pub fn write(&mut self, path: &str) -> String {
        let now = self.clock.now();
        self.tree.write(path, now, now)
    }

    /// The same, of which the writer says when it was modified: whatever it likes (providers.md §4.3).
    pub fn write_dated(&mut self, path: &str, client_modified: Timestamp) -> String {
        self.tree.write(path, self.clock.now(), client_modified)
    }

    /// Makes a folder, with those it is in; its id.
    pub fn make_folder(&mut self, path: &str) -> String {
        self.tree.make_folder(path)
    }

    /// Deletes a file, or a folder with all that is in it.
    pub fn delete(&mut self, path: &str) {
        self.tree.delete(path);
    }

    /// Moves a file, or a folder with all that is in it, to where what was there is gone; ids stay. Not into itself.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.tree.rename(from, to);
    }

    /// All cursors are dead: each is answered with `reset`.
    pub fn reset_cursors(&mut self) {
        self.cursors.reset();
    }
}

impl Provider for Dropbox {
    fn answer(&mut self, request: &Request) -> Answer {
        self.respond(request)
    }

    fn refuse(&mut self, refusal: Refusal, _request: &Request) -> Answer {
        match refusal {
            Refusal::TooMany(RetryAfter::Seconds(seconds)) => api::too_many(Some(seconds)),
            Refusal::TooMany(RetryAfter::Unsaid | RetryAfter::Date(_)) => api::too_many(None),
            Refusal::Broken(status) => Answer::new(status, "text/plain", "Internal Server Error"),
        }
    }

    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}
