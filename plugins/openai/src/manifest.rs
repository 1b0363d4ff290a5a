//! What the plugin says of itself: where the facts of a Chat Completions document stand.

use portcullis_plugin::ir::Condition;
use portcullis_plugin::manifest::{
    Channel, ChannelEnd, FeatureMap, Framing, Location, Manifest, Need, Route, Suggestion, TextKind, TextMap, list,
};

use portcullis_openai_chat::endpoint;

use crate::operations::{self, answer_headers};
use crate::wire::FORMAT;
use crate::{catalogue, responses};

/// The need of a request that names what the provider keeps for the whole account: the host passes it on only where the operator
/// opened the account.
pub const SHARED_OBJECTS: &str = "shared-objects";

pub fn manifest() -> Manifest {
    let summary = "OpenAI Chat Completions and Responses: clients that speak them, and providers that do";
    Manifest {
        routes: [
            attributed(chat_route()),
            attributed(responses::manifest::route()),
            responses::manifest::count_route(),
            models_route(),
        ]
        .into_iter()
        .chain(operations::routes())
        .collect(),
        endpoints: [endpoint::chat(FORMAT), responses::manifest::endpoint(answer_headers())]
            .into_iter()
            .chain([responses::manifest::count_endpoint(answer_headers())])
            .chain(operations::endpoints(operations::KINDS))
            .collect(),
        models: catalogue::models(),
        suggestion: Some(Suggestion {
            base_url: "https://api.openai.com/v1".to_owned(),
            auth: "bearer".to_owned(),
            environment: "OPENAI_API_KEY".to_owned(),
        }),
        ..Manifest::new("openai", env!("CARGO_PKG_VERSION"), summary)
    }
}

/// Both protocols say alike who asks and what for
/// (<https://platform.openai.com/docs/api-reference/chat/create>: `user`, `safety_identifier`, `metadata`).
fn attributed(route: Route) -> Route {
    route.user_at("/user").user_at("/safety_identifier").tags_at("/metadata")
}

fn chat_route() -> Route {
    Route {
        name: "chat".to_owned(),
        operation: "chat".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        when_header: None,
        format: FORMAT.to_owned(),
        model: Location::Body("/model".to_owned()),
        auto_when: Vec::new(),
        stream: Location::Body("/stream".to_owned()),
        output_limit: list(&["/max_completion_tokens", "/max_tokens"]),
        choices: list(&["/n"]),
        reencode_when: vec![
            Condition::present("/system"),
            // A guard changed this reasoning: whoever signed it would refuse it, and encoding drops it.
            Condition::equals("/messages/*/reasoning_details/*/signature", r#""""#),
        ],
        features: features(),
        request_texts: TextMap {
            json_strings: request_json_strings(),
            derived: list(&[
                "/messages/*/reasoning_details/*/signature",
                "/messages/*/tool_calls/*/extra_content/google/thought_signature",
            ]),
            ..TextMap::plain()
        },
        answer_texts: answer_texts(),
        stream_texts: stream_texts(),
        stream_framing: Framing::Sse,
        continuation: None,
        headers: Vec::new(),
        extra: Vec::new(),
    }
}

fn models_route() -> Route {
    Route {
        name: "models".to_owned(),
        operation: "models".to_owned(),
        method: "GET".to_owned(),
        path: "/v1/models".to_owned(),
        when_header: None,
        format: FORMAT.to_owned(),
        model: Location::Absent,
        auto_when: Vec::new(),
        stream: Location::Absent,
        output_limit: Vec::new(),
        choices: Vec::new(),
        reencode_when: Vec::new(),
        features: FeatureMap { tool_names: Vec::new(), needs: Vec::new(), prompts: Vec::new() },
        request_texts: TextMap::plain(),
        answer_texts: TextMap::plain(),
        stream_texts: TextMap::plain(),
        stream_framing: Framing::Json,
        continuation: None,
        headers: Vec::new(),
        extra: Vec::new(),
    }
}

fn features() -> FeatureMap {
    let need = |capability: &str, when| Need { capability: capability.to_owned(), when };
    FeatureMap {
        tool_names: list(&["/tools/*/function/name", "/tools/*/custom/name", "/functions/*/name"]),
        needs: vec![
            need("tools", Condition::present("/tools/0")),
            need("tools", Condition::present("/functions/0")),
            need("vision", Condition::present("/messages/*/content/*/image_url")),
            need("audio-input", Condition::present("/messages/*/content/*/input_audio")),
            need("audio-output", Condition::present("/audio")),
            need("documents", Condition::present("/messages/*/content/*/file")),
            need("json-schema", Condition::present("/response_format/json_schema")),
            need("json-object", Condition::equals("/response_format/type", "\"json_object\"")),
            need("logprobs", Condition::equals("/logprobs", "true")),
            need(SHARED_OBJECTS, Condition::present("/messages/*/content/*/file/file_id")),
            // Speech that the model gave before, and a voice made for the account.
            need(SHARED_OBJECTS, Condition::present("/messages/*/audio")),
            need(SHARED_OBJECTS, Condition::present("/audio/voice/id")),
        ],
        prompts: list(&["/system", "/system/*/text", "/messages/*/content", "/messages/*/content/*/text"]),
    }
}

fn request_json_strings() -> Vec<String> {
    list(&["/messages/*/tool_calls/*/function/arguments", "/messages/*/function_call/arguments"])
}

fn answer_texts() -> TextMap {
    TextMap {
        json_strings: list(&[
            "/choices/*/message/tool_calls/*/function/arguments",
            "/choices/*/message/function_call/arguments",
        ]),
        opaque: opaque("message"),
        derived: derived("message"),
        ..TextMap::plain()
    }
}

fn stream_texts() -> TextMap {
    let choice = "/choices/*/index";
    let end = |at: &str| ChannelEnd { when: Condition::present(at), key: list(&[choice]) };
    let finish = || end("/choices/*/finish_reason");
    let channel = |text: &str, kind: TextKind, key: &[&str], ends: Vec<ChannelEnd>| Channel {
        text: text.to_owned(),
        kind,
        when: Vec::new(),
        key: list(key),
        ends,
    };
    // What follows thinking or text in the same choice ends it: the held rest must not come after a call.
    let text_ends = || vec![finish(), end("/choices/*/delta/tool_calls"), end("/choices/*/delta/function_call")];
    let call = "/choices/*/delta/tool_calls/*/index";
    let detail = "/choices/*/delta/reasoning_details/*/index";
    TextMap {
        opaque: opaque("delta"),
        derived: derived("delta"),
        channels: vec![
            channel("/choices/*/delta/content", TextKind::Text, &[choice], text_ends()),
            channel("/choices/*/delta/refusal", TextKind::Refusal, &[choice], text_ends()),
            channel("/choices/*/delta/reasoning_content", TextKind::Reasoning, &[choice], text_ends()),
            channel("/choices/*/delta/reasoning", TextKind::Reasoning, &[choice], text_ends()),
            channel("/choices/*/delta/reasoning_details/*/text", TextKind::Reasoning, &[choice, detail], text_ends()),
            channel(
                "/choices/*/delta/reasoning_details/*/summary",
                TextKind::Reasoning,
                &[choice, detail],
                text_ends(),
            ),
            channel(
                "/choices/*/delta/tool_calls/*/function/arguments",
                TextKind::ToolArguments,
                &[choice, call],
                vec![finish()],
            ),
            // A custom tool's input is free text.
            channel("/choices/*/delta/tool_calls/*/custom/input", TextKind::Text, &[choice, call], vec![finish()]),
            channel("/choices/*/delta/function_call/arguments", TextKind::ToolArguments, &[choice], vec![finish()]),
            channel("/choices/*/delta/audio/transcript", TextKind::Text, &[choice], vec![finish()]),
        ],
        ..TextMap::plain()
    }
}

/// Strings of an answer that mean nothing to a reader. `member` is where a choice keeps its message.
fn opaque(member: &str) -> Vec<String> {
    let mut patterns = list(&[
        "/id",
        "/object",
        "/model",
        "/provider",
        "/system_fingerprint",
        "/service_tier",
        "/obfuscation",
        "/choices/*/finish_reason",
        "/choices/*/native_finish_reason",
    ]);
    let inside = [
        "role",
        "channel",
        "tool_calls/*/id",
        "tool_calls/*/type",
        "tool_calls/*/extra_content/google/thought_signature",
        "audio/id",
        "audio/data",
        "annotations/*/type",
        "reasoning_details/*/type",
        "reasoning_details/*/id",
        "reasoning_details/*/format",
        "reasoning_details/*/signature",
        "reasoning_details/*/data",
    ];
    patterns.extend(inside.iter().map(|path| format!("/choices/*/{member}/{path}")));
    patterns.extend(portcullis_plugin::manifest::account_strings());
    patterns
}

/// What does not fit a text any more that a guard changed. `member` as above.
fn derived(member: &str) -> Vec<String> {
    vec![
        "/choices/*/logprobs".to_owned(),
        format!("/choices/*/{member}/reasoning_details/*/signature"),
        format!("/choices/*/{member}/tool_calls/*/extra_content/google/thought_signature"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_header_is_forwarded() {
        let endpoint = endpoint::chat(FORMAT);
        for header in endpoint.forward_headers.iter().chain(&endpoint.answer_headers) {
            assert!(
                !["authorization", "openai-organization", "openai-project", "set-cookie"].contains(&header.as_str())
            );
            assert_eq!(header, &header.to_lowercase());
        }
    }

    #[test]
    fn every_channel_ends_with_its_choice() {
        for channel in stream_texts().channels {
            assert!(channel.ends.iter().any(|end| end.when.at == "/choices/*/finish_reason"), "{}", channel.text);
            assert!(channel.ends.iter().all(|end| channel.key.starts_with(&end.key)), "{}", channel.text);
        }
    }
}
