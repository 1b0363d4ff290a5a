//! The flat protocol: a chat for applications that want a text, who wrote it and what it cost, and no choices, parts or deltas.
//!
//! `POST /api/v1/llm/chat`, and `/v1/chat/completions` with the header `x-portcullis-format: flat` or a key that says so for it, take
//!
//! ```json
//! {"model": "openai/gpt-5-mini", "system": "Be brief.", "messages": [{"role": "user", "content": "Who are you?"}]}
//! ```
//!
//! where `"auto_route": true` in place of (or beside) `model` leaves the choice to the gateway, and answer
//!
//! ```json
//! {"id": "…", "content": "A gateway.", "model": "gpt-5-mini", "provider": "openai", "route_method": "explicit", "finish_reason": "stop",
//!  "usage": {"input_tokens": 9, "output_tokens": 3, "tokens_in": 9, "tokens_out": 3, "cost_usd": 0.000008}}
//! ```
//!
//! with `metadata` and `x-llm-gateway` beside. A stream is server-sent events of `{"content"}` and a last one that has all the rest
//! and no content. An error is `{"error": {"code", "message"}}`, in a stream as its last event.
//!
//! The protocol is this project's own: what is written here and in the golden vectors is its specification. Its tokens are totals: cached
//! ones are input, those of thinking output, and thoughts themselves are not told.

mod error;
mod manifest;
mod models;
mod request;
mod response;
mod stream;

use portcullis_plugin::prelude::*;

/// The name of this wire format in the contract.
pub const FORMAT: &str = "flat";

/// The plugin. It has nothing to configure.
#[derive(Debug)]
pub struct Flat;

impl Plugin for Flat {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Flat)
    }
}

impl Dialect for Flat {
    type State = stream::State;

    fn decode_request(&self, _: &Context, _: &Head, body: &str) -> Result<Request, Failure> {
        request::decode(body)
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
        Ok(stream::encode(context, reply, state, events, last))
    }

    fn leaves_out(&self, _: &str, part: &str) -> bool {
        !matches!(part, "text" | "refusal")
    }

    fn encode_error(&self, _: &Context, _: &str, failure: &Failure) -> ErrorReply {
        error::encode(failure)
    }

    fn encode_models(&self, _: &Context, models: &[ModelEntry]) -> Json {
        models::encode(models)
    }
}

portcullis_plugin::export!(Flat: dialect);
portcullis_plugin::golden_vectors!(Flat: dialect);
