//! The models: what they cost, hold and refuse.
//!
//! Sources: limits, releases and prices at <https://platform.claude.com/docs/en/about-claude/models/overview> and
//! <https://platform.claude.com/docs/en/about-claude/pricing>, checked against the PyPI package `genai-prices` 0.2.3; what each
//! model refuses in its migration guide under <https://platform.claude.com/docs/en/models/>. Prices are micro-USD per million
//! tokens, which is pico-USD per token. Two things that cost more cannot be said in the contract's rates: `speed: fast`
//! (twice the price) and `inference_geo: us` (a tenth more).

use portcullis_plugin::manifest::{Model, Price, Quality, Rates, Tier, list};

const PRICING: &str = "https://platform.claude.com/docs/en/about-claude/pricing (November 2026)";
const QUALITY: &str = "whatmodel.sh overall score, November 2026";
/// $10 per 1,000 searches, in nano-USD a piece.
const SEARCH: u64 = 10_000_000;
const ALL: &[&str] = &["low", "medium", "high", "xhigh", "max"];
const TO_MAX: &[&str] = &["low", "medium", "high", "max"];
const TO_HIGH: &[&str] = &["low", "medium", "high"];

/// What a model takes. A request that it would refuse is made to fit, with a note.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traits {
    /// `thinking: enabled` with `budget_tokens`.
    pub budget: bool,
    /// `thinking: adaptive`.
    pub adaptive: bool,
    /// It thinks unless told not to.
    pub unasked: bool,
    /// How to have no thinking.
    pub off: Off,
    /// The words `output_config.effort` takes, from least to most.
    pub efforts: &'static [&'static str],
    /// Temperature, top-p and top-k other than the defaults.
    pub sampling: bool,
    /// `tool_choice` of `any` and `tool`.
    pub forced_tools: bool,
}

/// How a model is kept from thinking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Off {
    /// It does not think unless asked.
    Silence,
    /// `thinking: disabled`.
    Disabled,
    /// `thinking: between_tools`, the least it does.
    BetweenTools,
    /// It always thinks; the lowest effort is the least.
    Never,
}

/// A model the catalogue does not know is taken to do what it is asked: the API judges.
const UNKNOWN: Traits = Traits {
    budget: true,
    adaptive: true,
    unasked: false,
    off: Off::Disabled,
    efforts: ALL,
    sampling: true,
    forced_tools: true,
};
/// Claude 4.5.
const BUDGET: Traits = Traits { adaptive: false, off: Off::Silence, efforts: &[], ..UNKNOWN };
/// Claude 4.6: both ways of thinking.
const BOTH: Traits = Traits { off: Off::Silence, efforts: TO_MAX, ..UNKNOWN };
/// From Claude 4.7 on: adaptive only, no sampling.
const ADAPTIVE: Traits = Traits { budget: false, off: Off::Silence, sampling: false, ..UNKNOWN };
/// From Claude 5 on: thinks unless told not to.
const THINKING: Traits = Traits { unasked: true, off: Off::Disabled, ..ADAPTIVE };
/// Thinks always, and so cannot be forced to call a tool.
const ALWAYS: Traits = Traits { off: Off::Never, forced_tools: false, ..THINKING };

struct Entry {
    id: &'static str,
    aliases: &'static [&'static str],
    context: u32,
    max_output: u32,
    quality: Option<f32>,
    traits: Traits,
    prices: &'static [Dated],
}

/// Rates from a day on: input, output, cache read, in micro-USD per million tokens. Writing a cache costs 1.25 times the
/// input for five minutes and twice for an hour.
struct Dated {
    from: &'static str,
    base: [u64; 3],
    above: Option<(u64, [u64; 3])>,
}

const fn flat(from: &'static str, base: [u64; 3]) -> Dated {
    Dated { from, base, above: None }
}

const fn tiered(from: &'static str, base: [u64; 3], above: u64, long: [u64; 3]) -> Dated {
    Dated { from, base, above: Some((above, long)) }
}

const OPUS: [u64; 3] = [5_000_000, 25_000_000, 500_000];
const SONNET: [u64; 3] = [3_000_000, 15_000_000, 300_000];
const FABLE: [u64; 3] = [10_000_000, 50_000_000, 1_000_000];
const FABLE_5_1: [u64; 3] = [10_000_000, 50_000_000, 250_000];
const FABLE_5_2: [u64; 3] = [8_000_000, 40_000_000, 200_000];

const MODELS: &[Entry] = &[
    Entry {
        id: "claude-fable-5-2",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: None,
        traits: ALWAYS,
        prices: &[flat("2026-11-09", FABLE_5_2)],
    },
    Entry {
        id: "claude-mythos-5-2",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: None,
        traits: ALWAYS,
        prices: &[flat("2026-11-09", FABLE_5_2)],
    },
    Entry {
        id: "claude-fable-5-1",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(82.2),
        traits: ALWAYS,
        prices: &[flat("2026-09-01", FABLE_5_1)],
    },
    Entry {
        id: "claude-mythos-5-1",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: None,
        traits: ALWAYS,
        prices: &[flat("2026-09-01", FABLE_5_1)],
    },
    Entry {
        id: "claude-opus-5-5",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(84.7),
        traits: ALWAYS,
        prices: &[flat("2026-09-22", [4_000_000, 20_000_000, 200_000])],
    },
    Entry {
        id: "claude-sonnet-5-5",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(81.7),
        traits: Traits { off: Off::BetweenTools, forced_tools: false, ..THINKING },
        prices: &[
            flat("2026-09-28", [2_000_000, 10_000_000, 200_000]),
            flat("2026-10-07", [2_000_000, 10_000_000, 100_000]),
        ],
    },
    Entry {
        id: "claude-haiku-5-5",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(75.3),
        traits: THINKING,
        prices: &[tiered("2026-10-07", [100_000, 500_000, 10_000], 100_000, [500_000, 2_500_000, 50_000])],
    },
    Entry {
        id: "claude-fable-5",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(79.4),
        traits: Traits { forced_tools: true, ..ALWAYS },
        prices: &[flat("2026-06-09", FABLE)],
    },
    Entry {
        id: "claude-mythos-5",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: None,
        traits: Traits { forced_tools: true, ..ALWAYS },
        prices: &[flat("2026-06-09", FABLE)],
    },
    Entry {
        id: "claude-opus-5",
        aliases: &["claude-opus-5-latest"],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(80.5),
        traits: THINKING,
        prices: &[flat("2026-07-24", OPUS)],
    },
    Entry {
        id: "claude-sonnet-5",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(73.4),
        traits: THINKING,
        prices: &[flat("2026-06-30", [2_000_000, 10_000_000, 200_000])],
    },
    Entry {
        id: "claude-opus-4-8",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(76.4),
        traits: ADAPTIVE,
        prices: &[flat("2026-05-28", OPUS)],
    },
    Entry {
        id: "claude-opus-4-7",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(73.6),
        traits: ADAPTIVE,
        prices: &[flat("2026-04-16", OPUS)],
    },
    Entry {
        id: "claude-opus-4-6",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(73.3),
        traits: BOTH,
        // The dearer rate of long prompts went with the beta of the long context.
        prices: &[tiered("2026-02-05", OPUS, 200_000, [10_000_000, 37_500_000, 1_000_000]), flat("2026-03-13", OPUS)],
    },
    Entry {
        id: "claude-sonnet-4-6",
        aliases: &[],
        context: 1_000_000,
        max_output: 128_000,
        quality: Some(71.0),
        traits: BOTH,
        prices: &[tiered("2026-02-17", SONNET, 200_000, [6_000_000, 22_500_000, 600_000]), flat("2026-03-13", SONNET)],
    },
    Entry {
        id: "claude-opus-4-5",
        aliases: &["claude-opus-4-5-20251101"],
        context: 200_000,
        max_output: 64_000,
        quality: Some(70.8),
        traits: Traits { efforts: TO_HIGH, ..BUDGET },
        prices: &[flat("2025-11-24", OPUS)],
    },
    Entry {
        id: "claude-haiku-4-5",
        aliases: &["claude-haiku-4-5-20251001"],
        context: 200_000,
        max_output: 64_000,
        quality: Some(63.6),
        traits: BUDGET,
        prices: &[flat("2025-10-15", [1_000_000, 5_000_000, 100_000])],
    },
    Entry {
        id: "claude-sonnet-4-5",
        aliases: &["claude-sonnet-4-5-20250929"],
        context: 200_000,
        max_output: 64_000,
        quality: Some(67.7),
        traits: BUDGET,
        prices: &[tiered("2025-09-29", SONNET, 200_000, [6_000_000, 22_500_000, 600_000])],
    },
];

pub fn models() -> Vec<Model> {
    MODELS.iter().map(model).collect()
}

/// What the model takes, known by its id, an alias, or a dated snapshot of either.
pub fn traits(model: &str) -> Traits {
    MODELS
        .iter()
        .find(|entry| is_snapshot(model, entry.id) || entry.aliases.iter().any(|alias| is_snapshot(model, alias)))
        .map_or(UNKNOWN, |entry| entry.traits)
}

/// `claude-opus-5` itself, or `claude-opus-5-20260724`, and on Google Cloud `claude-opus-5@20260724` or `claude-opus-5@default`; not
/// `claude-opus-5-5`.
fn is_snapshot(model: &str, id: &str) -> bool {
    let Some(rest) = model.strip_prefix(id) else { return false };
    let date = rest.strip_prefix(['-', '@']).unwrap_or_default();
    rest.is_empty() || rest == "@default" || date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())
}

fn model(entry: &Entry) -> Model {
    let capabilities = list(&[
        "streaming",
        "tools",
        "vision",
        "documents",
        "json-schema",
        // By instruction; the API has no such mode.
        "json-object",
        "reasoning",
        "web-search",
    ]);
    Model {
        id: entry.id.to_owned(),
        aliases: list(entry.aliases),
        synonyms: Vec::new(),
        extra: Vec::new(),
        operations: list(&["chat", crate::COUNT]),
        context: entry.context,
        max_output: entry.max_output,
        capabilities,
        quality: entry.quality.map(|score| Quality { score, source: QUALITY.to_owned() }),
        prices: entry.prices.iter().map(price).collect(),
    }
}

fn price(dated: &Dated) -> Price {
    Price {
        effective: dated.from.to_owned(),
        source: PRICING.to_owned(),
        rates: rates(dated.base),
        tiers: dated.above.iter().map(|&(above, long)| Tier { above, rates: rates(long) }).collect(),
        units: Vec::new(),
        services: Vec::new(),
    }
}

fn rates([input, output, cache_read]: [u64; 3]) -> Rates {
    Rates {
        cache_read: Some(cache_read),
        cache_write_short: Some(input * 5 / 4),
        cache_write_long: Some(input * 2),
        search: Some(SEARCH),
        ..Rates::tokens(input, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_prices_in_order() {
        let mut names = HashSet::new();
        for model in models() {
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                assert!(names.insert(name.clone()), "{name} twice");
            }
            assert!(!model.prices.is_empty(), "{} has no price", model.id);
            assert!(model.prices.is_sorted_by(|a, b| a.effective < b.effective), "{}", model.id);
            assert!(model.max_output <= model.context, "{}", model.id);
        }
    }

    #[test]
    fn a_price_is_micro_usd_per_million() {
        // The price list: Haiku 4.5 costs $1 in, $5 out, $0.10 read, $1.25 and $2 written.
        let haiku = models().into_iter().find(|model| model.id == "claude-haiku-4-5").unwrap();
        let rates = haiku.prices[0].rates;
        assert_eq!(
            (rates.input, rates.output, rates.cache_read, rates.cache_write_short, rates.cache_write_long),
            (Some(1_000_000), Some(5_000_000), Some(100_000), Some(1_250_000), Some(2_000_000))
        );
    }

    #[test]
    fn snapshots_share_their_models_traits_and_successors_do_not() {
        assert_eq!(traits("claude-haiku-4-5-20251001"), BUDGET);
        assert_eq!(traits("claude-opus-5@20260724"), THINKING);
        assert_eq!(traits("claude-opus-5@default"), THINKING);
        assert_eq!(traits("claude-opus-5-5"), ALWAYS);
        assert_eq!(traits("claude-opus-9"), UNKNOWN);
    }
}
