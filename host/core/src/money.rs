//! Money as integers: nano-USD in entries, pico-USD while a cost is summed. Keeps invariant 2.
//!
//! No operation panics or wraps: what does not fit is an error. Pico rounds up to nano, so that a cost is never written
//! down as less than it was.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANO_PER_USD: u64 = 1_000_000_000;
const PICO_PER_NANO: u128 = 1_000;

/// Why an amount could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Larger than [`NanoUsd::MAX`] (about 9.2 thousand million USD), or below zero.
    #[error("amount out of range")]
    OutOfRange,
    /// Not digits with at most one point: no sign, no exponent, no currency.
    #[error("not a decimal amount of USD")]
    NotDecimal,
    /// More decimals than the unit holds. Amounts are refused rather than rounded in silence.
    #[error("finer than the smallest unit ({0} decimals at most)")]
    TooFine(u32),
}

/// An amount of nano-USD (10⁻⁹ USD), 0 to [`NanoUsd::MAX`]: what entries hold. It fits a signed 64-bit column.
///
/// Shows and parses as decimal USD: `0.00042`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(u64);

impl NanoUsd {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX as u64);

    pub const fn new(nano: u64) -> Result<Self, MoneyError> {
        if nano > Self::MAX.0 { Err(MoneyError::OutOfRange) } else { Ok(Self(nano)) }
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// For a database column.
    pub const fn as_i64(self) -> i64 {
        self.0 as i64
    }

    pub const fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        match self.0.checked_add(other.0) {
            Some(sum) => Self::new(sum),
            None => Err(MoneyError::OutOfRange),
        }
    }

    /// The difference, or [`MoneyError::OutOfRange`] where it would be negative.
    pub const fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Ok(Self(rest)),
            None => Err(MoneyError::OutOfRange),
        }
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl TryFrom<i64> for NanoUsd {
    type Error = MoneyError;

    fn try_from(nano: i64) -> Result<Self, MoneyError> {
        u64::try_from(nano).map(Self).map_err(|_| MoneyError::OutOfRange)
    }
}

impl TryFrom<u64> for NanoUsd {
    type Error = MoneyError;

    fn try_from(nano: u64) -> Result<Self, MoneyError> {
        Self::new(nano)
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / NANO_PER_USD, self.0 % NANO_PER_USD);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    /// Decimal USD: `12`, `0.000000001`.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Self::new(decimal(text, 9)?)
    }
}

impl Serialize for NanoUsd {
    /// As the integer.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A sum of pico-USD (10⁻¹² USD) on its way to a [`NanoUsd`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PicoUsd(u128);

impl PicoUsd {
    pub const ZERO: Self = Self(0);

    /// `count` tokens at `rate` pico-USD each. Two 64-bit factors always fit.
    pub const fn of_tokens(count: u64, rate: u64) -> Self {
        Self(count as u128 * rate as u128)
    }

    pub const fn new(pico: u64) -> Self {
        Self(pico as u128)
    }

    /// `count` pieces at `rate` nano-USD each.
    pub const fn of_pieces(count: u64, rate: u64) -> Result<Self, MoneyError> {
        match (count as u128 * rate as u128).checked_mul(PICO_PER_NANO) {
            Some(pico) => Ok(Self(pico)),
            None => Err(MoneyError::OutOfRange),
        }
    }

    pub const fn get(self) -> u128 {
        self.0
    }

    pub const fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        match self.0.checked_add(other.0) {
            Some(sum) => Ok(Self(sum)),
            None => Err(MoneyError::OutOfRange),
        }
    }

    /// The least whole number of nano-USD that covers this.
    pub fn to_nano_rounded_up(self) -> Result<NanoUsd, MoneyError> {
        let nano = self.0.div_ceil(PICO_PER_NANO);
        NanoUsd::new(u64::try_from(nano).map_err(|_| MoneyError::OutOfRange)?)
    }
}

/// Reads a list price in USD per million tokens (`"0.15"`) as pico-USD per token (150 000): six decimals are exact, more are
/// refused.
pub fn pico_per_token(usd_per_million: &str) -> Result<u64, MoneyError> {
    decimal(usd_per_million, 6)
}

/// Reads a price in USD per piece (`"0.04"`) as nano-USD per piece.
pub fn nano_per_piece(usd: &str) -> Result<u64, MoneyError> {
    decimal(usd, 9)
}

/// The digits of a plain decimal as an integer of 10^-`places`.
fn decimal(text: &str, places: u32) -> Result<u64, MoneyError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || (fraction.is_empty() && text.contains('.')) {
        return Err(MoneyError::NotDecimal);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > places as usize {
        return Err(MoneyError::TooFine(places));
    }
    let padding = std::iter::repeat_n(b'0', places as usize - fraction.len());
    whole.bytes().chain(fraction.bytes()).chain(padding).try_fold(0u64, |value, digit| {
        value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))).ok_or(MoneyError::OutOfRange)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn list_prices_are_exact() {
        assert_eq!(pico_per_token("0.15"), Ok(150_000));
        assert_eq!(pico_per_token("15"), Ok(15_000_000));
        assert_eq!(pico_per_token("0.0375"), Ok(37_500));
        assert_eq!(pico_per_token("2.500000000"), Ok(2_500_000));
        assert_eq!(pico_per_token("0.0000001"), Err(MoneyError::TooFine(6)));
        assert_eq!(nano_per_piece("0.04"), Ok(40_000_000));
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "$1", " 1", "1.2.3", "١"] {
            assert_eq!(pico_per_token(bad), Err(MoneyError::NotDecimal), "{bad}");
        }
        assert_eq!(pico_per_token("99999999999999999999"), Err(MoneyError::OutOfRange));
    }

    #[test]
    fn the_largest_amounts_are_errors_and_not_panics() {
        assert_eq!(NanoUsd::MAX.checked_add(NanoUsd(1)), Err(MoneyError::OutOfRange));
        assert_eq!(NanoUsd::ZERO.checked_sub(NanoUsd(1)), Err(MoneyError::OutOfRange));
        assert_eq!(PicoUsd::of_tokens(u64::MAX, u64::MAX).to_nano_rounded_up(), Err(MoneyError::OutOfRange));
        assert_eq!(PicoUsd::of_pieces(u64::MAX, u64::MAX), Err(MoneyError::OutOfRange));
        assert!(serde_json::from_str::<NanoUsd>("9223372036854775808").is_err());
    }

    proptest! {
        #[test]
        fn shown_amounts_read_back(nano in 0u64..=NanoUsd::MAX.0) {
            prop_assert_eq!(NanoUsd(nano).to_string().parse::<NanoUsd>(), Ok(NanoUsd(nano)));
        }

        #[test]
        fn rounding_covers_the_sum_by_less_than_one_nano(pico in 0u128..(1u128 << 70)) {
            let nano = u128::from(PicoUsd(pico).to_nano_rounded_up().unwrap().get());
            prop_assert!(nano * 1000 >= pico && nano * 1000 < pico + 1000);
        }
    }
}
