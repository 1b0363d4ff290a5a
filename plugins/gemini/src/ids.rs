//! Ids of function calls, which this protocol may leave out and every other needs.
//!
//! Invariant: an id depends on the conversation's seed and the call's place alone, so a repeated prefix decodes to the same ids;
//! and it is known as derived, so that it does not go out to an API that did not give it.

use portcullis_plugin::ir::Context;

/// Of this many bytes with the number behind it no id of Google's begins; in the alphabets of all protocols.
const MARK: &str = "gmcall_";

/// The id of a call in a request: `content` and `part` say where it stands.
pub fn in_request(context: &Context, content: usize, part: usize) -> String {
    derived(context, &format!("{content}/{part}"))
}

/// The id of a call in an answer: the answer's id tells turns of one conversation apart.
pub fn in_answer(context: &Context, answer: &str, choice: u32, call: u32) -> String {
    let answer = if answer.is_empty() { &context.request_id } else { answer };
    derived(context, &format!("{answer}/{choice}/{call}"))
}

/// Whether the id was made here.
pub fn is_derived(id: &str) -> bool {
    id.starts_with(MARK)
}

/// FNV-1a over 64 bits.
fn derived(context: &Context, place: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seeded = context.seed.to_le_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{MARK}{:016x}", place.bytes().fold(seeded, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn context(seed: u64) -> Context {
        Context { now: 0, seed, request_id: "req".to_owned(), development: false, extra: Vec::new() }
    }

    proptest! {
        #[test]
        fn places_and_conversations_stay_apart(seed: u64, other: u64, place in (0_usize..50, 0_usize..50), next in (0_usize..50, 0_usize..50)) {
            let id = in_request(&context(seed), place.0, place.1);
            prop_assert_eq!(&id, &in_request(&context(seed), place.0, place.1));
            prop_assert!(is_derived(&id));
            prop_assert_eq!(place == next, id == in_request(&context(seed), next.0, next.1));
            prop_assert_eq!(seed == other, id == in_request(&context(other), place.0, place.1));
        }
    }

    #[test]
    fn answers_of_one_conversation_stay_apart() {
        let context = context(7);
        assert_ne!(in_answer(&context, "a", 0, 0), in_answer(&context, "b", 0, 0));
        assert_ne!(in_answer(&context, "a", 0, 0), in_answer(&context, "a", 0, 1));
        assert_eq!(in_answer(&context, "", 0, 0), in_answer(&context, "req", 0, 0));
    }
}
