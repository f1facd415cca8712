//! The `polling:` section of a connector's definition, exactly: an unknown field is an error that names its line.
//!
//! ```yaml
//! base_url: https://api.hubapi.com      # or https://{site}.example.com, or {instance_url}, which is a whole one
//! defaults: { site: eu }                # what {…} is filled with where the instance's configuration has nothing
//! authentication:                       # oauth2, api_key, basic, none, or a choice of them by configuration
//!   oauth2: { authorize_url, token_url, scopes: […], client_auth: basic, rotating: true, parameters: {…},
//!             signs: […], keeps: { instance_url: instance_url }, redirect: { event.vendor.account: realmId } }
//!   api_key: { header: x-api-key, prefix: "", setting: api.key }   # or query: the parameter; {…} may stand in both
//!   basic: { username: user, password: api.secret }   # configuration keys; either may be left out
//!   none: {}
//!   choice: { setting: authentication.type, default: bearer, of: { bearer: { api_key: … }, none: { none: {} } } }
//! budget: { requests: 5, seconds: 1 }   # of one account
//! overlap: 600                          # seconds that are looked at again: how late the provider may show a change
//! page_size: 100                        # records a page; what {page_size} is filled with
//! max_pages: 100                        # of one poll
//! headers: { accept: application/json } # of every request
//! signs: […]                            # see `verdict::Sign`
//! paging: { link: {} }                  # of URLs that an instance configures itself; see `pagination::Paging`
//! records: data                         # where their records are; without it the body, or its only list
//! reconcile: { tolerance: 1 }           # webhooks tell dates that these can be compared with; see `reconcile::Reconcile`
//! resources:
//!   contacts:                           # the name is the object type; `{objectName}` stands for any
//!     method: POST                      # GET is the default
//!     path: /crm/v3/objects/contacts/search
//!     query: { archived: "false" }
//!     headers: { … }
//!     body: { limit: "{page_size}", … } # JSON; a text that is all placeholder of a number becomes a number
//!     paging: { cursor: { from: paging.next.after, body: after, restart: 10000, from_last: true } }
//!     most: 1000                        # an answer of so many records was cut off: it moves nothing,
//!     beyond: { path, query, paging, ordered, records, may_lack }   # unless the rest is asked for in this way
//!     index: { path: path_lower, folder: { at: "['.tag']", is: folder } }   # what is gone is told by its id: see `tree`
//!     start: /2/files/list_folder/get_latest_cursor   # answers with the cursor of now, which is kept between polls
//!     ordered: true                     # by the updated date, ascending
//!     values: { entity: Invoice }       # what {entity} stands for, whatever the instance configures
//!     records: results                  # {…} of `values` may stand in it
//!     may_lack: true                    # no records at that place means that there are none
//!     id: id
//!     id_else: path_lower               # of records without that
//!     updated: { at: updatedAt, format: …, zone: … }   # the format and zone may be left out: ISO 8601, UTC
//!     created: { at: createdAt }
//!     version: SyncToken                # the provider's own, where it has one
//!     deleted: { at: archived, is: true }   # without `is`: anything but null, false and blank
//!     new_since_last: true              # what was made since the last poll, and was not told, is CREATED though changed since
//!     selects: false                    # the query lists everything
//!     object_type: accounts             # another than the name
//!     types: { at: "['.tag']", of: { folder: folders } }   # another for some of the records
//!     overlap: 60                       # another than the connector's; page_size too
//! ```
//!
//! In `path`, `query`, `headers` and `body` stand the placeholders of [`crate::placeholders`], and `{page_size}`,
//! `{offset}`, `{page}` and `{cursor}`. Every value of `query` is encoded whole.

mod authentication;
mod check;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;
use url::Url;

pub use authentication::{ApiKey, Authentication, Basic, Choice, ClientAuth, None_, Oauth2, Unchosen};

use crate::dates::{DateFormat, Zone};
use crate::pagination::Paging;
use crate::path::Path;
use crate::placeholders::{Template, UrlTemplate};
use crate::reconcile::Reconcile;
use crate::request::{BaseUrl, Body, RecordsAt};
use crate::verdict::Sign;

/// Why a section does not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// The line, from 1; 0 where no line is to blame.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for DefinitionError {}

/// How a connector's provider is polled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Polling {
    /// What every path is appended to.
    pub base_url: Spanned<BaseUrl>,
    /// Values of `{…}` where the instance's configuration has none.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    /// How a request says whose it is.
    pub authentication: Spanned<Authentication>,
    /// How much an account may be asked.
    pub budget: Option<Budget>,
    /// Seconds that are looked at again.
    #[serde(default = "overlap")]
    pub overlap: u64,
    /// Records a page.
    pub page_size: Option<u32>,
    /// Pages of one poll.
    #[serde(default = "max_pages")]
    pub max_pages: u32,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// What answers mean.
    #[serde(default)]
    pub signs: Vec<Sign>,
    /// How URLs go on that an instance configures itself.
    pub paging: Option<Paging>,
    /// Where their records are.
    pub records: Option<Path>,
    /// How what its webhooks tell is compared with what its polls find; `None`: it cannot be.
    pub reconcile: Option<Reconcile>,
    /// What can be polled.
    #[serde(default)]
    pub resources: BTreeMap<String, Spanned<Resource>>,
    /// Whether the operator chose where the provider is (see [`Polling::at`]).
    #[serde(skip)]
    pub chosen: bool,
}

/// A provider's index shows most changes at once; five minutes are what providers that say anything advise.
fn overlap() -> u64 {
    300
}

fn max_pages() -> u32 {
    100
}

/// How much an account may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Requests …
    pub requests: u32,
    /// … in so many seconds.
    pub seconds: u32,
}

/// The method of a request: polling only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    #[default]
    Get,
    /// POST, of queries that are a body.
    Post,
}

/// A resource, as the section has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The path, after the base URL.
    pub path: UrlTemplate,
    /// The query.
    #[serde(default)]
    pub query: BTreeMap<String, Template>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// The body.
    pub body: Option<Body>,
    /// How it goes on; without it there is one page.
    pub paging: Option<Paging>,
    /// How many records an answer has at most that does not go on: one with so many was cut, and moves nothing.
    pub most: Option<usize>,
    /// What is asked for the rest of a poll whose answer was cut.
    pub beyond: Option<Beyond>,
    /// The path that answers with the cursor of now: then a poll goes on where the cursor of the last one left it.
    pub start: Option<String>,
    /// Where records say what an index of the tree holds: then what is gone is told by its id, though it comes without.
    pub index: Option<Index>,
    /// Whether records come in the order of their updated date.
    #[serde(default)]
    pub ordered: bool,
    /// What `{…}` stands for.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// Where the records are.
    pub records: Option<RecordsAt>,
    /// Whether there are none where nothing is at that place.
    #[serde(default)]
    pub may_lack: bool,
    /// Where the id is.
    pub id: Path,
    /// Where the id is of records without that.
    pub id_else: Option<Path>,
    /// When the record was changed last.
    pub updated: Option<Field>,
    /// When the record was made.
    pub created: Option<Field>,
    /// The provider's own version.
    pub version: Option<Path>,
    /// What says that the object is gone.
    pub deleted: Option<Gone>,
    /// Whether what was made since the last poll is new.
    #[serde(default)]
    pub new_since_last: bool,
    /// Whether the provider selects what changed.
    #[serde(default = "selects")]
    pub selects: bool,
    /// The object type, where it is not the name.
    pub object_type: Option<String>,
    /// The object types of records that say what they are.
    pub types: Option<Types>,
    /// Seconds that are looked at again.
    pub overlap: Option<u64>,
    /// Records a page.
    pub page_size: Option<u32>,
}

/// What is asked for the rest of a poll whose answer was cut, by GET.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beyond {
    /// The path, after the base URL.
    pub path: UrlTemplate,
    /// The query.
    #[serde(default)]
    pub query: BTreeMap<String, Template>,
    /// How it goes on.
    pub paging: Paging,
    /// Whether records come in the order of their updated date.
    #[serde(default)]
    pub ordered: bool,
    /// Where the records are.
    pub records: RecordsAt,
    /// Whether there are none where nothing is at that place.
    #[serde(default)]
    pub may_lack: bool,
}

/// The object types of records that say what they are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Types {
    /// Where.
    pub at: Path,
    /// What is there, and its type. What is not here has the resource's.
    pub of: BTreeMap<String, String>,
}

/// Where records say what an index of the tree holds, beside their id and version.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The path, in the form by which paths are compared; its parts are parted by `/`.
    pub path: Path,
    /// What says that something is a folder.
    pub folder: Gone,
}

fn selects() -> bool {
    true
}

/// A date of a record.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Where.
    pub at: Path,
    /// How.
    pub format: Option<DateFormat>,
    /// In which zone.
    pub zone: Option<Zone>,
}

/// What says that an object is gone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// Where.
    pub at: Path,
    /// What stands there.
    pub is: Option<Value>,
}

/// The name that stands for any.
pub const ANY: &str = "{objectName}";

impl Polling {
    /// Whether any of its resources has an [index](Resource::index).
    #[must_use]
    pub fn may_index(&self) -> bool {
        self.resources.values().any(|resource| resource.value.index.is_some())
    }

    /// Reads a section that stands by itself.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn from_yaml(text: &str) -> Result<Self, DefinitionError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let polling: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            DefinitionError { line, message: error.to_string() }
        })?;
        polling.check()?;
        Ok(polling)
    }
}

impl Polling {
    /// The same provider at a place that the operator chose: every URL, OAuth's included, has `to` before its path.
    ///
    /// # Errors
    /// `to` is not of the form `https://host` or `https://host/path`.
    pub fn at(mut self, to: &Url) -> Result<Self, String> {
        self.base_url.value = self.base_url.value.at(to)?;
        self.authentication.value.at(to)?;
        self.chosen = true;
        Ok(self)
    }
}

impl Resource {
    /// The names in everything that is sent.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let texts = self.query.values().chain(self.headers.values()).flat_map(Template::names);
        self.path.names().chain(texts).chain(self.body.iter().flat_map(Body::names))
    }
}

impl Beyond {
    /// The names in everything that is sent.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.path.names().chain(self.query.values().flat_map(Template::names))
    }
}
