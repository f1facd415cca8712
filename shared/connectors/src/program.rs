//! A definition's jq programs: compiled once, run per entry.
//!
//! A program sees its input and its variables, nothing else: what reads the clock, the environment or files, ends the
//! process, or parses JSON with jaq's own reader (which has no depth limit) is left out, and so is what needs it.

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, unwrap_valr};
use jaq_json::Val;

use crate::DefinitionError;

/// Natives that would break the promise above.
const WITHHELD: [&str; 2] = ["halt", "fromjson"];

/// What programs get of jq's standard library that is written in jq; the rest of it needs what is withheld, or is slow.
const STANDARD: [&str; 21] = [
    "null",
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

pub(crate) struct Program(Filter<JustLut<Val>>);

impl Program {
    /// Compiles `code`, whose first line is `line` of the definition; `variables` are named with their `$`.
    pub(crate) fn compile(code: &str, line: u64, variables: &[&str]) -> Result<Self, DefinitionError> {
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
        let natives = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs());
        Compiler::default()
            .with_funs(natives.filter(|(name, _, _)| !WITHHELD.contains(name)))
            .with_global_vars(variables.iter().copied())
            .compile(modules)
            .map(Self)
            .map_err(|errors| match errors.first().and_then(|(_, errors)| errors.first()) {
                Some((name, kind)) => at(name, format!("jq: there is no {} {name}", kind.as_str())),
                None => at(code, "jq: the program does not compile".into()),
            })
    }

    /// The program's outputs for `input`; it ends at the first failure.
    pub(crate) fn run(&self, variables: Vars<Val>, input: Val) -> impl Iterator<Item = Result<Val, Failed>> {
        let context = Ctx::<JustLut<Val>>::new(&self.0.lut, variables);
        self.0.id.run((context, input)).map(|output| unwrap_valr(output).map_err(|_| Failed))
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program(…)")
    }
}
