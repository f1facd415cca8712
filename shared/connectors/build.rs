//! Lists `definitions/*.yaml` and their examples, so that a new provider is a new file and nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=definitions");
    let keys = names(Path::new("definitions"))?;
    let mut table = format!("static BUILT_IN: [BuiltIn; {}] = [\n", keys.len());
    for key in keys {
        let file = |path: &str| format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/definitions/{path}\"))");
        let _ = writeln!(table, "    BuiltIn::new({key:?}, {}, &[", file(&format!("{key}.yaml")));
        for example in names(&Path::new("definitions/examples").join(&key)).unwrap_or_default() {
            let _ = writeln!(table, "        ({example:?}, {}),", file(&format!("examples/{key}/{example}.yaml")));
        }
        table.push_str("    ]),\n");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(out.join("built_in.rs"), table)
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
