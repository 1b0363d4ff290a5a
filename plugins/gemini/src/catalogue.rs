//! The models: what they cost, hold and take.
//!
//! Sources: prices of the PyPI package `genai-prices` 0.2.3, which reads <https://ai.google.dev/gemini-api/docs/pricing>, with the
//! days that it or <https://ai.google.dev/gemini-api/docs/changelog> gives; limits at <https://ai.google.dev/gemini-api/docs/models>
//! and, for Gemini 4, <https://ai.google.dev/gemini-api/docs/generate-content/latest-model>; thinking levels and budgets at
//! <https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/thinking>. Prices are micro-USD per million tokens,
//! which is pico-USD per token. What the contract's rates cannot say: a cache's audio tokens cost more than its text, images made by image models cost
//! more than text, and a cache's storage is paid by the hour.

use portcullis_plugin::manifest::{Model, Price, Quality, Rates, Tier, list};

const PRICING: &str = "https://ai.google.dev/gemini-api/docs/pricing, by PyPI genai-prices 0.2.3";
const QUALITY: &str = "whatmodel.sh overall score, November 2026";
/// Searches a piece, in nano-USD: $14 per 1,000 queries from Gemini 3 on, $35 per 1,000 grounded prompts before.
const BY_QUERY: u64 = 14_000_000;
const BY_PROMPT: u64 = 35_000_000;

/// How a model's thinking is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Control {
    /// It does not think.
    None,
    /// `thinkingBudget` between these, in tokens; `off` says that 0 turns thinking off.
    Budget { least: u32, most: u32, off: bool },
    /// `thinkingLevel`, from least to most. It cannot be turned off.
    Level(&'static [&'static str]),
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traits {
    pub control: Control,
    /// Calls of the current turn must be signed.
    pub signs_calls: bool,
    /// Schemas as JSON Schema (`parametersJsonSchema`, `responseJsonSchema`), from Gemini 2.5 on.
    pub json_schema: bool,
    /// JSON output beside function calls, and media in a function's response.
    pub json_with_tools: bool,
    pub searches_by_query: bool,
}

const FOUR: &[&str] = &["minimal", "low", "medium", "high"];
const THREE: &[&str] = &["low", "medium", "high"];

const fn level(levels: &'static [&'static str]) -> Traits {
    Traits {
        control: Control::Level(levels),
        signs_calls: true,
        json_schema: true,
        json_with_tools: true,
        searches_by_query: true,
    }
}

const fn budget(least: u32, most: u32, off: bool) -> Traits {
    Traits {
        control: Control::Budget { least, most, off },
        signs_calls: false,
        json_schema: true,
        json_with_tools: false,
        searches_by_query: false,
    }
}

/// Gemini 2.0 and before.
const OLD: Traits = Traits { control: Control::None, json_schema: false, ..budget(0, 0, true) };

struct Entry {
    id: &'static str,
    aliases: &'static [&'static str],
    max_output: u32,
    quality: Option<f32>,
    traits: Traits,
    prices: &'static [Dated],
}

/// Rates from a day on: input, output, cache read, in micro-USD per million tokens.
struct Dated {
    from: &'static str,
    base: [u64; 3],
    /// Spoken input, where it costs more.
    audio: Option<u64>,
    above: Option<(u64, [u64; 3])>,
}

const fn flat(from: &'static str, base: [u64; 3]) -> Dated {
    Dated { from, base, audio: None, above: None }
}

const fn heard(from: &'static str, base: [u64; 3], audio: u64) -> Dated {
    Dated { from, base, audio: Some(audio), above: None }
}

const fn tiered(from: &'static str, base: [u64; 3], above: u64, long: [u64; 3]) -> Dated {
    Dated { from, base, audio: None, above: Some((above, long)) }
}

/// Input and output together; 64K of output is what a request gives at once, also of Gemini 4.
const CONTEXT: u32 = 1_048_576;
const OUTPUT: u32 = 65_536;
/// The newer Flash models at half price until the year's end.
const HALF: [u64; 3] = [750_000, 3_750_000, 75_000];
const WHOLE: [u64; 3] = [1_500_000, 7_500_000, 150_000];
const PRO_3: [u64; 3] = [2_000_000, 12_000_000, 200_000];
const PRO_3_LONG: [u64; 3] = [4_000_000, 18_000_000, 400_000];

const MODELS: &[Entry] = &[
    Entry {
        id: "gemini-4-argon",
        aliases: &[],
        max_output: OUTPUT,
        quality: Some(80.6),
        traits: level(THREE),
        prices: &[
            flat("2026-10-13", [2_000_000, 10_000_000, 100_000]),
            flat("2026-12-01", [4_000_000, 20_000_000, 200_000]),
        ],
    },
    Entry {
        id: "gemini-3.8-flash",
        // The one before was shut down on 2026-10-08, and its name leads here.
        aliases: &["gemini-flash-latest", "gemini-3.7-flash"],
        max_output: OUTPUT,
        quality: Some(75.5),
        traits: level(THREE),
        prices: &[flat("2026-09-02", HALF), flat("2027-01-01", WHOLE)],
    },
    Entry {
        id: "gemini-3.6-flash",
        // Likewise.
        aliases: &["gemini-3.5-flash"],
        max_output: OUTPUT,
        quality: Some(72.3),
        traits: level(FOUR),
        prices: &[flat("2026-07-21", HALF), flat("2027-01-01", WHOLE)],
    },
    Entry {
        id: "gemini-3.5-flash-lite",
        aliases: &["gemini-flash-lite-latest"],
        max_output: OUTPUT,
        quality: Some(67.8),
        traits: level(FOUR),
        prices: &[flat("2026-07-21", [300_000, 2_500_000, 30_000])],
    },
    Entry {
        id: "gemini-3.1-pro-preview",
        aliases: &["gemini-pro-latest"],
        max_output: OUTPUT,
        quality: None,
        traits: level(THREE),
        prices: &[tiered("2026-02-19", PRO_3, 200_000, PRO_3_LONG)],
    },
    Entry {
        id: "gemini-3.1-flash-lite",
        aliases: &["gemini-3.1-flash-lite-preview"],
        max_output: OUTPUT,
        quality: Some(66.1),
        traits: level(FOUR),
        prices: &[heard("2026-03-03", [250_000, 1_500_000, 25_000], 500_000)],
    },
    Entry {
        id: "gemini-3-flash-preview",
        aliases: &[],
        max_output: OUTPUT,
        quality: Some(71.0),
        traits: level(FOUR),
        prices: &[heard("2025-12-17", [500_000, 3_000_000, 50_000], 1_000_000)],
    },
    Entry {
        id: "gemini-2.5-pro",
        aliases: &[],
        max_output: OUTPUT,
        quality: Some(66.4),
        traits: budget(128, 32_768, false),
        prices: &[tiered("2025-06-17", [1_250_000, 10_000_000, 125_000], 200_000, [2_500_000, 15_000_000, 250_000])],
    },
    Entry {
        id: "gemini-2.5-flash",
        aliases: &["gemini-2.5-flash-latest", "gemini-2.5-flash-preview-09-2025"],
        max_output: OUTPUT,
        quality: Some(61.8),
        traits: budget(1, 24_576, true),
        prices: &[heard("2025-06-17", [300_000, 2_500_000, 30_000], 1_000_000)],
    },
    Entry {
        id: "gemini-2.5-flash-lite",
        aliases: &["gemini-2.5-flash-lite-preview-09-2025"],
        max_output: OUTPUT,
        quality: Some(57.2),
        traits: budget(512, 24_576, true),
        prices: &[heard("2025-07-22", [100_000, 400_000, 10_000], 300_000)],
    },
];

/// An embedding model: its id, input in tokens, and its price from a day on.
const EMBEDDINGS: &[(&str, &[&str], u32, Dated)] = &[
    (
        "gemini-embedding-2",
        &["gemini-embedding-2-preview"],
        8_192,
        heard("2026-04-22", [200_000, 0, 200_000], 6_500_000),
    ),
    ("gemini-embedding-001", &[], 2_048, flat("2025-07-14", [150_000, 0, 150_000])),
];

pub fn models() -> Vec<Model> {
    let embedding = |(id, aliases, context, dated): &(&str, &[&str], u32, Dated)| Model {
        id: (*id).to_owned(),
        aliases: list(aliases),
        synonyms: Vec::new(),
        extra: Vec::new(),
        operations: list(&["embeddings", "count-tokens"]),
        context: *context,
        max_output: 0,
        capabilities: Vec::new(),
        quality: None,
        prices: vec![price(dated, OLD)],
    };
    MODELS.iter().map(model).chain(EMBEDDINGS.iter().map(embedding)).collect()
}

/// Whether a model of this name, an id or an alias, is this API's own.
pub fn knows(name: &str) -> bool {
    let listed = MODELS.iter().map(|entry| (entry.id, entry.aliases));
    let mut known = listed.chain(EMBEDDINGS.iter().map(|(id, aliases, ..)| (*id, *aliases)));
    known.any(|(id, aliases)| id == name || aliases.contains(&name))
}

/// What the model takes, known by its id, an alias or a snapshot of either, else by its generation. A name that tells none is
/// taken for a model of tomorrow.
pub fn traits(model: &str) -> Traits {
    let model = model.rsplit('/').next().unwrap_or(model);
    let is = |name: &str| is_snapshot(model, name);
    if let Some(entry) = MODELS.iter().find(|entry| is(entry.id) || entry.aliases.iter().any(|alias| is(alias))) {
        return entry.traits;
    }
    match generation(model) {
        Some((0..=1, _) | (2, 0..=4)) => OLD,
        Some((2, _)) => budget(512, 24_576, false),
        _ => level(THREE),
    }
}

/// `gemini-2.5-pro` itself, or `gemini-2.5-pro-001`, `gemini-2.5-pro-preview-03-25`; not `gemini-2.5-pro-tts`.
fn is_snapshot(model: &str, id: &str) -> bool {
    let Some(rest) = model.strip_prefix(id) else { return false };
    let dated =
        |text: &str| text.split('-').all(|piece| !piece.is_empty() && piece.bytes().all(|byte| byte.is_ascii_digit()));
    match rest.strip_prefix('-') {
        None => rest.is_empty(),
        Some(rest) => dated(rest.strip_prefix("preview-").unwrap_or(rest)) || rest == "preview",
    }
}

/// The numbers in `gemini-2.5-…`.
fn generation(model: &str) -> Option<(u32, u32)> {
    let version = model.strip_prefix("gemini-")?.split('-').next()?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn model(entry: &Entry) -> Model {
    let mut capabilities = list(&[
        "streaming",
        "tools",
        "vision",
        "documents",
        "audio-input",
        "video-input",
        "json-object",
        "json-schema",
        "web-search",
    ]);
    if entry.traits.control != Control::None {
        capabilities.push("reasoning".to_owned());
    }
    Model {
        id: entry.id.to_owned(),
        aliases: list(entry.aliases),
        synonyms: Vec::new(),
        extra: Vec::new(),
        operations: list(&["chat", "count-tokens"]),
        context: CONTEXT,
        max_output: entry.max_output,
        capabilities,
        quality: entry.quality.map(|score| Quality { score, source: QUALITY.to_owned() }),
        prices: entry.prices.iter().map(|dated| price(dated, entry.traits)).collect(),
    }
}

fn price(dated: &Dated, traits: Traits) -> Price {
    let search = if traits.searches_by_query { BY_QUERY } else { BY_PROMPT };
    let rates = |[input, output, cache_read]: [u64; 3]| Rates {
        cache_read: Some(cache_read),
        audio_input: Some(dated.audio.unwrap_or(input)),
        search: Some(search),
        ..Rates::tokens(input, output)
    };
    Price {
        effective: dated.from.to_owned(),
        source: PRICING.to_owned(),
        rates: rates(dated.base),
        tiers: dated.above.iter().map(|&(above, long)| Tier { above, rates: rates(long) }).collect(),
        units: Vec::new(),
        services: Vec::new(),
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
        // The price list: Gemini 2.5 Flash costs $0.30 in, $1.00 heard, $2.50 out, $0.03 read; a search $35 per 1,000.
        let flash = models().into_iter().find(|model| model.id == "gemini-2.5-flash").unwrap();
        let rates = flash.prices[0].rates;
        assert_eq!(
            (rates.input, rates.audio_input, rates.output, rates.cache_read, rates.search),
            (Some(300_000), Some(1_000_000), Some(2_500_000), Some(30_000), Some(35_000_000))
        );
    }

    #[test]
    fn snapshots_share_their_models_traits_and_others_go_by_generation() {
        let pro = budget(128, 32_768, false);
        assert_eq!(traits("gemini-2.5-pro-preview-03-25"), pro);
        assert_eq!(traits("models/gemini-2.5-pro"), pro);
        assert_ne!(traits("gemini-2.5-pro-tts"), pro);
        assert_eq!(traits("gemini-3-pro-preview"), level(THREE));
        assert_eq!(traits("gemini-1.5-flash"), OLD);
        assert_eq!(traits("gemini-2.0-flash-lite"), OLD);
        for unknown in ["gemini-9-xenon", "gemini-omni", "tuned-model"] {
            assert_eq!(traits(unknown), level(THREE), "{unknown}");
        }
    }
}
