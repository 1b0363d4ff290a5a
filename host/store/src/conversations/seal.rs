//! The seal on a turn: under a key of its organisation, bound to everything else the row says.

use super::TurnRow;
use crate::error::StoreError;
use crate::seal::Root;

/// Says what the keys are for; another version of the format gets another one.
pub(super) const PURPOSE: &[u8] = b"portcullis conversations 1";

/// `row` is all but its content.
pub(super) fn seal(root: &Root, row: &TurnRow, plain: Vec<u8>) -> Vec<u8> {
    root.seal(row.owner.organisation.as_bytes(), &bound(row), plain)
}

/// # Errors
/// It was sealed with another key, or for another row.
pub(super) fn open(root: &Root, row: &TurnRow, sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    root.open(row.owner.organisation.as_bytes(), &bound(row), sealed)
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
    use portcullis_core::{KeyId, OrganisationId, RequestId};

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
        let root = Root::new(PURPOSE, &[1; 32]);
        let sealed = seal(&root, &row(), b"what was said".to_vec());
        assert_eq!(open(&Root::new(PURPOSE, &[1; 32]), &row(), sealed.clone()).unwrap(), b"what was said");
        assert!(open(&Root::new(PURPOSE, &[2; 32]), &row(), sealed.clone()).is_err());
        let other = TurnOwner { organisation: OrganisationId::from_bytes([3; 16]), ..row().owner };
        for moved in [
            TurnRow { owner: TurnOwner { key: KeyId::from_bytes([8; 16]), ..row().owner }, ..row() },
            TurnRow { owner: other, ..row() },
            TurnRow { id: RequestId::from_bytes([2; 16]), ..row() },
            TurnRow { previous: Some(RequestId::from_bytes([0; 16])), ..row() },
            TurnRow { name: "resp_2".into(), ..row() },
        ] {
            assert!(open(&root, &moved, sealed.clone()).is_err(), "{moved:?}");
        }
    }
}
