//! The seal on what was captured: under a key of its organisation, bound to everything else that the row says.

use super::CaptureRow;
use crate::error::StoreError;
use crate::seal::{MasterKey, Root};

/// Says what the keys are for; another version of the format gets another one.
const PURPOSE: &[u8] = b"portcullis captures 1";

/// The master key that the keys of organisations come of, and those before it, which open what was sealed then.
pub struct CaptureKeys {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

impl CaptureKeys {
    pub fn new(current: MasterKey, previous: Vec<MasterKey>) -> Self {
        Self { current, previous }
    }

    /// Fetches the master key, or makes it, where that was not done before. It may touch the disk or run a command.
    ///
    /// # Errors
    /// [`StoreError::Path`] and [`StoreError::Key`] where it is not to be had.
    pub fn unlock(&self) -> Result<(), StoreError> {
        self.root().map(|_| ())
    }

    /// What the current master key is called.
    pub(super) fn name(&self) -> Result<String, StoreError> {
        Ok(self.root()?.name())
    }

    /// `row` is all but its content.
    pub(super) fn seal(&self, row: &CaptureRow, plain: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        Ok(self.root()?.seal(row.organisation.as_bytes(), &bound(row), plain))
    }

    /// # Errors
    /// [`StoreError::Sealed`] where it was sealed with none of these keys, or for another row.
    pub(super) fn open(&self, row: &CaptureRow, sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        for master in std::iter::once(&self.current).chain(&self.previous) {
            let root = master.root(PURPOSE)?;
            if root.name() == row.master {
                return root.open(row.organisation.as_bytes(), &bound(row), sealed);
            }
        }
        Err(StoreError::Sealed)
    }

    fn root(&self) -> Result<&Root, StoreError> {
        self.current.root(PURPOSE)
    }
}

/// What a seal vouches for besides the content.
fn bound(row: &CaptureRow) -> Vec<u8> {
    [row.id.as_bytes(), row.organisation.as_bytes(), &row.expires_ms.to_be_bytes()[..]].concat()
}

#[cfg(test)]
mod tests {
    use portcullis_core::{OrganisationId, RequestId};

    use super::*;

    fn master(letter: &str) -> MasterKey {
        MasterKey::given(&letter.repeat(32)).unwrap()
    }

    #[test]
    fn a_seal_opens_with_its_key_and_row_alone() {
        let keys = CaptureKeys::new(master("a"), Vec::new());
        let row = CaptureRow {
            id: RequestId::from_bytes([1; 16]),
            organisation: OrganisationId::DEFAULT,
            expires_ms: 5,
            master: keys.name().unwrap(),
            content: Vec::new(),
        };
        let sealed = keys.seal(&row, b"what was said".to_vec()).unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"said"));
        assert_eq!(keys.open(&row, sealed.clone()).unwrap(), b"what was said");
        let later = CaptureKeys::new(master("b"), vec![master("a")]);
        assert_eq!(later.open(&row, sealed.clone()).unwrap(), b"what was said");
        assert!(CaptureKeys::new(master("b"), Vec::new()).open(&row, sealed.clone()).is_err());
        for moved in [
            CaptureRow { id: RequestId::from_bytes([2; 16]), ..row.clone() },
            CaptureRow { organisation: OrganisationId::from_bytes([3; 16]), ..row.clone() },
            CaptureRow { expires_ms: 6, ..row.clone() },
            CaptureRow { master: "0".repeat(16), ..row.clone() },
        ] {
            assert!(keys.open(&moved, sealed.clone()).is_err(), "{moved:?}");
        }
    }
}
