//! What a request needs, from its features: capabilities, room, quality and how long the answer will be.

use portcullis_plugin::prelude::Features;

use crate::config::{Class, Settings, Wishes};
use crate::standard::{CLASSES, CODE, GENERAL, QUICK};

/// A fenced block speaks for code as loudly as three keywords.
const FENCE_HITS: u32 = 3;

#[derive(Debug)]
pub struct Demand<'a> {
    pub class: &'a Class,
    /// The quality at which more is worth little.
    pub quality: f64,
    /// Below it a model is chosen only when nothing else can be.
    pub floor: f64,
    pub needs: Vec<&'a str>,
    /// Tokens, as estimated by the gateway.
    pub input: u64,
    /// Tokens, the expected answer.
    pub output: u64,
    /// Tokens to keep free for the answer: the client's limit, else what is expected.
    pub reserve: u64,
}

impl<'a> Demand<'a> {
    pub fn of(features: &'a Features, wishes: &Wishes, settings: &'a Settings) -> Self {
        let class = &settings.classes[wishes.class.unwrap_or_else(|| classify(features, settings))];
        let traits = &class.traits;
        let mut needs: Vec<&str> = features.needs.iter().map(String::as_str).collect();
        if !features.tool_names.is_empty() && !needs.contains(&"tools") {
            needs.push("tools");
        }
        let mut quality = traits.quality;
        if needs.contains(&"tools") {
            quality = quality.max(settings.tools_quality);
        }
        if features.input_tokens >= settings.long_input {
            quality = quality.max(settings.long_quality);
        }
        let limit = features.max_output_tokens.map(u64::from);
        let expected = match wishes.output_tokens {
            Some(tokens) => u64::from(tokens),
            // Only conversations have answers made of tokens.
            None if features.operation != "chat" => 0,
            None => {
                let share = features.input_tokens.saturating_mul(u64::from(traits.output_percent)) / 100;
                share.saturating_add(u64::from(traits.output_tokens))
            }
        };
        let output = limit.map_or(expected, |limit| limit.min(expected));
        Demand {
            class,
            quality,
            floor: traits.floor,
            needs,
            input: features.input_tokens,
            output,
            reserve: limit.unwrap_or(output),
        }
    }
}

/// The class with most keywords in the prompt; words of a phrase count each. Of equal ones the operator's own go first,
/// then the more demanding.
fn classify(features: &Features, settings: &Settings) -> usize {
    let mut hits = vec![0_u32; settings.classes.len()];
    if let Some(prompt) = &features.prompt {
        settings.table.find(prompt, |keyword| hits[usize::from(keyword.class)] += keyword.words);
        if memchr::memmem::find(prompt.as_bytes(), b"```").is_some() {
            hits[usize::from(CODE)] += FENCE_HITS;
        }
    }
    let standard = 0..CLASSES.len();
    let own = CLASSES.len()..hits.len();
    let mut best = None;
    for index in own.chain(standard) {
        if hits[index] > best.map_or(0, |best: usize| hits[best]) {
            best = Some(index);
        }
    }
    let short = features.operation == "chat"
        && features.tool_names.is_empty()
        && features.needs.is_empty()
        && features.input_tokens <= settings.quick_input;
    best.unwrap_or_else(|| usize::from(if short { QUICK } else { GENERAL }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::features;
    use portcullis_plugin::prelude::{Pair, list};

    fn demand<T>(features: &Features, config: serde_json::Value, look: impl Fn(&Demand) -> T) -> T {
        let config = serde_json::from_value(config).expect("a configuration");
        let settings = Settings::new(config).expect("settings");
        let wishes = settings.wishes(&[]).expect("wishes");
        look(&Demand::of(features, &wishes, &settings))
    }

    fn class_of(prompt: &str) -> String {
        let features = Features { prompt: Some(prompt.to_owned()), ..features() };
        demand(&features, serde_json::json!({}), |demand| demand.class.name.to_string())
    }

    #[test]
    fn the_prompt_names_the_class() {
        for (prompt, expected) in [
            ("Refactor this Python function, please", "code"),
            ("```\nlet x = 1;\n```\nWhat is wrong here? Summarize.", "code"),
            ("Calculate the integral of x^2", "maths"),
            ("Prove it, step by step, and give the root cause", "reasoning"),
            ("Translate this into German: good morning", "translation"),
            ("Summarise the key points of the report", "summary"),
            ("Write a short story about a lighthouse", "creative"),
            ("Quick question: which day is it?", "quick"),
            ("Tell me about Lisbon", "general"),
            ("", "general"),
        ] {
            assert_eq!(class_of(prompt), expected, "{prompt}");
        }
    }

    #[test]
    fn of_equal_classes_the_demanding_and_the_own_go_first() {
        assert_eq!(class_of("quick python"), "code");
        let features = Features { prompt: Some("python contract".to_owned()), ..features() };
        let config = serde_json::json!({"classes": {"legal": {"keywords": ["contract"]}}});
        assert_eq!(demand(&features, config, |demand| demand.class.name.to_string()), "legal");
    }

    #[test]
    fn without_a_prompt_the_shape_decides() {
        let class = |features: &Features| demand(features, serde_json::json!({}), |d| d.class.name.to_string());
        let plain = Features { prompt: None, input_tokens: 30, ..features() };
        assert_eq!(class(&plain), "quick");
        assert_eq!(class(&Features { input_tokens: 31, ..plain.clone() }), "general");
        assert_eq!(class(&Features { tool_names: list(&["f"]), ..plain.clone() }), "general");
        assert_eq!(class(&Features { needs: list(&["vision"]), ..plain }), "general");
    }

    #[test]
    fn tools_and_length_want_quality() {
        let quality = |features: &Features| demand(features, serde_json::json!({}), |demand| demand.quality);
        let plain = Features { prompt: None, input_tokens: 1000, ..features() };
        assert_eq!(quality(&plain), 65.0);
        let tools = Features { tool_names: list(&["f"]), ..plain.clone() };
        assert_eq!(quality(&tools), 70.0);
        assert!(demand(&tools, serde_json::json!({}), |demand| demand.needs.contains(&"tools")));
        assert_eq!(quality(&Features { input_tokens: 30_000, ..plain }), 75.0);
    }

    #[test]
    fn the_answer_is_as_long_as_its_class_the_input_and_the_limit_say() {
        let lengths =
            |features: &Features| demand(features, serde_json::json!({}), |demand| (demand.output, demand.reserve));
        let translate = Features { prompt: Some("translate".to_owned()), input_tokens: 2000, ..features() };
        assert_eq!(lengths(&translate), (2250, 2250));
        assert_eq!(lengths(&Features { max_output_tokens: Some(100), ..translate.clone() }), (100, 100));
        assert_eq!(lengths(&Features { max_output_tokens: Some(9000), ..translate.clone() }), (2250, 9000));
        assert_eq!(lengths(&Features { operation: "embeddings".to_owned(), ..translate.clone() }), (0, 0));
        let huge = Features { input_tokens: u64::MAX, ..translate };
        assert!(lengths(&huge).0 > 0);
    }

    #[test]
    fn preferences_name_class_and_length() {
        let settings = Settings::new(Default::default()).expect("settings");
        let pairs = [Pair::new("class", "maths"), Pair::new("output_tokens", "5")];
        let wishes = settings.wishes(&pairs).expect("wishes");
        let features = features();
        let demand = Demand::of(&features, &wishes, &settings);
        assert_eq!((demand.class.name.as_ref(), demand.output), ("maths", 5));
    }
}
