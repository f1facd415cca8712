//! What the types of a section cannot say.

use std::collections::BTreeMap;

use super::{ANY, DefinitionError, Method, Polling, Resource};
use crate::pagination::Paging;
use crate::placeholders::Template;

impl Polling {
    /// What the types cannot say. Whoever reads the section as part of a definition calls this.
    ///
    /// # Errors
    /// The first mistake, with its line in the text that was read.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let at = |line: u64, message: String| Err(DefinitionError { line, message });
        self.authentication
            .value
            .check()
            .or_else(|message| at(self.authentication.referenced.line(), message.into()))?;
        if self.budget.is_some_and(|budget| budget.requests == 0 || budget.seconds == 0) {
            return at(0, "a budget is at least one request in at least one second".into());
        }
        if self.page_size == Some(0) || self.max_pages == 0 {
            return at(0, "`page_size` and `max_pages` are at least 1".into());
        }
        check_headers(&self.headers).or_else(|message| at(0, message))?;
        for (name, resource) in &self.resources {
            let known_size = resource.value.page_size.or(self.page_size).is_some();
            let wrong =
                resource.value.check(name, known_size).map_err(|message| format!("resource {name:?}: {message}"));
            wrong.or_else(|message| at(resource.referenced.line(), message))?;
        }
        Ok(())
    }
}

fn check_headers(headers: &BTreeMap<String, Template>) -> Result<(), String> {
    match headers.keys().find(|name| http::HeaderName::try_from(name.as_str()).is_err()) {
        Some(name) => Err(format!("{name:?} is no header name")),
        None => Ok(()),
    }
}

/// What the types cannot say of how a query goes on; `names` are those in the request.
fn check_paging(paging: Option<&Paging>, names: &[&str], ordered: bool, known_size: bool) -> Result<(), String> {
    let places = |query: &Option<String>, body: &Option<String>, word: &str| {
        let count = usize::from(query.is_some()) + usize::from(body.is_some()) + usize::from(names.contains(&word));
        if count == 1 {
            Ok(())
        } else {
            Err(format!("it has exactly one place: `query`, `body`, or {{{word}}} in the request"))
        }
    };
    match paging {
        Some(Paging::Offset(offset)) => places(&offset.query, &offset.body, "offset")?,
        Some(Paging::Page(page)) if page.from_last => return Err("`from_last` is of an offset or a cursor".into()),
        Some(Paging::Page(page)) => places(&page.query, &page.body, "page")?,
        Some(Paging::Cursor(cursor)) => places(&cursor.query, &cursor.body, "cursor")?,
        _ => {}
    }
    if paging.is_some_and(Paging::restarts) && !(ordered && known_size) {
        return Err("what begins again from the last date is `ordered` and has a `page_size`".into());
    }
    Ok(())
}

impl Resource {
    fn check(&self, name: &str, known_size: bool) -> Result<(), String> {
        if name.is_empty() || name != ANY && name.contains(['{', '$']) {
            return Err(format!("a name has no placeholders, unless it is {ANY}"));
        }
        if self.path.is_absolute() {
            return Err("`path` comes after the base URL".into());
        }
        if self.body.is_some() && self.method == Method::Get {
            return Err("a GET has no `body`; write `method: POST`".into());
        }
        check_headers(&self.headers)?;
        if self.page_size == Some(0) {
            return Err("`page_size` is at least 1".into());
        }
        let names: Vec<&str> = self.names().collect();
        if names.contains(&"page_size") && !known_size {
            return Err("{page_size} needs a `page_size`".into());
        }
        if self.ordered && self.updated.is_none() {
            return Err("`ordered` is by the updated date, which is missing".into());
        }
        if self.new_since_last && (self.created.is_none() || self.updated.is_none()) {
            return Err("`new_since_last` needs `created` and `updated`".into());
        }
        check_paging(self.paging.as_ref(), &names, self.ordered, known_size)?;
        let any = (ANY.trim_matches(['{', '}']).to_owned(), "any".to_owned());
        let values: BTreeMap<String, String> = self.values.clone().into_iter().chain([any]).collect();
        let places = self.records.iter().chain(self.beyond.iter().map(|beyond| &beyond.records));
        if places.into_iter().any(|records| records.filled(&values).is_none()) {
            return Err("`records` is a path in which `{…}` stands for one of `values`".into());
        }
        if let Some(beyond) = &self.beyond {
            let names: Vec<&str> = beyond.names().collect();
            check_paging(Some(&beyond.paging), &names, beyond.ordered, known_size)?;
            if names.contains(&"page_size") && !known_size {
                return Err("{page_size} needs a `page_size`".into());
            }
            if self.most.is_none() {
                return Err("`beyond` is for what was cut off, so it needs `most`".into());
            }
            if beyond.path.is_absolute() {
                return Err("`path` comes after the base URL".into());
            }
        }
        if self.start.is_some() && !matches!(self.paging, Some(Paging::Cursor(_))) {
            return Err("`start` is where a cursor begins, so it needs `paging` by cursor".into());
        }
        if self.index.is_some() && (self.start.is_none() || self.deleted.is_none()) {
            return Err("an `index` is of what a kept cursor shows, so it needs `start`, and `deleted`".into());
        }
        if self.most.is_some() && self.paging.is_some() {
            return Err("`most` is of an answer that does not go on, so without `paging`".into());
        }
        if self.start.is_some() && (self.new_since_last || self.ordered) {
            return Err("a cursor that is kept says what is new: neither `ordered` nor `new_since_last` counts".into());
        }
        Ok(())
    }
}
