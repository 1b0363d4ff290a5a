//! A provider of models.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::bindings::provider::exports::portcullis::plugin::provider::{
    AnswerHead, DecodedFrames, DecodedResponse, Guest, Reading, Target, UpstreamRequest,
};
use crate::ir::{Context, Event, Failure, Finish, Frame, Json, Note, Request, Usage};
use crate::{Exported, Instance, Plugin, state};

/// Encodes requests for a provider and decodes its answers. See `wit/provider.wit`.
pub trait Provider: Plugin {
    /// What decoding a stream must remember from one batch of frames to the next. At most 64 KB when serialised.
    type State: Serialize + DeserializeOwned + Default;

    fn encode_request(&self, context: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure>;

    fn decode_response(&self, context: &Context, head: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure>;

    fn decode_frames(
        &self,
        context: &Context,
        state: &mut Self::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure>;

    fn decode_error(&self, context: &Context, head: &AnswerHead, body: &str) -> Failure;

    /// Reads id, model, usage and finish from an answer that is passed through: `metered` is what is known so far.
    fn meter(&self, context: &Context, metered: &mut Metered, frames: &[Frame], last: bool) -> Result<(), Failure>;
}

/// What the meter has read so far.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metered {
    pub id: Option<String>,
    pub model: Option<String>,
    pub usage: Option<Usage>,
    pub finishes: Vec<Finish>,
    pub failure: Option<Failure>,
}

impl UpstreamRequest {
    /// A request to an endpoint without path parameters, query or headers of its own.
    pub fn new(endpoint: &str, body: Json, notes: Vec<Note>) -> Self {
        UpstreamRequest {
            endpoint: endpoint.to_owned(),
            path: Vec::new(),
            query: Vec::new(),
            headers: Vec::new(),
            body,
            notes,
        }
    }
}

impl AnswerHead {
    /// The first header of this name, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|pair| pair.name.eq_ignore_ascii_case(name)).map(|pair| pair.value.as_str())
    }
}

impl<P: Provider + Instance> Guest for Exported<P> {
    fn encode_request(context: Context, target: Target, request: Request) -> Result<UpstreamRequest, Failure> {
        P::instance().encode_request(&context, &target, request)
    }

    fn decode_response(context: Context, head: AnswerHead, body: Json) -> Result<DecodedResponse, Failure> {
        P::instance().decode_response(&context, &head, &body)
    }

    fn decode_frames(
        context: Context,
        state: Vec<u8>,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<DecodedFrames, Failure> {
        let mut state = state::restore::<P::State>(&state)?;
        let events = P::instance().decode_frames(&context, &mut state, frames, last)?;
        Ok(DecodedFrames { state: state::save(&state)?, events })
    }

    fn decode_error(context: Context, head: AnswerHead, body: String) -> Failure {
        P::instance().decode_error(&context, &head, &body)
    }

    fn meter(context: Context, state: Vec<u8>, frames: Vec<Frame>, last: bool) -> Result<Reading, Failure> {
        let mut metered = state::restore::<Metered>(&state)?;
        P::instance().meter(&context, &mut metered, &frames, last)?;
        // After the last frame nobody hands the state back.
        let state = if last { Vec::new() } else { state::save(&metered)? };
        let Metered { id, model, usage, finishes, failure } = metered;
        Ok(Reading { state, id, model, usage, finishes, failure })
    }
}
