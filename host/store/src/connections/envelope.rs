//! A credential in its envelope: sealed with a data key that is its alone, which the master key wraps. To change the master key is to
//! wrap data keys anew; no credential is opened for it.

use portcullis_core::{ConnectionId, OrganisationId};

use crate::error::StoreError;
use crate::seal::{DataKey, MasterKey, Root};

/// Says what the keys are for; another version of the format gets another one.
const PURPOSE: &[u8] = b"portcullis connections 1";

/// The master key that wraps, and those that wrapped before it.
pub struct Keyring {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

/// As it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The name of the master key.
    pub master: String,
    pub data_key: Vec<u8>,
    pub credential: Vec<u8>,
}

/// What a seal vouches for besides: a row keeps its credential to itself, and its owner does.
fn bound(id: ConnectionId, organisation: Option<OrganisationId>) -> Vec<u8> {
    let mut bound = id.as_bytes().to_vec();
    bound.push(u8::from(organisation.is_some()));
    bound.extend_from_slice(organisation.as_ref().map_or(&[0; 16], |organisation| organisation.as_bytes()));
    bound
}

impl Keyring {
    pub fn new(current: MasterKey, previous: Vec<MasterKey>) -> Self {
        Keyring { current, previous }
    }

    /// Fetches the master key, or makes it, where that was not done before. It may touch the disk or run a command.
    ///
    /// # Errors
    /// [`StoreError::Path`] and [`StoreError::Key`] where it is not to be had.
    pub fn unlock(&self) -> Result<(), StoreError> {
        self.root().map(|_| ())
    }

    /// What the current master key is called.
    pub fn name(&self) -> Result<String, StoreError> {
        Ok(self.root()?.name())
    }

    pub(crate) fn seal(
        &self,
        id: ConnectionId,
        organisation: Option<OrganisationId>,
        credential: Vec<u8>,
    ) -> Result<Envelope, StoreError> {
        let (root, bound, key) = (self.root()?, bound(id, organisation), DataKey::generate());
        Ok(Envelope {
            master: root.name(),
            data_key: root.seal(id.as_bytes(), &bound, key.bytes().to_vec()),
            credential: key.seal(&bound, credential),
        })
    }

    /// # Errors
    /// [`StoreError::Sealed`] where none of the master keys wrapped it, or it is another row's.
    pub(crate) fn open(
        &self,
        id: ConnectionId,
        organisation: Option<OrganisationId>,
        envelope: &Envelope,
    ) -> Result<Vec<u8>, StoreError> {
        let bound = bound(id, organisation);
        self.data_key(id, &bound, envelope)?.open(&bound, envelope.credential.clone())
    }

    /// The envelope under the current master key; `None` where it is.
    pub(crate) fn rewrap(
        &self,
        id: ConnectionId,
        organisation: Option<OrganisationId>,
        envelope: &Envelope,
    ) -> Result<Option<Envelope>, StoreError> {
        let (root, bound) = (self.root()?, bound(id, organisation));
        let master = root.name();
        if envelope.master == master {
            return Ok(None);
        }
        let key = self.data_key(id, &bound, envelope)?;
        let data_key = root.seal(id.as_bytes(), &bound, key.bytes().to_vec());
        Ok(Some(Envelope { master, data_key, credential: envelope.credential.clone() }))
    }

    fn data_key(&self, id: ConnectionId, bound: &[u8], envelope: &Envelope) -> Result<DataKey, StoreError> {
        for master in std::iter::once(&self.current).chain(&self.previous) {
            let root = master.root(PURPOSE)?;
            if root.name() == envelope.master {
                return DataKey::of(&root.open(id.as_bytes(), bound, envelope.data_key.clone())?);
            }
        }
        Err(StoreError::Sealed)
    }

    fn root(&self) -> Result<&Root, StoreError> {
        self.current.root(PURPOSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(letter: &str) -> MasterKey {
        MasterKey::given(&letter.repeat(32)).unwrap()
    }

    #[test]
    fn a_rewrapped_credential_is_the_same_under_another_master() {
        let (id, own) = (ConnectionId::from_bytes([1; 16]), Some(OrganisationId::from_bytes([2; 16])));
        let old = Keyring::new(master("a"), Vec::new());
        let sealed = old.seal(id, own, b"sk-secret".to_vec()).unwrap();
        assert!(!sealed.credential.windows(6).any(|window| window == b"secret"));
        assert_eq!(old.rewrap(id, own, &sealed).unwrap(), None);

        let both = Keyring::new(master("b"), vec![master("a")]);
        assert_eq!(both.open(id, own, &sealed).unwrap(), b"sk-secret");
        let rewrapped = both.rewrap(id, own, &sealed).unwrap().unwrap();
        assert_eq!(rewrapped.credential, sealed.credential);
        assert_eq!(both.rewrap(id, own, &rewrapped).unwrap(), None);

        let new = Keyring::new(master("b"), Vec::new());
        assert_eq!(new.open(id, own, &rewrapped).unwrap(), b"sk-secret");
        assert!(matches!(new.open(id, own, &sealed), Err(StoreError::Sealed)));
        assert!(matches!(old.open(id, own, &rewrapped), Err(StoreError::Sealed)));
        assert!(matches!(new.rewrap(id, own, &sealed), Err(StoreError::Sealed)));
    }

    #[test]
    fn an_envelope_stays_with_its_row_and_owner() {
        let (id, own) = (ConnectionId::from_bytes([1; 16]), Some(OrganisationId::DEFAULT));
        let ring = Keyring::new(master("a"), Vec::new());
        let sealed = ring.seal(id, own, b"sk-secret".to_vec()).unwrap();
        assert!(ring.open(ConnectionId::from_bytes([3; 16]), own, &sealed).is_err());
        assert!(ring.open(id, None, &sealed).is_err());
        assert!(ring.open(id, Some(OrganisationId::from_bytes([4; 16])), &sealed).is_err());
        let foreign = Envelope { credential: ring.seal(id, own, b"x".to_vec()).unwrap().credential, ..sealed.clone() };
        assert!(ring.open(id, own, &foreign).is_err());
        let nameless = Envelope { master: "0".repeat(16), ..sealed };
        assert!(ring.open(id, own, &nameless).is_err());
    }
}
