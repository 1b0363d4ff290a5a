//! The provider's side: requests out, answers in, as the library has them.

use portcullis_anthropic_messages::COUNT;
use portcullis_anthropic_messages::platform::ANTHROPIC;
use portcullis_anthropic_messages::provider::{error, meter, request, response, stream};
use portcullis_plugin::prelude::*;

use crate::Anthropic;

impl Provider for Anthropic {
    type State = stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        let (body, notes) = request::encode(&ANTHROPIC, target, &request)?;
        Ok(UpstreamRequest::new("chat", body, notes))
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
        stream::decode(state, &frames, last)
    }

    fn decode_error(&self, _: &Context, head: &AnswerHead, body: &str) -> Failure {
        error::decode(head, body)
    }

    fn meter(
        &self,
        _: &Context,
        endpoint: &str,
        metered: &mut Metered,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure> {
        if endpoint == COUNT {
            return Ok(());
        }
        meter::read(metered, frames, last)
    }
}
