//! The provider's side: requests out, answers in.

mod answer;
mod error;
mod messages;
mod meter;
mod options;
mod request;
mod stream;
mod thinking;

use portcullis_plugin::prelude::*;

use crate::Ollama;

impl Provider for Ollama {
    type State = stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        request::encode(&self.config, target, &request)
    }

    fn decode_response(&self, context: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        Ok(DecodedResponse { response: answer::decode(context, body)?, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        context: &Context,
        _endpoint: &str,
        state: &mut stream::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        Ok(stream::decode(context, state, frames, last))
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
