//! The client's side: requests in, answers out.

mod error;
mod models;
mod request;
mod response;
mod stream;

use portcullis_plugin::prelude::*;

use crate::Anthropic;
use portcullis_anthropic_messages::FORMAT;

impl Dialect for Anthropic {
    type State = stream::State;

    fn decode_request(&self, _: &Context, _: &Head, body: &str) -> Result<Request, Failure> {
        request::decode(body)
    }

    fn encode_response(&self, context: &Context, reply: &Reply, response: Response) -> Result<Json, Failure> {
        Ok(response::encode(context, reply, response))
    }

    fn encode_events(
        &self,
        context: &Context,
        reply: &Reply,
        state: &mut stream::State,
        events: Vec<Event>,
        last: bool,
    ) -> Result<Vec<Frame>, Failure> {
        stream::encode(context, reply, state, events, last)
    }

    fn leaves_out(&self, _: &str, part: &str) -> bool {
        match part.split_once('.') {
            Some((format, _)) => format != FORMAT,
            None => matches!(part, "image" | "audio" | "video" | "document" | "tool-result"),
        }
    }

    fn encode_error(&self, context: &Context, _: &str, failure: &Failure) -> ErrorReply {
        error::encode(context, failure)
    }

    fn encode_models(&self, _: &Context, models: &[ModelEntry]) -> Json {
        models::encode(models)
    }
}
