//! The operator's configuration, and its way to rules. Every error names the rule at fault.

use std::collections::BTreeSet;
use std::fmt;

use portcullis_plugin::prelude::Denial;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::conditions::Conditions;
use crate::constraints::Constrain;
use crate::rules::{Rule, Rules, Then};
use crate::time::Offset;

/// The table `[plugin.policy-rules.config]`. The crate's documentation shows one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What holds when no rule allows or denies: `"allow"` (the default), `"deny"`, or `{ deny = { … } }`.
    default: Value,
    /// The offset from UTC of time windows that name none: `"+02:00"`. UTC where it is left out.
    time_zone: Offset,
    /// In order. Read one by one, so that an error can name its rule.
    rules: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleConfig {
    /// Unique; lower-case letters, digits, dashes, dots and underscores. It stands in the denial's code.
    name: String,
    /// Applies where all of these hold; left out, always.
    #[serde(default)]
    when: Conditions,
    /// … except where all of these hold.
    unless: Option<Conditions>,
    then: ThenConfig,
}

/// How to refuse.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Deny {
    /// For the receipt and the client; `policy.NAME` of the rule where it is left out.
    code: Option<String>,
    /// 400 to 499; 403 where it is left out.
    status: Option<u16>,
    /// For the client.
    message: Option<String>,
}

/// `"allow"`, `"deny"`, `{ deny = { … } }` or `{ constrain = { … } }`.
#[derive(Debug)]
enum ThenConfig {
    Allow,
    Deny(Deny),
    Constrain(Constrain),
}

impl<'de> Deserialize<'de> for ThenConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ThenVisitor;

        impl<'de> Visitor<'de> for ThenVisitor {
            type Value = ThenConfig;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str(r#""allow", "deny", { deny = { … } } or { constrain = { … } }"#)
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<ThenConfig, E> {
                match word {
                    "allow" => Ok(ThenConfig::Allow),
                    "deny" => Ok(ThenConfig::Deny(Deny::default())),
                    other => Err(E::custom(format!("`{other}` is neither `allow` nor `deny`"))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ThenConfig, A::Error> {
                #[derive(Deserialize)]
                #[serde(rename_all = "lowercase")]
                enum Table {
                    Deny(Deny),
                    Constrain(Constrain),
                }
                Ok(match Table::deserialize(MapAccessDeserializer::new(map))? {
                    Table::Deny(deny) => ThenConfig::Deny(deny),
                    Table::Constrain(constrain) => ThenConfig::Constrain(constrain),
                })
            }
        }

        deserializer.deserialize_any(ThenVisitor)
    }
}

impl Config {
    pub fn rules(self) -> Result<Rules, String> {
        let default = match self.default {
            Value::Null => None,
            value => match typed(value).map_err(|why| format!("default: {why}"))? {
                ThenConfig::Allow => None,
                ThenConfig::Deny(deny) => {
                    let message = "No rule of the operator's policy allows this request.";
                    Some(deny.denial("default", message).map_err(|why| format!("default: {why}"))?)
                }
                ThenConfig::Constrain(_) => {
                    return Err(
                        "default: is `allow` or `deny`; to constrain every request, end with a rule without `when`"
                            .into(),
                    );
                }
            },
        };
        let mut names = BTreeSet::new();
        let rules = self.rules.into_iter().enumerate().map(|(index, value)| {
            let label = match value.get("name").and_then(Value::as_str) {
                Some(name) => format!("rule `{name}`"),
                None => format!("rule {}", index + 1),
            };
            let rule = typed::<RuleConfig>(value).and_then(|rule| {
                if !names.insert(rule.name.clone()) {
                    return Err("an earlier rule has this name".to_owned());
                }
                rule.checked()
            });
            rule.map_err(|why| format!("{label}: {why}"))
        });
        Ok(Rules { rules: rules.collect::<Result<_, _>>()?, default, offset: self.time_zone })
    }
}

impl RuleConfig {
    fn checked(self) -> Result<Rule, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err("name: lower-case letters, digits, dashes, dots and underscores".to_owned());
        }
        if let Some(fault) = self.when.fault() {
            return Err(format!("when.{fault}"));
        }
        if let Some(unless) = &self.unless {
            if unless.is_empty() {
                return Err("unless: always holds, so the rule never applies".to_owned());
            }
            if let Some(fault) = unless.fault() {
                return Err(format!("unless.{fault}"));
            }
        }
        let then = match self.then {
            ThenConfig::Allow => Then::Allow,
            ThenConfig::Deny(deny) => {
                let denial = deny.denial(&self.name, "The operator's policy does not allow this request.");
                Then::Deny(denial.map_err(|why| format!("then.deny.{why}"))?)
            }
            ThenConfig::Constrain(constrain) => {
                if let Some(fault) = constrain.fault() {
                    return Err(format!("then.constrain: {fault}"));
                }
                Then::Constrain(constrain)
            }
        };
        Ok(Rule { when: self.when, unless: self.unless, then })
    }
}

impl Deny {
    fn denial(self, name: &str, message: &str) -> Result<Denial, String> {
        let status = self.status.unwrap_or(403);
        if !(400..=499).contains(&status) {
            return Err(format!("status: {status} is not within 400 to 499"));
        }
        let code = self.code.unwrap_or_else(|| format!("policy.{name}"));
        if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("code: printable ASCII without spaces".to_owned());
        }
        Ok(Denial { code, status, message: self.message.unwrap_or_else(|| message.to_owned()) })
    }
}

/// Reads a value; an error says where within it.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner();
        if path == "." { why.to_string() } else { format!("{path}: {why}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(config: Value) -> String {
        let config: Config = serde_json::from_value(config).expect("a configuration");
        config.rules().expect_err("a fault")
    }

    #[test]
    fn errors_name_the_rule_and_the_place() {
        for (rule, expected) in [
            (json!({"name": "r", "when": {"team": "x"}, "then": "deny"}), "rule `r`: when.team: unknown field `team`"),
            (json!({"then": "deny"}), "rule 2: missing field `name`"),
            (json!({"name": "r"}), "rule `r`: missing field `then`"),
            (json!({"name": "r", "then": "forbid"}), "rule `r`: then: `forbid` is neither `allow` nor `deny`"),
            (json!({"name": "r", "then": {"deny": {"status": 500}}}), "rule `r`: then.deny.status: 500 is not within"),
            (json!({"name": "r", "then": {"deny": {"code": ""}}}), "rule `r`: then.deny.code: "),
            (json!({"name": "r", "then": {"deny": {}, "constrain": {}}}), "rule `r`: then"),
            (json!({"name": "r", "then": {"constrain": {}}}), "rule `r`: then.constrain: constrains nothing"),
            (json!({"name": "r", "then": {"constrain": {"max_output_tokens": 0}}}), "must be at least 1"),
            (json!({"name": "r", "then": {"constrain": {"model": []}}}), "unknown field `model`"),
            (json!({"name": "R 1", "then": "deny"}), "rule `R 1`: name: lower-case"),
            (json!({"name": "first", "then": "deny"}), "rule `first`: an earlier rule has this name"),
            (json!({"name": "r", "unless": {}, "then": "deny"}), "rule `r`: unless: always holds"),
            (json!({"name": "r", "when": {"input_tokens": {}}, "then": "deny"}), "rule `r`: when.input_tokens: needs"),
            (
                json!({"name": "r", "when": {"time": {"days": ["mo"]}}, "then": "deny"}),
                "when.time.days[0]: `mo` is not a day",
            ),
            (json!({"name": "r", "when": {"teams": []}, "then": "deny"}), "rule `r`: when.teams: an empty list"),
        ] {
            let why = error(json!({"rules": [{"name": "first", "then": "allow"}, rule]}));
            assert!(why.contains(expected), "{why}\nis not\n{expected}");
        }
    }

    #[test]
    fn the_default_allows_or_denies() {
        assert!(error(json!({"default": "perhaps"})).starts_with("default: "));
        assert!(error(json!({"default": {"constrain": {"guards": ["pii"]}}})).starts_with("default: "));
        let rules = |config| serde_json::from_value::<Config>(config).expect("a configuration").rules().expect("rules");
        assert!(rules(json!({})).default.is_none());
        assert!(rules(json!({"default": "allow"})).default.is_none());
        assert_eq!(rules(json!({"default": "deny"})).default.expect("a denial").code, "policy.default");
        let denial = rules(json!({"default": {"deny": {"status": 404, "code": "none"}}})).default.expect("a denial");
        assert_eq!((denial.status, denial.code.as_str()), (404, "none"));
    }

    #[test]
    fn unknown_keys_are_refused_everywhere() {
        assert!(serde_json::from_value::<Config>(json!({"rule": []})).is_err());
        assert!(serde_json::from_value::<Config>(json!({"time_zone": "Europe/Berlin"})).is_err());
        assert!(error(json!({"rules": [{"name": "a", "if": {}, "then": "deny"}]})).contains("unknown field `if`"));
        let nested = json!({"rules": [{"name": "a", "then": {"deny": {"reason": "x"}}}]});
        assert!(error(nested).contains("unknown field `reason`"));
    }
}
