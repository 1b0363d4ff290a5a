//! A provider's endpoint as its plugin declared it, checked and compiled once.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_runtime::contract::manifest;
use portcullis_wire::framing::Framing;
use portcullis_wire::json::{Condition, Pattern, PatternSet, Pointer};

use crate::media::Kind;
use crate::text_map;

/// Headers that are the host's alone, whatever a plugin declares.
const RESERVED: &[&str] = &[
    "host",
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "set-cookie",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
];

/// Where a pass-through's model goes.
#[derive(Debug, Clone)]
pub enum ModelAt {
    Body {
        pattern: Pattern,
        /// Where the pattern names one place, which can be made if it is not there.
        pointer: Option<Pointer>,
    },
    Path(String),
    /// A field of a multipart form.
    Form(String),
}

/// See `model-place` in `wit/describe.wit`.
#[derive(Debug, Clone)]
pub struct ModelPlace {
    pub at: ModelAt,
    prefix: String,
}

impl ModelPlace {
    /// What is written there for a model of this name.
    pub fn value<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.prefix.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(format!("{}{name}", self.prefix)) }
    }
}

/// Conditions of which one suffices, looked for in one walk.
#[derive(Debug)]
pub struct AnyOf {
    conditions: Vec<Condition>,
    places: PatternSet,
}

impl AnyOf {
    fn new(conditions: Vec<Condition>) -> Self {
        AnyOf { places: PatternSet::new(conditions.iter().map(|condition| &condition.at)), conditions }
    }

    pub fn holds(&self, body: &str) -> bool {
        let passes = |(at, range): (usize, Range<usize>)| self.conditions[at].passes(&body[range]);
        !self.conditions.is_empty() && self.places.select(body).into_iter().any(passes)
    }
}

/// See `endpoint` in `wit/describe.wit`.
#[derive(Debug)]
pub struct Endpoint {
    pub name: String,
    pub operation: String,
    pub format: String,
    /// Whether only requests that stream go here, or only others.
    pub streams: Option<bool>,
    pub method: Method,
    pub path: String,
    pub query: Vec<String>,
    headers: Vec<HeaderName>,
    pub fixed_headers: HeaderMap,
    pub forward_headers: Vec<HeaderName>,
    pub answer_headers: Vec<HeaderName>,
    pub model: Vec<ModelPlace>,
    /// What a pass-through's body gets in any case: a place and its JSON.
    pub set_members: Vec<(Pointer, String)>,
    pub remove_members: Vec<Pointer>,
    /// Where one of these holds, a body is not passed through.
    pub reencode_when: AnyOf,
    pub usage_flag: Option<UsageFlag>,
    /// What a frame must hold to be shown to the meter; none for every frame.
    meter_frames: Option<AhoCorasick>,
    pub framing: Framing,
    /// Media that it takes inline only.
    pub inline_media: Vec<Kind>,
}

#[derive(Debug)]
pub struct UsageFlag {
    pub at: Pointer,
    pub value: String,
    pub frame: Vec<Condition>,
}

impl Endpoint {
    /// # Errors
    /// A sentence for the operator when a name, pointer or header is malformed or reserved.
    pub fn compile(endpoint: &manifest::Endpoint) -> Result<Self, String> {
        let problem = |what: &str, why: &dyn std::fmt::Display| format!("endpoint `{}`: {what}: {why}", endpoint.name);
        let names = |list: &[String]| -> Result<Vec<HeaderName>, String> {
            list.iter().map(|name| open_header(name).map_err(|why| problem("header", &why))).collect()
        };
        let pointer = |text: &str| Pointer::parse(text).map_err(|error| problem(text, &error));
        let mut fixed_headers = HeaderMap::new();
        for pair in &endpoint.fixed_headers {
            let name = open_header(&pair.name).map_err(|why| problem("header", &why))?;
            let value = HeaderValue::from_str(&pair.value).map_err(|error| problem(&pair.name, &error))?;
            fixed_headers.insert(name, value);
        }
        if !endpoint.path.starts_with('/') {
            return Err(problem("path", &"does not begin with `/`"));
        }
        let usage_flag = endpoint.usage_flag.as_ref().map(|flag| {
            let frame = flag
                .frame
                .iter()
                .map(|condition| text_map::condition(condition).map_err(|error| problem("usage flag", &error)));
            Ok::<_, String>(UsageFlag {
                at: pointer(&flag.at)?,
                value: flag.value.clone(),
                frame: frame.collect::<Result<_, _>>()?,
            })
        });
        let framing = text_map::framing(endpoint.stream_framing);
        if usage_flag.is_some() && framing == Framing::JsonArray {
            return Err(problem("usage flag", &"an array's items are not taken out"));
        }
        let condition = |condition| text_map::condition(condition).map_err(|error| problem("condition", &error));
        let needles = &endpoint.meter_frames;
        let meter_frames = (!needles.is_empty()).then(|| AhoCorasick::new(needles));
        Ok(Endpoint {
            name: endpoint.name.clone(),
            operation: endpoint.operation.clone(),
            format: endpoint.format.clone(),
            method: endpoint.method.parse().map_err(|error| problem("method", &error))?,
            path: endpoint.path.clone(),
            query: endpoint.query.clone(),
            headers: names(&endpoint.headers)?,
            fixed_headers,
            forward_headers: names(&endpoint.forward_headers)?,
            answer_headers: names(&endpoint.answer_headers)?,
            streams: endpoint.streams,
            model: endpoint
                .model
                .iter()
                .filter_map(|place| model_place(place).transpose())
                .collect::<Result<_, _>>()
                .map_err(|why| problem("model", &why))?,
            set_members: endpoint
                .set_members
                .iter()
                .map(|member| Ok((pointer(&member.at)?, member.value.clone())))
                .collect::<Result<_, String>>()?,
            remove_members: endpoint.remove_members.iter().map(|at| pointer(at)).collect::<Result<_, _>>()?,
            reencode_when: AnyOf::new(endpoint.reencode_when.iter().map(condition).collect::<Result<_, _>>()?),
            usage_flag: usage_flag.transpose()?,
            meter_frames: meter_frames.transpose().map_err(|error| problem("meter frames", &error))?,
            framing,
            inline_media: endpoint
                .inline_media
                .iter()
                .map(|name| {
                    Kind::parse(name).ok_or_else(|| problem("inline media", &format!("`{name}` is no kind of media")))
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether a client of this format, whose streams are framed so, can get this endpoint's own bytes.
    pub fn speaks(&self, format: &str, stream: bool, framing: Framing) -> bool {
        self.format == format && (!stream || self.framing == framing)
    }

    /// Whether the model goes into the path, where a client's body names it at `named`, which is neither written to nor taken out:
    /// no splice makes one body of the other, since what else the provider wants in its place is its plugin's to know.
    pub fn moves_model(&self, named: &Pointer) -> bool {
        let is_written =
            |place: &ModelPlace| matches!(&place.at, ModelAt::Body { pointer, .. } if pointer.as_ref() == Some(named));
        self.model.iter().any(|place| matches!(place.at, ModelAt::Path(_)))
            && !self.model.iter().any(is_written)
            && !self.remove_members.contains(named)
    }

    /// Whether the plugin may set this header: only those it declared.
    pub fn may_set(&self, name: &HeaderName) -> bool {
        self.headers.contains(name)
    }

    /// Whether the meter wants a frame with this data.
    pub fn metered(&self, data: &[u8]) -> bool {
        self.meter_frames.as_ref().is_none_or(|needles| needles.is_match(data))
    }
}

fn model_place(place: &manifest::ModelPlace) -> Result<Option<ModelPlace>, String> {
    let at = match &place.at {
        manifest::Location::Body(at) => {
            let pattern = Pattern::parse(at).map_err(|error| format!("{at}: {error}"))?;
            let pointer = if pattern.wildcards() == 0 { Pointer::parse(at).ok() } else { None };
            ModelAt::Body { pattern, pointer }
        }
        manifest::Location::Path(name) => ModelAt::Path(name.clone()),
        manifest::Location::Form(name) => ModelAt::Form(name.clone()),
        manifest::Location::Absent | manifest::Location::Always => return Ok(None),
    };
    Ok(Some(ModelPlace { at, prefix: place.prefix.clone() }))
}

/// A header's name that is not the host's alone.
pub fn open_header(name: &str) -> Result<HeaderName, String> {
    let header: HeaderName = name.parse().map_err(|_| format!("`{name}` is not a header name"))?;
    if RESERVED.contains(&header.as_str()) || header.as_str().starts_with("x-portcullis-") {
        return Err(format!("`{name}` is the host's alone"));
    }
    Ok(header)
}
