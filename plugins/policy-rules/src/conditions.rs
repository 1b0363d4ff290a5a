//! What a rule looks at: conditions on the request, and conditions on the target that an attempt is aimed at.
//!
//! Invariant: a name that a request does not have (no team, no region) matches no list, not even `*`.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_plugin::prelude::{Attempt, Subject};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::glob::Glob;
use crate::time::{Offset, Window};

/// Names with `*`, of which one must match: a string or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Names(Vec<Glob>);

impl Names {
    pub fn match_any<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        names.into_iter().any(|name| self.0.iter().any(|glob| glob.matches(name)))
    }

    fn match_some(&self, name: Option<&str>) -> bool {
        self.match_any(name)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a name or a list of names, with `*` for any run of characters")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Names, E> {
                if name.is_empty() {
                    return Err(E::custom("an empty name matches nothing"));
                }
                Ok(Names(vec![Glob::new(name)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Names, A::Error> {
                let names = Vec::deserialize(SeqAccessDeserializer::new(items))?;
                if names.is_empty() {
                    return Err(A::Error::custom(
                        "an empty list never matches; leave the condition out to match anything",
                    ));
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_any(NamesVisitor)
    }
}

/// A number's range. At least one end is given.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The number is greater than this.
    above: Option<u64>,
    /// The number is this or less.
    at_most: Option<u64>,
}

impl Range {
    /// `None` is a number without bound: above everything.
    fn contains(&self, number: Option<u64>) -> bool {
        self.above.is_none_or(|above| number.is_none_or(|number| number > above))
            && self.at_most.is_none_or(|most| number.is_some_and(|number| number <= most))
    }

    fn fault(&self) -> Option<&'static str> {
        match (self.above, self.at_most) {
            (None, None) => Some("needs `above`, `at_most` or both"),
            (Some(above), Some(most)) if above >= most => Some("never matches: `above` must be less than `at_most`"),
            _ => None,
        }
    }
}

/// Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    // The caller.
    /// Ids of keys.
    keys: Option<Names>,
    organisations: Option<Names>,
    teams: Option<Names>,
    users: Option<Names>,
    /// By a tag's name, its values. Every tag named here must be there with one of its values.
    tags: Option<BTreeMap<String, Names>>,
    /// `production`, `development`.
    environments: Option<Names>,
    /// Where the caller is, as its key says. Where the target is, is `regions`.
    caller_regions: Option<Names>,

    // The request.
    /// `chat`, …
    operations: Option<Names>,
    /// Wire formats of clients: `openai-chat`, `anthropic-messages`, …
    formats: Option<Names>,
    /// The model as the client wrote it: an alias, `auto` or `provider/model` too. What really answers is `models`.
    requested_models: Option<Names>,
    stream: Option<bool>,
    /// Function names: one of the offered tools matches.
    tools: Option<Names>,
    /// Capabilities: one that the request needs matches (`vision`, `tools`, …).
    needs: Option<Names>,
    /// Estimated tokens of input.
    input_tokens: Option<Range>,
    /// The client's own limit in tokens. A request without one is above every number.
    output_tokens: Option<Range>,
    /// Bytes of the body.
    body_bytes: Option<Range>,
    time: Option<Window>,

    // The target.
    /// Names of connections.
    providers: Option<Names>,
    /// The model an attempt is aimed at, as `model` or `provider/model`.
    models: Option<Names>,
    /// The target's region. A target of unknown region matches none.
    regions: Option<Names>,
}

impl Conditions {
    /// Whether they ask for what only an attempt knows.
    pub fn look_at_target(&self) -> bool {
        self.providers.is_some() || self.models.is_some() || self.regions.is_some()
    }

    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// What is wrong with them, and where.
    pub fn fault(&self) -> Option<String> {
        let ranges = [
            ("input_tokens", &self.input_tokens),
            ("output_tokens", &self.output_tokens),
            ("body_bytes", &self.body_bytes),
        ];
        let range = ranges
            .into_iter()
            .find_map(|(name, range)| range.as_ref()?.fault().map(|fault| format!("{name}: {fault}")));
        let time = || self.time.as_ref()?.fault().map(|fault| format!("time: {fault}"));
        let tags = || self.tags.as_ref()?.is_empty().then(|| "tags: names no tag".to_owned());
        range.or_else(time).or_else(tags)
    }

    pub fn match_request(&self, subject: &Subject, now: u64, offset: Offset) -> bool {
        let caller = &subject.caller;
        let name =
            |names: &Option<Names>, name: Option<&str>| names.as_ref().is_none_or(|names| names.match_some(name));
        let any = |names: &Option<Names>, list: &[String]| {
            names.as_ref().is_none_or(|names| names.match_any(list.iter().map(String::as_str)))
        };
        let range =
            |range: &Option<Range>, number: Option<u64>| range.as_ref().is_none_or(|range| range.contains(number));

        name(&self.keys, Some(&caller.key_id))
            && name(&self.organisations, Some(&caller.organisation))
            && name(&self.teams, caller.team.as_deref())
            && name(&self.users, caller.user.as_deref())
            && self.tags.iter().flatten().all(|(tag, values)| {
                values.match_any(caller.tags.iter().filter(|pair| pair.name == *tag).map(|pair| pair.value.as_str()))
            })
            && name(&self.environments, Some(&caller.environment))
            && name(&self.caller_regions, caller.region.as_deref())
            && name(&self.operations, Some(&subject.operation))
            && name(&self.formats, Some(&subject.format))
            && name(&self.requested_models, Some(&subject.model))
            && self.stream.is_none_or(|stream| stream == subject.stream)
            && any(&self.tools, &subject.tool_names)
            && any(&self.needs, &subject.needs)
            && range(&self.input_tokens, Some(subject.input_tokens))
            && range(&self.output_tokens, subject.max_output_tokens.map(u64::from))
            && range(&self.body_bytes, Some(subject.body_bytes))
            && self.time.as_ref().is_none_or(|window| window.contains(now, offset))
    }

    pub fn match_target(&self, target: &Target) -> bool {
        let name =
            |names: &Option<Names>, name: Option<&str>| names.as_ref().is_none_or(|names| names.match_some(name));
        name(&self.providers, Some(target.provider))
            && self.models.as_ref().is_none_or(|names| names.match_any(target.model_names()))
            && name(&self.regions, target.region)
    }
}

/// An attempt, with the two names its model goes by.
pub struct Target<'a> {
    pub provider: &'a str,
    pub region: Option<&'a str>,
    model: &'a str,
    qualified: String,
}

impl<'a> Target<'a> {
    pub fn of(attempt: &'a Attempt) -> Self {
        Target {
            provider: &attempt.provider,
            region: attempt.region.as_deref(),
            model: &attempt.model,
            qualified: format!("{}/{}", attempt.provider, attempt.model),
        }
    }

    pub fn model_names(&self) -> [&str; 2] {
        [self.model, &self.qualified]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{attempt, subject};

    fn conditions(json: serde_json::Value) -> Conditions {
        serde_json::from_value(json).expect("conditions")
    }

    fn holds(json: serde_json::Value, subject: &Subject) -> bool {
        conditions(json).match_request(subject, 0, Offset::default())
    }

    #[test]
    fn each_condition_looks_at_its_own_fact() {
        use serde_json::json;
        let subject = subject();
        for (yes, no) in [
            (json!({"keys": "key_*"}), json!({"keys": "other"})),
            (json!({"organisations": ["x", "acme"]}), json!({"organisations": ["x"]})),
            (json!({"teams": "research"}), json!({"teams": "sales"})),
            (json!({"users": "ada@*"}), json!({"users": "bob@*"})),
            (json!({"tags": {"tier": ["gold", "silver"]}}), json!({"tags": {"tier": "gold", "absent": "*"}})),
            (json!({"environments": "production"}), json!({"environments": "development"})),
            (json!({"caller_regions": "eu-*"}), json!({"caller_regions": "us-*"})),
            (json!({"operations": "chat"}), json!({"operations": "embeddings"})),
            (json!({"formats": "openai-*"}), json!({"formats": "anthropic-*"})),
            (json!({"requested_models": "auto"}), json!({"requested_models": "gpt-5"})),
            (json!({"stream": true}), json!({"stream": false})),
            (json!({"tools": ["send_*"]}), json!({"tools": ["delete_*"]})),
            (json!({"needs": "vision"}), json!({"needs": "audio-input"})),
            (json!({"input_tokens": {"above": 999}}), json!({"input_tokens": {"above": 1000}})),
            (json!({"input_tokens": {"at_most": 1000}}), json!({"input_tokens": {"at_most": 999}})),
            (json!({"output_tokens": {"above": 499, "at_most": 500}}), json!({"output_tokens": {"at_most": 499}})),
            (json!({"body_bytes": {"at_most": 4000}}), json!({"body_bytes": {"above": 4000}})),
            (json!({"time": {"days": ["thu"]}}), json!({"time": {"days": ["fri"]}})),
        ] {
            assert!(holds(yes.clone(), &subject), "{yes}");
            assert!(!holds(no.clone(), &subject), "{no}");
        }
    }

    #[test]
    fn all_must_hold() {
        use serde_json::json;
        assert!(holds(json!({}), &subject()));
        assert!(!holds(json!({"teams": "research", "stream": false}), &subject()));
    }

    #[test]
    fn what_is_not_there_matches_no_name() {
        use serde_json::json;
        let mut nobody = subject();
        (nobody.caller.team, nobody.caller.user, nobody.caller.region) = (None, None, None);
        nobody.tool_names.clear();
        for json in
            [json!({"teams": "*"}), json!({"users": "*"}), json!({"caller_regions": "*"}), json!({"tools": "*"})]
        {
            assert!(!holds(json.clone(), &nobody), "{json}");
        }
        nobody.max_output_tokens = None;
        assert!(holds(json!({"output_tokens": {"above": 1_000_000_000}}), &nobody));
        assert!(!holds(json!({"output_tokens": {"at_most": 1_000_000_000}}), &nobody));
    }

    #[test]
    fn targets_go_by_two_names() {
        use serde_json::json;
        let attempt = attempt("azure", "gpt-5", Some("eu-west"));
        let target = Target::of(&attempt);
        for (json, expected) in [
            (json!({"models": "gpt-5"}), true),
            (json!({"models": "azure/gpt-*"}), true),
            (json!({"models": "openai/gpt-5"}), false),
            (json!({"providers": "azure", "regions": "eu-*"}), true),
            (json!({"providers": "azure", "regions": "us-*"}), false),
        ] {
            assert_eq!(conditions(json.clone()).match_target(&target), expected, "{json}");
        }
        let nowhere = self::attempt("azure", "gpt-5", None);
        assert!(!conditions(json!({"regions": "*"})).match_target(&Target::of(&nowhere)));
    }

    #[test]
    fn conditions_that_cannot_hold_are_faults() {
        use serde_json::json;
        for json in [
            json!({"input_tokens": {}}),
            json!({"body_bytes": {"above": 5, "at_most": 5}}),
            json!({"time": {}}),
            json!({"tags": {}}),
        ] {
            assert!(conditions(json.clone()).fault().is_some(), "{json}");
        }
        for json in [json!({"teams": []}), json!({"teams": ""}), json!({"team": "x"}), json!({"teams": [""]})] {
            assert!(serde_json::from_value::<Conditions>(json.clone()).is_err(), "{json}");
        }
    }
}
