//! The walk over whole configurations, and its invariant against every configuration a generator can think of.

use portcullis_plugin::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::rules::Rules;

pub fn subject() -> Subject {
    Subject {
        caller: Caller {
            key_id: "key_1".to_owned(),
            organisation: "acme".to_owned(),
            team: Some("research".to_owned()),
            user: Some("ada@acme.example".to_owned()),
            environment: "production".to_owned(),
            tags: vec![Pair::new("tier", "silver"), Pair::new("data", "public")],
            region: Some("eu-north".to_owned()),
        },
        operation: "chat".to_owned(),
        format: "openai-chat".to_owned(),
        model: "auto".to_owned(),
        stream: true,
        body_bytes: 4000,
        input_tokens: 1000,
        max_output_tokens: Some(500),
        tool_names: list(&["search", "send_mail"]),
        needs: list(&["tools", "vision"]),
    }
}

pub fn attempt(provider: &str, model: &str, region: Option<&str>) -> Attempt {
    Attempt {
        provider: provider.to_owned(),
        model: model.to_owned(),
        region: region.map(str::to_owned),
        number: 1,
        worst_cost: None,
    }
}

fn rules(config: Value) -> Rules {
    serde_json::from_value::<Config>(config).expect("a configuration").rules().expect("rules")
}

fn code(verdict: PolicyVerdict) -> String {
    match verdict {
        PolicyVerdict::Allow => "allow".to_owned(),
        PolicyVerdict::Deny(denial) => denial.code,
        PolicyVerdict::Constrain(_) => "constrain".to_owned(),
    }
}

#[test]
fn the_documented_example_is_a_configuration() {
    let documentation = include_str!("lib.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let example = documentation.skip_while(|line| *line != " ```toml").skip(1).take_while(|line| *line != " ```");
    let file: toml::Table = example.collect::<Vec<_>>().join("\n").parse().expect("TOML");
    let config = file["plugin"]["policy-rules"]["config"].clone();
    let rules = config.try_into::<Config>().expect("a configuration").rules().expect("rules");
    assert_eq!(rules.rules.len(), 4);
}

#[test]
fn the_first_that_ends_the_walk_wins() {
    let rules = rules(json!({"rules": [
        {"name": "not-this-one", "when": {"teams": "sales"}, "then": "deny"},
        {"name": "admins", "when": {"users": "ada@*"}, "then": "allow"},
        {"name": "nobody", "then": "deny"},
    ]}));
    assert_eq!(code(rules.before_routing(&subject(), 0)), "allow");
    let mut other = subject();
    other.caller.user = None;
    assert_eq!(code(rules.before_routing(&other, 0)), "policy.nobody");
}

#[test]
fn an_allow_on_the_target_defers_what_follows_it() {
    let rules = rules(json!({"default": "deny", "rules": [
        {"name": "azure", "when": {"providers": "azure"}, "then": "allow"},
        {"name": "scanned", "then": {"constrain": {"max_output_tokens": 10, "guards": ["pii"]}}},
        {"name": "streams", "when": {"stream": true}, "then": "deny"},
    ]}));
    let early = rules.before_routing(&subject(), 0);
    let expected = Constraints { guards: list(&["pii"]), ..Constraints::none() };
    assert_eq!(early, PolicyVerdict::Constrain(expected), "guards run in either case, the limit waits");
    assert_eq!(code(rules.at_target(&subject(), &attempt("azure", "m", None), 0)), "allow");
    assert_eq!(code(rules.at_target(&subject(), &attempt("openai", "m", None), 0)), "policy.streams");
    let whole = Subject { stream: false, ..subject() };
    assert_eq!(code(rules.at_target(&whole, &attempt("openai", "m", None), 0)), "policy.default");
}

#[test]
fn unless_may_look_at_the_target() {
    let rules = rules(json!({"rules": [
        {"name": "europe", "when": {"environments": "production"}, "unless": {"regions": "eu-*"}, "then": "deny"},
    ]}));
    assert_eq!(code(rules.before_routing(&subject(), 0)), "allow");
    assert_eq!(code(rules.at_target(&subject(), &attempt("a", "m", Some("eu-1")), 0)), "allow");
    assert_eq!(code(rules.at_target(&subject(), &attempt("a", "m", None), 0)), "policy.europe");
}

#[test]
fn a_target_constrained_to_nothing_is_skipped() {
    let rules = rules(json!({"rules": [
        {"name": "no-free-tier", "when": {"providers": "free"}, "then": {"constrain": {"providers": []}}},
    ]}));
    assert_eq!(code(rules.before_routing(&subject(), 0)), "allow");
    assert_eq!(code(rules.at_target(&subject(), &attempt("paid", "m", None), 0)), "allow");
    let skipped = Constraints { providers: Some(Vec::new()), ..Constraints::none() };
    assert_eq!(rules.at_target(&subject(), &attempt("free", "m", None), 0), PolicyVerdict::Constrain(skipped));
}

/// Conditions on the request alone, on the target alone, on both, on nothing.
fn conditions() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"stream": true}),
        json!({"teams": ["research", "x"]}),
        json!({"teams": "sales"}),
        json!({"providers": "p"}),
        json!({"models": ["q/*"]}),
        json!({"regions": "eu"}),
        json!({"providers": "q", "stream": true}),
        json!({"models": "a", "teams": "sales"}),
    ])
}

fn then() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("allow"),
        json!("deny"),
        json!({"constrain": {"providers": ["p"]}}),
        json!({"constrain": {"models": ["a", "q/b"]}}),
        json!({"constrain": {"models": ["p/*"], "max_output_tokens": 7}}),
        json!({"constrain": {"regions": ["eu", "us"], "max_output_tokens": 9}}),
        json!({"constrain": {"tools": ["search", "send_*"], "guards": ["pii"]}}),
        json!({"constrain": {"tools": ["search"]}}),
    ])
}

fn configuration() -> impl Strategy<Value = Value> {
    let rule = (prop::option::of(conditions()), prop::option::of(conditions()), then());
    (prop::collection::vec(rule, 0..6), prop::sample::select(vec!["allow", "deny"])).prop_map(|(rules, default)| {
        let rules: Vec<Value> = rules
            .into_iter()
            .enumerate()
            .map(|(index, (when, unless, then))| {
                let mut rule = json!({"name": format!("r{index}"), "then": then});
                for (key, value) in [("when", when), ("unless", unless)] {
                    if let Some(value) = value {
                        rule[key] = value;
                    }
                }
                rule
            })
            .collect();
        json!({"default": default, "rules": rules})
    })
}

/// Whether the gateway, by the contract, would go to this target under these constraints.
fn lets_through(verdict: &PolicyVerdict, subject: &Subject, attempt: &Attempt) -> bool {
    let within = |names: &Option<Vec<String>>, found: &[&str]| {
        names.as_ref().is_none_or(|names| names.iter().any(|name| found.contains(&name.as_str())))
    };
    match verdict {
        PolicyVerdict::Allow => true,
        PolicyVerdict::Deny(_) => false,
        PolicyVerdict::Constrain(constraints) => {
            let qualified = format!("{}/{}", attempt.provider, attempt.model);
            let region: Vec<&str> = attempt.region.as_deref().into_iter().collect();
            within(&constraints.models, &[&attempt.model, &qualified])
                && within(&constraints.providers, &[&attempt.provider])
                && within(&constraints.regions, &region)
                && subject.tool_names.iter().all(|tool| within(&constraints.tools, &[tool]))
        }
    }
}

fn limit(verdict: &PolicyVerdict) -> u32 {
    match verdict {
        PolicyVerdict::Constrain(constraints) => constraints.max_output_tokens.unwrap_or(u32::MAX),
        _ => u32::MAX,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The early decision is never stricter than the whole list at any target.
    #[test]
    fn nothing_is_decided_early_that_a_target_could_change(
        config in configuration(),
        provider in "[pq]",
        model in "[ab]",
        region in prop::option::of(prop::sample::select(vec!["eu", "us", "cn"])),
        stream: bool,
    ) {
        let rules = rules(config);
        let subject = Subject { stream, ..subject() };
        let attempt = attempt(&provider, &model, region);
        let (early, late) = (rules.before_routing(&subject, 0), rules.at_target(&subject, &attempt, 0));
        if lets_through(&late, &subject, &attempt) {
            prop_assert!(lets_through(&early, &subject, &attempt), "{early:?} but {late:?}");
            prop_assert!(limit(&early) >= limit(&late));
        }
    }

    /// Where no rule looks at a target and no list has a star, everything is decided before routing.
    #[test]
    fn without_targets_all_is_decided_early(stream: bool, deny_streams: bool, provider in "[pq]") {
        let then = if deny_streams { json!("deny") } else { json!({"constrain": {"providers": ["p"]}}) };
        let rules = rules(json!({"rules": [{"name": "r", "when": {"stream": true}, "then": then}]}));
        let subject = Subject { stream, ..subject() };
        let attempt = attempt(&provider, "m", None);
        let (early, late) = (rules.before_routing(&subject, 0), rules.at_target(&subject, &attempt, 0));
        prop_assert_eq!(lets_through(&early, &subject, &attempt), lets_through(&late, &subject, &attempt));
    }
}
