//! What the plugin says of itself: its routes, and where the facts of its documents stand.

use portcullis_plugin::prelude::*;

use crate::FORMAT;

/// With this header a client gets this protocol where others ask in OpenAI's.
const HEADER: &str = "x-portcullis-format: flat";

pub fn manifest() -> Manifest {
    let by_header = Route {
        name: "chat-by-header".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        when_header: Some(HEADER.to_owned()),
        ..chat_route()
    };
    let models = Route {
        method: "GET".to_owned(),
        stream_framing: Framing::Json,
        ..Route::post("models", "models", FORMAT, "/api/v1/llm/models", Location::Absent)
    };
    Manifest {
        access: Access::WRITE,
        routes: vec![chat_route(), by_header, models],
        ..Manifest::new("flat", env!("CARGO_PKG_VERSION"), "The flat protocol: a text, who wrote it, and what it cost")
    }
}

fn chat_route() -> Route {
    Route {
        auto_when: vec![Condition::equals("/auto_route", "true")],
        stream: Location::Body("/stream".to_owned()),
        output_limit: list(&["/max_tokens"]),
        features: FeatureMap {
            tool_names: Vec::new(),
            needs: vec![Need {
                capability: "vision".to_owned(),
                when: Condition::present("/messages/*/content/*/image_url"),
            }],
            prompts: list(&["/system", "/messages/*/content", "/messages/*/content/*/text"]),
        },
        answer_texts: TextMap { opaque: opaque(), ..TextMap::plain() },
        stream_texts: TextMap {
            opaque: opaque(),
            channels: vec![Channel {
                text: "/content".to_owned(),
                kind: TextKind::Text,
                when: Vec::new(),
                key: Vec::new(),
                ends: Vec::new(),
            }],
            terminators: vec![Condition::present("/usage"), Condition::present("/error")],
            ..TextMap::plain()
        },
        ..Route::post("chat", "chat", FORMAT, "/api/v1/llm/chat", Location::Body("/model".to_owned()))
    }
}

/// Strings that providers and the gateway mint.
fn opaque() -> Vec<String> {
    let mut patterns = account_strings();
    patterns.extend(list(&["/id", "/model", "/provider", "/route_method", "/finish_reason"]));
    patterns
}
