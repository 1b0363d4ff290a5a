//! The conversation: the system prompt aside, turns of users and the assistant by turns.
//!
//! Consecutive messages of one side are one turn. Tool results stand first in theirs, as the API demands
//! (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls>), so the results of parallel calls that
//! another protocol sends as messages of their own are grouped. A client of this protocol knows the rules: its turns are kept
//! in its order, system turns in the middle included.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::content;
use crate::FORMAT;
use portcullis_plugin::notes::Notes;

/// Writes `system` and `messages`. `instruction` follows the system prompt.
pub fn write(
    writer: &mut Writer,
    request: &Request,
    instruction: Option<&str>,
    notes: &mut Notes,
) -> Result<(), Failure> {
    let native = request.format == FORMAT;
    let first = request.messages.iter().position(|message| !is_system(message)).unwrap_or(request.messages.len());
    let (system, turns) = request.messages.split_at(first);
    // The API has no conversation without a turn: a system prompt alone becomes one.
    if turns.is_empty() && !native {
        notes.approximated("messages.system");
        writer.key("messages");
        writer.begin_array();
        let written = turn(writer, system, "user", instruction, native, notes);
        writer.end_array();
        return if written { Ok(()) } else { Err(empty()) };
    }
    write_system(writer, system, instruction, native, notes);
    writer.key("messages");
    writer.begin_array();
    let mut rest = turns;
    let mut written = false;
    while let Some(head) = rest.first() {
        let side = side(head, native);
        let end = rest
            .iter()
            .skip(1)
            .position(|message| {
                self::side(message, native) != side || !message.extra.is_empty() || !head.extra.is_empty()
            })
            .map_or(rest.len(), |at| at + 1);
        let (group, after) = rest.split_at(end);
        written |= turn(writer, group, side, None, native, notes);
        rest = after;
    }
    writer.end_array();
    if written { Ok(()) } else { Err(empty()) }
}

fn empty() -> Failure {
    Failure::invalid("messages", "messages: at least one message with content is required")
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// The role a message has on the wire.
fn side(message: &Message, native: bool) -> &'static str {
    match message.role {
        Role::Assistant => "assistant",
        Role::User | Role::Tool => "user",
        // Newer models take these; their rules of placing are the client's to know.
        Role::System | Role::Developer if native => "system",
        Role::System | Role::Developer => "user",
    }
}

fn write_system(writer: &mut Writer, messages: &[Message], instruction: Option<&str>, native: bool, notes: &mut Notes) {
    let parts = || messages.iter().flat_map(|message| &message.parts);
    for message in messages {
        note_name(message, notes);
    }
    let mut blocks = Writer::new();
    let mut count = 0;
    blocks.begin_array();
    for part in parts() {
        match &part.content {
            Content::Text(_) | Content::Other(_) => {
                count += usize::from(content::write(&mut blocks, part, Role::System, native, notes));
            }
            _ => notes.dropped("messages.system"),
        }
    }
    if let Some(text) = instruction {
        blocks.begin_object();
        blocks.member_string("type", "text");
        blocks.member_string("text", text);
        blocks.end_object();
        count += 1;
    }
    blocks.end_array();
    if count == 0 {
        return;
    }
    writer.key("system");
    // One plain text is written as the string it usually is.
    match (count, instruction, parts().filter_map(content::bare).find(|text| !text.trim().is_empty())) {
        (1, None, Some(text)) => writer.string(text),
        (1, Some(text), _) => writer.string(text),
        _ => writer.raw(&blocks.finish()),
    }
}

/// Writes one turn; says whether it had content.
fn turn(
    writer: &mut Writer,
    group: &[Message],
    side: &str,
    instruction: Option<&str>,
    native: bool,
    notes: &mut Notes,
) -> bool {
    for message in group {
        note_name(message, notes);
        if is_system(message) && side == "user" {
            notes.approximated("messages.system");
        }
    }
    if let ([message], None) = (group, instruction)
        && let [part] = &message.parts[..]
        && let Some(text) = content::bare(part)
        && !text.trim().is_empty()
    {
        begin(writer, side);
        writer.member_string("content", text);
        end(writer, group, native, notes);
        return true;
    }
    let mut blocks = Writer::with_capacity(1024);
    let mut count = 0;
    blocks.begin_array();
    let results_first = !native && side == "user";
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
    if results_first {
        for (message, part) in parts(group).filter(|(_, part)| is_result(part)) {
            count += usize::from(content::write(&mut blocks, part, message.role, native, notes));
        }
    }
    for (message, part) in parts(group).filter(|(_, part)| !(results_first && is_result(part))) {
        count += usize::from(content::write(&mut blocks, part, message.role, native, notes));
    }
    if let Some(text) = instruction {
        blocks.begin_object();
        blocks.member_string("type", "text");
        blocks.member_string("text", text);
        blocks.end_object();
        count += 1;
    }
    blocks.end_array();
    if count == 0 {
        return false;
    }
    begin(writer, side);
    writer.member_raw("content", &blocks.finish());
    end(writer, group, native, notes);
    true
}

fn parts(group: &[Message]) -> impl Iterator<Item = (&Message, &Part)> {
    group.iter().flat_map(|message| message.parts.iter().map(move |part| (message, part)))
}

fn begin(writer: &mut Writer, side: &str) {
    writer.begin_object();
    writer.member_string("role", side);
}

fn end(writer: &mut Writer, group: &[Message], native: bool, notes: &mut Notes) {
    for field in group.iter().flat_map(|message| &message.extra) {
        if native {
            writer.member_raw(&field.name, &field.value);
        } else if field.value != "null" {
            notes.dropped(&format!("messages.{}", field.name));
        }
    }
    writer.end_object();
}

fn note_name(message: &Message, notes: &mut Notes) {
    if message.name.is_some() {
        notes.dropped("messages.name");
    }
}
