//! `[tiers.NAME]` and `[[limit]]`: how much may be asked for.

use std::collections::BTreeMap;

use portcullis_core::Limits;
use serde::{Deserialize, Deserializer};

use super::{ConfigError, ScopeConfig};
use crate::limits::By;

/// `[tiers.NAME]`: the limits of the keys of a tier. A file that names a tier replaces what it is by default.
#[derive(Debug, Clone)]
pub struct TiersConfig(pub BTreeMap<String, Limits>);

impl Default for TiersConfig {
    /// Sizes at which a person, a small service, a product and a company's backbone are let alone.
    fn default() -> Self {
        let tier = |requests, tokens, concurrent| Limits {
            requests_per_minute: Some(requests),
            tokens_per_minute: Some(tokens),
            concurrent_requests: Some(concurrent),
            ..Limits::NONE
        };
        let free = Limits { requests_per_day: Some(500), tokens_per_day: Some(500_000), ..tier(20, 40_000, 4) };
        TiersConfig(BTreeMap::from([
            ("free".to_owned(), free),
            ("starter".to_owned(), tier(120, 400_000, 16)),
            ("pro".to_owned(), tier(1_200, 4_000_000, 128)),
            ("enterprise".to_owned(), tier(12_000, 40_000_000, 1_000)),
        ]))
    }
}

impl TiersConfig {
    /// The default tiers with those of the file over them.
    pub(super) fn deserialize_over_defaults<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<String, Limits>::deserialize(deserializer)?;
        let mut tiers = TiersConfig::default();
        tiers.0.extend(named);
        Ok(tiers)
    }
}

/// `[[limit]]`: a limit besides those of keys and tiers. Each value of `by` has a count of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// What is told apart: `key`, `team`, `organisation`, `address`, `model`, a list of those, or `[]` for one count of
    /// everything.
    #[serde(deserialize_with = "one_or_several")]
    pub by: Vec<By>,
    /// What counts together, and how headers and refusals call it. By default `by`, joined by hyphens. Of several entries of one
    /// name the first whose scope holds is the one that counts; entries of different names all count.
    pub name: Option<String>,
    /// Whose requests are counted; all by default.
    #[serde(default)]
    pub scope: ScopeConfig,
    pub requests_per_minute: Option<u64>,
    pub requests_per_hour: Option<u64>,
    pub requests_per_day: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub tokens_per_hour: Option<u64>,
    pub tokens_per_day: Option<u64>,
    pub concurrent_requests: Option<u64>,
}

impl LimitConfig {
    pub fn limits(&self) -> Limits {
        Limits {
            requests_per_minute: self.requests_per_minute,
            requests_per_hour: self.requests_per_hour,
            requests_per_day: self.requests_per_day,
            tokens_per_minute: self.tokens_per_minute,
            tokens_per_hour: self.tokens_per_hour,
            tokens_per_day: self.tokens_per_day,
            concurrent_requests: self.concurrent_requests,
        }
    }

    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| match &self.by[..] {
            [] => "gateway".to_owned(),
            by => by.iter().map(|by| by.as_str()).collect::<Vec<_>>().join("-"),
        })
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<By>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "`by` is `key`, `team`, `organisation`, `address`, `model`, or a list of those")]
    enum Given {
        One(By),
        Several(Vec<By>),
    }
    let mut by = match Given::deserialize(deserializer)? {
        Given::One(by) => vec![by],
        Given::Several(by) => by,
    };
    by.sort_unstable();
    by.dedup();
    Ok(by)
}

/// Distinct names at most: each may be counted for every request.
const MOST_NAMES: usize = 16;

pub(super) fn check(limits: &[LimitConfig]) -> Result<(), ConfigError> {
    let mut names: BTreeMap<String, &[By]> = BTreeMap::new();
    for (at, limit) in limits.iter().enumerate() {
        let place = |key: &str| format!("limit[{at}].{key}");
        let name = limit.name();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(ConfigError::invalid(place("name"), "is not made of letters, digits, `-`, `_` and `.`"));
        }
        if *names.entry(name.clone()).or_insert(&limit.by) != limit.by {
            return Err(ConfigError::invalid(place("by"), format!("differs from that of another `{name}`")));
        }
        if name == "key" && limit.by != [By::Key] {
            return Err(ConfigError::invalid(place("name"), "`key` is the name of what counts by key"));
        }
        if name == "key" && !limit.scope.models.is_empty() {
            return Err(ConfigError::invalid(
                place("scope.models"),
                "counts apart from all else that a key asks for: give this limit a name of its own",
            ));
        }
    }
    if names.len() > MOST_NAMES {
        return Err(ConfigError::invalid("limit", format!("has more than {MOST_NAMES} names")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parsed(text: &str) -> Result<Config, String> {
        let config = Config::parse(text, "t").map_err(|error| error.to_string())?;
        check(&config.limit).map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_tier_of_the_file_replaces_the_default_one_whole() {
        let tiers = parsed("[tiers.free]\ntokens_per_hour = 9\n[tiers.own]\n").unwrap().tiers.0;
        assert_eq!(tiers["free"], Limits { tokens_per_hour: Some(9), ..Limits::NONE });
        assert_eq!(tiers["own"], Limits::NONE);
        assert_eq!(tiers["pro"].requests_per_minute, Some(1_200));
        assert_eq!(parsed("").unwrap().tiers.0.len(), 4);
        assert!(
            parsed("[tiers.free]\nrequest_per_minute = 9\n")
                .unwrap_err()
                .contains("did you mean `requests_per_minute`")
        );
    }

    #[test]
    fn by_is_a_word_or_several() {
        let config = parsed(
            "[[limit]]\nby = \"address\"\n[[limit]]\nby = [\"model\", \"organisation\", \"model\"]\n[[limit]]\nby = []\n",
        );
        let names: Vec<String> = config.unwrap().limit.iter().map(LimitConfig::name).collect();
        assert_eq!(names, ["address", "organisation-model", "gateway"]);
        assert!(parsed("[[limit]]\nby = \"user\"\n").unwrap_err().contains("`organisation`"));
        assert!(parsed("[[limit]]\nrequests_per_minute = 1\n").is_err());
    }

    #[test]
    fn one_name_counts_one_thing() {
        let error =
            parsed("[[limit]]\nby = \"key\"\nname = \"x\"\n[[limit]]\nby = \"team\"\nname = \"x\"\n").unwrap_err();
        assert!(error.contains("limit[1].by"), "{error}");
        assert!(parsed("[[limit]]\nby = \"team\"\nname = \"key\"\n").is_err());
        assert!(parsed("[[limit]]\nby = \"team\"\nname = \"a b\"\n").is_err());
        assert!(
            parsed("[[limit]]\nby = \"key\"\nscope = { models = [\"x\"] }\n").unwrap_err().contains("scope.models")
        );
        parsed("[[limit]]\nby = \"team\"\n[[limit]]\nby = \"team\"\n[[limit]]\nby = \"team\"\nname = \"burst\"\n")
            .unwrap();
    }
}
