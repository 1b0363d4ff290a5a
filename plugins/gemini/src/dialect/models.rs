//! The list of models (<https://ai.google.dev/api/models#method:-models.list>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use crate::catalogue;

/// All of them on one page: those that this protocol can ask. A model of this API's own can be asked for more than chat, since what else
/// there is is only passed on.
pub fn encode(models: &[ModelEntry]) -> Json {
    let mut writer = Writer::with_capacity(64 + models.len() * 200);
    writer.begin_object();
    writer.key("models");
    writer.begin_array();
    for model in models {
        let methods = methods(model);
        if methods.is_empty() {
            continue;
        }
        let (base, version) = base(bare(&model.id));
        writer.begin_object();
        writer.member_string("name", &format!("models/{}", model.id));
        writer.member_string("baseModelId", base);
        if let Some(version) = version {
            writer.member_string("version", version);
        }
        writer.member_string("displayName", &model.id);
        // A limit that is not known is left out.
        if model.context > 0 {
            writer.member_number("inputTokenLimit", model.context);
        }
        if model.max_output > 0 {
            writer.member_number("outputTokenLimit", model.max_output);
        }
        writer.key("supportedGenerationMethods");
        writer.begin_array();
        methods.iter().for_each(|method| writer.string(method));
        writer.end_array();
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

/// What can be asked of a model in this protocol, by the names that the API's own list has (recordings; it leaves out streams).
fn methods(model: &ModelEntry) -> Vec<&'static str> {
    let own = catalogue::knows(bare(&model.id));
    let mut methods = Vec::new();
    for operation in &model.operations {
        match operation.as_str() {
            "chat" => methods.push("generateContent"),
            "count-tokens" if own => methods.push("countTokens"),
            "embeddings" if own => methods.extend(["embedContent", "batchEmbedContents"]),
            _ => {}
        }
    }
    methods
}

/// The name without the connection's before it.
fn bare(id: &str) -> &str {
    id.split_once('/').map_or(id, |(_, model)| model)
}

/// A model's name taken apart where it ends in a version, as `gemini-2.0-flash-001` and `claude-opus-4-5@20251101` do; the API writes both
/// members of every model, and a name without a version has none that the catalogue knows.
fn base(name: &str) -> (&str, Option<&str>) {
    let is_version = |version: &str| version.len() >= 3 && version.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once(['-', '@']) {
        Some((base, version)) if is_version(version) => (base, Some(version)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_from_the_name() {
        assert_eq!(base("gemini-2.0-flash-001"), ("gemini-2.0-flash", Some("001")));
        assert_eq!(base("claude-opus-4-5@20251101"), ("claude-opus-4-5", Some("20251101")));
        assert_eq!(base("gemini-3.8-flash"), ("gemini-3.8-flash", None));
        assert_eq!(base("claude-opus-4-5"), ("claude-opus-4-5", None));
    }
}
