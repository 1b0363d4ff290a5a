//! Conversations by name: what was said before is put in front of a request that names an answer, and a turn is kept once its
//! answer is whole.
//!
//! Invariant 9: only for an organisation that opted in, and what is kept is what went to the provider and to the client: after
//! the guards. Invariant 11: only to the key that it belongs to. A provider keeps nothing, since its account is everybody's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use portcullis_core::RequestId;
use portcullis_runtime::contract::{chat, types};
use portcullis_store::{Conversations, NewTurn, StoreError, Turn, TurnOwner};
use portcullis_wire::framing::{Frame, Splitter};
use portcullis_wire::json::{self, EditError, Edits, Pattern, Pointer};

use super::chat::Inbound;
use super::facts::{Facts, invalid};
use super::{Exchange, Stop};
use crate::catalog::Offer;
use crate::continuation::{self, Continuation};

/// A turn that will be kept if its answer comes to its end.
pub(crate) struct OpenTurn {
    previous: Option<RequestId>,
    /// Items of the request's that earlier turns hold.
    recalled: usize,
    /// The request's own items, once the guards have seen them.
    input: String,
    ttl_ms: u64,
}

/// What an answer is to say of the conversation that it is in, since its provider knows of none.
pub(crate) struct Asked {
    previous: Option<String>,
    /// This gateway keeps it.
    stored: bool,
}

impl Exchange {
    /// Puts the conversation that a request names in front of it, and sees to it that no provider keeps it.
    pub(super) async fn go_on(&mut self, route: &Continuation, inbound: &mut Inbound) -> Result<(), Stop> {
        let body = &inbound.body;
        let previous = route.previous(body).map_err(|_| {
            let name = member(route);
            Stop::failed(invalid(Some(name), format!("`{name}` is not a string")))
        })?;
        let snapshot = Arc::clone(&self.snapshot);
        let config = &snapshot.config.conversations;
        let keeps = config.keeps(&self.caller.organisation);
        let (mut before, mut newest) = (String::new(), None);
        if let Some(name) = &previous {
            if !keeps {
                return Err(unknown(route, name));
            }
            (before, newest) = self.recalled(route, name).await.map(|(items, newest)| (items, Some(newest)))?;
        }
        if keeps && route.may_keep(body) {
            self.turn = Some(OpenTurn {
                previous: newest,
                recalled: continuation::count(&before),
                input: String::new(),
                ttl_ms: config.ttl_seconds.saturating_mul(1000),
            });
        } else if route.must_keep(body) {
            let subject = "store".to_owned();
            self.record.note(vec![types::Note { code: "dropped".to_owned(), subject }]);
        }
        if previous.is_some() || self.turn.is_some() {
            self.asked = Some(Asked { previous: previous.as_deref().map(str::to_owned), stored: self.turn.is_some() });
        }
        let detached = route.detached(body, &before);
        let detached = detached.map_err(|error| Stop::failed(invalid(None, error.to_string())))?;
        if let Some(body) = detached {
            inbound.body = body.into();
            self.facts = Facts::read(&self.route, &inbound.body, &self.head.path, &self.caller.key_id)?;
            self.context.seed = self.facts.seed;
        }
        Ok(())
    }

    /// What was said up to an answer, as items with commas between them.
    async fn recalled(&mut self, route: &Continuation, name: &str) -> Result<(String, RequestId), Stop> {
        let limit = self.snapshot.config.limits.request_bytes;
        let (gateway, owner) = (Arc::clone(&self.gateway), self.owner());
        let conversation = match gateway.conversations.recall(owner, name, limit).await {
            Ok(Some(conversation)) => conversation,
            Ok(None) => return Err(unknown(route, name)),
            Err(StoreError::TooLong { limit }) => return Err(too_long(route, limit)),
            Err(error @ (StoreError::Sealed | StoreError::Corrupt { .. })) => {
                tracing::error!(request_id = %self.context.request_id, %error, "a conversation cannot be opened");
                return Err(unknown(route, name));
            }
            Err(error) => {
                tracing::error!(request_id = %self.context.request_id, %error, "conversations cannot be read");
                return Err(Stop::failed(unavailable()));
            }
        };
        let mut items = String::new();
        for turn in &conversation.turns {
            for part in [turn.input.as_str(), turn.output()] {
                if !items.is_empty() && !part.is_empty() {
                    items.push(',');
                }
                items.push_str(part);
            }
        }
        if items.len() > limit {
            return Err(too_long(route, limit));
        }
        Ok((items, conversation.newest))
    }

    /// Whether this model's thoughts are wanted with its answer.
    pub(super) fn keeps_thoughts(&self, offer: &Offer) -> bool {
        self.turn.is_some() && offer.model.capabilities.iter().any(|known| known == "reasoning")
    }

    /// Notes what of a request is new, once the guards are done with it.
    pub(super) fn note_input(&mut self, body: &str) {
        if let (Some(turn), Some(route)) = (&mut self.turn, &self.route.continuation) {
            turn.input = route.own_items(body, turn.recalled).into_owned();
        }
    }

    /// The turn that this answer makes, if it is to be kept. Once.
    pub(super) fn turn_of(&mut self, document: &str) -> Option<NewTurn> {
        let route = self.route.continuation.as_ref()?;
        let answered = route.answered(document)?;
        let OpenTurn { previous, input, ttl_ms, .. } = self.turn.take()?;
        Some(NewTurn {
            id: self.request_id,
            owner: self.owner(),
            name: answered.name,
            previous,
            ttl_ms,
            turn: Turn { input, answer: document.to_owned(), output: answered.output },
        })
    }

    /// A whole answer as its client knows the conversation.
    pub(super) fn as_asked(&self, document: ByteString) -> ByteString {
        let (Some(route), Some(asked)) = (&self.route.continuation, &self.asked) else { return document };
        route.as_asked(&document, asked.previous.as_deref(), asked.stored).map_or(document, Into::into)
    }

    /// Keeps the turn that a whole answer makes.
    pub(super) async fn keep_whole(&mut self, document: &str) {
        if let Some(new) = self.turn_of(document) {
            keep(self.gateway.conversations.clone(), new).await;
        }
    }

    fn owner(&self) -> TurnOwner {
        TurnOwner { organisation: self.key.organisation, key: self.key.id }
    }
}

/// A turn that cannot be kept is no reason to withhold its answer: a request that goes on from it is told that it is not there.
async fn keep(conversations: Conversations, new: NewTurn) {
    let request_id = new.id;
    if let Err(error) = conversations.keep(new).await {
        tracing::error!(%request_id, %error, "a turn was not kept");
    }
}

/// Has a model that thinks send its thoughts along, sealed: what no provider keeps, the next turn must bring with it
/// (<https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items>). Models that do not think refuse to be asked.
/// The contract's continuations do not say where this stands; in a protocol of another sort the member would be refused.
pub(super) fn ask_for_reasoning(edits: &mut Edits, body: &str) -> Result<(), EditError> {
    const ASKED: &str = r#""reasoning.encrypted_content""#;
    let at = Pointer::parse("/include").expect("a pointer");
    let Some(range) = json::locate(body, &at).filter(|range| &body[range.clone()] != "null") else {
        return edits.set(body, &at, &format!("[{ASKED}]"));
    };
    let items = json::select(body, &[Pattern::parse("/include/*").expect("a pattern")]);
    if !body[range.clone()].starts_with('[')
        || items.iter().any(|(_, item)| json::same_json(&body[item.clone()], ASKED))
    {
        return Ok(());
    }
    let comma = if items.is_empty() { "" } else { "," };
    let at = range.start + 1;
    edits.replace(at..at, format!("{ASKED}{comma}"))
}

/// The same of a request that is encoded anew for its own format, whose fields then come from `extra`.
pub(super) fn asking_for_reasoning(request: &chat::Request) -> Option<chat::Request> {
    let known = request.extra.iter().position(|field| field.name == "include");
    let asked = known.map_or("null", |at| request.extra[at].value.as_str());
    let body = format!(r#"{{"include":{asked}}}"#);
    let mut edits = Edits::new();
    ask_for_reasoning(&mut edits, &body).ok()?;
    let body = edits.apply(&body);
    let value = body[json::locate(&body, &Pointer::parse("/include").expect("a pointer"))?].to_owned();
    let mut request = request.clone();
    match known {
        Some(at) => request.extra[at].value = value,
        None => request.extra.push(types::Field { name: "include".to_owned(), value }),
    }
    Some(request)
}

type Writing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Has a stream tell of the conversation what its client knows, and holds the bytes that tell of its end until the turn is kept:
/// whoever was told can go on from it.
pub(super) struct StreamTurn {
    splitter: Splitter,
    frames: Vec<Frame>,
    held: Option<(Writing, Bytes)>,
    /// What comes is no stream of frames, and passes as it is.
    lost: bool,
}

/// What becomes of bytes for the client.
pub(super) enum Passed {
    /// They go on, as far as they are whole frames.
    On(Bytes),
    /// They wait for their turn to be kept.
    Held,
}

impl StreamTurn {
    /// `None` where nothing is to be kept.
    pub fn of(exchange: &Exchange) -> Option<Box<Self>> {
        exchange.asked.as_ref()?;
        let splitter = exchange.route.framing.splitter();
        Some(Box::new(StreamTurn { splitter, frames: Vec::new(), held: None, lost: false }))
    }

    /// Takes what the client is about to get. `last` says that no more comes.
    pub fn pass(&mut self, exchange: &mut Exchange, out: Bytes, last: bool) -> Passed {
        let route = Arc::clone(&exchange.route);
        let (false, Some(route)) = (self.lost, &route.continuation) else { return Passed::On(out) };
        self.frames.clear();
        self.lost = self.splitter.push(&out, &mut self.frames).is_err()
            || (last && self.splitter.finish(&mut self.frames).is_err());
        if self.lost {
            return Passed::On(out);
        }
        let (mut told, mut new) = (BytesMut::with_capacity(out.len() + 64), None);
        for frame in &self.frames {
            let asked = exchange.asked.as_ref();
            let data =
                asked.and_then(|asked| route.frame_as_asked(frame.data(), asked.previous.as_deref(), asked.stored));
            let document = route.ended(data.as_deref().unwrap_or(frame.data()));
            new = new.or_else(|| exchange.turn_of(document?));
            match data {
                Some(data) => told.extend_from_slice(&frame.with_data(&data)),
                None => told.extend_from_slice(frame.raw()),
            }
        }
        let told = told.freeze();
        let Some(new) = new else { return Passed::On(told) };
        self.held = Some((Box::pin(keep(exchange.gateway.conversations.clone(), new)), told));
        Passed::Held
    }

    /// The bytes that were held, once the turn is kept; `None` where none are.
    pub fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some((writing, _)) = &mut self.held else { return Poll::Ready(None) };
        ready!(writing.as_mut().poll(cx));
        Poll::Ready(self.held.take().map(|(_, out)| out))
    }
}

/// As OpenAI says it; see `previous_response_not_found` in <https://platform.openai.com/docs/guides/websocket-mode>.
fn unknown(route: &Continuation, name: &str) -> Stop {
    let failure = types::Failure {
        code: Some("previous_response_not_found".to_owned()),
        ..invalid(Some(member(route)), format!("Previous response with id '{name}' not found."))
    };
    Stop::failed(failure)
}

fn too_long(route: &Continuation, limit: usize) -> Stop {
    let message = format!("The conversation is longer than the {limit} bytes that a request may have.");
    let mut stop = Stop::of(types::FailureKind::ContextLength, "context_length_exceeded", message);
    stop.failure.param = Some(member(route).to_owned());
    stop
}

/// The store does not answer.
pub(crate) fn unavailable() -> types::Failure {
    types::Failure {
        kind: types::FailureKind::Unavailable,
        message: "The gateway cannot read conversations at the moment.".to_owned(),
        code: Some("conversations_unavailable".to_owned()),
        param: None,
        retry_after: Some(1_000),
    }
}

fn member(route: &Continuation) -> &str {
    route.previous.segments().last().map_or("", String::as_str)
}
