//! The client's side: Chat Completions as this gateway speaks it to applications.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;

use portcullis_plugin::ir::{Finish, FinishReason};
use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::ModelEntry;

/// `finish_reason` as the official clients' types allow it. An answer that came from this very protocol keeps its word.
fn finish_reason(finish: &Finish, own: bool) -> &'static str {
    if own {
        let known = ["stop", "length", "tool_calls", "content_filter", "function_call"];
        if let Some(word) = known.into_iter().find(|word| *word == finish.raw) {
            return word;
        }
    }
    match finish.reason {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        // What a classifier withheld is a filter's work to an OpenAI client.
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        FinishReason::Stop
        | FinishReason::StopSequence
        | FinishReason::Pause
        | FinishReason::Error
        | FinishReason::Other => "stop",
    }
}

/// `GET /v1/models`.
pub fn models(models: &[ModelEntry]) -> String {
    let mut writer = Writer::with_capacity(32 + models.len() * 96);
    writer.begin_object();
    writer.member_string("object", "list");
    writer.key("data");
    writer.begin_array();
    for model in models {
        writer.begin_object();
        writer.member_string("id", &model.id);
        writer.member_string("object", "model");
        writer.member_number("created", model.created);
        writer.member_string("owned_by", &model.provider);
        model.write_details(&mut writer, "capabilities");
        writer.end_object();
    }
    writer.end_array();
    writer.end_object();
    writer.finish()
}
