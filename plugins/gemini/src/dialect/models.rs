//! The list of models (<https://ai.google.dev/api/models#method:-models.list>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

/// All of them on one page: those that this protocol can ask.
pub fn encode(models: &[ModelEntry]) -> Json {
    let mut writer = Writer::with_capacity(64 + models.len() * 200);
    writer.begin_object();
    writer.key("models");
    writer.begin_array();
    for model in models.iter().filter(|model| model.operations.iter().any(|operation| operation == "chat")) {
        writer.begin_object();
        writer.member_string("name", &format!("models/{}", model.id));
        writer.member_string("displayName", &model.id);
        // A limit that is not known is left out.
        if model.context > 0 {
            writer.member_number("inputTokenLimit", model.context);
        }
        if model.max_output > 0 {
            writer.member_number("outputTokenLimit", model.max_output);
        }
        writer.member_raw("supportedGenerationMethods", r#"["generateContent"]"#);
        if model.capabilities.iter().any(|capability| capability == "reasoning") {
            writer.member_bool("thinking", true);
        }
        // Beside the protocol's members; the official SDKs pass over what they do not know.
        model.write_details(&mut writer, "capabilities");
        writer.end_object();
    }
    writer.end_array();
    writer.end_object();
    writer.finish()
}
