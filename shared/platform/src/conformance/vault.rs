//! Vaults: what is sealed opens where it belongs, and nowhere else.

use crate::{Purpose, Vault, VaultError};

/// A test for each scenario. `$setup` is an async function without arguments that gives a
/// [`VaultUnderTest`](crate::conformance::VaultUnderTest).
#[macro_export]
macro_rules! vault_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __vault_scenario, $setup,
            vault::{
                what_was_sealed_opens,
                another_purpose_is_refused,
                another_place_is_refused,
                a_cut_value_is_refused,
                a_changed_value_is_refused,
                what_was_never_sealed_is_refused,
                sealing_twice_gives_different_bytes,
                sealed_bytes_do_not_show_the_secret,
            },
        }
    };
}

const PURPOSES: [Purpose; 4] = [Purpose::Webhook, Purpose::Callback, Purpose::Poll, Purpose::Api];
const PLACE: &str = "CALLBACK#17/CALLBACK";
const SECRET: &[u8] = b"correct horse battery staple";

async fn seal<V: Vault>(vault: &V, plain: &[u8]) -> Vec<u8> {
    vault.seal(Purpose::Callback, PLACE, plain).await.expect("sealing")
}

async fn assert_refused<V: Vault>(vault: &V, purpose: Purpose, place: &str, sealed: &[u8], why: &str) {
    let opened = vault.open(purpose, place, sealed).await;
    assert!(matches!(opened, Err(VaultError::Refused(_))), "{why}: opened with {:?}", opened.map(|plain| plain.len()));
}

/// Text, nothing, every byte, much; for every purpose.
pub async fn what_was_sealed_opens<V: Vault>(vault: &V) {
    let binary: Vec<u8> = (0..=u8::MAX).collect();
    for purpose in PURPOSES {
        for plain in [SECRET, b"", b"\0", &binary, &binary.repeat(256)] {
            for place in [PLACE, "", "字"] {
                let sealed = vault.seal(purpose, place, plain).await.expect("sealing");
                assert_eq!(vault.open(purpose, place, &sealed).await.as_deref(), Ok(plain));
            }
        }
    }
}

/// Each role opens its own.
pub async fn another_purpose_is_refused<V: Vault>(vault: &V) {
    for plain in [SECRET, b""] {
        let sealed = seal(vault, plain).await;
        for purpose in PURPOSES.into_iter().filter(|purpose| *purpose != Purpose::Callback) {
            assert_refused(vault, purpose, PLACE, &sealed, purpose.name()).await;
        }
    }
}

/// A sealed value moved to another item is useless.
pub async fn another_place_is_refused<V: Vault>(vault: &V) {
    for plain in [SECRET, b""] {
        let sealed = seal(vault, plain).await;
        for place in
            ["CALLBACK#18/CALLBACK", "CALLBACK#17/CALLBACKS", "CALLBACK#17/CALLBAC", "callback#17/callback", ""]
        {
            assert_refused(vault, Purpose::Callback, place, &sealed, place).await;
        }
    }
}

/// At either end, by any number of bytes.
pub async fn a_cut_value_is_refused<V: Vault>(vault: &V) {
    let sealed = seal(vault, SECRET).await;
    for cut in 1..=sealed.len() {
        assert_refused(vault, Purpose::Callback, PLACE, &sealed[..sealed.len() - cut], "its end is cut off").await;
        assert_refused(vault, Purpose::Callback, PLACE, &sealed[cut..], "its start is cut off").await;
    }
}

/// By any bit, or by more bytes.
pub async fn a_changed_value_is_refused<V: Vault>(vault: &V) {
    let sealed = seal(vault, SECRET).await;
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_refused(vault, Purpose::Callback, PLACE, &changed, "a bit is changed").await;
    }
    assert_refused(vault, Purpose::Callback, PLACE, &[&sealed[..], &[0]].concat(), "a byte is added").await;
    assert_refused(vault, Purpose::Callback, PLACE, &[&[0], &sealed[..]].concat(), "a byte is put before").await;
}

/// Rather than an accident.
pub async fn what_was_never_sealed_is_refused<V: Vault>(vault: &V) {
    for bytes in [SECRET, b"", &[0; 64], &[0xff; 1000]] {
        assert_refused(vault, Purpose::Callback, PLACE, bytes, "never sealed").await;
    }
}

/// Equal secrets do not show as equal.
pub async fn sealing_twice_gives_different_bytes<V: Vault>(vault: &V) {
    for plain in [SECRET, b""] {
        assert_ne!(seal(vault, plain).await, seal(vault, plain).await);
    }
}

/// Not even a part of it.
pub async fn sealed_bytes_do_not_show_the_secret<V: Vault>(vault: &V) {
    let sealed = seal(vault, SECRET).await;
    for part in SECRET.windows(6) {
        assert!(!sealed.windows(part.len()).any(|window| window == part), "a part of the secret shows");
    }
}
