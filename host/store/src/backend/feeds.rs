//! What goes outside piece by piece, and what of the ledger goes out with it.

use super::Answer;
use crate::budgets::LedgerEntry;
use crate::feeds::{EntryPlace, EntrySpan, Feed, Holder};

pub trait FeedBackend: Send + Sync + 'static {
    /// All that ever began, by name.
    fn feeds(&self) -> Answer<'_, Vec<Feed>>;

    fn feed<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Feed>>;

    /// Begins one at `position`, where there is none of the name.
    fn begin_feed<'a>(&'a self, name: &'a str, position: u64) -> Answer<'a, ()>;

    /// Takes one in hand until `until_ms`, so that nobody else does meanwhile. `None` where it is in another's hand, or not due by
    /// `due_ms`.
    fn take_feed<'a>(
        &'a self,
        name: &'a str,
        holder: Holder,
        now_ms: u64,
        due_ms: u64,
        until_ms: u64,
    ) -> Answer<'a, Option<Feed>>;

    /// Keeps it in hand for longer. `false` where another has it meanwhile.
    fn hold_feed<'a>(&'a self, name: &'a str, holder: Holder, until_ms: u64) -> Answer<'a, bool>;

    /// `pieces` more went out, and it is at the second end of its `way` now. `false` where it is in another's hand or not at the first any more: somebody else
    /// took it on, and nothing is written.
    fn advance_feed<'a>(
        &'a self,
        name: &'a str,
        holder: Holder,
        way: (u64, u64),
        pieces: u64,
        now_ms: u64,
    ) -> Answer<'a, bool>;

    /// It failed, and is tried again at `due_ms`, by whoever comes first.
    fn fail_feed<'a>(&'a self, name: &'a str, holder: Holder, error: &'a str, due_ms: u64) -> Answer<'a, bool>;

    /// Gives it back.
    fn release_feed<'a>(&'a self, name: &'a str, holder: Holder) -> Answer<'a, ()>;

    /// Ends of reservations whose requests came within the span, in the order of their places, those behind `after`.
    fn entries_from<'a>(
        &'a self,
        span: &'a EntrySpan,
        after: Option<EntryPlace>,
        limit: u32,
    ) -> Answer<'a, Vec<LedgerEntry>>;

    /// What was decided within the span about entries in quarantine.
    fn decisions<'a>(&'a self, span: &'a EntrySpan) -> Answer<'a, Vec<LedgerEntry>>;
}
