//! A provider of models.
//!
//! A provider fills the parameters of endpoints it declared; it builds no URL and sees no credential. Where its format is the
//! client's the gateway passes the client's bytes through, and only `meter` is asked.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//! use portcullis_plugin::json;
//! use portcullis_plugin::manifest::{Endpoint, Framing};
//!
//! /// A server that answers `{"model", "prompt"}` by `{"text"}`, or a line of it for each piece and `{"done":true}`.
//! struct Plain;
//!
//! portcullis_plugin::wire_object! {
//!     struct Piece { text: Option<String>, done: bool }
//! }
//!
//! impl Plugin for Plain {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         let endpoint = Endpoint { stream_framing: Framing::Ndjson, ..Endpoint::post("ask", "chat", "plain", "/ask") };
//!         let access = Access::WRITE;
//!         Manifest { access, endpoints: vec![endpoint], ..Manifest::new("plain", "1.0.0", "the plainest provider") }
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> {
//!         Ok(Plain)
//!     }
//! }
//!
//! impl Provider for Plain {
//!     /// Whether the answer's one part has begun.
//!     type State = bool;
//!
//!     fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
//!         let (mut prompt, mut notes) = (String::new(), Vec::new());
//!         for part in request.messages.into_iter().flat_map(|message| message.parts) {
//!             match part.content {
//!                 Content::Text(text) => prompt.push_str(&text),
//!                 _ => notes.push(Note::dropped("message part")),
//!             }
//!         }
//!         let body = format!(r#"{{"model":{},"prompt":{}}}"#, json::quote(&target.model), json::quote(&prompt));
//!         Ok(UpstreamRequest::new("ask", body, notes))
//!     }
//!
//!     fn decode_response(&self, context: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
//!         let piece: Piece = json::parse_upstream(body)?;
//!         let text = piece.text.ok_or_else(|| Failure::upstream_protocol("the answer has no text"))?;
//!         let choice = Choice {
//!             index: 0,
//!             parts: vec![Part::text(text)],
//!             finish: Some(Finish { reason: FinishReason::Stop, raw: String::new(), stop_sequence: None }),
//!             logprobs: None,
//!             extra: piece.extra,
//!         };
//!         let response = Response {
//!             format: "plain".to_owned(),
//!             id: format!("plain-{:x}", context.seed),
//!             model: String::new(),
//!             created: None,
//!             choices: vec![choice],
//!             usage: None,
//!             extra: Vec::new(),
//!         };
//!         Ok(DecodedResponse { response, notes: Vec::new() })
//!     }
//!
//!     fn decode_frames(
//!         &self,
//!         _: &Context,
//!         _endpoint: &str,
//!         begun: &mut bool,
//!         frames: Vec<Frame>,
//!         last: bool,
//!     ) -> Result<Vec<Event>, Failure> {
//!         let at = Position { choice: 0, part: 0 };
//!         let (mut events, mut done) = (Vec::new(), false);
//!         for frame in frames {
//!             let piece: Piece = json::parse_upstream(&frame.data)?;
//!             if !std::mem::replace(begun, true) {
//!                 let (id, name) = (String::new(), String::new());
//!                 events.push(Event::PartStart(PartStart { at, kind: PartKind::Text, id, name, carry: Vec::new() }));
//!             }
//!             events.extend(piece.text.map(|text| Event::Text(Delta { at, text })));
//!             done |= piece.done;
//!         }
//!         if done {
//!             let finish = Finish { reason: FinishReason::Stop, raw: "done".to_owned(), stop_sequence: None };
//!             events.extend([Event::PartEnd(at), Event::Finish(ChoiceFinish { choice: 0, finish })]);
//!         } else if last {
//!             events.push(Event::Error(Failure::upstream_protocol("the stream ended early")));
//!         }
//!         Ok(events)
//!     }
//!
//!     fn decode_error(&self, _: &Context, head: &AnswerHead, _: &str) -> Failure {
//!         Failure::new(FailureKind::of_status(head.status), "The provider refused the request.")
//!     }
//!
//!     fn meter(&self, _: &Context, _: &str, _: &mut Metered, _: &[Frame], _last: bool) -> Result<(), Failure> {
//!         Ok(()) // This protocol tells no usage.
//!     }
//! }
//!
//! portcullis_plugin::export!(Plain: provider);
//! ```

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

    /// What does not cross to this provider becomes a note, and is never lost in silence.
    fn encode_request(&self, context: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure>;

    /// A whole answer of status 2xx.
    fn decode_response(&self, context: &Context, head: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure>;

    /// The next frames of a stream of a declared endpoint. `last` says that the provider closed it: without its proper end that is
    /// an `error` event.
    fn decode_frames(
        &self,
        context: &Context,
        endpoint: &str,
        state: &mut Self::State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure>;

    /// An answer that is not 2xx. What cannot be read is mapped by its status.
    fn decode_error(&self, context: &Context, head: &AnswerHead, body: &str) -> Failure;

    /// Reads id, model, usage and finish from an answer of a declared endpoint that is passed through: `metered` is what is known
    /// so far.
    fn meter(
        &self,
        context: &Context,
        endpoint: &str,
        metered: &mut Metered,
        frames: &[Frame],
        last: bool,
    ) -> Result<(), Failure>;
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
            body: body.into_bytes(),
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
        endpoint: String,
        state: Vec<u8>,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<DecodedFrames, Failure> {
        let mut state = state::restore::<P::State>(&state)?;
        let events = P::instance().decode_frames(&context, &endpoint, &mut state, frames, last)?;
        Ok(DecodedFrames { state: state::save(&state)?, events })
    }

    fn decode_error(context: Context, head: AnswerHead, body: String) -> Failure {
        P::instance().decode_error(&context, &head, &body)
    }

    fn meter(
        context: Context,
        endpoint: String,
        state: Vec<u8>,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Reading, Failure> {
        let mut metered = state::restore::<Metered>(&state)?;
        P::instance().meter(&context, &endpoint, &mut metered, &frames, last)?;
        // After the last frame nobody hands the state back.
        let state = if last { Vec::new() } else { state::save(&metered)? };
        let Metered { id, model, usage, finishes, failure } = metered;
        Ok(Reading { state, id, model, usage, finishes, failure })
    }
}
