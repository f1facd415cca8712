//! From a request's bytes to the entries of its body, whatever the body is written in.
//!
//! *Promise:* JSON goes through as it came; a form, a query and XML become the object of their fields, in JSON that is
//! made here, without the parameters and elements that hold secrets. The work is bounded by the body's length, and by
//! [`Connector::MAX_ENTRIES`].
//!
//! *Which format:* a GET's is its query. A body that begins as JSON does is JSON (providers and people send it under any
//! content type); a form if its content type says so; XML if its content type says so or it begins with `<`; and else
//! JSON. A format that the definition does not name is never read.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use jaq_json::{Map, Num, Val};
use serde_json::Value;

use crate::body::{cut, form, xml};
use crate::connector::field;
use crate::definition::Format;
use crate::{Connector, Malformed, Request};

/// How a connector's bodies are read.
#[derive(Debug)]
pub(crate) struct Bodies {
    pub(crate) formats: Vec<Format>,
    /// The field of a form or query that holds the JSON.
    pub(crate) payload: Option<String>,
    pub(crate) xml: Option<xml::Xml>,
    /// The fields that lead to the entries.
    pub(crate) entries: Vec<String>,
    /// The fields of an entry that are secrets.
    pub(crate) redact: Vec<String>,
    /// The parameters of a query that hold secrets.
    pub(crate) tokens: Vec<String>,
}

/// A body that was read.
pub(crate) struct Read {
    pub(crate) body: Val,
    pub(crate) entries: Arc<Vec<Val>>,
    /// The body as JSON, where it came as something else.
    pub(crate) json: Option<Vec<u8>>,
}

/// What browsers call a form.
const FORM: &str = "application/x-www-form-urlencoded";

impl Bodies {
    pub(crate) fn read(&self, request: &Request<'_>) -> Result<Read, Malformed> {
        let (body, json) = match self.format(request) {
            Format::Json => (json(request.body)?, None),
            Format::Form => self.fields(request.body)?,
            Format::Query => self.fields(request.url.split_once('?').map_or("", |(_, query)| query).as_bytes())?,
            Format::Xml => {
                let Some(rules) = &self.xml else { return Err(Malformed::NotAContainer) };
                let object = xml::read(rules, request.body).map_err(|error| Malformed::NotXml(error.to_string()))?;
                (value(&object), Some(object.to_string().into_bytes()))
            }
        };
        let entries = match (&body, self.entries(&body)) {
            (_, Some(entries)) | (Val::Arr(entries), None) => Arc::clone(entries),
            (Val::Obj(_), None) => Arc::new(vec![body.clone()]),
            _ => return Err(Malformed::NotAContainer),
        };
        if entries.len() > Connector::MAX_ENTRIES {
            return Err(Malformed::TooManyEntries);
        }
        Ok(Read { body, entries, json })
    }

    fn format(&self, request: &Request<'_>) -> Format {
        let takes = |format| self.formats.contains(&format);
        if request.method == "GET" && takes(Format::Query) {
            return Format::Query;
        }
        let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let begins = request.body.iter().find(|byte| !byte.is_ascii_whitespace());
        let is_form = content_type.trim_start().to_ascii_lowercase().starts_with(FORM);
        if takes(Format::Json) && matches!(begins, Some(b'{' | b'[')) {
            return Format::Json;
        }
        if takes(Format::Form) && is_form {
            return Format::Form;
        }
        // 0xEF: the mark that some put before UTF-8.
        let is_xml = content_type.contains("xml") || matches!(begins, Some(b'<' | 0xEF));
        if takes(Format::Xml) && (is_xml || !takes(Format::Json)) {
            return Format::Xml;
        }
        if takes(Format::Json) { Format::Json } else { Format::Form }
    }

    /// A form's or query's fields, or the JSON that one of them holds.
    fn fields(&self, text: &[u8]) -> Result<(Val, Option<Vec<u8>>), Malformed> {
        let mut fields = form::read(text).map_err(|error| Malformed::NotAForm(error.to_string()))?;
        for token in &self.tokens {
            fields.remove(token);
        }
        if let Some(name) = &self.payload {
            let Some(Value::String(payload)) = fields.remove(name) else {
                return Err(Malformed::NoPayload(name.clone()));
            };
            let payload = payload.into_bytes();
            return Ok((json(&payload)?, Some(payload)));
        }
        let object = Value::Object(fields);
        Ok((value(&object), Some(object.to_string().into_bytes())))
    }

    /// The list at `entries`.
    fn entries<'v>(&self, body: &'v Val) -> Option<&'v Arc<Vec<Val>>> {
        if self.entries.is_empty() || !matches!(body, Val::Obj(_)) {
            return None;
        }
        let mut value = body;
        for name in &self.entries {
            value = field(value, name)?;
        }
        match value {
            Val::Arr(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn shown<'b>(&self, json: &'b [u8], places: Option<&[usize]>) -> Cow<'b, [u8]> {
        if places.is_none() && self.redact.is_empty() {
            return Cow::Borrowed(json);
        }
        let path: Vec<&str> = self.entries.iter().map(String::as_str).collect();
        let redact: Vec<&str> = self.redact.iter().map(String::as_str).collect();
        match cut::cut(json, &path, places, &redact) {
            Some(part) => Cow::Owned(part),
            // What was read once is read again: this is not reached, and if it were, nobody is shown another's data.
            None => Cow::Borrowed(b"null"),
        }
    }
}

/// Reads JSON into jq's values: depth-limited, and whatever serde_json takes.
fn json(body: &[u8]) -> Result<Val, Malformed> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // serde_json has no other way to tell this apart.
        if error.to_string().starts_with("recursion limit exceeded") {
            Malformed::TooDeep { line, column }
        } else {
            Malformed::NotJson { line, column }
        }
    })
}

/// A value of serde_json's as one of jq's.
pub(crate) fn value(json: &Value) -> Val {
    match json {
        Value::Null => Val::Null,
        Value::Bool(truth) => Val::Bool(*truth),
        Value::Number(number) => match number.as_i64().and_then(|number| isize::try_from(number).ok()) {
            Some(number) => Val::from(number),
            None => Val::Num(Num::Float(number.as_f64().unwrap_or_default())),
        },
        Value::String(text) => Val::utf8_str(text.as_bytes().to_vec()),
        Value::Array(items) => Val::Arr(Arc::new(items.iter().map(value).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, item)| (Val::utf8_str(key.as_bytes().to_vec()), value(item)));
            Val::obj(fields.collect::<Map>())
        }
    }
}
