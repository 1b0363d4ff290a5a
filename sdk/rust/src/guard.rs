//! Finds, replaces or blocks in the texts of requests and answers.
//!
//! The gateway cuts documents and streams into texts and splices replacements back. A text that is `open` may go on with the next
//! call: what might become a match is held back and shown again, whole, with what follows; the first `released` bytes have left
//! already and are there to be read only.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//!
//! /// Masks a project's code name.
//! struct CodeName;
//!
//! const NAME: &str = "bluebird";
//!
//! impl Plugin for CodeName {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         Manifest { access: Access::WRITE, ..Manifest::new("code-name", "1.0.0", "masks a code name") }
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> {
//!         Ok(CodeName)
//!     }
//! }
//!
//! impl Guard for CodeName {
//!     type State = ();
//!     fn inspect(&self, _: &Context, _: Direction, _: &mut (), texts: &[Text<'_>]) -> Result<Inspected, Failure> {
//!         let mut inspected = Inspected::clean();
//!         for (index, text) in (0..).zip(texts) {
//!             for (start, found) in text.content.match_indices(NAME) {
//!                 let mask = Replacement::Mask("[project]".to_owned());
//!                 inspected.findings.push(Finding::new(index, start..start + found.len(), "code-name", mask));
//!             }
//!             // The longest end of the text with which the name may begin.
//!             let held = (1..NAME.len()).rev().find(|&length| text.content.ends_with(&NAME[..length]));
//!             if let (true, Some(length)) = (text.open, held) {
//!                 inspected.holds.push(Hold { text: index, start: (text.content.len() - length) as u32 });
//!             }
//!         }
//!         Ok(inspected)
//!     }
//! }
//!
//! portcullis_plugin::export!(CodeName: guard);
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::guard::exports::portcullis::plugin::guard::{
    Direction, Finding, Guest, Hold, Inspection, PlaceKind, Replacement, Text as PackedText, Texts, Verdict,
};
use crate::ir::{Context, Failure};
use crate::{Exported, Instance, Plugin, state};

/// One text and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub kind: PlaceKind,
    /// A JSON pointer into the client's document; in streams, into the newest frame.
    pub at: &'a str,
    pub content: &'a str,
    /// Bytes at the start of `content` that were released before: to be read, not to be changed.
    pub released: u32,
    /// True where more of the same text may follow.
    pub open: bool,
}

/// The texts of the contract's record, which lie end to end.
///
/// # Panics
/// Where an end does not stand on a character's boundary of its string, in order: the host's fault.
pub fn texts(packed: &Texts) -> Vec<Text<'_>> {
    let (mut place, mut content) = (0, 0);
    let cut = |list: &PackedText| {
        let (place_end, content_end) = (list.place_end as usize, list.content_end as usize);
        let text = Text {
            kind: list.kind,
            at: &packed.places[place..place_end],
            content: &packed.contents[content..content_end],
            released: list.released,
            open: list.open,
        };
        (place, content) = (place_end, content_end);
        text
    };
    packed.list.iter().map(cut).collect()
}

/// Inspects texts. See `wit/guard.wit`.
pub trait Guard: Plugin {
    /// What the guard remembers within one answer. `()` for guards that judge each text by itself.
    type State: Serialize + DeserializeOwned + Default;

    /// For a request or a whole answer one call with all texts; for a stream a call for each batch of frames, with the state that
    /// the last one left.
    fn inspect(
        &self,
        context: &Context,
        direction: Direction,
        state: &mut Self::State,
        texts: &[Text<'_>],
    ) -> Result<Inspected, Failure>;
}

impl Finding {
    /// A finding at these bytes of the text of this index. Offsets that do not fit 32 bits cannot be in a text.
    pub fn new(text: u32, range: std::ops::Range<usize>, kind: &str, replacement: Replacement) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Finding { text, start: offset(range.start), end: offset(range.end), kind: kind.to_owned(), replacement }
    }
}

/// What a guard found; the contract's `inspection` without its state.
#[derive(Debug)]
pub struct Inspected {
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    pub holds: Vec<Hold>,
}

impl Inspected {
    /// Nothing found, nothing held.
    pub fn clean() -> Self {
        Inspected { verdict: Verdict::Pass, findings: Vec::new(), holds: Vec::new() }
    }
}

impl<P: Guard + Instance> Guest for Exported<P> {
    fn inspect(context: Context, direction: Direction, state: Vec<u8>, texts: Texts) -> Result<Inspection, Failure> {
        let mut state = state::restore::<P::State>(&state)?;
        let Inspected { verdict, findings, holds } =
            P::instance().inspect(&context, direction, &mut state, &self::texts(&texts))?;
        Ok(Inspection { verdict, findings, holds, state: state::save(&state)? })
    }
}
