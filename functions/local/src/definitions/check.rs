//! One definition: does it load, and does it make of its examples what they say?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use connectors::{Catalogue, Connector, Example};

use crate::definitions::load::{self, Problem};
use crate::paint::counted;

/// What came of a check.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Key and name, where the definition loads at all.
    connector: Option<(String, String)>,
    /// Whether it has webhooks, which examples are of.
    webhooks: bool,
    /// What the examples that passed are about.
    passed: Vec<String>,
    /// How many did not pass.
    failed: usize,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
}

/// Checks the definition in `file`, and the examples in it and in `examples/<key>/` beside it.
pub(crate) fn check(file: &Path) -> Checked {
    let mut checked = Checked { connector: None, webhooks: true, passed: Vec::new(), failed: 0, problems: Vec::new() };
    let (mut connector, text) = match load::read(file) {
        Ok(read) => read,
        Err(problem) => {
            checked.problems.push(problem);
            return checked;
        }
    };
    checked.connector = Some((connector.key().to_owned(), connector.name().to_owned()));
    checked.webhooks = connector.has_webhooks();
    checked.problems.extend(load::named(file, &connector, &text).err());
    let folder = file.with_file_name("examples").join(connector.key());
    checked.problems.extend(add_examples(&mut connector, &folder));
    for example in connector.examples() {
        match example.check(&connector) {
            Ok(()) => checked.passed.push(example.about.clone()),
            Err(error) => {
                checked.failed += 1;
                let (file, line) = place(file, &folder, example);
                checked.problems.push(Problem::new(&file, line, format!("example {:?}: {error}", example.about)));
            }
        }
    }
    checked
}

/// Adds the examples that stand in files of their own; returns what is wrong with those that do not load.
fn add_examples(connector: &mut Connector, folder: &Path) -> Vec<Problem> {
    let files = match load::definitions(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![Problem::new(folder, 0, format!("cannot be read: {error}"))],
    };
    let mut add = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match fs::read_to_string(file) {
            Ok(text) => connector.add_example(&name, &text).err().map(|e| Problem::new(file, e.line, e.message)),
            Err(error) => Some(Problem::new(file, 0, format!("cannot be read: {error}"))),
        }
    };
    files.iter().filter_map(&mut add).collect()
}

/// Where an example stands.
fn place(definition: &Path, folder: &Path, example: &Example) -> (PathBuf, u64) {
    if example.name.is_empty() { (definition.to_owned(), example.line) } else { (folder.join(&example.name), 1) }
}

impl Checked {
    /// What is right; nothing, where the definition does not load.
    pub(crate) fn told(&self) -> Option<String> {
        let (key, name) = self.connector.as_ref()?;
        let examples = match (self.passed.len(), self.failed) {
            (passed, 0) => counted(passed, "example"),
            (passed, failed) => format!("{passed} of {}", counted(passed + failed, "example")),
        };
        let mut text = if self.webhooks {
            format!("{name} ({key}): {examples} passed")
        } else {
            format!("{name} ({key}): how it is polled is well formed")
        };
        for about in &self.passed {
            let _ = write!(text, "\n  ✓ {about}");
        }
        if Catalogue::built_in().is_built_in(key) {
            text.push_str("\nIt stands in for the built-in connector of that key.");
        }
        Some(text)
    }

    /// What is not wrong, and not right either.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        (self.webhooks && self.problems.is_empty() && self.passed.is_empty()).then_some(
            "there are no examples, so nothing but the form was checked. An example is a recorded request and what must \
             come of it (`about`, `headers`, `body`, `changes`), in `examples:` or in examples/<key>/*.yaml beside the \
             file: it shows that the signature is checked, and that the mapping says what you mean",
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RIGHT: &str = include_str!("../demo/lantern.yaml");

    fn checked(text: &str) -> Checked {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lantern.yaml");
        fs::write(&file, text).unwrap();
        check(&file)
    }

    #[test]
    fn what_is_right_is_counted_and_what_is_missing_is_warned_of() {
        let right = checked(RIGHT);
        assert_eq!((right.passed.len(), right.failed, right.problems.len(), right.warning()), (1, 0, 0, None));
        let (definition, _) = RIGHT.split_once("examples:").unwrap();
        let bare = checked(definition);
        assert_eq!(bare.told().as_deref(), Some("Lantern (lantern): 0 examples passed"));
        assert!(bare.warning().is_some());
        let polled = checked(
            "key: lantern\nname: Lantern\nhub: crm\npolling: { base_url: https://a.example, authentication: { none: {} } }\n",
        );
        assert_eq!(polled.told().as_deref(), Some("Lantern (lantern): how it is polled is well formed"));
        assert_eq!((polled.problems.len(), polled.warning()), (0, None), "examples are of webhooks");
        let broken = checked("key: [");
        assert!(broken.told().is_none() && broken.warning().is_none() && broken.problems.len() == 1);
    }

    proptest! {
        #[test]
        fn whatever_is_cut_out_of_a_definition_is_told_at_one_of_its_lines(
            from in any::<prop::sample::Index>(), length in 1_usize..40,
        ) {
            let from = from.index(RIGHT.len());
            let text = format!("{}{}", &RIGHT[..from], &RIGHT[RIGHT.len().min(from + length)..]);
            let checked = checked(&text);
            for problem in &checked.problems {
                prop_assert!(problem.line <= text.lines().count() as u64 + 1, "{}", problem);
                prop_assert!(!problem.message.contains('\n') && !problem.message.is_empty(), "{}", problem);
            }
            prop_assert_eq!(checked.failed > 0, checked.problems.iter().any(|p| p.message.starts_with("example ")));
        }
    }
}
