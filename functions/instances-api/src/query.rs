//! A request's query.

use url::form_urlencoded;

use crate::invalid::Invalid;

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_none_may_come_twice() {
        let query = Parameters::read(Some("where=a%3D'b'+and+c&pageSize=5&x=1&x=2"));
        assert_eq!(query.get("where"), Ok(Some("a='b' and c")));
        assert_eq!(query.get("pageSize"), Ok(Some("5")));
        assert_eq!(query.get("nextPage"), Ok(None));
        assert!(query.get("x").is_err());
        assert_eq!(Parameters::read(None).get("x"), Ok(None));
    }
}
