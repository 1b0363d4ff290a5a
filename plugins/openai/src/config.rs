//! The operator's configuration.

use portcullis_plugin::ir::Request;
use portcullis_plugin::prelude::Target;
use serde::Deserialize;

use crate::responses;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Models that are reached by the Responses API, besides those of which the catalogue says so. A `*` at the end stands for
    /// any rest; `*` alone is every model.
    #[serde(default)]
    responses: Vec<String>,
}

impl Config {
    /// Whether a request goes to the Responses endpoint: it came in that format, the model has no other, or the operator says so.
    pub fn wants_responses(&self, target: &Target, request: &Request) -> bool {
        let named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => target.model.starts_with(start),
            None => target.model == *pattern,
        };
        request.format == responses::FORMAT
            || target.capabilities.iter().any(|capability| capability == responses::ONLY)
            || self.responses.iter().any(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_chosen_by_format_model_or_word() {
        let config: Config = serde_json::from_str(r#"{"responses":["gpt-x*","exact"]}"#).unwrap();
        let wants = |model: &str, capability: &str, format: &str| {
            let target = Target {
                model: model.to_owned(),
                max_output_tokens: None,
                stream: false,
                capabilities: vec![capability.to_owned()],
                max_output: 0,
            };
            config.wants_responses(&target, &Request::new(format, "asked"))
        };
        for (model, capability, format, expected) in [
            ("m", "tools", "openai-chat", false),
            ("m", "tools", "openai-responses", true),
            ("m", "endpoint:responses", "anthropic-messages", true),
            ("gpt-x-1", "tools", "openai-chat", true),
            ("exact", "tools", "openai-chat", true),
            ("exact-1", "tools", "openai-chat", false),
        ] {
            assert_eq!(wants(model, capability, format), expected, "{model} {capability} {format}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"response":[]}"#).is_err());
    }
}
