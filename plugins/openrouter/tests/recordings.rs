//! Real traffic: every recorded answer is read as its JSON says. Runs where `PORTCULLIS_RECORDINGS` names the folder of recordings.

use portcullis_openai_chat::testing;
use portcullis_plugin::Plugin;
use portcullis_plugin::ir::Context;
use portcullis_plugin::provider::{AnswerHead, Provider};
use portcullis_plugin_openrouter::OpenRouter;
use serde_json::Value;

#[test]
fn every_answer_is_read() {
    let plugin = OpenRouter::configure(serde_json::from_str("{}").expect("a configuration")).expect("a plugin");
    if let Some((whole, streamed)) = testing::every_recording(&plugin, "openrouter") {
        assert!(whole > 0, "{whole} whole answers, {streamed} streams");
    }
}

/// OpenRouter says what the provider behind it charged, and that is what the usage comes to at the catalogue's rates: so no token is counted
/// twice or not at all. For the models whose price has not changed since they were recorded.
#[test]
fn usage_costs_what_was_charged() {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return;
    };
    let plugin = OpenRouter::configure(serde_json::from_str("{}").expect("a configuration")).expect("a plugin");
    let models = OpenRouter::manifest().models;
    let path = std::path::Path::new(&folder).join("openrouter.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let context = Context { now: 0, seed: 0, request_id: String::new(), development: false, extra: Vec::new() };
    let (mut written, mut read) = (0, 0);
    for line in text.lines() {
        let recording: Value = serde_json::from_str(line).expect("a recording");
        if !recording["operation"].as_str().is_some_and(|operation| operation.ends_with("chat/completions")) {
            continue;
        }
        let answer = recording["response"]["text"].as_str().unwrap_or_default();
        let told = serde_json::from_str::<Value>(answer).unwrap_or_default()["usage"].clone();
        let Some(charged) = told["cost_details"]["upstream_inference_cost"].as_f64() else { continue };
        let head = AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: Vec::new() };
        let response = plugin.decode_response(&context, &head, answer).expect("an answer").response;
        let named = |name: &str| matches!(name, "anthropic/claude-sonnet-4.6" | "google/gemini-2.5-flash");
        let known = models.iter().find(|model| model.id == response.model || model.aliases.contains(&response.model));
        let Some(model) = known.filter(|model| named(&model.id)) else { continue };
        let (usage, rates) = (response.usage.expect("usage"), model.prices[0].rates);
        let cost: u64 = [
            (usage.input, rates.input),
            (usage.cache_read, rates.cache_read),
            (usage.cache_write_short, rates.cache_write_short),
            (usage.output, rates.output),
        ]
        .iter()
        .map(|(tokens, rate)| tokens * rate.expect("a rate"))
        .sum();
        // A rate is rounded up to a pico-USD.
        let (cost, charged) = (cost as f64 / 1e12, charged);
        assert!((cost - charged).abs() < 1e-8, "{}: {cost} is not {charged}: {usage:?}", recording["id"]);
        written += u64::from(usage.cache_write_short > 0);
        read += u64::from(usage.cache_read > 0);
    }
    assert!(written >= 5 && read >= 5, "{written} of them wrote to a cache, {read} read from one");
}
