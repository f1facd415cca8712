//! The instance finder: what in a webhook's body names the instances that it is for.
//!
//! It is written `<configuration key>|<path in the body>`, e.g. `github.organization|organization.login`: a webhook whose
//! body has at `organization.login` what an instance has configured as `github.organization` is for that instance. A path
//! is names of fields with dots between; arrays are not looked into. It cannot hold a `#`, which stands between path and
//! value where finders are indexed.

use std::str::FromStr;

use super::is_secret;

/// Most names in a path: bodies are not nested deeper, and each webhook is looked up along it.
pub const PATH_NAMES: usize = 16;
/// Longest path in bytes: part of an item's key.
pub const PATH_BYTES: usize = 256;
/// Longest configuration key in bytes, as the API takes them.
const KEY_BYTES: usize = 128;

/// Why a text is no finder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FinderError {
    /// No `|`, or nothing before it.
    #[error("it is written <configuration key>|<path in the body>, such as github.organization|organization.login")]
    Form,
    /// The key is longer than keys are.
    #[error("its configuration key has more than {KEY_BYTES} bytes")]
    Key,
    /// The key's value would be part of an index.
    #[error("its configuration key holds a secret, which would be part of an index in clear")]
    Secret,
    /// Not names with dots between, or too many.
    #[error(
        "its path is 1 to {PATH_NAMES} names of fields with dots between, {PATH_BYTES} bytes at most, without control \
         characters and without | # [ ] *"
    )]
    Path,
}

/// An instance finder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finder {
    /// The configuration key that holds the value to look for.
    pub key: String,
    /// Where to look for it in the body.
    pub path: String,
}

impl Finder {
    /// Reads a finder; blanks around its parts do not count.
    ///
    /// # Errors
    /// [`FinderError`]; it repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, FinderError> {
        let (key, path) = text.split_once('|').ok_or(FinderError::Form)?;
        let (key, path) = (key.trim(), path.trim());
        if key.is_empty() || key.contains(char::is_control) {
            return Err(FinderError::Form);
        }
        if key.len() > KEY_BYTES {
            return Err(FinderError::Key);
        }
        if is_secret(key) {
            return Err(FinderError::Secret);
        }
        let forbidden = |c: char| c.is_control() || "|#[]*".contains(c);
        let named = |name: &str| !name.trim().is_empty() && !name.contains(forbidden);
        if path.len() > PATH_BYTES || path.split('.').count() > PATH_NAMES || !path.split('.').all(named) {
            return Err(FinderError::Path);
        }
        Ok(Self { key: key.to_owned(), path: path.to_owned() })
    }
}

impl FromStr for Finder {
    type Err = FinderError;
    fn from_str(text: &str) -> Result<Self, FinderError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finders_are_read_as_the_old_product_wrote_them() {
        let finder = |key: &str, path: &str| Ok(Finder { key: key.into(), path: path.into() });
        let github = "github.organization|organization.login";
        assert_eq!(Finder::parse(github), finder("github.organization", "organization.login"));
        assert_eq!(Finder::parse(" site.id | site "), finder("site.id", "site"));
        assert_eq!(Finder::parse("authorization.token|token"), Err(FinderError::Secret));
        for form in ["", "organization.login", "|organization.login", " |a", "a\nb|c"] {
            assert_eq!(Finder::parse(form), Err(FinderError::Form), "{form:?}");
        }
        for path in ["", " ", ".", "a.", ".a", "a..b", "a|b", "a#b", "a[0]", "a.*", "a\u{0}b", "a. .b"] {
            assert_eq!(Finder::parse(&format!("k|{path}")), Err(FinderError::Path), "{path:?}");
        }
        let deep = |names: usize| Finder::parse(&format!("k|{}", vec!["n"; names].join(".")));
        assert!(deep(PATH_NAMES).is_ok());
        assert_eq!(deep(PATH_NAMES + 1), Err(FinderError::Path));
        assert_eq!(Finder::parse(&format!("k|{}", "x".repeat(PATH_BYTES + 1))), Err(FinderError::Path));
        assert_eq!(Finder::parse(&format!("{}|a", "k".repeat(KEY_BYTES + 1))), Err(FinderError::Key));
    }

    proptest! {
        #[test]
        fn what_is_read_is_bounded_and_reads_the_same_again(text in prop_oneof![".{0,40}", "[a-z.]{1,9}\\|[a-z.# |]{0,40}"]) {
            if let Ok(finder) = Finder::parse(&text) {
                prop_assert!(finder.path.len() <= PATH_BYTES && !finder.path.contains(['#', '|']));
                prop_assert!((1..=PATH_NAMES).contains(&finder.path.split('.').count()));
                prop_assert_eq!(Finder::parse(&format!("{}|{}", finder.key, finder.path)), Ok(finder));
            }
        }
    }
}
