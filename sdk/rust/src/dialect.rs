//! A client protocol.
//!
//! Requests decode to the internal representation, answers and stream events encode from it. What the representation does not
//! model goes to `extra` as raw JSON ([`wire_object!`](crate::wire_object) does that), so that a protocol that meets itself loses nothing.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//! use portcullis_plugin::json::{self, Writer};
//! use portcullis_plugin::manifest::{Framing, Location, Route};
//!
//! /// `POST /ask` with `{"model", "prompt", "stream"}` is answered by `{"text"}`, or a line of it for each piece.
//! struct Ask;
//!
//! portcullis_plugin::wire_object! {
//!     struct Question { model: Option<String>, prompt: Option<String>, stream: bool }
//! }
//!
//! fn text(text: &str) -> Json {
//!     let mut out = Writer::new();
//!     out.begin_object();
//!     out.member_string("text", text);
//!     out.end_object();
//!     out.finish()
//! }
//!
//! impl Plugin for Ask {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         let route = Route {
//!             stream: Location::Body("/stream".to_owned()),
//!             stream_framing: Framing::Ndjson,
//!             ..Route::post("ask", "chat", "ask", "/ask", Location::Body("/model".to_owned()))
//!         };
//!         Manifest { access: Access::WRITE, routes: vec![route], ..Manifest::new("ask", "1.0.0", "the plainest protocol") }
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> {
//!         Ok(Ask)
//!     }
//! }
//!
//! impl Dialect for Ask {
//!     type State = ();
//!
//!     fn decode_request(&self, _: &Context, _: &Head, body: &str) -> Result<Request, Failure> {
//!         let question: Question = json::parse(body)?;
//!         let prompt = question.prompt.ok_or_else(|| Failure::invalid("prompt", "prompt is required"))?;
//!         Ok(Request {
//!             messages: vec![Message::new(Role::User, vec![Part::text(prompt)])],
//!             stream: question.stream,
//!             extra: question.extra,
//!             ..Request::new("ask", question.model.unwrap_or_default())
//!         })
//!     }
//!
//!     fn encode_response(&self, _: &Context, _: &Reply, response: Response) -> Result<Json, Failure> {
//!         let parts = response.choices.into_iter().flat_map(|choice| choice.parts);
//!         let texts = parts.filter_map(|part| if let Content::Text(text) = part.content { Some(text) } else { None });
//!         Ok(text(&texts.collect::<String>()))
//!     }
//!
//!     fn encode_events(
//!         &self,
//!         _: &Context,
//!         _: &Reply,
//!         _: &mut (),
//!         events: Vec<Event>,
//!         _last: bool,
//!     ) -> Result<Vec<Frame>, Failure> {
//!         let pieces = events.into_iter().filter_map(|event| if let Event::Text(delta) = event { Some(delta) } else { None });
//!         Ok(pieces.map(|delta| Frame::data(text(&delta.text))).collect())
//!     }
//!
//!     fn leaves_out(&self, _: &str, part: &str) -> bool {
//!         part != "text"
//!     }
//!
//!     fn encode_error(&self, _: &Context, _: &str, failure: &Failure) -> ErrorReply {
//!         let body = format!(r#"{{"error":{}}}"#, json::quote(&failure.message));
//!         ErrorReply { status: failure.kind.status(), headers: Vec::new(), frames: vec![Frame::data(body.clone())], body }
//!     }
//!
//!     fn encode_models(&self, _: &Context, models: &[ModelEntry]) -> Json {
//!         serde_json::to_string(&models.iter().map(|model| &model.id).collect::<Vec<_>>()).unwrap_or_default()
//!     }
//! }
//!
//! portcullis_plugin::export!(Ask: dialect);
//! ```

mod account;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use account::usd;

pub use crate::bindings::dialect::exports::portcullis::plugin::dialect::{
    Account, Cost, EncodedEvents, EncodedResponse, ErrorReply, Guest, Head, ModelEntry, Reply,
};
use std::borrow::Cow;

use crate::ir::{Context, Event, Failure, Frame, Json, Note, Request, Response};
use crate::notes::Notes;
use crate::{Exported, Instance, Plugin, state};

/// Decodes requests of a client protocol and encodes answers to it. See `wit/dialect.wit`.
pub trait Dialect: Plugin {
    /// What encoding a stream must remember from one batch of events to the next. At most 64 KB when serialised.
    type State: Serialize + DeserializeOwned + Default;

    /// Bad input is `invalid-request` with the field in `param`.
    fn decode_request(&self, context: &Context, head: &Head, body: &str) -> Result<Request, Failure>;

    /// A whole answer.
    fn encode_response(&self, context: &Context, reply: &Reply, response: Response) -> Result<Json, Failure>;

    /// Whether the answers of this route have no place for such a part, by its [kind](crate::ir::Content::kind): `reasoning`, `image`,
    /// `gemini.executableCode`. The SDK notes for the receipt what was left out.
    fn leaves_out(&self, route: &str, part: &str) -> bool;

    /// The next events of a stream. `last` says that none follows: what ends a stream in this protocol is written now.
    fn encode_events(
        &self,
        context: &Context,
        reply: &Reply,
        state: &mut Self::State,
        events: Vec<Event>,
        last: bool,
    ) -> Result<Vec<Frame>, Failure>;

    /// An error as an HTTP answer of its own and as frames of a stream that has begun; its message is fit for the client.
    fn encode_error(&self, context: &Context, route: &str, failure: &Failure) -> ErrorReply;

    /// The models a caller may use.
    fn encode_models(&self, context: &Context, models: &[ModelEntry]) -> Json;
}

fn left_out<'a>(plugin: &impl Dialect, route: &str, parts: impl Iterator<Item = Cow<'a, str>>) -> Vec<Note> {
    let mut notes = Notes::default();
    parts.filter(|part| plugin.leaves_out(route, part)).for_each(|part| notes.dropped(&part));
    notes.into_vec()
}

impl<P: Dialect + Instance> Guest for Exported<P> {
    fn decode_request(context: Context, head: Head, body: Json) -> Result<Request, Failure> {
        P::instance().decode_request(&context, &head, &body)
    }

    fn encode_response(context: Context, reply: Reply, response: Response) -> Result<EncodedResponse, Failure> {
        let plugin = P::instance();
        let parts = response.choices.iter().flat_map(|choice| &choice.parts);
        let notes = left_out(plugin, &reply.route, parts.map(|part| part.content.kind()));
        Ok(EncodedResponse { body: plugin.encode_response(&context, &reply, response)?, notes })
    }

    fn encode_events(
        context: Context,
        reply: Reply,
        state: Vec<u8>,
        events: Vec<Event>,
        last: bool,
    ) -> Result<EncodedEvents, Failure> {
        let plugin = P::instance();
        let mut state = state::restore::<P::State>(&state)?;
        let parts = events.iter().filter_map(|event| match event {
            Event::PartStart(start) => Some(Cow::Borrowed(start.kind.name())),
            Event::WholePart(whole) => Some(whole.part.content.kind()),
            _ => None,
        });
        let notes = left_out(plugin, &reply.route, parts);
        let frames = plugin.encode_events(&context, &reply, &mut state, events, last)?;
        Ok(EncodedEvents { state: state::save(&state)?, frames, notes })
    }

    fn encode_error(context: Context, route: String, failure: Failure) -> ErrorReply {
        P::instance().encode_error(&context, &route, &failure)
    }

    fn encode_models(context: Context, models: Vec<ModelEntry>) -> Json {
        P::instance().encode_models(&context, &models)
    }
}
