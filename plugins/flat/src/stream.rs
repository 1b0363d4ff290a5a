//! A streamed answer: frames of `{"content"}`, and one without content that has all the rest.
//!
//! Invariant: that last frame comes once, when no event can follow, and not after an error, which is the last frame itself.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::response::Told;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    id: String,
    model: String,
    /// Parts of the first answer whose text is told: not those of thinking.
    told: Vec<u32>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    failed: bool,
}

pub fn encode(context: &Context, reply: &Reply, state: &mut State, events: Vec<Event>, last: bool) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(events.len() + 1);
    for event in events {
        if state.failed {
            break;
        }
        frames.extend(state.frame(event).map(Frame::data));
    }
    if last && !state.failed {
        let mut writer = Writer::with_capacity(512);
        writer.begin_object();
        let told = Told { id: &state.id, model: &state.model, finish: state.finish, usage: state.usage.as_ref() };
        told.write(&mut writer, context, reply);
        writer.end_object();
        frames.push(Frame::data(writer.finish()));
    }
    frames
}

impl State {
    fn frame(&mut self, event: Event) -> Option<Json> {
        match event {
            Event::Start(start) => {
                (self.id, self.model, self.usage) = (start.id, start.model, start.usage);
            }
            Event::PartStart(start) if start.at.choice == 0 => {
                if matches!(start.kind, PartKind::Text | PartKind::Refusal) {
                    self.told.push(start.at.part);
                }
            }
            Event::Text(delta) if delta.at.choice == 0 && self.told.contains(&delta.at.part) => {
                return content(&delta.text);
            }
            Event::PartEnd(at) if at.choice == 0 => self.told.retain(|part| *part != at.part),
            Event::WholePart(whole) if whole.at.choice == 0 => {
                if let Content::Text(text) | Content::Refusal(text) = &whole.part.content {
                    return content(text);
                }
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish(finish) if finish.choice == 0 => self.finish = Some(finish.finish.reason),
            Event::Error(failure) => {
                self.failed = true;
                return Some(error::document(&failure));
            }
            // The protocol has one answer, of texts.
            _ => {}
        }
        None
    }
}

/// A piece of text; an empty one tells nothing.
fn content(text: &str) -> Option<Json> {
    if text.is_empty() {
        return None;
    }
    let mut writer = Writer::with_capacity(text.len() + 16);
    writer.begin_object();
    writer.member_string("content", text);
    writer.end_object();
    Some(writer.finish())
}
