//! Whole answers: `chat.completion`, in the shape the official clients' types demand.

use std::borrow::Cow;

use portcullis_plugin::ir::{Choice, Content, Context, Field, Response};
use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::Reply;

use super::finish_reason;
use crate::wire::message::{LEGACY_CALL, write_call, write_thought_signature};
use crate::wire::{FORMAT, is_nested, reasoning, usage, write_fields, write_nested};

/// The members an answer has of its own; an `extra` of that name would stand twice.
const OWN: &[&str] = &["id", "object", "created", "model", "choices", "usage"];

pub fn encode(context: &Context, reply: &Reply, response: &Response) -> String {
    let own = response.format == FORMAT;
    let mut writer = Writer::with_capacity(512 + response.choices.iter().map(size).sum::<usize>());
    writer.begin_object();
    writer.member_string("id", &answer_id(context, &response.id));
    writer.member_string("object", "chat.completion");
    writer.member_number("created", response.created.unwrap_or(context.now / 1000));
    writer.member_string("model", if response.model.is_empty() { &reply.requested_model } else { &response.model });
    writer.key("choices");
    writer.begin_array();
    for choice in &response.choices {
        write_choice(&mut writer, choice, own);
    }
    writer.end_array();
    if let Some(counted) = &response.usage {
        writer.key("usage");
        usage::write(&mut writer, counted, |writer| reply.write_cost(writer));
    }
    let extra = if own { &response.extra[..] } else { &[] };
    let written = |field: &&Field| !OWN.contains(&field.name.as_str()) && !reply.replaces(&field.name);
    write_fields(&mut writer, extra.iter().filter(written));
    reply.write_account_as_texts(&mut writer, extra);
    writer.end_object();
    writer.finish()
}

/// An answer always has an id.
pub fn answer_id<'a>(context: &Context, id: &'a str) -> Cow<'a, str> {
    if id.is_empty() { format!("chatcmpl-{}", context.request_id).into() } else { id.into() }
}

/// Roughly how many bytes a choice will take.
fn size(choice: &Choice) -> usize {
    let of = |content: &Content| match content {
        Content::Text(text) | Content::Refusal(text) => text.len(),
        Content::Reasoning(part) => part.text.len() * 2 + part.signature.as_deref().map_or(0, str::len),
        Content::ToolCall(call) => call.arguments.len() + 128,
        _ => 64,
    };
    choice.parts.iter().map(|part| of(&part.content)).sum()
}

fn write_choice(writer: &mut Writer, choice: &Choice, own: bool) {
    writer.begin_object();
    writer.member_number("index", choice.index);
    writer.key("message");
    writer.begin_object();
    writer.member_string("role", "assistant");
    let has_calls = write_message(writer, choice);
    if own {
        write_nested(writer, &choice.extra, "message/");
    }
    writer.end_object();
    writer.key("logprobs");
    // Another protocol's logprobs have another shape.
    match choice.logprobs.as_deref().filter(|_| own) {
        Some(logprobs) => writer.raw(logprobs),
        None => writer.null(),
    }
    let unsaid = if has_calls { "tool_calls" } else { "stop" };
    writer.member_string("finish_reason", choice.finish.as_ref().map_or(unsaid, |finish| finish_reason(finish, own)));
    if own {
        let direct = |field: &&Field| !is_nested(field);
        write_fields(writer, choice.extra.iter().filter(direct));
    }
    writer.end_object();
}

/// Writes the message's content, refusal, reasoning and calls; says whether there are calls.
fn write_message(writer: &mut Writer, choice: &Choice) -> bool {
    let contents = || choice.parts.iter().map(|part| &part.content);
    let calls = || {
        choice.parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some((part, call)),
            _ => None,
        })
    };
    let has_calls = calls().next().is_some();
    let has_text = contents().any(|content| matches!(content, Content::Text(_)));
    let has_refusal = contents().any(|content| matches!(content, Content::Refusal(_)));
    writer.key("content");
    if has_text || !(has_calls || has_refusal) {
        writer.string(&joined(contents(), |content| match content {
            Content::Text(text) => Some(text),
            _ => None,
        }));
    } else {
        writer.null();
    }
    writer.key("refusal");
    if has_refusal {
        writer.string(&joined(contents(), |content| match content {
            Content::Refusal(text) => Some(text),
            _ => None,
        }));
    } else {
        writer.null();
    }
    write_reasoning(writer, choice);
    let is_legacy = |carry: &[Field]| carry.iter().any(|field| field.name == LEGACY_CALL);
    if let Some((_, call)) = calls().find(|(part, _)| is_legacy(&part.carry)) {
        writer.key("function_call");
        writer.begin_object();
        writer.member_string("name", &call.name);
        writer.member_string("arguments", &call.arguments);
        writer.end_object();
    } else if has_calls {
        writer.key("tool_calls");
        writer.begin_array();
        for (part, call) in calls() {
            writer.begin_object();
            write_call(writer, &call.id, &call.name, &call.arguments, call.custom);
            write_thought_signature(writer, &part.carry);
            writer.end_object();
        }
        writer.end_array();
    }
    has_calls
}

fn write_reasoning(writer: &mut Writer, choice: &Choice) {
    let parts = || {
        choice.parts.iter().filter_map(|part| match &part.content {
            Content::Reasoning(reasoning) => Some((part, reasoning)),
            _ => None,
        })
    };
    if parts().any(|(_, reasoning)| !reasoning.text.is_empty()) {
        let text: String = parts().map(|(_, reasoning)| reasoning.text.as_str()).collect();
        writer.member_string("reasoning_content", &text);
    }
    // All or none: a detail left out would be a block missing from the conversation when it comes back.
    if parts().any(|(_, reasoning)| reasoning::needs_detail(reasoning)) {
        writer.key("reasoning_details");
        writer.begin_array();
        for (index, (part, part_reasoning)) in (0..).zip(parts()) {
            reasoning::write_detail(writer, index, part_reasoning, &part.carry);
        }
        writer.end_array();
    }
}

/// One after the other; mostly there is one.
fn joined<'a>(
    contents: impl Iterator<Item = &'a Content>,
    pick: impl Fn(&'a Content) -> Option<&'a String>,
) -> Cow<'a, str> {
    let mut texts = contents.filter_map(pick);
    let mut joined = Cow::Borrowed(texts.next().map_or("", String::as_str));
    texts.for_each(|text| joined += text.as_str());
    joined
}
