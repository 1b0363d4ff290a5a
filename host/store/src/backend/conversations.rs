//! Turns of conversations.

use super::Answer;
use crate::conversations::{TurnOwner, TurnRow};

pub trait ConversationBackend: Send + Sync + 'static {
    /// Writes a turn; those before it live as long as it does at least.
    fn insert_turn<'a>(&'a self, turn: &'a TurnRow) -> Answer<'a, ()>;

    /// The turn of this name, which is the owner's and lives at `now_ms`; of several the newest.
    fn turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, Option<TurnRow>>;

    /// The turns that lead to the one of this name, with it, oldest first; where one of them is gone, those after it.
    /// [`crate::StoreError::TooLong`] where they hold more than `limit` bytes.
    fn turns<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64, limit: usize) -> Answer<'a, Vec<TurnRow>>;

    /// `false` where there is no such turn.
    fn delete_turn<'a>(&'a self, owner: TurnOwner, name: &'a str, now_ms: u64) -> Answer<'a, bool>;

    /// Deletes the turns that have expired, and returns how many those were.
    fn expire_turns(&self, now_ms: u64) -> Answer<'_, u64>;
}
