//! A client of Anthropic's protocol gets everything across that Google Cloud takes: what differs is where model and version stand.

use portcullis_plugin::prelude::*;
use portcullis_plugin_anthropic::Anthropic;
use portcullis_plugin_anthropic_vertex::AnthropicVertex;
use serde_json::{Value, json};

#[test]
fn a_request_crosses_whole() {
    let context = Context { now: 0, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() };
    let head = Head { route: "chat".to_owned(), path: Vec::new(), query: Vec::new(), headers: Vec::new() };
    let mut asked = json!({
        "model": "vertex/claude-opus-4-8", "max_tokens": 64, "stream": true, "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "EqoB"},
                {"type": "redacted_thinking", "data": "EmwK"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, 2]}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}]},
        ],
        "tools": [
            {"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "array"}}}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "made_up": {"deep": [null, 1.5]},
    });
    let request = Anthropic.decode_request(&context, &head, &asked.to_string()).expect("a request");
    let target = Target {
        model: "claude-opus-4-8".to_owned(),
        max_output_tokens: None,
        stream: true,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = AnthropicVertex.encode_request(&context, &target, request).expect("an encoded request");
    let sent: Value = serde_json::from_slice(encoded.body.as_ref()).expect("JSON");
    asked.as_object_mut().expect("an object").remove("model");
    asked["anthropic_version"] = json!("vertex-2023-10-16");
    assert_eq!(sent, asked);
    assert_eq!((encoded.notes.len(), &*encoded.endpoint), (0, "stream"));
}
