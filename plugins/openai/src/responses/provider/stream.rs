//! Frames of a streamed answer to events.
//!
//! Invariants, as for Chat Completions: an event's part was started and not yet ended; parts follow one another, but for tool
//! calls; every started part ends before the finish; a stream that breaks off ends in an `error` event; after an error nothing
//! follows. Of an item whose pieces did not come, the finished item is read, so that nothing is lost where a server streams
//! less. The state is a few bytes per item and holds no text.

use portcullis_plugin::ir::{
    Carried, ChoiceFinish, ChoiceLogprobs, Content, Delta, Event, Failure, Field, Frame, Part, PartKind, PartStart,
    Position, Reasoning, StreamStart, Usage, WholePart,
};
use portcullis_plugin::json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use portcullis_openai_chat::provider::response::service_tier;

use super::response::{calls, decode_item, failure, refuses};
use crate::CUSTOM_TOOL;
use crate::responses::FORMAT;
use crate::responses::wire::answer::{Answer, ToolUsage, finish, searches};
use crate::responses::wire::item::Tag;
use crate::responses::wire::{ANNOTATION, CALLER, ITEM_ID, NAMESPACE, PHASE, SUMMARY, carry, proof, raw};
use crate::wire::error::WireError;

/// What one batch of frames leaves to the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    finished: bool,
    failed: bool,
    items: Vec<Item>,
    /// How many parts were started.
    parts: u32,
    open: Option<Open>,
    called: bool,
    refused: bool,
}

/// An item that was added and is not done.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    index: u32,
    /// The part of a call.
    part: Option<u32>,
    custom: bool,
    phase: Option<String>,
    /// Some piece of it came.
    any: bool,
}

/// The open part that is no call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    part: u32,
    index: u32,
    kind: PartKind,
    /// Its number within the item, and whether it is of the item's summary.
    piece: u32,
    is_summary: bool,
    annotated: bool,
}

portcullis_plugin::wire_object! {
    struct Step {
        kind as "type": Option<String>,
        response: Option<Box<RawValue>>,
        item: Option<Box<RawValue>>,
        item_id: Option<String>,
        output_index: Option<u32>,
        content_index: Option<u32>,
        summary_index: Option<u32>,
        delta: Option<String>,
        arguments: Option<String>,
        input: Option<String>,
        annotation: Option<Box<RawValue>>,
        logprobs: Option<Box<RawValue>>,
        part: Option<Box<RawValue>>,
    }

    struct Added {
        id: Option<String>,
        kind as "type": Option<String>,
        call_id: Option<String>,
        name: Option<String>,
        namespace: Option<String>,
        caller: Option<Box<RawValue>>,
        phase: Option<String>,
    }

    struct Texts {
        annotations: Option<Vec<Box<RawValue>>>,
    }
}

pub fn decode(state: &mut State, frames: Vec<Frame>, last: bool) -> Vec<Event> {
    let mut decoder = Decoder { state, events: Vec::with_capacity(frames.len() + 2) };
    for frame in frames {
        if decoder.state.failed {
            break;
        }
        if let Err(failure) = decoder.frame(&frame) {
            decoder.fail(failure);
        }
    }
    if last && !decoder.state.failed && !decoder.state.finished {
        decoder.fail(Failure::upstream_protocol("the provider's stream ended before the answer was finished"));
    }
    decoder.events
}

struct Decoder<'a> {
    state: &'a mut State,
    events: Vec<Event>,
}

fn at(part: u32) -> Position {
    Position { choice: 0, part }
}

impl Decoder<'_> {
    fn frame(&mut self, frame: &Frame) -> Result<(), Failure> {
        let data = frame.data.trim();
        if data.is_empty() || data == "[DONE]" || self.state.finished {
            return Ok(());
        }
        let step: Step = json::parse_upstream(data)?;
        let Some(kind) = step.kind.as_deref() else {
            // A server that fails before it begins says so as in an answer of its own.
            return Err(WireError::parse(data).failure(None));
        };
        // A server may leave the beginning out.
        let has_answer = step.response.is_some() || kind == "error";
        if !self.state.started && !has_answer {
            self.begin(&Answer::default());
        }
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => self.begin(&answer(&step)?),
            "response.output_item.added" => self.added(&step)?,
            "response.output_item.done" => self.done(&step)?,
            "response.output_text.delta" => self.text(PartKind::Text, step),
            "response.refusal.delta" => self.text(PartKind::Refusal, step),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.text(PartKind::Reasoning, step);
            }
            "response.content_part.done" => self.part_done(&step),
            "response.output_text.annotation.added" => self.annotation(step),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.arguments(step.output_index, step.delta, false);
            }
            "response.function_call_arguments.done" => self.arguments(step.output_index, step.arguments, true),
            "response.custom_tool_call_input.done" => self.arguments(step.output_index, step.input, true),
            "response.completed" | "response.incomplete" => self.complete(answer(&step)?)?,
            "response.failed" => {
                let answer = answer(&step)?;
                let failure = failure(&answer).unwrap_or_else(|| WireError::default().failure(None));
                self.usage(&answer, &[]);
                return Err(failure);
            }
            "error" => return Err(WireError::parse(data).failure(None)),
            // Progress of built-in tools: their items come when they are done.
            _ => {}
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure) {
        self.state.failed = true;
        self.events.push(Event::Error(failure));
    }

    /// The beginning, once: of the first event, whichever it is.
    fn begin(&mut self, answer: &Answer) {
        if std::mem::replace(&mut self.state.started, true) {
            return;
        }
        self.events.push(Event::Start(StreamStart {
            format: FORMAT.to_owned(),
            id: answer.id.clone().unwrap_or_default(),
            model: answer.model.clone().unwrap_or_default(),
            created: answer.created_at.map(|seconds| seconds as u64),
            usage: None,
            extra: answer.extra.clone(),
        }));
    }

    fn usage(&mut self, answer: &Answer, output: &[Box<RawValue>]) {
        let Some(usage) = &answer.usage else { return };
        let tool_usage: Option<ToolUsage> = json::field(&answer.extra, "tool_usage");
        let searched = searches(tool_usage.as_ref(), output.iter().map(|item| item.get()));
        let service_tier = service_tier(&answer.extra);
        self.events.push(Event::Usage(Usage { service_tier, ..usage.count(searched) }));
    }

    fn complete(&mut self, mut answer: Answer) -> Result<(), Failure> {
        if let Some(failure) = failure(&answer) {
            return Err(failure);
        }
        let output = answer.output.take().unwrap_or_default();
        let incomplete = answer.incomplete_details.take().and_then(|details| details.reason);
        // What is known at the end alone; the request's own repetitions do not change.
        let mut changed = Vec::new();
        if self.state.started {
            let repeated = |field: &Field| ["instructions", "tools"].contains(&field.name.as_str());
            changed.extend(answer.extra.iter().filter(|field| !repeated(field)).cloned().map(Event::Extra));
        } else {
            self.begin(&answer);
        }
        self.close();
        while !self.state.items.is_empty() {
            let item = self.state.items.remove(0);
            self.close_call(&item, None);
        }
        if self.state.parts == 0 {
            for (index, item) in output.iter().enumerate() {
                self.whole(decode_item(index, item.get())?);
            }
        }
        self.usage(&answer, &output);
        self.events.extend(changed);
        let finish = finish(answer.status.as_deref(), incomplete.as_deref(), self.state.called, self.state.refused);
        let finish = finish.ok_or_else(|| Failure::upstream_protocol("the provider's answer is not finished"))?;
        self.events.push(Event::Finish(ChoiceFinish { choice: 0, finish }));
        self.state.finished = true;
        Ok(())
    }

    // --- items -------------------------------------------------------------------------------------------------------

    fn item(&mut self, index: u32) -> &mut Item {
        let items = &mut self.state.items;
        let at = items.iter().position(|item| item.index == index).unwrap_or_else(|| {
            items.push(Item { index, part: None, custom: false, phase: None, any: false });
            items.len() - 1
        });
        &mut items[at]
    }

    fn added(&mut self, step: &Step) -> Result<(), Failure> {
        let item =
            step.item.as_ref().ok_or_else(|| Failure::upstream_protocol("an item was added that is not there"))?;
        let added: Added = json::parse_upstream(item.get())?;
        let index = step.output_index.unwrap_or_default();
        let entry = self.item(index);
        entry.phase = added.phase;
        let custom = match added.kind.as_deref() {
            Some("function_call") => false,
            Some("custom_tool_call") => true,
            _ => return Ok(()),
        };
        // A call that comes without its name is read when it is done.
        let (Some(id), Some(name)) = (added.call_id, added.name) else { return Ok(()) };
        entry.custom = custom;
        let mut kept: Vec<Field> = added.id.iter().map(|id| carry(ITEM_ID, id)).collect();
        kept.extend(added.namespace.iter().map(|namespace| carry(NAMESPACE, namespace)));
        kept.extend(added.caller.map(|caller| Field::new(CALLER, raw(caller))));
        if custom {
            kept.push(Field::new(CUSTOM_TOOL, "true"));
        }
        self.close();
        let part = self.next_part();
        self.item(index).part = Some(part);
        self.state.called = true;
        let start = PartStart { at: at(part), kind: PartKind::ToolCall, id, name, carry: kept };
        self.events.push(Event::PartStart(start));
        Ok(())
    }

    fn done(&mut self, step: &Step) -> Result<(), Failure> {
        let item = step.item.as_ref().ok_or_else(|| Failure::upstream_protocol("an item is done that is not there"))?;
        let index = step.output_index.unwrap_or_default();
        let known = self.state.items.iter().position(|item| item.index == index);
        let known = known.map(|at| self.state.items.remove(at));
        let is_open = self.state.open.is_some_and(|open| open.index == index);
        let any = known.as_ref().is_some_and(|item| item.any);
        if let Some(known) = known.filter(|known| known.part.is_some()) {
            let arguments = decode_item(0, item.get())?.into_iter().find_map(|part| match part.content {
                Content::ToolCall(call) => Some(call.arguments),
                _ => None,
            });
            self.close_call(&known, arguments);
            return Ok(());
        }
        let tag: Tag = json::parse_upstream(item.get())?;
        let parts = match tag.kind.as_deref() {
            Some("reasoning") if any => return self.thought_done(item.get(), is_open),
            None | Some("message") if any => {
                if is_open {
                    self.close();
                }
                return Ok(());
            }
            _ => decode_item(index as usize, item.get())?,
        };
        self.whole(parts);
        Ok(())
    }

    /// The proof of reasoning whose text has come: into its last part, or, where something else has begun, in a part of its own.
    fn thought_done(&mut self, item: &str, is_open: bool) -> Result<(), Failure> {
        let mut parts = decode_item(0, item)?;
        let Some(Part { content: Content::Reasoning(thought), carry, .. }) = parts.pop() else {
            return Ok(());
        };
        match thought.signature.or(thought.redacted) {
            Some(signature) if is_open => {
                if let Some(open) = self.state.open {
                    self.events.push(Event::Signature(Delta { at: at(open.part), text: signature }));
                }
                self.close();
            }
            // Without encrypted content the id alone proves nothing more.
            Some(signature) if proof::open(&signature).encrypted.is_some() => {
                let redacted = Reasoning {
                    text: String::new(),
                    summary: false,
                    signature: None,
                    redacted: Some(signature),
                    format: FORMAT.to_owned(),
                };
                let part = Part { carry, ..Part::new(Content::Reasoning(redacted)) };
                self.whole(vec![part]);
            }
            _ if is_open => self.close(),
            _ => {}
        }
        Ok(())
    }

    fn whole(&mut self, parts: Vec<Part>) {
        self.state.called |= calls(&parts);
        self.state.refused |= refuses(&parts);
        for part in parts {
            self.close();
            let place = self.next_part();
            self.events.push(Event::WholePart(WholePart { at: at(place), part }));
        }
    }

    // --- parts -------------------------------------------------------------------------------------------------------

    fn next_part(&mut self) -> u32 {
        self.state.parts += 1;
        self.state.parts - 1
    }

    fn close(&mut self) {
        if let Some(open) = self.state.open.take() {
            self.events.push(Event::PartEnd(at(open.part)));
        }
    }

    fn text(&mut self, kind: PartKind, step: Step) {
        let Some(text) = step.delta.filter(|text| !text.is_empty()) else { return };
        let index = step.output_index.unwrap_or_default();
        let is_summary = step.summary_index.is_some();
        let piece = step.summary_index.or(step.content_index).unwrap_or_default();
        let same =
            |open: &Open| (open.index, open.kind, open.piece, open.is_summary) == (index, kind, piece, is_summary);
        let part = match self.state.open.filter(same) {
            Some(open) => open.part,
            None => {
                self.close();
                let mut kept: Vec<Field> = step.item_id.iter().map(|id| carry(ITEM_ID, id)).collect();
                kept.extend(self.item(index).phase.as_deref().map(|phase| carry(PHASE, phase)));
                if is_summary {
                    kept.push(Field::new(SUMMARY, "true"));
                }
                let part = self.next_part();
                self.state.open = Some(Open { part, index, kind, piece, is_summary, annotated: false });
                let start = PartStart { at: at(part), kind, id: String::new(), name: String::new(), carry: kept };
                self.events.push(Event::PartStart(start));
                part
            }
        };
        self.item(index).any = true;
        self.state.refused |= kind == PartKind::Refusal;
        if let Some(value) = step.logprobs.map(raw).filter(|list| list != "[]" && list != "null") {
            self.events.push(Event::Logprobs(ChoiceLogprobs { choice: 0, value }));
        }
        self.events.push(Event::Text(Delta { at: at(part), text }));
    }

    fn annotation(&mut self, step: Step) {
        let index = step.output_index.unwrap_or_default();
        let Some(open) = self.state.open.as_mut().filter(|open| open.index == index) else { return };
        open.annotated = true;
        let at = at(open.part);
        if let Some(annotation) = step.annotation {
            let fields = vec![Field::new(ANNOTATION, raw(annotation))];
            self.events.push(Event::Carry(Carried { at, fields }));
        }
    }

    /// Annotations that were not added one by one stand in the finished piece.
    fn part_done(&mut self, step: &Step) {
        let index = step.output_index.unwrap_or_default();
        let text = |open: &Open| open.index == index && open.kind == PartKind::Text && !open.annotated;
        let (Some(open), Some(part)) = (self.state.open.filter(text), &step.part) else { return };
        let texts: Texts = json::from_str(part.get()).unwrap_or_default();
        for annotation in texts.annotations.unwrap_or_default() {
            let fields = vec![Field::new(ANNOTATION, raw(annotation))];
            self.events.push(Event::Carry(Carried { at: at(open.part), fields }));
        }
    }

    /// A piece of a call's arguments, or all of them where no piece came.
    fn arguments(&mut self, index: Option<u32>, text: Option<String>, all: bool) {
        let entry = self.item(index.unwrap_or_default());
        let (Some(part), Some(text)) = (entry.part, text.filter(|text| !text.is_empty())) else { return };
        if all && entry.any {
            return;
        }
        entry.any = true;
        self.events.push(Event::ToolArguments(Delta { at: at(part), text }));
    }

    fn close_call(&mut self, item: &Item, arguments: Option<String>) {
        let Some(part) = item.part else { return };
        if !item.any {
            let unsaid = if item.custom { String::new() } else { "{}".to_owned() };
            let text = arguments.unwrap_or(unsaid);
            if !text.is_empty() {
                self.events.push(Event::ToolArguments(Delta { at: at(part), text }));
            }
        }
        self.events.push(Event::PartEnd(at(part)));
    }
}

fn answer(step: &Step) -> Result<Answer, Failure> {
    let response = step.response.as_ref();
    json::parse_upstream(response.map_or("{}", |response| response.get()))
}
