//! Token counts. The wire counts cached tokens as input and reasoning as output; the internal representation counts each once.

use portcullis_plugin::ir::Usage;
use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::Reply;
use serde::Deserialize;

/// `usage` as it stands on the wire. Unknown members (OpenRouter's costs) are passed over.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    cache_write_tokens_details: Option<WriteDetails>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct WriteDetails {
    ttl_12h_tokens: Option<u64>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    /// Each token once; `searches` are counted elsewhere in the document.
    pub fn count(&self, searches: u64) -> Usage {
        let details = self.input_tokens_details.clone().unwrap_or_default();
        let total = self.input_tokens.unwrap_or(0);
        let cache_read = details.cached_tokens.unwrap_or(0).min(total);
        let written = details.cache_write_tokens.unwrap_or(0).min(total - cache_read);
        let long = details.cache_write_tokens_details.and_then(|details| details.ttl_12h_tokens).unwrap_or(0);
        let cache_write_long = long.min(written);
        let output = self.output_tokens.unwrap_or(0);
        let reasoning = self.output_tokens_details.as_ref().and_then(|details| details.reasoning_tokens);
        Usage {
            input: total - cache_read - written,
            cache_read,
            cache_write_short: written - cache_write_long,
            cache_write_long,
            output,
            reasoning: reasoning.unwrap_or(0).min(output),
            searches,
            ..Usage::default()
        }
    }
}

/// Writes the wire's totals, and what they cost where that is known.
pub fn write(writer: &mut Writer, usage: &Usage, reply: Option<&Reply>) {
    let input = usage.total_input();
    writer.begin_object();
    writer.member_number("input_tokens", input);
    writer.key("input_tokens_details");
    writer.begin_object();
    writer.member_number("cached_tokens", usage.cache_read);
    writer.member_number("cache_write_tokens", usage.cache_write_short + usage.cache_write_long);
    if usage.cache_write_long > 0 {
        writer.key("cache_write_tokens_details");
        writer.begin_object();
        writer.member_number("ttl_30m_tokens", usage.cache_write_short);
        writer.member_number("ttl_12h_tokens", usage.cache_write_long);
        writer.end_object();
    }
    writer.end_object();
    writer.member_number("output_tokens", usage.output);
    writer.key("output_tokens_details");
    writer.begin_object();
    writer.member_number("reasoning_tokens", usage.reasoning);
    writer.end_object();
    writer.member_number("total_tokens", input + usage.output);
    if let Some(reply) = reply {
        reply.write_cost(writer);
    }
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(json: &str) -> Usage {
        serde_json::from_str::<WireUsage>(json).unwrap().count(0)
    }

    #[test]
    fn nonsense_does_not_underflow() {
        let usage = count(
            r#"{"input_tokens":1,"input_tokens_details":{"cached_tokens":9,"cache_write_tokens":9,"cache_write_tokens_details":{"ttl_12h_tokens":9}},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":5}}"#,
        );
        assert_eq!((usage.input, usage.cache_read, usage.cache_write_long, usage.reasoning), (0, 1, 0, 2));
        assert_eq!(count("{}"), Usage::default());
    }

    proptest! {
        #[test]
        fn counts_read_back(
            input in 0u64..1_000_000, cache_read in 0u64..1_000_000, cache_write_short in 0u64..1_000_000,
            cache_write_long in 0u64..1_000_000, output in 0u64..1_000_000, share in 0u64..=100,
        ) {
            let reasoning = output * share / 100;
            let usage = Usage { input, cache_read, cache_write_short, cache_write_long, output, reasoning, ..Usage::default() };
            let mut writer = Writer::new();
            write(&mut writer, &usage, None);
            prop_assert_eq!(count(&writer.finish()), usage);
        }
    }
}
