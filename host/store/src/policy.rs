//! What keys may do: the policies of an organisation, its team and the key, and what they come to together.
//!
//! A policy only narrows. A request passes where every layer lets it pass, so what counts is the narrowest word on each matter, and
//! no order of them matters. [`EffectivePolicy`] is made when a key is read, so that a request looks nothing up.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_core::Limits;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::StoreError;
use crate::pattern;

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// Names in one list of a policy.
const MOST: usize = 1_000;

/// What one layer allows. `None` allows anything, an empty list nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessPolicy {
    /// `model` or `provider/model`; `*` stands for any characters: `gpt-4o*`, `anthropic/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Connections by their names; `*` as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// Regions of connections (`eu-west-1`, `eu-*`). A connection that names none is then not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<String>>,
    /// Networks that requests may come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<IpNet>>,
    /// What a browser's `Origin` may be: `https://app.example.com`, `https://*.example.com`. A request without one is then refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    /// What `Referer` may be: `https://example.com/chat/*`, `*.example.com/*`. A request without one is then refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrers: Option<Vec<String>>,
    /// The tier of a key; of an organisation or team, that of keys which name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The highest tier: no limit of a key is above that tier's, whatever its own tier says. Of organisations and teams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tier: Option<String>,
    /// Limits of a key, which go over its tier's one by one, but never above those of a `max_tier`. Of keys only: what organisations and
    /// teams may ask for together stands in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Days after which a secret expires, whatever its key says. Of organisations and teams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_key_days: Option<u32>,
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyOrigin {
    Organisation,
    Team,
    Key,
    /// Nobody's: what holds where nothing is said.
    Default,
}

impl PolicyOrigin {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Team => "team",
            Self::Key => "key",
            Self::Default => "default",
        }
    }
}

/// What a request was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyField {
    Models,
    Providers,
    Regions,
    Cidrs,
    Origins,
    Referrers,
}

impl PolicyField {
    pub const ALL: [Self; 6] =
        [Self::Models, Self::Providers, Self::Regions, Self::Cidrs, Self::Origins, Self::Referrers];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Providers => "providers",
            Self::Regions => "regions",
            Self::Cidrs => "cidrs",
            Self::Origins => "origins",
            Self::Referrers => "referrers",
        }
    }
}

/// A request that a policy does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyDenial {
    pub field: PolicyField,
    pub origin: PolicyOrigin,
}

/// One line of an explanation: what holds and whose word it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyLine {
    pub field: String,
    pub value: Value,
    pub origin: PolicyOrigin,
}

impl AccessPolicy {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it can stand where it shall.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with a sentence.
    pub fn check(&self, origin: PolicyOrigin) -> Result<(), StoreError> {
        let invalid = |sentence: String| Err(StoreError::Invalid(sentence));
        for (field, list) in [
            ("models", &self.models),
            ("providers", &self.providers),
            ("regions", &self.regions),
            ("origins", &self.origins),
            ("referrers", &self.referrers),
        ] {
            let Some(list) = list else { continue };
            if list.len() > MOST {
                return invalid(format!("{field} has more than {MOST} entries"));
            }
            if let Some(bad) = list.iter().find(|entry| !is_word(entry)) {
                return invalid(format!("{field}: {bad:?} is no name or pattern"));
            }
        }
        for origin in self.origins.iter().flatten() {
            if !pattern::is_origin(origin) {
                return invalid(format!("origins: {origin:?} is not of the form https://host or https://*.host"));
            }
        }
        if self.cidrs.as_ref().is_some_and(|list| list.len() > MOST) {
            return invalid(format!("cidrs has more than {MOST} entries"));
        }
        for (field, tier) in [("tier", &self.tier), ("max_tier", &self.max_tier)] {
            if tier.as_ref().is_some_and(|tier| !is_word(tier)) {
                return invalid(format!("{field} is no name"));
            }
        }
        if origin == PolicyOrigin::Key && (self.max_tier.is_some() || self.max_key_days.is_some()) {
            return invalid("max_tier and max_key_days are of organisations and teams".to_owned());
        }
        if origin != PolicyOrigin::Key && self.limits.is_some() {
            return invalid(
                "limits are of keys; those of organisations and teams stand in the configuration".to_owned(),
            );
        }
        if self.max_key_days == Some(0) {
            return invalid("max_key_days is at least 1".to_owned());
        }
        Ok(())
    }
}

/// Something to be named: neither empty nor long, and of visible characters.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

/// What all layers come to for one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// Those that say anything; organisation, team, key.
    layers: Vec<(PolicyOrigin, AccessPolicy)>,
    /// When the secret of now expires, milliseconds since the Unix epoch.
    pub expires_ms: Option<(u64, PolicyOrigin)>,
}

impl EffectivePolicy {
    /// `since_ms` is when the key's secret was made.
    pub fn of(
        organisation: &AccessPolicy,
        team: Option<&AccessPolicy>,
        key: &AccessPolicy,
        since_ms: u64,
        expires_ms: Option<u64>,
    ) -> Self {
        let layers: Vec<_> = [
            (PolicyOrigin::Organisation, Some(organisation)),
            (PolicyOrigin::Team, team),
            (PolicyOrigin::Key, Some(key)),
        ]
        .into_iter()
        .filter_map(|(origin, policy)| Some((origin, policy?)))
        .filter(|(_, policy)| !policy.is_empty())
        .map(|(origin, policy)| (origin, policy.clone()))
        .collect();
        let own = expires_ms.map(|expires| (expires, PolicyOrigin::Key));
        let capped = layers.iter().filter_map(|(origin, policy)| {
            let days = u64::from(policy.max_key_days?);
            Some((since_ms.saturating_add(days * MS_PER_DAY), *origin))
        });
        let expires_ms = own.into_iter().chain(capped).min_by_key(|&(expires, _)| expires);
        Self { layers, expires_ms }
    }

    /// Whether there is nothing that a request must be asked about.
    pub fn is_open(&self) -> bool {
        self.layers.is_empty()
    }

    /// Whether a model of a connection may be used.
    pub fn allows(&self, provider: &str, model: &str, region: Option<&str>) -> Result<(), PolicyDenial> {
        for (origin, policy) in &self.layers {
            let denied = |field| Err(PolicyDenial { field, origin: *origin });
            let some = |list: &Option<Vec<String>>, matches: &dyn Fn(&str) -> bool| {
                list.as_ref().is_none_or(|list| list.iter().any(|entry| matches(entry)))
            };
            if !some(&policy.providers, &|entry| pattern::matches(entry, provider)) {
                return denied(PolicyField::Providers);
            }
            if !some(&policy.models, &|entry| pattern::matches_model(entry, provider, model)) {
                return denied(PolicyField::Models);
            }
            if !some(&policy.regions, &|entry| region.is_some_and(|region| pattern::matches(entry, region))) {
                return denied(PolicyField::Regions);
            }
        }
        Ok(())
    }

    /// Whether a request may come from where it comes. `origin` and `referrer` are its headers.
    pub fn allows_from(
        &self,
        address: IpAddr,
        origin: Option<&str>,
        referrer: Option<&str>,
    ) -> Result<(), PolicyDenial> {
        for (whose, policy) in &self.layers {
            let denied = |field| Err(PolicyDenial { field, origin: *whose });
            if policy.cidrs.as_ref().is_some_and(|list| !list.iter().any(|net| net.contains(&address))) {
                return denied(PolicyField::Cidrs);
            }
            for (field, list, header) in
                [(PolicyField::Origins, &policy.origins, origin), (PolicyField::Referrers, &policy.referrers, referrer)]
            {
                let Some(list) = list else { continue };
                if !header.is_some_and(|header| list.iter().any(|entry| pattern::matches_url(entry, header))) {
                    return denied(field);
                }
            }
        }
        Ok(())
    }

    /// The tier that the key is to have: its own word, else its team's, else its organisation's.
    pub fn tier(&self) -> Option<(&str, PolicyOrigin)> {
        self.layers.iter().rev().find_map(|(origin, policy)| Some((policy.tier.as_deref()?, *origin)))
    }

    /// The key's own limits.
    pub fn limits(&self) -> Option<&Limits> {
        self.layers.iter().find(|(origin, _)| *origin == PolicyOrigin::Key)?.1.limits.as_ref()
    }

    /// The tiers above whose limits none of its own is.
    pub fn max_tiers(&self) -> impl Iterator<Item = (&str, PolicyOrigin)> {
        self.layers.iter().filter_map(|(origin, policy)| Some((policy.max_tier.as_deref()?, *origin)))
    }

    /// Every matter with what holds and whose word it is. Where several layers have a word on one, each has its line: a request
    /// must pass them all.
    pub fn explain(&self) -> Vec<PolicyLine> {
        let mut lines = Vec::new();
        for field in PolicyField::ALL {
            let before = lines.len();
            for (origin, policy) in &self.layers {
                let value = match field {
                    PolicyField::Models => policy.models.as_ref().map(|list| json!(list)),
                    PolicyField::Providers => policy.providers.as_ref().map(|list| json!(list)),
                    PolicyField::Regions => policy.regions.as_ref().map(|list| json!(list)),
                    PolicyField::Cidrs => policy.cidrs.as_ref().map(|list| json!(list)),
                    PolicyField::Origins => policy.origins.as_ref().map(|list| json!(list)),
                    PolicyField::Referrers => policy.referrers.as_ref().map(|list| json!(list)),
                };
                if let Some(value) = value {
                    lines.push(PolicyLine { field: field.as_str().to_owned(), value, origin: *origin });
                }
            }
            if lines.len() == before {
                lines.push(PolicyLine {
                    field: field.as_str().to_owned(),
                    value: json!("*"),
                    origin: PolicyOrigin::Default,
                });
            }
        }
        let (tier, origin) = self.tier().map_or((Value::Null, PolicyOrigin::Default), |(tier, at)| (json!(tier), at));
        lines.push(PolicyLine { field: "tier".to_owned(), value: tier, origin });
        if let Some(limits) = self.limits() {
            lines.push(PolicyLine { field: "limits".to_owned(), value: json!(limits), origin: PolicyOrigin::Key });
        }
        lines.extend(self.max_tiers().map(|(tier, origin)| PolicyLine {
            field: "max_tier".to_owned(),
            value: json!(tier),
            origin,
        }));
        let (expires, origin) =
            self.expires_ms.map_or((Value::Null, PolicyOrigin::Default), |(at, origin)| (json!(at), origin));
        lines.push(PolicyLine { field: "expires_ms".to_owned(), value: expires, origin });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|&name| name.to_owned()).collect())
    }

    fn of(organisation: AccessPolicy, team: AccessPolicy, key: AccessPolicy) -> EffectivePolicy {
        EffectivePolicy::of(&organisation, Some(&team), &key, 0, None)
    }

    #[test]
    fn every_layer_must_let_it_pass() {
        let policy = of(
            AccessPolicy { models: names(&["gpt-4o*", "anthropic/*"]), ..Default::default() },
            AccessPolicy { providers: names(&["openai", "anthropic"]), ..Default::default() },
            AccessPolicy { models: names(&["*-mini"]), regions: names(&["eu-*"]), ..Default::default() },
        );
        let denial = |field, origin| Err(PolicyDenial { field, origin });
        use PolicyField as F;
        use PolicyOrigin as O;
        assert_eq!(policy.allows("openai", "gpt-4o-mini", Some("eu-west-1")), Ok(()));
        assert_eq!(policy.allows("azure", "gpt-4o-mini", Some("eu-west-1")), denial(F::Providers, O::Team));
        assert_eq!(policy.allows("openai", "gpt-5-mini", Some("eu-west-1")), denial(F::Models, O::Organisation));
        assert_eq!(policy.allows("openai", "gpt-4o", Some("eu-west-1")), denial(F::Models, O::Key));
        assert_eq!(policy.allows("anthropic", "claude-mini", Some("us-east-1")), denial(F::Regions, O::Key));
        assert_eq!(policy.allows("anthropic", "claude-mini", None), denial(F::Regions, O::Key));
        assert!(EffectivePolicy::default().is_open() && EffectivePolicy::default().allows("a", "b", None).is_ok());
        let closed = of(
            AccessPolicy::default(),
            AccessPolicy::default(),
            AccessPolicy { models: names(&[]), ..Default::default() },
        );
        assert_eq!(closed.allows("openai", "gpt", None), denial(F::Models, O::Key));
    }

    #[test]
    fn where_requests_come_from() {
        let policy = of(
            AccessPolicy { cidrs: Some(vec!["10.0.0.0/8".parse().unwrap()]), ..Default::default() },
            AccessPolicy::default(),
            AccessPolicy {
                cidrs: Some(vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()]),
                ..Default::default()
            },
        );
        let from = |text: &str| policy.allows_from(text.parse().unwrap(), None, None).map_err(|denial| denial.origin);
        assert_eq!(from("10.1.2.3"), Ok(()));
        assert_eq!(from("10.2.2.3"), Err(PolicyOrigin::Key));
        assert_eq!(from("192.168.1.1"), Err(PolicyOrigin::Organisation));
        assert_eq!(from("2001:db8::1"), Err(PolicyOrigin::Organisation));

        let browser = of(
            AccessPolicy::default(),
            AccessPolicy::default(),
            AccessPolicy {
                origins: names(&["https://*.example.com"]),
                referrers: names(&["*.example.com/chat/*"]),
                ..Default::default()
            },
        );
        let from = |origin, referrer| {
            browser.allows_from("::1".parse().unwrap(), origin, referrer).map_err(|denial| denial.field)
        };
        let (origin, referrer) = (Some("https://app.example.com"), Some("https://app.example.com/chat/1"));
        assert_eq!(from(origin, referrer), Ok(()));
        assert_eq!(from(None, referrer), Err(PolicyField::Origins));
        assert_eq!(from(Some("https://evil.com"), referrer), Err(PolicyField::Origins));
        assert_eq!(from(origin, Some("https://evil.com/.example.com/chat/1")), Err(PolicyField::Referrers));
        assert_eq!(from(origin, None), Err(PolicyField::Referrers));
    }

    #[test]
    fn the_earliest_end_holds() {
        let days = |days| AccessPolicy { max_key_days: Some(days), ..Default::default() };
        let end = |organisation, team: &AccessPolicy, expires| {
            EffectivePolicy::of(&organisation, Some(team), &AccessPolicy::default(), 1_000, expires).expires_ms
        };
        assert_eq!(end(AccessPolicy::default(), &AccessPolicy::default(), None), None);
        assert_eq!(end(days(2), &days(1), None), Some((1_000 + MS_PER_DAY, PolicyOrigin::Team)));
        assert_eq!(end(days(2), &days(1), Some(5)), Some((5, PolicyOrigin::Key)));
        assert_eq!(
            end(days(2), &AccessPolicy::default(), Some(u64::MAX)),
            Some((1_000 + 2 * MS_PER_DAY, PolicyOrigin::Organisation))
        );
    }

    #[test]
    fn every_field_is_explained() {
        let policy = of(
            AccessPolicy {
                models: names(&["gpt-*"]),
                tier: Some("free".into()),
                max_tier: Some("pro".into()),
                ..Default::default()
            },
            AccessPolicy { max_key_days: Some(1), ..Default::default() },
            AccessPolicy { models: names(&["gpt-4o"]), tier: Some("pro".into()), ..Default::default() },
        );
        let shown: Vec<String> = policy
            .explain()
            .iter()
            .map(|line| format!("{} {} {}", line.field, line.value, line.origin.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                r#"models ["gpt-*"] organisation"#,
                r#"models ["gpt-4o"] key"#,
                r#"providers "*" default"#,
                r#"regions "*" default"#,
                r#"cidrs "*" default"#,
                r#"origins "*" default"#,
                r#"referrers "*" default"#,
                r#"tier "pro" key"#,
                r#"max_tier "pro" organisation"#,
                "expires_ms 86400000 team",
            ]
        );
    }

    #[test]
    fn what_cannot_stand_is_refused() {
        let refused = |policy: AccessPolicy, origin| policy.check(origin).unwrap_err().to_string();
        let key = PolicyOrigin::Key;
        assert!(refused(AccessPolicy { models: names(&["a b"]), ..Default::default() }, key).contains("models"));
        assert!(refused(AccessPolicy { providers: names(&[""]), ..Default::default() }, key).contains("providers"));
        assert!(
            refused(AccessPolicy { origins: names(&["example.com/x"]), ..Default::default() }, key).contains("https")
        );
        assert!(refused(AccessPolicy { max_key_days: Some(1), ..Default::default() }, key).contains("organisations"));
        assert!(AccessPolicy { max_key_days: Some(1), ..Default::default() }.check(PolicyOrigin::Team).is_ok());
        let unknown = serde_json::from_str::<AccessPolicy>(r#"{"modles": ["a"]}"#);
        assert!(unknown.unwrap_err().to_string().contains("modles"));
    }
}
