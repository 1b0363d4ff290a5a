//! A whole answer, in the shape of the API's `Message`. Every member the SDKs' strict types demand is there, whoever answered.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use portcullis_anthropic_messages::block::CARRY;
use portcullis_anthropic_messages::{FORMAT, signature, stop, usage};

pub fn encode(context: &Context, reply: &Reply, response: Response) -> Json {
    let native = response.format == FORMAT;
    let choice = response.choices.into_iter().next();
    let (parts, finish) = choice.map_or_else(|| (Vec::new(), None), |choice| (choice.parts, choice.finish));

    let mut writer = Writer::with_capacity(1024);
    writer.begin_object();
    head(&mut writer, context, reply, &response.id, &response.model);
    writer.key("content");
    writer.begin_array();
    let mut called = false;
    for part in &parts {
        called |= matches!(part.content, Content::ToolCall(_));
        block(&mut writer, part, &response.format);
    }
    writer.end_array();
    writer.key("stop_reason");
    match &finish {
        Some(finish) => writer.string(stop::encode(finish, native, called)),
        None => writer.string(if called { "tool_use" } else { "end_turn" }),
    }
    stop_sequence(&mut writer, finish.as_ref());
    let extra = if native { &response.extra[..] } else { &[] };
    for field in extra.iter().filter(|field| !field.name.starts_with(usage::EXTRA) && !reply.replaces(&field.name)) {
        writer.member_raw(&field.name, &field.value);
    }
    usage::write(&mut writer, &response.usage.unwrap_or_default(), extra, |writer| reply.write_cost(writer));
    reply.write_account(&mut writer, extra);
    writer.end_object();
    writer.finish()
}

/// The members that a whole answer and the start of a stream share.
pub fn head(writer: &mut Writer, context: &Context, reply: &Reply, id: &str, model: &str) {
    writer.key("id");
    if id.is_empty() {
        writer.string(&format!("msg_{}", context.request_id));
    } else {
        writer.string(id);
    }
    writer.member_string("type", "message");
    writer.member_string("role", "assistant");
    writer.member_string("model", if model.is_empty() { &reply.requested_model } else { model });
}

pub fn stop_sequence(writer: &mut Writer, finish: Option<&Finish>) {
    writer.key("stop_sequence");
    match finish.and_then(|finish| finish.stop_sequence.as_deref()) {
        Some(sequence) => writer.string(sequence),
        None => writer.null(),
    }
}

/// One content block. `format` is the answer's: a raw item of another protocol, and media, which this protocol's answers do
/// not have, are left out, and so is empty text, which a client could not send back.
pub fn block(writer: &mut Writer, part: &Part, format: &str) {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => {
            if !text.is_empty() {
                writer.begin_object();
                writer.member_string("type", "text");
                writer.member_string("text", text);
                carried(writer, part);
                own(writer, part, format);
                writer.end_object();
            }
        }
        Content::Reasoning(reasoning) => {
            writer.begin_object();
            thinking(writer, reasoning);
            own(writer, part, format);
            writer.end_object();
        }
        Content::ToolCall(call) => {
            writer.begin_object();
            writer.member_string("type", "tool_use");
            writer.member_string("id", &call.id);
            writer.member_string("name", &call.name);
            input(writer, call);
            carried(writer, part);
            own(writer, part, format);
            writer.end_object();
        }
        Content::Other(item) if item.format == FORMAT => writer.raw(&item.value),
        Content::Other(_)
        | Content::Image(_)
        | Content::Audio(_)
        | Content::Video(_)
        | Content::Document(_)
        | Content::ToolResult(_) => {}
    }
}

/// The members of a thinking block.
fn thinking(writer: &mut Writer, reasoning: &Reasoning) {
    if let Some(data) = &reasoning.redacted {
        writer.member_string("type", "redacted_thinking");
        writer.member_string("data", &signature::wrap(&reasoning.format, data));
    } else {
        writer.member_string("type", "thinking");
        writer.member_string("thinking", &reasoning.text);
        let carried = reasoning.signature.as_deref().map(|own| signature::wrap(&reasoning.format, own));
        writer.member_string("signature", carried.as_deref().unwrap_or_default());
    }
}

/// A call's arguments as the object this protocol demands.
fn input(writer: &mut Writer, call: &ToolCall) {
    writer.key("input");
    if !call.custom && is_object(&call.arguments) {
        writer.raw(&call.arguments);
    } else if call.arguments.trim().is_empty() {
        writer.raw("{}");
    } else {
        // Free text, or JSON that broke off at the output limit: shown rather than lost.
        writer.begin_object();
        writer.member_string("input", &call.arguments);
        writer.end_object();
    }
}

/// Whether a text is one JSON object.
pub fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && json::is_valid(text)
}

/// What the API wants to see again.
fn carried(writer: &mut Writer, part: &Part) {
    for field in &part.carry {
        if let Some(name) = field.name.strip_prefix(CARRY) {
            writer.member_raw(name, &field.value);
        }
    }
}

fn own(writer: &mut Writer, part: &Part, format: &str) {
    if format == FORMAT {
        for field in &part.extra {
            writer.member_raw(&field.name, &field.value);
        }
    }
}
