//! A definition's jq programs: compiled once, when first run or [asked to](Program::compiled), and run per entry. Whoever only
//! looks a definition up neither compiles them nor, when it is linked, carries jq.
//!
//! A program sees its input and its variables, nothing else: what reads the clock, the environment or files, ends the
//! process, or parses JSON with jaq's own reader (which has no depth limit) is left out, and so is what needs it.
//!
//! It has filters that jq does not, for what nearly every provider needs. They neither fail nor make much work of a text
//! that is made to be long: what is no text (or whole number), or longer than any name, has no words.
//!
//! | filter | yields |
//! |---|---|
//! | `at(path)` | what lies at `path` (field names with dots between) in the input; null where there is nothing |
//! | `fields(paths)` | what lies at each of several paths (with spaces between), as an array |
//! | `words(separator)` | the input's words: of `deal.stage.changed` and `"."` three |
//! | `stem(separator)` | all but the last word, `deal.stage`; the whole where there is but one; null where there is none |
//! | `ending(separator)` | the last word, `changed`; null where there is none |

use std::sync::{Arc, OnceLock};

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::native::{self, Fun, bome, v};
use jaq_core::{Compiler, Ctx, Filter, Vars, unwrap_valr};
use jaq_json::Val;

use crate::connector::{field, text};
use crate::{DefinitionError, row};

/// Longest text that is taken apart: no name of an event is near it.
const MAX_WORDS_BYTES: usize = 256;

/// Natives that would break the promise above.
const WITHHELD: [&str; 2] = ["halt", "fromjson"];

/// What programs get of jq's standard library that is written in jq; the rest of it needs what is withheld, or is slow.
const STANDARD: [&str; 20] = [
    "isboolean",
    "isnumber",
    "isstring",
    "isarray",
    "isobject",
    "type",
    "values",
    "nulls",
    "booleans",
    "numbers",
    "strings",
    "arrays",
    "objects",
    "iterables",
    "scalars",
    "add",
    "unique_by",
    "unique",
    "keys",
    "split",
];

/// A program that failed on an input. What jq says of it is left out: it quotes the input, which is the customer's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// A program of a definition.
pub(crate) struct Program {
    code: String,
    line: u64,
    variables: Vec<String>,
    compiled: OnceLock<Compiled>,
}

impl Program {
    /// A program whose first line is `line` of the definition; `variables` are named with their `$`.
    pub(crate) fn new(code: &str, line: u64, variables: &[&str]) -> Self {
        let variables = variables.iter().map(|name| (*name).to_owned()).collect();
        Self { code: code.to_owned(), line, variables, compiled: OnceLock::new() }
    }

    /// The program, compiled.
    pub(crate) fn compiled(self) -> Result<Self, DefinitionError> {
        let compiled = Compiled::new(&self.code, self.line, &self.variables)?;
        Ok(Self { compiled: OnceLock::from(compiled), ..self })
    }

    /// The program's outputs for `input`; it ends at the first failure.
    ///
    /// # Panics
    /// When a program does not compile that nobody asked to be: a built-in one, of which a test rules that out.
    pub(crate) fn run(&self, variables: Vars<Val>, input: Val) -> impl Iterator<Item = Result<Val, Failed>> {
        let compile = || match Compiled::new(&self.code, self.line, &self.variables) {
            Ok(compiled) => compiled,
            Err(error) => panic!("a built-in program does not compile: {error}"),
        };
        self.compiled.get_or_init(compile).run(variables, input)
    }
}

struct Compiled(Filter<JustLut<Val>>);

impl Compiled {
    fn new(code: &str, line: u64, variables: &[String]) -> Result<Self, DefinitionError> {
        let at = |place: &str, message: String| {
            let offset = (place.as_ptr() as usize).checked_sub(code.as_ptr() as usize);
            let before = offset.and_then(|offset| code.get(..offset)).unwrap_or_default();
            DefinitionError { line: line + before.matches('\n').count() as u64, message }
        };
        let standard = jaq_std::defs().filter(|def| {
            // `split` also comes with regular expressions, whose natives are not there.
            STANDARD.contains(&def.name) && (def.name != "split" || def.args.len() == 1)
        });
        let arena = Arena::default();
        let modules =
            Loader::new(jaq_core::defs().chain(standard)).load(&arena, File { code, path: () }).map_err(|errors| {
                match errors.into_iter().next() {
                    Some((_, LoadError::Lex(errors))) if !errors.is_empty() => {
                        at(errors[0].1, format!("jq: expected {}", errors[0].0.as_str()))
                    }
                    Some((_, LoadError::Parse(errors))) if !errors.is_empty() => {
                        at(errors[0].1, format!("jq: expected {}", errors[0].0.as_str()))
                    }
                    _ => at(code, "jq: modules cannot be loaded".into()),
                }
            })?;
        let natives = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs()).chain(ours());
        Compiler::default()
            .with_funs(natives.filter(|(name, _, _)| !WITHHELD.contains(name)))
            .with_global_vars(variables.iter().map(String::as_str))
            .compile(modules)
            .map(Self)
            .map_err(|errors| match errors.first().and_then(|(_, errors)| errors.first()) {
                Some((name, kind)) => at(name, format!("jq: there is no {} {name}", kind.as_str())),
                None => at(code, "jq: the program does not compile".into()),
            })
    }

    fn run(&self, variables: Vars<Val>, input: Val) -> impl Iterator<Item = Result<Val, Failed>> {
        let context = Ctx::<JustLut<Val>>::new(&self.0.lut, variables);
        self.0.id.run((context, input)).map(|output| unwrap_valr(output).map_err(|_| Failed))
    }
}

/// The filters that jq does not have, and `null`, which its library makes anew each time.
fn ours() -> [Fun<JustLut<Val>>; 6] {
    let null = native::run(("null", v(0), |_| bome(Ok(Val::Null))));
    let at = native::run(("at", v(1), |mut cv| {
        let path = cv.0.pop_var();
        bome(Ok(row::text(&path).map_or(Val::Null, |path| lying_at(&cv.1, path))))
    }));
    let fields = native::run(("fields", v(1), |mut cv| {
        let paths = cv.0.pop_var();
        let paths = row::text(&paths).unwrap_or_default().split_ascii_whitespace();
        bome(Ok(paths.map(|path| lying_at(&cv.1, path)).collect()))
    }));
    let words = native::run(("words", v(1), |mut cv| {
        let separator = cv.0.pop_var();
        let words = of_name(&cv.1, &separator, |name, separator| name.split(separator).map(text).collect());
        bome(Ok(words.unwrap_or_else(|| Val::Arr(Arc::default()))))
    }));
    let stem = native::run(("stem", v(1), |mut cv| {
        let separator = cv.0.pop_var();
        let stem = |name: &str, separator: &str| text(name.rsplit_once(separator).map_or(name, |(stem, _)| stem));
        bome(Ok(of_name(&cv.1, &separator, stem).unwrap_or(Val::Null)))
    }));
    let ending = native::run(("ending", v(1), |mut cv| {
        let separator = cv.0.pop_var();
        let ending = |name: &str, separator: &str| text(name.rsplit_once(separator).map_or(name, |(_, ending)| ending));
        bome(Ok(of_name(&cv.1, &separator, ending).unwrap_or(Val::Null)))
    }));
    [null, at, fields, words, stem, ending]
}

fn lying_at(input: &Val, path: &str) -> Val {
    path.split('.').try_fold(input, |value, name| field(value, name)).cloned().unwrap_or(Val::Null)
}

/// What `read` makes of the input, if that may be a name.
fn of_name(input: &Val, separator: &Val, read: impl FnOnce(&str, &str) -> Val) -> Option<Val> {
    let name = row::name(input).filter(|name| name.len() <= MAX_WORDS_BYTES)?;
    Some(read(&name, row::text(separator)?))
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(code: &str, input: &str) -> String {
        let program = Program::new(code, 1, &[]).compiled().unwrap();
        let input: Val = serde_json::from_str(input).unwrap();
        let outputs: Vec<String> =
            program.run(Vars::new([]), input).map(|output| output.map_or("failed".into(), |v| v.to_string())).collect();
        outputs.join(" ")
    }

    #[test]
    fn what_jq_has_not_reads_what_is_there_and_never_fails() {
        for (code, input, output) in [
            (r#"at("a.b")"#, r#"{"a":{"b":[1]}}"#, "[1]"),
            (r#"at("a.b")"#, r#"{"a":"b"}"#, "null"),
            (r#"at("a.b")"#, "7", "null"),
            ("at(7)", r#"{"7":1}"#, "null"),
            (r#"fields("a  b.c d")"#, r#"{"a":1,"b":{"c":2}}"#, "[1,2,null]"),
            (r#"fields("")"#, r#"{"":1}"#, "[]"),
            (r#"words(".")"#, r#""deal.stage.changed""#, r#"["deal","stage","changed"]"#),
            (r#"words(".")"#, "12", r#"["12"]"#),
            (r#"words(".")"#, r#"["a.b"]"#, "[]"),
            (r#"words(null)"#, r#""a.b""#, "[]"),
            (r#"stem(".")"#, r#""deal.stage.changed""#, r#""deal.stage""#),
            (r#"stem(".")"#, r#""changed""#, r#""changed""#),
            (r#"stem(".")"#, "null", "null"),
            (r#"ending(".")"#, r#""deal.stage.changed""#, r#""changed""#),
            (r#"ending(".")"#, r#""changed""#, r#""changed""#),
            (r#"ending(".")"#, "{}", "null"),
            ("[null, .]", "1", "[null,1]"),
        ] {
            assert_eq!(run(code, input), output, "{input} | {code}");
        }
    }

    proptest! {
        #[test]
        fn a_stem_and_an_ending_are_the_name_and_its_words(name in "[a-z.]{1,300}") {
            let input = serde_json::to_string(&name).unwrap();
            let whole = run(r#"if words(".") == [] then null else words(".") | join(".") end"#, &input);
            let joined = run(r#"if . == stem(".") then . elif stem(".") then stem(".") + "." + ending(".") else null end"#, &input);
            let expected = if name.len() <= MAX_WORDS_BYTES { input } else { "null".into() };
            prop_assert_eq!(&whole, &expected);
            prop_assert_eq!(joined, expected);
        }
    }
}
