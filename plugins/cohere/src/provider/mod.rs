//! The provider's side: requests out, answers in.

mod content;
mod error;
mod messages;
mod meter;
mod reasoning;
mod request;
mod response;
mod stream;
mod tools;
mod wire;

use portcullis_plugin::prelude::*;

use crate::Cohere;

impl Provider for Cohere {
    type State = stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        request::encode(target, &request)
    }

    fn decode_response(&self, _: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        Ok(DecodedResponse { response: response::decode(body)?, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        _: &Context,
        _endpoint: &str,
        state: &mut stream::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        Ok(stream::decode(state, frames, last))
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
