//! `[pricing]`

use portcullis_core::money::{MoneyError, nano_per_piece, pico_per_token};
use portcullis_core::price::{Price, Rates, day_of};
use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricingConfig {
    /// What happens to a request whose price nobody knows: `block` (default) refuses it, `alarm` lets it pass with a warning
    /// and a cost marked unknown. It is never free.
    pub unknown: UnknownPrice,
    /// Prices that override the plugins' catalogues.
    pub price: Vec<PriceConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownPrice {
    Block,
    Alarm,
}

/// One model's price: `[[pricing.price]]`. Amounts are USD per million tokens, written as text so that they stay exact:
/// `input = "2.50"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// `provider/model`, where `provider` is the connection's name; `provider/*` for all of its models.
    pub model: String,
    pub input: String,
    pub output: String,
    pub cache_read: Option<String>,
    pub cache_write_short: Option<String>,
    pub cache_write_long: Option<String>,
    pub reasoning: Option<String>,
    pub audio_input: Option<String>,
    pub audio_output: Option<String>,
    /// USD for each image made.
    pub image: Option<String>,
    /// USD for each search run.
    pub search: Option<String>,
}

impl Default for PricingConfig {
    fn default() -> Self {
        PricingConfig { unknown: UnknownPrice::Block, price: Vec::new() }
    }
}

impl PriceConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.price().map(|_| ())
    }

    /// The price as the ledger computes with it, in force from the first day.
    ///
    /// # Errors
    /// When an amount is not a decimal number of USD.
    pub fn price(&self) -> Result<Price, ConfigError> {
        let problem =
            |error: MoneyError| ConfigError::invalid(format!("pricing.price for {}", self.model), error.to_string());
        let amount = |text: &String| pico_per_token(text).map_err(problem);
        let piece = |text: &Option<String>| text.as_ref().map(|text| nano_per_piece(text).map_err(problem)).transpose();
        let optional = |text: &Option<String>| text.as_ref().map(amount).transpose();
        let rates = Rates {
            input: Some(amount(&self.input)?),
            output: Some(amount(&self.output)?),
            cache_read: optional(&self.cache_read)?,
            cache_write_short: optional(&self.cache_write_short)?,
            cache_write_long: optional(&self.cache_write_long)?,
            reasoning: optional(&self.reasoning)?,
            audio_input: optional(&self.audio_input)?,
            audio_output: optional(&self.audio_output)?,
            image: piece(&self.image)?,
            search: piece(&self.search)?,
        };
        Ok(Price::of(day_of(0), "operator".to_owned(), rates))
    }
}
