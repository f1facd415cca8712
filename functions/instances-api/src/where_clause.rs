//! The `where` of the deliveries route: `channel='webhook' and status='queued'`, and perhaps `and config.url='…'`.
//!
//! The contract writes it as if it were SQL; these three comparisons are all that it was ever used for, and all that is
//! read. A quote within a text is written twice.

use crate::invalid::Invalid;

const ACCEPTED: &str =
    "channel='webhook' and status='queued', optionally with and config.url='…' (a quote inside is doubled)";

/// Which parked notifications are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Where {
    /// Only those of instances with this callback; `None`: all of the account.
    pub(crate) url: Option<String>,
}

impl Where {
    /// Reads a clause.
    ///
    /// # Errors
    /// [`Invalid`]. The clause is not repeated there: a URL in it may hold a secret.
    pub(crate) fn read(clause: Option<&str>) -> Result<Self, Invalid> {
        let invalid = |given: &str| Invalid::new("where", given, ACCEPTED);
        let mut rest = clause.ok_or_else(|| invalid("nothing"))?.trim();
        let (mut channel, mut status, mut url) = (None, None, None);
        loop {
            let (name, after) = rest.split_once('=').ok_or_else(|| invalid("something that is not a comparison"))?;
            let place = match name.trim() {
                "channel" => &mut channel,
                "status" => &mut status,
                "config.url" => &mut url,
                _ => return Err(invalid("a field of another name")),
            };
            let (value, after) = text(after.trim_start()).ok_or_else(|| invalid("a value that is not in quotes"))?;
            if place.replace(value).is_some() {
                return Err(invalid("a field twice"));
            }
            if after.trim().is_empty() {
                break;
            }
            rest = conjunction(after).ok_or_else(|| invalid("comparisons that are not joined by and"))?;
        }
        match (channel.as_deref(), status.as_deref()) {
            (Some("webhook"), Some("queued")) => Ok(Self { url }),
            (None, _) => Err(invalid("no channel")),
            (_, None) => Err(invalid("no status")),
            (Some("webhook"), _) => Err(invalid("another status")),
            _ => Err(invalid("another channel")),
        }
    }
}

/// A text in quotes at the beginning of `input`, and what follows it.
fn text(input: &str) -> Option<(String, &str)> {
    let mut rest = input.strip_prefix('\'')?;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

/// What follows ` and ` at the beginning of `input`.
fn conjunction(input: &str) -> Option<&str> {
    let word = input.trim_start();
    let (and, after) = word.split_at_checked(3)?;
    let apart = word.len() < input.len() && after.starts_with(char::is_whitespace);
    (apart && and.eq_ignore_ascii_case("and")).then(|| after.trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_contracts_clauses_are_read() {
        let all = Ok(Where { url: None });
        assert_eq!(Where::read(Some("channel='webhook' and status='queued'")), all);
        assert_eq!(Where::read(Some(" status = 'queued'  AND  channel= 'webhook' ")), all);
        assert_eq!(
            Where::read(Some("channel='webhook' and status='queued' and config.url='https://h/a=b and c''d'")),
            Ok(Where { url: Some("https://h/a=b and c'd".into()) })
        );
    }

    #[test]
    fn everything_else_is_refused_with_what_is_accepted() {
        for bad in [
            "",
            "channel='webhook'",
            "status='queued'",
            "channel='email' and status='queued'",
            "channel='webhook' and status='delivered'",
            "channel='webhook' or status='queued'",
            "channel='webhook'and status='queued'",
            "channel='webhook' andstatus='queued'",
            "channel='webhook' and status='queued' and",
            "channel='webhook' and status='queued' and x='1'",
            "channel='webhook' and status='queued' and status='queued'",
            "channel='webhook' and status=queued",
            "channel='webhook' and status='queued",
            "channel=\"webhook\" and status=\"queued\"",
            "1=1",
        ] {
            let error = Where::read(Some(bad)).unwrap_err().to_string();
            assert!(error.starts_with("where: ") && error.contains("status='queued'"), "{bad}: {error}");
        }
        assert!(Where::read(None).is_err());
    }

    proptest! {
        #[test]
        fn any_url_survives_quoting_and_order(url in ".{0,80}", order in Just([0, 1, 2]).prop_shuffle()) {
            let terms = [
                "channel='webhook'".to_owned(),
                "status='queued'".to_owned(),
                format!("config.url='{}'", url.replace('\'', "''")),
            ];
            let clause = order.map(|i: usize| terms[i].clone()).join(" and ");
            prop_assert_eq!(Where::read(Some(&clause)), Ok(Where { url: Some(url) }));
        }

        #[test]
        fn any_text_is_read_or_refused(clause in "[a-z.='\" éAND]{0,60}", wild in ".{0,60}") {
            let _ = Where::read(Some(&clause));
            let _ = Where::read(Some(&wild));
        }

        #[test]
        fn no_error_repeats_the_clause(secret in "[A-Z]{16}") {
            let clause = format!("channel='webhook' and status='queued' and config.url='https://u:{secret}@h' x");
            prop_assert!(!Where::read(Some(&clause)).unwrap_err().to_string().contains(&secret));
        }
    }
}
