//! The chunks of a stream as events.
//!
//! Every chunk has the shape of an answer. Its texts are pieces of the text before them, as long as they are of the same kind,
//! thought or spoken; everything else comes whole. Invariant: each part that is started is ended before the next of its
//! candidate, and before the candidate's finish.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use super::{error, response};
use crate::wire::answer::{WireAnswer, WireCandidate, block_reason};
use crate::wire::part::{AnswerIds, WirePart};
use crate::{FORMAT, finish, signature, usage};

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    started: bool,
    /// A candidate finished, the prompt was blocked, or an error came.
    ended: bool,
    failed: bool,
    id: String,
    model: String,
    usage: Option<Usage>,
    choices: Vec<ChoiceState>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ChoiceState {
    index: u32,
    /// Parts so far.
    parts: u32,
    calls: u32,
    searches: u64,
    open: Option<Open>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    part: u32,
    thought: bool,
}

pub fn decode(context: &Context, state: &mut State, frames: &[Frame], last: bool) -> Result<Vec<Event>, Failure> {
    let mut decoder = Decoder { context, state, events: Vec::with_capacity(frames.len() + 4) };
    for frame in frames.iter().filter(|frame| !frame.data.is_empty() && frame.data != "[DONE]") {
        if decoder.state.failed {
            break;
        }
        decoder.chunk(json::parse_upstream(&frame.data)?)?;
    }
    if last && !decoder.state.ended {
        decoder.close_all();
        decoder.fail(Failure::upstream_protocol("the provider's stream ended early"));
    }
    Ok(decoder.events)
}

struct Decoder<'a> {
    context: &'a Context,
    state: &'a mut State,
    events: Vec<Event>,
}

impl Decoder<'_> {
    fn chunk(&mut self, wire: WireAnswer) -> Result<(), Failure> {
        if let Some(error) = &wire.error {
            self.close_all();
            let failure = error::of(self.context, error.get(), 0);
            self.fail(failure);
            return Ok(());
        }
        self.start(&wire);
        let finishes = wire.candidates.0.iter().any(|candidate| candidate.finish.is_some());
        for candidate in wire.candidates.0 {
            self.candidate(candidate);
        }
        let blocked = block_reason(wire.feedback.as_deref());
        if let Some(feedback) = &wire.feedback {
            self.events.push(Event::Extra(Field::new("promptFeedback", feedback.get())));
        }
        if let Some(reason) = &blocked
            && !self.state.ended
        {
            self.state.ended = true;
            self.events.push(Event::Finish(ChoiceFinish { choice: 0, finish: finish::blocked(reason.clone()) }));
        }
        for field in wire.extra {
            self.events.push(Event::Extra(field));
        }
        if let Some(metadata) = &wire.usage {
            if let Some(counted) = usage::decode(metadata) {
                self.state.usage = Some(counted);
            }
            if finishes || blocked.is_some() {
                self.events.push(Event::Extra(Field::new(usage::EXTRA, metadata.get())));
            }
        }
        if let Some(counted) = self.state.usage.clone() {
            let searches = self.state.choices.iter().map(|choice| choice.searches).sum();
            if wire.usage.is_some() || searches != counted.searches {
                let counted = Usage { searches, ..counted };
                self.state.usage = Some(counted.clone());
                self.events.push(Event::Usage(counted));
            }
        }
        Ok(())
    }

    fn start(&mut self, wire: &WireAnswer) {
        if self.state.started {
            return;
        }
        self.state.started = true;
        self.state.id = wire.id.clone().unwrap_or_default();
        self.state.model = wire.model.clone().unwrap_or_default();
        let extra = wire.created.iter().map(|created| Field::new("createTime", json::quote(created))).collect();
        self.events.push(Event::Start(StreamStart {
            format: FORMAT.to_owned(),
            id: self.state.id.clone(),
            model: self.state.model.clone(),
            created: wire.created.as_deref().and_then(response::seconds),
            usage: None,
            extra,
        }));
    }

    fn candidate(&mut self, mut wire: WireCandidate) {
        let index = wire.index();
        let at = self.state.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.state.choices.push(ChoiceState { index, ..ChoiceState::default() });
            self.state.choices.len() - 1
        });
        for part in wire.content.take().unwrap_or_default().parts.0 {
            self.part(at, part);
        }
        if let Some(grounding) = wire.grounding.take() {
            self.state.choices[at].searches += usage::searches(&self.state.model, &grounding);
            self.extra(index, "groundingMetadata", grounding.get());
        }
        for field in std::mem::take(&mut wire.extra) {
            self.extra(index, &field.name, &field.value);
        }
        if let Some(logprobs) = wire.logprobs {
            self.events.push(Event::Logprobs(ChoiceLogprobs { choice: index, value: logprobs.get().to_owned() }));
        }
        if let Some(reason) = wire.finish {
            self.close(at);
            self.state.ended = true;
            let finish = finish::decode(reason.0, self.state.choices[at].calls > 0);
            self.events.push(Event::Finish(ChoiceFinish { choice: index, finish }));
        }
    }

    /// A candidate's own field that the IR has no event for.
    fn extra(&mut self, choice: u32, name: &str, value: &str) {
        self.events.push(Event::Extra(Field::new(format!("candidates/{choice}/{name}"), value)));
    }

    fn part(&mut self, at: usize, wire: WirePart) {
        if wire.is_text() {
            self.text(at, &wire);
            return;
        }
        let State { id, choices, .. } = &mut *self.state;
        let choice = &mut choices[at];
        let mut ids = AnswerIds { context: self.context, answer: id, choice: choice.index, calls: &mut choice.calls };
        let part = wire.into_part(&mut ids);
        let carrier = signature::of(&part).map(|own| match &part.content {
            Content::ToolCall(call) => signature::carrier(&own, Some(&call.id)),
            _ => signature::carrier(&own, None),
        });
        self.close(at);
        match (carrier, part.content) {
            (carrier, Content::ToolCall(call)) => {
                if let Some(carrier) = carrier {
                    self.whole(at, carrier);
                }
                let position = self.next(at);
                let (id, name) = (call.id, call.name);
                self.events.extend([
                    Event::PartStart(PartStart { at: position, kind: PartKind::ToolCall, id, name, carry: part.carry }),
                    Event::ToolArguments(Delta { at: position, text: call.arguments }),
                    Event::PartEnd(position),
                ]);
            }
            (carrier, content) => {
                self.whole(at, Part { content, ..part });
                if let Some(carrier) = carrier {
                    self.whole(at, carrier);
                }
            }
        }
    }

    fn text(&mut self, at: usize, wire: &WirePart) {
        let (text, thought) = (wire.text.as_deref().unwrap_or_default(), wire.thinks());
        let signed = wire.own_signature();
        let is_new = self.state.choices[at].open.as_ref().is_none_or(|open| open.thought != thought);
        if is_new {
            // A last empty piece says nothing.
            if text.is_empty() && signed.is_none() {
                return;
            }
            self.close(at);
            let kind = if thought { PartKind::Reasoning } else { PartKind::Text };
            let position = self.next(at);
            self.state.choices[at].open = Some(Open { part: position.part, thought });
            self.events.push(Event::PartStart(PartStart {
                at: position,
                kind,
                id: String::new(),
                name: String::new(),
                carry: Vec::new(),
            }));
        }
        let choice = &self.state.choices[at];
        let position = Position { choice: choice.index, part: choice.open.as_ref().map_or(0, |open| open.part) };
        if !text.is_empty() {
            self.events.push(Event::Text(Delta { at: position, text: text.to_owned() }));
        }
        // A signature ends what it signs: what follows is another part.
        match signed {
            Some(own) if thought => {
                self.events.push(Event::Signature(Delta { at: position, text: own.to_owned() }));
                self.close(at);
            }
            Some(own) => {
                self.events.push(Event::Carry(Carried { at: position, fields: vec![signature::field(own)] }));
                self.close(at);
                self.whole(at, signature::carrier(own, None));
            }
            None => {}
        }
    }

    fn whole(&mut self, at: usize, part: Part) {
        let position = self.next(at);
        self.events.push(Event::WholePart(WholePart { at: position, part }));
    }

    fn next(&mut self, at: usize) -> Position {
        let choice = &mut self.state.choices[at];
        choice.parts += 1;
        Position { choice: choice.index, part: choice.parts - 1 }
    }

    fn close(&mut self, at: usize) {
        let choice = &mut self.state.choices[at];
        if let Some(open) = choice.open.take() {
            self.events.push(Event::PartEnd(Position { choice: choice.index, part: open.part }));
        }
    }

    fn close_all(&mut self) {
        for at in 0..self.state.choices.len() {
            self.close(at);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state.ended = true;
        self.state.failed = true;
        self.events.push(Event::Error(failure));
    }
}
