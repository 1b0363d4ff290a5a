//! The conversation: the system prompt aside, turns of user and assistant by turns.
//!
//! Converse demands that turns alternate and begin with the user's, that all results of one turn's calls stand in the next turn,
//! and that text has a visible character and stands beside every document
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html>). Consecutive messages of one side are one
//! turn, results first; a message that is empty leaves no turn.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::content::{self, Encoding};
use crate::FORMAT;

/// What stands for the turn that a conversation lacks at its beginning.
const OPENING: &str = "Continue.";
const ABOUT_DOCUMENTS: &str = "The document is attached.";

/// `{"text":"…"}`.
pub fn text(writer: &mut Writer, text: &str) {
    writer.begin_object();
    writer.member_string("text", text);
    writer.end_object();
}

/// Writes `system` and `messages`. `instruction` follows the system prompt.
pub fn write(
    writer: &mut Writer,
    request: &Request,
    instruction: Option<&str>,
    encoding: &mut Encoding<'_>,
) -> Result<(), Failure> {
    let first = request.messages.iter().position(|message| !is_system(message)).unwrap_or(request.messages.len());
    let (system, turns) = request.messages.split_at(first);
    // There is no conversation without a turn: a system prompt alone becomes one.
    let (system, turns) = if turns.is_empty() {
        encoding.notes.approximated("messages.system");
        (turns, system)
    } else {
        (system, turns)
    };
    for message in &request.messages {
        if message.name.is_some() {
            encoding.notes.dropped("messages.name");
        }
        for field in message.extra.iter().filter(|field| field.value != "null") {
            encoding.notes.dropped(&format!("messages.{}", field.name));
        }
    }
    write_system(writer, system, instruction, encoding);
    let mut written: Vec<Turn> = Vec::new();
    let mut rest = turns;
    while let Some(head) = rest.first() {
        let side = side(head);
        let end = rest.iter().position(|message| self::side(message) != side).unwrap_or(rest.len());
        let (group, after) = rest.split_at(end);
        rest = after;
        let Some(turn) = turn(group, side, encoding)? else { continue };
        match written.last_mut() {
            // What stood between them was empty.
            Some(last) if last.side == side => last.absorb(turn),
            _ => written.push(turn),
        }
    }
    let Some(opening) = written.first() else {
        return Err(Failure::invalid("messages", "messages: at least one message with content is required"));
    };
    writer.key("messages");
    writer.begin_array();
    if opening.side == ASSISTANT {
        encoding.notes.approximated("messages");
        let mut blocks = Writer::new();
        text(&mut blocks, OPENING);
        Turn { side: USER, runs: vec![blocks.finish()], results: 0 }.write(writer);
    }
    for turn in written {
        turn.write(writer);
    }
    writer.end_array();
    Ok(())
}

const USER: &str = "user";
const ASSISTANT: &str = "assistant";

struct Turn {
    side: &'static str,
    /// Runs of blocks, with commas within.
    runs: Vec<String>,
    /// How many of the runs, from the start, are of tools' results.
    results: usize,
}

impl Turn {
    /// Takes the next turn of the same side in: its results go after the results.
    fn absorb(&mut self, mut next: Turn) {
        let others = next.runs.split_off(next.results);
        self.runs.splice(self.results..self.results, next.runs);
        self.results += next.results;
        self.runs.extend(others);
    }

    fn write(self, writer: &mut Writer) {
        writer.begin_object();
        writer.member_string("role", self.side);
        writer.key("content");
        writer.begin_array();
        for blocks in self.runs {
            writer.raw(&blocks);
        }
        writer.end_array();
        writer.end_object();
    }
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn side(message: &Message) -> &'static str {
    match message.role {
        Role::Assistant => ASSISTANT,
        Role::User | Role::Tool | Role::System | Role::Developer => USER,
    }
}

fn write_system(writer: &mut Writer, messages: &[Message], instruction: Option<&str>, encoding: &mut Encoding<'_>) {
    let mut blocks = Writer::with_capacity(1024);
    let mut count = 0;
    blocks.begin_array();
    for part in messages.iter().flat_map(|message| &message.parts) {
        match &part.content {
            Content::Text(_) => count += content::write(&mut blocks, part, Role::System, encoding),
            Content::Other(item) if item.format == FORMAT => {
                count += content::write(&mut blocks, part, Role::System, encoding);
            }
            _ => encoding.notes.dropped("messages.system"),
        }
    }
    if let Some(instruction) = instruction {
        text(&mut blocks, instruction);
        count += 1;
    }
    blocks.end_array();
    if count > 0 {
        writer.member_raw("system", &blocks.finish());
    }
}

/// One turn; `None` where nothing is left of it.
fn turn(group: &[Message], side: &'static str, encoding: &mut Encoding<'_>) -> Result<Option<Turn>, Failure> {
    let parts = || group.iter().flat_map(|message| message.parts.iter().map(move |part| (message, part)));
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
    if side == USER && group.iter().any(is_system) {
        encoding.notes.approximated("messages.system");
    }
    let misplaced = parts().any(|(_, part)| match &part.content {
        Content::ToolResult(_) => side == ASSISTANT,
        Content::ToolCall(_) => side == USER,
        _ => false,
    });
    if misplaced {
        return Err(Failure::invalid(
            "messages",
            "messages: tool calls are the assistant's and their results the user's or the tool's",
        ));
    }
    let mut turn = Turn { side, runs: Vec::new(), results: 0 };
    for results in [true, false] {
        let mut blocks = Writer::with_capacity(1024);
        let mut count = 0;
        for (message, part) in parts().filter(|(_, part)| is_result(part) == results) {
            count += content::write(&mut blocks, part, message.role, encoding);
        }
        if !results && side == USER && needs_text(parts().map(|(_, part)| part)) {
            encoding.notes.approximated("messages.document");
            text(&mut blocks, ABOUT_DOCUMENTS);
        }
        if count > 0 {
            turn.runs.push(blocks.finish());
            turn.results += usize::from(results);
        }
    }
    Ok((!turn.runs.is_empty()).then_some(turn))
}

/// Whether there is a document and no text beside it.
fn needs_text<'a>(mut parts: impl Iterator<Item = &'a Part> + Clone) -> bool {
    let has_text = parts.clone().any(|part| matches!(&part.content, Content::Text(text) if !text.trim().is_empty()));
    !has_text && parts.any(|part| matches!(part.content, Content::Document(_)))
}
