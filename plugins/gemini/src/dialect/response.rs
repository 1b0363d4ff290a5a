//! A whole answer, in the shape of the API's `GenerateContentResponse`.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use crate::signature::{self, Placed};
use crate::wire::write;
use crate::{FORMAT, finish, usage};

/// Whether answers of this route, errors among them, are arrays of one: a stream without `alt=sse` is an array.
pub fn is_array(route: &str) -> bool {
    route.ends_with("-array")
}

pub fn encode(context: &Context, reply: &Reply, response: &Response) -> Json {
    let answer = object(context, reply, response);
    if is_array(&reply.route) { format!("[{answer}]") } else { answer }
}

fn object(context: &Context, reply: &Reply, response: &Response) -> Json {
    let native = response.format == FORMAT;
    let extra = if native { &response.extra[..] } else { &[] };
    let mut writer = Writer::with_capacity(512);
    writer.begin_object();
    let blocked = native && extra.iter().any(|field| field.name == "promptFeedback");
    // An answer to a blocked prompt has no candidates.
    let choices = response.choices.iter().filter(|choice| !(blocked && choice.parts.is_empty()));
    let mut choices = choices.peekable();
    if choices.peek().is_some() {
        writer.key("candidates");
        writer.begin_array();
        for choice in choices {
            candidate(&mut writer, choice, native);
        }
        writer.end_array();
    }
    let own = extra.iter().find(|field| field.name == usage::EXTRA).map(|field| &*field.value);
    usage::write(&mut writer, response.usage.as_ref(), own, reply);
    head(&mut writer, context, reply, &response.id, &response.model);
    for field in extra.iter().filter(|field| field.name != usage::EXTRA && !reply.replaces(&field.name)) {
        writer.member_raw(&field.name, &field.value);
    }
    reply.write_account(&mut writer, extra);
    writer.end_object();
    writer.finish()
}

/// The members that answers and chunks share.
pub fn head(writer: &mut Writer, context: &Context, reply: &Reply, id: &str, model: &str) {
    writer.member_string("modelVersion", if model.is_empty() { &reply.requested_model } else { model });
    writer.member_string("responseId", if id.is_empty() { &context.request_id } else { id });
}

fn candidate(writer: &mut Writer, choice: &Choice, native: bool) {
    writer.begin_object();
    writer.key("content");
    writer.begin_object();
    let parts: Vec<&Part> = choice.parts.iter().collect();
    let placed = signatures(&parts, native);
    let mut written = Writer::new();
    written.begin_array();
    for (part, own) in parts.iter().zip(&placed.parts) {
        self::part(&mut written, part, own.as_deref());
    }
    for own in &placed.loose {
        written.begin_object();
        written.member_string("text", "");
        write::signature(&mut written, Some(own));
        written.end_object();
    }
    written.end_array();
    let written = written.finish();
    if written != "[]" {
        writer.member_raw("parts", &written);
    }
    writer.member_string("role", "model");
    writer.end_object();
    writer.member_string("finishReason", finish::encode(choice.finish.as_ref(), native));
    writer.member_number("index", choice.index);
    if native {
        if let Some(logprobs) = &choice.logprobs {
            writer.member_raw("logprobsResult", logprobs);
        }
        write::fields(writer, &choice.extra);
    }
    writer.end_object();
}

/// Whose calls no one signed get what a Gemini model takes for a signature, should the conversation go on with one.
fn signatures(parts: &[&Part], native: bool) -> Placed {
    let mut placed = signature::place(parts);
    if !native
        && let Some(first) = parts.iter().position(|part| matches!(part.content, Content::ToolCall(_)))
        && placed.parts[first].is_none()
    {
        placed.parts[first] = Some(signature::UNCHECKED.to_owned());
    }
    placed
}

/// One part. A raw item of another protocol is left out, and so is what this protocol's answers do not have.
pub fn part(writer: &mut Writer, part: &Part, own: Option<&str>) {
    if signature::carried(part).is_some() {
        return;
    }
    let mut reasoning = None;
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => {
            if text.is_empty() && own.is_none() {
                return;
            }
            writer.begin_object();
            writer.member_string("text", text);
        }
        Content::Reasoning(thought) => {
            reasoning = Some(thought);
            writer.begin_object();
            writer.member_string("text", &thought.text);
            writer.member_bool("thought", true);
            if thought.format == FORMAT {
                write::signature(writer, thought.signature.as_deref());
            }
        }
        Content::ToolCall(call) => {
            writer.begin_object();
            writer.key("functionCall");
            writer.begin_object();
            write::call_members(writer, Some(&call.id), &call.name, Some(&write::arguments(call).0));
            writer.end_object();
        }
        Content::Image(media) | Content::Audio(media) | Content::Video(media) | Content::Document(media) => {
            let (mime_type, name) = (media.media_type.as_deref(), media.name.as_deref());
            writer.begin_object();
            match &media.source {
                Source::Base64(data) => {
                    write::blob(writer, mime_type, data, name, &write::within(&part.extra, "inlineData"))
                }
                Source::Url(uri) | Source::File(uri) => {
                    write::file(writer, mime_type, uri, name, &write::within(&part.extra, "fileData"))
                }
                Source::Text(text) => writer.member_string("text", text),
            }
        }
        Content::Other(item) if item.format == FORMAT => {
            writer.raw(&item.value);
            return;
        }
        Content::Other(_) | Content::ToolResult(_) => return,
    }
    if reasoning.is_none() {
        write::signature(writer, own);
    }
    write::foreign(writer, reasoning, false, &part.carry);
    write::direct(writer, &part.extra);
    writer.end_object();
}
