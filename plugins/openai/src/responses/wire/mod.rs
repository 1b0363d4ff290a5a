//! Responses as JSON: what both sides read and write. Owns field names and lenient shapes; knows nothing of who sent a document.

pub mod answer;
pub mod content;
pub mod item;
pub mod output;
pub mod proof;
pub mod request;
pub mod tools;
pub mod usage;

use portcullis_plugin::ir::{Field, Part};
use portcullis_plugin::json;
use serde_json::value::RawValue;

pub use crate::wire::reasoning::ITEM_ID;

/// The `carry` field that keeps an assistant message's `phase`, which later turns must repeat ("dropping it can degrade
/// performance").
pub const PHASE: &str = "openai.phase";

/// The `carry` field that keeps the namespace a called function was found in.
pub const NAMESPACE: &str = "openai.namespace";

/// The `carry` field that keeps who made a call: the model, or a program of its own.
pub const CALLER: &str = "openai.caller";

/// The `carry` field that keeps a text's annotations, a list.
pub const ANNOTATIONS: &str = "openai.annotations";

/// One annotation that a streamed text gained.
pub const ANNOTATION: &str = "openai.annotation";

/// The `carry` field that tells a raw item of the conversation from a raw piece of a message.
pub const RAW_ITEM: &str = "openai.item";

/// The `carry` field of streamed reasoning that is a summary, for which a part's start has no word.
pub const SUMMARY: &str = "openai.summary";

/// The prefix of a message item's own members in the `extra` of its first part.
pub const ITEM_MEMBER: &str = "item/";

pub fn raw(value: Box<RawValue>) -> String {
    Box::<str>::from(value).into()
}

/// A text kept in `carry`.
pub fn carried(part: &Part, name: &str) -> Option<String> {
    json::field(&part.carry, name)
}

/// JSON kept in `carry`.
pub fn carried_json<'a>(carry: &'a [Field], name: &str) -> Option<&'a str> {
    carry.iter().find(|field| field.name == name).map(|field| field.value.as_str())
}

/// A text as a `carry` field.
pub fn carry(name: &str, text: &str) -> Field {
    Field::new(name, json::quote(text))
}

/// Whether a member of an item says nothing: absent by another name, or finished, which every item of a conversation is.
pub fn is_idle(field: &Field) -> bool {
    field.value == "null" || (field.name == "status" && field.value == r#""completed""#)
}
