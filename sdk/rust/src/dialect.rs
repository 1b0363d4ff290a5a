//! A client protocol.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::dialect::exports::portcullis::plugin::dialect::{
    EncodedEvents, ErrorReply, Guest, Head, ModelEntry, Reply,
};
use crate::ir::{Context, Event, Failure, Frame, Json, Request, Response};
use crate::{Exported, Instance, Plugin, state};

/// Decodes requests of a client protocol and encodes answers to it. See `wit/dialect.wit`.
pub trait Dialect: Plugin {
    /// What encoding a stream must remember from one batch of events to the next. At most 64 KB when serialised.
    type State: Serialize + DeserializeOwned + Default;

    fn decode_request(&self, context: &Context, head: &Head, body: &str) -> Result<Request, Failure>;

    fn encode_response(&self, context: &Context, reply: &Reply, response: Response) -> Result<Json, Failure>;

    fn encode_events(
        &self,
        context: &Context,
        reply: &Reply,
        state: &mut Self::State,
        events: Vec<Event>,
        last: bool,
    ) -> Result<Vec<Frame>, Failure>;

    fn encode_error(&self, context: &Context, failure: &Failure) -> ErrorReply;

    fn encode_models(&self, context: &Context, models: &[ModelEntry]) -> Json;
}

impl<P: Dialect + Instance> Guest for Exported<P> {
    fn decode_request(context: Context, head: Head, body: Json) -> Result<Request, Failure> {
        P::instance().decode_request(&context, &head, &body)
    }

    fn encode_response(context: Context, reply: Reply, response: Response) -> Result<Json, Failure> {
        P::instance().encode_response(&context, &reply, response)
    }

    fn encode_events(
        context: Context,
        reply: Reply,
        state: Vec<u8>,
        events: Vec<Event>,
        last: bool,
    ) -> Result<EncodedEvents, Failure> {
        let mut state = state::restore::<P::State>(&state)?;
        let frames = P::instance().encode_events(&context, &reply, &mut state, events, last)?;
        Ok(EncodedEvents { state: state::save(&state)?, frames })
    }

    fn encode_error(context: Context, failure: Failure) -> ErrorReply {
        P::instance().encode_error(&context, &failure)
    }

    fn encode_models(context: Context, models: Vec<ModelEntry>) -> Json {
        P::instance().encode_models(&context, &models)
    }
}
