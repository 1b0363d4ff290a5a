//! The operations of OpenAI's API besides chat, as one table: for each the client's route and the provider's endpoint. Nobody
//! translates their documents, so that a client reaches the providers that speak the very same ones.
//!
//! Invariant: an operation's route and endpoint have one format, and no two operations share it, since the host finds a route's
//! endpoint by operation and format.
//!
//! Sources: the OpenAI API reference (<https://platform.openai.com/docs/api-reference>, sections Embeddings, Completions,
//! Moderations, Images, Audio, Files, Batch); for rerank, which OpenAI lacks, Jina's (<https://api.jina.ai/redoc>), which vLLM
//! (<https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>, "Re-rank API") and Cohere's v1 have too.

pub mod meter;
mod texts;

use portcullis_plugin::ir::Condition;
use portcullis_plugin::manifest::{Endpoint, Framing, Location, ModelPlace, Need, Route, UsageFlag, list};

/// One operation: a method of the API.
struct Operation {
    /// Of the route and of the endpoint.
    name: &'static str,
    /// The contract's word for its kind.
    kind: &'static str,
    format: &'static str,
    method: &'static str,
    /// Below the base URL; of the route below `/v1`.
    path: &'static str,
    model: At,
    stream: At,
    /// What the method takes in its query.
    query: &'static [&'static str],
    /// Where a router finds the text.
    prompts: &'static [&'static str],
}

/// Where a fact stands that the body may tell.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Nowhere,
    /// In the JSON document's member of its name.
    Body,
    /// In the form's field of its name.
    Form,
}

impl At {
    fn location(self, name: &str) -> Location {
        match self {
            At::Nowhere => Location::Absent,
            At::Body => Location::Body(format!("/{name}")),
            At::Form => Location::Form(name.to_owned()),
        }
    }

    fn model_places(self) -> Vec<ModelPlace> {
        match self {
            At::Nowhere => Vec::new(),
            At::Body => vec![ModelPlace::body("/model")],
            At::Form => vec![ModelPlace::form("model")],
        }
    }
}

const fn post(
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    path: &'static str,
    prompts: &'static [&'static str],
) -> Operation {
    let (model, stream) = (At::Body, At::Nowhere);
    Operation { name, kind, format, method: "POST", path, model, stream, query: &[], prompts }
}

const fn form(name: &'static str, kind: &'static str, format: &'static str, path: &'static str) -> Operation {
    Operation { model: At::Form, ..post(name, kind, format, path, &[]) }
}

/// A method without a body to read, on objects of an account.
const fn object(
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    method: &'static str,
    path: &'static str,
) -> Operation {
    Operation { method, model: At::Nowhere, ..post(name, kind, format, path, &[]) }
}

const OPERATIONS: &[Operation] = &[
    post("embeddings", "embeddings", "openai-embeddings", "/embeddings", &["/input", "/input/*"]),
    Operation {
        stream: At::Body,
        ..post("completions", "completions", "openai-completions", "/completions", &["/prompt", "/prompt/*"])
    },
    post("moderations", "moderations", "openai-moderations", "/moderations", &["/input", "/input/*", "/input/*/text"]),
    Operation { stream: At::Body, ..post("images", "images", "openai-images", "/images/generations", &["/prompt"]) },
    Operation { stream: At::Form, ..form("image-edits", "images", "openai-image-edits", "/images/edits") },
    form("image-variations", "images", "openai-image-variations", "/images/variations"),
    post("speech", "audio", "openai-speech", "/audio/speech", &["/instructions", "/input"]),
    Operation { stream: At::Form, ..form("transcriptions", "audio", "openai-transcriptions", "/audio/transcriptions") },
    form("translations", "audio", "openai-translations", "/audio/translations"),
    object("file-upload", "files", "openai-files", "POST", "/files"),
    Operation {
        query: &["after", "limit", "order", "purpose"],
        ..object("file-list", "files", "openai-file-list", "GET", "/files")
    },
    object("file", "files", "openai-file", "GET", "/files/{file_id}"),
    object("file-delete", "files", "openai-file-delete", "DELETE", "/files/{file_id}"),
    object("file-content", "files", "openai-file-content", "GET", "/files/{file_id}/content"),
    object("batches", "batches", "openai-batches", "POST", "/batches"),
    Operation { query: &["after", "limit"], ..object("batch-list", "batches", "openai-batch-list", "GET", "/batches") },
    object("batch", "batches", "openai-batch", "GET", "/batches/{batch_id}"),
    object("batch-cancel", "batches", "openai-batch-cancel", "POST", "/batches/{batch_id}/cancel"),
    post("rerank", "rerank", "rerank", "/rerank", &["/query", "/documents/*", "/documents/*/text"]),
];

/// Provider headers that tell a client how fast and how much it may go on.
pub fn answer_headers() -> Vec<String> {
    list(&[
        "openai-processing-ms",
        "openai-version",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
    ])
}

/// Asks for usage within a stream, and says which frame comes of it.
pub fn usage_flag() -> UsageFlag {
    UsageFlag {
        at: "/stream_options/include_usage".to_owned(),
        value: "true".to_owned(),
        frame: vec![Condition::equals("/choices", "[]"), Condition::present("/usage")],
    }
}

/// The routes of all operations.
pub fn routes() -> Vec<Route> {
    OPERATIONS.iter().map(Operation::route).collect()
}

/// The endpoints of all operations of these kinds: `embeddings`, `completions`, `moderations`, `images`, `audio`, `files`,
/// `batches`, `rerank`.
pub fn endpoints(kinds: &[&str]) -> Vec<Endpoint> {
    OPERATIONS.iter().filter(|operation| kinds.contains(&operation.kind)).map(Operation::endpoint).collect()
}

/// Every kind of operation in the table.
pub const KINDS: &[&str] =
    &["embeddings", "completions", "moderations", "images", "audio", "files", "batches", "rerank"];

impl Operation {
    fn framing(&self) -> Framing {
        if self.stream == At::Nowhere { Framing::Json } else { Framing::Sse }
    }

    fn route(&self) -> Route {
        let path = format!("/v1{}", self.path);
        let mut route = Route::post(self.name, self.kind, self.format, &path, self.model.location("model"));
        route.method = self.method.to_owned();
        route.stream = self.stream.location("stream");
        route.stream_framing = self.framing();
        route.choices = list(&["/n", "/best_of"]);
        route.features.prompts = list(self.prompts);
        route.answer_texts = texts::answer(self.name);
        route.stream_texts = texts::stream(self.name);
        if self.name == "speech" {
            // A voice that was made for the account; the others are names that everybody has.
            let when = Condition::present("/voice/id");
            route.features.needs.push(Need { capability: "shared-objects".to_owned(), when });
        }
        if self.name == "completions" {
            route.output_limit = list(&["/max_tokens"]);
        }
        route.user_at("/user")
    }

    fn endpoint(&self) -> Endpoint {
        let chunks = (self.name == "completions").then(usage_flag);
        Endpoint {
            method: self.method.to_owned(),
            query: list(self.query),
            model: self.model.model_places(),
            forward_headers: list(&["openai-beta"]),
            answer_headers: answer_headers(),
            usage_flag: chunks,
            meter_frames: list(&["\"usage\"", "\"finish_reason\":\"", "\"finish_reason\": \"", "\"error\""]),
            stream_framing: self.framing(),
            ..Endpoint::post(self.name, self.kind, self.format, self.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_a_format_and_a_place_of_its_own() {
        let (mut formats, mut places) = (HashSet::new(), HashSet::new());
        for operation in OPERATIONS {
            assert!(formats.insert(operation.format), "{}", operation.format);
            assert!(places.insert((operation.method, operation.path)), "{}", operation.path);
            assert!(KINDS.contains(&operation.kind), "{}", operation.kind);
        }
        assert_eq!(endpoints(KINDS).len(), routes().len());
        assert_eq!(endpoints(&["embeddings"]).len(), 1);
    }

    #[test]
    fn a_route_and_its_endpoint_agree() {
        for (route, endpoint) in routes().into_iter().zip(endpoints(KINDS)) {
            assert_eq!(route.path, format!("/v1{}", endpoint.path));
            assert_eq!(
                (route.format, route.operation, route.method),
                (endpoint.format, endpoint.operation, endpoint.method)
            );
        }
    }
}
