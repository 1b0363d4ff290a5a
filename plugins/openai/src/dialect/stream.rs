//! Events of a streamed answer as `chat.completion.chunk` frames.
//!
//! Invariants: a choice's first chunk names its role; tool calls are numbered from 0 within a choice in order of appearance;
//! usage is sent once, in a chunk without choices before `[DONE]`, and only where the client asked; after an error nothing
//! follows. Members of a chunk that a client's accumulator joins (`format` of reasoning details) are sent once.
//!
//! What the answer says of its way through the gateway is known at its end and stands in the usage chunk, else in the chunk with
//! the finish reason, which waits for it: a chunk of its own, without choices, is what clients that did not ask for usage do not
//! expect.

use portcullis_plugin::ir::{
    Content, Context, Event, Failure, Field, Frame, Part, PartKind, PartStart, Position, StreamStart, Usage,
};
use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::Reply;
use serde::{Deserialize, Serialize};

use super::response::answer_id;
use super::{error, finish_reason};
use crate::wire::message::{LEGACY_CALL, THOUGHT_SIGNATURE, write_call, write_thought_signature};
use crate::wire::{FORMAT, reasoning, usage, write_fields};
use crate::{CUSTOM_TOOL, REASONING_FORMAT};

/// What one batch of events leaves to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Every chunk's beginning, up to and with `"choices":[`. Empty before the start.
    prefix: String,
    /// The format of the answer being encoded.
    format: String,
    choices: Vec<ChoiceState>,
    usage: Option<Usage>,
    /// The chunk with the finish reason, as long as nothing follows it.
    held: Option<String>,
    /// The chunk's own members that the next one takes along.
    members: Vec<Field>,
    failed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ChoiceState {
    index: u32,
    /// Open parts.
    parts: Vec<PartState>,
    calls: u32,
    details: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct PartState {
    part: u32,
    kind: Kind,
    /// Which tool call or reasoning detail of the choice it is.
    ordinal: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Kind {
    Text,
    Refusal,
    /// Reasoning that no provider asks to see again.
    Reasoning,
    /// Reasoning that may be signed: its text is repeated in `reasoning_details`.
    DetailedReasoning,
    ToolCall,
    CustomCall,
    LegacyCall,
}

pub fn encode(
    context: &Context,
    reply: &Reply,
    state: &mut State,
    events: Vec<Event>,
    last: bool,
) -> Result<Vec<Frame>, Failure> {
    let mut encoder = Encoder { context, reply, state, frames: Vec::with_capacity(events.len() + 2) };
    for event in events {
        if encoder.state.failed {
            break;
        }
        encoder.event(event)?;
    }
    if last && !encoder.state.failed {
        encoder.end();
    }
    Ok(encoder.frames)
}

struct Encoder<'a> {
    context: &'a Context,
    reply: &'a Reply,
    state: &'a mut State,
    frames: Vec<Frame>,
}

impl Encoder<'_> {
    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Start(start) => self.start(&start),
            Event::PartStart(start) => self.part_start(&start),
            Event::Text(delta) => self.text(delta.at, &delta.text)?,
            Event::Signature(delta) => self.signature(delta.at, &delta.text)?,
            Event::ToolArguments(delta) => self.arguments(delta.at, &delta.text)?,
            Event::Carry(carried) => self.carry(carried.at, &carried.fields),
            Event::PartEnd(at) => self.choice(at.choice).parts.retain(|part| part.part != at.part),
            Event::WholePart(whole) => self.whole(whole.at, &whole.part)?,
            Event::Logprobs(logprobs) => {
                if self.own() {
                    self.role(logprobs.choice, true);
                    self.chunk(logprobs.choice, |_| {}, None, Some(&logprobs.value));
                }
            }
            Event::Usage(usage) => self.state.usage = Some(usage),
            Event::Finish(finish) => {
                let reason = finish_reason(&finish.finish, self.own());
                self.role(finish.choice, false);
                self.choice(finish.choice).parts.clear();
                self.chunk(finish.choice, |_| {}, Some(reason), None);
                self.state.held = self.frames.pop().map(|frame| frame.data);
            }
            Event::Error(failure) => {
                self.state.failed = true;
                self.push(error::document(&failure));
            }
            Event::Extra(field) => self.extra(&field),
        }
        Ok(())
    }

    /// Whether the answer speaks this very format, so that its own fields go back.
    fn own(&self) -> bool {
        self.state.format == FORMAT
    }

    fn start(&mut self, start: &StreamStart) {
        self.state.format.clone_from(&start.format);
        self.state.usage.clone_from(&start.usage);
        let mut writer = Writer::with_capacity(160);
        writer.begin_object();
        writer.member_string("id", &answer_id(self.context, &start.id));
        writer.member_string("object", "chat.completion.chunk");
        writer.member_number("created", start.created.unwrap_or(self.context.now / 1000));
        writer.member_string("model", if start.model.is_empty() { &self.reply.requested_model } else { &start.model });
        if self.own() {
            write_fields(&mut writer, &start.extra);
        }
        writer.key("choices");
        writer.begin_array();
        self.state.prefix = writer.finish();
    }

    /// One chunk for one choice.
    fn chunk(&mut self, choice: u32, delta: impl FnOnce(&mut Writer), finish: Option<&str>, logprobs: Option<&str>) {
        let mut writer = self.begin();
        writer.begin_object();
        writer.member_number("index", choice);
        writer.key("delta");
        writer.begin_object();
        delta(&mut writer);
        writer.end_object();
        writer.member_raw("logprobs", logprobs.unwrap_or("null"));
        writer.key("finish_reason");
        match finish {
            Some(reason) => writer.string(reason),
            None => writer.null(),
        }
        writer.end_object();
        self.finish(writer);
    }

    /// A chunk up to its choices; [`finish`](Self::finish) takes it from there.
    fn begin(&mut self) -> Writer {
        if self.state.prefix.is_empty() {
            // Events without a start: the answer still needs a head.
            self.start(&StreamStart {
                format: String::new(),
                id: String::new(),
                model: String::new(),
                created: None,
                usage: self.state.usage.clone(),
                extra: Vec::new(),
            });
        }
        let mut writer = Writer::with_capacity(self.state.prefix.len() + 192);
        writer.raw(&self.state.prefix);
        writer
    }

    fn finish(&mut self, mut writer: Writer) {
        writer.end_array();
        self.write_members(&mut writer);
        if self.reply.stream_usage {
            writer.key("usage");
            writer.null();
        }
        writer.end_object();
        self.push(writer.finish());
    }

    fn write_members(&mut self, writer: &mut Writer) {
        write_fields(writer, &std::mem::take(&mut self.state.members));
    }

    fn choice(&mut self, index: u32) -> &mut ChoiceState {
        let choices = &mut self.state.choices;
        let at = choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            choices.push(ChoiceState { index, ..ChoiceState::default() });
            choices.len() - 1
        });
        &mut choices[at]
    }

    /// A choice's first chunk. Its `content` is a text for an answer that begins with text, else null.
    fn role(&mut self, choice: u32, text: bool) {
        if self.state.choices.iter().any(|known| known.index == choice) {
            return;
        }
        self.choice(choice);
        self.chunk(
            choice,
            |delta| {
                delta.member_string("role", "assistant");
                delta.member_raw("content", if text { "\"\"" } else { "null" });
                delta.member_raw("refusal", "null");
            },
            None,
            None,
        );
    }

    fn part_start(&mut self, start: &PartStart) {
        let at = start.at;
        self.role(at.choice, start.kind == PartKind::Text);
        let carries = |name: &str| start.carry.iter().any(|field| field.name == name);
        let kind = match start.kind {
            PartKind::Text => Kind::Text,
            PartKind::Refusal => Kind::Refusal,
            PartKind::Reasoning if self.own() && !carries(REASONING_FORMAT) => Kind::Reasoning,
            PartKind::Reasoning => Kind::DetailedReasoning,
            PartKind::ToolCall if carries(LEGACY_CALL) => Kind::LegacyCall,
            PartKind::ToolCall if carries(CUSTOM_TOOL) => Kind::CustomCall,
            PartKind::ToolCall => Kind::ToolCall,
        };
        let ordinal = self.open(at, kind);
        match kind {
            Kind::Text | Kind::Refusal | Kind::Reasoning => {}
            Kind::DetailedReasoning => {
                let named = portcullis_plugin::json::field::<String>(&start.carry, REASONING_FORMAT);
                let format = named.unwrap_or_else(|| self.state.format.clone());
                self.chunk(
                    at.choice,
                    |delta| {
                        detail(delta, ordinal, "reasoning.text", |entry| {
                            entry.member_string("format", reasoning::format_to_wire(&format));
                            if let Some(id) = start.carry.iter().find(|field| field.name == reasoning::ITEM_ID) {
                                entry.member_raw("id", &id.value);
                            }
                        });
                    },
                    None,
                    None,
                );
            }
            Kind::ToolCall | Kind::CustomCall => self.chunk(
                at.choice,
                |delta| {
                    call(delta, ordinal, |entry| {
                        write_call(entry, &start.id, &start.name, "", kind == Kind::CustomCall);
                        write_thought_signature(entry, &start.carry);
                    });
                },
                None,
                None,
            ),
            Kind::LegacyCall => self.chunk(
                at.choice,
                |delta| {
                    delta.key("function_call");
                    delta.begin_object();
                    delta.member_string("name", &start.name);
                    delta.member_string("arguments", "");
                    delta.end_object();
                },
                None,
                None,
            ),
        }
    }

    /// Notes an open part; its number among the choice's calls or details.
    fn open(&mut self, at: Position, kind: Kind) -> u32 {
        let choice = self.choice(at.choice);
        let counter = match kind {
            Kind::ToolCall | Kind::CustomCall => Some(&mut choice.calls),
            Kind::DetailedReasoning => Some(&mut choice.details),
            _ => None,
        };
        let ordinal = counter.map_or(0, |counter| {
            *counter += 1;
            *counter - 1
        });
        choice.parts.push(PartState { part: at.part, kind, ordinal });
        ordinal
    }

    fn part(&mut self, at: Position) -> Result<PartState, Failure> {
        let choice = self.choice(at.choice);
        choice.parts.iter().find(|part| part.part == at.part).copied().ok_or_else(|| {
            Failure::upstream_protocol(format!(
                "a piece of part {} of choice {} came before its start",
                at.part, at.choice
            ))
        })
    }

    fn text(&mut self, at: Position, text: &str) -> Result<(), Failure> {
        let part = self.part(at)?;
        let write = |delta: &mut Writer| match part.kind {
            Kind::Refusal => delta.member_string("refusal", text),
            Kind::Reasoning => delta.member_string("reasoning_content", text),
            Kind::DetailedReasoning => {
                delta.member_string("reasoning_content", text);
                detail(delta, part.ordinal, "reasoning.text", |entry| entry.member_string("text", text));
            }
            _ => delta.member_string("content", text),
        };
        self.chunk(at.choice, write, None, None);
        Ok(())
    }

    fn signature(&mut self, at: Position, signature: &str) -> Result<(), Failure> {
        let part = self.part(at)?;
        if part.kind == Kind::DetailedReasoning {
            let write = |delta: &mut Writer| {
                detail(delta, part.ordinal, "reasoning.text", |entry| entry.member_string("signature", signature));
            };
            self.chunk(at.choice, write, None, None);
        }
        Ok(())
    }

    fn arguments(&mut self, at: Position, text: &str) -> Result<(), Failure> {
        let part = self.part(at)?;
        let write = |delta: &mut Writer| match part.kind {
            Kind::LegacyCall => {
                delta.key("function_call");
                delta.begin_object();
                delta.member_string("arguments", text);
                delta.end_object();
            }
            kind => call(delta, part.ordinal, |entry| {
                let (name, member) =
                    if kind == Kind::CustomCall { ("custom", "input") } else { ("function", "arguments") };
                entry.key(name);
                entry.begin_object();
                entry.member_string(member, text);
                entry.end_object();
            }),
        };
        self.chunk(at.choice, write, None, None);
        Ok(())
    }

    /// An item's id, and a call's signature, may come after the start.
    fn carry(&mut self, at: Position, fields: &[Field]) {
        let Ok(part) = self.part(at) else { return };
        if matches!(part.kind, Kind::ToolCall | Kind::CustomCall) {
            if fields.iter().any(|field| field.name == THOUGHT_SIGNATURE) {
                let write = |delta: &mut Writer| {
                    call(delta, part.ordinal, |entry| write_thought_signature(entry, fields));
                };
                self.chunk(at.choice, write, None, None);
            }
            return;
        }
        let id = fields.iter().find(|field| field.name == reasoning::ITEM_ID);
        if let (Kind::DetailedReasoning, Some(id)) = (part.kind, id) {
            let write = |delta: &mut Writer| {
                detail(delta, part.ordinal, "reasoning.text", |entry| entry.member_raw("id", &id.value));
            };
            self.chunk(at.choice, write, None, None);
        }
    }

    /// A part at once. What Chat Completions has no place for (images, other protocols' items) is left out.
    fn whole(&mut self, at: Position, part: &Part) -> Result<(), Failure> {
        let start = |kind, id: &str, name: &str, carry: Vec<Field>| PartStart {
            at,
            kind,
            id: id.to_owned(),
            name: name.to_owned(),
            carry,
        };
        match &part.content {
            Content::Text(text) => {
                self.part_start(&start(PartKind::Text, "", "", Vec::new()));
                self.text(at, text)?;
            }
            Content::Refusal(text) => {
                self.part_start(&start(PartKind::Refusal, "", "", Vec::new()));
                self.text(at, text)?;
            }
            Content::ToolCall(whole) => {
                let mut carry = part.carry.clone();
                if whole.custom {
                    carry.push(Field::new(CUSTOM_TOOL, "true"));
                }
                self.part_start(&start(PartKind::ToolCall, &whole.id, &whole.name, carry));
                self.arguments(at, &whole.arguments)?;
            }
            Content::Reasoning(whole) => {
                self.role(at.choice, false);
                let detailed = reasoning::needs_detail(whole) || !self.own();
                let ordinal = self.open(at, if detailed { Kind::DetailedReasoning } else { Kind::Reasoning });
                let write = |delta: &mut Writer| {
                    if !whole.text.is_empty() {
                        delta.member_string("reasoning_content", &whole.text);
                    }
                    if detailed {
                        delta.key("reasoning_details");
                        delta.begin_array();
                        reasoning::write_detail(delta, ordinal, whole, &part.carry);
                        delta.end_array();
                    }
                };
                self.chunk(at.choice, write, None, None);
            }
            _ => {}
        }
        self.choice(at.choice).parts.retain(|open| open.part != at.part);
        Ok(())
    }

    /// A field that came in this very format: `choices/0/delta/name`, `choices/0/name`, or one of the chunk's own. A chunk of its own
    /// for the latter would have no choices, which clients that did not ask for usage do not expect.
    fn extra(&mut self, field: &Field) {
        if !self.own() {
            return;
        }
        let mut path = field.name.splitn(4, '/');
        let place = (path.next(), path.next().and_then(|index| index.parse().ok()), path.next(), path.next());
        let (Some("choices"), Some(index), Some(first), second) = place else {
            self.state.members.retain(|member| member.name != field.name);
            return self.state.members.push(field.clone());
        };
        let index: u32 = index;
        let mut writer = self.begin();
        writer.begin_object();
        writer.member_number("index", index);
        writer.key("delta");
        writer.begin_object();
        if let ("delta", Some(name)) = (first, second) {
            writer.member_raw(name, &field.value);
        }
        writer.end_object();
        writer.member_raw("finish_reason", "null");
        if second.is_none() {
            writer.member_raw(first, &field.value);
        }
        writer.end_object();
        self.finish(writer);
    }

    fn end(&mut self) {
        if let Some(counted) = self.state.usage.clone().filter(|_| self.reply.stream_usage) {
            let mut writer = self.begin();
            writer.end_array();
            self.write_members(&mut writer);
            writer.key("usage");
            usage::write(&mut writer, &counted, |writer| self.reply.write_cost(writer));
            self.reply.write_account_as_texts(&mut writer, &[]);
            writer.end_object();
            self.push(writer.finish());
        } else if let Some(held) = self.state.held.take() {
            let mut writer = Writer::with_capacity(held.len() + 512);
            writer.raw(held.strip_suffix('}').unwrap_or(&held));
            self.write_members(&mut writer);
            self.reply.write_account_as_texts(&mut writer, &[]);
            writer.end_object();
            self.push(writer.finish());
        }
        self.push("[DONE]");
    }

    /// The next frame, after the one that was held.
    fn push(&mut self, data: impl Into<String>) {
        self.frames.extend(self.state.held.take().map(Frame::data));
        self.frames.push(Frame::data(data));
    }
}

/// One entry of `reasoning_details`.
fn detail(delta: &mut Writer, index: u32, kind: &str, members: impl FnOnce(&mut Writer)) {
    delta.key("reasoning_details");
    delta.begin_array();
    delta.begin_object();
    delta.member_number("index", index);
    delta.member_string("type", kind);
    members(delta);
    delta.end_object();
    delta.end_array();
}

/// One entry of `tool_calls`.
fn call(delta: &mut Writer, index: u32, members: impl FnOnce(&mut Writer)) {
    delta.key("tool_calls");
    delta.begin_array();
    delta.begin_object();
    delta.member_number("index", index);
    members(delta);
    delta.end_object();
    delta.end_array();
}
