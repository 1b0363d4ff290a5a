//! Usage between the contract's record and the ledger's, which hold the same numbers.

use portcullis_core::Usage;
use portcullis_runtime::contract::chat;

/// Every member, once: one that either side gains does not compile until it is here.
macro_rules! converted {
    ($usage:expr, $from:path => $to:path) => {{
        let $from {
            input,
            cache_read,
            cache_write_short,
            cache_write_long,
            output,
            reasoning,
            audio_input,
            audio_output,
            images,
            searches,
            estimated,
        } = *$usage;
        $to {
            input,
            cache_read,
            cache_write_short,
            cache_write_long,
            output,
            reasoning,
            audio_input,
            audio_output,
            images,
            searches,
            estimated,
        }
    }};
}

/// As the ledger has it.
pub(super) fn usage_of(usage: &chat::Usage) -> Usage {
    converted!(usage, chat::Usage => Usage)
}

/// As plugins are told.
pub(super) fn wire_usage(usage: &Usage) -> chat::Usage {
    converted!(usage, Usage => chat::Usage)
}
