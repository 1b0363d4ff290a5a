//! Token counts, both ways (`GenerateContentResponseUsageMetadata` in `google-genai`'s types).
//!
//! `promptTokenCount` includes what was read from a cache; `candidatesTokenCount` does not include thoughts, and what tools of
//! the provider put before the model is counted apart. `totalTokenCount` is their sum. Invariant: what `decode` reads,
//! `write` writes to the same total.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use crate::catalogue;
use crate::wire::answer::WireGrounding;
use crate::wire::{Number, OneOrMany, Word};

/// The name under which an answer keeps its own counts.
pub const EXTRA: &str = "usageMetadata";

wire! {
    struct WireUsage {
        prompt "promptTokenCount": Option<Number>,
        cached "cachedContentTokenCount": Option<Number>,
        candidates "candidatesTokenCount": Option<Number>,
        thoughts "thoughtsTokenCount": Option<Number>,
        tool_use "toolUsePromptTokenCount": Option<Number>,
        prompt_details "promptTokensDetails": OneOrMany<WireModality>,
        cached_details "cacheTokensDetails": OneOrMany<WireModality>,
        candidates_details "candidatesTokensDetails": OneOrMany<WireModality>,
        tool_use_details "toolUsePromptTokensDetails": OneOrMany<WireModality>,
    }
    struct WireModality {
        modality "modality": Option<Word>,
        tokens "tokenCount": Option<Number>,
    }
}

/// The counts of an answer or a chunk; none where it holds no count, as the first chunks of Vertex AI (recordings).
pub fn decode(metadata: &RawValue) -> Option<Usage> {
    let wire: WireUsage = json::from_str(metadata.get()).ok()?;
    if wire.prompt.is_none() && wire.candidates.is_none() && wire.thoughts.is_none() {
        return None;
    }
    let count = |number: Option<Number>| number.map_or(0, Number::count);
    let cached = count(wire.cached);
    let thoughts = count(wire.thoughts);
    let input = count(wire.prompt).saturating_sub(cached) + count(wire.tool_use);
    let output = count(wire.candidates) + thoughts;
    let audio_input =
        (audio(&wire.prompt_details).saturating_sub(audio(&wire.cached_details))) + audio(&wire.tool_use_details);
    Some(Usage {
        input,
        cache_read: cached,
        output,
        reasoning: thoughts,
        audio_input: audio_input.min(input),
        audio_output: audio(&wire.candidates_details).min(output),
        ..Usage::default()
    })
}

fn audio(details: &OneOrMany<WireModality>) -> u64 {
    let is_audio =
        |modality: &&WireModality| matches!(modality.modality.as_ref().map(|word| &*word.0), Some("AUDIO" | "4"));
    details.0.iter().filter(is_audio).filter_map(|modality| modality.tokens).map(Number::count).sum()
}

/// Searches that are paid for: each query from Gemini 3 on, before that the grounded prompt
/// (<https://ai.google.dev/gemini-api/docs/pricing>).
pub fn searches(model: &str, grounding: &RawValue) -> u64 {
    let Ok(grounding) = json::from_str::<WireGrounding>(grounding.get()) else { return 0 };
    let queries = grounding.queries.0.iter().filter(|query| !query.is_empty()).count() as u64;
    if catalogue::traits(model).searches_by_query { queries } else { queries.min(1) }
}

/// Writes `usageMetadata` with the cost: `own` where the answer was this API's, else the totals.
pub fn write(writer: &mut Writer, usage: Option<&Usage>, own: Option<&str>, reply: &Reply) {
    if let Some(own) = own {
        writer.key(EXTRA);
        match own.trim().strip_prefix('{').and_then(|own| own.strip_suffix('}')).filter(|_| reply.cost.is_some()) {
            Some(members) => {
                writer.begin_object();
                if !members.trim().is_empty() {
                    writer.raw(members.trim());
                }
                reply.write_cost(writer);
                writer.end_object();
            }
            None => writer.raw(own),
        }
        return;
    }
    let Some(usage) = usage else { return };
    let details = |writer: &mut Writer, name: &str, all: u64, audio: u64| {
        if audio > 0 {
            writer.key(name);
            writer.begin_array();
            for (modality, tokens) in [("TEXT", all.saturating_sub(audio)), ("AUDIO", audio)] {
                writer.begin_object();
                writer.member_string("modality", modality);
                writer.member_number("tokenCount", tokens);
                writer.end_object();
            }
            writer.end_array();
        }
    };
    let (prompt, spoken) = (usage.total_input(), usage.output.saturating_sub(usage.reasoning));
    writer.key(EXTRA);
    writer.begin_object();
    writer.member_number("promptTokenCount", prompt);
    if usage.cache_read > 0 {
        writer.member_number("cachedContentTokenCount", usage.cache_read);
    }
    writer.member_number("candidatesTokenCount", spoken);
    if usage.reasoning > 0 {
        writer.member_number("thoughtsTokenCount", usage.reasoning);
    }
    writer.member_number("totalTokenCount", prompt + usage.output);
    details(writer, "promptTokensDetails", prompt, usage.audio_input);
    details(writer, "candidatesTokensDetails", spoken, usage.audio_output);
    reply.write_cost(writer);
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> Option<Usage> {
        decode(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn every_token_counts_once() {
        let usage = read(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":20,"thoughtsTokenCount":30,
                "toolUsePromptTokenCount":7,"totalTokenCount":157,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":60},{"modality":"AUDIO","tokenCount":40}],
                "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":15},{"modality":"TEXT","tokenCount":25}],
                "candidatesTokensDetails":[{"modality":4,"tokenCount":5}]}"#,
        )
        .unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (67, 40, 50, 30));
        assert_eq!((usage.audio_input, usage.audio_output), (25, 5));
        assert_eq!(usage.total_input() + usage.output, 157);
    }

    #[test]
    fn no_count_is_no_usage() {
        assert_eq!(read(r#"{"trafficType":"ON_DEMAND"}"#), None);
        assert_eq!(read(r#"{"promptTokenCount":3}"#).unwrap().input, 3);
    }

    #[test]
    fn searches_are_counted_as_they_are_paid() {
        let grounding = RawValue::from_string(r#"{"webSearchQueries":["a","","b"]}"#.to_owned()).unwrap();
        assert_eq!(searches("gemini-3.8-flash", &grounding), 2);
        assert_eq!(searches("gemini-2.5-pro", &grounding), 1);
        assert_eq!(searches("gemini-2.5-pro", &RawValue::from_string("{}".to_owned()).unwrap()), 0);
    }

    fn reply(cost: Option<portcullis_plugin::dialect::Cost>) -> Reply {
        Reply {
            route: "chat".to_owned(),
            requested_model: "m".to_owned(),
            stream_usage: true,
            provider: "p".to_owned(),
            strategy: "explicit".to_owned(),
            cost,
            account: None,
            echo: Vec::new(),
        }
    }

    #[test]
    fn the_cost_stands_beside_the_counts() {
        let cost = portcullis_plugin::dialect::Cost { input: 1_000_000, output: 500 };
        for (own, expected) in [
            (
                "{}",
                r#"{"usageMetadata":{"cost_usd_total":0.0010005,"cost_usd_input":0.001,"cost_usd_output":0.0000005}}"#,
            ),
            (
                r#"{ "promptTokenCount": 3 }"#,
                r#"{"usageMetadata":{"promptTokenCount": 3,"cost_usd_total":0.0010005,"cost_usd_input":0.001,"cost_usd_output":0.0000005}}"#,
            ),
        ] {
            let mut writer = Writer::new();
            writer.begin_object();
            write(&mut writer, None, Some(own), &reply(Some(cost)));
            writer.end_object();
            assert_eq!(writer.finish(), expected);
        }
    }

    proptest! {
        #[test]
        fn counts_come_back(input in 0_u64..1 << 40, cache_read in 0_u64..1 << 40, reasoning in 0_u64..1 << 40, spoken in 0_u64..1 << 40, audio in 0_u64..100) {
            let usage = Usage { input: input + audio, cache_read, output: reasoning + spoken + audio, reasoning, audio_input: audio, audio_output: audio, ..Usage::default() };
            let mut writer = Writer::new();
            writer.begin_object();
            write(&mut writer, Some(&usage), None, &reply(None));
            writer.end_object();
            let json: serde_json::Value = serde_json::from_str(&writer.finish()).unwrap();
            prop_assert_eq!(read(&json["usageMetadata"].to_string()), Some(usage));
        }
    }
}
