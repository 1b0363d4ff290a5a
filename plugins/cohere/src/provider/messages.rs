//! The conversation.
//!
//! "system turn must be the first in the list" (<https://docs.cohere.com/errors-reference>): there is one, of all system text at the
//! start; what comes later is the user's. Of a turn with tool calls Cohere takes no text ("text content is not allowed when
//! tool_calls are provided": vercel/ai issue 5794): it is the plan of the calls. Results are messages of their own, before what the user
//! said with them. A message that is empty is left out.

use std::borrow::Cow;

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use super::content::{self, Block};
use crate::{CITATIONS, FORMAT, TOOL_PLAN};
use portcullis_plugin::notes::Notes;

/// Writes `messages`. `thinks` says whether the model will be thinking, and so takes thoughts.
pub fn write(writer: &mut Writer, request: &Request, thinks: bool, notes: &mut Notes) -> Result<(), Failure> {
    let is_system = |message: &Message| matches!(message.role, Role::System | Role::Developer);
    let start = request.messages.iter().position(|message| !is_system(message));
    // A system prompt alone is no conversation: it becomes the user's.
    let (system, turns) = request.messages.split_at(start.unwrap_or(0));
    writer.key("messages");
    writer.begin_array();
    let mut blocks = Vec::new();
    for part in system.iter().flat_map(|message| &message.parts) {
        match &part.content {
            Content::Text(_) => blocks.extend(content::user(part, notes)),
            other => notes.dropped(&format!("messages.{}", content::kind(other))),
        }
    }
    let mut count = usize::from(message(writer, "system", &blocks));
    for turn in turns {
        if is_system(turn) {
            notes.approximated("messages.system");
        }
        count += match turn.role {
            Role::Assistant => usize::from(assistant(writer, turn, thinks, notes)?),
            _ => user(writer, turn, notes)?,
        };
    }
    writer.end_array();
    for message in &request.messages {
        if message.name.is_some() {
            notes.dropped("messages.name");
        }
        for field in message.extra.iter().filter(|field| field.value != "null") {
            notes.dropped(&format!("messages.{}", field.name));
        }
    }
    if count == 0 {
        return Err(Failure::invalid("messages", "messages: at least one message with content is required"));
    }
    Ok(())
}

fn message(writer: &mut Writer, role: &str, blocks: &[Block<'_>]) -> bool {
    if blocks.is_empty() {
        return false;
    }
    writer.begin_object();
    writer.member_string("role", role);
    content::write(writer, blocks);
    writer.end_object();
    true
}

fn user(writer: &mut Writer, turn: &Message, notes: &mut Notes) -> Result<usize, Failure> {
    let (mut count, mut blocks) = (0, Vec::new());
    for part in &turn.parts {
        match &part.content {
            Content::ToolResult(result) => {
                content::tool_result(writer, result, notes);
                content::left_over(part, notes);
                count += 1;
            }
            Content::ToolCall(_) => return Err(misplaced()),
            _ => blocks.extend(content::user(part, notes)),
        }
    }
    Ok(count + usize::from(message(writer, "user", &blocks)))
}

fn misplaced() -> Failure {
    Failure::invalid("messages", "messages: tool calls are the assistant's and their results the user's or the tool's")
}

/// The assistant's message as it is put together.
#[derive(Default)]
struct Said<'a> {
    blocks: Vec<Block<'a>>,
    /// Only where there are calls.
    plan: String,
    calls: Vec<&'a ToolCall>,
    /// Each with the place of its text.
    citations: Vec<(usize, Box<RawValue>)>,
}

fn assistant(writer: &mut Writer, turn: &Message, thinks: bool, notes: &mut Notes) -> Result<bool, Failure> {
    let calling = turn.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let mut said = Said::default();
    for part in &turn.parts {
        said.take(part, calling, thinks, notes)?;
    }
    Ok(said.write(writer, notes))
}

impl<'a> Said<'a> {
    fn take(&mut self, part: &'a Part, calling: bool, thinks: bool, notes: &mut Notes) -> Result<(), Failure> {
        match &part.content {
            Content::ToolCall(call) => self.calls.push(call),
            Content::ToolResult(_) => return Err(misplaced()),
            Content::Text(text) | Content::Refusal(text) => {
                if text.is_empty() {
                    return Ok(());
                }
                // A stream's come in several fields.
                let mut cited = part.carry.iter().filter(|field| field.name == CITATIONS);
                if calling {
                    notes.approximated("messages.text");
                    if cited.next().is_some() {
                        notes.dropped(CITATIONS);
                    }
                    self.add_plan(text);
                } else {
                    let at = self.blocks.len();
                    let lists = cited.filter_map(|field| json::from_str::<Vec<Box<RawValue>>>(&field.value).ok());
                    self.citations.extend(lists.flatten().map(|raw| (at, raw)));
                    self.blocks.push(Block::Text(Cow::Borrowed(text)));
                }
            }
            Content::Reasoning(reasoning) => self.thought(part, reasoning, calling, thinks, notes),
            Content::Other(item) if item.format == FORMAT => self.blocks.push(Block::Raw(item.value.clone())),
            other => {
                notes.dropped(&format!("messages.{}", content::kind(other)));
                return Ok(());
            }
        }
        content::left_over(part, notes);
        Ok(())
    }

    /// Cohere signs nothing and takes anyone's thoughts (recordings), but not the signed ones of others, which may not be read apart
    /// from their signature.
    fn thought(&mut self, part: &Part, reasoning: &Reasoning, calling: bool, thinks: bool, notes: &mut Notes) {
        let planned = part.carry.iter().any(|field| field.name == TOOL_PLAN);
        if reasoning.signature.is_some() || reasoning.redacted.is_some() {
            notes.add("signature-dropped", "reasoning");
        } else if reasoning.text.is_empty() {
        } else if calling && (planned || !thinks) {
            self.add_plan(&reasoning.text);
        } else if thinks {
            let text = json::quote(&reasoning.text);
            self.blocks.push(Block::Raw(format!(r#"{{"type":"thinking","thinking":{text}}}"#)));
        } else {
            notes.dropped("reasoning");
        }
    }

    fn add_plan(&mut self, text: &str) {
        if !self.plan.is_empty() {
            self.plan.push_str("\n\n");
        }
        self.plan.push_str(text);
    }

    fn write(self, writer: &mut Writer, notes: &mut Notes) -> bool {
        if self.blocks.is_empty() && self.calls.is_empty() {
            return false;
        }
        writer.begin_object();
        writer.member_string("role", "assistant");
        if !self.plan.is_empty() {
            writer.member_string("tool_plan", &self.plan);
        }
        if !self.blocks.is_empty() {
            content::write(writer, &self.blocks);
        }
        if !self.calls.is_empty() {
            writer.key("tool_calls");
            writer.begin_array();
            for call in self.calls {
                tool_call(writer, call, notes);
            }
            writer.end_array();
        }
        if !self.citations.is_empty() {
            writer.key("citations");
            writer.begin_array();
            for (at, raw) in self.citations {
                citation(writer, at, &raw);
            }
            writer.end_array();
        }
        writer.end_object();
        true
    }
}

fn tool_call(writer: &mut Writer, call: &ToolCall, notes: &mut Notes) {
    writer.begin_object();
    writer.member_string("id", &call.id);
    writer.member_string("type", "function");
    writer.key("function");
    writer.begin_object();
    writer.member_string("name", &call.name);
    writer.key("arguments");
    let arguments = call.arguments.trim();
    if call.custom {
        notes.approximated("tool_calls.arguments");
        writer.string(&format!(r#"{{"input":{}}}"#, json::quote(&call.arguments)));
    } else {
        writer.string(if arguments.is_empty() { "{}" } else { &call.arguments });
    }
    writer.end_object();
    writer.end_object();
}

/// A citation says which block it stands in; a block before it may have been left out.
fn citation(writer: &mut Writer, at: usize, raw: &RawValue) {
    portcullis_plugin::wire_object! {
        struct WireCitation {
            content_index: Option<u64>,
        }
    }
    match json::from_str::<WireCitation>(raw.get()) {
        Ok(WireCitation { content_index: Some(index), extra }) if index != at as u64 => {
            writer.begin_object();
            for field in &extra {
                writer.member_raw(&field.name, &field.value);
            }
            writer.member_number("content_index", at as u64);
            writer.end_object();
        }
        _ => writer.raw(raw.get()),
    }
}
