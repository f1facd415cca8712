//! A request's query.

use std::str::FromStr;

use url::form_urlencoded;

use crate::invalid::Invalid;
use crate::text;

/// Most entries of a page; who asks for more gets this many and a token for the rest.
pub(crate) const MAX_PAGE: usize = 200;

/// The parameters of a query, decoded.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query; none has no parameters.
    pub(crate) fn read(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The parameter `name`, if it is there.
    ///
    /// # Errors
    /// When it is there twice: which one counts would be a guess.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, Invalid> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.next() {
            Some(_) => Err(Invalid::new(name, "more than once", "once at most")),
            None => Ok(first),
        }
    }

    /// The values of the parameter `name`, which may come any number of times.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `pageSize`, at most [`MAX_PAGE`]; `default` where it is not said.
    ///
    /// # Errors
    /// What is no number, 1 or more.
    pub(crate) fn page_size(&self, default: usize) -> Result<usize, Invalid> {
        match self.get("pageSize")? {
            None => Ok(default),
            Some(text) => match text.parse::<u64>() {
                Ok(size @ 1..) => Ok(usize::try_from(size).map_or(MAX_PAGE, |size| size.min(MAX_PAGE))),
                _ => Err(Invalid::new("pageSize", text::quoted(text), "a number, 1 or more")),
            },
        }
    }

    /// `nextPage`, the token of an earlier answer.
    ///
    /// # Errors
    /// What was never one; and a `pageOffset`, the old product's other way: whoever counts with it would be sent the first
    /// page again and again.
    pub(crate) fn next_page<T: FromStr>(&self) -> Result<Option<T>, Invalid> {
        let read = |text: &str| {
            let accepted = "the Elements-Next-Page-Token of an earlier answer";
            text.parse().map_err(|_| Invalid::new("nextPage", text::quoted(text), accepted))
        };
        match self.get("pageOffset")? {
            None | Some("" | "0") => self.get("nextPage")?.map(read).transpose(),
            Some(text) => {
                let accepted = "0 or none; a further page is asked for with nextPage, the Elements-Next-Page-Token of \
                                the one before";
                Err(Invalid::new("pageOffset", text::quoted(text), accepted))
            }
        }
    }

    /// A parameter that is `true` or `false`.
    ///
    /// # Errors
    /// What is neither.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Invalid> {
        match self.get(name)? {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(Invalid::new(name, text::quoted(text), "true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_true_or_false() {
        let flag = |query| Parameters::read(Some(query)).flag("hydrate", true);
        assert_eq!((flag(""), flag("hydrate=FALSE"), flag("hydrate=true")), (Ok(true), Ok(false), Ok(true)));
        assert!(flag("hydrate=no").is_err() && flag("hydrate=").is_err());
    }

    #[test]
    fn an_offset_is_refused_rather_than_answered_with_the_first_page() {
        let next = |query| Parameters::read(Some(query)).next_page::<u32>();
        assert_eq!((next(""), next("pageOffset=0&nextPage=7")), (Ok(None), Ok(Some(7))));
        let error = next("pageOffset=50").unwrap_err().to_string();
        assert!(error.starts_with("pageOffset: given \"50\"") && error.contains("Elements-Next-Page-Token"), "{error}");
    }

    #[test]
    fn parameters_are_decoded_and_none_may_come_twice() {
        let query = Parameters::read(Some("where=a%3D'b'+and+c&pageSize=5&x=1&x=2"));
        assert_eq!(query.get("where"), Ok(Some("a='b' and c")));
        assert_eq!(query.get("pageSize"), Ok(Some("5")));
        assert_eq!(query.get("nextPage"), Ok(None));
        assert!(query.get("x").is_err());
        assert_eq!(Parameters::read(None).get("x"), Ok(None));
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1", "2"]);
    }
}
