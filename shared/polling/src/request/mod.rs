//! From what is to be polled to requests, and from answers to records.
//!
//! *Promise:* pure. [`Query::resolve`] joins what an instance configures with what the connector knows; [`Query::plan`]
//! makes the request for a page; [`Query::read`] finds the records of the answer and says what comes next. A request goes
//! to the connector's base URL and nowhere else. No secret is in it: [`Polling::credential`] says where which one goes.
//!
//! *Which of the two counts.* A resource without a URL, or with one of the hub (`/hubs/crm/contacts`), is the connector's of
//! that name; of a hub's only tolerance, filters, page size and delay count then, because its paths describe records as the
//! old product wrote them. Any other URL is asked as it is configured, and read as it is configured.
//!
//! *Failure:* a resource that the connector does not have is a [`Problem`](crate::configuration::Problem); a value that is missing when a page is asked for
//! a [`PlanError`]; an answer without records [`NoRecords`].

mod credential;
mod parts;
mod resolve;

use std::collections::BTreeMap;
use std::time::Duration;

use events::Timestamp;
use http::HeaderMap;
use serde_json::Value;
use url::Url;

use crate::classify::Rules;
use crate::configuration::DateField;
use crate::definition::{Method, Polling};
use crate::pagination::{Cursor, Next, Paging, PagingError, Progress, Received, Turn};
use crate::path::Path;
use crate::placeholders::{Named, Template, Unfilled, UrlTemplate, Values};
use crate::position::Through;
use crate::tree::Shape;

pub use credential::{ACCESS_TOKEN, Credential, CredentialError};
pub use parts::{BaseUrl, Body, RecordsAt};

use parts::{set_field, set_parameter};

/// A resource of an instance, ready to be polled.
#[derive(Clone, Debug)]
pub struct Query {
    /// The resource's name.
    pub name: String,
    /// How its records are read.
    pub rules: Rules,
    /// How long is looked at again.
    pub overlap: Duration,
    /// What changed within so long before the poll began waits for a later one.
    pub grace: Duration,
    /// Where records say what an index of the tree holds, if there is one.
    pub index: Option<Shape>,
    way: Way,
    /// What is asked for the rest of a poll whose answer was cut off.
    beyond: Option<Box<Way>>,
    start: Option<String>,
    most: Option<usize>,
    page_size: Option<u32>,
    values: BTreeMap<String, String>,
}

/// One way to ask, and to read what is answered.
#[derive(Clone, Debug)]
struct Way {
    ask: Ask,
    paging: Option<Paging>,
    /// Whether records come in the order of their updated date.
    ordered: bool,
    records: Option<Path>,
    may_lack: bool,
    /// Whether a page that is not full is known to be the last.
    sized: bool,
}

#[derive(Clone, Debug)]
enum Ask {
    /// The connector's own query.
    Known {
        method: Method,
        path: UrlTemplate,
        query: BTreeMap<String, Template>,
        headers: BTreeMap<String, Template>,
        body: Option<Body>,
    },
    /// A URL that the instance configures.
    Own(UrlTemplate),
}

/// A request. It holds no secret.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The connector's base URL: where the credentials go, and nowhere else. No answer has a say in it.
    pub base: String,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body: JSON.
    pub body: Option<Value>,
    /// Whether the operator chose where that is, whatever address it has.
    pub chosen: bool,
}

/// A page of an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<'v> {
    /// Its records.
    pub records: Vec<&'v Value>,
    /// What comes after it. An error means that the query was not read to its end; the records are good.
    pub next: Result<Next, PagingError>,
}

/// Why a page cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A placeholder has no value, or one that cannot stand there.
    #[error(transparent)]
    Unfilled(#[from] Unfilled),
    /// The base URL is none.
    #[error("the base URL is not one of the form https://host/path")]
    NoBase,
    /// The configured URL is at another host than the connector's.
    #[error("the URL is at {0}, not at the connector's base URL; credentials are not sent there")]
    OtherHost(String),
    /// A header's value cannot stand in a header.
    #[error("the value of the header {0} cannot stand in one")]
    Header(String),
}

/// Nothing at the records' place of an answer is a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are no records at {0}")]
pub struct NoRecords(pub String);

/// What a request is made of, beside the query.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Where the query stands.
    pub progress: &'a Progress,
    /// When the poll began.
    pub now: Timestamp,
    /// The instance's configuration.
    pub settings: &'a BTreeMap<String, String>,
}

impl Query {
    /// The request for the page at which the query stands.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan(&self, polling: &Polling, asking: &Asking<'_>) -> Result<Request, PlanError> {
        let way = self.way(asking.progress);
        let page = self.page(asking.progress);
        let updated = self.rules.updated.as_ref();
        let values = Values {
            since: asking.progress.since(),
            now: asking.now,
            format: updated.map(|field| &field.format),
            zone: updated.map(|field| &field.zone),
            settings: self.named(polling, asking, &page),
        };
        let base = polling.base_url.value.fill(&values)?;
        let mut request = match &way.ask {
            Ask::Known { method, path, query, headers, body } => {
                let mut url = [base.as_str(), &path.fill(&values)?].concat();
                for (name, template) in query {
                    url = set_parameter(&url, name, &template.fill(&values)?);
                }
                let mut request = Request::new(polling, &base, *method, url);
                request.add_headers(&polling.headers, &values)?;
                request.add_headers(headers, &values)?;
                request.body = body.as_ref().map(|body| body.fill(&values)).transpose()?;
                request
            }
            Ask::Own(template) => {
                let filled = template.fill(&values)?;
                let url = if template.is_absolute() { at_base(&base, filled)? } else { joined(&base, &filled) };
                let mut request = Request::new(polling, &base, Method::Get, url);
                request.add_headers(&polling.headers, &values)?;
                request
            }
        };
        way.turned(&mut request, asking.progress.turn(), &base);
        if request.body.is_some() {
            request.headers.entry("content-type".into()).or_insert_with(|| "application/json".into());
        }
        Ok(request)
    }

    /// Whether it is asked by a cursor that is kept between polls, not by time.
    #[must_use]
    pub fn keeps_cursor(&self) -> bool {
        self.start.is_some()
    }

    /// The request for the cursor of now, where one is kept; [`Self::cursor`] finds it in the answer.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan_start(&self, polling: &Polling, asking: &Asking<'_>) -> Result<Option<Request>, PlanError> {
        let Some(start) = &self.start else { return Ok(None) };
        let (mut request, page) = (self.plan(polling, asking)?, self.page(asking.progress));
        let settings = self.named(polling, asking, &page);
        let values = Values { since: asking.now, now: asking.now, format: None, zone: None, settings };
        request.url = joined(&polling.base_url.value.fill(&values)?, start);
        Ok(Some(request))
    }

    /// The cursor to keep, from an answer: where the next poll goes on.
    #[must_use]
    pub fn cursor(&self, body: &Value) -> Option<String> {
        match &self.way.paging {
            Some(Paging::Cursor(cursor)) => cursor.from.text(body).map(std::borrow::Cow::into_owned),
            _ => None,
        }
    }

    fn way(&self, progress: &Progress) -> &Way {
        self.beyond.as_deref().filter(|_| progress.is_beyond()).unwrap_or(&self.way)
    }

    /// What `{…}` stands for: the page, the resource, the instance's configuration, the connector's defaults.
    fn named<'a>(&'a self, polling: &'a Polling, asking: &Asking<'a>, page: &'a BTreeMap<String, String>) -> Named<'a> {
        Named::layered([page, &self.values, asking.settings, &polling.defaults])
    }

    /// What `{…}` stands for of the page at which the query stands.
    fn page(&self, progress: &Progress) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        let first = match &self.way(progress).paging {
            Some(Paging::Offset(counting) | Paging::Page(counting)) => counting.first,
            _ => 0,
        };
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        set("offset", first.to_string());
        set("page", first.to_string());
        if let Some(size) = self.page_size {
            set("page_size", size.to_string());
        }
        match progress.turn() {
            Turn::Offset(offset) => set("offset", offset.to_string()),
            Turn::Page(page) => set("page", page.to_string()),
            Turn::Cursor(cursor) => set("cursor", cursor.clone()),
            Turn::First | Turn::Url(_) | Turn::Since(_) => None,
        };
        settings
    }

    /// The records of an answer, and what comes next. `request` is what was asked; `progress` goes on.
    ///
    /// # Errors
    /// [`NoRecords`].
    pub fn read<'v>(
        &self,
        request: &Request,
        headers: &HeaderMap,
        body: &'v Value,
        progress: &mut Progress,
    ) -> Result<Page<'v>, NoRecords> {
        let way = self.way(progress);
        let records = way.records(body)?;
        let date = |record: &&Value| self.rules.updated.as_ref().and_then(|field| date(field, record));
        let last = records.last().and_then(date).filter(|_| way.ordered);
        progress.note(last);
        let page_size = self.page_size.filter(|_| way.sized);
        let received = Received { url: &request.url, headers, body, records: records.len(), page_size, last };
        let next = match &way.paging {
            Some(paging) => paging.next(&received, progress),
            None => {
                let cut = self.most.is_some_and(|most| records.len() >= most);
                Ok(progress.only_page(cut, self.beyond.is_some()))
            }
        };
        Ok(Page { records, next })
    }

    /// How far the query was read when reading ended: at its end, or before.
    #[must_use]
    pub fn through(&self, progress: &Progress, ended: bool) -> Through {
        let last = progress.last().filter(|_| self.way(progress).ordered);
        match (ended, progress.counted()) {
            (true, None) => Through::All,
            (true, Some(first)) => Through::Counted { first: first.unwrap_or(Timestamp::from_millis(i64::MIN)) },
            // What was counted may have left something out.
            (false, Some(first)) => first.map_or(Through::Part, Through::UpTo),
            (false, None) => last.map_or(Through::Part, Through::UpTo),
        }
    }
}

impl Way {
    /// Makes the first page's request that of another page.
    fn turned(&self, request: &mut Request, turn: &Turn, base: &str) {
        let mut put = |query: &Option<String>, body: &Option<String>, value: Value| {
            if let Some(name) = query {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                request.url = set_parameter(&request.url, name, &text);
            } else if let Some(path) = body {
                set_field(request.body.get_or_insert(Value::Null), path, value);
            }
        };
        match (turn, &self.paging) {
            (Turn::Offset(number), Some(Paging::Offset(counting)))
            | (Turn::Page(number), Some(Paging::Page(counting))) => {
                put(&counting.query, &counting.body, Value::from(*number));
            }
            (Turn::Cursor(word), Some(Paging::Cursor(Cursor { query, body, path, alone, .. }))) => {
                put(query, body, Value::from(word.as_str()));
                if let Some(path) = path {
                    let query = request.url.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
                    request.url = format!("{}{query}", joined(base, path));
                }
                if let (true, Some(name)) = (*alone, body) {
                    let mut only = Value::Null;
                    set_field(&mut only, name, Value::from(word.as_str()));
                    request.body = Some(only);
                }
            }
            (Turn::Url(url), _) => {
                (request.method, request.body) = (Method::Get, None);
                request.url.clone_from(url);
            }
            _ => {}
        }
    }

    /// The records of an answer: the list at their place; without one the body, or its only list.
    fn records<'v>(&self, body: &'v Value) -> Result<Vec<&'v Value>, NoRecords> {
        let found = match &self.records {
            Some(path) => path.find(body),
            None => match body {
                Value::Object(fields) => {
                    let mut lists = fields.values().filter(|value| value.is_array());
                    lists.next().filter(|_| lists.next().is_none())
                }
                other => Some(other),
            },
        };
        match found {
            Some(Value::Array(records)) => Ok(records.iter().collect()),
            // One record stands for a list of it, and an object without anything for an empty one.
            Some(record @ Value::Object(fields)) if self.records.is_some() => {
                Ok(if fields.is_empty() { Vec::new() } else { vec![record] })
            }
            None | Some(Value::Null) if self.may_lack => Ok(Vec::new()),
            _ => Err(NoRecords(self.records.as_ref().map_or_else(|| "the body".into(), Path::to_string))),
        }
    }
}

impl Request {
    fn new(polling: &Polling, base: &str, method: Method, url: String) -> Self {
        Self { base: base.to_owned(), method, url, headers: BTreeMap::new(), body: None, chosen: polling.chosen }
    }

    fn add_headers(&mut self, headers: &BTreeMap<String, Template>, values: &Values<'_>) -> Result<(), PlanError> {
        for (name, template) in headers {
            let value = template.fill(values)?;
            if http::HeaderValue::try_from(&value).is_err() {
                return Err(PlanError::Header(name.clone()));
            }
            self.headers.insert(name.to_ascii_lowercase(), value);
        }
        Ok(())
    }
}

fn joined(base: &str, path: &str) -> String {
    let between = if path.starts_with('/') { "" } else { "/" };
    [base, between, path].concat()
}

/// An absolute URL, if it is where the base URL is.
fn at_base(base: &str, url: String) -> Result<String, PlanError> {
    let (Ok(base), Ok(to)) = (Url::parse(base), Url::parse(&url)) else { return Err(PlanError::NoBase) };
    let user = !to.username().is_empty() || to.password().is_some();
    if base.origin() == to.origin() && !user {
        return Ok(url);
    }
    Err(PlanError::OtherHost(to.host_str().unwrap_or_default().to_owned()))
}

fn date(field: &DateField, record: &Value) -> Option<Timestamp> {
    field.format.read(field.path.find(record)?, &field.zone).ok().flatten().map(|read| read.at)
}

#[cfg(test)]
mod tests;
