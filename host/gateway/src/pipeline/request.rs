//! What is sent to a provider: the client's bytes with declared splices where formats agree (invariant 5), else what the provider
//! plugin encoded. The path, the host and the credential are the host's (invariant 1).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use portcullis_runtime::contract::provider::{Target, UpstreamRequest};
use portcullis_runtime::contract::{chat, types};
use portcullis_wire::json::{self, Edits};

use super::chat::Inbound;
use super::continuation::{ask_for_reasoning, asking_for_reasoning};
use super::failure::Halt;
use super::media::{Wanted, refuse_account_objects};
use super::payload::Payload;
use super::{Exchange, Stop};
use crate::catalog::Offer;
use crate::config::Unsupported;
use crate::credential::Credential;
use crate::endpoint::{Endpoint, ModelAt};
use crate::route::Place;
use crate::upstream::build_path;

/// The code of a note on what a provider has no place for; see `note` in `wit/types.wit`.
pub(super) const NOTE_DROPPED: &str = "dropped";

/// A request ready to be sent, and how its answer is to be read.
pub(super) struct Outbound {
    pub request: Request<Full<Bytes>>,
    /// Where it goes: a provider's plugin may choose another of its endpoints.
    pub endpoint: Arc<Endpoint>,
    /// A usage frame comes only because the gateway asked for it, and is taken out again.
    pub strip_usage: bool,
    /// The client asked for usage within its stream.
    pub stream_usage: bool,
}

impl Exchange {
    /// The output limit that holds for an attempt: the smallest of the client's, the policies' and the model's.
    pub(super) fn output_cap(&self, offer: &Offer) -> Option<u32> {
        let of_model = (offer.model.max_output > 0).then_some(offer.model.max_output);
        [self.facts.max_output_tokens, self.attempt_output_limit, of_model].into_iter().flatten().min()
    }

    pub(super) fn build_request(
        &mut self,
        inbound: &mut Inbound,
        offer: &Offer,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Outbound, Halt> {
        if self.may_pass(inbound, endpoint) {
            self.record.passthrough = true;
            Ok(self.forward(inbound, offer, endpoint)?)
        } else {
            self.record.passthrough = false;
            self.encode(inbound, offer, endpoint)
        }
    }

    /// Whether the provider can get the client's own bytes.
    fn may_pass(&self, inbound: &Inbound, endpoint: &Endpoint) -> bool {
        if !self.route.translates() {
            return endpoint.format == *self.route.format;
        }
        let moves = matches!(&self.route.model, Place::Body(at) if endpoint.moves_model(at));
        endpoint.speaks(&self.route.format, self.facts.stream, self.route.framing)
            && !self.facts.reencode
            && !moves
            && !endpoint.reencode_when.holds(&inbound.body)
    }

    /// The client's own bytes, spliced.
    fn forward(&self, inbound: &Inbound, offer: &Offer, endpoint: &Arc<Endpoint>) -> Result<Outbound, Stop> {
        if let Some(payload) = &inbound.payload {
            return self.relay(payload, offer, endpoint);
        }
        let body = &inbound.body;
        let mut edits = Edits::new();
        self.name_model(&mut edits, body, offer, endpoint).map_err(unspliceable)?;
        for (at, value) in &endpoint.set_members {
            if !json::locate(body, at).is_some_and(|range| json::same_json(&body[range], value)) {
                edits.set(body, at, value).map_err(unspliceable)?;
            }
        }
        for at in &endpoint.remove_members {
            edits.remove(body, at);
        }
        // Looking for the places costs a walk past the conversation, so the limits are compared first.
        let asked = self.facts.max_output_tokens;
        if let Some(limit) = self.attempt_output_limit.filter(|limit| asked.is_none_or(|asked| *limit < asked)) {
            let places = self.route.output_limit.iter();
            let mut present: Vec<_> = places.filter(|at| json::locate(body, at).is_some()).collect();
            if present.is_empty() {
                present.extend(self.route.output_limit.first());
            }
            for at in present {
                edits.set(body, at, &limit.to_string()).map_err(unspliceable)?;
            }
        }
        let mut strip_usage = false;
        let mut stream_usage = false;
        if let (true, true, Some(flag)) = (self.facts.stream, offer.connection.stream_usage, &endpoint.usage_flag) {
            stream_usage = json::locate(body, &flag.at).is_some_and(|range| body[range] == *flag.value);
            if !stream_usage {
                edits.set(body, &flag.at, &flag.value).map_err(unspliceable)?;
                strip_usage = true;
            }
        }
        if self.keeps_thoughts(offer) {
            ask_for_reasoning(&mut edits, body).map_err(unspliceable)?;
        }
        let sent = if edits.is_empty() { body.as_bytes().clone() } else { Bytes::from(edits.apply(body)) };
        let models = in_path(endpoint, &offer.name);
        let path = build_path(
            &offer.connection.address.base_path,
            &endpoint.path,
            |name| self.path_value(&models, name),
            self.forwarded_query(endpoint),
            &endpoint.query,
        );
        let path = path.map_err(|error| self.unbuildable(offer, &error))?;
        let request = self.assemble(offer, endpoint, &path, &[], sent, true)?;
        Ok(Outbound { request, endpoint: Arc::clone(endpoint), strip_usage, stream_usage })
    }

    /// The client's own form or bytes.
    fn relay(&self, payload: &Payload, offer: &Offer, endpoint: &Arc<Endpoint>) -> Result<Outbound, Stop> {
        let mut renamed = None;
        for place in &endpoint.model {
            let ModelAt::Form(field) = &place.at else { continue };
            let value = place.value(&offer.name);
            if self.facts.model != value {
                let named = renamed.as_ref().unwrap_or(payload).with_value(field, &value);
                renamed = Some(named.ok_or_else(|| self.broken_plugin(offer, "the form has no field for the model"))?);
            }
        }
        let payload = renamed.as_ref().unwrap_or(payload);
        let models = in_path(endpoint, &offer.name);
        let path = build_path(
            &offer.connection.address.base_path,
            &endpoint.path,
            |name| self.path_value(&models, name),
            self.forwarded_query(endpoint),
            &endpoint.query,
        );
        let path = path.map_err(|error| Stop::failed(super::facts::invalid(None, error.to_string())))?;
        let mut request = self.assemble(offer, endpoint, &path, &[], payload.bytes.clone(), true)?;
        let headers = request.headers_mut();
        match &payload.content_type {
            Some(value) => headers.insert(CONTENT_TYPE, value.clone()),
            None => headers.remove(CONTENT_TYPE),
        };
        if !self.facts.stream {
            headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        }
        Ok(Outbound { request, endpoint: Arc::clone(endpoint), strip_usage: false, stream_usage: false })
    }

    /// Writes the model's name at an endpoint's places in the body: at the first in any case, at others where something stands.
    fn name_model(
        &self,
        edits: &mut Edits,
        body: &str,
        offer: &Offer,
        endpoint: &Endpoint,
    ) -> Result<(), json::EditError> {
        for (number, place) in endpoint.model.iter().enumerate() {
            let ModelAt::Body { pattern, pointer } = &place.at else { continue };
            let value = place.value(&offer.name);
            match (pointer, &self.facts.model_at) {
                // The client's own is where the first scan found it.
                (Some(_), Some(at)) if number == 0 => {
                    if self.facts.model != value {
                        edits.replace(at.clone(), json::quote(&value))?;
                    }
                }
                (Some(pointer), None) if number == 0 => edits.set(body, pointer, &json::quote(&value))?,
                _ => {
                    let quoted = json::quote(&value);
                    for (_, range) in json::select(body, std::slice::from_ref(pattern)) {
                        if body[range.clone()] != quoted {
                            edits.replace(range, quoted.clone())?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A parameter of an endpoint's path: the model's, or the client's own of the same name.
    fn path_value<'a>(&'a self, models: &'a [(&str, Cow<'_, str>)], name: &str) -> Option<&'a str> {
        let model = models.iter().find(|(parameter, _)| *parameter == name).map(|(_, value)| &**value);
        model.or_else(|| self.head.path.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str()))
    }

    /// The client's query as far as the endpoint knows it.
    fn forwarded_query<'a>(&'a self, endpoint: &'a Endpoint) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.head.query.iter().filter(|pair| endpoint.query.contains(&pair.name));
        pairs.map(|pair| (pair.name.as_str(), pair.value.as_str()))
    }

    /// The request as the provider plugin writes it. `expected` is the endpoint that it is likely to choose: what that one wants
    /// inline is brought first, and then what the one that was chosen does.
    fn encode(&mut self, inbound: &mut Inbound, offer: &Offer, expected: &Arc<Endpoint>) -> Result<Outbound, Halt> {
        self.decode(inbound)?;
        let Some(decoded) = &inbound.decoded else {
            return Err(self.broken_plugin(offer, "nothing was decoded").into());
        };
        refuse_account_objects(decoded, offer)?;
        let mut inline = expected.inline_media.clone();
        loop {
            let (shorter, mut left_out) = match self.media_wanted(decoded, &inline, offer)? {
                Wanted::Nothing => (None, Vec::new()),
                Wanted::Files => return Err(Halt::Files(inline)),
                Wanted::Without(shorter, notes) => (Some(shorter), notes),
            };
            let request = shorter.as_deref().unwrap_or(decoded);
            let asking = (self.keeps_thoughts(offer) && expected.format == *self.route.format)
                .then(|| asking_for_reasoning(request))
                .flatten();
            let request = asking.as_ref().unwrap_or(request);
            let (chosen, encoded) = self.encode_once(request, offer)?;
            let known = inline.len();
            for kind in &chosen.inline_media {
                if !inline.contains(kind) {
                    inline.push(*kind);
                }
            }
            if inline.len() > known && !matches!(self.media_wanted(request, &inline, offer)?, Wanted::Nothing) {
                continue;
            }
            let stream_usage = request.stream_usage;
            left_out.extend(encoded.notes);
            return Ok(self.encoded(offer, &chosen, UpstreamRequest { notes: left_out, ..encoded }, stream_usage)?);
        }
    }

    fn encode_once(
        &mut self,
        request: &chat::Request,
        offer: &Offer,
    ) -> Result<(Arc<Endpoint>, UpstreamRequest), Stop> {
        let target = Target {
            model: offer.name.to_string(),
            max_output_tokens: match (self.facts.max_output_tokens, self.attempt_output_limit) {
                (Some(asked), Some(limit)) => Some(asked.min(limit)),
                (asked, limit) => limit.or(asked),
            },
            stream: self.facts.stream,
            capabilities: offer.model.capabilities.clone(),
            max_output: offer.model.max_output,
        };
        let plugin = offer.connection.plugin.clone();
        let encoded = self
            .call(&plugin, "provider", |session, context| session.encode_request(context, &target, request))
            .map_err(|error| Stop::plugin(&plugin, "provider", &self.context.request_id, &error))??;
        if self.snapshot.config.routing.unsupported == Unsupported::Refuse
            && let Some(note) = encoded.notes.iter().find(|note| note.code == NOTE_DROPPED)
        {
            return Err(unsupported(offer, &note.subject));
        }
        let chosen = offer.connection.endpoints.iter().find(|known| known.name == encoded.endpoint);
        match chosen {
            Some(chosen) => Ok((Arc::clone(chosen), encoded)),
            None => Err(self.broken_plugin(offer, "it encoded for an endpoint that it does not declare")),
        }
    }

    fn encoded(
        &mut self,
        offer: &Offer,
        endpoint: &Arc<Endpoint>,
        encoded: UpstreamRequest,
        stream_usage: bool,
    ) -> Result<Outbound, Stop> {
        let UpstreamRequest { path, query, headers, body, notes, .. } = encoded;
        let path = build_path(
            &offer.connection.address.base_path,
            &endpoint.path,
            |name| path.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str()),
            query.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())),
            &endpoint.query,
        );
        let path = path.map_err(|error| self.unbuildable(offer, &error))?;
        let request = {
            let same_format = *endpoint.format == *self.route.format;
            self.assemble(offer, endpoint, &path, &headers, Bytes::from(body), same_format)?
        };
        self.record.note(notes);
        Ok(Outbound { request, endpoint: Arc::clone(endpoint), strip_usage: !stream_usage, stream_usage })
    }

    fn assemble(
        &self,
        offer: &Offer,
        endpoint: &Endpoint,
        path: &str,
        from_plugin: &[types::Pair],
        body: Bytes,
        same_format: bool,
    ) -> Result<Request<Full<Bytes>>, Stop> {
        let mut headers = HeaderMap::with_capacity(10);
        headers.insert(HOST, offer.connection.address.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(if self.facts.stream { "text/event-stream" } else { "application/json" }),
        );
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
        headers.extend(endpoint.fixed_headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if same_format {
            for name in &endpoint.forward_headers {
                let mut values = self.headers.get_all(name).iter();
                if let Some(first) = values.next() {
                    headers.insert(name, first.clone());
                }
                for value in values {
                    headers.append(name, value.clone());
                }
            }
        }
        for pair in from_plugin {
            let name: Option<HeaderName> = pair.name.parse().ok().filter(|name| endpoint.may_set(name));
            match (name, HeaderValue::from_str(&pair.value)) {
                (Some(name), Ok(value)) => {
                    headers.append(name, value);
                }
                _ => return Err(self.broken_plugin(offer, "it set a header that it does not declare")),
            }
        }
        if let Some(trace) = &self.trace {
            // This attempt is entered once it is built.
            trace.put_on(&mut headers, u32::try_from(self.record.attempts.len()).map_or(u32::MAX, |before| before + 1));
        }
        let mut keyed = String::new();
        let path = match &offer.connection.credential {
            Credential::Header(name, value) => {
                headers.insert(name, value.clone());
                path
            }
            Credential::Query(pair) => {
                keyed.push_str(path);
                keyed.push(if path.contains('?') { '&' } else { '?' });
                keyed.push_str(pair);
                &keyed
            }
            // Put on before sending.
            Credential::Fetched(_) | Credential::None => path,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = endpoint.method.clone();
        *request.uri_mut() = path.parse().map_err(|_| self.broken_plugin(offer, "its path is not a URI"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn unbuildable(&self, offer: &Offer, error: &crate::upstream::TargetError) -> Stop {
        self.broken_plugin(offer, &error.to_string())
    }

    fn broken_plugin(&self, offer: &Offer, why: &str) -> Stop {
        tracing::error!(
            request_id = %self.context.request_id,
            provider = %offer.connection.name,
            plugin = %offer.connection.plugin.name(),
            why,
            "a provider plugin's request cannot be sent"
        );
        Stop::of(types::FailureKind::Internal, "plugin_failed", "The gateway could not process the request.")
    }
}

/// The parameters of an endpoint's path that name the model, with their values.
fn in_path<'a>(endpoint: &'a Endpoint, name: &'a str) -> Vec<(&'a str, Cow<'a, str>)> {
    let places = endpoint.model.iter().filter_map(|place| match &place.at {
        ModelAt::Path(parameter) => Some((parameter.as_str(), place.value(name))),
        ModelAt::Body { .. } | ModelAt::Form(_) => None,
    });
    places.collect()
}

pub(super) fn unsupported(offer: &Offer, feature: &str) -> Stop {
    let mut stop = Stop::of(
        types::FailureKind::UnsupportedFeature,
        "unsupported_feature",
        format!("`{feature}` is not supported by the provider `{}`.", offer.connection.name),
    );
    stop.failure.param = Some(feature.to_owned());
    stop
}

fn unspliceable(error: json::EditError) -> Stop {
    Stop::failed(super::facts::invalid(None, error.to_string()))
}
