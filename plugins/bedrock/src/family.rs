//! Whose model it is, by its id, and what that vendor's models want beside what Converse models.

/// A vendor's line of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Claude,
    /// Amazon Nova 1.
    Nova,
    /// … and 2, which can think.
    Nova2,
    GptOss,
    Mistral,
    Qwen,
    /// Another vendor's, or one that the id does not tell: an application's inference profile, a provisioned model.
    Other,
}

impl Family {
    /// Ids are `vendor.model`, with a geography before it for inference profiles, or ARNs that end in either
    /// (<https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html>).
    pub fn of(model: &str) -> Self {
        let has = |part: &str| model.contains(part);
        match () {
            () if has("anthropic.claude") => Family::Claude,
            () if has("amazon.nova-2") => Family::Nova2,
            () if has("amazon.nova") => Family::Nova,
            () if has("openai.gpt-oss") => Family::GptOss,
            () if has("mistral.") => Family::Mistral,
            () if has("qwen.") => Family::Qwen,
            () => Family::Other,
        }
    }

    /// Whether the id leaves open whose model it is.
    pub fn is_opaque(self, model: &str) -> bool {
        self == Family::Other && model.starts_with("arn:") && !model.contains("foundation-model/")
    }

    /// Prompt caching
    /// (<https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html#prompt-caching-models>).
    pub fn caches(self) -> bool {
        matches!(self, Family::Claude | Family::Nova | Family::Nova2)
    }

    /// … of tool definitions too, which Nova does not have.
    pub fn caches_tools(self) -> bool {
        self == Family::Claude
    }

    /// `status` of a tool's result: "only supported by Amazon Nova and Anthropic Claude 3 and 4 models" (service model).
    pub fn takes_result_status(self) -> bool {
        matches!(self, Family::Claude | Family::Nova | Family::Nova2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_the_family() {
        for (model, family) in [
            ("anthropic.claude-opus-5", Family::Claude),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude),
            ("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-5", Family::Claude),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova2),
            ("amazon.nova-micro-v1:0", Family::Nova),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("mistral.mistral-large-3-675b-instruct", Family::Mistral),
            ("qwen.qwen3-32b-v1:0", Family::Qwen),
            ("meta.llama3-3-70b-instruct-v1:0", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
        assert!(Family::Other.is_opaque("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"));
        assert!(!Family::Other.is_opaque("meta.llama3-3-70b-instruct-v1:0"));
    }
}
