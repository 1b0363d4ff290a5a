//! Reasoning on the wire. Chat Completions has no field for it; two conventions do:
//!
//! - `reasoning_content` (DeepSeek, vLLM and others; OpenRouter and Groq say `reasoning`): plain text beside `content`.
//! - `reasoning_details` (OpenRouter, "Reasoning Tokens"): a list of `{type: "reasoning.text", text, signature}`,
//!   `{type: "reasoning.summary", summary}` and `{type: "reasoning.encrypted", data}`, each with `format`, `index` and `id`. A
//!   client that returns the assistant message as it got it brings them back, and with them the proof of origin.
//!
//! This plugin writes the text as `reasoning_content` and, where there is something that must return unchanged, the details.
//! Both are read; where both stand, the details count and the plain text is their repetition. `reasoning.summary` may carry
//! a `signature` of ours: a summary and the encrypted thought behind it are one part of the internal representation.

use portcullis_plugin::ir::{Content, Field, Part, Reasoning};
use portcullis_plugin::json::{self, Writer};

use super::FORMAT;

portcullis_plugin::wire_object! {
    pub struct Detail {
        kind as "type": Option<String>,
        text: Option<String>,
        summary: Option<String>,
        data: Option<String>,
        signature: Option<String>,
        format: Option<String>,
        id: Option<String>,
        index: Option<u64>,
    }
}

/// The name of the `carry` field that keeps an item's id, as the Responses protocol wants it back.
pub const ITEM_ID: &str = "openai.item-id";

/// OpenRouter's names of formats, and the contract's.
const FORMATS: &[(&str, &str)] = &[
    ("anthropic-claude-v1", "anthropic-messages"),
    ("openai-responses-v1", "openai-responses"),
    ("google-gemini-v1", "gemini"),
];

/// The contract's name of a detail's format. Without one it is this wire format's own.
pub fn format_from_wire(format: Option<&str>) -> &str {
    let Some(format) = format else { return FORMAT };
    FORMATS.iter().find(|(wire, _)| *wire == format).map_or(format, |(_, name)| name)
}

/// A detail's name of a format.
pub fn format_to_wire(format: &str) -> &str {
    FORMATS.iter().find(|(_, name)| *name == format).map_or(format, |(wire, _)| wire)
}

/// Reasoning parts of a message: of its details, else of its plain text.
pub fn parts(plain: Option<String>, details: Vec<Detail>) -> Vec<Part> {
    let parts: Vec<Part> = details.into_iter().filter_map(into_part).collect();
    // Encrypted details can stand beside text that has no detail of its own.
    let covered = parts.iter().any(|part| matches!(&part.content, Content::Reasoning(own) if !own.text.is_empty()));
    let plain =
        plain.filter(|text| !text.is_empty() && !covered).map(|text| Part::new(Content::Reasoning(unsigned(text))));
    plain.into_iter().chain(parts).collect()
}

fn unsigned(text: String) -> Reasoning {
    Reasoning { text, summary: false, signature: None, redacted: None, format: FORMAT.to_owned() }
}

fn into_part(detail: Detail) -> Option<Part> {
    let format = format_from_wire(detail.format.as_deref()).to_owned();
    let signature = detail.signature.filter(|signature| !signature.is_empty());
    let reasoning = match detail.kind.as_deref()? {
        "reasoning.text" => {
            Reasoning { text: detail.text.unwrap_or_default(), summary: false, signature, redacted: None, format }
        }
        "reasoning.summary" => {
            Reasoning { text: detail.summary.unwrap_or_default(), summary: true, signature, redacted: None, format }
        }
        "reasoning.encrypted" => {
            Reasoning { text: String::new(), summary: false, signature, redacted: detail.data, format }
        }
        _ => return None,
    };
    let empty = reasoning.text.is_empty() && reasoning.signature.is_none() && reasoning.redacted.is_none();
    let carry = detail.id.map(|id| Field::new(ITEM_ID, json::quote(&id))).into_iter().collect();
    (!empty).then_some(Part { content: Content::Reasoning(reasoning), cache: None, carry, extra: detail.extra })
}

/// Whether a part holds what must return unchanged, and therefore needs a detail.
pub fn needs_detail(reasoning: &Reasoning) -> bool {
    reasoning.signature.is_some() || reasoning.redacted.is_some()
}

/// Writes a part as one entry of `reasoning_details`.
pub fn write_detail(writer: &mut Writer, index: u32, reasoning: &Reasoning, carry: &[Field]) {
    writer.begin_object();
    match (&reasoning.redacted, reasoning.summary) {
        (Some(data), _) => {
            writer.member_string("type", "reasoning.encrypted");
            writer.member_string("data", data);
        }
        (None, true) => {
            writer.member_string("type", "reasoning.summary");
            writer.member_string("summary", &reasoning.text);
        }
        (None, false) => {
            writer.member_string("type", "reasoning.text");
            writer.member_string("text", &reasoning.text);
        }
    }
    if let Some(signature) = &reasoning.signature {
        writer.member_string("signature", signature);
    }
    if let Some(id) = carry.iter().find(|field| field.name == ITEM_ID) {
        writer.member_raw("id", &id.value);
    }
    if reasoning.format != FORMAT {
        writer.member_string("format", format_to_wire(&reasoning.format));
    }
    writer.member_number("index", index);
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_text_beside_its_detail_counts_once() {
        let detail = Detail { kind: Some("reasoning.text".into()), text: Some("a".into()), ..Detail::default() };
        assert_eq!(parts(Some("a".into()), vec![detail]).len(), 1);
        let detail = Detail { kind: Some("reasoning.encrypted".into()), data: Some("x".into()), ..Detail::default() };
        assert_eq!(parts(Some("a".into()), vec![detail]).len(), 2);
    }

    proptest! {
        #[test]
        fn what_must_return_returns(
            text in any::<String>(), summary in any::<bool>(), signature in proptest::option::of("[A-Za-z0-9+/=]{1,40}"),
            redacted in proptest::option::of("[A-Za-z0-9]{1,40}"), id in proptest::option::of(any::<String>()),
            format in prop_oneof![Just("anthropic-messages"), Just("openai-responses"), Just("gemini"), Just("x"), Just(FORMAT)],
        ) {
            let (text, summary) = if redacted.is_some() { (String::new(), false) } else { (text, summary) };
            let reasoning = Reasoning { text, summary, signature, redacted, format: format.to_owned() };
            prop_assume!(needs_detail(&reasoning));
            let carry: Vec<Field> = id.map(|id| Field::new(ITEM_ID, json::quote(&id))).into_iter().collect();
            let mut writer = Writer::new();
            write_detail(&mut writer, 3, &reasoning, &carry);
            let detail: Detail = serde_json::from_str(&writer.finish()).unwrap();
            let back = parts(None, vec![detail]);
            prop_assert_eq!(back.len(), 1);
            prop_assert_eq!(&back[0].content, &Content::Reasoning(reasoning));
            prop_assert_eq!(&back[0].carry, &carry);
        }
    }
}
