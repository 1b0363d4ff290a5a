//! A provider's endpoint as its plugin declared it, checked and compiled once.

use aho_corasick::AhoCorasick;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_runtime::contract::manifest;
use portcullis_wire::framing::Framing;
use portcullis_wire::json::{Condition, Pointer};

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
pub enum ModelPlace {
    Body(Pointer),
    Path(String),
    /// A field of a multipart form.
    Form(String),
    Nowhere,
}

/// See `endpoint` in `wit/describe.wit`.
#[derive(Debug)]
pub struct Endpoint {
    pub name: String,
    pub operation: String,
    pub format: String,
    pub method: Method,
    pub path: String,
    pub query: Vec<String>,
    headers: Vec<HeaderName>,
    pub fixed_headers: HeaderMap,
    pub forward_headers: Vec<HeaderName>,
    pub answer_headers: Vec<HeaderName>,
    pub model: ModelPlace,
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
            list.iter().map(|name| allowed(name).map_err(|why| problem("header", &why))).collect()
        };
        let pointer = |text: &str| Pointer::parse(text).map_err(|error| problem(text, &error));
        let mut fixed_headers = HeaderMap::new();
        for pair in &endpoint.fixed_headers {
            let name = allowed(&pair.name).map_err(|why| problem("header", &why))?;
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
            model: match &endpoint.model {
                manifest::Location::Body(at) => ModelPlace::Body(pointer(at)?),
                manifest::Location::Path(name) => ModelPlace::Path(name.clone()),
                manifest::Location::Form(name) => ModelPlace::Form(name.clone()),
                manifest::Location::Absent | manifest::Location::Always => ModelPlace::Nowhere,
            },
            usage_flag: usage_flag.transpose()?,
            meter_frames: meter_frames.transpose().map_err(|error| problem("meter frames", &error))?,
            framing: text_map::framing(endpoint.stream_framing),
            inline_media: endpoint
                .inline_media
                .iter()
                .map(|name| {
                    Kind::parse(name).ok_or_else(|| problem("inline media", &format!("`{name}` is no kind of media")))
                })
                .collect::<Result<_, _>>()?,
        })
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

fn allowed(name: &str) -> Result<HeaderName, String> {
    let header: HeaderName = name.parse().map_err(|_| format!("`{name}` is not a header name"))?;
    if RESERVED.contains(&header.as_str()) || header.as_str().starts_with("x-portcullis-") {
        return Err(format!("`{name}` is the host's alone"));
    }
    Ok(header)
}
