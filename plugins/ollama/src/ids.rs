//! Ids of tool calls, which this protocol does not have (its newer servers send some) and every other needs.
//!
//! Invariant: an id depends on the conversation's seed, the answer and the call's place alone, so an answer decodes to the same ids
//! however it arrives. None goes back: a result names its function, and stands where its call stood.

use portcullis_plugin::ir::Context;

const MARK: &str = "ollama_call_";

/// The id of an answer's call; the request's id tells turns of one conversation apart.
pub fn derived(context: &Context, call: u32) -> String {
    // FNV-1a over 64 bits.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seeded = context.seed.to_le_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, step);
    let answered = context.request_id.bytes().fold(seeded, step);
    format!("{MARK}{:016x}", call.to_le_bytes().into_iter().fold(answered, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn calls_answers_and_conversations_stay_apart(
            one in (any::<u64>(), "[a-z]{0,3}", 0u32..9),
            other in (any::<u64>(), "[a-z]{0,3}", 0u32..9),
        ) {
            let id = |(seed, request, call): &(u64, String, u32)| {
                let context =
                    Context { now: 0, seed: *seed, request_id: request.clone(), development: false, extra: Vec::new() };
                derived(&context, *call)
            };
            prop_assert_eq!(id(&one), id(&one.clone()));
            prop_assert_eq!(one == other, id(&one) == id(&other));
        }
    }
}
