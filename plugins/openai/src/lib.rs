//! OpenAI Chat Completions and Responses, as client protocols and as a provider. Their wire formats are called `openai-chat` and
//! `openai-responses`.
//!
//! [`wire`] holds the documents both sides share; `dialect` turns a client's requests into the internal representation
//! and answers into its documents; [`mod@provider`], with `wire` from the library that compatible providers share, does the same towards
//! OpenAI. Conversions are pure functions. Reasoning, for which the protocol has no field, travels as [`wire::reasoning`] describes. [`responses`] is the same
//! for the other protocol; `state` keeps the two apart within a stream.

mod catalogue;
mod config;
pub mod dialect;
mod manifest;
pub mod responses;
mod state;

pub use portcullis_openai_chat::{CUSTOM_TOOL, REASONING_FORMAT, operations, provider, wire};
use portcullis_plugin::prelude::*;
use portcullis_plugin::provider::Metered as Meter;

pub struct OpenAi {
    config: config::Config,
}

impl Plugin for OpenAi {
    type Config = config::Config;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(config: config::Config) -> Result<Self, String> {
        Ok(OpenAi { config })
    }
}

impl Dialect for OpenAi {
    type State = state::Of<dialect::stream::State, responses::dialect::stream::State>;

    fn decode_request(&self, _: &Context, head: &Head, body: &str) -> Result<Request, Failure> {
        match head.route == responses::NAME {
            true => responses::dialect::request::decode(body),
            false => dialect::request::decode(body),
        }
    }

    fn encode_response(&self, context: &Context, reply: &Reply, response: Response) -> Result<Json, Failure> {
        Ok(match reply.route == responses::NAME {
            true => responses::dialect::response::encode(context, reply, &response),
            false => dialect::response::encode(context, reply, &response),
        })
    }

    fn encode_events(
        &self,
        context: &Context,
        reply: &Reply,
        state: &mut Self::State,
        events: Vec<Event>,
        last: bool,
    ) -> Result<Vec<Frame>, Failure> {
        match reply.route == responses::NAME {
            true => responses::dialect::stream::encode(context, reply, state.responses(), events, last),
            false => dialect::stream::encode(context, reply, state.chat(), events, last),
        }
    }

    fn leaves_out(&self, route: &str, part: &str) -> bool {
        match part.split_once('.') {
            Some((format, _)) => route != responses::NAME || format != responses::FORMAT,
            None => matches!(part, "image" | "audio" | "video" | "document" | "tool-result"),
        }
    }

    fn encode_error(&self, _: &Context, route: &str, failure: &Failure) -> ErrorReply {
        let reply = dialect::error::encode(failure);
        match route == responses::NAME {
            true => ErrorReply { frames: vec![responses::dialect::error::frame(failure)], ..reply },
            false => reply,
        }
    }

    fn encode_models(&self, _: &Context, models: &[ModelEntry]) -> Json {
        dialect::models(models)
    }
}

impl Provider for OpenAi {
    type State = state::Of<provider::stream::State, responses::provider::stream::State>;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        if self.config.wants_responses(target, &request) {
            let (body, notes) = responses::provider::request::encode(target, &request)?;
            return Ok(UpstreamRequest::new(responses::NAME, body, notes));
        }
        let (body, notes) = provider::request::encode(target, &request)?;
        Ok(UpstreamRequest::new("chat", body, notes))
    }

    fn decode_response(&self, context: &Context, head: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        let response = match head.endpoint == responses::NAME {
            true => responses::provider::response::decode(body)?,
            false => provider::response::decode(context, body)?,
        };
        Ok(DecodedResponse { response, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        context: &Context,
        endpoint: &str,
        state: &mut Self::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        Ok(match endpoint == responses::NAME {
            true => responses::provider::stream::decode(state.responses(), frames, last),
            false => provider::stream::decode(context, state.chat(), frames, last),
        })
    }

    fn decode_error(&self, context: &Context, head: &AnswerHead, body: &str) -> Failure {
        responses::provider::error::explained(provider::error::decode(context, head, body))
    }

    fn meter(
        &self,
        _: &Context,
        endpoint: &str,
        metered: &mut Meter,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure> {
        match endpoint {
            responses::NAME => responses::provider::meter::read(metered, frames, last),
            "chat" => provider::meter::read(metered, frames, last),
            _ => operations::meter::read(endpoint, metered, frames, last),
        }
        Ok(())
    }
}

portcullis_plugin::export!(OpenAi: dialect, provider);
portcullis_plugin::golden_vectors!(OpenAi: dialect, provider);
