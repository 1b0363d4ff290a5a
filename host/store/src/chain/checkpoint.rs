//! Checkpoints: the heads of all chains, joined and signed; and anchors, which are what of a checkpoint is kept outside.

use serde::{Deserialize, Serialize};

use super::canonical::{self, Bytes, Hash, Pinned};
use super::key::{self, AuditKey, AuditKeySource, PublicKey};
use super::text;
use crate::error::StoreError;
use crate::store::Store;

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// From 1.
    pub number: i64,
    pub time_ms: i64,
    /// The hash of the checkpoint before; zeros for the first.
    pub previous: Hash,
    pub public_key: PublicKey,
    /// The key that signs from here on.
    pub next_key: Option<PublicKey>,
    /// The chains that went on since the checkpoint before, by name.
    pub heads: Vec<Pinned>,
    pub hash: Hash,
    pub signature: [u8; 64],
}

impl Checkpoint {
    fn sign(after: &Newest, time_ms: i64, heads: Vec<Pinned>, key: &AuditKey, next_key: Option<PublicKey>) -> Self {
        let mut made = Self {
            number: after.number + 1,
            time_ms,
            previous: after.hash,
            public_key: key.public(),
            next_key,
            heads,
            hash: [0; 32],
            signature: [0; 64],
        };
        made.hash = made.hashed();
        made.signature = key.sign(&made.hash);
        made
    }

    /// What its hash must be.
    pub(super) fn hashed(&self) -> Hash {
        Bytes::default()
            .checkpoint(&canonical::Checkpoint {
                number: self.number,
                time_ms: self.time_ms,
                previous: &self.previous,
                public_key: &self.public_key.0,
                next_key: self.next_key.as_ref().map(|key| &key.0),
                heads: &self.heads,
            })
            .hash()
    }

    /// Which key must sign what follows.
    pub fn signer_of_next(&self) -> PublicKey {
        self.next_key.unwrap_or(self.public_key)
    }

    pub fn anchor(&self) -> Anchor {
        Anchor {
            checkpoint: self.number,
            time_ms: self.time_ms,
            hash: self.hash,
            public_key: self.public_key,
            signature: self.signature,
        }
    }
}

/// The newest checkpoint, as the next one goes on from it.
#[derive(Clone, Copy, Debug)]
pub struct Newest {
    /// 0 where there is none.
    pub number: i64,
    pub hash: Hash,
    pub signer_of_next: Option<PublicKey>,
}

impl Newest {
    pub const NONE: Self = Self { number: 0, hash: [0; 32], signer_of_next: None };
}

/// What is kept of a checkpoint where nobody who has the database can change it. With the public key it proves all that was written until
/// then, and that nothing of it was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub checkpoint: i64,
    pub time_ms: i64,
    pub hash: Hash,
    pub public_key: PublicKey,
    pub signature: [u8; 64],
}

/// An anchor as JSON has it.
#[derive(Serialize, Deserialize)]
struct Shown {
    checkpoint: i64,
    time_ms: i64,
    hash: String,
    public_key: String,
    signature: String,
}

impl Anchor {
    /// Hexadecimal.
    pub fn hash_text(&self) -> String {
        text::hex(&self.hash)
    }

    /// Base64.
    pub fn signature_text(&self) -> String {
        text::base64(&self.signature)
    }

    /// One line of JSON, without the line's end.
    pub fn to_json(&self) -> String {
        let shown = Shown {
            checkpoint: self.checkpoint,
            time_ms: self.time_ms,
            hash: self.hash_text(),
            public_key: self.public_key.to_string(),
            signature: self.signature_text(),
        };
        serde_json::to_string(&shown).expect("an anchor is plain data")
    }

    /// Reads what [`to_json`](Self::to_json) wrote; `None` where it is something else, or is not signed by the key that it names.
    pub fn from_json(json: &str) -> Option<Self> {
        let shown: Shown = serde_json::from_str(json).ok()?;
        let anchor = Self {
            checkpoint: shown.checkpoint,
            time_ms: shown.time_ms,
            hash: text::bytes(&shown.hash)?,
            public_key: shown.public_key.parse().ok()?,
            signature: text::bytes(&shown.signature)?,
        };
        anchor.public_key.verifies(&anchor.hash, &anchor.signature).then_some(anchor)
    }
}

impl Store {
    /// Signs how far all chains go, where one went on since the newest checkpoint. `closing` is the epoch of a ledger that was closed: its
    /// chain ends here.
    ///
    /// # Errors
    /// [`StoreError::AuditKey`] where another key is to sign.
    pub async fn checkpoint(
        &self,
        key: &AuditKey,
        closing: Option<[u8; 16]>,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.sign(key, None, false, closing).await
    }

    /// As [`checkpoint`](Self::checkpoint), also where nothing happened, with a key that nobody handed over to: the one before is lost. Who
    /// verifies must be told both keys.
    pub async fn checkpoint_with_another_key(&self, key: &AuditKey) -> Result<Option<Checkpoint>, StoreError> {
        self.sign(key, None, true, None).await
    }

    /// Hands over from the key that signed so far to another, by a last checkpoint. `None` where that was done before.
    ///
    /// # Errors
    /// [`StoreError::AuditKey`] where `key` is not the one to sign.
    pub async fn hand_over(&self, key: &AuditKey, next: PublicKey) -> Result<Option<Checkpoint>, StoreError> {
        let newest = self.newest_checkpoint().await?;
        if newest.is_some_and(|newest| newest.signer_of_next() == next) {
            return Ok(None);
        }
        self.sign(key, Some(next), false, None).await
    }

    /// Puts a new key into the file that holds the one in use, and hands over to it.
    ///
    /// # Errors
    /// [`StoreError::AuditKey`] where the key is in no file, or is not the one to sign.
    pub async fn rotate_audit_key(&self, source: &AuditKeySource) -> Result<Checkpoint, StoreError> {
        let AuditKeySource::File(path) = source else {
            return Err(StoreError::AuditKey(
                "is not in a file: put the new one into `[audit] key` and the old one into `[audit] previous_key`"
                    .into(),
            ));
        };
        let key = source.fetch()?;
        let (path, store) = (path.clone(), self.clone());
        let runtime = tokio::runtime::Handle::current();
        #[expect(clippy::disallowed_methods, reason = "on a blocking thread, which serves no request")]
        let rotated = tokio::task::spawn_blocking(move || {
            key::replace(&path, |next| runtime.block_on(store.sign(&key, Some(next.public()), false, None)))
        });
        let checkpoint =
            rotated.await.map_err(|error| StoreError::AuditKey(format!("was not replaced: {error}")))??;
        Ok(checkpoint.expect("a hand-over is always written"))
    }

    /// Checkpoints without the heads that they join, the newest first: those before this number (`None`: from the newest on), at most
    /// so many.
    pub async fn checkpoints(&self, before: Option<i64>, limit: u32) -> Result<Vec<Checkpoint>, StoreError> {
        self.backend().checkpoints(before, limit).await
    }

    /// The newest checkpoint, without the heads it joins.
    pub async fn newest_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.backend().newest_checkpoint().await
    }

    async fn sign(
        &self,
        key: &AuditKey,
        next_key: Option<PublicKey>,
        any_key: bool,
        closing: Option<[u8; 16]>,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let time_ms = i64::try_from(self.clock().now_ms()).unwrap_or(i64::MAX);
        let make = |newest: &Newest, mut heads: Vec<Pinned>| {
            let signer = newest.signer_of_next.unwrap_or(key.public());
            let other = signer != key.public();
            if other && !any_key {
                return Err(StoreError::AuditKey(format!(
                    "is {}, but the newest checkpoint says that {signer} signs the next one",
                    key.public()
                )));
            }
            if heads.is_empty() && next_key.is_none() && !other {
                return Ok(None);
            }
            for head in &mut heads {
                head.closed = Some(head.chain) == closing;
            }
            Ok(Some(Checkpoint::sign(newest, time_ms, heads, key, next_key)))
        };
        self.backend().write_checkpoint(&make).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_one_line_and_reads_back_only_as_it_was_signed() {
        let key = AuditKeySource::Given("11".repeat(32)).fetch().unwrap();
        let heads = vec![Pinned { chain: [1; 16], seq: 3, hash: [2; 32], closed: true }];
        let checkpoint = Checkpoint::sign(&Newest::NONE, 5, heads, &key, None);
        let anchor = checkpoint.anchor();
        let json = anchor.to_json();
        assert!(!json.contains('\n'));
        assert_eq!(Anchor::from_json(&json), Some(anchor));
        let other = AuditKeySource::Given("12".repeat(32)).fetch().unwrap().public();
        assert_eq!(Anchor::from_json(&json.replace(&key.public().to_string(), &other.to_string())), None);
        assert_eq!(Anchor::from_json("{}"), None);
    }
}
