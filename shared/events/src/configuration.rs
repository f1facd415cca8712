//! The instance configuration keys that Pollhook reads, and how their values are written.
//!
//! The old product sends booleans as JSON booleans or as text, and JSON as an object or as text; everything is kept as
//! text. Unknown keys are kept and returned as they came.

pub mod finder;
pub mod headers;
pub mod metadata;

/// Whether the instance's events are on.
pub const ENABLED: &str = "event.notification.enabled";
/// Whether each event goes to the event bus as well, where it can start a flow.
pub const FLOW_ENABLED: &str = "event.flow.enabled";
/// Where notifications are posted.
pub const CALLBACK_URL: &str = "event.notification.callback.url";
/// Further headers of what is posted, as [`headers::parse`] reads them. Secret: a value may be a bearer token.
pub const CALLBACK_HEADERS: &str = "event.notification.callback.headers";
/// The user name of the callback's basic authentication.
pub const BASIC_USERNAME: &str = "event.notification.basic.username";
/// The password of the callback's basic authentication. Secret.
pub const BASIC_PASSWORD: &str = "event.notification.basic.password";
/// The key that notifications are signed with. Secret.
pub const SIGNATURE_KEY: &str = "event.notification.signature.key";
/// How to notify: `webhook` is all there is.
pub const NOTIFICATION_TYPE: &str = "event.notification.type";
/// The provider's id of the webhook subscription.
pub const SUBSCRIPTION_ID: &str = "event.notification.subscription.id";
/// What in a webhook's body names the instance, as [`finder::Finder`] reads it.
pub const INSTANCE_FINDER: &str = "event.notification.instance.finder";
/// `strict` leaves out of notifications what the old product did not send.
pub const CONTRACT: &str = "event.notification.contract";
/// Where events come from: `polling`, `webhook` or `webhooks`.
pub const VENDOR_TYPE: &str = "event.vendor.type";
/// The provider's own id of the customer's account, e.g. HubSpot's portal id.
pub const VENDOR_ACCOUNT: &str = "event.vendor.account";
/// `signature` (the default) or `none`.
pub const VENDOR_VERIFICATION: &str = "event.vendor.verification";
/// Comma-separated object types to tell; empty means all.
pub const OBJECTS: &str = "event.objects";
/// Which event types of which objects to tell, as [`metadata`] reads it.
pub const METADATA: &str = "event.metadata";
/// Minutes between two polls; more than a day means never.
pub const POLLER_REFRESH_INTERVAL: &str = "event.poller.refresh_interval";
/// Minutes between two polls of an instance that is told by webhooks, which tell what these missed; more than a day means
/// never.
pub const RECONCILE_INTERVAL: &str = "event.reconcile.interval";
/// From when on changes are told by the first poll of a resource, where that is not when the instance was made: a date as RFC
/// 3339 has it.
pub const POLLER_SINCE: &str = "event.poller.since";
/// What to poll: JSON, by resource.
pub const POLLER_CONFIGURATION: &str = "event.poller.configuration";
/// What to poll, in the old form: one resource a line.
pub const POLLER_URLS: &str = "event.poller.urls";
/// Whether fields that are null are left out of polled records.
pub const FILTER_RESPONSE_NULLS: &str = "filter.response.nulls";
/// The secret that the provider signs its webhooks with. Secret.
pub const WEBHOOK_SECRET: &str = "webhook.secret";

/// What a secret is shown as, and what a client may send back to leave it unchanged.
pub const MASK: &str = "********";

/// Whether the value of `key` is a secret: sealed at rest, masked in answers, never logged. Keys that nobody told us of
/// are judged by their last words, however they are joined (`clientSecret`, `private_key`, `oauth.user.refresh_token`).
#[must_use]
pub fn is_secret(key: &str) -> bool {
    if matches!(key, SIGNATURE_KEY | WEBHOOK_SECRET | BASIC_PASSWORD | CALLBACK_HEADERS) {
        return true;
    }
    let words = words(key);
    let last = words.last().map(String::as_str).unwrap_or_default();
    let before = words.iter().rev().nth(1).map(String::as_str).unwrap_or_default();
    let ends = |ending: &str| last.ends_with(ending);
    ["secret", "password", "passwd", "passphrase", "token", "credential", "credentials", "apikey"].into_iter().any(ends)
        || last == "key" && ["api", "private", "access", "secret", "signing", "signature"].contains(&before)
}

/// The words of a key, lower-case: split at whatever is no letter or digit, and where a small letter meets a capital.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for character in key.chars() {
        if !character.is_alphanumeric() || small && character.is_uppercase() {
            words.push(String::new());
        }
        small = character.is_lowercase() || character.is_numeric();
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Reads a boolean as the old product's clients write it.
///
/// # Errors
/// The text that is neither.
pub fn boolean(value: &str) -> Result<bool, &str> {
    let text = value.trim();
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") || text.is_empty() {
        Ok(false)
    } else {
        Err(value)
    }
}

/// Whether a user name can be one of basic authentication: a colon would end it, and control characters
/// are not allowed (RFC 7617 §2).
#[must_use]
pub fn is_username(text: &str) -> bool {
    !text.is_empty() && !text.contains(':') && !text.contains(char::is_control)
}

/// The names in a comma-separated list, trimmed, without empty ones.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_known_by_name_also_when_nobody_told_us_of_the_key() {
        for key in [
            SIGNATURE_KEY,
            WEBHOOK_SECRET,
            "oauth.api.secret",
            "oauth.api.key",
            "oauth.user.refresh_token",
            "oauth.user.token",
            BASIC_PASSWORD,
            CALLBACK_HEADERS,
            "my.Password",
            "clientSecret",
            "accessToken",
            "private_key",
            "api_key",
            "x-api-key",
            "APIKey",
            "db_credentials",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in [
            ENABLED,
            CALLBACK_URL,
            "event.helper.key",
            BASIC_USERNAME,
            INSTANCE_FINDER,
            METADATA,
            SUBSCRIPTION_ID,
            OBJECTS,
            "key",
            "token.type",
            "tokens.used",
            "secretary",
        ] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn booleans_lists_and_user_names_are_read_as_clients_write_them() {
        assert_eq!(boolean("TRUE"), Ok(true));
        assert_eq!(boolean(" false"), Ok(false));
        assert_eq!(boolean(""), Ok(false));
        assert_eq!(boolean("yes"), Err("yes"));
        assert!(is_username("me@app.example") && !is_username("") && !is_username("a:b") && !is_username("a\nb"));
        assert_eq!(list(" Contact, ,Account,").collect::<Vec<_>>(), ["Contact", "Account"]);
    }

    proptest! {
        #[test]
        fn a_key_that_ends_in_a_secret_s_word_is_one_however_it_is_joined_and_cased(
            before in "[a-z]{1,6}",
            ending in proptest::sample::select(vec!["secret", "password", "token", "credentials", "apikey"]),
            joint in "[._ -]",
        ) {
            let capital = format!("{}{}", ending[..1].to_uppercase(), &ending[1..]);
            for key in [format!("{before}{joint}{ending}"), format!("{before}{capital}"), ending.to_uppercase()] {
                prop_assert!(is_secret(&key), "{key}");
                prop_assert!(!is_secret(&format!("{key}{joint}name")), "{key}");
            }
        }

        #[test]
        fn the_words_of_a_key_are_its_letters_and_digits(key in ".{0,30}") {
            let letters: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
            let words = words(&key);
            prop_assert!(words.iter().all(|word| !word.is_empty()));
            prop_assert_eq!(words.concat(), letters);
        }

        #[test]
        fn a_boolean_is_read_in_any_case_and_nothing_else_is_one(word in "[TtFfrRuUeEaAlLsS ]{0,6}") {
            let expected = match word.trim().to_lowercase().as_str() {
                "true" => Ok(true),
                "false" | "" => Ok(false),
                _ => Err(word.as_str()),
            };
            prop_assert_eq!(boolean(&word), expected);
        }

        #[test]
        fn a_list_gives_back_its_names(names in proptest::collection::vec("[A-Za-z_]{1,8}", 0..6), joint in " {0,2},[ ,]{0,3}") {
            let text = names.join(&joint);
            prop_assert_eq!(list(&text).collect::<Vec<_>>(), names);
        }
    }
}
