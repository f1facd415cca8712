//! XML, as SOAP sends it, read into an object.
//!
//! *Flow:* from the document's element down the path `root`, then that element's content, whole:
//!
//! | in the XML | in the object |
//! |---|---|
//! | an element | a field; repeated, or named in `lists`: an array |
//! | only text in it | the text as it is (CDATA too), "" where there is none |
//! | text beside elements or attributes | `#text` |
//! | `xsi:nil="true"` | null |
//! | `xsi:type="sf:Account"` | `@type`: `Account`; a type of XML Schema's own (`xsd:string`) is left out, for all is text |
//! | another attribute | `@name` |
//!
//! A name in one of the definition's `namespaces` is its local name; in any other it is `{uri}local`, and in none
//! `{}local`, so that none is mistaken for another. Attributes without a prefix are in no namespace by rule, and keep
//! their names. Namespaces are compared by URI: prefixes are the sender's to choose.
//!
//! *Promise:* nothing outside the body is ever read and nothing in it is expanded: there is no DOCTYPE, and no entity
//! but XML's five and character references. Depth, elements, an element's attributes, and how much longer the object
//! gets than the XML, are bounded; no recursion.
//!
//! *Failure:* an [`XmlError`]: the byte and the reason, never the content.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, NamespaceResolver, QName, ResolveResult};
use serde::Deserialize;
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Deepest nesting of elements. Salesforce's is 6.
const MAX_DEPTH: usize = 64;

/// Most elements. Salesforce sends at most 100 notifications, of the fields that its administrator chose: tens, rarely
/// hundreds.
const MAX_ELEMENTS: usize = 20_000;

/// Most attributes of an element, its namespaces' among them.
const MAX_ATTRIBUTES: usize = 64;

/// Most bytes of URIs that are written out, all names in namespaces that the definition does not know together. A URI
/// that is declared once could stand in a million names; every element can have a usual one of 50 bytes.
const MAX_URI_BYTES: usize = 1_000_000;

const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";

/// How XML becomes an object: a definition's `webhook.xml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "XmlText")]
pub(crate) struct Xml {
    /// The namespaces known, each under a prefix of the definition's own.
    pub(crate) namespaces: BTreeMap<String, String>,
    /// From the document's element to the one whose content counts: prefix and local name of each.
    pub(crate) root: Vec<(String, String)>,
    /// The fields that are arrays even if there is one element.
    pub(crate) lists: Vec<String>,
    /// The local names of elements that are left out wherever they are, in whichever namespace: they are secrets.
    pub(crate) drop: Vec<String>,
}

/// [`Xml`] as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct XmlText {
    namespaces: BTreeMap<String, String>,
    root: String,
    #[serde(default)]
    lists: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
}

impl TryFrom<XmlText> for Xml {
    type Error = String;

    fn try_from(text: XmlText) -> Result<Self, String> {
        let step = |step: &str| match step.split_once(':') {
            Some((prefix, local)) if is_name(local) && text.namespaces.contains_key(prefix) => {
                Ok((prefix.to_owned(), local.to_owned()))
            }
            _ => Err(format!("`{step}` in root is not prefix:name with a prefix of namespaces")),
        };
        let root = text.root.split('/').map(step).collect::<Result<_, _>>()?;
        Ok(Self { namespaces: text.namespaces, root, lists: text.lists, drop: text.drop })
    }
}

/// Why XML cannot be read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (byte {at})")]
pub(crate) struct XmlError {
    /// The byte of the body at which, or the beginning of the markup in which, reading stopped, from 0.
    pub(crate) at: usize,
    /// Why.
    pub(crate) reason: XmlReason,
}

/// Why XML cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlReason {
    /// It is not UTF-8, or says that it is not.
    #[error("it is not UTF-8, the one encoding accepted")]
    Encoding,
    /// It has a DOCTYPE.
    #[error("it has a DOCTYPE, which is not accepted")]
    Doctype,
    /// It refers to an entity that it would have had to define.
    #[error("it refers to an entity; accepted are lt, gt, amp, apos, quot and characters by number")]
    Entity,
    /// It has a processing instruction, or a declaration that is not at its beginning.
    #[error("it has a processing instruction; accepted is only the declaration at its beginning")]
    Instruction,
    /// It is nested too deep.
    #[error("it is nested deeper than {MAX_DEPTH} elements")]
    TooDeep,
    /// It has too many elements.
    #[error("it has more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// An element has too many attributes.
    #[error("an element has more than {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
    /// An element has two attributes that would have one name in the object.
    #[error("an element has two attributes of one name")]
    DuplicateAttribute,
    /// Too much is in namespaces that the definition does not know.
    #[error("its names in namespaces that the definition does not know are longer than {MAX_URI_BYTES} bytes")]
    LongNames,
    /// A prefix stands for no namespace.
    #[error("a prefix is not declared")]
    Prefix,
    /// It is not well-formed otherwise.
    #[error("it is not well-formed")]
    Malformed,
    /// The elements that lead to the content, or the one that holds it, are not there.
    #[error("it holds no element at the path that the definition names")]
    NoRoot,
    /// There are two of an element on the path.
    #[error("it holds two elements at the path that the definition names")]
    TwoRoots,
    /// Something stands outside the document's element.
    #[error("it has content outside its one element")]
    Outside,
}

/// Reads a body: the content of its root element.
pub(crate) fn read(xml: &Xml, body: &[u8]) -> Result<Value, XmlError> {
    let text =
        std::str::from_utf8(body).map_err(|error| XmlError { at: error.valid_up_to(), reason: XmlReason::Encoding })?;
    // A mark of UTF-8 says nothing new.
    let start = if text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
    let text = &text[start..];
    if let Some((at, _)) = text.char_indices().find(|(_, character)| !is_character(*character)) {
        return Err(XmlError { at: start + at, reason: XmlReason::Malformed });
    }
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut tree = Tree { xml, open: Vec::new(), taken: vec![false; xml.root.len()], elements: 0, uris: 0, root: None };
    loop {
        let before = offset(reader.buffer_position());
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(_) => {
                // A prefix declared wrongly has no position of its own.
                let at = start + before.max(offset(reader.error_position()));
                return Err(XmlError { at, reason: XmlReason::Malformed });
            }
        };
        let end = matches!(event, Event::Eof);
        tree.take(event, before == 0, reader.resolver()).map_err(|reason| XmlError { at: start + before, reason })?;
        if end {
            return tree.root.ok_or(XmlError { at: start + before, reason: XmlReason::NoRoot });
        }
    }
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

/// The elements being read.
struct Tree<'a> {
    xml: &'a Xml,
    open: Vec<Open>,
    /// Which steps of the path to the root there have been.
    taken: Vec<bool>,
    elements: usize,
    /// The bytes of URIs written out.
    uris: usize,
    /// The root's content, once it is closed.
    root: Option<Value>,
}

/// An element that is not closed yet.
struct Open {
    place: Place,
    nil: bool,
    /// Its attributes and elements.
    fields: Map<String, Value>,
    text: String,
}

/// What an element is to the object.
#[derive(Clone, PartialEq, Eq)]
enum Place {
    /// On the way to the root: the step of the path.
    Step(usize),
    /// The root.
    Root,
    /// In the root, or in another element of it: the field that it becomes there.
    Field(String),
    /// Left out, with all that is in it.
    Aside,
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, first: bool, resolver: &NamespaceResolver) -> Result<(), XmlReason> {
        match event {
            Event::Start(element) => self.start(&element, resolver),
            // The reader has compared the names.
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) => self.data(&text.xml10_content()),
            Event::GeneralRef(reference) => self.data(self::reference(&reference)?.encode_utf8(&mut [0; 4])),
            Event::Decl(declaration) if first => declared(&declaration),
            Event::Decl(_) | Event::PI(_) => Err(XmlReason::Instruction),
            Event::DocType(_) => Err(XmlReason::Doctype),
            Event::Comment(_) => Ok(()),
            // `expand_empty_elements` makes two events of these.
            Event::Empty(_) => Err(XmlReason::Malformed),
            Event::Eof if self.open.is_empty() => Ok(()),
            Event::Eof => Err(XmlReason::Malformed),
        }
    }

    fn start(&mut self, element: &BytesStart<'_>, resolver: &NamespaceResolver) -> Result<(), XmlReason> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(XmlReason::TooManyElements);
        }
        if self.open.len() == MAX_DEPTH {
            return Err(XmlReason::TooDeep);
        }
        let (uri, local) = resolve(element.name(), true, resolver)?;
        let place = self.place(uri, local)?;
        let mut open = Open { place, nil: false, fields: Map::new(), text: String::new() };
        self.attributes(&mut open, element, resolver)?;
        self.open.push(open);
        Ok(())
    }

    /// What an element that begins here is.
    fn place(&mut self, uri: &str, local: &str) -> Result<Place, XmlReason> {
        let step = match self.open.last().map(|parent| &parent.place) {
            Some(Place::Aside) => return Ok(Place::Aside),
            Some(Place::Root | Place::Field(_)) if self.xml.drop.iter().any(|drop| drop == local) => {
                return Ok(Place::Aside);
            }
            Some(Place::Root | Place::Field(_)) => return Ok(Place::Field(self.name(uri, local)?)),
            Some(Place::Step(step)) => step + 1,
            None if self.elements > 1 => return Err(XmlReason::Outside),
            None => 0,
        };
        let matches = self.xml.root.get(step).is_some_and(|(prefix, name)| {
            name == local && self.xml.namespaces.get(prefix).is_some_and(|known| known == uri)
        });
        match self.taken.get_mut(step) {
            Some(true) if matches => Err(XmlReason::TwoRoots),
            Some(taken) if matches => {
                *taken = true;
                Ok(if step + 1 == self.xml.root.len() { Place::Root } else { Place::Step(step) })
            }
            _ => Ok(Place::Aside),
        }
    }

    /// Reads an element's attributes: into `open` where its content counts, else only to see that they are in order.
    fn attributes(
        &mut self,
        open: &mut Open,
        element: &BytesStart<'_>,
        resolver: &NamespaceResolver,
    ) -> Result<(), XmlReason> {
        let counts = matches!(open.place, Place::Root | Place::Field(_));
        for (number, attribute) in element.attributes().enumerate() {
            if number == MAX_ATTRIBUTES {
                return Err(XmlReason::TooManyAttributes);
            }
            let attribute = attribute.map_err(|error| match error {
                AttrError::Duplicated(..) => XmlReason::DuplicateAttribute,
                _ => XmlReason::Malformed,
            })?;
            if attribute.value.contains('<') {
                return Err(XmlReason::Malformed);
            }
            let version = XmlVersion::Implicit1_0;
            let value = attribute.normalized_value(version).map_err(|_| XmlReason::Entity)?;
            if !value.chars().all(is_character) {
                return Err(XmlReason::Malformed);
            }
            if attribute.key.as_namespace_binding().is_some() {
                if attribute.key.0.strip_prefix("xmlns:").is_some_and(|prefix| !is_name(prefix)) {
                    return Err(XmlReason::Malformed);
                }
                continue;
            }
            let (uri, local) = resolve(attribute.key, false, resolver)?;
            if !counts {
                continue;
            }
            let (name, value) = match (uri, local) {
                (SCHEMA_INSTANCE, "nil") => {
                    open.nil = matches!(value.trim(), "true" | "1");
                    continue;
                }
                (SCHEMA_INSTANCE, "type") => match resolve(QName(value.trim()), true, resolver)? {
                    (SCHEMA, _) => continue,
                    (uri, local) => (Cow::Borrowed("type"), self.name(uri, local)?),
                },
                ("", local) => (local.into(), value.into_owned()),
                (uri, local) => (self.name(uri, local)?.into(), value.into_owned()),
            };
            if open.fields.insert(format!("@{name}"), Value::String(value)).is_some() {
                return Err(XmlReason::DuplicateAttribute);
            }
        }
        Ok(())
    }

    /// A name as it is in the object.
    fn name(&mut self, uri: &str, local: &str) -> Result<String, XmlReason> {
        if self.xml.namespaces.values().any(|known| known == uri) {
            return Ok(local.to_owned());
        }
        self.uris = self.uris.saturating_add(uri.len());
        if self.uris > MAX_URI_BYTES {
            return Err(XmlReason::LongNames);
        }
        Ok(format!("{{{uri}}}{local}"))
    }

    fn end(&mut self) -> Result<(), XmlReason> {
        let Some(open) = self.open.pop() else { return Err(XmlReason::Malformed) };
        match open.place {
            // Null or text alone is no object.
            Place::Root => self.root = Some(open.object()),
            Place::Field(ref name) => {
                let name = name.clone();
                let value = open.value();
                let Some(parent) = self.open.last_mut() else { return Err(XmlReason::Malformed) };
                let list = self.xml.lists.contains(&name);
                match parent.fields.entry(name) {
                    Entry::Vacant(place) => {
                        place.insert(if list { Value::Array(vec![value]) } else { value });
                    }
                    // An element's own value is never an array.
                    Entry::Occupied(mut place) => match place.get_mut() {
                        Value::Array(values) => values.push(value),
                        first => *first = Value::Array(vec![first.take(), value]),
                    },
                }
            }
            Place::Step(_) | Place::Aside => {}
        }
        Ok(())
    }

    /// Text between two pieces of markup: outside of everything only white space.
    fn text(&mut self, text: &str) -> Result<(), XmlReason> {
        if self.open.is_empty() && is_blank(text) { Ok(()) } else { self.data(text) }
    }

    fn data(&mut self, text: &str) -> Result<(), XmlReason> {
        let Some(open) = self.open.last_mut() else { return Err(XmlReason::Outside) };
        if let Place::Field(_) | Place::Root = open.place {
            open.text.push_str(text);
        }
        Ok(())
    }
}

impl Open {
    fn value(self) -> Value {
        if self.nil {
            Value::Null
        } else if self.fields.is_empty() {
            Value::String(self.text)
        } else {
            self.object()
        }
    }

    fn object(mut self) -> Value {
        if !is_blank(&self.text) {
            self.fields.insert("#text".to_owned(), Value::String(self.text));
        }
        Value::Object(self.fields)
    }
}

/// The namespace ("": none) and local name of a name: an attribute's without a prefix is in none.
fn resolve<'n>(
    name: QName<'n>,
    default: bool,
    resolver: &'n NamespaceResolver,
) -> Result<(&'n str, &'n str), XmlReason> {
    let (local, prefix) = name.decompose();
    let local = local.into_inner();
    if !is_name(local) || prefix.is_some_and(|prefix| !is_name(prefix.into_inner())) {
        return Err(XmlReason::Malformed);
    }
    match resolver.resolve_prefix(prefix, default) {
        ResolveResult::Bound(Namespace(uri)) => Ok((uri, local)),
        ResolveResult::Unbound => Ok(("", local)),
        ResolveResult::Unknown(_) => Err(XmlReason::Prefix),
    }
}

fn declared(declaration: &BytesDecl<'_>) -> Result<(), XmlReason> {
    declaration.version().map_err(|_| XmlReason::Malformed)?;
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("UTF-8") => Ok(()),
        Some(Ok(_)) => Err(XmlReason::Encoding),
        Some(Err(_)) => Err(XmlReason::Malformed),
    }
}

fn reference(reference: &BytesRef<'_>) -> Result<char, XmlReason> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| XmlReason::Malformed)? {
        return if is_character(character) { Ok(character) } else { Err(XmlReason::Malformed) };
    }
    resolve_predefined_entity(reference).and_then(|text| text.chars().next()).ok_or(XmlReason::Entity)
}

/// White space, as XML has it.
fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// A character that XML 1.0 may hold.
fn is_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// A name without a prefix, by "Namespaces in XML 1.0": so no name begins with the `@`, `#` or `{` of the object's
/// fields.
fn is_name(name: &str) -> bool {
    let begins = |character| {
        matches!(character, 'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
            | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}' | '\u{200D}' | '\u{2070}'..='\u{218F}'
            | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
            | '\u{10000}'..='\u{EFFFF}')
    };
    let goes_on = |character| {
        begins(character)
            || matches!(character, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}' | '\u{2040}')
    };
    name.starts_with(begins) && name.chars().all(goes_on)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DEFINITION: &str = "
namespaces:
  soap: http://schemas.xmlsoap.org/soap/envelope/
  om: http://soap.sforce.com/2005/09/outbound
  enterprise: urn:sobject.enterprise.soap.sforce.com
  partner: urn:sobject.partner.soap.sforce.com
root: soap:Envelope/soap:Body/om:notifications
lists: [Notification]
drop: [SessionId]
";

    const DOCUMENTED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>ABC90000000gNcmEAE</OrganizationId>
   <ActionId>00190000000PGrlAAG</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>https://na1.salesforce.com/services/Soap/c/41.0/ABC90000000gNcm</EnterpriseUrl>
   <PartnerUrl xsi:nil="true"/>
   <Notification>
    <Id>04l9000001olR84AAE</Id>
    <sObject xmlns:sf="urn:sobject.enterprise.soap.sforce.com" xsi:type="sf:Account">
     <sf:Id>0019000001KwyWtAAJ</sf:Id>
     <sf:BillingCity>San Francisco</sf:BillingCity>
     <sf:Name>Salesforce.com Inc.</sf:Name>
    </sObject>
   </Notification>
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>
"#;

    fn definition() -> Xml {
        serde_saphyr::from_str(DEFINITION).unwrap()
    }

    fn value(body: &str) -> Result<Value, XmlError> {
        read(&definition(), body.as_bytes())
    }

    fn reason(body: &str) -> XmlReason {
        value(body).unwrap_err().reason
    }

    /// `content` where notifications are.
    fn notifications(content: &str) -> String {
        format!(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
                xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:x="http://www.w3.org/2001/XMLSchema"
                xmlns:p="urn:sobject.partner.soap.sforce.com"><s:Body>
                <notifications xmlns="http://soap.sforce.com/2005/09/outbound">{content}</notifications>
            </s:Body></s:Envelope>"#
        )
    }

    fn content(content: &str) -> Result<Value, XmlReason> {
        value(&notifications(content)).map_err(|error| error.reason)
    }

    #[test]
    fn a_documented_outbound_message_is_read() {
        let expected = json!({
            "OrganizationId": "ABC90000000gNcmEAE",
            "ActionId": "00190000000PGrlAAG",
            "EnterpriseUrl": "https://na1.salesforce.com/services/Soap/c/41.0/ABC90000000gNcm",
            "PartnerUrl": null,
            "Notification": [{
                "Id": "04l9000001olR84AAE",
                "sObject": {
                    "@type": "Account",
                    "Id": "0019000001KwyWtAAJ",
                    "BillingCity": "San Francisco",
                    "Name": "Salesforce.com Inc.",
                },
            }],
        });
        assert_eq!(value(DOCUMENTED), Ok(expected.clone()));
        assert_eq!(value(&format!("\u{FEFF}{DOCUMENTED}")), Ok(expected.clone()), "a mark of UTF-8 is no content");
        assert_eq!(value(&DOCUMENTED.replace("enterprise.soap", "partner.soap")), Ok(expected.clone()));
        let one_line: String = DOCUMENTED.lines().map(str::trim_start).collect();
        assert_eq!(value(&one_line.replace("?><", "?><!-- <!DOCTYPE no> -->\r\n<")), Ok(expected));
    }

    #[test]
    fn a_namespace_is_its_uri_whatever_its_prefix() {
        // `xsi` is Salesforce's records here, `xsd` XML Schema's instances, and SOAP needs no prefix.
        let renamed = DOCUMENTED
            .replace("soapenv:Envelope xmlns:soapenv", "Envelope xmlns")
            .replace("soapenv:", "")
            .replace("xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi", "xmlns:xsd")
            .replace("xsi:", "xsd:")
            .replace("sf:", "xsi:")
            .replace("xmlns:sf", "xmlns:xsi");
        assert!(
            renamed.contains("<sObject xmlns:xsi=\"urn:sobject.enterprise.soap.sforce.com\" xsd:type=\"xsi:Account\">")
        );
        assert!(renamed.contains("<Body>") && renamed.contains("<xsi:Id>"));
        assert_eq!(value(&renamed), value(DOCUMENTED));

        // The right prefixes of other namespaces name nothing.
        let wrong = DOCUMENTED.replace("http://schemas.xmlsoap.org/soap/envelope/", "urn:evil");
        assert_eq!(reason(&wrong), XmlReason::NoRoot);
        let wrong =
            DOCUMENTED.replace("http://soap.sforce.com/2005/09/outbound", "http://soap.sforce.com/2005/09/outbound/");
        assert_eq!(reason(&wrong), XmlReason::NoRoot);
        let wrong = value(&DOCUMENTED.replace("urn:sobject.enterprise", "urn:evil")).unwrap();
        assert_eq!(
            wrong["Notification"][0]["sObject"],
            json!({
                "@type": "{urn:evil.soap.sforce.com}Account",
                "{urn:evil.soap.sforce.com}Id": "0019000001KwyWtAAJ",
                "{urn:evil.soap.sforce.com}BillingCity": "San Francisco",
                "{urn:evil.soap.sforce.com}Name": "Salesforce.com Inc.",
            })
        );
    }

    #[test]
    fn a_prefix_declared_again_means_the_nearest_and_only_inside() {
        assert_eq!(
            content(
                r#"<a xmlns:p="urn:other"><p:b/><c xmlns:p="urn:sobject.enterprise.soap.sforce.com"><p:b/></c><p:b/></a>
                   <p:b/><d xmlns=""><b/></d><e/>"#
            ),
            Ok(json!({
                "a": {"{urn:other}b": ["", ""], "c": {"b": ""}},
                "b": "",
                "{}d": {"{}b": ""},
                "e": "",
            }))
        );
        // An element's own declarations count for its own name and type.
        assert_eq!(
            content(r#"<p:a xmlns:p="urn:other" i:type="p:T" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"/>"#),
            Ok(json!({"{urn:other}a": {"@type": "{urn:other}T"}}))
        );
    }

    #[test]
    fn a_hundred_notifications_are_a_list_and_so_is_one() {
        let many: String =
            (0..100).map(|n| format!("<Notification><Id>{n}</Id></Notification>\n<Other>{n}</Other>")).collect();
        let read = content(&many).unwrap();
        let expected: Vec<Value> = (0..100).map(|n| json!({"Id": n.to_string()})).collect();
        assert_eq!(read["Notification"], Value::Array(expected));
        assert_eq!(read["Other"].as_array().unwrap().len(), 100);
        assert_eq!(content("<Notification/><Other/>"), Ok(json!({"Notification": [""], "Other": ""})));
    }

    #[test]
    fn elements_become_what_they_hold() {
        for (xml, expected) in [
            ("", json!({})),
            (" \n ", json!({})),
            ("text", json!({"#text": "text"})),
            ("<a/>", json!({"a": ""})),
            ("<a> x\r\ny </a>", json!({"a": " x\ny "})),
            ("<a> </a>", json!({"a": " "})),
            (
                "<a>1<!-- - -->2<![CDATA[<&3]]>&lt;4&#53;&#x36;&amp;lt;&quot;&apos;&gt;</a>",
                json!({"a": "12<&3<456&lt;\"'>"}),
            ),
            ("<a>x<b/>y</a>", json!({"a": {"b": "", "#text": "xy"}})),
            ("<a n='1'>x</a>", json!({"a": {"@n": "1", "#text": "x"}})),
            ("<a n='1'> </a>", json!({"a": {"@n": "1"}})),
            ("<a n='&lt;&#65;\n\"'/>", json!({"a": {"@n": "<A \""}})),
            (
                "<a p:n='1' xml:lang='nl'/>",
                json!({"a": {"@n": "1", "@{http://www.w3.org/XML/1998/namespace}lang": "nl"}}),
            ),
            ("<a i:nil='true'/>", json!({"a": null})),
            ("<a i:nil='1' n='1'>x</a>", json!({"a": null})),
            ("<a i:nil='false'>x</a>", json!({"a": "x"})),
            ("<a nil='true'>x</a>", json!({"a": {"@nil": "true", "#text": "x"}})),
            ("<a i:nil='true'/><a>1</a><a/>", json!({"a": [null, "1", ""]})),
            ("<p:Amount i:type='x:double'>1.50</p:Amount>", json!({"Amount": "1.50"})),
            ("<a i:type='Local'/>", json!({"a": {"@type": "Local"}})),
            ("<é.1->x</é.1->", json!({"é.1-": "x"})),
        ] {
            assert_eq!(content(xml), Ok(expected), "{xml}");
        }
    }

    #[test]
    fn a_secret_is_left_out_wherever_it_is() {
        let secret = "<SessionId>00D!secret</SessionId>";
        for xml in [
            secret.to_owned(),
            format!("<Notification>{secret}<sObject>{secret}</sObject></Notification>"),
            "<SessionId a='secret'><Id>secret</Id><b><![CDATA[secret]]></b></SessionId>".to_owned(),
            "<p:SessionId>secret</p:SessionId><SessionId xmlns='urn:other'>secret</SessionId>".to_owned(),
            "<Session&#73;d>secret</Session&#73;d>".to_owned(),
        ] {
            let read = content(&xml);
            assert!(!format!("{read:?}").contains("secret"), "{xml} {read:?}");
        }
    }

    #[test]
    fn what_is_beside_the_path_is_not_read_but_must_be_in_order() {
        let beside = |header: &str| DOCUMENTED.replace("<soapenv:Body>", &format!("{header}<soapenv:Body>"));
        assert_eq!(value(&beside("<soapenv:Header><a b='1'>text</a></soapenv:Header> text")), value(DOCUMENTED));
        assert_eq!(reason(&beside("<soapenv:Header>&x;</soapenv:Header>")), XmlReason::Entity);
        assert_eq!(reason(&beside("<soapenv:Header b='1' b='2'/>")), XmlReason::DuplicateAttribute);
        assert_eq!(reason(&beside("<soapenv:Body/>")), XmlReason::TwoRoots);
        let twice = DOCUMENTED.replace(
            "</notifications>",
            "</notifications><notifications xmlns='http://soap.sforce.com/2005/09/outbound'/>",
        );
        assert_eq!(reason(&twice), XmlReason::TwoRoots);
        // An element on the path where it does not belong is none.
        assert_eq!(reason("<notifications xmlns='http://soap.sforce.com/2005/09/outbound'/>"), XmlReason::NoRoot);
        assert_eq!(
            reason("<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><a><e:Body/></a></e:Envelope>"),
            XmlReason::NoRoot
        );
        assert_eq!(reason(""), XmlReason::NoRoot);
    }

    #[test]
    fn a_billion_laughs_and_files_from_outside_are_refused_unread() {
        let laughs = (1..10).fold("<!ENTITY l0 \"ha\">".to_owned(), |text, n| {
            format!("{text}<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))
        });
        let message = notifications("<a>&l9;</a>");
        for (document_type, at) in [
            (format!("<!DOCTYPE s:Envelope [{laughs}]>"), 0),
            ("<!DOCTYPE s:Envelope [<!ENTITY l9 SYSTEM \"file:///etc/passwd\">]>".to_owned(), 0),
            ("<!DOCTYPE s:Envelope PUBLIC \"-//x\" \"http://127.0.0.1/x.dtd\">".to_owned(), 0),
            ("<!DOCTYPE s:Envelope [<!ENTITY % l9 SYSTEM \"http://127.0.0.1/x\"> %l9;]>".to_owned(), 0),
            ("<?xml version='1.0'?><!DOCTYPE a>".to_owned(), 21),
        ] {
            let refused = XmlError { at, reason: XmlReason::Doctype };
            assert_eq!(value(&format!("{document_type}{message}")), Err(refused), "{document_type}");
        }
        assert_eq!(content("<a><!DOCTYPE a></a>"), Err(XmlReason::Doctype));
        for entity in [
            "&l9;",
            "&nbsp;",
            "&Lt;",
            "&;",
            "&#;",
            "&#0;",
            "&#x1F;",
            "&#xD800;",
            "&#xFFFF;",
            "&#99999999999;",
            "&#x-1;",
        ] {
            for xml in [format!("<a>{entity}</a>"), format!("<a b='{entity}'/>"), format!("<SessionId b='{entity}'/>")]
            {
                let reason = content(&xml).unwrap_err();
                assert!(matches!(reason, XmlReason::Entity | XmlReason::Malformed), "{xml} {reason:?}");
            }
        }
    }

    #[test]
    fn an_encoding_other_than_utf_8_is_refused() {
        for encoding in ["UTF-16", "ISO-8859-1", "utf-7", ""] {
            let body = DOCUMENTED.replace("UTF-8", encoding);
            assert_eq!(value(&body), Err(XmlError { at: 0, reason: XmlReason::Encoding }), "{encoding}");
        }
        assert!(value(&DOCUMENTED.replace("UTF-8", "utf-8")).is_ok());
        assert!(value(&DOCUMENTED.replace(" encoding=\"UTF-8\"", "")).is_ok());
        let wide = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
            let body: Vec<u8> = mark.iter().copied().chain(DOCUMENTED.encode_utf16().flat_map(bytes)).collect();
            read(&definition(), &body)
        };
        assert_eq!(wide(b"\xFF\xFE", u16::to_le_bytes), Err(XmlError { at: 0, reason: XmlReason::Encoding }));
        assert_eq!(wide(b"\xFE\xFF", u16::to_be_bytes), Err(XmlError { at: 0, reason: XmlReason::Encoding }));
        assert!(wide(b"", u16::to_le_bytes).is_err());
        let latin = [DOCUMENTED.as_bytes(), b"\xE9"].concat();
        assert_eq!(read(&definition(), &latin), Err(XmlError { at: DOCUMENTED.len(), reason: XmlReason::Encoding }));
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_reason() {
        for (xml, reason) in [
            ("<a>", XmlReason::Malformed),
            ("</a>", XmlReason::Malformed),
            ("<a></b>", XmlReason::Malformed),
            ("<a><b></a></b>", XmlReason::Malformed),
            ("<a", XmlReason::Malformed),
            ("<a b/>", XmlReason::Malformed),
            ("<a b=c/>", XmlReason::Malformed),
            ("<a b='<'/>", XmlReason::Malformed),
            ("<a b='1' b='2'/>", XmlReason::DuplicateAttribute),
            ("<a p:b='1' q:b='2' xmlns:q='urn:sobject.partner.soap.sforce.com'/>", XmlReason::DuplicateAttribute),
            ("<a type='x' i:type='Local'/>", XmlReason::DuplicateAttribute),
            ("<a xmlns:q='urn:a' xmlns:q='urn:b'/>", XmlReason::DuplicateAttribute),
            ("<q:a/>", XmlReason::Prefix),
            ("<a q:b='1'/>", XmlReason::Prefix),
            ("<a i:type='q:b'/>", XmlReason::Prefix),
            ("<a i:type=''/>", XmlReason::Malformed),
            ("<p:a xmlns:p=''/>", XmlReason::Prefix),
            ("<a xmlns:xml='urn:a'/>", XmlReason::Malformed),
            ("<a xmlns:='urn:a'/>", XmlReason::Malformed),
            ("<@a/>", XmlReason::Malformed),
            ("<{urn:a}b/>", XmlReason::Malformed),
            ("<1a/>", XmlReason::Malformed),
            ("<p:p:a/>", XmlReason::Malformed),
            ("<:a/>", XmlReason::Malformed),
            ("<a @b='1'/>", XmlReason::Malformed),
            ("<>x</>", XmlReason::Malformed),
            ("a & b", XmlReason::Malformed),
            ("<a>\u{0}</a>", XmlReason::Malformed),
            ("<a>\u{B}</a>", XmlReason::Malformed),
            ("<a>\u{FFFE}</a>", XmlReason::Malformed),
            ("<![CDATA[ x", XmlReason::Malformed),
            ("<!-- x", XmlReason::Malformed),
            ("<!ELEMENT a ANY>", XmlReason::Malformed),
            ("<?php x ?>", XmlReason::Instruction),
            ("<?xml-stylesheet href='x'?>", XmlReason::Instruction),
            ("<?xml version='1.0'?>", XmlReason::Instruction),
        ] {
            assert_eq!(content(xml), Err(reason), "{xml}");
        }
        for (body, reason) in [
            (format!("{DOCUMENTED}<a/>"), XmlReason::Outside),
            (format!("{DOCUMENTED}{DOCUMENTED}"), XmlReason::Instruction),
            (format!("{DOCUMENTED}x"), XmlReason::Outside),
            (format!("{DOCUMENTED}&lt;"), XmlReason::Outside),
            (format!("{DOCUMENTED}<![CDATA[]]>"), XmlReason::Outside),
            (format!("{DOCUMENTED}</a>"), XmlReason::Malformed),
            (format!(" {DOCUMENTED}"), XmlReason::Instruction),
            (format!("x{}", notifications("")), XmlReason::Outside),
            (DOCUMENTED.replace("version=\"1.0\" ", ""), XmlReason::Malformed),
            (DOCUMENTED[..DOCUMENTED.len() - 3].to_owned(), XmlReason::Malformed),
            (DOCUMENTED[..DOCUMENTED.find("</soapenv:Envelope>").unwrap()].to_owned(), XmlReason::Malformed),
            ("{\"a\":1}".to_owned(), XmlReason::Outside),
        ] {
            assert_eq!(value(&body).map_err(|error| error.reason), Err(reason), "{body}");
        }
        assert!(value(&format!("{DOCUMENTED}\n<!-- after -->\n")).is_ok());
    }

    #[test]
    fn an_error_names_the_byte_and_none_of_the_content() {
        let body = notifications("<a>hidden</a><b>&hidden;</b>");
        let error = value(&body).unwrap_err();
        assert_eq!(error, XmlError { at: body.find("&hidden;").unwrap(), reason: XmlReason::Entity });
        assert!(!error.to_string().contains("hidden"));
        assert!(error.to_string().ends_with(&format!("(byte {})", error.at)));
        let marked = format!("\u{FEFF}{body}");
        assert_eq!(value(&marked).unwrap_err().at, error.at + 3);
    }

    #[test]
    fn depth_elements_attributes_and_namespaces_are_bounded() {
        // Envelope, Body and notifications are elements too.
        let nested = |levels: usize| content(&format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels)));
        assert!(nested(MAX_DEPTH - 3).is_ok());
        assert_eq!(nested(MAX_DEPTH - 2), Err(XmlReason::TooDeep));
        assert_eq!(nested(200_000), Err(XmlReason::TooDeep));
        assert_eq!(content(&format!("<SessionId>{}", "<a>".repeat(200_000))), Err(XmlReason::TooDeep));

        assert!(content(&"<a/>".repeat(MAX_ELEMENTS - 3)).is_ok());
        assert_eq!(content(&"<a/>".repeat(MAX_ELEMENTS - 2)), Err(XmlReason::TooManyElements));
        assert_eq!(
            content(&format!("<SessionId>{}</SessionId>", "<a/>".repeat(MAX_ELEMENTS))),
            Err(XmlReason::TooManyElements)
        );

        let attributes = |count| (0..count).map(|n| format!(" a{n}='x'")).collect::<String>();
        assert!(content(&format!("<a{}/>", attributes(MAX_ATTRIBUTES))).is_ok());
        assert_eq!(content(&format!("<a{}/>", attributes(MAX_ATTRIBUTES + 1))), Err(XmlReason::TooManyAttributes));
        let declared: String = (0..100_000).map(|n| format!(" xmlns:a{n}='x'")).collect();
        assert_eq!(content(&format!("<a{declared}/>")), Err(XmlReason::Malformed));

        // A long name that is declared once must not be written out thousands of times, as element or as attribute.
        let foreign = |length: usize, names: &str| {
            content(&format!(
                "<SessionId xmlns:f='{}'/><a xmlns:f='{}'>{names}</a>",
                "u".repeat(length),
                "u".repeat(length)
            ))
        };
        assert!(foreign(MAX_URI_BYTES / 4, "<f:b/><b f:c=''/><f:d f:e=''/>").is_ok());
        assert_eq!(foreign(MAX_URI_BYTES / 4, "<f:b/><b f:c=''/><f:d f:e=''/><f:b/>"), Err(XmlReason::LongNames));
        assert!(foreign(MAX_URI_BYTES * 2, "").is_ok(), "what is in no name is not written out");
    }

    #[test]
    fn a_definition_says_what_is_wrong_with_it() {
        let xml = definition();
        assert_eq!(xml.root[2], ("om".to_owned(), "notifications".to_owned()));
        let short: Xml = serde_saphyr::from_str("{ namespaces: { a: urn:a }, root: 'a:b' }").unwrap();
        assert_eq!((short.lists.len(), short.drop.len()), (0, 0));
        for (text, wrong) in [
            (DEFINITION.replace("om:notifications", "xx:notifications"), "xx:notifications"),
            (DEFINITION.replace("om:notifications", "notifications"), "`notifications`"),
            (DEFINITION.replace("om:notifications", ""), "``"),
            (DEFINITION.replace("om:notifications", "om:1"), "om:1"),
            (DEFINITION.replace("drop:", "dorp:"), "dorp"),
            (DEFINITION.replace("root:", "ruut:"), "ruut"),
        ] {
            let error = serde_saphyr::from_str::<Xml>(&text).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    /// The bytes that all of a value's names and texts take.
    fn size(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
            Value::String(text) => text.len(),
            _ => 0,
        }
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn text_survives_escaping(text in "[^\\p{C}\u{FFFE}\u{FFFF}]{0,40}", cdata in any::<bool>()) {
            let written = if cdata {
                format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
            } else {
                text.chars().map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("&#x{:X};", u32::from(c)) }).collect()
            };
            prop_assert_eq!(content(&format!("<a>{written}</a>")), Ok(json!({"a": text})));
            if !cdata {
                prop_assert_eq!(content(&format!("<a b='{written}'/>")), Ok(json!({"a": {"@b": text}})));
            }
        }

        #[test]
        fn pieces_of_xml_in_any_order_never_panic_and_stay_in_bounds(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "<a>", "</a>", "<p:b>", "</p:b>", "<a", "/>", ">", "<", " b='1'", " i:nil='true'", " i:type='p:T'", "text", "&lt;",
                "&x;", "&#65;", "&", "<![CDATA[", "]]>", "<!--", "-->", "<?x", "?>", "<!DOCTYPE", " xmlns='urn:a'", " xmlns:p='urn:b'",
                "<SessionId>", "</SessionId>", "secret", "\"", "'", "=", " ", "é", "\u{FEFF}", "<Notification/>", "</notifications>",
            ]), 0..40),
            whole in any::<bool>(),
        ) {
            let xml = pieces.concat();
            let body = if whole { xml } else { notifications(&xml) };
            match value(&body) {
                Ok(value) => {
                    prop_assert!(value.is_object() && depth(&value) <= MAX_DEPTH);
                    // Each name may gain as much as this in the object.
                    let gain = "{urn:a}@#text".len();
                    prop_assert!(size(&value) <= body.len() + body.matches(['<', '=']).count() * gain);
                }
                Err(error) => prop_assert!(error.at <= body.len()),
            }
        }

        #[test]
        fn a_documented_message_damaged_anywhere_never_panics(at in 0..DOCUMENTED.len(), with in any::<u8>(), cut in any::<bool>()) {
            let mut body = DOCUMENTED.as_bytes().to_vec();
            if cut { body.truncate(at) } else { body[at] = with }
            if let Err(error) = read(&definition(), &body) {
                prop_assert!(error.at <= body.len());
            }
        }

        #[test]
        fn any_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&definition(), &body).is_err());
        }
    }
}
