//! What a request used, each token counted once. Mirrors `usage` in `wit/chat.wit`.

use serde::{Deserialize, Serialize};

use crate::money::PicoUsd;

/// Counts of tokens and pieces. The whole input is `input` with the three cache counts; `output` is the whole output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input tokens neither read from nor written to a cache, audio included.
    pub input: u64,
    pub cache_read: u64,
    /// Written to a cache with the provider's shortest life (5 min).
    pub cache_write_short: u64,
    /// Written to a cache with a longer life (1 h).
    pub cache_write_long: u64,
    /// All output tokens, reasoning and audio included.
    pub output: u64,
    /// Of `output`.
    pub reasoning: u64,
    /// Of `input`.
    pub audio_input: u64,
    /// Of `output`, apart from `reasoning`.
    pub audio_output: u64,
    /// Images made, in pieces.
    pub images: u64,
    /// Searches run, in pieces.
    pub searches: u64,
    /// True when the provider sent none and this was counted from text.
    pub estimated: bool,
}

/// So many of a unit that [`Usage`] does not count: `audio-seconds`, `characters`, `pages`, …
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCount {
    pub unit: String,
    pub count: u64,
}

/// All that an answer tells of what is to be paid for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    pub usage: Usage,
    /// Each unit once.
    pub units: Vec<UnitCount>,
    /// What the rates go by beside the model; absent where it is as usual.
    pub service_tier: Option<String>,
    /// What the provider itself says it charges.
    pub stated: Option<PicoUsd>,
}

impl From<Usage> for Metered {
    fn from(usage: Usage) -> Self {
        Self { usage, ..Self::default() }
    }
}

impl Usage {
    /// The whole input, cached or not: what price tiers are chosen by. Saturates.
    pub const fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_short)
            .saturating_add(self.cache_write_long)
    }

    /// Input and output together. Saturates.
    pub const fn total(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }
}
