//! What keeps a file from becoming a plugin.

use portcullis_runtime::{CallError, Isolation, LoadError, PluginSettings, Role, check_bytes, check_component};
use serde_json::json;

use crate::support::{Guest, configured, runtime};

fn check(guest: &Guest, settings: &PluginSettings) -> Result<portcullis_runtime::Report, LoadError> {
    check_bytes(&runtime(), "guest", guest.bytes(), settings)
}

#[test]
fn a_good_component_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest.wasm");
    Guest::policy().version("1.2.3").mark("access", "read").install(&path);
    let settings = PluginSettings { content_read: Some(false), ..PluginSettings::default() };
    let report = check_component(&runtime(), &path, &settings).unwrap();
    assert_eq!((report.name.as_str(), report.version.as_str()), ("guest", "1.2.3"));
    assert_eq!(report.roles, [Role::Router, Role::Policy]);
    assert!(!report.access.content_read, "narrowed by the operator");
    assert!(!report.wasi);
    assert_eq!(report.hash.len(), 64);
}

#[test]
fn a_contract_that_is_not_ours_is_named() {
    let newer = Guest::policy().exchange("portcullis:plugin/policy@0.1.0", "portcullis:plugin/policy@0.2.0");
    let error = check(&newer, &PluginSettings::default()).unwrap_err();
    assert!(matches!(&error, LoadError::WrongContract(_)), "{error:?}");
    assert!(error.to_string().contains("portcullis:plugin/policy@0.2.0"), "{error}");

    let foreign = Guest::policy().exchange("portcullis:plugin/log@0.1.0", "portcullis:plugin/pwn@0.1.0");
    let error = check(&foreign, &PluginSettings::default()).unwrap_err();
    assert!(error.to_string().contains("imports portcullis:plugin/pwn@0.1.0"), "{error}");

    let other = Guest::policy().exchange("evaluate-target", "evaluate-tarpit");
    let error = check(&other, &PluginSettings::default()).unwrap_err();
    assert!(matches!(&error, LoadError::WrongContract(_)), "{error:?}");
    assert!(error.to_string().contains("evaluate-target"), "{error}");
}

#[test]
fn describe_is_called_within_limits() {
    let described = |how: &str| check(&Guest::policy().mark("describe", how), &PluginSettings::default()).unwrap_err();
    assert!(matches!(described("trap"), LoadError::Describe(CallError::Trapped(_))));
    assert!(matches!(described("loop"), LoadError::Describe(CallError::GuestDeadline(_) | CallError::WallDeadline(_))));
    assert!(matches!(described("allocate"), LoadError::Describe(CallError::Memory(_))));
}

#[test]
fn the_manifest_must_be_right() {
    for (guest, words) in [
        (Guest::policy().mark("name", "other"), "calls itself `other`"),
        (Guest::policy().mark("version", "1.0"), "not a semantic version"),
    ] {
        let error = check(&guest, &PluginSettings::default()).unwrap_err();
        assert!(matches!(&error, LoadError::Manifest(why) if why.contains(words)), "{error}");
    }
}

#[test]
fn settings_must_fit() {
    let default = PluginSettings::default;
    let reader = Guest::policy().mark("access", "read");
    for (guest, settings, words) in [
        (Guest::guard(), PluginSettings { content_read: Some(false), ..default() }, "a guard reads content"),
        (reader.clone(), PluginSettings { isolation: Isolation::Shared, ..default() }, "`shared`"),
        (reader, PluginSettings { memory_bytes: 1 << 40, ..default() }, "bytes of memory"),
        (Guest::policy(), PluginSettings { configuration: json!([1]), ..default() }, "must be an object"),
    ] {
        let error = check(&guest, &settings).unwrap_err();
        assert!(matches!(&error, LoadError::Settings(why) if why.contains(words)), "{error}");
    }
    let error = check(&Guest::policy(), &configured(json!({"refuse": true}))).unwrap_err();
    assert!(matches!(&error, LoadError::Configuration(why) if why == "told to refuse"), "{error}");
    let error = check(&Guest::policy(), &configured(json!({"no_such_key": 1}))).unwrap_err();
    assert!(matches!(&error, LoadError::Configuration(why) if why.contains("no_such_key")), "{error}");
}

#[test]
fn golden_vectors_hold_or_the_file_does_not_load() {
    let subject = json!({
        "caller": {"key_id": "k", "organisation": "o", "team": null, "user": null, "environment": "production",
                   "tags": [], "region": null},
        "operation": "chat", "format": "openai-chat", "model": "m", "stream": false, "body_bytes": 1, "input_tokens": 1,
        "max_output_tokens": null, "tool_names": [], "needs": []
    });
    let vector = |code: &str| {
        json!({
            "file": "denies", "about": "denies as told", "function": "policy.evaluate-request",
            "configuration": {"on_request": "deny:golden"}, "input": {"subject": subject},
            "output": {"ok": {"Deny": {"code": code, "status": 403, "message": ""}}}
        })
    };
    let configure = json!({
        "about": "refuses", "function": "plugin.configure", "configuration": {"refuse": true}, "input": {},
        "output": {"err": "told to refuse"}
    });
    let report =
        check(&Guest::policy().golden(json!([vector("golden"), configure])), &PluginSettings::default()).unwrap();
    assert_eq!(report.vectors, 2);

    for (vectors, words) in [
        (json!([vector("other")]), "denies: /ok/Deny/code: expected \"other\", answered \"golden\""),
        (json!([{"about": "", "function": "policy.nonsense", "input": {}}]), "no function policy.nonsense"),
        (
            json!([{"about": "", "function": "guard.inspect", "input": {"direction": "Request", "texts": []}}]),
            "no role guard",
        ),
        (json!([{"about": "", "function": "policy.evaluate-request", "input": {}}]), "the vector has no `subject`"),
        (json!({"not": "a list"}), "not a list of vectors"),
    ] {
        let error = check(&Guest::policy().golden(vectors), &PluginSettings::default()).unwrap_err();
        assert!(matches!(&error, LoadError::Golden(why) if why.contains(words)), "{error}");
    }
}

#[test]
fn what_is_no_component_or_too_large_is_refused() {
    let precompiled = b"\x7fELF\x02\x01\x01".to_vec();
    let cut = Guest::policy().bytes()[..5000].to_vec();
    let flipped = {
        let mut bytes = Guest::policy().bytes().to_vec();
        let middle = bytes.len() / 3;
        bytes[middle..middle + 64].fill(0xff);
        bytes
    };
    let settings = PluginSettings::default();
    let runtime = runtime();
    assert!(matches!(check_bytes(&runtime, "guest", &precompiled, &settings), Err(LoadError::Precompiled)));
    assert!(matches!(check_bytes(&runtime, "guest", &cut, &settings), Err(LoadError::NotAComponent(_))));
    assert!(check_bytes(&runtime, "guest", &flipped, &settings).is_err());
    let large = vec![0; runtime.options().max_file_bytes as usize + 1];
    assert!(matches!(check_bytes(&runtime, "guest", &large, &settings), Err(LoadError::TooLarge { .. })));
}
