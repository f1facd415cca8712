//! How a notification is signed, and how its receiver checks it.
//!
//! Two signatures by one key. `Elements-Webhook-Signature` is the old product's: base64 HMAC-SHA256 over the body, with no
//! time in it, so a captured request can be replayed. `webhook-signature` is the Standard Webhooks one
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>): it also covers the id
//! and the time of the attempt.
//!
//! The key's UTF-8 bytes are the secret of both; a key written `whsec_…` is base64-decoded for the Standard Webhooks one,
//! as that specification asks.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::Timestamp;

/// The old product's signature.
pub const ELEMENTS_SIGNATURE: &str = "elements-webhook-signature";
/// The old product's notification id.
pub const ELEMENTS_ID: &str = "elements-webhook-id";
/// Standard Webhooks: the notification's id.
pub const WEBHOOK_ID: &str = "webhook-id";
/// Standard Webhooks: seconds since the epoch at the attempt.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks: `v1,<base64>`, several separated by spaces.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// How far a Standard Webhooks timestamp may lie from the receiver's clock, either way, in seconds: the reference
/// libraries' value.
pub const TOLERANCE_S: i64 = 300;

const WHSEC: &str = "whsec_";

/// What was wrong with a notification's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header that the check needs is not there.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The header is there, but not in its form.
    #[error("the header {0} is malformed")]
    Malformed(&'static str),
    /// The timestamp is more than five minutes from the receiver's clock.
    #[error("the timestamp is more than {TOLERANCE_S} s away from this clock")]
    Stale,
    /// Another key, or another body.
    #[error("the signature does not match")]
    Mismatch,
}

/// The key of an instance's notifications (`event.notification.signature.key`). Cannot be printed.
#[derive(Clone)]
pub struct SignatureKey {
    elements: SecretString,
    standard: Vec<u8>,
}

impl std::fmt::Debug for SignatureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignatureKey(…)")
    }
}

/// Secrets as people copy them: base64 with its padding or without.
const SECRET: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a secret that is written in base64, padded or not; the libraries of Standard Webhooks read both.
#[must_use]
pub fn base64_secret(text: &str) -> Option<Vec<u8>> {
    SECRET.decode(text).ok()
}

/// A key that starts with `whsec_` but does not go on as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key that starts with whsec_ must go on in base64")]
pub struct KeyError;

impl SignatureKey {
    /// The key as configured.
    ///
    /// # Errors
    /// [`KeyError`], only for `whsec_` followed by something that is not base64.
    pub fn new(text: SecretString) -> Result<Self, KeyError> {
        let standard = match text.expose_secret().strip_prefix(WHSEC) {
            Some(encoded) => base64_secret(encoded).ok_or(KeyError)?,
            None => text.expose_secret().as_bytes().to_vec(),
        };
        Ok(Self { elements: text, standard })
    }

    /// The value of `Elements-Webhook-Signature` for `body`.
    #[must_use]
    pub fn elements(&self, body: &[u8]) -> String {
        let tag = mac(self.elements.expose_secret().as_bytes(), &[body]).finalize();
        format!("sha256={}", STANDARD.encode(tag.into_bytes()))
    }

    /// The value of `webhook-signature` for `body`, sent as `id` at `at`.
    #[must_use]
    pub fn standard(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let seconds = at.as_seconds().to_string();
        let tag = mac(&self.standard, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body]).finalize();
        format!("v1,{}", STANDARD.encode(tag.into_bytes()))
    }

    /// Checks `Elements-Webhook-Signature`, in constant time.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`] or [`SignatureError::Mismatch`].
    pub fn verify_elements(&self, header: &str, body: &[u8]) -> Result<(), SignatureError> {
        let malformed = SignatureError::Malformed(ELEMENTS_SIGNATURE);
        let encoded = header.strip_prefix("sha256=").ok_or(malformed)?;
        let tag = STANDARD.decode(encoded).map_err(|_| malformed)?;
        mac(self.elements.expose_secret().as_bytes(), &[body]).verify_slice(&tag).map_err(|_| SignatureError::Mismatch)
    }

    /// Checks the three Standard Webhooks headers, in constant time: one `v1` signature that matches is enough, and the
    /// time must be within [`TOLERANCE_S`] of `now`.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_standard(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let seconds: i64 = timestamp.parse().map_err(|_| SignatureError::Malformed(WEBHOOK_TIMESTAMP))?;
        if now.as_seconds().saturating_sub(seconds).saturating_abs() > TOLERANCE_S {
            return Err(SignatureError::Stale);
        }
        let expected = mac(&self.standard, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
        let mut seen = false;
        for encoded in signatures.split(' ').filter_map(|part| part.strip_prefix("v1,")) {
            let Ok(tag) = STANDARD.decode(encoded) else { continue };
            seen = true;
            if expected.clone().verify_slice(&tag).is_ok() {
                return Ok(());
            }
        }
        Err(if seen { SignatureError::Mismatch } else { SignatureError::Malformed(WEBHOOK_SIGNATURE) })
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("HMAC takes a key of any length") };
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> SignatureKey {
        SignatureKey::new(text.into()).unwrap()
    }

    #[test]
    fn the_published_elements_vector_is_reproduced() {
        let body = b"<INSERT_EVENT_NOTIFICATION_RESPONSE_BODY>";
        let signature = key("MySecretEventSignatureKey").elements(body);
        assert_eq!(signature, "sha256=jHdbRx5EZAsOfTwAPJOGkNUzQMVVdu5VJlxcsk+G6jQ=");
        assert_eq!(key("MySecretEventSignatureKey").verify_elements(&signature, body), Ok(()));
    }

    #[test]
    fn the_published_standard_webhooks_vectors_are_reproduced() {
        for (secret, id, seconds, body, expected) in [
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                r#"{"email":"test@example.com","username":"test_user"}"#,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
        ] {
            let at = Timestamp::from_seconds(seconds);
            assert_eq!(key(secret).standard(id, at, body.as_bytes()), expected);
            let check = |now| key(secret).verify_standard(id, &seconds.to_string(), expected, body.as_bytes(), now);
            assert_eq!(check(Timestamp::from_seconds(seconds + 300)), Ok(()));
            assert_eq!(check(Timestamp::from_seconds(seconds - 300)), Ok(()));
            assert_eq!(check(Timestamp::from_seconds(seconds + 301)), Err(SignatureError::Stale));
            assert_eq!(check(Timestamp::from_seconds(seconds - 301)), Err(SignatureError::Stale));
        }
    }

    #[test]
    fn a_plain_key_signs_with_its_utf8_bytes_and_one_of_several_signatures_suffices() {
        let (key, at) = (key("clé-secrète"), Timestamp::from_seconds(1_700_000_000));
        let good = key.standard("id", at, b"body");
        let list = format!("v1a,xyz v1,AAAA {good}");
        assert_eq!(key.verify_standard("id", "1700000000", &list, b"body", at), Ok(()));
        assert_eq!(key.verify_standard("id", "1700000000", "v1,AAAA", b"body", at), Err(SignatureError::Mismatch));
        assert!(key.verify_standard("id", "1700000000", "", b"body", at).is_err());
        assert!(key.verify_standard("id", "NaN", &list, b"body", at).is_err());
        assert!(key.verify_standard("id", "9223372036854775807", &list, b"body", at).is_err());
    }

    #[test]
    fn a_whsec_key_may_lack_its_padding() {
        let sign = |text: &str| key(text).standard("id", Timestamp::from_seconds(1_700_000_000), b"body");
        assert_eq!(sign("whsec_c2VjcmV0cw"), sign("whsec_c2VjcmV0cw=="));
    }

    #[test]
    fn a_whsec_key_that_is_not_base64_is_refused_and_keys_never_print() {
        assert!(SignatureKey::new("whsec_%%%".into()).is_err());
        assert!(!format!("{:?}", key("topsecret")).contains("topsecret"));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed_and_no_header_panics(body in proptest::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), header in ".{0,80}") {
            let key = key("k");
            let signature = key.elements(&body);
            prop_assert_eq!(key.verify_elements(&signature, &body), Ok(()));
            let mut other = body.clone();
            let place = at.index(other.len());
            other[place] ^= 1;
            prop_assert_eq!(key.verify_elements(&signature, &other), Err(SignatureError::Mismatch));
            prop_assert!(key.verify_elements(&header, &body).is_err());
            prop_assert!(key.verify_standard("id", &header, &header, &body, Timestamp::from_seconds(0)).is_err());
        }
    }
}
