//! Whether a notification is signed as it should be.

use axum::http::HeaderMap;
use events::Timestamp;
use events::signature::{
    ELEMENTS_SIGNATURE, SignatureError, SignatureKey, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP,
};

/// What one signature was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// There is no key to check it with.
    Unchecked,
    /// It is the key's.
    Good,
    /// It is not, or it is not there.
    Bad(SignatureError),
}

/// Both signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verdicts {
    /// The old product's.
    pub(crate) elements: Verdict,
    /// The Standard Webhooks one.
    pub(crate) standard: Verdict,
}

impl Verdicts {
    /// Checks the raw `body` against both; `now` is our clock.
    pub(crate) fn of(key: Option<&SignatureKey>, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
        let Some(key) = key else { return Self { elements: Verdict::Unchecked, standard: Verdict::Unchecked } };
        let text = |name| header(headers, name).ok_or(SignatureError::Missing(name));
        let elements = text(ELEMENTS_SIGNATURE).and_then(|signature| key.verify_elements(signature, body));
        let standard = || {
            let (id, at, signatures) = (text(WEBHOOK_ID)?, text(WEBHOOK_TIMESTAMP)?, text(WEBHOOK_SIGNATURE)?);
            key.verify_standard(id, at, signatures, body, now)
        };
        Self { elements: elements.into(), standard: standard().into() }
    }

    /// Why the request is refused, if it is: both signatures must be good.
    pub(crate) fn refusal(&self) -> Option<String> {
        let named = [("Elements-Webhook-Signature", self.elements), ("Standard Webhooks", self.standard)];
        let reasons: Vec<_> = named
            .into_iter()
            .filter_map(|(name, verdict)| match verdict {
                Verdict::Bad(error) => Some(format!("{name}: {error}")),
                Verdict::Good | Verdict::Unchecked => None,
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

impl From<Result<(), SignatureError>> for Verdict {
    fn from(result: Result<(), SignatureError>) -> Self {
        result.map_or_else(Self::Bad, |()| Self::Good)
    }
}

/// A header as text.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn signed(key: &SignatureKey, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ELEMENTS_SIGNATURE, key.elements(body).parse().unwrap());
        headers.insert(WEBHOOK_ID, "n1".parse().unwrap());
        headers.insert(WEBHOOK_TIMESTAMP, NOW.as_seconds().to_string().parse().unwrap());
        headers.insert(WEBHOOK_SIGNATURE, key.standard("n1", NOW, body).parse().unwrap());
        headers
    }

    fn key(text: &str) -> SignatureKey {
        SignatureKey::new(text.into()).unwrap()
    }

    #[test]
    fn what_the_key_signed_is_good_and_what_another_signed_is_refused_twice() {
        let headers = signed(&key("k"), b"body");
        assert_eq!(Verdicts::of(Some(&key("k")), &headers, b"body", NOW).refusal(), None);
        let verdicts = Verdicts::of(Some(&key("other")), &headers, b"body", NOW);
        let mismatch = Verdict::Bad(SignatureError::Mismatch);
        assert_eq!(verdicts, Verdicts { elements: mismatch, standard: mismatch });
        assert!(Verdicts::of(Some(&key("k")), &headers, b"another", NOW).refusal().is_some());
    }

    #[test]
    fn a_refusal_names_the_check_that_failed_and_a_missing_header() {
        let mut headers = signed(&key("k"), b"body");
        let late = NOW.plus(std::time::Duration::from_secs(301));
        let refusal = Verdicts::of(Some(&key("k")), &headers, b"body", late).refusal().unwrap();
        assert!(refusal.starts_with("Standard Webhooks: the timestamp") && !refusal.contains("Elements"), "{refusal}");
        headers.remove(ELEMENTS_SIGNATURE);
        let refusal = Verdicts::of(Some(&key("k")), &headers, b"body", NOW).refusal().unwrap();
        assert_eq!(refusal, "Elements-Webhook-Signature: the header elements-webhook-signature is missing");
    }

    #[test]
    fn without_a_key_nothing_is_checked_and_nothing_refused() {
        let verdicts = Verdicts::of(None, &HeaderMap::new(), b"", NOW);
        assert_eq!((verdicts.elements, verdicts.refusal()), (Verdict::Unchecked, None));
    }
}
