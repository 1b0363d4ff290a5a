//! What rules narrow a request to, and how narrowings add up.
//!
//! Invariant: adding one never widens. Numbers take the smaller, lists intersect, guards unite; of two tags of one name the first
//! rule's stays.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_plugin::prelude::{Constraints, Pair, Subject};
use serde::Deserialize;

use crate::conditions::Target;
use crate::glob::Glob;

/// A rule's `constrain`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Constrain {
    /// Only these, as `model` or `provider/model`.
    models: Option<Vec<Glob>>,
    /// Only these connections.
    providers: Option<Vec<Glob>>,
    /// Only targets in these regions; one of unknown region is outside.
    regions: Option<Vec<Glob>>,
    /// Only these functions may be offered.
    tools: Option<Vec<Glob>>,
    /// Tokens.
    max_output_tokens: Option<u32>,
    /// Guards, by plugin name, that must run.
    guards: Vec<String>,
    /// Added to the usage record.
    tags: BTreeMap<String, String>,
}

impl Constrain {
    pub fn fault(&self) -> Option<&'static str> {
        if *self == Constrain::default() {
            return Some("constrains nothing");
        }
        (self.max_output_tokens == Some(0)).then_some("max_output_tokens: must be at least 1")
    }
}

/// The sum of the narrowings of several rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Narrowing {
    models: Option<BTreeSet<String>>,
    providers: Option<BTreeSet<String>>,
    regions: Option<BTreeSet<String>>,
    tools: Option<BTreeSet<String>>,
    max_output_tokens: Option<u32>,
    guards: BTreeSet<String>,
    tags: BTreeMap<String, String>,
}

impl Narrowing {
    /// What can be said of a rule before a target is known. A list with a `*` cannot be handed to the gateway, which
    /// compares names: it narrows each attempt instead.
    pub fn before_routing(rule: &Constrain, subject: &Subject) -> Self {
        Narrowing {
            models: names(rule.models.as_deref()),
            providers: names(rule.providers.as_deref()),
            regions: names(rule.regions.as_deref()),
            tools: rule.tools.as_ref().map(|globs| {
                let offered = subject.tool_names.iter().filter(|name| globs.iter().any(|glob| glob.matches(name)));
                offered.cloned().chain(globs.iter().filter_map(Glob::literal).map(str::to_owned)).collect()
            }),
            max_output_tokens: rule.max_output_tokens,
            guards: rule.guards.iter().cloned().collect(),
            tags: rule.tags.clone(),
        }
    }

    /// Only the guards of a rule that may yet apply: they run before routing, and one too many does no harm.
    pub fn guards_only(rule: &Constrain) -> Self {
        Narrowing { guards: rule.guards.iter().cloned().collect(), ..Narrowing::default() }
    }

    /// What a rule says of one attempt: a target outside a list leaves that list empty, so that the gateway skips it, and so does
    /// a tool that must not be offered there.
    pub fn of_attempt(rule: &Constrain, subject: &Subject, target: &Target) -> Self {
        let outside = |globs: &Option<Vec<Glob>>, names: &[&str]| {
            let inside = |globs: &[Glob]| globs.iter().any(|glob| names.iter().any(|name| glob.matches(name)));
            globs.as_deref().filter(|globs| !inside(globs)).map(|_| BTreeSet::new())
        };
        let region: Vec<&str> = target.region.into_iter().collect();
        let refused_tool =
            subject.tool_names.iter().any(|name| outside(&rule.tools, &[name]).is_some()).then(BTreeSet::new);
        Narrowing {
            models: outside(&rule.models, &target.model_names()).or(refused_tool),
            providers: outside(&rule.providers, &[target.provider]),
            regions: outside(&rule.regions, &region),
            tools: None,
            max_output_tokens: rule.max_output_tokens,
            guards: rule.guards.iter().cloned().collect(),
            tags: rule.tags.clone(),
        }
    }

    /// Adds another's narrowings to this one's.
    pub fn add(&mut self, other: Narrowing) {
        let Narrowing { models, providers, regions, tools, max_output_tokens, guards, tags } = other;
        narrow(&mut self.models, models, common_models);
        narrow(&mut self.providers, providers, common);
        narrow(&mut self.regions, regions, common);
        narrow(&mut self.tools, tools, common);
        narrow(&mut self.max_output_tokens, max_output_tokens, |one, other| *one.min(other));
        self.guards.extend(guards);
        for (name, value) in tags {
            self.tags.entry(name).or_insert(value);
        }
    }

    /// As the contract has it; absent where nothing is narrowed.
    pub fn into_constraints(self) -> Option<Constraints> {
        if self == Narrowing::default() {
            return None;
        }
        let list = |names: Option<BTreeSet<String>>| names.map(|names| names.into_iter().collect());
        Some(Constraints {
            models: list(self.models),
            providers: list(self.providers),
            regions: list(self.regions),
            tools: list(self.tools),
            max_output_tokens: self.max_output_tokens,
            guards: self.guards.into_iter().collect(),
            tags: self.tags.into_iter().map(|(name, value)| Pair { name, value }).collect(),
            extra: Vec::new(),
        })
    }
}

/// The list's names, where none of them has a `*`.
fn names(globs: Option<&[Glob]>) -> Option<BTreeSet<String>> {
    globs?.iter().map(|glob| glob.literal().map(str::to_owned)).collect()
}

fn narrow<T>(kept: &mut Option<T>, other: Option<T>, both: impl Fn(&T, &T) -> T) {
    *kept = match (kept.take(), other) {
        (Some(one), Some(other)) => Some(both(&one, &other)),
        (one, other) => one.or(other),
    };
}

fn common(one: &BTreeSet<String>, other: &BTreeSet<String>) -> BTreeSet<String> {
    one.intersection(other).cloned().collect()
}

/// `provider/model` is within a list that names it, or `model` alone.
fn common_models(one: &BTreeSet<String>, other: &BTreeSet<String>) -> BTreeSet<String> {
    let holds = |list: &BTreeSet<String>, name: &str| {
        list.contains(name) || name.split_once('/').is_some_and(|(_, model)| list.contains(model))
    };
    one.union(other).filter(|name| holds(one, name) && holds(other, name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{attempt, subject};
    use proptest::collection::{btree_map, btree_set};
    use proptest::option;
    use proptest::prelude::*;

    fn rule(json: serde_json::Value) -> Constrain {
        serde_json::from_value(json).expect("constraints")
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn sum(one: &Narrowing, other: &Narrowing) -> Narrowing {
        let mut sum = one.clone();
        sum.add(other.clone());
        sum
    }

    #[test]
    fn models_meet_by_both_names() {
        assert_eq!(common_models(&set(&["gpt-5", "o3"]), &set(&["azure/gpt-5", "o3"])), set(&["azure/gpt-5", "o3"]));
        assert_eq!(common_models(&set(&["openai/gpt-5"]), &set(&["azure/gpt-5"])), set(&[]));
    }

    #[test]
    fn stars_wait_for_a_target() {
        use serde_json::json;
        let subject = subject();
        let rule = rule(json!({"models": ["gpt-5*"], "providers": ["azure", "openai"], "regions": ["eu-*"]}));
        let early = Narrowing::before_routing(&rule, &subject);
        assert_eq!((&early.models, &early.regions), (&None, &None));
        assert_eq!(early.providers, Some(set(&["azure", "openai"])));

        let at = |provider, model, region| {
            let attempt = attempt(provider, model, region);
            Narrowing::of_attempt(&rule, &subject, &Target::of(&attempt))
        };
        assert_eq!(at("azure", "gpt-5-mini", Some("eu-west")), Narrowing::default());
        assert_eq!(at("azure", "o3", Some("eu-west")).models, Some(set(&[])));
        assert_eq!(at("groq", "gpt-5", Some("eu-west")).providers, Some(set(&[])));
        assert_eq!(at("azure", "gpt-5", None).regions, Some(set(&[])), "an unknown region is outside");
    }

    #[test]
    fn tools_expand_to_what_is_offered() {
        use serde_json::json;
        let subject = subject();
        let tools = |json| Narrowing::before_routing(&rule(json), &subject).tools;
        assert_eq!(tools(json!({"tools": ["send_*", "noted"]})), Some(set(&["noted", "send_mail"])));
        assert_eq!(tools(json!({"tools": ["read_*"]})), Some(set(&[])));
        let attempt = attempt("a", "m", None);
        let at = |json| Narrowing::of_attempt(&rule(json), &subject, &Target::of(&attempt));
        assert_eq!(at(json!({"tools": ["send_*", "search"]})), Narrowing::default());
        assert_eq!(at(json!({"tools": ["send_*"]})).models, Some(set(&[])), "`search` is offered too");
    }

    fn list() -> impl Strategy<Value = Option<BTreeSet<String>>> {
        option::of(btree_set("[pq]/[ab]|[abc]", 0..5))
    }

    fn narrowing() -> impl Strategy<Value = Narrowing> {
        let lists = (list(), list(), list(), list());
        let rest = (option::of(1_u32..9), btree_set("[gh]", 0..3), btree_map("[st]", "[uv]", 0..3));
        (lists, rest).prop_map(|((models, providers, regions, tools), (max_output_tokens, guards, tags))| Narrowing {
            models,
            providers,
            regions,
            tools,
            max_output_tokens,
            guards,
            tags,
        })
    }

    /// What a list of models lets through, by the contract's reading.
    fn lets_through(models: &Option<BTreeSet<String>>, provider: &str, model: &str) -> bool {
        models.as_ref().is_none_or(|list| list.contains(model) || list.contains(&format!("{provider}/{model}")))
    }

    proptest! {
        #[test]
        fn adding_is_associative(a in narrowing(), b in narrowing(), c in narrowing()) {
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
        }

        #[test]
        fn adding_nothing_and_adding_again_change_nothing(a in narrowing()) {
            prop_assert_eq!(sum(&a, &Narrowing::default()), a.clone());
            prop_assert_eq!(sum(&Narrowing::default(), &a), a.clone());
            prop_assert_eq!(sum(&a, &a), a);
        }

        #[test]
        fn order_matters_to_tags_alone(a in narrowing(), b in narrowing()) {
            let without_tags = |narrowing: Narrowing| Narrowing { tags: BTreeMap::new(), ..narrowing };
            prop_assert_eq!(without_tags(sum(&a, &b)), without_tags(sum(&b, &a)));
        }

        #[test]
        fn a_sum_lets_through_what_both_let_through(a in narrowing(), b in narrowing(), provider in "[pq]", model in "[abc]") {
            let both = sum(&a, &b);
            prop_assert_eq!(
                lets_through(&both.models, &provider, &model),
                lets_through(&a.models, &provider, &model) && lets_through(&b.models, &provider, &model)
            );
            let within = |list: &Option<BTreeSet<String>>| list.as_ref().is_none_or(|list| list.contains(&model));
            prop_assert_eq!(within(&both.tools), within(&a.tools) && within(&b.tools));
            let limit = |narrowing: &Narrowing| narrowing.max_output_tokens.unwrap_or(u32::MAX);
            prop_assert_eq!(limit(&both), limit(&a).min(limit(&b)));
            prop_assert!(both.guards.is_superset(&a.guards) && both.guards.is_superset(&b.guards));
        }
    }
}
