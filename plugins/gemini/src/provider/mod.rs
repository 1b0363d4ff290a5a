//! The provider's side: requests out, answers in.

mod contents;
mod error;
mod generation;
mod inline;
mod media;
mod meter;
mod names;
mod reasoning;
mod request;
mod response;
mod schema;
mod stream;
mod tools;

use portcullis_plugin::prelude::*;

use crate::Gemini;

impl Provider for Gemini {
    type State = stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        request::encode(target, &request)
    }

    fn decode_response(&self, context: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        Ok(DecodedResponse { response: response::decode(context, body)?, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        context: &Context,
        _: &str,
        state: &mut stream::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        stream::decode(context, state, &frames, last)
    }

    fn decode_error(&self, context: &Context, head: &AnswerHead, body: &str) -> Failure {
        error::decode(context, head, body)
    }

    fn meter(
        &self,
        _: &Context,
        endpoint: &str,
        metered: &mut Metered,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure> {
        meter::read(endpoint, metered, frames, last)
    }
}
