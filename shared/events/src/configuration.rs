//! The instance configuration keys that Pollhook reads, and how their values are written.
//!
//! The old product sends booleans as JSON booleans or as text, and JSON as an object or as text; everything is kept as
//! text. Unknown keys are kept and returned as they came.

/// Whether the instance's events are on.
pub const ENABLED: &str = "event.notification.enabled";
/// Where notifications are posted.
pub const CALLBACK_URL: &str = "event.notification.callback.url";
/// The key that notifications are signed with. Secret.
pub const SIGNATURE_KEY: &str = "event.notification.signature.key";
/// `strict` leaves out of notifications what the old product did not send.
pub const CONTRACT: &str = "event.notification.contract";
/// The provider's own id of the customer's account, e.g. HubSpot's portal id.
pub const VENDOR_ACCOUNT: &str = "event.vendor.account";
/// `signature` (the default) or `none`.
pub const VENDOR_VERIFICATION: &str = "event.vendor.verification";
/// Comma-separated object types to tell; empty means all.
pub const OBJECTS: &str = "event.objects";
/// The secret that the provider signs its webhooks with. Secret.
pub const WEBHOOK_SECRET: &str = "webhook.secret";

/// What a secret is shown as, and what a client may send back to leave it unchanged.
pub const MASK: &str = "********";

/// Whether the value of `key` is a secret: sealed at rest, masked in answers, never logged. Keys that nobody told us of
/// are judged by their last words, however they are joined (`clientSecret`, `private_key`, `oauth.user.refresh_token`).
#[must_use]
pub fn is_secret(key: &str) -> bool {
    if matches!(key, SIGNATURE_KEY | WEBHOOK_SECRET) {
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

/// The names in a comma-separated list, trimmed, without empty ones.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
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
            "event.notification.basic.password",
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
            "event.notification.basic.username",
            "event.objects",
            "key",
            "token.type",
            "tokens.used",
            "secretary",
        ] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn booleans_and_lists_are_read_as_clients_write_them() {
        assert_eq!(boolean("TRUE"), Ok(true));
        assert_eq!(boolean(" false"), Ok(false));
        assert_eq!(boolean(""), Ok(false));
        assert_eq!(boolean("yes"), Err("yes"));
        assert_eq!(list(" Contact, ,Account,").collect::<Vec<_>>(), ["Contact", "Account"]);
    }
}
