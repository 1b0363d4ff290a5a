//! Sealing: AES-256-GCM under keys that all come of one master key, which is never in the database.
//!
//! ring does it, which is in the program for TLS in any case. Each use has keys of its own (HKDF-SHA256, RFC 5869, with the use as
//! salt), and within a use each owner does, which keeps the random nonces of one far from the 2^32 that NIST SP 800-38D,
//! section 8.3, permits. What a seal is bound to (whose it is, which row) is told again to open it, so that no change of the
//! database moves it elsewhere.

mod master;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

pub use master::MasterKey;

use crate::error::StoreError;

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// What names a master key without telling of it.
const NAME: usize = 8;

/// The keys for one use.
pub(crate) struct Root {
    prk: Prk,
    random: SystemRandom,
}

struct NameLength;

impl KeyType for NameLength {
    fn len(&self) -> usize {
        NAME
    }
}

impl Root {
    /// `purpose` says what the keys are for; another version of a format gets another one.
    pub fn new(purpose: &[u8], secret: &[u8]) -> Self {
        Root { prk: Salt::new(HKDF_SHA256, purpose).extract(secret), random: SystemRandom::new() }
    }

    /// By what it can be told apart from others: 16 hex digits that come of it as keys do.
    pub fn name(&self) -> String {
        let mut name = [0; NAME];
        let derived = self.prk.expand(&[b"name of the master key"], NameLength).expect("shorter than 255 digests");
        derived.fill(&mut name).expect("as long as was said");
        hex::encode(name)
    }

    /// The nonce, the sealed text, the tag.
    pub fn seal(&self, owner: &[u8], bound: &[u8], plain: Vec<u8>) -> Vec<u8> {
        seal(&self.random, &self.key(owner), bound, plain)
    }

    /// # Errors
    /// It was sealed with another key, for another owner, or bound to something else.
    pub fn open(&self, owner: &[u8], bound: &[u8], sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        open(&self.key(owner), bound, sealed)
    }

    fn key(&self, owner: &[u8]) -> LessSafeKey {
        let derived = self.prk.expand(&[owner], &AES_256_GCM).expect("a key is shorter than 255 digests").into();
        LessSafeKey::new(derived)
    }
}

/// A random key for one thing alone.
pub(crate) struct DataKey([u8; KEY]);

impl DataKey {
    pub fn generate() -> Self {
        let mut key = [0; KEY];
        SystemRandom::new().fill(&mut key).expect("the machine has a random generator");
        DataKey(key)
    }

    pub fn of(bytes: &[u8]) -> Result<Self, StoreError> {
        bytes.try_into().map(DataKey).map_err(|_| StoreError::Sealed)
    }

    pub fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    pub fn seal(&self, bound: &[u8], plain: Vec<u8>) -> Vec<u8> {
        seal(&SystemRandom::new(), &self.key(), bound, plain)
    }

    pub fn open(&self, bound: &[u8], sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        open(&self.key(), bound, sealed)
    }

    fn key(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).expect("a key of 32 bytes"))
    }
}

fn seal(random: &SystemRandom, key: &LessSafeKey, bound: &[u8], mut plain: Vec<u8>) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce).expect("the machine has a random generator");
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut plain)
        .expect("less than the 64 GiB that the cipher takes");
    let mut sealed = nonce.to_vec();
    sealed.append(&mut plain);
    sealed
}

fn open(key: &LessSafeKey, bound: &[u8], mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let Some((nonce, _)) = sealed.split_first_chunk::<NONCE_LEN>() else { return Err(StoreError::Sealed) };
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key.open_within(nonce, Aad::from(bound), &mut sealed, NONCE_LEN..);
    let length = opened.map_err(|_| StoreError::Sealed)?.len();
    sealed.truncate(length);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_with_its_key_owner_and_bond_alone() {
        let root = Root::new(b"a test 1", &[1; 32]);
        let sealed = root.seal(b"owner", b"row", b"what was said".to_vec());
        assert!(!sealed.windows(8).any(|window| window == b"what was"));
        assert_ne!(sealed, root.seal(b"owner", b"row", b"what was said".to_vec()), "no nonce twice");
        let same = Root::new(b"a test 1", &[1; 32]);
        assert_eq!(same.open(b"owner", b"row", sealed.clone()).unwrap(), b"what was said");
        for other in [Root::new(b"a test 1", &[2; 32]), Root::new(b"a test 2", &[1; 32])] {
            assert!(other.open(b"owner", b"row", sealed.clone()).is_err());
            assert_ne!(other.name(), root.name());
        }
        assert_eq!(same.name(), root.name());
        assert!(root.open(b"other", b"row", sealed.clone()).is_err());
        assert!(root.open(b"owner", b"another", sealed.clone()).is_err());
        for end in 0..sealed.len() {
            assert!(root.open(b"owner", b"row", sealed[..end].to_vec()).is_err(), "{end}");
        }
    }

    #[test]
    fn a_data_key_is_its_own() {
        let (one, two) = (DataKey::generate(), DataKey::generate());
        let sealed = one.seal(b"row", b"secret".to_vec());
        assert_eq!(DataKey::of(one.bytes()).unwrap().open(b"row", sealed.clone()).unwrap(), b"secret");
        assert!(two.open(b"row", sealed).is_err());
        assert!(DataKey::of(&[0; KEY - 1]).is_err());
    }
}
