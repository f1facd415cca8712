//! `event.poller.urls`: the old form of one resource a line (the contract's §5.6), and the bare names of resources.
//!
//! ```text
//! resource|url|filter|updatedField|updatedFormat|updatedZone|createdField|createdFormat|createdZone
//! contacts|accounts
//! ```
//!
//! Fields at the end may be missing. A line is the old form where its second field begins as a URL does.

use serde_json::Value;

use super::resource::paired;
use super::{Problem, Resource, described};
use crate::dates::{DateFormat, Zone};
use crate::path::Path;
use crate::placeholders::UrlTemplate;

/// A resource as a line has it.
pub(super) enum Line<'t> {
    Name(&'t str),
    Fields(Vec<&'t str>),
}

pub(super) fn split(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let is_url = |field: &&str| field.starts_with('/') || field.to_ascii_lowercase().starts_with("http");
        if fields.get(1).is_some_and(is_url) {
            lines.push(Line::Fields(fields));
        } else {
            let names = fields.into_iter().flat_map(|names| names.split(',')).map(str::trim);
            lines.extend(names.filter(|name| !name.is_empty()).map(Line::Name));
        }
    }
    lines
}

impl Line<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Fields(fields) => fields[0],
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<Resource, Problem> {
        let Self::Fields(fields) = self else { return Ok(Resource::named(name)) };
        let field = |place: usize| fields.get(place).copied().filter(|field| !field.is_empty());
        let problem = |what: &str, given: &str, accepted: String| Problem {
            resource: name.to_owned(),
            field: what.to_owned(),
            given: described(&Value::String(given.to_owned())),
            accepted,
        };
        let url = field(1).map(UrlTemplate::parse).transpose();
        let url = url.map_err(|error| problem("the URL (field 2)", &error.placeholder, error.problem))?;
        if let Some(filter) = field(2) {
            // Left out, it would tell what its author did not want told.
            let accepted = "filters of records are not supported; leave the field empty".into();
            return Err(problem("the filter (field 3)", filter, accepted));
        }
        let date = |place: usize, of: &str| {
            let wrong = |offset: usize, part: &str, given: &str, error: String| {
                problem(&format!("the {of} {part} (field {})", place + offset + 1), given, error)
            };
            let path =
                field(place).map(|text| Path::parse(text).map_err(|e| wrong(0, "date's path", text, e.to_string())));
            let format = field(place + 1)
                .map(|text| DateFormat::parse(text).map_err(|e| wrong(1, "date's format", text, e.to_string())));
            let zone = field(place + 2)
                .map(|text| Zone::parse(text).map_err(|e| wrong(2, "date's time zone", text, e.to_string())));
            Ok::<_, Problem>((path.transpose()?, format.transpose()?, zone.transpose()?))
        };
        let (updated, created) = paired(&date(3, "updated")?, &date(6, "created")?);
        Ok(Resource { url, updated, created, ..Resource::named(name) })
    }
}
