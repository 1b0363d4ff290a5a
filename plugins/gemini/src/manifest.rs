//! What the plugin says of itself: its routes and endpoints, and where texts stand in the protocol's documents.

use portcullis_plugin::prelude::*;

use crate::{FORMAT, catalogue};

pub fn manifest() -> Manifest {
    let mut routes = Vec::new();
    for (name, before) in PLACES {
        routes.push(chat_route(name, before, false));
        routes.push(chat_route(name, before, true));
        routes.push(array_route(name, before));
        for passed in PASSED {
            let path = format!("{before}:{}", passed.method);
            let name = format!("{name}-{}", passed.name);
            let model = Location::Path("model".to_owned());
            let mut route = Route::post(&name, passed.operation, passed.format, &path, model);
            route.stream_framing = Framing::Json;
            route.features.needs = named_objects();
            routes.push(route);
        }
    }
    // OpenAI's path too; the official SDKs name themselves with every request.
    for (name, path, header) in
        [("models", "/v1beta/models", None), ("stable-models", "/v1/models", Some("x-goog-api-client"))]
    {
        routes.push(models_route(name, path, header));
        routes.push(Route {
            model: Location::Path("model".to_owned()),
            ..models_route(&format!("{name}-one"), &format!("{path}/{{+model}}"), header)
        });
    }
    Manifest {
        access: Access::WRITE,
        routes,
        endpoints: [whole_endpoint(), stream_endpoint(), array_endpoint()]
            .into_iter()
            .chain(PASSED.iter().map(passed_endpoint))
            .collect(),
        models: catalogue::models(),
        suggestion: Some(Suggestion {
            base_url: "https://generativelanguage.googleapis.com/v1beta".to_owned(),
            auth: "header:x-goog-api-key".to_owned(),
            environment: "GEMINI_API_KEY".to_owned(),
        }),
        ..Manifest::new(
            "gemini",
            env!("CARGO_PKG_VERSION"),
            "Gemini generateContent: the client protocol and the provider, of Google AI Studio and Vertex AI",
        )
    }
}

/// Where clients look for models: those of AI Studio, of both versions (`google-genai` asks `v1` from 3.0 on), and those that were
/// written for Vertex AI
/// (<https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest>).
const PLACES: &[(&str, &str)] = &[
    ("chat", "/v1beta/models/{+model}"),
    ("stable", "/v1/models/{+model}"),
    ("vertex", "/v1/projects/{project}/locations/{location}/publishers/google/models/{+model}"),
    ("vertex-beta", "/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{+model}"),
];

/// A method whose documents nobody translates. Each has a format of its own, so that the host finds its endpoint.
struct Passed {
    name: &'static str,
    method: &'static str,
    operation: &'static str,
    format: &'static str,
    /// Where a body names the model once more, as `models/NAME`.
    named: &'static [&'static str],
}

/// Token counts (<https://ai.google.dev/api/tokens>) and embeddings (<https://ai.google.dev/api/embeddings>).
const PASSED: &[Passed] = &[
    Passed {
        name: "count",
        method: "countTokens",
        operation: "count-tokens",
        format: "gemini-count-tokens",
        named: &["/generateContentRequest/model", "/generate_content_request/model"],
    },
    Passed {
        name: "embed",
        method: "embedContent",
        operation: "embeddings",
        format: "gemini-embed-content",
        named: &["/model"],
    },
    Passed {
        name: "batch-embed",
        method: "batchEmbedContents",
        operation: "embeddings",
        format: "gemini-batch-embed-contents",
        named: &["/requests/*/model"],
    },
];

fn passed_endpoint(passed: &Passed) -> Endpoint {
    Endpoint {
        // "The model in each of these requests must match the model specified" in the path.
        model: std::iter::once(ModelPlace::path("model"))
            .chain(passed.named.iter().map(|at| ModelPlace::body(at).after("models/")))
            .collect(),
        forward_headers: list(&["x-goog-api-client"]),
        stream_framing: Framing::Json,
        ..Endpoint::post(passed.name, passed.operation, passed.format, &format!("/models/{{model}}:{}", passed.method))
    }
}

fn chat_route(place: &str, before: &str, stream: bool) -> Route {
    let (name, method) = if stream {
        (format!("{place}-stream"), "streamGenerateContent?alt=sse")
    } else {
        (place.to_owned(), "generateContent")
    };
    Route {
        stream: if stream { Location::Always } else { Location::Absent },
        output_limit: list(&[
            "/generationConfig/maxOutputTokens",
            "/generation_config/max_output_tokens",
            "/generationConfig/max_output_tokens",
            "/generation_config/maxOutputTokens",
        ]),
        choices: list(&[
            "/generationConfig/candidateCount",
            "/generation_config/candidate_count",
            "/generationConfig/candidate_count",
            "/generation_config/candidateCount",
        ]),
        reencode_when: reencode_when(),
        features: features(),
        request_texts: TextMap { derived: signatures_sent_back(), ..TextMap::plain() },
        answer_texts: answer_texts(),
        stream_texts: stream_texts(),
        ..Route::post(&name, "chat", FORMAT, &format!("{before}:{method}"), Location::Path("model".to_owned()))
    }
}

fn signatures_sent_back() -> Vec<String> {
    let mut all = both(&["/contents/*/parts/*/thoughtSignature"]);
    for metadata in ["partMetadata", "part_metadata"] {
        all.push(format!("/contents/*/parts/*/{metadata}/portcullis/signature"));
    }
    all
}

/// A stream without `alt=sse` is one JSON array, and so is an answer to it that comes at once.
fn array_route(place: &str, before: &str) -> Route {
    let within = |patterns: Vec<String>| patterns.iter().map(|pattern| format!("/*{pattern}")).collect();
    let texts = answer_texts();
    Route {
        name: format!("{place}-array"),
        path: format!("{before}:streamGenerateContent"),
        answer_texts: TextMap { opaque: within(texts.opaque), derived: within(texts.derived), ..TextMap::plain() },
        stream_framing: Framing::JsonArray,
        ..chat_route(place, before, true)
    }
}

fn models_route(name: &str, path: &str, header: Option<&str>) -> Route {
    Route {
        method: "GET".to_owned(),
        when_header: header.map(str::to_owned),
        stream_framing: Framing::Json,
        ..Route::post(name, "models", FORMAT, path, Location::Absent)
    }
}

fn whole_endpoint() -> Endpoint {
    chat_endpoint("generate", "generateContent", false)
}

/// What a stream of another protocol's client comes by.
fn stream_endpoint() -> Endpoint {
    chat_endpoint("stream", "streamGenerateContent?alt=sse", true)
}

/// For clients that read an array.
fn array_endpoint() -> Endpoint {
    Endpoint { stream_framing: Framing::JsonArray, ..chat_endpoint("stream-array", "streamGenerateContent", true) }
}

fn chat_endpoint(name: &str, method: &str, streams: bool) -> Endpoint {
    Endpoint {
        streams: Some(streams),
        model: vec![ModelPlace::path("model")],
        forward_headers: list(&["x-goog-api-client", "x-vertex-ai-llm-request-type"]),
        answer_headers: list(&["x-gemini-service-tier", "x-vertex-ai-llm-request-type"]),
        // Counts stand in every chunk and the last ones hold, but a stream that is cut must have been counted too.
        meter_frames: list(&["\"usageMetadata\"", "\"finishReason\"", "\"promptFeedback\"", "\"error\""]),
        ..Endpoint::post(name, "chat", FORMAT, &format!("/models/{{model}}:{method}"))
    }
}

/// What the API would refuse, and encoding mends: signatures of changed text, and what another provider must see again.
fn reencode_when() -> Vec<Condition> {
    let mut conditions: Vec<_> =
        both(&["/contents/*/parts/*/thoughtSignature"]).iter().map(|at| Condition::equals(at, r#""""#)).collect();
    conditions.extend(both(&["/contents/*/parts/*/partMetadata/portcullis"]).iter().map(|at| Condition::present(at)));
    conditions
}

/// Each pattern in camel case, in snake case, and with a last name in snake case, as SDKs write them (recordings).
fn both(patterns: &[&str]) -> Vec<String> {
    let mut all = Vec::with_capacity(patterns.len() * 3);
    for pattern in patterns {
        let (before, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        for spelling in [(*pattern).to_owned(), snake(pattern), format!("{before}/{}", snake(last))] {
            if !all.contains(&spelling) {
                all.push(spelling);
            }
        }
    }
    all
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Where requests name what Google keeps for the whole account: caches (<https://ai.google.dev/api/caching>), stores of files
/// (<https://ai.google.dev/api/file-search>) and, on Vertex AI, corpora and data stores
/// (<https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Tool>). The host passes them on only where the operator
/// opened the account.
fn named_objects() -> Vec<Need> {
    let places = [
        "/cachedContent",
        "/generateContentRequest/cachedContent",
        "/tools/*/fileSearch/fileSearchStoreNames/*",
        "/tools/*/retrieval/vertexAiSearch/datastore",
        "/tools/*/retrieval/vertexAiSearch/engine",
        "/tools/*/retrieval/vertexRagStore/ragCorpora/*",
        "/tools/*/retrieval/vertexRagStore/ragResources/*/ragCorpus",
    ];
    let names = places.into_iter().flat_map(spellings).map(|at| Condition::present(&at));
    // Files that were uploaded (<https://ai.google.dev/gemini-api/docs/files>), and what the account may read in Cloud Storage. Any other
    // URI is the world's.
    let files = ["/contents/*/parts/*/fileData/fileUri", "/systemInstruction/parts/*/fileData/fileUri"];
    let files = files.into_iter().flat_map(spellings).flat_map(|at| {
        ["https://generativelanguage.googleapis.com/", "gs://"].map(|begins| Condition::starts_with(&at, begins))
    });
    names.chain(files).map(|when| Need { capability: "shared-objects".to_owned(), when }).collect()
}

/// Every way to write a pattern's names: the service takes either spelling of each.
fn spellings(pattern: &str) -> Vec<String> {
    pattern.split('/').skip(1).fold(vec![String::new()], |written, name| {
        let names = [name.to_owned(), snake(name)];
        let names = &names[..if names[0] == names[1] { 1 } else { 2 }];
        written.iter().flat_map(|before| names.iter().map(move |name| format!("{before}/{name}"))).collect()
    })
}

fn features() -> FeatureMap {
    let mut needs = Vec::new();
    let mut need = |capability: &str, at: &str, equals: Option<&str>| {
        for at in both(&[at]) {
            needs.push(Need {
                capability: capability.to_owned(),
                when: equals.map_or_else(|| Condition::present(&at), |json| Condition::equals(&at, json)),
            });
        }
    };
    need("tools", "/tools/*/functionDeclarations/0", None);
    need("web-search", "/tools/*/googleSearch", None);
    need("json-schema", "/generationConfig/responseSchema", None);
    need("json-schema", "/generationConfig/responseJsonSchema", None);
    need("json-object", "/generationConfig/responseMimeType", Some(r#""application/json""#));
    need("reasoning", "/generationConfig/thinkingConfig/includeThoughts", Some("true"));
    for source in ["inlineData", "fileData"] {
        let kind = format!("/contents/*/parts/*/{source}/mimeType");
        for image in ["image/png", "image/jpeg", "image/webp", "image/gif", "image/heic", "image/heif"] {
            need("vision", &kind, Some(&format!("\"{image}\"")));
        }
        need("documents", &kind, Some(r#""application/pdf""#));
        for audio in ["wav", "mp3", "mpeg", "aac", "ogg", "flac", "m4a", "aiff", "webm"] {
            need("audio-input", &kind, Some(&format!("\"audio/{audio}\"")));
        }
        for video in ["mp4", "mpeg", "quicktime", "webm", "x-flv", "mpg", "wmv", "3gpp"] {
            need("video-input", &kind, Some(&format!("\"video/{video}\"")));
        }
    }
    needs.extend(named_objects());
    FeatureMap {
        tool_names: both(&["/tools/*/functionDeclarations/*/name"]),
        needs,
        prompts: both(&["/systemInstruction/parts/*/text", "/contents/*/parts/*/text"]),
    }
}

/// Strings that the API mints and a reader learns nothing from.
const OPAQUE: &[&str] = &[
    "/responseId",
    "/modelVersion",
    "/createTime",
    "/promptFeedback/blockReason",
    "/promptFeedback/safetyRatings/*/category",
    "/promptFeedback/safetyRatings/*/probability",
    "/candidates/*/finishReason",
    "/candidates/*/safetyRatings/*/category",
    "/candidates/*/safetyRatings/*/probability",
    "/candidates/*/safetyRatings/*/severity",
    "/candidates/*/content/role",
    "/candidates/*/content/parts/*/thoughtSignature",
    "/candidates/*/content/parts/*/partMetadata/portcullis/signature",
    "/candidates/*/content/parts/*/partMetadata/portcullis/redacted",
    "/candidates/*/content/parts/*/partMetadata/portcullis/format",
    "/candidates/*/content/parts/*/inlineData/mimeType",
    "/candidates/*/content/parts/*/inlineData/data",
    "/candidates/*/content/parts/*/fileData/mimeType",
    "/candidates/*/content/parts/*/functionCall/id",
    "/candidates/*/content/parts/*/executableCode/id",
    "/candidates/*/content/parts/*/executableCode/language",
    "/candidates/*/content/parts/*/codeExecutionResult/id",
    "/candidates/*/content/parts/*/codeExecutionResult/outcome",
    "/candidates/*/content/parts/*/toolCall/id",
    "/candidates/*/content/parts/*/toolCall/toolType",
    "/candidates/*/content/parts/*/toolResponse/id",
    "/candidates/*/content/parts/*/toolResponse/toolType",
    "/usageMetadata/trafficType",
    "/usageMetadata/serviceTier",
    "/usageMetadata/promptTokensDetails/*/modality",
    "/usageMetadata/cacheTokensDetails/*/modality",
    "/usageMetadata/candidatesTokensDetails/*/modality",
    "/usageMetadata/toolUsePromptTokensDetails/*/modality",
    "/error/status",
];
/// Of the part's text the signature, its own or another provider's, of the candidate's the probabilities of its words.
const DERIVED: &[&str] = &[
    "/candidates/*/content/parts/*/thoughtSignature",
    "/candidates/*/content/parts/*/partMetadata/portcullis/signature",
    "/candidates/*/logprobsResult",
];

fn answer_texts() -> TextMap {
    TextMap { opaque: list(OPAQUE), derived: list(DERIVED), ..TextMap::plain() }
}

/// A text ends where a call begins. A candidate's last piece of text comes with its finish reason, so that what is held of it
/// goes out at the stream's end.
fn stream_texts() -> TextMap {
    let end = |at: &str| ChannelEnd { when: Condition::present(at), key: list(&["/candidates/*/index"]) };
    TextMap {
        opaque: list(OPAQUE),
        derived: list(DERIVED),
        channels: vec![Channel {
            text: "/candidates/*/content/parts/*/text".to_owned(),
            kind: TextKind::Text,
            when: Vec::new(),
            key: list(&["/candidates/*/index", "/candidates/*/content/parts/*/thought"]),
            ends: vec![
                end("/candidates/*/content/parts/*/functionCall"),
                end("/candidates/*/content/parts/*/executableCode"),
                end("/candidates/*/content/parts/*/inlineData"),
            ],
        }],
        terminators: vec![Condition::present("/error")],
        ..TextMap::plain()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_plugin::ir::Test;

    use super::*;

    /// Every place and every condition of a route is one the host can read.
    #[test]
    fn patterns_are_pointers_and_conditions_are_json() {
        for route in manifest().routes {
            let mut patterns = route.output_limit.clone();
            let mut conditions = route.reencode_when;
            patterns.extend(route.features.tool_names.iter().chain(&route.features.prompts).cloned());
            conditions.extend(route.features.needs.into_iter().map(|need| need.when));
            for map in [route.request_texts, route.answer_texts, route.stream_texts] {
                patterns.extend(map.opaque.into_iter().chain(map.json_strings).chain(map.derived));
                conditions.extend(map.terminators);
                for channel in map.channels {
                    patterns.push(channel.text);
                    patterns.extend(channel.key);
                    for end in channel.ends {
                        patterns.extend(end.key);
                        conditions.push(end.when);
                    }
                }
            }
            for condition in conditions {
                patterns.push(condition.at);
                if let Test::Equals(json) = condition.test {
                    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
                }
            }
            for pattern in patterns {
                assert!(pattern.starts_with('/') && !pattern.ends_with('/'), "{pattern}");
            }
        }
    }

    #[test]
    fn each_route_has_an_endpoint_of_its_format() {
        let manifest = manifest();
        for route in manifest.routes.iter().filter(|route| route.operation != "models") {
            let stream = matches!(route.stream, Location::Always);
            let mut endpoints = manifest.endpoints.iter().filter(|endpoint| {
                endpoint.format == route.format
                    && endpoint.streams.is_none_or(|streams| streams == stream)
                    && (!stream || endpoint.stream_framing == route.stream_framing)
            });
            let endpoint = endpoints.next().unwrap();
            assert_eq!((&endpoint.operation, endpoints.next().is_none()), (&route.operation, true), "{}", route.name);
            let array = route.stream_framing == Framing::JsonArray;
            assert_eq!(endpoint.path.contains("alt=sse"), stream && !array, "{}", route.name);
        }
    }

    #[test]
    fn patterns_come_in_both_spellings() {
        assert_eq!(both(&["/a/*/bCd"]), ["/a/*/bCd", "/a/*/b_cd"]);
        assert_eq!(both(&["/aB/cD"]), ["/aB/cD", "/a_b/c_d", "/aB/c_d"]);
        assert_eq!(both(&["/tools"]), ["/tools"]);
    }
}
