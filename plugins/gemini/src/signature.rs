//! Thought signatures: which part of a message each belongs to, whatever protocol the message came through.
//!
//! The API signs any part: a call, a text, an empty text at a stream's end. A Gemini 3 model refuses a history whose calls of
//! the current turn lost theirs (<https://ai.google.dev/gemini-api/docs/thought-signatures>). In the IR a signature stands in the
//! part's `carry`, and, since few protocols return that, a second time in a *carrier*: a reasoning part of this format
//! without text, which every protocol that knows signed reasoning returns. Google's OpenAI-compatible endpoint has a third
//! place, `extra_content.google.thought_signature` of a tool call (<https://ai.google.dev/gemini-api/docs/openai>), which is read.
//!
//! Invariant: [`place`] loses no signature and gives none to two parts.

use portcullis_plugin::ir::{Content, Field, Part, Reasoning};
use portcullis_plugin::json;
use serde::Deserialize;

use crate::FORMAT;

/// The `carry` field of a signed part.
pub const CARRY: &str = "gemini.thought-signature";

/// What the documentation gives for calls that another model made: it stands for a signature and is not checked.
pub const UNCHECKED: &str = "skip_thought_signature_validator";

/// The `carry` field that Chat Completions returns as a reasoning detail's `id`: it names the call that a carrier signs, as
/// OpenRouter's details do.
const SIGNED_ID: &str = "openai.item-id";

/// A part's own signature.
pub fn of(part: &Part) -> Option<String> {
    let carried = json::field::<String>(&part.carry, CARRY);
    let compatible = || {
        #[derive(Deserialize)]
        struct Extra {
            google: Google,
        }
        #[derive(Deserialize)]
        struct Google {
            thought_signature: String,
        }
        let field = part.extra.iter().find(|field| field.name == "extra_content")?;
        json::from_str::<Extra>(&field.value).ok().map(|extra| extra.google.thought_signature)
    };
    carried.or_else(compatible).filter(|signature| !signature.is_empty())
}

pub fn field(signature: &str) -> Field {
    Field::new(CARRY, json::quote(signature))
}

/// The signature of a part, as a part of its own.
pub fn carrier(signature: &str, call: Option<&str>) -> Part {
    let reasoning = Reasoning {
        text: String::new(),
        summary: false,
        signature: Some(signature.to_owned()),
        redacted: None,
        format: FORMAT.to_owned(),
    };
    let carry = call.map(|id| Field::new(SIGNED_ID, json::quote(id))).into_iter().collect();
    Part { carry, ..Part::new(Content::Reasoning(reasoning)) }
}

/// The signature that a carrier carries.
pub fn carried(part: &Part) -> Option<&str> {
    match &part.content {
        Content::Reasoning(reasoning) if reasoning.format == FORMAT && reasoning.text.is_empty() => {
            reasoning.signature.as_deref().or(reasoning.redacted.as_deref()).filter(|signature| !signature.is_empty())
        }
        _ => None,
    }
}

/// Where the signatures of a message go.
#[derive(Debug, Default, PartialEq)]
pub struct Placed {
    /// For each part.
    pub parts: Vec<Option<String>>,
    /// Those whose part is not there any more.
    pub loose: Vec<String>,
}

/// Gives every signature of a message to its part. A carrier stands before the call or behind the text that it signs;
/// protocols that keep reasoning apart bring all carriers first, and then the last one is the first call's, since of
/// several calls the API signs the first. Where some say which call is theirs, the others are no call's.
pub fn place(parts: &[&Part]) -> Placed {
    let mut placed = Placed { parts: parts.iter().map(|part| of(part)).collect(), loose: Vec::new() };
    let mut waiting: Vec<(usize, &str)> = Vec::new();
    let mut named_calls = false;
    for (index, part) in parts.iter().enumerate() {
        let Some(signature) = carried(part) else { continue };
        if let Some(signed) = placed.parts.iter().position(|known| known.as_deref() == Some(signature)) {
            named_calls |= matches!(parts[signed].content, Content::ToolCall(_));
            continue;
        }
        let id = json::field::<String>(&part.carry, SIGNED_ID);
        let named = id.and_then(|id| {
            parts.iter().position(|part| matches!(&part.content, Content::ToolCall(call) if call.id == id))
        });
        match named {
            Some(call) if placed.parts[call].is_none() => {
                named_calls = true;
                placed.parts[call] = Some(signature.to_owned());
            }
            _ => waiting.push((index, signature)),
        }
    }
    let mut at = 0;
    while at < waiting.len() {
        // Carriers with nothing but reasoning between them.
        let mut end = at + 1;
        while end < waiting.len() && parts[waiting[end - 1].0..waiting[end].0].iter().all(|part| is_reasoning(part)) {
            end += 1;
        }
        let (first, last) = (waiting[at].0, waiting[end - 1].0);
        let limit = waiting.get(end).map_or(parts.len(), |(index, _)| *index);
        place_group(&mut placed, parts, &waiting[at..end], first, last + 1..limit, !named_calls);
        at = end;
    }
    placed
}

fn place_group(
    placed: &mut Placed,
    parts: &[&Part],
    group: &[(usize, &str)],
    first: usize,
    after: std::ops::Range<usize>,
    calls: bool,
) {
    let free = |placed: &Placed, index: &usize, call: bool| {
        placed.parts[*index].is_none()
            && !is_reasoning(parts[*index])
            && matches!(parts[*index].content, Content::ToolCall(_)) == call
    };
    let call = after.clone().find(|index| calls && free(placed, index, true));
    let texts = after.start..call.unwrap_or(after.end);
    for (rank, (_, signature)) in group.iter().rev().enumerate() {
        let target = match call {
            Some(call) if rank == 0 => Some(call),
            _ => texts
                .clone()
                .rev()
                .find(|index| free(placed, index, false))
                .or_else(|| (0..first).rev().find(|index| free(placed, index, false))),
        };
        match target {
            Some(target) => placed.parts[target] = Some((*signature).to_owned()),
            None => placed.loose.push((*signature).to_owned()),
        }
    }
}

fn is_reasoning(part: &Part) -> bool {
    matches!(part.content, Content::Reasoning(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_plugin::ir::ToolCall;
    use proptest::prelude::*;

    fn call(id: &str) -> Part {
        let call = ToolCall { id: id.to_owned(), name: "f".to_owned(), arguments: "{}".to_owned(), custom: false };
        Part::new(Content::ToolCall(call))
    }

    fn placed(parts: &[Part]) -> Vec<Option<String>> {
        let placed = place(&parts.iter().collect::<Vec<_>>());
        assert_eq!(placed.loose, Vec::<String>::new());
        placed.parts
    }

    fn signed(at: &[Option<&str>]) -> Vec<Option<String>> {
        at.iter().map(|signature| signature.map(str::to_owned)).collect()
    }

    #[test]
    fn a_carrier_signs_what_it_stands_beside() {
        let text = || Part::text("t");
        assert_eq!(placed(&[carrier("A", None), call("1"), call("2")]), signed(&[None, Some("A"), None]));
        assert_eq!(placed(&[text(), carrier("A", None)]), signed(&[Some("A"), None]));
        assert_eq!(
            placed(&[text(), carrier("A", None), carrier("B", None), call("1")]),
            signed(&[Some("A"), None, None, Some("B")])
        );
    }

    #[test]
    fn carriers_that_come_first_find_their_parts() {
        let text = || Part::text("t");
        assert_eq!(placed(&[carrier("A", None), text(), call("1"), call("2")]), signed(&[None, None, Some("A"), None]));
        assert_eq!(
            placed(&[carrier("A", None), carrier("B", None), text(), call("1")]),
            signed(&[None, None, Some("A"), Some("B")])
        );
        assert_eq!(
            placed(&[carrier("B", Some("2")), carrier("A", Some("1")), call("1"), call("2")]),
            signed(&[None, None, Some("A"), Some("B")])
        );
    }

    #[test]
    fn what_is_signed_already_is_not_signed_again() {
        let mut own = call("1");
        own.carry.push(field("A"));
        assert_eq!(placed(&[carrier("A", None), own, call("2")]), signed(&[None, Some("A"), None]));
        let mut compatible = call("1");
        compatible.extra.push(Field::new("extra_content", r#"{"google":{"thought_signature":"A"}}"#));
        assert_eq!(placed(&[compatible.clone()]), signed(&[Some("A")]));
        assert_eq!(
            placed(&[carrier("T", None), carrier("A", Some("1")), Part::text("t"), compatible, call("2")]),
            signed(&[None, None, Some("T"), Some("A"), None])
        );
        assert_eq!(place(&[&carrier("A", None)]).loose, ["A"]);
    }

    proptest! {
        #[test]
        fn no_signature_is_lost_and_none_is_given_twice(shape in prop::collection::vec(0_u8..4, 0..12)) {
            let parts: Vec<Part> = shape.iter().enumerate().map(|(index, kind)| match kind {
                0 => Part::text("t"),
                1 => call(&index.to_string()),
                2 => carrier(&index.to_string(), None),
                _ => carrier(&index.to_string(), Some("3")),
            }).collect();
            let placed = place(&parts.iter().collect::<Vec<_>>());
            let mut found: Vec<_> = placed.parts.into_iter().flatten().chain(placed.loose).collect();
            let mut expected: Vec<_> = parts.iter().filter_map(|part| carried(part).map(str::to_owned)).collect();
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
