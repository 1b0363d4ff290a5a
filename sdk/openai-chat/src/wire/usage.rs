//! Token counts. The wire counts some tokens twice (`cached_tokens` are part of `prompt_tokens`); the internal representation
//! counts each once. This file is the one place where the two meet.

use portcullis_plugin::ir::{Field, Usage};
use portcullis_plugin::json::Writer;
use portcullis_plugin::money::pico_usd;
use serde::Deserialize;

use crate::compat::Compat;

/// What a second of sound counts as where nobody tells tokens of it: a price by the hour is given for so many in a catalogue.
const SECOND: f64 = 10.0;

/// `usage` as it stands on the wire. Unknown members (costs, timings) are passed over.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's name of `cached_tokens`.
    prompt_cache_hit_tokens: Option<u64>,
    /// Mistral's (recordings).
    num_cached_tokens: Option<u64>,
    /// Moonshot's and Together's.
    cached_tokens: Option<u64>,
    /// Perplexity's: tokens of reasoning and of what was read for citations, both beside the others (its guide, "Pricing"; the example of
    /// `sonar-deep-research`); the searches run, or, where only their size is told, one.
    reasoning_tokens: Option<u64>,
    citation_tokens: Option<u64>,
    num_search_queries: Option<u64>,
    search_context_size: Option<serde::de::IgnoredAny>,
    /// What the provider charges in USD: OpenRouter's is a number, Perplexity's an object with a `total_cost` (its API reference, "Chat
    /// Completions").
    cost: Option<serde_json::Value>,
    /// xAI's: the same in ticks, of which a USD has ten thousand million (<https://docs.x.ai/developers/cost-tracking>).
    cost_in_usd_ticks: Option<u64>,
    /// Mistral's: seconds of sound, which `prompt_tokens` leaves out.
    prompt_audio_seconds: Option<f64>,
    /// xAI's: sources of a live search.
    num_sources_used: Option<u64>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    /// From GPT-5.6 on writes are charged ("Prompt caching" in OpenAI's guides). Part of the prompt, but see [`WireUsage::count_for`].
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

impl WireUsage {
    /// What the provider says it charges, as a member of the answer; the gateway's own accounts go by its prices.
    pub fn told_cost(&self) -> Option<Field> {
        let total = self.cost.as_ref().map(|cost| cost.get("total_cost").unwrap_or(cost));
        let told = total.filter(|cost| cost.is_number()).map(ToString::to_string);
        let usd = told.or_else(|| self.cost_in_usd_ticks.map(usd))?;
        Some(Field::new("provider_cost", usd))
    }

    /// The same in pico-USD, of which a tick has a hundred.
    fn stated_cost(&self) -> Option<u64> {
        let total = self.cost.as_ref().map(|cost| cost.get("total_cost").unwrap_or(cost));
        let usd = total.filter(|cost| cost.is_number()).and_then(|cost| pico_usd(&cost.to_string()));
        usd.or_else(|| self.cost_in_usd_ticks?.checked_mul(100))
    }

    /// Each token once.
    pub fn count(&self) -> Usage {
        self.counted(false)
    }

    /// Each token once, by a server whose models of some name write to a cache before they read the prompt, all of it, from there: such
    /// tokens are paid for as written and as read, and are counted beside the prompt.
    pub fn count_for(&self, compat: &Compat, model: &str) -> Usage {
        self.counted(compat.writes_beside.is_some_and(|begins| model.starts_with(begins)))
    }

    /// `beside`: what was written to a cache is no part of the prompt. Nor is it where the prompt has no room for it beside what was read.
    fn counted(&self, beside: bool) -> Usage {
        let prompt_details = self.prompt_tokens_details.clone().unwrap_or_default();
        let details = self.completion_tokens_details.clone().unwrap_or_default();
        let prompt = self.prompt_tokens.unwrap_or(0);
        let named = [self.prompt_cache_hit_tokens, self.num_cached_tokens, self.cached_tokens];
        let cached = named.into_iter().fold(prompt_details.cached_tokens, Option::or).unwrap_or(0);
        let cache_read = cached.min(prompt);
        let cache_write_short = prompt_details.cache_write_tokens.unwrap_or(0).min(prompt);
        let cited = self.citation_tokens.unwrap_or(0);
        let heard = self.prompt_audio_seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0).unwrap_or(0.0);
        let heard = (heard * SECOND).ceil() as u64;
        let unread = prompt - cache_read;
        let input = if beside { unread } else { unread.checked_sub(cache_write_short).unwrap_or(unread) };
        let input = input + cited + heard;
        let beside = if self.citation_tokens.is_some() { self.reasoning_tokens.unwrap_or(0) } else { 0 };
        let mut output = self.completion_tokens.unwrap_or(0) + beside;
        let reasoning = details.reasoning_tokens.or(self.reasoning_tokens).unwrap_or(0);
        // xAI leaves reasoning out of `completion_tokens`; its total gives that away.
        if reasoning > 0 && self.total_tokens == prompt.checked_add(output).and_then(|sum| sum.checked_add(reasoning)) {
            output += reasoning;
        }
        Usage {
            input,
            cache_read,
            cache_write_short,
            output,
            reasoning: reasoning.min(output),
            audio_input: (prompt_details.audio_tokens.unwrap_or(0) + heard).min(input),
            audio_output: details.audio_tokens.unwrap_or(0).min(output),
            searches: self
                .num_search_queries
                .or(self.num_sources_used)
                .unwrap_or(u64::from(self.search_context_size.is_some())),
            stated_cost: self.stated_cost(),
            ..Usage::default()
        }
    }
}

/// Ticks as a decimal of USD, exactly.
fn usd(ticks: u64) -> String {
    const PLACES: u64 = 10_000_000_000;
    let digits = format!("{}.{:010}", ticks / PLACES, ticks % PLACES);
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes the wire's totals, and whatever else the caller has for this object.
pub fn write(writer: &mut Writer, usage: &Usage, more: impl FnOnce(&mut Writer)) {
    let prompt = usage.total_input();
    let written = usage.cache_write_short + usage.cache_write_long;
    writer.begin_object();
    writer.member_number("prompt_tokens", prompt);
    writer.member_number("completion_tokens", usage.output);
    writer.member_number("total_tokens", prompt + usage.output);
    writer.key("prompt_tokens_details");
    writer.begin_object();
    writer.member_number("cached_tokens", usage.cache_read);
    if written > 0 {
        writer.member_number("cache_write_tokens", written);
    }
    writer.member_number("audio_tokens", usage.audio_input);
    writer.end_object();
    writer.key("completion_tokens_details");
    writer.begin_object();
    writer.member_number("reasoning_tokens", usage.reasoning);
    writer.member_number("audio_tokens", usage.audio_output);
    writer.member_number("accepted_prediction_tokens", 0);
    writer.member_number("rejected_prediction_tokens", 0);
    writer.end_object();
    more(writer);
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(json: &str) -> Usage {
        serde_json::from_str::<WireUsage>(json).unwrap().count()
    }

    #[test]
    fn reasoning_left_out_of_the_completion_is_added() {
        let usage = count(
            r#"{"prompt_tokens":10,"completion_tokens":3,"total_tokens":20,"completion_tokens_details":{"reasoning_tokens":7}}"#,
        );
        assert_eq!((usage.output, usage.reasoning), (10, 7));
    }

    #[test]
    fn other_names_of_cached_tokens_are_read() {
        assert_eq!(count(r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":4}"#).input, 6);
        assert_eq!(count(r#"{"prompt_tokens":10,"cached_tokens":4}"#).cache_read, 4);
        assert_eq!(count(r#"{"prompt_tokens":10,"num_cached_tokens":4}"#).cache_read, 4);
    }

    #[test]
    fn perplexity_counts_citations_and_searches() {
        let deep = count(
            r#"{"prompt_tokens":33,"completion_tokens":71,"total_tokens":104,"citation_tokens":198,"num_search_queries":21,"reasoning_tokens":739}"#,
        );
        assert_eq!((deep.input, deep.output, deep.reasoning, deep.searches), (231, 810, 739, 21));
        let sonar = count(r#"{"prompt_tokens":3,"completion_tokens":5,"search_context_size":"low"}"#);
        assert_eq!((sonar.input, sonar.output, sonar.searches), (3, 5, 1));
    }

    #[test]
    fn what_was_charged_is_told_in_usd() {
        let told = |json: &str| serde_json::from_str::<WireUsage>(json).unwrap().told_cost().map(|field| field.value);
        assert_eq!(told(r#"{"cost":0.0015}"#).as_deref(), Some("0.0015"));
        assert_eq!(told(r#"{"cost":{"request_cost":0.006,"total_cost":0.0061}}"#).as_deref(), Some("0.0061"));
        for (ticks, usd) in [(37_756_000_u64, "0.0037756"), (20_000_000_000, "2"), (0, "0"), (1, "0.0000000001")] {
            assert_eq!(told(&format!(r#"{{"cost_in_usd_ticks":{ticks}}}"#)).as_deref(), Some(usd));
        }
        let stated = |json: &str| count(json).stated_cost;
        assert_eq!(stated(r#"{"cost":0.0015}"#), Some(1_500_000_000));
        assert_eq!(stated(r#"{"cost":{"request_cost":0.006,"total_cost":0.0061}}"#), Some(6_100_000_000));
        assert_eq!(stated(r#"{"cost_in_usd_ticks":37756000}"#), Some(3_775_600_000));
        assert_eq!((stated(r#"{"cost":"1"}"#), stated("{}")), (None, None));
        assert_eq!(told(r#"{"cost":null}"#), None);
        assert_eq!(told(r#"{"cost":{"other":1}}"#), None);
    }

    #[test]
    fn mistral_counts_sound_in_seconds() {
        let usage =
            count(r#"{"prompt_audio_seconds":203,"prompt_tokens":4,"completion_tokens":635,"total_tokens":3264}"#);
        assert_eq!((usage.input, usage.audio_input, usage.output), (2034, 2030, 635));
        let silent = count(r#"{"prompt_audio_seconds":null,"prompt_tokens":4}"#);
        assert_eq!((silent.input, silent.audio_input), (4, 0));
    }

    #[test]
    fn nonsense_does_not_underflow() {
        let usage = count(
            r#"{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":9,"cache_write_tokens":9,"audio_tokens":9}}"#,
        );
        assert_eq!((usage.input, usage.cache_read, usage.cache_write_short, usage.audio_input), (0, 1, 1, 0));
    }

    /// OpenRouter's counts of a cache that Gemini made and read (recordings; `cost_details` say that both are charged).
    #[test]
    fn what_was_written_and_read_is_both() {
        let json = r#"{"prompt_tokens":2168,"prompt_tokens_details":{"cached_tokens":2161,"cache_write_tokens":2161}}"#;
        let usage = count(json);
        assert_eq!((usage.input, usage.cache_read, usage.cache_write_short), (7, 2161, 2161));
        // Of a longer prompt too, where only the model's name tells.
        let json = r#"{"prompt_tokens":5000,"prompt_tokens_details":{"cached_tokens":2161,"cache_write_tokens":2161}}"#;
        let compat = Compat { writes_beside: Some("google/"), ..Compat::default() };
        let wire: WireUsage = serde_json::from_str(json).unwrap();
        for (model, input) in [("google/gemini-2.5-flash", 2839), ("anthropic/claude-sonnet-4.6", 678)] {
            let usage = wire.count_for(&compat, model);
            assert_eq!((usage.input, usage.cache_read, usage.cache_write_short), (input, 2161, 2161), "{model}");
        }
        assert_eq!(wire.count().input, 678);
    }

    proptest! {
        #[test]
        fn counts_read_back(
            input in 0u64..1_000_000, cache_read in 0u64..1_000_000, cache_write_short in 0u64..1_000_000,
            output in 0u64..1_000_000, parts in proptest::array::uniform3(0u64..=100),
        ) {
            let share = |whole: u64, part: u64| whole * part / 100;
            let usage = Usage {
                input, cache_read, cache_write_short, output,
                reasoning: share(output, parts[0]),
                audio_input: share(input, parts[1]),
                audio_output: share(output, parts[2]),
                ..Usage::default()
            };
            let mut writer = Writer::new();
            write(&mut writer, &usage, |_| {});
            prop_assert_eq!(count(&writer.finish()), usage);
        }
    }
}
