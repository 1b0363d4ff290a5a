//! The provider's side: requests out, answers in.

mod content;
mod error;
mod media;
mod messages;
mod meter;
mod names;
mod output;
mod reasoning;
mod request;
mod response;
mod stream;
mod tools;

use portcullis_plugin::prelude::*;

use crate::Bedrock;

impl Provider for Bedrock {
    type State = stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        request::encode(target, &request)
    }

    fn decode_response(&self, context: &Context, head: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        let id = head.header("x-amzn-requestid").unwrap_or(&context.request_id);
        Ok(DecodedResponse { response: response::decode(id, body)?, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        context: &Context,
        _endpoint: &str,
        state: &mut stream::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        stream::decode(state, &context.request_id, frames, last)
    }

    fn decode_error(&self, context: &Context, head: &AnswerHead, body: &str) -> Failure {
        error::decode(head, body, context.now)
    }

    fn meter(
        &self,
        _: &Context,
        _endpoint: &str,
        metered: &mut Metered,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure> {
        meter::read(metered, frames, last)
    }
}
