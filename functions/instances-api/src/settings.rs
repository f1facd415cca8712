//! Which configurations are accepted. Pure.
//!
//! Keys that we read are checked; unknown ones are kept as they came. A value that is stored already is not checked again,
//! so that a client may send back a whole configuration that a newer policy would refuse in part.
//!
//! Blank is unset for the keys we read, with two exceptions: `event.notification.enabled`, where blank means off, and what
//! a mistake must not silently switch off, the secrets and the provider's account.

use std::collections::BTreeMap;

use connectors::Catalogue;
use egress::Policy;
use events::{SignatureKey, configuration};
use platform::{Key, limits};
use records::instances::{Instance, Secrets};
use secrecy::{ExposeSecret as _, SecretString};

use crate::invalid::Invalid;
use crate::text;
use crate::wire::Changes;

/// Largest value in bytes: a key pair or a polling configuration fits; several fit an item.
const VALUE_BYTES: usize = 64 * 1024;
/// Longest key in bytes: it becomes part of where a secret is sealed.
const KEY_BYTES: usize = 128;
/// Most keys: each secret costs some hundred bytes beside itself once sealed.
const KEYS: usize = 256;
/// Most bytes of the whole configuration, written as JSON: sealed and in base64 it must still fit an item
/// ([`limits::ITEM_BYTES`]) beside name and tags.
const TOTAL_BYTES: usize = 192 * 1024;
/// Longest provider account in bytes: part of an item's key.
const ACCOUNT_BYTES: usize = 256;
/// The name under which records seal the instance's own token, beside the configuration's secrets.
const RESERVED_KEY: &str = "#token";
/// A signature key that goes on in base64.
const WHSEC: &str = "whsec_";

const SECRET: &str = "a text that is not blank; null unsets it";

/// A whole configuration, its secrets apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// What may be shown.
    pub(crate) plain: BTreeMap<String, String>,
    /// What may not.
    pub(crate) secrets: Secrets,
}

/// What a configuration is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Where callbacks may go.
    pub(crate) policy: &'a Policy,
    /// The connectors there are.
    pub(crate) catalogue: &'a Catalogue,
    /// The keys of the instance's connector that hold secrets.
    pub(crate) secret_keys: &'a [String],
}

impl Rules<'_> {
    /// `before` with `changes` made.
    ///
    /// # Errors
    /// [`Invalid`]; it holds no secret.
    pub(crate) fn apply(&self, before: Settings, changes: &Changes) -> Result<Settings, Invalid> {
        let mut settings = before;
        for (key, change) in changes {
            check_key(key)?;
            let Some(value) = change else {
                settings.plain.remove(key);
                settings.secrets.remove(key);
                continue;
            };
            self.set(&mut settings, key, value)?;
        }
        if !changes.is_empty() {
            check_size(&settings)?;
        }
        if [configuration::CALLBACK_URL, configuration::SIGNATURE_KEY].iter().any(|key| changes.contains_key(*key)) {
            self.check_way_back(&settings)?;
        }
        Ok(settings)
    }

    fn set(&self, settings: &mut Settings, key: &str, value: &SecretString) -> Result<(), Invalid> {
        let text = value.expose_secret();
        if text.len() > VALUE_BYTES {
            let given = format!("a value of {} bytes", text.len());
            return Err(Invalid::setting(key, given, format!("at most {VALUE_BYTES} bytes")));
        }
        if self.is_secret(key) {
            if text == configuration::MASK {
                let kept = settings.secrets.contains_key(key);
                let given = "the mask that stands for a secret, but there is no secret to keep";
                return if kept { Ok(()) } else { Err(Invalid::setting(key, given, SECRET)) };
            }
            self.check_secret(key, value)?;
            settings.plain.remove(key);
            settings.secrets.insert(key.to_owned(), value.clone());
        } else if settings.plain.get(key).map(String::as_str) != Some(text) {
            settings.secrets.remove(key);
            match self.plain(key, text)? {
                Some(text) => settings.plain.insert(key.to_owned(), text),
                None => settings.plain.remove(key),
            };
        }
        Ok(())
    }

    fn is_secret(&self, key: &str) -> bool {
        configuration::is_secret(key) || self.secret_keys.iter().any(|secret| secret == key)
    }

    fn check_secret(&self, key: &str, value: &SecretString) -> Result<(), Invalid> {
        let signs = key == configuration::SIGNATURE_KEY;
        let read = signs || self.secret_keys.iter().any(|secret| secret == key);
        if read && value.expose_secret().trim().is_empty() {
            return Err(Invalid::setting(key, "a blank text", SECRET));
        }
        // Nothing after the prefix would be a key of no bytes: anybody could sign with it.
        if signs && (value.expose_secret() == WHSEC || SignatureKey::new(value.clone()).is_err()) {
            let given = "a text that begins with whsec_ and does not go on as base64";
            return Err(Invalid::setting(key, given, "any text that is not blank, or whsec_ and base64"));
        }
        Ok(())
    }

    /// What is to be stored for a key that holds no secret; `None`: nothing.
    fn plain(&self, key: &str, value: &str) -> Result<Option<String>, Invalid> {
        let text = value.trim();
        let unless_blank = || (!text.is_empty()).then(|| text.to_owned());
        match key {
            configuration::ENABLED => match configuration::boolean(text) {
                Ok(_) => Ok(Some(text.to_owned())),
                Err(given) => Err(Invalid::setting(key, text::quoted(given), "true or false")),
            },
            configuration::VENDOR_VERIFICATION => one_of(key, text, &["signature", "none"]),
            configuration::CONTRACT => one_of(key, text, &["extended", "strict"]),
            configuration::CALLBACK_URL => {
                if !text.is_empty() {
                    self.check_callback(text)?;
                }
                Ok(unless_blank())
            }
            configuration::OBJECTS => Ok(unless_blank()),
            configuration::VENDOR_ACCOUNT => {
                let known_as = Key::new(text, text);
                let controls = text.contains(char::is_control);
                if text.is_empty() || text.len() > ACCOUNT_BYTES || controls || limits::check_key(&known_as).is_err() {
                    let accepted = format!(
                        "the provider's id of the account, 1 to {ACCOUNT_BYTES} bytes without control characters; null \
                         unsets it"
                    );
                    return Err(Invalid::setting(key, text::quoted(&text.escape_debug().to_string()), accepted));
                }
                Ok(unless_blank())
            }
            _ => Ok(Some(value.to_owned())),
        }
    }

    fn check_callback(&self, url: &str) -> Result<(), Invalid> {
        self.policy.check(url).map(|_| ()).map_err(|refusal| {
            let given = format!("{}: {refusal}", text::quoted_url(url));
            Invalid::setting(configuration::CALLBACK_URL, given, "an http or https URL of a public address")
        })
    }

    /// A callback of our own returns events to the connectors. The receiver there verifies them with the instance's
    /// signature key, so there must be one.
    fn check_way_back(&self, settings: &Settings) -> Result<(), Invalid> {
        let Some(text) = settings.plain.get(configuration::CALLBACK_URL) else { return Ok(()) };
        let Ok(url) = self.policy.check(text) else { return Ok(()) };
        let Some(connector) = self.policy.own_events_connector(&url) else { return Ok(()) };
        if !self.catalogue.keys().any(|key| key == connector) {
            let given = format!("a URL of ours with the connector {}", text::quoted(&connector));
            let accepted = format!("of our own URLs, those of a connector: {}", known(self.catalogue));
            return Err(Invalid::setting(configuration::CALLBACK_URL, given, accepted));
        }
        if !settings.secrets.contains_key(configuration::SIGNATURE_KEY) {
            let given = format!("a URL of ours, without {}", configuration::SIGNATURE_KEY);
            let accepted = format!("our own URLs together with {}", configuration::SIGNATURE_KEY);
            return Err(Invalid::setting(configuration::CALLBACK_URL, given, accepted));
        }
        Ok(())
    }
}

/// The keys of the connectors, for messages.
pub(crate) fn known(catalogue: &Catalogue) -> String {
    catalogue.keys().collect::<Vec<_>>().join(", ")
}

/// The configuration as the API shows it: its secrets masked.
pub(crate) fn shown<'a>(instance: &'a Instance, secrets: &'a Secrets) -> BTreeMap<&'a str, &'a str> {
    let plain = instance.configuration.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    plain.chain(secrets.keys().map(|key| (key.as_str(), configuration::MASK))).collect()
}

fn one_of(key: &str, text: &str, words: &[&str]) -> Result<Option<String>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    match words.iter().find(|word| text.eq_ignore_ascii_case(word)) {
        Some(word) => Ok(Some((*word).to_owned())),
        None => Err(Invalid::setting(key, text::quoted(text), words.join(" or "))),
    }
}

fn check_key(key: &str) -> Result<(), Invalid> {
    let field = || format!("configuration key \"{}\"", text::start(&key.escape_debug().to_string()));
    if key.is_empty() || key.len() > KEY_BYTES || key.contains(char::is_control) {
        let accepted = format!("1 to {KEY_BYTES} bytes without control characters");
        return Err(Invalid::new(field(), format!("{} bytes", key.len()), accepted));
    }
    if key == RESERVED_KEY {
        return Err(Invalid::new(field(), "the name of the instance's own token", "another key"));
    }
    Ok(())
}

fn check_size(settings: &Settings) -> Result<(), Invalid> {
    let keys = settings.plain.len() + settings.secrets.len();
    if keys > KEYS {
        return Err(Invalid::new("configuration", format!("{keys} keys in all"), format!("at most {KEYS}")));
    }
    let plain = settings.plain.iter().map(|(key, value)| key.len() + escaped_bytes(value));
    let secrets = settings.secrets.iter().map(|(key, value)| key.len() + value.expose_secret().len());
    let bytes: usize = plain.chain(secrets).sum();
    if bytes > TOTAL_BYTES {
        let accepted = format!("at most {TOTAL_BYTES} bytes");
        return Err(Invalid::new("configuration", format!("{bytes} bytes in all"), accepted));
    }
    Ok(())
}

/// Bytes of a text once written as JSON, at most.
fn escaped_bytes(text: &str) -> usize {
    let bytes = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn policy() -> Policy {
        Policy::new(Vec::new(), Some(&Url::parse("https://hooks.example.com/base").unwrap()))
    }

    fn changes(pairs: &[(&str, Option<&str>)]) -> Changes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(SecretString::from))).collect()
    }

    fn apply(before: Settings, pairs: &[(&str, Option<&str>)]) -> Result<Settings, String> {
        let (policy, secret_keys) = (policy(), vec!["app.signing".to_owned()]);
        let rules = Rules { policy: &policy, catalogue: connectors::catalogue(), secret_keys: &secret_keys };
        rules.apply(before, &changes(pairs)).map_err(|invalid| invalid.to_string())
    }

    fn set(key: &str, value: &str) -> Result<Settings, String> {
        apply(Settings::default(), &[(key, Some(value))])
    }

    #[test]
    fn secrets_go_one_way_and_everything_else_the_other() {
        let settings = apply(
            Settings::default(),
            &[("app.signing", Some("s1")), ("oauth.user.token", Some("s2")), ("anything", Some(" kept "))],
        )
        .unwrap();
        assert_eq!(settings.plain, BTreeMap::from([("anything".into(), " kept ".into())]));
        assert_eq!(settings.secrets.keys().collect::<Vec<_>>(), ["app.signing", "oauth.user.token"]);
    }

    #[test]
    fn the_mask_keeps_a_secret_and_null_unsets_it() {
        let key = configuration::SIGNATURE_KEY;
        let before = set(key, "first").unwrap();
        let kept = apply(before.clone(), &[(key, Some(configuration::MASK))]).unwrap();
        assert_eq!(kept.secrets[key].expose_secret(), "first");
        assert!(apply(before, &[(key, None)]).unwrap().secrets.is_empty());
        assert!(set(key, configuration::MASK).unwrap_err().contains("no secret to keep"));
    }

    #[test]
    fn blank_is_unset_for_keys_we_read_and_refused_where_that_would_switch_something_off() {
        for key in [configuration::CALLBACK_URL, configuration::CONTRACT, configuration::VENDOR_VERIFICATION] {
            assert!(set(key, " ").unwrap().plain.is_empty(), "{key}");
        }
        for key in [configuration::SIGNATURE_KEY, "app.signing", configuration::VENDOR_ACCOUNT] {
            assert!(set(key, " ").unwrap_err().contains(key), "{key}");
        }
        assert_eq!(set(configuration::ENABLED, "").unwrap().plain[configuration::ENABLED], "");
    }

    #[test]
    fn words_are_those_we_know_in_any_case() {
        assert_eq!(set(configuration::CONTRACT, "Strict").unwrap().plain[configuration::CONTRACT], "strict");
        assert_eq!(set(configuration::CONTRACT, "extended").unwrap().plain[configuration::CONTRACT], "extended");
        let key = configuration::VENDOR_VERIFICATION;
        assert_eq!(set(key, " NONE ").unwrap().plain[key], "none");
        let error = set(key, "off").unwrap_err();
        assert_eq!(error, format!("configuration \"{key}\": given \"off\"; accepted: signature or none"));
        assert!(set(configuration::ENABLED, "yes").unwrap_err().ends_with("given \"yes\"; accepted: true or false"));
    }

    #[test]
    fn a_private_callback_is_refused_with_the_flag_that_would_allow_it_and_without_its_credentials() {
        let error = set(configuration::CALLBACK_URL, "http://127.0.0.1:9/x?key=s3cret").unwrap_err();
        assert!(error.contains(configuration::CALLBACK_URL) && error.contains("--allow-callbacks-to"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        let error = set(configuration::CALLBACK_URL, "https://me:s3cret@example.com/").unwrap_err();
        assert!(!error.contains("s3cret") && error.contains("credentials"), "{error}");
        assert!(set(configuration::CALLBACK_URL, "mailto:x@y").is_err());
        assert!(set(configuration::CALLBACK_URL, "https://example.com/hook").is_ok());
    }

    #[test]
    fn a_callback_of_our_own_needs_a_known_connector_and_a_signature_key() {
        let own = |key: &str| format!("https://hooks.example.com/base/elements/api-v2/events/{key}/");
        let with_key = |url: &str| {
            apply(
                Settings::default(),
                &[(configuration::CALLBACK_URL, Some(url)), (configuration::SIGNATURE_KEY, Some("k"))],
            )
        };
        assert!(with_key(&own("nosuch")).unwrap_err().contains("hubspot"));
        let error = set(configuration::CALLBACK_URL, &own("hubspot")).unwrap_err();
        assert!(error.contains(configuration::SIGNATURE_KEY), "{error}");
        let settings = with_key(&own("hubspot")).unwrap();
        // The key cannot be taken away again while it is needed.
        assert!(apply(settings.clone(), &[(configuration::SIGNATURE_KEY, None)]).is_err());
        assert!(apply(settings, &[(configuration::SIGNATURE_KEY, None), (configuration::CALLBACK_URL, None)]).is_ok());
    }

    #[test]
    fn signature_keys_are_well_formed_and_never_repeated() {
        for bad in ["whsec_", "whsec_%%s3cret%%"] {
            let error = set(configuration::SIGNATURE_KEY, bad).unwrap_err();
            assert!(error.contains(configuration::SIGNATURE_KEY) && !error.contains("s3cret"), "{error}");
        }
        assert!(set(configuration::SIGNATURE_KEY, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
        assert!(set(configuration::SIGNATURE_KEY, "12345").is_ok());
    }

    #[test]
    fn what_is_stored_is_not_checked_again() {
        let mut before = Settings::default();
        before.plain.insert(configuration::CALLBACK_URL.into(), "http://10.0.0.1/".into());
        assert!(apply(before.clone(), &[(configuration::CALLBACK_URL, Some("http://10.0.0.1/"))]).is_ok());
        assert!(apply(before, &[(configuration::CALLBACK_URL, Some("http://10.0.0.2/"))]).is_err());
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(set("k", &"x".repeat(VALUE_BYTES + 1)).is_err());
        assert!(set(&"k".repeat(KEY_BYTES + 1), "x").is_err());
        assert!(set("", "x").is_err() && set("a\nb", "x").is_err() && set(RESERVED_KEY, "x").is_err());
        assert!(set(configuration::VENDOR_ACCOUNT, &"x".repeat(ACCOUNT_BYTES + 1)).is_err());
        assert!(set(configuration::VENDOR_ACCOUNT, "a\0b").is_err());
        assert_eq!(
            set(configuration::VENDOR_ACCOUNT, " 62515 ").unwrap().plain[configuration::VENDOR_ACCOUNT],
            "62515"
        );
        let value = "\u{1}".repeat(VALUE_BYTES / 2);
        assert!(set("k", &value).is_err(), "control characters take six bytes each");
        let mut settings = Settings::default();
        for n in 0..KEYS {
            settings = apply(settings, &[(&format!("k{n}"), Some("x"))]).unwrap();
        }
        assert!(apply(settings, &[("one more", Some("x"))]).is_err());
    }

    proptest! {
        #[test]
        fn no_secret_is_in_an_error_and_any_value_is_taken_or_refused(
            key in prop_oneof![
                Just(configuration::SIGNATURE_KEY), Just(configuration::WEBHOOK_SECRET), Just("app.signing"),
                Just(configuration::CALLBACK_URL), Just(configuration::VENDOR_ACCOUNT), Just(configuration::ENABLED),
            ],
            value in ".{0,40}",
            secret in "[a-z]{16}",
        ) {
            let _ = set(key, &value);
            let rule = Settings::default();
            if let Err(error) = apply(rule, &[(configuration::SIGNATURE_KEY, Some(&format!("whsec_{secret}%")))]) {
                prop_assert!(!error.contains(&secret));
            }
            if let Err(error) = set(configuration::CALLBACK_URL, &format!("https://u:{secret}@h{value}")) {
                prop_assert!(!error.contains(&secret), "{}", error);
            }
        }

        #[test]
        fn applying_the_same_changes_twice_changes_nothing_more(value in "[a-z0-9:/. ]{0,30}") {
            let pairs = [
                (configuration::VENDOR_ACCOUNT, Some(value.as_str())),
                (configuration::OBJECTS, Some(value.as_str())),
                ("other", Some(value.as_str())),
            ];
            if let Ok(once) = apply(Settings::default(), &pairs) {
                let twice = apply(once.clone(), &pairs).unwrap();
                prop_assert_eq!(once.plain, twice.plain);
            }
        }
    }
}
