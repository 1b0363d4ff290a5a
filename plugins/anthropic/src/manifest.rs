//! What the plugin says of itself: routes, endpoints, and where texts stand in the protocol's documents.

use portcullis_plugin::prelude::*;

use portcullis_anthropic_messages::{COUNT, FORMAT, catalogue};

pub fn manifest() -> Manifest {
    Manifest {
        access: Access::WRITE,
        routes: vec![chat_route().user_at("/metadata/user_id"), count_route(), models_route()],
        endpoints: vec![chat_endpoint(), count_endpoint()],
        models: catalogue::models(),
        suggestion: Some(Suggestion {
            base_url: "https://api.anthropic.com".to_owned(),
            auth: "header:x-api-key".to_owned(),
            environment: "ANTHROPIC_API_KEY".to_owned(),
        }),
        ..Manifest::new(
            "anthropic",
            env!("CARGO_PKG_VERSION"),
            "Anthropic Messages: the client protocol and the provider",
        )
    }
}

fn chat_route() -> Route {
    Route {
        name: "chat".to_owned(),
        operation: "chat".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/messages".to_owned(),
        when_header: None,
        format: FORMAT.to_owned(),
        model: Location::Body("/model".to_owned()),
        auto_when: Vec::new(),
        stream: Location::Body("/stream".to_owned()),
        output_limit: list(&["/max_tokens"]),
        choices: Vec::new(),
        // A guard changed this reasoning: the API would refuse it, and encoding drops it.
        reencode_when: vec![Condition::equals("/messages/*/content/*/signature", r#""""#)],
        features: features(),
        request_texts: TextMap { derived: list(&["/messages/*/content/*/signature"]), ..TextMap::plain() },
        answer_texts: answer_texts(),
        stream_texts: stream_texts(),
        stream_framing: Framing::Sse,
        continuation: None,
        headers: Vec::new(),
        extra: Vec::new(),
    }
}

/// Counts what a request would take, and generates nothing (<https://docs.anthropic.com/en/api/messages-count-tokens>).
fn count_route() -> Route {
    Route {
        features: features(),
        request_texts: TextMap { derived: list(&["/messages/*/content/*/signature"]), ..TextMap::plain() },
        stream_framing: Framing::Json,
        ..Route::post(COUNT, "count-tokens", FORMAT, "/v1/messages/count_tokens", Location::Body("/model".to_owned()))
    }
}

fn count_endpoint() -> Endpoint {
    Endpoint {
        name: COUNT.to_owned(),
        operation: "count-tokens".to_owned(),
        path: "/v1/messages/count_tokens".to_owned(),
        stream_framing: Framing::Json,
        ..chat_endpoint()
    }
}

/// `GET /v1/models` is OpenAI's path too; this protocol's clients send their version with every request.
fn models_route() -> Route {
    Route {
        name: "models".to_owned(),
        operation: "models".to_owned(),
        method: "GET".to_owned(),
        path: "/v1/models".to_owned(),
        when_header: Some("anthropic-version".to_owned()),
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

fn chat_endpoint() -> Endpoint {
    Endpoint {
        name: "chat".to_owned(),
        operation: "chat".to_owned(),
        format: FORMAT.to_owned(),
        method: "POST".to_owned(),
        path: "/v1/messages".to_owned(),
        query: Vec::new(),
        headers: list(&["anthropic-beta"]),
        // The version that still takes sampling, which other protocols' clients send; a client's own version replaces it.
        fixed_headers: vec![Pair::new("anthropic-version", "2023-06-01")],
        forward_headers: list(&["anthropic-beta", "anthropic-version"]),
        answer_headers: list(&[
            "request-id",
            "anthropic-organization-id",
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ]),
        streams: None,
        model: vec![ModelPlace::body("/model")],
        set_members: Vec::new(),
        remove_members: Vec::new(),
        reencode_when: Vec::new(),
        // Usage comes unasked.
        usage_flag: None,
        // `message_start` and `message_delta` hold usage, `message_delta` the stop reason; an error ends a stream early.
        meter_frames: list(&["\"usage\"", "\"stop_reason\"", "\"error\""]),
        stream_framing: Framing::Sse,
        inline_media: Vec::new(),
        extra: Vec::new(),
    }
}

/// Where requests name what Anthropic keeps for the whole account: files, containers, skills of its own, threads and answers before, by
/// the official Python package 2.10 (`types/` and `types/beta/`, `*_param.py`, `message_create_params.py`). The host passes them on only
/// where the operator opened the account.
fn named_objects() -> impl Iterator<Item = Need> {
    let names = [
        "/container",
        "/thread/previous_message_id",
        "/diagnostics/previous_message_id",
        "/user_profile_id",
        "/messages/*/content/*/file_id",
        "/messages/*/content/*/source/file_id",
        "/messages/*/content/*/source/content/*/source/file_id",
        "/messages/*/content/*/content/*/source/file_id",
    ];
    let said = [("/container/skills/*/type", r#""custom""#), ("/thread/type", r#""create""#)];
    let names = names.into_iter().map(Condition::present);
    let said = said.into_iter().map(|(at, value)| Condition::equals(at, value));
    names.chain(said).map(|when| Need { capability: "shared-objects".to_owned(), when })
}

fn features() -> FeatureMap {
    let need = |capability: &str, when| Need { capability: capability.to_owned(), when };
    let mut needs = vec![
        need("tools", Condition::present("/tools/0")),
        need("json-schema", Condition::present("/output_config/format")),
        need("json-schema", Condition::present("/output_format")),
        need("reasoning", Condition::equals("/thinking/type", r#""enabled""#)),
        need("reasoning", Condition::equals("/thinking/type", r#""adaptive""#)),
    ];
    // Blocks of a message, and those within a tool's result.
    for at in ["/messages/*/content/*/type", "/messages/*/content/*/content/*/type"] {
        needs.push(need("vision", Condition::equals(at, r#""image""#)));
        needs.push(need("documents", Condition::equals(at, r#""document""#)));
    }
    for version in ["20250305", "20260209", "20260318"] {
        needs.push(need("web-search", Condition::equals("/tools/*/type", &format!(r#""web_search_{version}""#))));
    }
    needs.extend(named_objects());
    FeatureMap {
        tool_names: list(&["/tools/*/name"]),
        needs,
        prompts: list(&["/system", "/system/*/text", "/messages/*/content", "/messages/*/content/*/text"]),
    }
}

/// Strings that the API mints and a reader learns nothing from, in a message whose members stand under `at`.
fn opaque(at: &str) -> Vec<String> {
    const MESSAGE: &[&str] = &[
        "/id",
        "/type",
        "/role",
        "/model",
        "/stop_reason",
        "/stop_details/type",
        "/stop_details/category",
        "/container/id",
        "/container/expires_at",
        "/usage/service_tier",
        "/usage/inference_geo",
        "/usage/speed",
        "/usage/iterations/*/type",
        "/usage/iterations/*/model",
    ];
    MESSAGE.iter().map(|pointer| format!("{at}{pointer}")).collect()
}

/// The same of a content block under `at`.
fn opaque_block(at: &str) -> Vec<String> {
    const BLOCK: &[&str] = &[
        "/type",
        "/id",
        "/signature",
        "/data",
        "/tool_use_id",
        "/file_id",
        "/caller/type",
        "/caller/tool_id",
        "/citations/*/type",
        "/citations/*/encrypted_index",
        "/content/type",
        "/content/*/type",
        "/content/*/encrypted_content",
        "/content/encrypted_stdout",
        "/content/content/type",
        "/content/content/source/type",
        "/content/content/source/media_type",
    ];
    BLOCK.iter().map(|pointer| format!("{at}{pointer}")).collect()
}

fn answer_texts() -> TextMap {
    let mut opaque = opaque("");
    opaque.extend(opaque_block("/content/*"));
    opaque.extend(account_strings());
    TextMap { opaque, derived: list(&["/content/*/signature"]), ..TextMap::plain() }
}

fn stream_texts() -> TextMap {
    let mut opaque = opaque("/message");
    opaque.extend(opaque_block("/content_block"));
    opaque.extend(account_strings());
    opaque.extend(list(&[
        "/type",
        "/error/type",
        "/request_id",
        "/delta/type",
        "/delta/signature",
        "/delta/stop_reason",
        "/delta/stop_details/type",
        "/delta/stop_details/category",
        "/delta/container/id",
        "/delta/container/expires_at",
        "/delta/citation/type",
        "/delta/citation/encrypted_index",
        "/usage/service_tier",
        "/usage/iterations/*/type",
        "/usage/iterations/*/model",
    ]));
    let channel = |text: &str, kind| Channel {
        text: text.to_owned(),
        kind,
        when: Vec::new(),
        key: list(&["/index"]),
        ends: vec![ChannelEnd { when: Condition::equals("/type", r#""content_block_stop""#), key: list(&["/index"]) }],
    };
    TextMap {
        opaque,
        derived: list(&["/content_block/signature", "/delta/signature"]),
        channels: vec![
            channel("/delta/text", TextKind::Text),
            channel("/delta/thinking", TextKind::Reasoning),
            channel("/delta/partial_json", TextKind::ToolArguments),
        ],
        terminators: vec![Condition::equals("/type", r#""message_stop""#), Condition::equals("/type", r#""error""#)],
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
    fn the_two_lists_of_models_part_by_the_version_header() {
        let models = manifest().routes.into_iter().find(|route| route.operation == "models").unwrap();
        assert_eq!(models.when_header.as_deref(), Some("anthropic-version"));
    }
}
