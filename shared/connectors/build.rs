//! Lists `definitions/*.yaml` and their examples, so that a new provider is a new file and nothing else.
//!
//! They are kept as JSON, in parts: a function that starts then carries no YAML reader, and of what it does not read, such
//! as how providers are polled, not even the types. What a definition means is looked at by a test; here it need only be
//! YAML.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;

/// The examples that stand in a definition, each with its line.
#[derive(Deserialize)]
struct Inline {
    #[serde(default)]
    examples: Vec<Spanned<Value>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=definitions");
    let folder = Path::new("definitions");
    let keys = names(folder)?;
    let mut table = format!("static BUILT_IN: [BuiltIn; {}] = [\n", keys.len());
    for key in keys {
        let file = folder.join(format!("{key}.yaml"));
        let mut definition: Map<String, Value> = read(&file)?;
        definition.remove("examples");
        let polling = definition.remove("polling").unwrap_or_default();
        let Inline { examples } = read(&file)?;
        let mut examples: Vec<Value> =
            examples.into_iter().map(|example| json!(["", example.referenced.line(), example.value])).collect();
        let more = folder.join("examples").join(&key);
        for name in names(&more).unwrap_or_default() {
            let example: Value = read(&more.join(format!("{name}.yaml")))?;
            examples.push(json!([name, 0, example]));
        }
        let [definition, polling, examples] =
            [Value::Object(definition), polling, Value::Array(examples)].map(|value| value.to_string());
        let _ = writeln!(table, "    BuiltIn::new({key:?}, {definition:?}, {polling:?}, {examples:?}),");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    Ok(fs::write(out.join("built_in.rs"), table)?)
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T, String> {
    let told = |error: &dyn Error| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| told(&error))?;
    serde_saphyr::from_str(&text).map_err(|error| told(&error))
}

/// The names of the YAML files in `folder`, sorted.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            names.extend(path.file_stem().and_then(|s| s.to_str()).map(String::from));
        }
    }
    names.sort();
    Ok(names)
}
