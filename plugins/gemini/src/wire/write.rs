//! Parts of a content, written. What a request and an answer write alike.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use crate::{FORMAT, ids};

pub fn fields(writer: &mut Writer, fields: &[Field]) {
    for field in fields {
        writer.member_raw(&field.name, &field.value);
    }
}

/// The fields that [`super::part::nest`] put under an object's name.
pub fn nested(writer: &mut Writer, fields: &[Field], object: &str) {
    for field in fields {
        if let Some(name) = field.name.strip_prefix(object).and_then(|rest| rest.strip_prefix('.')) {
            writer.member_raw(name, &field.value);
        }
    }
}

/// The fields that are a part's own.
pub fn direct(writer: &mut Writer, fields: &[Field]) {
    for field in fields.iter().filter(|field| !field.name.contains('.')) {
        writer.member_raw(&field.name, &field.value);
    }
}

pub fn signature(writer: &mut Writer, signature: Option<&str>) {
    if let Some(signature) = signature {
        writer.member_string("thoughtSignature", signature);
    }
}

/// The members of a `functionCall`. An id that was made here is left out: the API would not know it.
pub fn call_members(writer: &mut Writer, id: Option<&str>, name: &str, arguments: Option<&str>) {
    if let Some(id) = id.filter(|id| !ids::is_derived(id)) {
        writer.member_string("id", id);
    }
    writer.member_string("name", name);
    writer.member_raw("args", arguments.unwrap_or("{}"));
}

/// A call's arguments as the object that the protocol demands; the flag says whether they had to be wrapped.
pub fn arguments(call: &ToolCall) -> (std::borrow::Cow<'_, str>, bool) {
    let text = call.arguments.trim();
    if text.is_empty() && !call.custom {
        ("{}".into(), false)
    } else if !call.custom && text.starts_with('{') && json::is_valid(text) {
        (text.into(), false)
    } else {
        // Free text, or JSON that broke off at the output limit: shown rather than lost.
        (format!(r#"{{"input":{}}}"#, json::quote(&call.arguments)).into(), true)
    }
}

/// A member `inlineData`.
pub fn blob(writer: &mut Writer, mime_type: Option<&str>, data: &str, name: Option<&str>, extra: &[Field]) {
    writer.key("inlineData");
    writer.begin_object();
    if let Some(mime_type) = mime_type {
        writer.member_string("mimeType", mime_type);
    }
    writer.member_string("data", data);
    if let Some(name) = name {
        writer.member_string("displayName", name);
    }
    fields(writer, extra);
    writer.end_object();
}

/// A member `fileData`.
pub fn file(writer: &mut Writer, mime_type: Option<&str>, uri: &str, name: Option<&str>, extra: &[Field]) {
    writer.key("fileData");
    writer.begin_object();
    if let Some(mime_type) = mime_type {
        writer.member_string("mimeType", mime_type);
    }
    writer.member_string("fileUri", uri);
    if let Some(name) = name {
        writer.member_string("displayName", name);
    }
    fields(writer, extra);
    writer.end_object();
}

/// `fields` of this object's name without it, for [`blob`] and [`file()`].
pub fn within(fields: &[Field], object: &str) -> Vec<Field> {
    let own = |field: &Field| Some(field.name.strip_prefix(object)?.strip_prefix('.')?.to_owned());
    fields.iter().filter_map(|field| Some(Field::new(own(field)?, &*field.value))).collect()
}

/// Writes `partMetadata` with what must return to another provider: see [`super::part::Foreign`].
pub fn foreign(writer: &mut Writer, reasoning: Option<&Reasoning>, preceding: bool, carry: &[Field]) {
    let carry: Vec<_> = carry.iter().filter(|field| !field.name.starts_with("gemini.")).collect();
    let reasoning = reasoning.filter(|reasoning| reasoning.format != FORMAT);
    if carry.is_empty() && reasoning.is_none() {
        return;
    }
    writer.key("partMetadata");
    writer.begin_object();
    writer.key("portcullis");
    writer.begin_object();
    if let Some(reasoning) = reasoning {
        writer.member_string("format", &reasoning.format);
        if let Some(signature) = &reasoning.signature {
            writer.member_string("signature", signature);
        }
        if let Some(redacted) = &reasoning.redacted {
            writer.member_string("redacted", redacted);
        }
        writer.member_bool("summary", reasoning.summary);
        if preceding {
            writer.member_bool("preceding", true);
        }
    }
    if !carry.is_empty() {
        writer.key("carry");
        writer.begin_object();
        for field in carry {
            writer.member_raw(&field.name, &field.value);
        }
        writer.end_object();
    }
    writer.end_object();
    writer.end_object();
}
