//! The operator's description of a server.

use std::borrow::Cow;

use portcullis_openai_chat::compat::{CallIds, Compat, Documents, History, Thinking};
use serde::Deserialize;

/// Every key has a default that suits vLLM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The member that limits the output: `max_tokens` (default), which all of these servers take, or `max_completion_tokens`.
    output_limit: Limit,
    /// Whether streams take `stream_options`, by which they are asked for usage. Default true.
    stream_options: bool,
    /// Whether the role `developer` is known; else it is sent as `system`. Default false.
    developer_role: bool,
    /// Whether `response_format` takes a schema; else `json_object` is asked for. Default true.
    json_schema: bool,
    /// Whether functions may be `strict`. Default true.
    strict_tools: bool,
    /// The word of `tool_choice` for "some tool": `required` (default), or `any`.
    tool_choice_required: Required,
    /// Whether ids of tool calls are exactly nine letters and digits, as Mistral's chat templates demand. Default false.
    short_tool_call_ids: bool,
    /// The member in which reasoning of earlier turns goes back: `reasoning_content` (default), `reasoning`, `reasoning_details`, or `none`.
    reasoning_history: Returns,
    /// How thinking is asked for: `reasoning_effort` (default), `thinking` (a switch, as DeepSeek's), or `reasoning` (an object, as OpenRouter's).
    reasoning_request: Asking,
    /// Whether reasoning may stand between `<think>` tags at the beginning of the text, as it does without a reasoning parser. Default true.
    think_tags: bool,
    /// Whether tool calls may have Gemini's `extra_content.google.thought_signature`, as Google's own endpoint of this protocol wants them
    /// back. Default false.
    thought_signatures: bool,
    /// Further members of a request that the server refuses; they are left out with a note. `messages/name` is that of a message.
    refused: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    MaxTokens,
    MaxCompletionTokens,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Required {
    Required,
    Any,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Returns {
    ReasoningContent,
    Reasoning,
    ReasoningDetails,
    None,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asking {
    ReasoningEffort,
    Thinking,
    Reasoning,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            output_limit: Limit::MaxTokens,
            stream_options: true,
            developer_role: false,
            json_schema: true,
            strict_tools: true,
            tool_choice_required: Required::Required,
            short_tool_call_ids: false,
            reasoning_history: Returns::ReasoningContent,
            reasoning_request: Asking::ReasoningEffort,
            think_tags: true,
            thought_signatures: false,
            refused: Vec::new(),
        }
    }
}

impl Config {
    /// The description that the library understands.
    ///
    /// # Errors
    /// A member is refused without which there is no request.
    pub fn compat(self) -> Result<Compat, String> {
        if let Some(name) = self.refused.iter().find(|name| ["model", "messages", "stream"].contains(&name.as_str())) {
            return Err(format!("refused: there is no request without `{name}`"));
        }
        Ok(Compat {
            limit: match self.output_limit {
                Limit::MaxTokens => "max_tokens",
                Limit::MaxCompletionTokens => "max_completion_tokens",
            },
            stream_options: self.stream_options,
            seed: "seed",
            required: match self.tool_choice_required {
                Required::Required => "required",
                Required::Any => "any",
            },
            strict: self.strict_tools,
            developer: self.developer_role,
            json_schema: self.json_schema,
            // All of these servers sample by it.
            top_k: true,
            call_ids: if self.short_tool_call_ids { CallIds::Nine } else { CallIds::Short },
            thinking: match self.reasoning_request {
                Asking::ReasoningEffort => Thinking::Effort,
                Asking::Thinking => Thinking::Switch,
                Asking::Reasoning => Thinking::Settings,
            },
            history: match self.reasoning_history {
                Returns::ReasoningContent => History::ReasoningContent,
                Returns::Reasoning => History::Reasoning,
                Returns::ReasoningDetails => History::Details,
                Returns::None => History::Nowhere,
            },
            documents: Documents::File,
            refused: self.refused.into_iter().map(Cow::Owned).collect(),
            think_tags: self.think_tags,
            thought_signatures: self.thought_signatures,
            ..Compat::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_described() {
        let compat = |json: &str| serde_json::from_str::<Config>(json).unwrap().compat();
        let plain = compat("{}").unwrap();
        assert_eq!((plain.limit, plain.stream_options, plain.developer), ("max_tokens", true, false));
        let other = compat(r#"{"output_limit":"max_completion_tokens","refused":["seed"],"reasoning_history":"none"}"#)
            .unwrap();
        assert_eq!(
            (other.limit, other.refuses("seed"), other.history),
            ("max_completion_tokens", true, History::Nowhere)
        );
        assert!(compat(r#"{"refused":["messages"]}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"max_tokens":true}"#).is_err());
    }
}
