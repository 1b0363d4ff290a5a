//! Amounts of price files: JSON numbers, read as text into integers. No float is made of them (invariant 2).

/// An amount in some smallest unit. What is finer was rounded up, so that a price is never taken for less than it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub units: u64,
    pub rounded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("not a number")]
    NotANumber,
    #[error("below zero")]
    Negative,
    #[error("too large")]
    TooLarge,
}

/// Reads a JSON number as units of 10^-`places`.
///
/// # Errors
/// When it is no JSON number, is negative, or does not fit.
pub fn parse(text: &str, places: u32) -> Result<Amount, DecimalError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(DecimalError::NotANumber);
    }
    let digits = || whole.bytes().chain(fraction.bytes()).map(|digit| digit - b'0');
    if digits().all(|digit| digit == 0) {
        return Ok(Amount { units: 0, rounded: false });
    }
    if negative {
        return Err(DecimalError::Negative);
    }
    // How many of the digits stand before the point, once the number is in its units.
    let point = exponent.saturating_add(i64::from(places)).saturating_add(length(whole));
    let mut units = 0u64;
    let mut rest = false;
    for (at, digit) in (0i64..).zip(digits()) {
        if at < point {
            units = shifted(units, digit)?;
        } else {
            rest |= digit != 0;
        }
    }
    let mut missing = point - length(whole) - length(fraction);
    while missing > 0 && units > 0 {
        units = shifted(units, 0)?;
        missing -= 1;
    }
    if rest {
        units = units.checked_add(1).ok_or(DecimalError::TooLarge)?;
    }
    Ok(Amount { units, rounded: rest })
}

/// Writes units of 10^-`places` as a plain decimal.
pub fn show(units: u64, places: u32) -> String {
    let unit = 10u64.pow(places);
    let (whole, fraction) = (units / unit, format!("{:0width$}", units % unit, width = places as usize));
    match fraction.trim_end_matches('0') {
        "" => whole.to_string(),
        fraction => format!("{whole}.{fraction}"),
    }
}

fn exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    // Whatever is longer is beyond every amount, or below it.
    let size = digits.parse().unwrap_or(i64::from(u32::MAX)).min(i64::from(u32::MAX));
    Ok(if text.starts_with('-') { -size } else { size })
}

fn shifted(units: u64, digit: u8) -> Result<u64, DecimalError> {
    units.checked_mul(10).and_then(|units| units.checked_add(u64::from(digit))).ok_or(DecimalError::TooLarge)
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(units: u64) -> Result<Amount, DecimalError> {
        Ok(Amount { units, rounded: false })
    }

    #[test]
    fn published_prices_are_exact() {
        assert_eq!(parse("0.15", 6), exact(150_000));
        assert_eq!(parse("2.50", 6), exact(2_500_000));
        assert_eq!(parse("1.5e-07", 12), exact(150_000));
        assert_eq!(parse("2.5E-6", 12), exact(2_500_000));
        assert_eq!(parse("6e-09", 12), exact(6_000));
        assert_eq!(parse("0.0028", 6), exact(2_800));
        assert_eq!(parse("3", 6), exact(3_000_000));
        assert_eq!(parse("0.0", 6), exact(0));
        assert_eq!(parse("-0", 6), exact(0));
        // Double-precision arithmetic makes 7.000000000000001 of this.
        assert_eq!(parse("0.07", 2), exact(7));
    }

    #[test]
    fn what_is_finer_than_a_unit_is_rounded_up() {
        assert_eq!(parse("0.08333333333333334", 6), Ok(Amount { units: 83_334, rounded: true }));
        assert_eq!(parse("1e-30", 12), Ok(Amount { units: 1, rounded: true }));
        assert_eq!(parse("1e-99999999999999999999", 12), Ok(Amount { units: 1, rounded: true }));
        assert_eq!(parse("1.0000000", 6), exact(1_000_000));
    }

    #[test]
    fn what_is_no_price_is_an_error() {
        for bad in ["", "-", ".5", "1.", "1e", "1e+", "+1", "0x1", "1_000", "1,5", "NaN", "1e1.5", " 1", "\"1\"", "١"]
        {
            assert_eq!(parse(bad, 6), Err(DecimalError::NotANumber), "{bad}");
        }
        assert_eq!(parse("-0.5", 6), Err(DecimalError::Negative));
        for large in ["1e30", "1e99999999999999999999", "18446744073709.551616"] {
            assert_eq!(parse(large, 6), Err(DecimalError::TooLarge), "{large}");
        }
        assert_eq!(parse("18446744073709.551615", 6), exact(u64::MAX));
        assert_eq!(parse("0e999999999", 6), exact(0));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(units in any::<u64>(), places in 0u32..=12) {
            prop_assert_eq!(parse(&show(units, places), places), exact(units));
        }

        #[test]
        fn where_the_point_stands_is_all_the_same(units in 1u64..1_000_000_000_000, shift in 0i64..40) {
            // 123 × 10^-6 as 123e-6, 12.3e-5, 0.0000123e1, …
            let digits = format!("{:0>60}", units);
            let at = 60 - usize::try_from(shift).unwrap();
            let moved = format!("{}.{}0e{}", &digits[..at], &digits[at..], shift - 6);
            let trimmed = moved.trim_start_matches('0');
            let text = if trimmed.starts_with('.') { format!("0{trimmed}") } else { trimmed.to_owned() };
            prop_assert_eq!(parse(&text, 6), exact(units), "{}", text);
        }

        #[test]
        fn rounding_adds_less_than_one_unit(whole in 0u64..1_000_000, fraction in "[0-9]{1,30}", places in 0u32..=9) {
            let amount = parse(&format!("{whole}.{fraction}"), places).unwrap();
            let kept: String = fraction.chars().chain("000000000".chars()).take(places as usize).collect();
            let floor: u64 = format!("{whole}{kept}").parse().unwrap();
            let finer = fraction.chars().skip(places as usize).any(|digit| digit != '0');
            prop_assert_eq!(amount, Amount { units: floor + u64::from(finer), rounded: finer });
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,24}", places in 0u32..=12) {
            let _ = parse(&text, places);
        }
    }
}
