//! Chat Completions as JSON: what both sides of the plugin read and write. Owns field names and lenient shapes (a string or a
//! list, an object or a string); knows nothing of who sent a document. Whatever it does not model stays in `extra`.
//!
//! Source: the OpenAI API reference, "Chat", and the types of the official `openai` packages; the departures of compatible
//! servers are noted where they are read.

pub mod content;
pub mod error;
pub mod media;
pub mod message;
pub mod reasoning;
pub mod request;
pub mod usage;

use portcullis_plugin::ir::Field;
use portcullis_plugin::json::Writer;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub use message::Message;
use usage::WireUsage;

/// The name of this wire format in the contract.
pub const FORMAT: &str = "openai-chat";

portcullis_plugin::wire_object! {
    /// A whole answer (`chat.completion`) or one chunk of a stream (`chat.completion.chunk`).
    pub struct Completion {
        id: Option<String>,
        object: IgnoredAny,
        /// Seconds; some servers send a float.
        created: Option<f64>,
        model: Option<String>,
        choices: Option<Vec<WireChoice>>,
        usage: Option<WireUsage>,
        error: Option<Box<RawValue>>,
        /// Random padding against traffic analysis; worth nothing once decrypted.
        obfuscation: IgnoredAny,
        /// Mistral's (recordings).
        p: IgnoredAny,
    }

    pub struct WireChoice {
        index: Option<u32>,
        message: Option<Message>,
        delta: Option<Message>,
        finish_reason: Option<String>,
        logprobs: Option<Box<RawValue>>,
    }
}

/// Writes fields that are not modelled, as they came.
pub fn write_fields<'a>(writer: &mut Writer, fields: impl IntoIterator<Item = &'a Field>) {
    for field in fields {
        writer.member_raw(&field.name, &field.value);
    }
}

/// The prefixes that [`keep_nested`] is called with. A client's own field may have a slash in its name too.
const NESTED: &[&str] = &[
    "stream_options/",
    "response_format/json_schema/",
    "reasoning/",
    "tool/",
    "image_url/",
    "input_audio/",
    "file/",
    "message/",
];

/// Whether a field was a member of a nested object.
pub fn is_nested(field: &Field) -> bool {
    NESTED.iter().any(|prefix| field.name.starts_with(prefix))
}

/// Writes those fields whose name is `prefix` and something more, without the prefix: what `extra` keeps of a nested object.
pub fn write_nested(writer: &mut Writer, fields: &[Field], prefix: &str) {
    for field in fields {
        if let Some(name) = field.name.strip_prefix(prefix) {
            writer.member_raw(name, &field.value);
        }
    }
}

/// Moves the unknown members of a nested object into its parent's `extra`, under `prefix`.
pub fn keep_nested(into: &mut Vec<Field>, prefix: &str, members: Vec<Field>) {
    debug_assert!(NESTED.contains(&prefix));
    into.extend(members.into_iter().map(|member| Field::new(format!("{prefix}{}", member.name), member.value)));
}

/// A JSON object of a type tag and the members that were kept.
pub fn rebuild(kind: Option<&str>, text: Option<&str>, members: &[Field]) -> String {
    let mut writer = Writer::with_capacity(64);
    writer.begin_object();
    if let Some(kind) = kind {
        writer.member_string("type", kind);
    }
    if let Some(text) = text {
        writer.member_string("text", text);
    }
    write_fields(&mut writer, members);
    writer.end_object();
    writer.finish()
}
