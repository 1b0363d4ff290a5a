//! The seal on a turn: AES-256-GCM under a key of its organisation, bound to everything else the row says.
//!
//! ring does it, which is in the program for TLS in any case. A key per organisation (HKDF-SHA256, RFC 5869) keeps the random
//! nonces of one far from the 2^32 that NIST SP 800-38D, section 8.3, permits.

use portcullis_core::OrganisationId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use super::TurnRow;
use crate::error::StoreError;

/// Says what the keys are for; another version of the format gets another one.
const PURPOSE: &[u8] = b"portcullis conversations 1";

/// Makes and opens seals.
pub(super) struct Seals {
    root: Prk,
    random: SystemRandom,
}

impl Seals {
    pub fn new(secret: &[u8]) -> Self {
        Seals { root: Salt::new(HKDF_SHA256, PURPOSE).extract(secret), random: SystemRandom::new() }
    }

    /// The nonce, the sealed text, the tag. `row` is all but its content.
    pub fn seal(&self, row: &TurnRow, mut plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).expect("the machine has a random generator");
        let key = self.key(row.owner.organisation);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound(row)), &mut plain)
            .expect("less than the 64 GiB that the cipher takes");
        let mut sealed = nonce.to_vec();
        sealed.append(&mut plain);
        sealed
    }

    /// # Errors
    /// It was sealed with another key, or for another row.
    pub fn open(&self, row: &TurnRow, mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let foreign = |_| StoreError::Sealed;
        let Some((nonce, _)) = sealed.split_first_chunk::<NONCE_LEN>() else { return Err(StoreError::Sealed) };
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self.key(row.owner.organisation);
        let length = key.open_within(nonce, Aad::from(bound(row)), &mut sealed, NONCE_LEN..).map_err(foreign)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }

    fn key(&self, organisation: OrganisationId) -> LessSafeKey {
        let info = [organisation.as_bytes().as_slice()];
        let derived = self.root.expand(&info, &AES_256_GCM).expect("a key is shorter than 255 digests");
        LessSafeKey::new(UnboundKey::from(derived))
    }
}

/// What a seal vouches for besides the text. The only part without a fixed length stands last.
fn bound(row: &TurnRow) -> Vec<u8> {
    let mut bound = Vec::with_capacity(65 + row.name.len());
    bound.extend_from_slice(row.id.as_bytes());
    bound.extend_from_slice(row.owner.organisation.as_bytes());
    bound.extend_from_slice(row.owner.key.as_bytes());
    bound.push(u8::from(row.previous.is_some()));
    bound.extend_from_slice(row.previous.as_ref().map_or(&[0; 16], |previous| previous.as_bytes()));
    bound.extend_from_slice(row.name.as_bytes());
    bound
}

#[cfg(test)]
mod tests {
    use portcullis_core::{KeyId, RequestId};

    use super::super::TurnOwner;
    use super::*;

    fn row() -> TurnRow {
        let owner = TurnOwner { organisation: OrganisationId::DEFAULT, key: KeyId::from_bytes([7; 16]) };
        TurnRow {
            id: RequestId::from_bytes([1; 16]),
            owner,
            name: "resp_1".into(),
            previous: None,
            created_ms: 0,
            expires_ms: 0,
            content: Vec::new(),
        }
    }

    #[test]
    fn a_seal_opens_with_its_key_and_row_alone() {
        let seals = Seals::new(&[1; 32]);
        let sealed = seals.seal(&row(), b"what was said".to_vec());
        assert!(!sealed.windows(8).any(|window| window == b"what was"));
        assert_ne!(sealed, seals.seal(&row(), b"what was said".to_vec()), "no nonce twice");
        assert_eq!(Seals::new(&[1; 32]).open(&row(), sealed.clone()).unwrap(), b"what was said");
        assert!(Seals::new(&[2; 32]).open(&row(), sealed.clone()).is_err());
        let other = TurnOwner { organisation: OrganisationId::from_bytes([3; 16]), ..row().owner };
        for moved in [
            TurnRow { owner: TurnOwner { key: KeyId::from_bytes([8; 16]), ..row().owner }, ..row() },
            TurnRow { owner: other, ..row() },
            TurnRow { id: RequestId::from_bytes([2; 16]), ..row() },
            TurnRow { previous: Some(RequestId::from_bytes([0; 16])), ..row() },
            TurnRow { name: "resp_2".into(), ..row() },
        ] {
            assert!(seals.open(&moved, sealed.clone()).is_err(), "{moved:?}");
        }
        for end in 0..sealed.len() {
            assert!(seals.open(&row(), sealed[..end].to_vec()).is_err(), "{end}");
        }
    }
}
