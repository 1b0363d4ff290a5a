//! Conversations that go on by the name of an answer: each turn is kept, so that a later request need not repeat it.
//!
//! Invariant 9 of the design: what is kept is encrypted with a key that is not in the database ([`MasterKey`]), lives for a time
//! and can be deleted. Invariant 11: a turn answers only to the organisation and key that made it, and its seal says so too, so
//! that no change of the database moves it to another's. Whether an organisation opted in is the caller's to ask.

mod seal;

use std::ops::Range;
use std::sync::Arc;

use portcullis_core::{Clock, KeyId, OrganisationId, RequestId};
use serde::{Deserialize, Serialize};

use crate::backend::ConversationBackend;
use crate::error::StoreError;
use crate::seal::MasterKey;
use crate::store::Store;

/// Whose turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnOwner {
    pub organisation: OrganisationId,
    pub key: KeyId,
}

/// A turn as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRow {
    /// The request that made it.
    pub id: RequestId,
    pub owner: TurnOwner,
    /// The answer's id.
    pub name: String,
    /// The turn it goes on from.
    pub previous: Option<RequestId>,
    pub created_ms: u64,
    pub expires_ms: u64,
    /// Sealed.
    pub content: Vec<u8>,
}

/// What was said in a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The request's own items: raw JSON values, with commas between them.
    pub input: String,
    /// The answer's document.
    pub answer: String,
    /// The answer's items, as `input`, by their place in `answer`.
    pub output: Range<u32>,
}

impl Turn {
    /// The answer's items: raw JSON values, with commas between them.
    pub fn output(&self) -> &str {
        self.answer.get(self.output.start as usize..self.output.end as usize).unwrap_or_default()
    }
}

/// A conversation up to a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The turn that was named: what a next one goes on from.
    pub newest: RequestId,
    /// Oldest first.
    pub turns: Vec<Turn>,
}

/// A turn to be kept.
#[derive(Clone, Debug)]
pub struct NewTurn {
    pub id: RequestId,
    pub owner: TurnOwner,
    pub name: String,
    pub previous: Option<RequestId>,
    /// Milliseconds that it lives. The turns before it live as long at least.
    pub ttl_ms: u64,
    pub turn: Turn,
}

/// Kept conversations. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    backend: Arc<dyn ConversationBackend>,
    clock: Arc<dyn Clock>,
    master: Arc<MasterKey>,
}

impl Store {
    /// The conversations in this store, sealed by keys that come of `master`.
    pub fn conversations(&self, master: MasterKey) -> Conversations {
        Conversations { backend: self.backend().clone(), clock: self.shared_clock(), master: Arc::new(master) }
    }
}

impl Conversations {
    /// Fetches the master key, or makes it, where that was not done before. It may touch the disk.
    ///
    /// # Errors
    /// [`StoreError::Path`] where its file cannot be used, [`StoreError::Key`] where it holds no key.
    pub fn unlock(&self) -> Result<(), StoreError> {
        self.master.root(seal::PURPOSE).map(|_| ())
    }

    /// Keeps a turn, and the ones before it for as long.
    pub async fn keep(&self, new: NewTurn) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let plain = postcard::to_stdvec(&new.turn).expect("texts are plain data");
        let mut row = TurnRow {
            id: new.id,
            owner: new.owner,
            name: new.name,
            previous: new.previous,
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(new.ttl_ms),
            content: Vec::new(),
        };
        row.content = seal::seal(self.master.root(seal::PURPOSE)?, &row, plain);
        self.backend.insert_turn(&row).await
    }

    /// The conversation up to the answer of this name. `None` where the key has none of that name, it has expired, or a turn
    /// before it was deleted.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] where it is longer than `limit` bytes.
    pub async fn recall(&self, owner: TurnOwner, name: &str, limit: usize) -> Result<Option<Conversation>, StoreError> {
        let rows = self.backend.turns(owner, name, self.clock.now_ms(), limit).await?;
        let Some(newest) = rows.last().map(|row| row.id) else { return Ok(None) };
        if rows.first().is_some_and(|oldest| oldest.previous.is_some()) {
            return Ok(None);
        }
        let turns = rows.into_iter().map(|row| self.open(row)).collect::<Result<_, _>>()?;
        Ok(Some(Conversation { newest, turns }))
    }

    /// The answer of this name, as it was given.
    pub async fn answer(&self, owner: TurnOwner, name: &str) -> Result<Option<Turn>, StoreError> {
        let row = self.backend.turn(owner, name, self.clock.now_ms()).await?;
        row.map(|row| self.open(row)).transpose()
    }

    /// Deletes the turn of this name; false where there is none. What went on from it is not to be had any more.
    pub async fn forget(&self, owner: TurnOwner, name: &str) -> Result<bool, StoreError> {
        self.backend.delete_turn(owner, name, self.clock.now_ms()).await
    }

    /// Deletes what has expired, and says how much that was.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.backend.expire_turns(self.clock.now_ms()).await
    }

    fn open(&self, mut row: TurnRow) -> Result<Turn, StoreError> {
        let sealed = std::mem::take(&mut row.content);
        let plain = seal::open(self.master.root(seal::PURPOSE)?, &row, sealed)?;
        postcard::from_bytes(&plain).map_err(|_| StoreError::Corrupt { what: "conversation" })
    }
}
