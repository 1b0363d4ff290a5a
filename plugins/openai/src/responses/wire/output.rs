//! Items as JSON: what requests and answers write alike.

use portcullis_plugin::ir::{Field, ToolCall};
use portcullis_plugin::json::Writer;

use super::{ANNOTATIONS, CALLER, NAMESPACE, carried_json};
use crate::wire::write_fields;

/// A text of the assistant's. `annotations` must be there for the official types.
pub fn write_text(writer: &mut Writer, text: &str, annotations: Option<&str>, extra: &[Field]) {
    writer.begin_object();
    writer.member_string("type", "output_text");
    writer.member_string("text", text);
    writer.member_raw("annotations", annotations.unwrap_or("[]"));
    write_fields(writer, members(extra));
    writer.end_object();
}

/// A part of a message: its text, or its refusal.
pub fn write_spoken(writer: &mut Writer, text: &str, refusal: bool, carry: &[Field], extra: &[Field]) {
    if !refusal {
        return write_text(writer, text, carried_json(carry, ANNOTATIONS), extra);
    }
    writer.begin_object();
    writer.member_string("type", "refusal");
    writer.member_string("refusal", text);
    write_fields(writer, members(extra));
    writer.end_object();
}

/// A part's own members, without those of the item that it begins.
fn members(extra: &[Field]) -> impl Iterator<Item = &Field> {
    extra.iter().filter(|field| !field.name.starts_with(super::ITEM_MEMBER))
}

/// A call of a function or a custom tool.
pub struct CallItem<'a> {
    pub id: Option<&'a str>,
    pub call_id: &'a str,
    pub name: &'a str,
    pub arguments: &'a str,
    pub custom: bool,
    pub status: Option<&'a str>,
    pub carry: &'a [Field],
    pub extra: &'a [Field],
}

impl<'a> CallItem<'a> {
    pub fn of(call: &'a ToolCall) -> Self {
        CallItem {
            id: None,
            call_id: &call.id,
            name: &call.name,
            arguments: &call.arguments,
            custom: call.custom,
            status: None,
            carry: &[],
            extra: &[],
        }
    }

    pub fn write(&self, writer: &mut Writer) {
        let (kind, text) = if self.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        writer.begin_object();
        writer.member_string("type", kind);
        if let Some(id) = self.id {
            writer.member_string("id", id);
        }
        writer.member_string("call_id", self.call_id);
        writer.member_string("name", self.name);
        writer.member_string(text, self.arguments);
        for (name, key) in [("namespace", NAMESPACE), ("caller", CALLER)] {
            if let Some(value) = carried_json(self.carry, key) {
                writer.member_raw(name, value);
            }
        }
        // A custom tool's call has no status.
        if let Some(status) = self.status.filter(|_| !self.custom) {
            writer.member_string("status", status);
        }
        write_fields(writer, self.extra);
        writer.end_object();
    }
}

/// A reasoning item.
#[derive(Default)]
pub struct Thought<'a> {
    pub id: &'a str,
    pub summary: Vec<&'a str>,
    pub content: Vec<&'a str>,
    pub encrypted: Option<&'a str>,
    /// Another provider's format: this item is not OpenAI's.
    pub format: Option<&'a str>,
    pub extra: &'a [Field],
}

impl Thought<'_> {
    pub fn write(&self, writer: &mut Writer) {
        let list = |writer: &mut Writer, kind: &str, texts: &[&str]| {
            writer.begin_array();
            for text in texts {
                writer.begin_object();
                writer.member_string("type", kind);
                writer.member_string("text", text);
                writer.end_object();
            }
            writer.end_array();
        };
        writer.begin_object();
        writer.member_string("type", "reasoning");
        writer.member_string("id", self.id);
        writer.key("summary");
        list(writer, "summary_text", &self.summary);
        if !self.content.is_empty() {
            writer.key("content");
            list(writer, "reasoning_text", &self.content);
        }
        if let Some(encrypted) = self.encrypted {
            writer.member_string("encrypted_content", encrypted);
        }
        if let Some(format) = self.format {
            writer.member_string("format", format);
        }
        write_fields(writer, self.extra);
        writer.end_object();
    }
}
