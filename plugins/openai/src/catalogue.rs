//! The models of OpenAI, with their prices: `models.json`, and those of the other operations: `operations.json`.
//!
//! Prices are pico-USD per token, which is micro-USD per million tokens, at the standard service tier. A price is in force from
//! its day; where the day is not known it is the first on which the model is known to have been sold. Retired models are left
//! out, and so are the search models of Chat Completions: their fee for each call is not in the usage they report, and an
//! unknown price is never $0. A web search of the Responses API is reported and has its price (nano-USD).
//!
//! Besides the contract's capabilities, the catalogue says which efforts beyond `low`, `medium` and `high` a model has
//! (`effort:none`, `effort:minimal`, `effort:xhigh`, `effort:max`) or that it has `high` alone (`effort:only-high`), that it refuses
//! function tools beside an effort on Chat Completions (`tools-effort:default`) or beside any effort but an explicit `none`
//! (`tools-effort:none`), whether it takes `sampling`, that the Responses API's built-in tools and background mode reach it
//! (`responses-tools`, `background`), and that no other API does (`endpoint:responses`: those that the official Python package,
//! 3.51, lists in `responses_model.py` beside the chat models, and their successors).

use portcullis_openai_chat::catalogue;
use portcullis_plugin::manifest::Model;

pub fn models() -> Vec<Model> {
    let mut models = catalogue::models(include_str!("models.json"));
    // Whatever answers can be counted for.
    for model in models.iter_mut().filter(|model| model.operations == ["chat"]) {
        model.operations.push("count-tokens".to_owned());
    }
    models.extend(catalogue::models(include_str!("operations.json")));
    models
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_model_is_named_once_and_priced_in_order() {
        let mut names = HashSet::new();
        for model in models() {
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                assert!(names.insert(name.clone()), "{name} stands twice");
            }
            let chats = model.operations[0] == "chat";
            assert!(!chats || model.max_output > 0 && model.max_output < model.context, "{}", model.id);
            let days: Vec<_> = model.prices.iter().map(|price| &price.effective).collect();
            assert!(!days.is_empty() && days.is_sorted(), "{}", model.id);
            for price in &model.prices {
                let input = price.rates.input.unwrap();
                let output = if chats { price.rates.output.unwrap() } else { u64::MAX };
                assert!(input < output && price.rates.cache_read.is_none_or(|read| read < input), "{}", model.id);
            }
        }
    }

    #[test]
    fn a_known_price_reads_as_published() {
        // $0.15 and $0.60 for a million tokens.
        let models = models();
        let mini = models.iter().find(|model| model.id == "gpt-4o-mini").unwrap();
        assert_eq!((mini.prices[0].rates.input, mini.prices[0].rates.output), (Some(150_000), Some(600_000)));
    }
}
