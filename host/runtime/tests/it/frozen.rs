//! Contract 0.1.0 is frozen: its text never changes, and a component that was built against it on that day goes on loading and being
//! understood, whatever the host has become.
//!
//! The component is `tests/frozen/contract-0.1.0.wasm`. It was built from `tests/guests/examples/frozen.rs` by `cargo rustc --profile plugin
//! --target wasm32-unknown-unknown -p portcullis-runtime-guests --example guest_frozen -- -C opt-level=z -C strip=symbols` and made a
//! component as `support::built` makes all guests; it is never built again.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_runtime::contract::chat::{Content, Event, Role as Speaker};
use portcullis_runtime::contract::dialect::{Cost, Head, ModelEntry, Reply};
use portcullis_runtime::contract::guard::{Direction, PlaceKind, Replacement, Texts, Verdict as Found};
use portcullis_runtime::contract::manifest::{Framing, Location};
use portcullis_runtime::contract::policy::{Attempt, Verdict};
use portcullis_runtime::contract::provider::{AnswerHead, Target};
use portcullis_runtime::contract::router::{Breaker, Candidate, Features};
use portcullis_runtime::contract::types::{Context, FailureKind, Field, Frame, Pair};
use portcullis_runtime::{Isolation, PluginSettings, Role, check_bytes};
use sha2::{Digest, Sha256};

use crate::support::*;

/// Of every file of `wit/`, names included: see [`text`].
const TEXT: &str = "9be2d973ef6cd83881f9bb74f5f919d4accba48ed8010a69b9314ea648659e04";
const NAME: &str = "contract-0-1-0";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The contract's files by name, each with its length before it.
fn text() -> Vec<u8> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder("../../wit")).expect("wit/").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let content = fs::read(path).expect("a file");
            let name = path.file_name().expect("a name").to_string_lossy();
            [format!("{name} {}\n", content.len()).into_bytes(), content].concat()
        })
        .collect()
}

#[test]
fn the_text_is_frozen() {
    let found = hex::encode(Sha256::digest(text()));
    assert_eq!(
        found, TEXT,
        "wit/ is contract 0.1.0, which is frozen and never edited, comments included: a change is a new version, or an interface in a \
         package of its own. See docs/ARCHITECTURE.md."
    );
}

#[test]
fn the_component_of_that_day_loads_and_is_understood() {
    understood(&fs::read(folder("tests/frozen/contract-0.1.0.wasm")).expect("the frozen component"));
}

/// So that what is in the repository can be made again.
#[test]
fn one_of_today_is_understood_alike() {
    understood(Guest::frozen().bytes());
}

fn understood(component: &[u8]) {
    let settings = PluginSettings { isolation: Isolation::Tenant, ..configured(serde_json::json!({})) };
    let report = check_bytes(&runtime(), NAME, component, &settings).expect("it loads");
    assert_eq!(report.roles, Role::ALL);
    let manifest = &report.manifest;
    let (route, endpoint, model) = (&manifest.routes[0], &manifest.endpoints[0], &manifest.models[0]);
    let extras = [&route.extra, &endpoint.extra, &model.extra, &manifest.extra];
    let names = extras.map(|extra| (extra[0].name.as_str(), extra[0].value.as_str()));
    assert_eq!(
        names,
        [("frozen.route", "1"), ("frozen.endpoint", "2"), ("frozen.model", "3"), ("frozen.manifest", "4")]
    );
    assert_eq!((route.stream_framing, endpoint.streams), (Framing::JsonArray, Some(false)));
    assert_eq!(endpoint.model[0].at, Location::Body("/r/*/model".to_owned()));
    let price = &model.prices[0];
    assert_eq!((price.rates.search, price.tiers[0].above, price.units[0].rate), (Some(3), 9, 4));
    assert_eq!(price.services[0].service_tier, "flex");

    let refused = PluginSettings { configuration: serde_json::json!({"a": 1}), ..settings.clone() };
    let error = check_bytes(&runtime(), NAME, component, &refused).expect_err("it refuses").to_string();
    assert!(error.contains(r#"{"a":1}"#), "{error}");

    let served = serve(&[(NAME, &Guest::of(component))], &[(NAME, settings)]);
    let plugin = served.plugin(NAME);
    let mut session = plugin.session("acme", "key", "req-1");
    let pair = |name: &str, value: &str| Pair { name: name.to_owned(), value: value.to_owned() };
    let extra = vec![Field { name: "portcullis.new".to_owned(), value: "[1]".to_owned() }];
    let context = Context { extra: extra.clone(), ..context() };

    let head = Head {
        route: "chat".to_owned(),
        path: vec![pair("model", "m")],
        query: Vec::new(),
        headers: vec![pair("x-frozen", "yes")],
    };
    let failed = session.decode_request(&context, &head, "").expect("a call").expect_err("a failure");
    assert_eq!((failed.kind, &*failed.message, failed.retry_after), (FailureKind::InvalidRequest, "req-1", Some(7)));
    let request = session.decode_request(&context, &head, "hello").expect("a call").expect("a request");
    assert_eq!((&*request.model, &request.metadata, &request.extra), ("m", &head.headers, &extra));
    assert_eq!(
        (request.messages[0].role, request.sampling.seed, request.echo[0].value.as_str()),
        (Speaker::Developer, Some(-1), "7")
    );
    assert_eq!(request.messages[0].parts[0].content, Content::Text("hello".to_owned()));

    let target = Target {
        model: "upstream".to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 9,
    };
    let asked = session.encode_request(&context, &target, &request).expect("a call").expect("a request");
    assert_eq!(
        (&*asked.endpoint, &asked.path[0].value, &asked.query[0].value),
        ("ask", &"upstream".to_owned(), &"9".to_owned())
    );
    assert_eq!((asked.body, asked.notes[0].code.as_str()), (b"hello".to_vec(), "clamped"));

    let head = |status| AnswerHead { endpoint: "ask".to_owned(), status, headers: vec![pair("a", "b")] };
    let decoded = session.decode_response(&context, &head(200), "said").expect("a call").expect("an answer");
    let response = decoded.response;
    let usage = response.usage.clone().expect("usage");
    assert_eq!((usage.cache_write_long, usage.searches, usage.units[0].count), (4, 10, 11));
    assert_eq!((usage.service_tier.as_deref(), usage.stated_cost, &*response.id), (Some("flex"), Some(12), "200"));
    let limited = session.decode_error(&context, &head(429), "slow down").expect("a call");
    assert_eq!((limited.kind, limited.code.as_deref()), (FailureKind::RateLimited, Some("frozen")));

    let frames = [Frame { event: "e".to_owned(), data: "piece".to_owned() }];
    let decoded = session.decode_frames(&context, "ask", &[], &frames, true).expect("a call").expect("events");
    assert_eq!((decoded.events.len(), decoded.state), (6, vec![1]));
    let reading = session.meter(&context, "ask", &[5], &frames, true).expect("a call").expect("a reading");
    assert_eq!((reading.id.as_deref(), reading.model.as_deref(), reading.state), (Some("e"), Some("ask"), vec![5]));
    assert_eq!(reading.failure.expect("a failure").kind, FailureKind::Overloaded);

    let reply = Reply {
        route: "chat".to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: false,
        provider: "p".to_owned(),
        strategy: "explicit".to_owned(),
        cost: Some(Cost { input: 1, output: 2 }),
        account: None,
        echo: Vec::new(),
    };
    let encoded = session.encode_response(&context, &reply, &response).expect("a call").expect("a body");
    assert_eq!((&*encoded.body, &*encoded.notes[0].subject), ("m 200 said 3", "p"));
    let encoded = session.encode_events(&context, &reply, &[], &decoded.events, true).expect("a call").expect("frames");
    let told: Vec<_> = encoded.frames.iter().map(|frame| (frame.event.as_str(), frame.data.as_str())).collect();
    let other = ("other", "");
    assert_eq!(told, [other, other, ("text", "piece"), other, ("usage", "flex"), ("finish", "end")]);
    assert!(matches!(decoded.events[5], Event::Finish(_)) && encoded.state == [1]);
    let error = session.encode_error(&context, "chat", &failed).expect("a call");
    assert_eq!((error.status, &*error.headers[0].value, &*error.body), (418, "error", "req-1"));
    let entry = ModelEntry {
        id: "p/m".to_owned(),
        provider: "p".to_owned(),
        created: 0,
        context: 1,
        max_output: 1,
        operations: Vec::new(),
        capabilities: Vec::new(),
        input_price: None,
        output_price: None,
        extra,
    };
    assert_eq!(session.encode_models(&context, &[entry]).expect("a call"), "p/m:1");

    let features = Features {
        operation: "chat".to_owned(),
        model: "auto".to_owned(),
        body_bytes: 1,
        input_tokens: 1,
        max_output_tokens: None,
        stream: false,
        tool_names: Vec::new(),
        needs: Vec::new(),
        messages: 1,
        prompt: None,
    };
    let candidate = |cooling| Candidate {
        provider: "p".to_owned(),
        model: "m".to_owned(),
        context: 0,
        max_output: 0,
        capabilities: Vec::new(),
        quality: None,
        input_price: None,
        output_price: None,
        region: None,
        latency: 2.5,
        error_rate: 0.0,
        in_flight: 4,
        breaker: Breaker::HalfOpen,
        cooling,
        extra: Vec::new(),
    };
    let wishes = [pair("optimise", "price")];
    let plan = session.rank(&context, &caller("key"), &features, &wishes, &[candidate(1), candidate(0)]);
    let plan = plan.expect("a call").expect("a plan");
    assert_eq!((plan.ranked[0].candidate, plan.ranked[0].score, plan.ranked[0].factors[0].value), (1, 2.5, 4.0));
    assert_eq!((plan.rejected[0].candidate, &*plan.strategy, &*plan.reason), (0, "price", "acme auto"));

    let mut texts = Texts::with_capacity(2, 32);
    texts.push(PlaceKind::Text, "/a", "no", 0, false);
    texts.push(PlaceKind::Value, "/b", "a secret", 0, true);
    let inspection = session.inspect(&context, Direction::Answer, &[3], &texts).expect("a call").expect("findings");
    let found = &inspection.findings[0];
    assert_eq!((found.text, found.start, found.end, &*found.kind), (1, 2, 8, "Direction::Answer"));
    assert_eq!((&found.replacement, &inspection.verdict), (&Replacement::Mask("***".to_owned()), &Found::Pass));
    assert_eq!((inspection.holds[0].start, inspection.state), (8, vec![3]));

    let verdict =
        session.evaluate_request(&context, &subject("key"), Some(&request)).expect("a call").expect("a verdict");
    let Verdict::Constrain(constraints) = verdict else { panic!("{verdict:?}") };
    assert_eq!(
        (constraints.max_output_tokens, constraints.regions, &*constraints.tags[0].value),
        (Some(1), Some(Vec::new()), "key")
    );
    let attempt =
        Attempt { provider: "p".to_owned(), model: "m".to_owned(), region: None, number: 3, worst_cost: Some(5) };
    let verdict = session.evaluate_target(&context, &subject("key"), &attempt).expect("a call").expect("a verdict");
    let Verdict::Deny(denial) = verdict else { panic!("{verdict:?}") };
    assert_eq!((denial.status, &*denial.message), (403, "p/m Some(5)"));
    let allowed = session.evaluate_response(&context, &subject("key"), &attempt, Some(&usage), None);
    assert_eq!(allowed.expect("a call").expect("a verdict"), Verdict::Allow);
    let unknown = session.evaluate_response(&context, &subject("key"), &attempt, None, None).expect("a call");
    assert_eq!(unknown.expect_err("a failure").kind, FailureKind::Unavailable);

    let told = session.observe(9, &["{}".to_owned()]).expect("a call");
    assert_eq!(told, Err("9 {}".to_owned()));
}
