//! Money as the contract has it: integers, never floats.

/// Decimals of a pico-USD.
const DECIMALS: i64 = 12;

/// A decimal amount of USD as JSON writes it (`0.0015`, `1.2e-5`) in pico-USD, rounded up to a whole one; `None` where it is no
/// amount: below zero, no number, or more than fits.
///
/// ```
/// assert_eq!(portcullis_plugin::money::pico_usd("0.0015"), Some(1_500_000_000));
/// ```
pub fn pico_usd(usd: &str) -> Option<u64> {
    let (mantissa, exponent) = match usd.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (usd, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // What stands before this many digits is whole pico-USD.
    let places = i64::try_from(digits.len()).ok()? - i64::try_from(part.len()).ok()? + i64::from(exponent) + DECIMALS;
    let Ok(places) = usize::try_from(places) else { return Some(1) };
    if places > 20 {
        return None;
    }
    let kept: String = digits.chars().chain(std::iter::repeat('0')).take(places).collect();
    let pico = if kept.is_empty() { 0 } else { kept.parse::<u64>().ok()? };
    let more = digits.bytes().skip(places).any(|digit| digit != b'0');
    pico.checked_add(u64::from(more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_exact_or_rounded_up() {
        for (usd, pico) in [
            ("0", Some(0)),
            ("0.000", Some(0)),
            ("1", Some(1_000_000_000_000)),
            ("0.0037756", Some(3_775_600_000)),
            ("1.2e-5", Some(12_000_000)),
            ("12E-1", Some(1_200_000_000_000)),
            ("1e-12", Some(1)),
            ("1e-13", Some(1)),
            ("1e-40", Some(1)),
            ("0.0000000000015", Some(2)),
            ("18446744.073709551615", Some(u64::MAX)),
            ("18446744.073709551616", None),
            ("1e30", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            (".5", None),
            ("1e", None),
            ("NaN", None),
            ("1.2.3", None),
        ] {
            assert_eq!(pico_usd(usd), pico, "{usd}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_written(pico in any::<u64>(), shift in -20_i32..20) {
            let (whole, part) = (pico / 1_000_000_000_000, pico % 1_000_000_000_000);
            prop_assert_eq!(pico_usd(&format!("{whole}.{part:012}")), Some(pico));
            prop_assert_eq!(pico_usd(&format!("{pico}e-12")), Some(pico));
            prop_assert_eq!(pico_usd(&format!("{pico}.0e-012")), Some(pico));
            let _ = pico_usd(&format!("{pico}e{shift}"));
        }

        #[test]
        fn any_text_is_an_answer(text in "[-+0-9.eE]{0,40}") {
            let _ = pico_usd(&text);
        }
    }
}
