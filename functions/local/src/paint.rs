//! Colours and words for people, and text of strangers made fit for a terminal.

use std::io::{IsTerminal as _, stdout};

/// Paints, or leaves text as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output: only a terminal, and only where `NO_COLOR` is not set (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { on: stdout().is_terminal() && !unwanted }
    }

    /// For files, and for tests.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.sgr("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.sgr("31", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Longest piece of a stranger's text that is shown, in characters: a line stays a line.
const SHOWN: usize = 120;

/// A stranger's text without what could move the cursor, colour the screen or reorder the line.
pub(crate) fn legible(text: &str) -> String {
    legible_start(text, SHOWN)
}

/// The same, of another length in characters.
pub(crate) fn legible_start(text: &str, most: usize) -> String {
    let harmless = |character: char| match character {
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    };
    let mut shown: String = text.chars().take(most).map(harmless).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// So many of something.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_are_written_only_where_they_are_wanted() {
        assert_eq!(Paint { on: true }.good("x"), "\x1b[32mx\x1b[0m");
        assert_eq!(Paint { on: true }.bad(""), "");
        assert_eq!(Paint::plain().bold("x"), "x");
    }

    #[test]
    fn a_stranger_cannot_colour_the_screen() {
        assert_eq!(legible("a\x1b[31mb\u{202e}"), "a\u{fffd}[31mb\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_short_line(text in any::<String>()) {
            let shown = legible(&text);
            prop_assert!(shown.chars().count() <= SHOWN + 1);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
