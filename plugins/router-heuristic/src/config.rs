//! The operator's configuration and the preferences of a request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_plugin::prelude::{Failure, Pair};
use serde::Deserialize;

use crate::keywords::{Keyword, Table, is_keyword};
use crate::standard::{CLASSES, KEYWORDS, Traits};

/// The table `[plugin.router-heuristic.config]`. Every key may be left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What to look for where a request's preferences do not say: `balanced`.
    optimise: Optimise,
    /// Weights that replace those of `optimise`, one by one.
    weights: PartialWeights,
    /// By name, changes to the standard classes and classes of the operator's own.
    classes: BTreeMap<String, ClassConfig>,
    /// Desired quality at least this where tools are offered: 70.
    tools_quality: f64,
    /// From so many input tokens on a request is long (30,000) …
    long_input: u64,
    /// … and wants at least this quality: 75.
    long_quality: f64,
    /// Without a keyword and tools, a request of so few input tokens is of class `quick`: 30.
    quick_input: u64,
    /// The quality of a model without one: 50.
    unknown_quality: f64,
    /// pico-USD per token of a model whose price is unknown: 100,000,000 (100 USD a million tokens), dearer than
    /// nearly all.
    unknown_price: u64,
    /// The latency of a connection not measured yet, in milliseconds: 2,000.
    unknown_latency: f64,
    /// Per cent that an estimate of input tokens may be too low: 5.
    context_margin: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            optimise: Optimise::Balanced,
            weights: PartialWeights::default(),
            classes: BTreeMap::new(),
            tools_quality: 70.0,
            long_input: 30_000,
            long_quality: 75.0,
            quick_input: 30,
            unknown_quality: 50.0,
            unknown_price: 100_000_000,
            unknown_latency: 2_000.0,
            context_margin: 5,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimise {
    Price,
    Latency,
    Quality,
    Balanced,
}

impl Optimise {
    pub fn name(self) -> &'static str {
        match self {
            Optimise::Price => "price",
            Optimise::Latency => "latency",
            Optimise::Quality => "quality",
            Optimise::Balanced => "balanced",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Optimise::Price, Optimise::Latency, Optimise::Quality, Optimise::Balanced]
            .into_iter()
            .find(|optimise| optimise.name() == name)
    }

    fn weights(self) -> Weights {
        let (price, latency, quality, health) = match self {
            Optimise::Price => (0.70, 0.05, 0.10, 0.15),
            Optimise::Latency => (0.05, 0.70, 0.10, 0.15),
            Optimise::Quality => (0.05, 0.05, 0.75, 0.15),
            Optimise::Balanced => (0.25, 0.15, 0.45, 0.15),
        };
        Weights { price, latency, quality, health }
    }
}

/// How much each quantity counts; only their ratios matter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub price: f64,
    pub latency: f64,
    pub quality: f64,
    pub health: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PartialWeights {
    price: Option<f64>,
    latency: Option<f64>,
    quality: Option<f64>,
    health: Option<f64>,
}

impl PartialWeights {
    /// Over those of a preset; shares of one. `None` where a weight is negative or all are zero.
    fn over(self, preset: Weights) -> Option<Weights> {
        let Weights { price, latency, quality, health } = Weights {
            price: self.price.unwrap_or(preset.price),
            latency: self.latency.unwrap_or(preset.latency),
            quality: self.quality.unwrap_or(preset.quality),
            health: self.health.unwrap_or(preset.health),
        };
        let sum = price + latency + quality + health;
        let sound = [price, latency, quality, health].iter().all(|weight| (0.0..=1e6).contains(weight)) && sum > 0.0;
        sound.then(|| Weights {
            price: price / sum,
            latency: latency / sum,
            quality: quality / sum,
            health: health / sum,
        })
    }
}

/// Changes to a class; what is left out stays as it is, or as in class `general` for a new one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClassConfig {
    /// Words, or several with single spaces between them. They replace the class's own.
    keywords: Option<Vec<String>>,
    /// 0 to 100: the quality at which more is worth little.
    quality: Option<f64>,
    /// 0 to 100: models below are chosen only when nothing else can be.
    floor: Option<f64>,
    /// Tokens of an answer, before `output_percent`.
    output_tokens: Option<u32>,
    /// Per cent of the input's tokens that an answer has besides.
    output_percent: Option<u32>,
}

/// A kind of request.
#[derive(Debug, Clone)]
pub struct Class {
    pub name: Cow<'static, str>,
    pub traits: Traits,
}

/// The configuration, checked and ready.
#[derive(Debug)]
pub struct Settings {
    config: Config,
    /// The standard classes first, at their places, then the operator's own.
    pub classes: Vec<Class>,
    pub table: Table,
    /// For requests without preferences.
    weights: Weights,
    pub tools_quality: f64,
    pub long_input: u64,
    pub long_quality: f64,
    pub quick_input: u64,
    pub unknown_quality: f64,
    pub unknown_price: u64,
    pub unknown_latency: f64,
    pub context_margin: u64,
}

impl Settings {
    pub fn new(config: Config) -> Result<Self, String> {
        let percent = |name: &str, value: f64| {
            (0.0..=100.0)
                .contains(&value)
                .then_some(())
                .ok_or_else(|| format!("{name}: {value} is not within 0 to 100"))
        };
        percent("tools_quality", config.tools_quality)?;
        percent("long_quality", config.long_quality)?;
        percent("unknown_quality", config.unknown_quality)?;
        if !(config.unknown_latency > 0.0 && config.unknown_latency.is_finite()) {
            return Err("unknown_latency: must be more than 0".to_owned());
        }
        if config.context_margin > 100 {
            return Err("context_margin: is per cent, at most 100".to_owned());
        }
        let weights = config
            .weights
            .over(config.optimise.weights())
            .ok_or("weights: none may be negative, and one must be more than 0")?;
        let mut classes: Vec<Class> =
            CLASSES.iter().map(|&(name, traits)| Class { name: Cow::Borrowed(name), traits }).collect();
        let mut keywords = Cow::Borrowed(KEYWORDS);
        for (name, change) in &config.classes {
            let index = match classes.iter().position(|class| class.name == *name) {
                Some(index) => index,
                None => {
                    check_name(name)?;
                    let general = CLASSES[CLASSES.len() - 1].1;
                    classes.push(Class { name: Cow::Owned(name.clone()), traits: general });
                    classes.len() - 1
                }
            };
            let traits = &mut classes[index].traits;
            for (key, from, to) in
                [("quality", change.quality, &mut traits.quality), ("floor", change.floor, &mut traits.floor)]
            {
                if let Some(value) = from {
                    percent(&format!("classes.{name}.{key}"), value)?;
                    *to = value;
                }
            }
            traits.output_tokens = change.output_tokens.unwrap_or(traits.output_tokens);
            traits.output_percent = change.output_percent.unwrap_or(traits.output_percent);
            if let Some(words) = &change.keywords {
                let class = u8::try_from(index).map_err(|_| "classes: at most 255".to_owned())?;
                replace_keywords(keywords.to_mut(), class, name, words)?;
            }
        }
        if let Cow::Owned(keywords) = &mut keywords {
            keywords.sort();
        }
        Ok(Settings {
            classes,
            table: Table::new(keywords),
            weights,
            tools_quality: config.tools_quality,
            long_input: config.long_input,
            long_quality: config.long_quality,
            quick_input: config.quick_input,
            unknown_quality: config.unknown_quality,
            unknown_price: config.unknown_price,
            unknown_latency: config.unknown_latency,
            context_margin: config.context_margin,
            config,
        })
    }

    /// What this request wants, by its preferences over the configuration. Names of other routers are passed over; of one
    /// name given twice the last counts.
    pub fn wishes(&self, preferences: &[Pair]) -> Result<Wishes, Failure> {
        let mut optimise = None;
        let mut weights = PartialWeights::default();
        let (mut class, mut output_tokens) = (None, None);
        for Pair { name, value } in preferences {
            let wrong = |expected: &str| Failure::invalid(name, format!("the preference `{name}` is not {expected}"));
            let weight = || value.parse::<f64>().map(Some).map_err(|_| wrong("a number"));
            match name.as_str() {
                "optimise" => {
                    let expected = "`price`, `latency`, `quality` or `balanced`";
                    optimise = Some(Optimise::parse(value).ok_or_else(|| wrong(expected))?);
                }
                "price" => weights.price = weight()?,
                "latency" => weights.latency = weight()?,
                "quality" => weights.quality = weight()?,
                "health" => weights.health = weight()?,
                "class" => {
                    let index = self.classes.iter().position(|class| class.name == *value);
                    class = Some(index.ok_or_else(|| wrong("a class of this router"))?);
                }
                "output_tokens" => output_tokens = Some(value.parse().map_err(|_| wrong("a number of tokens"))?),
                _ => {}
            }
        }
        // The operator's own weights belong to the operator's own goal.
        let preset = match optimise {
            Some(optimise) => optimise.weights(),
            None => self.weights,
        };
        let Some(weights) = weights.over(preset) else {
            return Err(Failure::invalid("preferences", "no weight may be negative, and one must be more than 0"));
        };
        Ok(Wishes { optimise: optimise.unwrap_or(self.config.optimise), weights, class, output_tokens })
    }
}

/// What one request wants.
#[derive(Debug)]
pub struct Wishes {
    pub optimise: Optimise,
    pub weights: Weights,
    /// Index into the classes, where the preferences name one.
    pub class: Option<usize>,
    /// Tokens the answer is expected to have, where the preferences say.
    pub output_tokens: Option<u32>,
}

/// The name stands in receipts.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(format!("classes.{name}: a name is of lower-case letters, digits and dashes"));
    }
    Ok(())
}

fn replace_keywords(keywords: &mut Vec<Keyword>, class: u8, name: &str, words: &[String]) -> Result<(), String> {
    keywords.retain(|keyword| keyword.class != class);
    for word in words {
        let text = word.to_ascii_lowercase();
        if !is_keyword(&text) {
            return Err(format!(
                "classes.{name}.keywords: `{word}` is not words of letters, digits, `+` and `#`, of at most 24 bytes each, \
                 with single spaces between them"
            ));
        }
        keywords.push(Keyword::owned(text, class));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(config: Value) -> Result<Settings, String> {
        Settings::new(serde_json::from_value(config).map_err(|error| error.to_string())?)
    }

    #[test]
    fn every_key_is_checked() {
        for (config, expected) in [
            (json!({"optimize": "price"}), "unknown field `optimize`"),
            (json!({"optimise": "cheap"}), "unknown variant `cheap`"),
            (json!({"weights": {"price": -1}}), "weights: "),
            (json!({"weights": {"price": 0, "latency": 0, "quality": 0, "health": 0}}), "weights: "),
            (json!({"weights": {"cost": 1}}), "unknown field `cost`"),
            (json!({"unknown_quality": 101}), "unknown_quality: "),
            (json!({"unknown_latency": 0}), "unknown_latency: "),
            (json!({"context_margin": 101}), "context_margin: "),
            (json!({"classes": {"code": {"quality": 120}}}), "classes.code.quality: "),
            (json!({"classes": {"code": {"floor": -1}}}), "classes.code.floor: "),
            (json!({"classes": {"code": {"keywords": ["don't"]}}}), "classes.code.keywords: `don't`"),
            (json!({"classes": {"Legal": {}}}), "classes.Legal: "),
            (json!({"classes": {"legal": {"quality": 80, "words": []}}}), "unknown field `words`"),
        ] {
            let why = settings(config.clone()).expect_err("a fault");
            assert!(why.contains(expected), "{config}: {why}");
        }
    }

    #[test]
    fn classes_change_one_key_at_a_time() {
        let settings = settings(json!({"classes": {
            "code": {"quality": 70},
            "legal": {"keywords": ["Contract", "force majeure"], "floor": 60},
        }}))
        .expect("settings");
        let class = |name: &str| settings.classes.iter().find(|class| class.name == name).expect("a class");
        assert_eq!((class("code").traits.quality, class("code").traits.floor), (70.0, 40.0));
        assert_eq!((class("legal").traits.quality, class("legal").traits.floor), (65.0, 60.0));
        let mut found = Vec::new();
        settings.table.find("A CONTRACT with force majeure in python", |keyword| found.push(keyword.text.to_string()));
        assert_eq!(found, ["contract", "force majeure", "python"]);
    }

    #[test]
    fn preferences_go_before_the_configuration() {
        let settings = settings(json!({"optimise": "price", "weights": {"health": 0}})).expect("settings");
        let wishes = |pairs: &[(&str, &str)]| {
            let pairs: Vec<Pair> = pairs.iter().map(|&(name, value)| Pair::new(name, value)).collect();
            settings.wishes(&pairs)
        };
        let own = wishes(&[]).expect("wishes");
        assert_eq!((own.optimise, own.weights.health), (Optimise::Price, 0.0));
        let asked = wishes(&[("optimise", "latency"), ("somebody", "else's")]).expect("wishes");
        assert_eq!((asked.optimise, asked.weights), (Optimise::Latency, Optimise::Latency.weights()));
        let only_quality = wishes(&[("price", "0"), ("latency", "0"), ("quality", "3")]).expect("wishes");
        assert_eq!(only_quality.weights, Weights { price: 0.0, latency: 0.0, quality: 1.0, health: 0.0 });
        let named = wishes(&[("class", "summary"), ("output_tokens", "77")]).expect("wishes");
        assert_eq!((named.class, named.output_tokens), (Some(4), Some(77)));
        for wrong in [("optimise", "cheap"), ("price", "much"), ("price", "-1"), ("price", "NaN"), ("class", "x")] {
            assert!(wishes(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
