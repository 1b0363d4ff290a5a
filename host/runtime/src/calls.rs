//! The contract's functions as methods of [`Session`], each with the view its plugin was granted and no more (invariant 1).
//!
//! Every method answers `Err` where the call itself failed; what a guest answers, its own failures included, is within `Ok`.

use crate::component::Role;
use crate::contract::chat::{Event, Request, Response, Usage};
use crate::contract::dialect::{EncodedEvents, EncodedResponse, ErrorReply, Head, ModelEntry, Reply};
use crate::contract::guard::{Direction, Inspection, Replacement, Texts};
use crate::contract::policy::{Attempt, Subject, Verdict};
use crate::contract::provider::{AnswerHead, DecodedFrames, DecodedResponse, Reading, Target, UpstreamRequest};
use crate::contract::router::{Candidate, Features, Plan};
use crate::contract::types::{Caller, Context, Failure, Frame, Pair};
use crate::error::CallError;
use crate::session::{MAX_DIALECT_STATE, MAX_STATE, Session};

type Answer<T> = Result<Result<T, Failure>, CallError>;

/// Calls one function of a role.
macro_rules! call {
    ($session:ident, $role:ident, $name:ident, $function:ident($($argument:expr),*)) => {
        $session.call(Role::$role, |instance, plugin| {
            let functions = plugin.code.functions()?.$name.as_ref();
            let functions = functions.ok_or_else(|| wasmtime::format_err!("no such role"))?;
            functions.$function.call(&mut instance.store, &instance.instance, ($($argument,)*))
        })
    };
}

/// Dialects.
impl Session {
    /// Decodes a client's request. `body` is one JSON document.
    pub fn decode_request(&mut self, context: &Context, head: &Head, body: &str) -> Answer<Request> {
        call!(self, Dialect, dialect, decode_request(context, head, body))
    }

    /// Encodes a whole answer: one JSON document.
    pub fn encode_response(
        &mut self,
        context: &Context,
        reply: &Reply,
        response: &Response,
    ) -> Answer<EncodedResponse> {
        call!(self, Dialect, dialect, encode_response(context, reply, response))
    }

    /// Encodes the next events of a stream. `state` is empty at first and then what the call before handed back.
    pub fn encode_events(
        &mut self,
        context: &Context,
        reply: &Reply,
        state: &[u8],
        events: &[Event],
        last: bool,
    ) -> Answer<EncodedEvents> {
        let answer = call!(self, Dialect, dialect, encode_events(context, reply, state, events, last))?;
        self.bounded(answer, MAX_DIALECT_STATE, |answer| answer.as_ref().map_or(0, |encoded| encoded.state.len()))
    }

    /// Encodes an error whose message is already fit for the client.
    /// `route` is empty where none was found.
    pub fn encode_error(&mut self, context: &Context, route: &str, failure: &Failure) -> Result<ErrorReply, CallError> {
        call!(self, Dialect, dialect, encode_error(context, route, failure))
    }

    /// Encodes the list of models: one JSON document.
    pub fn encode_models(&mut self, context: &Context, models: &[ModelEntry]) -> Result<String, CallError> {
        call!(self, Dialect, dialect, encode_models(context, models))
    }
}

/// Providers.
impl Session {
    /// Encodes a request for the upstream.
    pub fn encode_request(&mut self, context: &Context, target: &Target, request: &Request) -> Answer<UpstreamRequest> {
        call!(self, Provider, provider, encode_request(context, target, request))
    }

    /// Decodes a whole answer of status 2xx.
    pub fn decode_response(&mut self, context: &Context, head: &AnswerHead, body: &str) -> Answer<DecodedResponse> {
        call!(self, Provider, provider, decode_response(context, head, body))
    }

    /// Decodes the next frames of a stream.
    pub fn decode_frames(
        &mut self,
        context: &Context,
        endpoint: &str,
        state: &[u8],
        frames: &[Frame],
        last: bool,
    ) -> Answer<DecodedFrames> {
        let answer = call!(self, Provider, provider, decode_frames(context, endpoint, state, frames, last))?;
        self.bounded(answer, MAX_STATE, |answer| answer.as_ref().map_or(0, |decoded| decoded.state.len()))
    }

    /// Decodes an answer that is not 2xx.
    pub fn decode_error(&mut self, context: &Context, head: &AnswerHead, body: &str) -> Result<Failure, CallError> {
        call!(self, Provider, provider, decode_error(context, head, body))
    }

    /// Reads what the ledger and the receipt need of an answer that is passed through.
    pub fn meter(
        &mut self,
        context: &Context,
        endpoint: &str,
        state: &[u8],
        frames: &[Frame],
        last: bool,
    ) -> Answer<Reading> {
        let answer = call!(self, Provider, provider, meter(context, endpoint, state, frames, last))?;
        self.bounded(answer, MAX_STATE, |answer| answer.as_ref().map_or(0, |reading| reading.state.len()))
    }
}

/// Routers.
impl Session {
    /// Ranks candidates. The prompt reaches only a router that may read content.
    pub fn rank(
        &mut self,
        context: &Context,
        caller: &Caller,
        features: &Features,
        preferences: &[Pair],
        candidates: &[Candidate],
    ) -> Answer<Plan> {
        let narrowed;
        let features = if features.prompt.is_some() && !self.plugin().access().content_read {
            narrowed = Features { prompt: None, ..features.clone() };
            &narrowed
        } else {
            features
        };
        call!(self, Router, router, rank(context, caller, features, preferences, candidates))
    }
}

/// Guards.
impl Session {
    /// Inspects texts. Findings of a guard that may not write are reported without their replacements.
    pub fn inspect(
        &mut self,
        context: &Context,
        direction: Direction,
        state: &[u8],
        texts: &Texts,
    ) -> Answer<Inspection> {
        let mut answer = call!(self, Guard, guard, inspect(context, direction, state, texts))?;
        if let Ok(inspection) = &mut answer
            && !self.plugin().access().content_write
        {
            for finding in &mut inspection.findings {
                finding.replacement = Replacement::None;
            }
        }
        self.bounded(answer, MAX_STATE, |answer| answer.as_ref().map_or(0, |inspection| inspection.state.len()))
    }
}

/// Policies. Content reaches only one that may read it.
impl Session {
    /// Before routing.
    pub fn evaluate_request(
        &mut self,
        context: &Context,
        subject: &Subject,
        content: Option<&Request>,
    ) -> Answer<Verdict> {
        let content = content.filter(|_| self.plugin().access().content_read);
        call!(self, Policy, policy, evaluate_request(context, subject, content))
    }

    /// Before each attempt.
    pub fn evaluate_target(&mut self, context: &Context, subject: &Subject, attempt: &Attempt) -> Answer<Verdict> {
        call!(self, Policy, policy, evaluate_target(context, subject, attempt))
    }

    /// After the answer.
    pub fn evaluate_response(
        &mut self,
        context: &Context,
        subject: &Subject,
        attempt: &Attempt,
        usage: Option<&Usage>,
        content: Option<&Response>,
    ) -> Answer<Verdict> {
        let content = content.filter(|_| self.plugin().access().content_read);
        call!(self, Policy, policy, evaluate_response(context, subject, attempt, usage, content))
    }
}

/// Observers.
impl Session {
    /// Hands over a batch of receipts, each one JSON object. `now` is in milliseconds since the Unix epoch.
    pub fn observe(&mut self, now: u64, receipts: &[String]) -> Result<Result<(), String>, CallError> {
        call!(self, Observer, observer, observe(now, receipts))
    }
}
