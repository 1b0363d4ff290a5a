//! Token counts (`TokenUsage` of the service model). `inputTokens` leaves out what was read from a cache or written to it, and
//! `totalTokens` is the sum of all four (recordings).

use portcullis_plugin::ir::Usage;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WireUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_details: Option<Vec<WireCacheDetail>>,
}

/// What was written with one life.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCacheDetail {
    ttl: String,
    input_tokens: u64,
}

impl WireUsage {
    pub fn usage(&self) -> Usage {
        let written = self.cache_write_input_tokens.unwrap_or(0);
        let details = self.cache_details.iter().flatten();
        let long: u64 = details.filter(|detail| detail.ttl == "1h").map(|detail| detail.input_tokens).sum();
        let long = long.min(written);
        Usage {
            input: self.input_tokens,
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens.unwrap_or(0),
            cache_write_short: written - long,
            cache_write_long: long,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_told_apart_by_life() {
        let wire = r#"{"inputTokens":3,"outputTokens":121,"totalTokens":2072,"cacheReadInputTokens":1712,
            "cacheWriteInputTokens":236,"cacheDetails":[{"ttl":"1h","inputTokens":200},{"ttl":"5m","inputTokens":36}]}"#;
        let usage = serde_json::from_str::<WireUsage>(wire).unwrap().usage();
        assert_eq!((usage.input, usage.output, usage.cache_read), (3, 121, 1712));
        assert_eq!((usage.cache_write_short, usage.cache_write_long), (36, 200));
        assert_eq!(usage.total_input() + usage.output, 2072);
    }

    #[test]
    fn without_caches_there_are_none() {
        let usage = serde_json::from_str::<WireUsage>(r#"{"inputTokens":8,"outputTokens":10,"totalTokens":18}"#)
            .unwrap()
            .usage();
        assert_eq!(usage, Usage { input: 8, output: 10, ..Usage::default() });
    }
}
