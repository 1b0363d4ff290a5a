//! Calls: isolation, limits, narrowing, standing, the log.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_runtime::contract::chat::{Request, Sampling};
use portcullis_runtime::contract::guard::{Direction, PlaceKind, Replacement, Texts};
use portcullis_runtime::contract::policy::Attempt;
use portcullis_runtime::contract::router::Features;
use portcullis_runtime::{CallError, Isolation, PluginSettings, Role, Runtime, RuntimeOptions};
use serde_json::json;

use crate::support::*;

#[test]
fn isolation_decides_who_shares_memory() {
    let count = |isolation| {
        let settings = PluginSettings { isolation, ..on_request("calls") };
        let (_served, plugin) = plugin(&Guest::policy(), settings);
        ["a", "a", "b", "a", "b"].map(|tenant| ask_as(&plugin, tenant, "key").unwrap())
    };
    assert_eq!(count(Isolation::Fresh), ["1", "1", "1", "1", "1"]);
    assert_eq!(count(Isolation::Tenant), ["1", "2", "1", "3", "2"]);
    assert_eq!(count(Isolation::Shared), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_session_keeps_its_instance_until_released() {
    let (served, plugin) = plugin(&Guest::policy(), on_request("calls"));
    let mut session = plugin.session("a", "key", "req-1");
    assert_eq!(session.spent(), Duration::ZERO);
    let mut call = || word(session.evaluate_request(&context(), &subject("key"), None).unwrap().unwrap());
    assert_eq!((call(), call()), ("1".to_owned(), "2".to_owned()));
    assert_eq!(served.runtime.statistics().instances, 1);
    session.release();
    assert_eq!(served.runtime.statistics().instances, 0, "fresh instances are not kept");
    assert_eq!(word(session.evaluate_request(&context(), &subject("key"), None).unwrap().unwrap()), "1");
    assert!(session.spent() > Duration::ZERO);
}

#[test]
fn a_failed_call_discards_the_instance() {
    for (what, expected) in [
        ("panic", CallError::Trapped("wasm trap: wasm `unreachable` instruction executed".to_owned())),
        ("loop", CallError::GuestDeadline(Duration::from_millis(50))),
        ("allocate", CallError::Memory(8 << 20)),
    ] {
        let settings = PluginSettings { isolation: Isolation::Shared, memory_bytes: 8 << 20, ..on_request(what) };
        let (served, plugin) = plugin(&Guest::policy(), settings);
        assert_eq!(ask(&plugin).unwrap_err(), expected);
        assert_eq!(served.runtime.statistics().instances, 0, "{what}");
    }
}

#[test]
fn a_request_is_not_hurt_by_the_one_before() {
    let settings = PluginSettings {
        isolation: Isolation::Shared,
        ..configured(json!({"on_request": "calls", "fail_keys": ["bad"]}))
    };
    let (_served, plugin) = plugin(&Guest::policy(), settings);
    assert_eq!(ask_as(&plugin, "", "good").unwrap(), "1");
    assert!(matches!(ask_as(&plugin, "", "bad"), Err(CallError::Trapped(_))));
    assert_eq!(ask_as(&plugin, "", "good").unwrap(), "1", "a new instance");
}

#[test]
fn the_wall_deadline_bounds_what_the_guests_own_leaves_open() {
    let settings = PluginSettings {
        deadline: Duration::from_secs(60),
        wall_deadline: Duration::from_millis(60),
        ..on_request("loop")
    };
    let (_served, plugin) = plugin(&Guest::policy(), settings);
    let begin = Instant::now();
    assert_eq!(ask(&plugin).unwrap_err(), CallError::WallDeadline(Duration::from_millis(60)));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn content_reaches_only_who_may_read_it() {
    let request = Request {
        format: "openai-chat".to_owned(),
        model: "m".to_owned(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        response_format: None,
        sampling: Sampling {
            temperature: None,
            top_p: None,
            top_k: None,
            frequency_penalty: None,
            presence_penalty: None,
            seed: None,
        },
        reasoning: None,
        stop: Vec::new(),
        max_output_tokens: None,
        choices: None,
        logprobs: None,
        stream: false,
        stream_usage: false,
        user: None,
        metadata: Vec::new(),
        echo: Vec::new(),
        extra: Vec::new(),
    };
    let features = Features {
        operation: "chat".to_owned(),
        model: "m".to_owned(),
        body_bytes: 1,
        input_tokens: 1,
        max_output_tokens: None,
        stream: false,
        tool_names: Vec::new(),
        needs: Vec::new(),
        messages: 1,
        prompt: Some("a secret".to_owned()),
    };
    for (asks, granted, seen) in [("none", None, false), ("read", None, true), ("read", Some(false), false)] {
        let settings = PluginSettings { content_read: granted, ..on_request("content") };
        let (_served, plugin) = plugin(&Guest::policy().mark("access", asks), settings);
        let mut session = plugin.session("a", "key", "req-1");
        let verdict = session.evaluate_request(&context(), &subject("key"), Some(&request)).unwrap().unwrap();
        assert_eq!(word(verdict), if seen { "seen" } else { "unseen" }, "{asks} {granted:?}");
        let plan = session.rank(&context(), &caller("key"), &features, &[], &[]).unwrap().unwrap();
        assert_eq!(plan.reason.contains("a secret"), seen, "{asks} {granted:?}: {}", plan.reason);
        assert!(plan.reason.contains("model=m"));
    }
}

fn text(kind: PlaceKind, place: &str, content: &str) -> Texts {
    let mut texts = Texts::with_capacity(1, content.len());
    texts.push(kind, place, content, 0, false);
    texts
}

#[test]
fn a_guard_that_may_not_write_only_reports() {
    let texts = text(PlaceKind::Text, "/messages/0/content", "a secret");
    for (granted, expected) in [(None, Replacement::Mask("[masked]".to_owned())), (Some(false), Replacement::None)] {
        let settings = PluginSettings { content_write: granted, ..configured(json!({})) };
        let (_served, plugin) = plugin(&Guest::guard(), settings);
        let mut session = plugin.session("a", "key", "req-1");
        let inspection = session.inspect(&context(), Direction::Request, &[], &texts).unwrap().unwrap();
        assert_eq!(inspection.findings[0].replacement, expected);
        assert_eq!(inspection.findings[0].kind, "told");
    }
}

#[test]
fn state_is_bounded() {
    let (_served, plugin) = plugin(&Guest::guard(), configured(json!({})));
    let mut session = plugin.session("a", "key", "req-1");
    let mut ask = |bytes: usize| {
        let texts = text(PlaceKind::Value, "", &bytes.to_string());
        session.inspect(&context(), Direction::Answer, &[], &texts).map(|answer| answer.unwrap().state.len())
    };
    assert_eq!(ask(65_536), Ok(65_536));
    assert_eq!(ask(65_537), Err(CallError::StateTooLarge(65_537)));
    assert_eq!(ask(10), Ok(10));
}

#[test]
fn roles_are_what_the_component_exports() {
    let (_served, plugin) = plugin(&Guest::policy(), on_request("allow"));
    assert_eq!(plugin.roles(), [Role::Router, Role::Policy]);
    let mut session = plugin.session("a", "key", "req-1");
    let answer = session.inspect(&context(), Direction::Request, &[], &Texts::with_capacity(0, 0));
    assert_eq!(answer.unwrap_err(), CallError::NotARole(Role::Guard));
    let attempt =
        Attempt { provider: "p".to_owned(), model: "m".to_owned(), region: None, number: 1, worst_cost: None };
    let verdict = session.evaluate_target(&context(), &subject("key"), &attempt).unwrap().unwrap();
    assert_eq!(word(verdict), "allow", "the SDK's default");
}

#[test]
fn a_plugin_that_replaced_nothing_is_held_and_tried_again() {
    let settings = configured(json!({"fail_keys": ["b0", "b1", "b2", "b3", "b4"]}));
    let (served, plugin) = plugin(&Guest::policy(), settings);
    for key in ["b0", "b1", "b2", "b3", "b4"] {
        assert!(matches!(ask_as(&plugin, "", key), Err(CallError::Trapped(_))), "{key}");
    }
    assert_eq!(ask_as(&plugin, "", "good"), Err(CallError::Held));
    assert_eq!(served.status("guest").running.unwrap().health, "held");
    thread::sleep(Duration::from_millis(350));
    assert_eq!(ask_as(&plugin, "", "good").unwrap(), "allow", "the trial");
    assert_eq!(plugin.health(), "trusted");
    assert_eq!(served.serving(), ["guest@1.0.0"]);
}

#[test]
fn a_pool_without_room_is_not_the_plugins_fault() {
    let (_served, plugin) = plugin(&Guest::policy(), on_request("calls"));
    let mut open = Vec::new();
    let refused = loop {
        let mut session = plugin.session("a", &open.len().to_string(), "req-1");
        match session.evaluate_request(&context(), &subject("key"), None) {
            Ok(_) => open.push(session),
            Err(error) => break error,
        }
        assert!(open.len() <= 100, "the pool has no more than this");
    };
    assert_eq!(refused, CallError::Exhausted);
    assert_eq!(open.len(), 100);
    open.clear();
    assert_eq!(ask(&plugin).unwrap(), "1");
    assert_eq!(plugin.health(), "trusted");
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What one request of a guest leaves in the log.
fn logged(development: bool, access: &str, what: &str) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let runtime = Runtime::new(RuntimeOptions { development, ..options() }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    Guest::policy().mark("access", access).install(&directory.path().join("guest.wasm"));
    let settings = [("guest".to_owned(), on_request(what))].into();
    let manager =
        portcullis_runtime::PluginManager::start(runtime, directory.path().to_owned(), settings, Box::new(|_| Ok(())))
            .unwrap();
    let plugin = manager.plugins()[0].clone();
    tracing::subscriber::with_default(subscriber, || {
        let _ = ask(&plugin);
    });
    manager.shutdown();
    let text = captured.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_log_has_a_plugins_words_only_where_they_cannot_be_content() {
    let log = logged(false, "none", "log:plain words");
    assert!(log.contains("plain words") && log.contains("plugin=guest"), "{log}");
    assert!(log.contains("version=1.0.0") && log.contains("request_id=req-1"), "{log}");

    let log = logged(false, "read", "log:plain words");
    assert!(!log.contains("plain words"), "{log}");
    assert!(log.contains("WARN") && log.contains("length=11"), "{log}");

    let log = logged(true, "read", "log:plain words");
    assert!(log.contains("plain words"), "{log}");
}

#[test]
fn a_panic_reaches_the_log() {
    let log = logged(true, "read", "panic");
    assert!(log.contains("told to panic: a-model"), "{log}");
    assert!(log.contains("plugin call failed") && log.contains("unreachable"), "{log}");

    let log = logged(false, "read", "panic");
    assert!(!log.contains("told to panic"), "{log}");
    assert!(log.contains("ERROR") && log.contains("plugin call failed"), "{log}");
}

#[test]
fn sessions_go_to_other_threads() {
    let (_served, plugin) =
        plugin(&Guest::policy(), PluginSettings { isolation: Isolation::Shared, ..on_request("calls") });
    let mut session = plugin.session("a", "key", "req-1");
    let first = word(session.evaluate_request(&context(), &subject("key"), None).unwrap().unwrap());
    let second =
        thread::spawn(move || word(session.evaluate_request(&context(), &subject("key"), None).unwrap().unwrap()));
    assert_eq!((first.as_str(), second.join().unwrap().as_str()), ("1", "2"));
}
