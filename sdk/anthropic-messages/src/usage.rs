//! Usage, both ways. On the wire `input_tokens` are the uncached ones and the cache tokens stand beside them
//! (<https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance>), which is how the IR
//! counts too: every token once.
//!
//! Members that the IR has no place for (`service_tier`, `inference_geo`, `iterations`, …) travel as fields named
//! `usage.NAME`, so that an answer that meets its own protocol again is whole.

use portcullis_plugin::ir::{Field, Usage};
use portcullis_plugin::json::{self, Writer};
use serde_json::value::RawValue;

/// The prefix under which unmodelled members travel.
pub const EXTRA: &str = "usage.";

portcullis_plugin::wire_object! {
    pub struct WireUsage {
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        cache_creation_input_tokens: Option<u64>,
        cache_read_input_tokens: Option<u64>,
        cache_creation: Option<WireCacheCreation>,
        output_tokens_details: Option<WireOutputDetails>,
        server_tool_use: Option<Box<RawValue>>,
    }
    pub struct WireCacheCreation {
        short as "ephemeral_5m_input_tokens": Option<u64>,
        long as "ephemeral_1h_input_tokens": Option<u64>,
    }
    pub struct WireOutputDetails {
        thinking_tokens: Option<u64>,
    }
    struct WireServerTools {
        web_search_requests: Option<u64>,
    }
}

impl WireUsage {
    /// Takes over what this one says. Counts are cumulative: a member that is missing (a `message_delta` may have
    /// `output_tokens` alone) keeps what was known before.
    pub fn merge_into(&self, usage: &mut Usage) {
        fn set(target: &mut u64, value: Option<u64>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        set(&mut usage.input, self.input_tokens);
        set(&mut usage.output, self.output_tokens);
        set(&mut usage.cache_read, self.cache_read_input_tokens);
        set(&mut usage.reasoning, self.output_tokens_details.as_ref().and_then(|details| details.thinking_tokens));
        if let Some(split) = &self.cache_creation {
            set(&mut usage.cache_write_short, split.short);
            set(&mut usage.cache_write_long, split.long);
        }
        // The total without a split, or more than the split knows, is written with the shorter life, the API's default.
        if let Some(total) = self.cache_creation_input_tokens
            && total != usage.cache_write_short + usage.cache_write_long
        {
            usage.cache_write_long = usage.cache_write_long.min(total);
            usage.cache_write_short = total - usage.cache_write_long;
        }
        if let Some(tools) = &self.server_tool_use
            && let Ok(tools) = json::from_str::<WireServerTools>(tools.get())
        {
            set(&mut usage.searches, tools.web_search_requests);
        }
        usage.service_tier = self.service_tier().or(usage.service_tier.take());
    }

    /// What prices go by: the tier, the place of inference and the speed
    /// (<https://platform.claude.com/docs/en/about-claude/pricing>, "Data residency pricing", "Fast mode pricing").
    fn service_tier(&self) -> Option<String> {
        let named = |field: &&Field| matches!(field.name.as_str(), "service_tier" | "inference_geo" | "speed");
        let words: Vec<String> =
            self.extra.iter().filter(named).filter_map(|field| serde_json::from_str(&field.value).ok()).collect();
        Usage::service_tier_of(words.iter().map(String::as_str))
    }

    /// Members without a place in the IR.
    pub fn into_extra(self, into: &mut Vec<Field>) {
        if let Some(tools) = self.server_tool_use.filter(|tools| !json::is_null(tools)) {
            into.push(Field::new(format!("{EXTRA}server_tool_use"), Box::<str>::from(tools)));
        }
        into.extend(self.extra.into_iter().map(|field| Field::new(format!("{EXTRA}{}", field.name), field.value)));
    }
}

/// Writes the member `usage`, with every count the protocol's clients read, and whatever else the caller has for it.
pub fn write<'a>(
    writer: &mut Writer,
    usage: &Usage,
    extra: impl IntoIterator<Item = &'a Field>,
    more: impl FnOnce(&mut Writer),
) {
    writer.key("usage");
    writer.begin_object();
    writer.member_number("input_tokens", usage.input);
    writer.member_number("cache_creation_input_tokens", usage.cache_write_short + usage.cache_write_long);
    writer.member_number("cache_read_input_tokens", usage.cache_read);
    writer.key("cache_creation");
    writer.begin_object();
    writer.member_number("ephemeral_5m_input_tokens", usage.cache_write_short);
    writer.member_number("ephemeral_1h_input_tokens", usage.cache_write_long);
    writer.end_object();
    writer.member_number("output_tokens", usage.output);
    if usage.reasoning > 0 {
        writer.key("output_tokens_details");
        writer.begin_object();
        writer.member_number("thinking_tokens", usage.reasoning);
        writer.end_object();
    }
    let mut tools = usage.searches > 0;
    for field in extra {
        if let Some(name) = field.name.strip_prefix(EXTRA) {
            writer.member_raw(name, &field.value);
            tools &= name != "server_tool_use";
        }
    }
    if tools {
        writer.key("server_tool_use");
        writer.begin_object();
        writer.member_number("web_search_requests", usage.searches);
        writer.member_number("web_fetch_requests", 0);
        writer.end_object();
    }
    more(writer);
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, usage: &mut Usage) {
        serde_json::from_str::<WireUsage>(text).unwrap().merge_into(usage);
    }

    #[test]
    fn a_total_without_a_split_is_written_short() {
        let mut usage = Usage::default();
        read(
            r#"{"input_tokens":3,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"output_tokens":1}"#,
            &mut usage,
        );
        assert_eq!((usage.input, usage.cache_write_short, usage.cache_write_long, usage.cache_read), (3, 7, 0, 5));
    }

    #[test]
    fn what_prices_go_by_is_one_word() {
        let mut usage = Usage::default();
        read(r#"{"service_tier":"standard","inference_geo":"not_available","speed":null}"#, &mut usage);
        assert_eq!(usage.service_tier, None);
        read(r#"{"service_tier":"priority","inference_geo":"us"}"#, &mut usage);
        read(r#"{"output_tokens":1}"#, &mut usage);
        assert_eq!(usage.service_tier.as_deref(), Some("priority+us"));
    }

    #[test]
    fn a_delta_with_output_alone_keeps_the_rest() {
        let mut usage = Usage::default();
        read(
            r#"{"input_tokens":3,"cache_creation_input_tokens":9,"output_tokens":1,
                "cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5}}"#,
            &mut usage,
        );
        read(r#"{"output_tokens":20}"#, &mut usage);
        assert_eq!((usage.input, usage.output, usage.cache_write_short, usage.cache_write_long), (3, 20, 4, 5));
        read(r#"{"cache_creation_input_tokens":9,"output_tokens":21}"#, &mut usage);
        assert_eq!((usage.cache_write_short, usage.cache_write_long), (4, 5));
    }

    proptest! {
        #[test]
        fn counts_survive_the_wire(
            counts in prop::array::uniform7(0_u64..1 << 40),
        ) {
            let [input, read_, short, long, output, reasoning, searches] = counts;
            let usage = Usage {
                input, cache_read: read_, cache_write_short: short, cache_write_long: long, output, reasoning, searches,
                ..Usage::default()
            };
            let mut writer = Writer::new();
            writer.begin_object();
            write(&mut writer, &usage, [], |_| {});
            writer.end_object();
            let text = writer.finish();
            let inner = text.strip_prefix(r#"{"usage":"#).and_then(|text| text.strip_suffix('}')).unwrap();
            let mut back = Usage::default();
            read(inner, &mut back);
            prop_assert_eq!(back, usage);
        }
    }
}
