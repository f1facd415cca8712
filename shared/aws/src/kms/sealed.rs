//! What a sealed value looks like, and the key that makes and opens it.
//!
//! ```text
//! version 1 byte | number of the data key, 4 bytes | nonce 12 bytes | text | tag 16 bytes
//! ```
//!
//! Version and number, purpose and place are authenticated with the text (AES-256-GCM).

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use platform::{Purpose, Random};

/// The first byte of what this version seals.
const VERSION: u8 = 1;
const NUMBER_BYTES: usize = size_of::<u32>();
const HEADER_BYTES: usize = 1 + NUMBER_BYTES;
const NONCE_BYTES: usize = 12;
/// Bytes of a data key.
pub(super) const KEY_BYTES: usize = 32;

/// A sealed value, taken apart.
pub(super) struct Sealed<'a> {
    /// Which data key of its purpose sealed it.
    pub(super) number: u32,
    header: &'a [u8],
    nonce: &'a [u8; NONCE_BYTES],
    text: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// `None` when it is nothing that this version seals.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (&version, number) = header.split_first()?;
        let (nonce, text) = rest.split_first_chunk()?;
        let number = u32::from_be_bytes(number.try_into().ok()?);
        (version == VERSION).then_some(Self { number, header, nonce, text })
    }
}

fn header(number: u32) -> [u8; HEADER_BYTES] {
    let mut header = [VERSION; HEADER_BYTES];
    header[1..].copy_from_slice(&number.to_be_bytes());
    header
}

/// The header has a fixed length and a purpose's name holds no zero byte, so no two triples read alike.
fn bound_to(header: &[u8], purpose: Purpose, place: &str) -> Vec<u8> {
    [header, purpose.name().as_bytes(), &[0], place.as_bytes()].concat()
}

/// A data key, unwrapped. Wiped from memory when it goes.
pub(super) struct DataKey {
    number: u32,
    cipher: Aes256Gcm,
}

impl DataKey {
    pub(super) fn new(number: u32, key: &[u8; KEY_BYTES]) -> Self {
        Self { number, cipher: Aes256Gcm::new(key.into()) }
    }

    /// `None` when the text is too long (64 GB).
    pub(super) fn seal(&self, purpose: Purpose, place: &str, plain: &[u8], random: &dyn Random) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let header = header(self.number);
        let payload = Payload { msg: plain, aad: &bound_to(&header, purpose, place) };
        let text = self.cipher.encrypt(&Nonce::from(nonce), payload).ok()?;
        Some([&header[..], &nonce, &text].concat())
    }

    /// `None` when it is not what this key sealed for this purpose and place.
    pub(super) fn open(&self, purpose: Purpose, place: &str, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        let payload = Payload { msg: sealed.text, aad: &bound_to(sealed.header, purpose, place) };
        self.cipher.decrypt(&Nonce::from(*sealed.nonce), payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use platform::OsRandom;

    use super::*;

    const PLACE: &str = "CALLBACK#1/CALLBACK";

    fn key(number: u32) -> DataKey {
        DataKey::new(number, &[7; KEY_BYTES])
    }

    fn sealed(number: u32) -> Vec<u8> {
        key(number).seal(Purpose::Callback, PLACE, b"secret", &OsRandom).unwrap()
    }

    #[test]
    fn the_layout_is_as_documented() {
        let bytes = sealed(0x0102_0304);
        assert_eq!(bytes[..HEADER_BYTES], [VERSION, 1, 2, 3, 4]);
        assert_eq!(bytes.len(), 1 + 4 + 12 + b"secret".len() + 16);
        assert_eq!(Sealed::parse(&bytes).unwrap().number, 0x0102_0304);
    }

    #[test]
    fn another_number_does_not_open_even_with_the_same_key() {
        let mut bytes = sealed(1);
        let open = |bytes: &[u8]| key(2).open(Purpose::Callback, PLACE, &Sealed::parse(bytes).unwrap());
        bytes[HEADER_BYTES - 1] = 2;
        assert_eq!(open(&bytes), None);
        bytes[HEADER_BYTES - 1] = 1;
        assert_eq!(open(&bytes), Some(b"secret".to_vec()), "it is the number in the text that counts");
    }

    #[test]
    fn what_another_version_sealed_is_not_parsed() {
        let mut bytes = sealed(1);
        bytes[0] = VERSION + 1;
        assert!(Sealed::parse(&bytes).is_none());
        assert!(Sealed::parse(&[]).is_none() && Sealed::parse(&[VERSION; HEADER_BYTES + NONCE_BYTES - 1]).is_none());
    }
}
