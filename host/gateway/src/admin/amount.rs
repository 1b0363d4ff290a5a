//! Amounts of money as the API has them: in answers each stands twice, as the integer `…_nano_usd` for programs and as the decimal
//! text `…_usd` for people. A body says one of the two.

use portcullis_core::NanoUsd;

use super::problem::Problem;

/// The amount that a body says by one of its two fields, where it says one.
///
/// # Errors
/// Where it says both, or something that is no amount.
pub fn said(name: &str, nano: Option<u64>, usd: Option<&str>) -> Result<Option<NanoUsd>, Problem> {
    match (nano, usd) {
        (None, None) => Ok(None),
        (Some(nano), None) => {
            let too_much = |_| Problem::invalid(format!("/{name}_nano_usd"), "This is more than the ledger counts.");
            NanoUsd::new(nano).map(Some).map_err(too_much)
        }
        (None, Some(usd)) => {
            let no_amount = |_| {
                let detail = "An amount is digits, a point where need be, and 9 decimals at most: \"12.50\".";
                Problem::invalid(format!("/{name}_usd"), detail)
            };
            usd.parse().map(Some).map_err(no_amount)
        }
        (Some(_), Some(_)) => Err(Problem::invalid(
            format!("/{name}_usd"),
            format!("Say the amount once, by {name}_nano_usd or by {name}_usd."),
        )),
    }
}

/// The same, of an amount that must be said.
pub fn required(name: &str, nano: Option<u64>, usd: Option<&str>) -> Result<NanoUsd, Problem> {
    said(name, nano, usd)?.ok_or_else(|| {
        Problem::invalid(format!("/{name}_usd"), format!("Say the amount, by {name}_nano_usd or by {name}_usd."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_said_once() {
        assert_eq!(said("limit", None, None).unwrap(), None);
        let two = NanoUsd::new(2_500_000_000).unwrap();
        assert_eq!(required("limit", Some(2_500_000_000), None).unwrap(), two);
        assert_eq!(required("limit", None, Some("2.50")).unwrap(), two);
        for (nano, usd, pointer) in [
            (Some(1), Some("1"), "/limit_usd"),
            (None, None, "/limit_usd"),
            (None, Some("-1"), "/limit_usd"),
            (None, Some("1e3"), "/limit_usd"),
            (None, Some("0.0000000001"), "/limit_usd"),
            (Some(u64::MAX), None, "/limit_nano_usd"),
        ] {
            let problem = required("limit", nano, usd).unwrap_err();
            assert_eq!((problem.code, problem.pointer.as_deref()), ("invalid", Some(pointer)), "{nano:?} {usd:?}");
        }
    }
}
