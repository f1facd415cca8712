//! From files to a catalogue.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use connectors::{Catalogue, Connector};

/// What a definition's file ends in.
const YAML: &str = "yaml";

/// A mistake in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where the file as a whole is to blame.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(file: &Path, line: u64, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }

    fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::new(file, 0, format!("cannot be read: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Definitions that do not load.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", told(.0))]
pub struct Broken(pub Vec<Problem>);

fn told(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The connectors there are, and which of them came from a file.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// All of them.
    pub(crate) catalogue: Catalogue,
    /// The files, by the connector's key.
    pub(crate) files: BTreeMap<String, PathBuf>,
}

/// The built-in connectors, and those that `folder` defines.
///
/// # Errors
/// What is wrong with each file that does not load.
pub(crate) fn load(folder: Option<&Path>) -> Result<Loaded, Broken> {
    let mut loaded = Loaded { catalogue: Catalogue::built_in(), files: BTreeMap::new() };
    let Some(folder) = folder else { return Ok(loaded) };
    let mut problems = Vec::new();
    for file in definitions(folder).map_err(|error| Broken(vec![Problem::unreadable(folder, &error)]))? {
        match read(&file).and_then(|(connector, text)| named(&file, &connector, &text).map(|()| connector)) {
            Ok(connector) => {
                loaded.files.insert(connector.key().to_owned(), file);
                loaded.catalogue.add(connector);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(loaded) } else { Err(Broken(problems)) }
}

/// Reads one definition; its text too.
pub(crate) fn read(file: &Path) -> Result<(Connector, String), Problem> {
    let text = fs::read_to_string(file).map_err(|error| Problem::unreadable(file, &error))?;
    let connector = Connector::from_yaml(&text).map_err(|error| Problem::new(file, error.line, error.message))?;
    Ok((connector, text))
}

/// A file is found by its key: under another name two files could define the same connector, and one of them would count.
pub(crate) fn named(file: &Path, connector: &Connector, text: &str) -> Result<(), Problem> {
    let wanted = format!("{}.{YAML}", connector.key());
    if file.file_name() == Some(OsStr::new(&wanted)) {
        return Ok(());
    }
    let line = text.lines().position(|line| line.starts_with("key")).map_or(0, |place| place as u64 + 1);
    Err(Problem::new(file, line, format!("the key is {}, so the file must be called {wanted}", connector.key())))
}

/// The definitions in `folder`, sorted. Hidden files are an editor's; other files may stand beside the definitions.
pub(crate) fn definitions(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension() == Some(OsStr::new(YAML)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "key: acme\nname: Acme\nhub: crm\nwebhook: { scope: instance, signal: true }\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn broken(files: &[(&str, &str)]) -> Vec<String> {
        let folder = folder(files);
        let Broken(problems) = load(Some(folder.path())).unwrap_err();
        let told = |problem: &Problem| problem.to_string().replace(&format!("{}/", folder.path().display()), "");
        problems.iter().map(told).collect()
    }

    #[test]
    fn a_folders_definitions_are_added_and_stand_in_for_built_in_ones() {
        let hubspot = MINIMAL.replace("acme", "hubspot");
        let folder =
            folder(&[("acme.yaml", MINIMAL), ("hubspot.yaml", &hubspot), (".#acme.yaml", "?"), ("notes", "?")]);
        let Loaded { catalogue, files } = load(Some(folder.path())).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["acme", "hubspot"]);
        assert_eq!(files["acme"], folder.path().join("acme.yaml"));
        assert_eq!(catalogue.get("hubspot").unwrap().name(), "Acme");
        assert_eq!(catalogue.get("standard").unwrap().name(), "Standard Webhooks");
        assert!(load(None).unwrap().files.is_empty());
    }

    #[test]
    fn every_file_that_does_not_load_is_told_with_its_line() {
        let told = broken(&[
            ("acme.yaml", MINIMAL),
            ("other.yaml", MINIMAL),
            ("typo.yaml", &MINIMAL.replace("hub:", "hubb:")),
            ("no.yaml", "key: [\n"),
        ]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("no.yaml:"), "{told:?}");
        assert_eq!(told[1], "other.yaml:1: the key is acme, so the file must be called acme.yaml");
        assert!(told[2].starts_with("typo.yaml:3: ") && told[2].contains("hubb"), "{told:?}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let Broken(problems) = load(Some(Path::new("/nowhere/at/all"))).unwrap_err();
        assert!(problems[0].to_string().starts_with("/nowhere/at/all: cannot be read: "), "{problems:?}");
    }
}
