//! OpenAI Chat Completions, as a client protocol and as a provider. Its wire format is called `openai-chat`.
//!
//! `wire` holds the documents both sides share; `dialect` turns a client's requests into the internal representation
//! and answers into its documents; `provider` does the same towards OpenAI and servers compatible with it. Conversions are pure
//! functions. Reasoning, for which the protocol has no field, travels as [`wire::reasoning`] describes.

mod catalogue;
pub mod dialect;
mod manifest;
pub mod provider;
pub mod wire;

use portcullis_plugin::prelude::*;
use portcullis_plugin::provider::Metered as Meter;

/// The `carry` field of a tool call whose input is free text, in streams, where the call's record has no place for it.
pub const CUSTOM_TOOL: &str = "openai.custom-tool";

/// The `carry` field that names the format a streamed reasoning part was signed for, where it is not the stream's own.
pub const REASONING_FORMAT: &str = "openai.reasoning-format";

pub struct OpenAi;

impl Plugin for OpenAi {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(OpenAi)
    }
}

impl Dialect for OpenAi {
    type State = dialect::stream::State;

    fn decode_request(&self, _: &Context, _: &Head, body: &str) -> Result<Request, Failure> {
        dialect::request::decode(body)
    }

    fn encode_response(&self, context: &Context, reply: &Reply, response: Response) -> Result<Json, Failure> {
        Ok(dialect::response::encode(context, reply, &response))
    }

    fn encode_events(
        &self,
        context: &Context,
        reply: &Reply,
        state: &mut Self::State,
        events: Vec<Event>,
        last: bool,
    ) -> Result<Vec<Frame>, Failure> {
        dialect::stream::encode(context, reply, state, events, last)
    }

    fn encode_error(&self, _: &Context, failure: &Failure) -> ErrorReply {
        dialect::error::encode(failure)
    }

    fn encode_models(&self, _: &Context, models: &[ModelEntry]) -> Json {
        dialect::models(models)
    }
}

impl Provider for OpenAi {
    type State = provider::stream::State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        let (body, notes) = provider::request::encode(target, &request)?;
        Ok(UpstreamRequest::new("chat", body, notes))
    }

    fn decode_response(&self, context: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        Ok(DecodedResponse { response: provider::response::decode(context, body)?, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        context: &Context,
        _endpoint: &str,
        state: &mut Self::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        Ok(provider::stream::decode(context, state, frames, last))
    }

    fn decode_error(&self, context: &Context, head: &AnswerHead, body: &str) -> Failure {
        provider::error::decode(context, head, body)
    }

    fn meter(
        &self,
        _: &Context,
        _endpoint: &str,
        metered: &mut Meter,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure> {
        provider::meter::read(metered, frames, last);
        Ok(())
    }
}

portcullis_plugin::export!(OpenAi: dialect, provider);
portcullis_plugin::golden_vectors!(OpenAi: dialect, provider);
