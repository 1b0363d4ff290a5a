//! Plans as a whole: who is left out, who wins, and the laws that hold for any candidates.

use portcullis_plugin::prelude::*;
use proptest::prelude::*;

use crate::config::{Config, Settings};
use crate::rank::plan;

pub fn features() -> Features {
    Features {
        operation: "chat".to_owned(),
        model: "auto".to_owned(),
        body_bytes: 2000,
        input_tokens: 500,
        max_output_tokens: None,
        stream: false,
        tool_names: Vec::new(),
        needs: Vec::new(),
        messages: 1,
        prompt: None,
    }
}

fn candidate() -> Candidate {
    Candidate {
        provider: "p".to_owned(),
        model: "m".to_owned(),
        context: 128_000,
        max_output: 16_000,
        capabilities: list(&["tools", "vision"]),
        quality: Some(70.0),
        input_price: Some(1_000_000),
        output_price: Some(4_000_000),
        region: None,
        latency: 400.0,
        error_rate: 0.0,
        in_flight: 0,
        breaker: Breaker::Closed,
        cooling: 0,
        extra: Vec::new(),
    }
}

fn rank(features: &Features, preferences: &[Pair], candidates: &[Candidate]) -> Plan {
    let settings = Settings::new(Config::default()).expect("settings");
    let wishes = settings.wishes(preferences).expect("wishes");
    plan(features, &wishes, &settings, candidates)
}

fn order(plan: &Plan) -> Vec<u32> {
    plan.ranked.iter().map(|ranked| ranked.candidate).collect()
}

fn codes(plan: &Plan) -> Vec<(u32, &str)> {
    plan.rejected.iter().map(|rejected| (rejected.candidate, rejected.code.as_str())).collect()
}

#[test]
fn the_documented_example_is_a_configuration() {
    let documentation = include_str!("lib.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let example = documentation.skip_while(|line| *line != " ```toml").skip(1).take_while(|line| *line != " ```");
    let file: toml::Table = example.collect::<Vec<_>>().join("\n").parse().expect("TOML");
    let config: Config = file["plugin"]["router-heuristic"]["config"].clone().try_into().expect("a configuration");
    let settings = Settings::new(config).expect("settings");
    assert_eq!(settings.classes.last().map(|class| class.name.as_ref()), Some("legal"));
}

/// The table of weights and that of classes in the documentation are the code's.
#[test]
fn the_documented_tables_are_the_code_s() {
    let documentation = include_str!("lib.rs");
    for (name, traits) in crate::standard::CLASSES {
        let row = format!("//! | `{name}` | {} | {} | ", traits.quality, traits.floor);
        assert!(documentation.contains(&row), "{row}");
    }
    let settings = Settings::new(Config::default()).expect("settings");
    for goal in ["price", "latency", "quality", "balanced"] {
        let weights = settings.wishes(&[Pair::new("optimise", goal)]).expect("wishes").weights;
        let crate::config::Weights { price, latency, quality, health } = weights;
        let row = format!("//! | `{goal}` | {price:.2} | {latency:.2} | {quality:.2} | {health:.2} |");
        assert!(documentation.contains(&row), "{row}");
    }
}

#[test]
fn what_cannot_is_never_ranked() {
    let features = Features {
        needs: list(&["vision"]),
        tool_names: list(&["f"]),
        input_tokens: 10_000,
        max_output_tokens: Some(4_000),
        ..features()
    };
    let candidates = [
        Candidate { capabilities: list(&["tools"]), ..candidate() },
        Candidate { capabilities: list(&["vision"]), ..candidate() },
        // 10,000 and 5 % and 4,000.
        Candidate { context: 14_499, ..candidate() },
        Candidate { context: 14_500, ..candidate() },
        Candidate { context: 11_500, max_output: 1_000, ..candidate() },
        Candidate { context: 0, max_output: 0, ..candidate() },
    ];
    let plan = rank(&features, &[], &candidates);
    assert_eq!(codes(&plan), [(0, "lacks:vision"), (1, "lacks:tools"), (2, "context")]);
    assert_eq!(order(&plan), [3, 4, 5]);
}

#[test]
fn the_unhealthy_wait_until_nothing_else_is_there() {
    let open = Candidate { breaker: Breaker::Open, quality: Some(99.0), ..candidate() };
    let cooling = Candidate { cooling: 5_000, ..candidate() };
    let sooner = Candidate { cooling: 1_000, quality: Some(10.0), ..candidate() };
    let tried = Candidate { breaker: Breaker::HalfOpen, in_flight: 1, ..candidate() };
    let weak = Candidate { quality: Some(1.0), error_rate: 0.5, ..candidate() };
    let all = [open, cooling, sooner, tried, weak];
    let plan = rank(&features(), &[], &all);
    assert_eq!((order(&plan), codes(&plan)), (vec![4, 3], vec![(0, "breaker-open"), (1, "cooling"), (2, "cooling")]));
    let plan = rank(&features(), &[], &all[..4]);
    assert_eq!((order(&plan), codes(&plan)), (vec![3, 2, 1, 0], vec![]));
    assert!(plan.reason.contains("unhealthy=on-trial"), "{}", plan.reason);
    let plan = rank(&features(), &[], &all[..1]);
    assert!(plan.reason.contains("unhealthy=breaker-open"), "{}", plan.reason);
}

#[test]
fn a_trial_goes_to_a_clear_winner() {
    let half_open = Candidate { breaker: Breaker::HalfOpen, ..candidate() };
    assert_eq!(order(&rank(&features(), &[], &[half_open.clone(), candidate()])), [1, 0]);
    let dear = Candidate { input_price: Some(30_000_000), output_price: Some(90_000_000), ..candidate() };
    assert_eq!(order(&rank(&features(), &[], &[dear, half_open])), [1, 0]);
}

#[test]
fn goals_choose_differently() {
    let cheap =
        Candidate { quality: Some(55.0), input_price: Some(50_000), output_price: Some(200_000), ..candidate() };
    let fast = Candidate { latency: 60.0, quality: Some(60.0), ..candidate() };
    let good = Candidate { quality: Some(95.0), input_price: Some(5_000_000), latency: 900.0, ..candidate() };
    let all = [cheap, fast, good];
    let features = Features { prompt: Some("Refactor this python function".to_owned()), ..features() };
    let winner = |goal: &str| order(&rank(&features, &[Pair::new("optimise", goal)], &all))[0];
    assert_eq!((winner("price"), winner("latency"), winner("quality")), (0, 1, 2));
}

#[test]
fn simple_requests_go_to_cheap_models_and_hard_ones_to_good_models() {
    let small =
        Candidate { quality: Some(55.0), input_price: Some(150_000), output_price: Some(600_000), ..candidate() };
    let large =
        Candidate { quality: Some(92.0), input_price: Some(3_000_000), output_price: Some(9_000_000), ..candidate() };
    let all = [small, large];
    let winner = |prompt: &str| {
        let features = Features { prompt: Some(prompt.to_owned()), ..features() };
        order(&rank(&features, &[], &all))[0]
    };
    assert_eq!(winner("Quick question: what is the capital of Peru?"), 0);
    assert_eq!(winner("Prove the theorem step by step"), 1);
}

#[test]
fn below_the_floor_or_short_of_breath_comes_after() {
    let features = Features { prompt: Some("Debug this python code".to_owned()), ..features() };
    let below = Candidate { quality: Some(39.0), input_price: Some(0), output_price: Some(0), ..candidate() };
    let short = Candidate { quality: Some(95.0), max_output: 100, ..candidate() };
    let plan = rank(&features, &[], &[below.clone(), short, candidate()]);
    assert_eq!(order(&plan)[0], 2);
    assert_eq!(plan.ranked.len(), 3);
    let alone = rank(&features, &[], &[below]);
    assert!(alone.reason.ends_with("floor=40"), "{}", alone.reason);
}

#[test]
fn nothing_able_is_an_empty_plan_that_says_so() {
    let features = Features { needs: list(&["audio-input"]), ..features() };
    let plan = rank(&features, &[], &[candidate(), candidate()]);
    assert_eq!((plan.ranked.len(), codes(&plan).len()), (0, 2));
    assert_eq!(plan.reason, "class=general candidates=2 able=0");
    assert_eq!(rank(&features, &[], &[]).reason, "class=general candidates=0 able=0");
}

#[test]
fn the_reason_holds_no_content() {
    let features = Features {
        prompt: Some("Refactor the python of Project Bluebird".to_owned()),
        tool_names: list(&["secret_tool"]),
        ..features()
    };
    let plan = rank(
        &features,
        &[],
        &[candidate(), Candidate { quality: None, latency: 0.0, input_price: None, ..candidate() }],
    );
    assert!(plan.reason.starts_with("class=code quality=70 price_usd=0.0037 latency_ms=400 error_rate=0.00 score="));
    let said = format!("{plan:?}");
    assert!(!said.contains("Bluebird") && !said.contains("secret"));
    assert!(!rank(&features, &[], &[]).reason.contains("secret"));
}

#[test]
fn what_is_missing_counts_against() {
    let unknown = Candidate { quality: None, input_price: None, output_price: None, latency: 0.0, ..candidate() };
    let plan = rank(&features(), &[], &[unknown.clone(), candidate()]);
    assert_eq!(order(&plan), [1, 0]);
    let plan = rank(&features(), &[], &[unknown]);
    assert!(plan.reason.contains("quality=unknown price_usd=unknown latency_ms=unknown"), "{}", plan.reason);
    let wrong = Candidate { latency: f32::NAN, error_rate: f32::NAN, quality: Some(f32::NAN), ..candidate() };
    let plan = rank(&features(), &[], &[wrong, candidate()]);
    assert_eq!(order(&plan), [1, 0]);
    assert!(plan.ranked.iter().all(|ranked| ranked.score.is_finite()));
}

fn any_breaker() -> impl Strategy<Value = Breaker> {
    prop_oneof![4 => Just(Breaker::Closed), 1 => Just(Breaker::HalfOpen), 1 => Just(Breaker::Open)]
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let model = (
        prop_oneof![Just(0_u32), 1_000_u32..200_000],
        0_u32..20_000,
        prop::sample::subsequence(vec!["tools", "vision", "reasoning"], 0..=3),
        prop::option::of(0.0_f32..=100.0),
        prop::option::of(0_u64..100_000_000),
        prop::option::of(0_u64..100_000_000),
    );
    let live =
        (0.0_f32..5_000.0, 0.0_f32..=1.0, 0_u32..200, any_breaker(), prop_oneof![4 => Just(0_u64), 1 => 1_u64..60_000]);
    (model, live).prop_map(|(model, live)| {
        let (context, max_output, capabilities, quality, input_price, output_price) = model;
        let (latency, error_rate, in_flight, breaker, cooling) = live;
        let capabilities = list(&capabilities);
        Candidate {
            context,
            max_output,
            capabilities,
            quality,
            input_price,
            output_price,
            latency,
            error_rate,
            in_flight,
            breaker,
            cooling,
            ..candidate()
        }
    })
}

fn any_features() -> impl Strategy<Value = Features> {
    let prompts = vec!["", "debug my code", "prove it", "translate this", "hello"];
    (
        0_u64..100_000,
        prop::option::of(1_u32..30_000),
        prop::sample::subsequence(vec!["tools", "vision", "reasoning"], 0..=2),
        any::<bool>(),
        prop::option::of(prop::sample::select(prompts)),
    )
        .prop_map(|(input_tokens, max_output_tokens, needs, offers_tool, prompt)| Features {
            input_tokens,
            max_output_tokens,
            needs: list(&needs),
            tool_names: if offers_tool { list(&["f"]) } else { Vec::new() },
            prompt: prompt.map(str::to_owned),
            ..features()
        })
}

fn any_preferences() -> impl Strategy<Value = Vec<Pair>> {
    prop::option::of(prop::sample::select(vec!["price", "latency", "quality", "balanced"]))
        .prop_map(|goal| goal.map(|goal| Pair::new("optimise", goal)).into_iter().collect())
}

/// No better than the other in anything, and worse where `worsen` has a bit.
fn dominated(other: &Candidate, worsen: u8) -> Candidate {
    let mut worse = other.clone();
    let bit = |place: u8| worsen & (1 << place) != 0;
    let dearer = |price: Option<u64>| price.map(|price| price + 1_000);
    if bit(0) {
        (worse.input_price, worse.output_price) = (dearer(worse.input_price), dearer(worse.output_price));
    }
    if bit(1) && worse.latency > 0.0 {
        worse.latency += 10.0;
    }
    if bit(2) {
        worse.quality = worse.quality.map(|quality| (quality - 1.0).max(0.0));
    }
    if bit(3) {
        worse.error_rate = (worse.error_rate + 0.01).min(1.0);
    }
    if bit(4) {
        worse.in_flight += 1;
    }
    if bit(5) {
        worse.capabilities.pop();
    }
    if bit(6) {
        worse.breaker = Breaker::Open;
    }
    if bit(7) {
        worse.cooling += 1_000;
    }
    worse
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn everyone_is_ranked_once_or_rejected_once(
        features in any_features(),
        preferences in any_preferences(),
        candidates in prop::collection::vec(any_candidate(), 0..8),
    ) {
        let plan = rank(&features, &preferences, &candidates);
        let mut seen = order(&plan);
        seen.extend(plan.rejected.iter().map(|rejected| rejected.candidate));
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..candidates.len() as u32));
        let again = rank(&features, &preferences, &candidates);
        prop_assert_eq!(plan, again);
    }

    #[test]
    fn what_is_ranked_has_what_is_needed(
        features in any_features(),
        preferences in any_preferences(),
        candidates in prop::collection::vec(any_candidate(), 1..8),
    ) {
        let plan = rank(&features, &preferences, &candidates);
        let able = |candidate: &Candidate| {
            let needs = features.needs.iter().map(String::as_str);
            let tools = (!features.tool_names.is_empty()).then_some("tools");
            let asked = u64::from(features.max_output_tokens.unwrap_or(0));
            let most = if candidate.max_output == 0 { u64::MAX } else { u64::from(candidate.max_output) };
            needs.chain(tools).all(|need| candidate.capabilities.iter().any(|capability| capability == need))
                && (candidate.context == 0 || features.input_tokens + asked.min(most) <= u64::from(candidate.context))
        };
        let healthy = |candidate: &Candidate| candidate.breaker == Breaker::Closed && candidate.cooling == 0;
        for ranked in &plan.ranked {
            let chosen = &candidates[ranked.candidate as usize];
            prop_assert!(able(chosen));
            prop_assert!((0.0..=1.0).contains(&ranked.score));
            if plan.ranked.iter().any(|other| healthy(&candidates[other.candidate as usize])) {
                prop_assert!(chosen.breaker != Breaker::Open && chosen.cooling == 0);
            }
        }
    }

    #[test]
    fn one_that_is_dominated_changes_nothing(
        features in any_features(),
        preferences in any_preferences(),
        mut candidates in prop::collection::vec(any_candidate(), 1..6),
        dominator: prop::sample::Index,
        place: prop::sample::Index,
        worsen in 1_u8..,
    ) {
        let before = rank(&features, &preferences, &candidates);
        let base = dominator.get(&candidates).clone();
        let worse = dominated(&base, worsen);
        prop_assume!(worse != base);
        // Ahead of its dominator a tie in everything scored would fall to it: then it differs in nothing that is scored.
        let scored_alike = Candidate { capabilities: base.capabilities.clone(), ..worse.clone() } == base;
        let place = if scored_alike { candidates.len() } else { place.index(candidates.len() + 1) };
        candidates.insert(place, worse);
        let after = rank(&features, &preferences, &candidates);
        let back = |index: u32| if index as usize > place { index - 1 } else { index };
        prop_assert_eq!(order(&after).first().map(|&index| (index as usize == place, back(index))),
            order(&before).first().map(|&index| (false, index)));
    }

    #[test]
    fn scores_follow_price_latency_and_quality(
        features in any_features(),
        preferences in any_preferences(),
        base in any_candidate(),
        dearer in 1_u64..10_000_000,
        slower in 50.0_f32..2_000.0,
        better in 0.5_f32..50.0,
    ) {
        let features = Features { needs: Vec::new(), tool_names: Vec::new(), max_output_tokens: None, ..features };
        let base = Candidate {
            context: 0,
            input_price: Some(base.input_price.unwrap_or(0)),
            output_price: Some(base.output_price.unwrap_or(0)),
            latency: base.latency + 1.0,
            quality: Some(base.quality.unwrap_or(0.0).min(50.0)),
            ..base
        };
        let score = |candidate: Candidate| rank(&features, &preferences, &[candidate]).ranked[0].score;
        let at = score(base.clone());
        let price = |price: Option<u64>| price.map(|price| price + dearer);
        let dear = Candidate { input_price: price(base.input_price), output_price: price(base.output_price), ..base.clone() };
        prop_assert!(score(dear) <= at);
        let slow = Candidate { latency: base.latency + slower, ..base.clone() };
        prop_assert!(score(slow) < at);
        let good = Candidate { quality: base.quality.map(|quality| quality + better), ..base };
        prop_assert!(score(good) > at);
    }
}
