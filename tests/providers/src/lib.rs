//! Every provider plugin of the project, asked natively in one process.

use portcullis_plugin::ir::{Context, Failure, Request};
use portcullis_plugin::provider::{Provider, Target, UpstreamRequest};
use portcullis_plugin::{Plugin, ir};
use serde_json::Value;

type Encode = Box<dyn Fn(&Target, Request) -> Result<UpstreamRequest, Failure>>;

/// A provider's encoder.
pub struct Encoder {
    pub name: &'static str,
    encode: Encode,
}

impl Encoder {
    fn of<P: Provider>(name: &'static str, configuration: &str) -> Self {
        let config = serde_json::from_str::<<P as Plugin>::Config>(configuration).expect("a configuration");
        let plugin = P::configure(config).expect("configures");
        Self { name, encode: Box::new(move |target, request| plugin.encode_request(&context(), target, request)) }
    }

    /// The body that is sent for a request to a model that no catalogue knows, and the notes; or why there is none.
    ///
    /// # Errors
    /// The plugin refuses the request.
    pub fn encode(&self, request: Request) -> Result<(Value, Vec<ir::Note>), Failure> {
        let target = Target {
            model: "some-model".to_owned(),
            max_output_tokens: request.max_output_tokens,
            stream: false,
            capabilities: Vec::new(),
            max_output: 0,
        };
        let UpstreamRequest { body, notes, .. } = (self.encode)(&target, request)?;
        Ok((serde_json::from_slice(&body).expect("a body is JSON"), notes))
    }
}

fn context() -> Context {
    Context { now: 1_760_000_000_000, seed: 7, request_id: "req-1".to_owned(), development: false, extra: Vec::new() }
}

/// All of them, with the configuration that most operators have; OpenAI twice, since it has two endpoints.
pub fn providers() -> Vec<Encoder> {
    vec![
        Encoder::of::<portcullis_plugin_anthropic::Anthropic>("anthropic", "{}"),
        Encoder::of::<portcullis_plugin_anthropic_vertex::AnthropicVertex>("anthropic-vertex", "{}"),
        Encoder::of::<portcullis_plugin_azure::Azure>("azure", "{}"),
        Encoder::of::<portcullis_plugin_bedrock::Bedrock>("bedrock", "{}"),
        Encoder::of::<portcullis_plugin_cerebras::Cerebras>("cerebras", "{}"),
        Encoder::of::<portcullis_plugin_cohere::Cohere>("cohere", "{}"),
        Encoder::of::<portcullis_plugin_deepseek::DeepSeek>("deepseek", "{}"),
        Encoder::of::<portcullis_plugin_gemini::Gemini>("gemini", "{}"),
        Encoder::of::<portcullis_plugin_groq::Groq>("groq", "{}"),
        Encoder::of::<portcullis_plugin_mistral::Mistral>("mistral", "{}"),
        Encoder::of::<portcullis_plugin_ollama::Ollama>("ollama", "{}"),
        Encoder::of::<portcullis_plugin_openai::OpenAi>("openai", "{}"),
        Encoder::of::<portcullis_plugin_openai::OpenAi>("openai-responses", r#"{"responses":["some-model"]}"#),
        Encoder::of::<portcullis_plugin_openai_compatible::OpenAiCompatible>("openai-compatible", "{}"),
        Encoder::of::<portcullis_plugin_openrouter::OpenRouter>("openrouter", "{}"),
        Encoder::of::<portcullis_plugin_perplexity::Perplexity>("perplexity", "{}"),
        Encoder::of::<portcullis_plugin_together::Together>("together", "{}"),
        Encoder::of::<portcullis_plugin_xai::XAi>("xai", "{}"),
    ]
}
