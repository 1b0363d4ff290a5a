//! What the plugin says of this protocol: where the facts of its documents stand.
//!
//! Every piece of a streamed text stands at `/delta`, whatever it is a piece of, so one channel holds them all, by the item they
//! belong to. A channel's kind cannot depend on the frame's type, so pieces of a call's arguments are read as text; the frames
//! that repeat them are read as the JSON they are.

use portcullis_plugin::ir::Condition;
use portcullis_plugin::manifest::{
    Channel, ChannelEnd, Continuation, Endpoint, FeatureMap, Framing, Location, Need, Route, TextKind, TextMap, list,
};

use super::wire::proof::MARK;
use super::{FORMAT, NAME};
use crate::manifest::SHARED_OBJECTS;

/// Counting has a route, an endpoint and a format of its own.
const COUNT: &str = "input-tokens";
const COUNT_FORMAT: &str = "openai-input-tokens";

pub fn route() -> Route {
    Route {
        stream: Location::Body("/stream".to_owned()),
        output_limit: list(&["/max_output_tokens"]),
        reencode_when: vec![
            // A guard changed this reasoning: who encrypted it would refuse it, and encoding drops it.
            Condition::equals("/input/*/encrypted_content", r#""""#),
            // Another provider's reasoning: OpenAI would refuse it.
            Condition::present("/input/*/format"),
            Condition::starts_with("/input/*/encrypted_content", MARK),
        ],
        features: features(),
        request_texts: TextMap {
            json_strings: list(&["/input/*/arguments"]),
            derived: list(&["/input/*/encrypted_content"]),
            ..TextMap::plain()
        },
        answer_texts: answer_texts(),
        stream_texts: stream_texts(),
        continuation: Some(Continuation {
            previous: "/previous_response_id".to_owned(),
            input: "/input".to_owned(),
            store: "/store".to_owned(),
            id: "/id".to_owned(),
            output: "/output".to_owned(),
            // `response.completed`, and `response.incomplete`, which can be gone on from as well: the frames before them have the
            // document without its items.
            ends: vec![Condition::present("/response/output/0")],
            within: "/response".to_owned(),
        }),
        ..Route::post(NAME, "chat", FORMAT, "/v1/responses", Location::Body("/model".to_owned()))
    }
}

pub fn endpoint(answer_headers: Vec<String>) -> Endpoint {
    Endpoint {
        forward_headers: list(&["openai-beta"]),
        answer_headers,
        // Usage comes unasked, in the last frame.
        meter_frames: ["completed", "incomplete", "failed"]
            .iter()
            .flat_map(|end| [format!(r#""type":"response.{end}""#), format!(r#""type": "response.{end}""#)])
            .chain(list(&[r#""type":"error""#, r#""type": "error""#]))
            .collect(),
        ..Endpoint::post(NAME, "chat", FORMAT, "/responses")
    }
}

/// What a request would take, counted by the provider, which generates nothing
/// (<https://platform.openai.com/docs/api-reference/responses/input-tokens>). Of conversations that the gateway keeps it knows none.
pub fn count_route() -> Route {
    let mut features = features();
    let when = Condition::present("/previous_response_id");
    features.needs.push(Need { capability: SHARED_OBJECTS.to_owned(), when });
    Route {
        features,
        request_texts: TextMap { json_strings: list(&["/input/*/arguments"]), ..TextMap::plain() },
        answer_texts: TextMap { opaque: list(&["/object"]), ..TextMap::plain() },
        stream_framing: Framing::Json,
        ..Route::post(
            COUNT,
            "count-tokens",
            COUNT_FORMAT,
            "/v1/responses/input_tokens",
            Location::Body("/model".to_owned()),
        )
    }
}

pub fn count_endpoint(answer_headers: Vec<String>) -> Endpoint {
    Endpoint {
        answer_headers,
        stream_framing: Framing::Json,
        ..Endpoint::post(COUNT, "count-tokens", COUNT_FORMAT, "/responses/input_tokens")
    }
}

fn features() -> FeatureMap {
    let need = |capability: &str, when| Need { capability: capability.to_owned(), when };
    let mut needs = vec![
        need("tools", Condition::present("/tools/0")),
        need("vision", Condition::equals("/input/*/content/*/type", r#""input_image""#)),
        need("vision", Condition::equals("/input/*/output/*/type", r#""input_image""#)),
        need("documents", Condition::equals("/input/*/content/*/type", r#""input_file""#)),
        need("documents", Condition::equals("/input/*/output/*/type", r#""input_file""#)),
        need("audio-input", Condition::equals("/input/*/content/*/type", r#""input_audio""#)),
        need("json-schema", Condition::equals("/text/format/type", r#""json_schema""#)),
        need("json-object", Condition::equals("/text/format/type", r#""json_object""#)),
        need("background", Condition::equals("/background", "true")),
    ];
    needs.extend(named_objects());
    // Tools that run at the provider: which of them a model has is the provider's to say.
    let built_in = [
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "file_search",
        "code_interpreter",
        "image_generation",
        "mcp",
        "computer",
        "computer_use_preview",
        "local_shell",
        "shell",
        "apply_patch",
        "tool_search",
        "programmatic_tool_calling",
    ];
    for kind in built_in {
        needs.push(need("responses-tools", Condition::equals("/tools/*/type", &format!("\"{kind}\""))));
    }
    FeatureMap {
        tool_names: list(&["/tools/*/name", "/tools/*/tools/*/name"]),
        needs,
        prompts: list(&["/instructions", "/input", "/input/*/content", "/input/*/content/*/text"]),
    }
}

/// Where requests name what OpenAI keeps for the whole account, by the official Python package 3.51 (`types/responses/*_param.py`): an
/// item by its id alone is an `item_reference`, `type` or no.
fn named_objects() -> Vec<Need> {
    let shared = |when| Need { capability: SHARED_OBJECTS.to_owned(), when };
    let mut needs: Vec<Need> = [
        "/conversation",
        "/prompt",
        "/prompt_cache_options/comparison_response_id",
        "/input/*",
        "/input/*/content/*/file_id",
        "/input/*/output/*/file_id",
        "/input/*/output/file_id",
        // A container that a call was made in is gone on with (code interpreter, shell).
        "/input/*/container_id",
        "/input/*/environment/container_id",
    ]
    .into_iter()
    .map(|at| shared(Condition::present(at)))
    .collect();
    needs.push(shared(Condition::equals("/input/*/type", r#""item_reference""#)));
    // Tools stand in items too, and in namespaces.
    for tools in ["/tools/*", "/tools/*/tools/*", "/input/*/tools/*", "/input/*/tools/*/tools/*"] {
        for member in [
            "vector_store_ids/*",
            "container",
            "container/file_ids/*",
            "input_image_mask/file_id",
            "tunnel_id",
            "environment/container_id",
            "environment/file_ids/*",
            "environment/skills/*/skill_id",
        ] {
            needs.push(shared(Condition::present(&format!("{tools}/{member}"))));
        }
    }
    needs
}

/// Strings that the provider mints and a reader learns nothing from, in a response under `at`.
fn opaque_response(at: &str) -> Vec<String> {
    const RESPONSE: &[&str] = &[
        "/id",
        "/object",
        "/status",
        "/model",
        "/service_tier",
        "/truncation",
        "/previous_response_id",
        "/prompt_cache_key",
        "/prompt_cache_retention",
        "/safety_identifier",
        "/incomplete_details/reason",
        "/error/code",
        "/conversation/id",
        "/tool_choice",
        "/reasoning/effort",
        "/reasoning/summary",
        "/reasoning/context",
        "/reasoning/mode",
        "/text/format/type",
        "/text/verbosity",
        "/tools/*/type",
        "/billing/payer",
    ];
    RESPONSE.iter().map(|pointer| format!("{at}{pointer}")).collect()
}

/// The same of an item under `at`.
fn opaque_item(at: &str) -> Vec<String> {
    const ITEM: &[&str] = &[
        "/type",
        "/id",
        "/status",
        "/role",
        "/phase",
        "/call_id",
        "/encrypted_content",
        "/format",
        "/execution",
        "/container_id",
        "/action/type",
        "/approval_request_id",
        "/content/*/type",
        "/content/*/annotations/*/type",
        "/content/*/annotations/*/file_id",
        "/content/*/annotations/*/container_id",
        "/summary/*/type",
    ];
    ITEM.iter().map(|pointer| format!("{at}{pointer}")).collect()
}

fn json_strings(item: &str) -> Vec<String> {
    vec![format!("{item}/arguments")]
}

/// What does not fit a text any more that a guard changed.
fn derived(item: &str) -> Vec<String> {
    vec![format!("{item}/encrypted_content"), format!("{item}/content/*/logprobs")]
}

fn answer_texts() -> TextMap {
    let mut opaque = opaque_response("");
    opaque.extend(opaque_item("/output/*"));
    TextMap { json_strings: json_strings("/output/*"), opaque, derived: derived("/output/*"), ..TextMap::plain() }
}

fn stream_texts() -> TextMap {
    let mut opaque = opaque_response("/response");
    opaque.extend(opaque_item("/response/output/*"));
    opaque.extend(opaque_item("/item"));
    opaque.extend(list(&[
        "/type",
        "/item_id",
        "/obfuscation",
        "/code",
        "/part/type",
        "/part/annotations/*/type",
        "/part/annotations/*/file_id",
        "/annotation/type",
        "/annotation/file_id",
        "/annotation/container_id",
        "/partial_image_b64",
    ]));
    let mut json_strings = json_strings("/response/output/*");
    json_strings.extend(list(&["/item/arguments", "/arguments"]));
    let mut derived = derived("/response/output/*");
    derived.extend(list(&["/item/encrypted_content", "/item/content/*/logprobs", "/part/logprobs", "/logprobs"]));
    // Counts the frames.
    derived.push("/sequence_number".to_owned());
    // Whatever repeats a text, and the beginning and end of what holds it.
    let ends = ["/text", "/refusal", "/arguments", "/input", "/code", "/diff", "/part", "/item"]
        .map(|at| ChannelEnd { when: Condition::present(at), key: list(&["/output_index"]) });
    // Every piece stands at `/delta`; what it is of, the frame's type says. What is none of these is a text: the input of a custom
    // tool, code, a transcript.
    let kinds = [
        (TextKind::Text, ["response.output_text.delta"].as_slice()),
        (TextKind::Refusal, &["response.refusal.delta"]),
        (TextKind::Reasoning, &["response.reasoning_text.delta", "response.reasoning_summary_text.delta"]),
        (TextKind::ToolArguments, &["response.function_call_arguments.delta", "response.mcp_call_arguments.delta"]),
        (TextKind::Text, &[]),
    ];
    let channel = |(kind, types): (TextKind, &[&str])| Channel {
        text: "/delta".to_owned(),
        kind,
        when: types.iter().map(|name| Condition::equals("/type", &format!("\"{name}\""))).collect(),
        key: list(&["/output_index"]),
        ends: ends.to_vec(),
    };
    TextMap {
        json_strings,
        opaque,
        derived,
        channels: kinds.map(channel).into(),
        terminators: vec![Condition::present("/response"), Condition::equals("/type", r#""error""#)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_that_ends_an_answer_is_metered() {
        let endpoint = endpoint(Vec::new());
        for end in ["response.completed", "response.incomplete", "response.failed", "error"] {
            for data in [format!(r#"{{"type":"{end}","x":1}}"#), format!(r#"{{"x":1, "type": "{end}"}}"#)] {
                assert!(endpoint.meter_frames.iter().any(|needle| data.contains(needle)), "{data}");
            }
        }
    }

    #[test]
    fn a_text_s_end_is_keyed_as_the_text() {
        for channel in stream_texts().channels {
            assert!(channel.ends.iter().all(|end| channel.key.starts_with(&end.key)));
        }
    }
}
