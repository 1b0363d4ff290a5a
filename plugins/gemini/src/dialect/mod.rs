//! The client's side: requests in, answers out.

mod error;
mod models;
mod request;
mod response;
mod stream;
mod tools;

use portcullis_plugin::prelude::*;

use crate::{FORMAT, Gemini};

impl Dialect for Gemini {
    type State = stream::State;

    fn decode_request(&self, context: &Context, head: &Head, body: &str) -> Result<Request, Failure> {
        request::decode(context, head, body)
    }

    fn encode_response(&self, context: &Context, reply: &Reply, response: Response) -> Result<Json, Failure> {
        Ok(response::encode(context, reply, &response))
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
        // A raw item has its format in front.
        part == "tool-result" || part.split_once('.').is_some_and(|(format, _)| format != FORMAT)
    }

    fn encode_error(&self, _: &Context, route: &str, failure: &Failure) -> ErrorReply {
        let reply = error::encode(failure);
        if !response::is_array(route) {
            return reply;
        }
        ErrorReply { body: format!("[{}]", reply.body), ..reply }
    }

    fn encode_models(&self, _: &Context, models: &[ModelEntry]) -> Json {
        models::encode(models)
    }
}
