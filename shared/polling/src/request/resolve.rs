//! What a configured resource means with a connector.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Ask, Query, RecordsAt, Way};
use crate::classify::{Deleted, Newer, Rules};
use crate::configuration::{self, DateField, Problem};
use crate::dates::{DateFormat, Zone};
use crate::definition::{ANY, Beyond, Field, Gone, Method, Polling, Resource};
use crate::pagination::{Link, Paging};
use crate::path::Path;
use crate::placeholders::UrlTemplate;
use crate::tree::Shape;

impl Query {
    /// What a configured resource means with a connector.
    ///
    /// # Errors
    /// A [`Problem`] where the connector has no resource of that name.
    pub fn resolve(polling: &Polling, configured: &configuration::Resource) -> Result<Self, Problem> {
        let hub = configured.url.as_ref().and_then(UrlTemplate::hub_object);
        let object = match (&configured.url, &hub) {
            (Some(url), None) => return Ok(Self::own(polling, configured, url.clone())),
            (_, Some((_, object))) => object,
            (None, None) => &configured.name,
        };
        let any = || polling.resources.get(ANY).filter(|_| is_identifier(object));
        let Some(known) = polling.resources.get(object).or_else(any) else {
            let names: Vec<&str> = polling.resources.keys().map(String::as_str).collect();
            return Err(Problem {
                resource: configured.name.clone(),
                field: if hub.is_some() { "url" } else { "the resource" }.into(),
                given: format!("{object:?}"),
                accepted: match names.as_slice() {
                    [] => "the connector knows no resources; give a URL of the provider's own API".into(),
                    names => format!("the connector knows {}", names.join(", ")),
                },
            });
        };
        let mut query = Self::known(polling, configured, &known.value, object);
        if hub.is_none() {
            query.rules.id = configured.id.clone().unwrap_or(query.rules.id);
            query.rules.updated = configured.updated.clone().or(query.rules.updated);
            query.rules.created = configured.created.clone().or(query.rules.created);
            query.rules.deleted = configured.deleted.clone().map(gone).or(query.rules.deleted);
        }
        Ok(query.finished(configured))
    }

    fn known(polling: &Polling, configured: &configuration::Resource, known: &Resource, object: &str) -> Self {
        let mut values = configured.values.clone();
        values.insert(ANY.trim_matches(['{', '}']).to_owned(), object.to_owned());
        values.extend(known.values.clone());
        let page_size = match (configured.page_size, known.page_size.or(polling.page_size)) {
            // The connector's is what its provider allows.
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (_, most) => most,
        };
        Self {
            name: configured.name.clone(),
            rules: Rules {
                object_type: known.object_type.clone().unwrap_or_else(|| configured.name.clone()),
                types: known.types.clone(),
                by_cursor: known.start.is_some(),
                id: known.id.clone(),
                id_else: known.id_else.clone(),
                updated: known.updated.as_ref().and_then(date_field),
                created: known.created.as_ref().and_then(date_field),
                version: known.version.clone(),
                deleted: known.deleted.as_ref().map(|Gone { at, is }| Deleted { path: at.clone(), is: is.clone() }),
                tolerance: Duration::ZERO,
                new_since_last: known.new_since_last,
                // A cursor knows what was told.
                filter_by_updated: known.updated.is_some() && known.start.is_none(),
                newer: Newer::Told,
                selects: known.selects,
            },
            overlap: Duration::from_secs(known.overlap.unwrap_or(polling.overlap)),
            grace: Duration::ZERO,
            index: known.index.as_ref().map(|index| Shape {
                path: index.path.clone(),
                folder: Deleted { path: index.folder.at.clone(), is: index.folder.is.clone() },
            }),
            way: Way {
                ask: Ask::Known {
                    method: known.method,
                    path: known.path.clone(),
                    query: known.query.clone(),
                    headers: known.headers.clone(),
                    body: known.body.clone(),
                },
                paging: known.paging.clone(),
                ordered: known.ordered,
                records: known.records.as_ref().map(|records| filled(records, &values)),
                may_lack: known.may_lack,
                sized: known.names().any(|name| name == "page_size"),
            },
            beyond: known.beyond.as_ref().map(|beyond| Box::new(beyond.way(&values))),
            start: known.start.clone(),
            most: known.most,
            page_size,
            values,
        }
    }

    fn own(polling: &Polling, configured: &configuration::Resource, url: UrlTemplate) -> Self {
        let id = configured.id.clone().or_else(|| Path::parse("id").ok());
        let query = Self {
            name: configured.name.clone(),
            rules: Rules {
                object_type: configured.name.clone(),
                types: None,
                by_cursor: false,
                id: id.unwrap_or_else(Path::root),
                id_else: None,
                updated: configured.updated.clone(),
                created: configured.created.clone(),
                version: None,
                deleted: configured.deleted.clone().map(gone),
                tolerance: Duration::ZERO,
                new_since_last: false,
                filter_by_updated: configured.updated.is_some(),
                newer: Newer::Told,
                selects: url.asks_since(),
            },
            overlap: Duration::from_secs(polling.overlap),
            grace: Duration::ZERO,
            index: None,
            way: Way {
                ask: Ask::Own(url),
                paging: configured
                    .paging
                    .clone()
                    .or(polling.paging.clone())
                    .or(Some(Paging::Link(Link { stable: false }))),
                ordered: false,
                records: configured.records.clone().or(polling.records.clone()),
                may_lack: false,
                // Whether the provider heeds a page size, or caps it, nobody knows: only an empty page is the last.
                sized: false,
            },
            beyond: None,
            start: None,
            most: None,
            page_size: configured.page_size.or(polling.page_size),
            values: configured.values.clone(),
        };
        query.finished(configured)
    }

    /// With what counts of the configuration in every case.
    fn finished(mut self, configured: &configuration::Resource) -> Self {
        self.rules.tolerance = configured.created_tolerance.unwrap_or_default();
        // What is put off is not shown again by a cursor.
        if configured.filter_by_current && self.start.is_none() {
            self.rules.newer = Newer::Waits;
        }
        if let Some(filter) = configured.filter_by_updated {
            self.rules.filter_by_updated = filter && self.rules.updated.is_some() && self.start.is_none();
        }
        // A date without a time of day says nothing of the hours before it.
        let grain = self.rules.updated.as_ref().map_or(Duration::ZERO, |field| field.format.grain().duration());
        self.overlap = self.overlap.max(configured.poll_delay.unwrap_or_default()).max(grain);
        self
    }
}

impl Beyond {
    fn way(&self, values: &BTreeMap<String, String>) -> Way {
        Way {
            ask: Ask::Known {
                method: Method::Get,
                path: self.path.clone(),
                query: self.query.clone(),
                headers: BTreeMap::new(),
                body: None,
            },
            paging: Some(self.paging.clone()),
            ordered: self.ordered,
            records: Some(filled(&self.records, values)),
            may_lack: self.may_lack,
            sized: self.names().any(|name| name == "page_size"),
        }
    }
}

/// A section whose records' place cannot be filled does not load, and names of objects are names of fields.
fn filled(records: &RecordsAt, values: &BTreeMap<String, String>) -> Path {
    records.filled(values).unwrap_or_else(Path::root)
}

fn gone(path: Path) -> Deleted {
    Deleted { path, is: None }
}

/// Names of objects as providers have them, such as `Invoice__c` and `2-3453932`: nothing that could end a word of a query.
fn is_identifier(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) && !name.contains("--")
}

fn date_field(field: &Field) -> Option<DateField> {
    // ISO 8601 and numbers are read whatever the format is.
    let format = field.format.clone().or_else(|| DateFormat::parse("yyyy-MM-dd'T'HH:mm:ss.SSSXXX").ok())?;
    Some(DateField { path: field.at.clone(), format, zone: field.zone.clone().unwrap_or_else(Zone::gmt) })
}
