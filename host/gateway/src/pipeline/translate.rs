//! Streams between different formats: frames → events → frames, by the provider and the dialect, with the state of both carried
//! by the host.

use std::sync::Arc;

use portcullis_core::Metered;
use portcullis_runtime::contract::chat::Event;
use portcullis_runtime::contract::types;
use portcullis_wire::framing::Frame;

use super::account::When;
use super::attempt::Running;
use super::failure::sanitised;
use super::usage::usage_of;
use super::{Exchange, Stop};

/// What a stream has told so far, whoever read it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub id: Option<String>,
    pub model: Option<String>,
    pub usage: Option<Metered>,
    /// The provider's own error within the stream.
    pub failure: Option<types::Failure>,
    /// Bytes of generated text, for an estimate.
    pub output_bytes: u64,
}

/// The states of both plugins between two calls.
#[derive(Debug, Default)]
pub(super) struct Translation {
    decoder: Vec<u8>,
    encoder: Vec<u8>,
}

impl Exchange {
    /// Translates a batch of frames. `last` ends both sides.
    pub(super) fn translate_frames(
        &mut self,
        running: &Running,
        translation: &mut Translation,
        told: &mut Told,
        frames: &[Frame],
        last: bool,
    ) -> Result<Vec<types::Frame>, Stop> {
        let plugin = Arc::clone(&running.offer.connection.plugin);
        let frames: Vec<types::Frame> = frames.iter().map(to_contract).collect();
        let state = std::mem::take(&mut translation.decoder);
        let endpoint = &*running.endpoint.name;
        let decoded = self
            .call(&plugin, "provider", |session, context| {
                session.decode_frames(context, endpoint, &state, &frames, last)
            })
            .map_err(|error| Stop::plugin(&plugin, "provider", &self.context.request_id, &error))??;
        translation.decoder = decoded.state;
        let mut events = decoded.events;
        for event in &mut events {
            self.read_event(event, told, &running.offer.connection.name);
        }
        if events.is_empty() && !last {
            return Ok(Vec::new());
        }
        let model = told.model.as_deref();
        let cost = told.usage.as_ref().and_then(|usage| self.cost_of(&running.offer, model, usage));
        let when = match (translation.encoder.is_empty(), last) {
            (_, true) => When::Whole,
            (true, false) => When::Begins,
            (false, false) => When::GoesOn,
        };
        let reply = self.reply(running, model, cost, when);
        let plugin = Arc::clone(&self.route.plugin);
        let state = std::mem::take(&mut translation.encoder);
        let encoded = self
            .call(&plugin, "dialect", |session, context| session.encode_events(context, &reply, &state, &events, last))
            .map_err(|error| Stop::plugin(&plugin, "dialect", &self.context.request_id, &error))??;
        translation.encoder = encoded.state;
        self.record.note(encoded.notes);
        Ok(encoded.frames)
    }

    fn read_event(&mut self, event: &mut Event, told: &mut Told, provider: &str) {
        match event {
            Event::Start(start) => {
                told.id = Some(start.id.clone());
                told.model = Some(start.model.clone());
                if let Some(usage) = &start.usage {
                    told.usage = Some(usage_of(usage));
                }
            }
            Event::Text(delta) | Event::ToolArguments(delta) => told.output_bytes += delta.text.len() as u64,
            Event::Usage(usage) => told.usage = Some(usage_of(usage)),
            Event::Finish(finish) => self.record.finished(&finish.finish),
            Event::Error(failure) => {
                tracing::warn!(
                    request_id = %self.context.request_id,
                    provider,
                    kind = ?failure.kind,
                    detail = %failure.message,
                    "a stream ended in the provider's error"
                );
                *failure = sanitised(failure.clone(), provider);
                told.failure = Some(failure.clone());
            }
            _ => {}
        }
    }
}

pub(super) fn to_contract(frame: &Frame) -> types::Frame {
    types::Frame { event: frame.event().to_owned(), data: frame.data().to_owned() }
}
