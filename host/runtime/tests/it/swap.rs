//! The hot-swap transaction: every way a file can come, change, go and be wrong, and what serves meanwhile.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis_runtime::{CallError, Isolation, Plugin, PluginSettings, PluginState};
use serde_json::json;

use crate::support::*;

fn version() -> PluginSettings {
    PluginSettings { isolation: Isolation::Shared, ..on_request("version") }
}

fn v(version: &str) -> Guest {
    Guest::policy().version(version)
}

#[test]
fn add_replace_remove() {
    let served = serve(&[], &[("guest", version())]);
    assert_eq!(served.serving(), Vec::<String>::new());
    assert_eq!(served.published.sets.lock().unwrap().len(), 1, "the gateway hears of an empty directory");

    v("1.0.0").install(&served.file("guest"));
    served.until("added", |served| served.serving() == ["guest@1.0.0"]);
    let old = served.plugin("guest");
    assert_eq!(old.health(), "trusted", "there is nothing to go back to");

    v("2.0.0").install(&served.file("guest"));
    served.until("replaced", |served| served.serving() == ["guest@2.0.0"]);
    assert_eq!(served.status("guest").running.unwrap().health, "probation");
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "2.0.0");
    assert_eq!(ask(&old).unwrap(), "1.0.0", "who holds the old version keeps it");

    fs::remove_file(served.file("guest")).unwrap();
    served.until("removed", |served| served.serving().is_empty());
    assert!(served.manager.status().is_empty());
    assert_eq!(ask(&old).unwrap(), "1.0.0");
}

#[test]
fn what_did_not_change_keeps_its_warm_instances() {
    let settings = PluginSettings { isolation: Isolation::Shared, ..on_request("calls") };
    let other = v("1.0.0").mark("name", "other");
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", settings.clone()), ("other", settings)]);
    let plugin = served.plugin("guest");
    assert_eq!(ask(&plugin).unwrap(), "1");
    other.install(&served.file("other"));
    // The same bytes in a new file are the same plugin.
    v("1.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@1.0.0", "other@1.0.0"]);
    assert!(Arc::ptr_eq(&plugin, &served.plugin("guest")));
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "2");
}

/// Puts a bad file over a good one: the good version goes on, and says so.
fn rejected(bad: &Guest, words: &str) {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", version())]);
    bad.install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert!(served.reason("guest").contains(words), "{}", served.reason("guest"));
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    assert_eq!(served.status("guest").running.unwrap().version, "1.0.0");
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "1.0.0");
    // And once it is right it is taken.
    v("2.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@2.0.0"]);
    assert_eq!(served.status("guest").state, PluginState::Loaded);
}

#[test]
fn a_broken_file_changes_nothing() {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", version())]);
    fs::write(served.file("guest"), b"\0asm, or rather not").unwrap();
    served.until("rejected", |served| served.reason("guest").contains("not a WebAssembly component"));
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "1.0.0");
}

#[test]
fn a_wrong_contract_changes_nothing() {
    let newer = v("2.0.0").exchange("portcullis:plugin/policy@0.1.0", "portcullis:plugin/policy@0.9.0");
    rejected(&newer, "portcullis:plugin/policy@0.9.0");
}

#[test]
fn a_trap_in_describe_changes_nothing() {
    rejected(&v("2.0.0").mark("describe", "trap"), "describe failed: trapped");
}

#[test]
fn an_endless_loop_in_describe_changes_nothing() {
    rejected(&v("2.0.0").mark("describe", "loop"), "describe failed: took");
}

#[test]
fn unbounded_allocation_in_describe_changes_nothing() {
    rejected(&v("2.0.0").mark("describe", "allocate"), "describe failed: wanted more than");
}

#[test]
fn golden_vectors_that_fail_change_nothing() {
    let vectors = json!([{
        "about": "wrong", "function": "plugin.configure", "input": {}, "output": {"err": "it would rather not"}
    }]);
    rejected(&v("2.0.0").golden(vectors), "golden vectors fail: plugin.configure");
}

#[test]
fn a_file_half_written_then_completed() {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", version())]);
    let next = v("2.0.0");
    let (head, tail) = next.bytes().split_at(next.bytes().len() / 2);
    let mut file = fs::File::create(served.file("guest")).unwrap();
    file.write_all(head).unwrap();
    file.flush().unwrap();
    served.until("the half is rejected", |served| served.reason("guest").contains("not a WebAssembly component"));
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "1.0.0");
    file.write_all(tail).unwrap();
    drop(file);
    served.until("the whole is taken", |served| served.serving() == ["guest@2.0.0"]);
    assert_eq!(served.status("guest").state, PluginState::Loaded);
}

#[test]
fn a_file_written_slowly_is_taken_whole() {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", version())]);
    let next = v("2.0.0");
    let mut file = fs::File::create(served.file("guest")).unwrap();
    for piece in next.bytes().chunks(next.bytes().len() / 20) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        assert_eq!(ask(&served.plugin("guest")).unwrap(), "1.0.0");
        thread::sleep(Duration::from_millis(20));
    }
    drop(file);
    served.until("taken", |served| served.serving() == ["guest@2.0.0"]);
}

#[test]
fn a_symlink_that_flips_beside_the_files() {
    // As Kubernetes mounts a ConfigMap: plugin.wasm -> ..data/plugin.wasm, and ..data flips.
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (folder, guest) in [("..1", v("1.0.0")), ("..2", v("2.0.0"))] {
        fs::create_dir(root.join(folder)).unwrap();
        guest.install(&root.join(folder).join("guest.wasm"));
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/guest.wasm", root.join("guest.wasm")).unwrap();
    let path = root.to_owned();
    let served = serve_at(directory, path.clone(), &[("guest", version())]);
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    symlink("..2", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    served.until("flipped", |served| served.serving() == ["guest@2.0.0"]);
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "2.0.0");
}

#[test]
fn a_symlink_that_flips_above_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (folder, guest) in [("blue", v("1.0.0")), ("green", v("2.0.0"))] {
        fs::create_dir(root.join(folder)).unwrap();
        guest.install(&root.join(folder).join("guest.wasm"));
    }
    symlink("blue", root.join("live")).unwrap();
    let (root, live) = (root.to_owned(), root.join("live"));
    let served = serve_at(directory, live, &[("guest", version())]);
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    symlink("green", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("live")).unwrap();
    served.until("flipped", |served| served.serving() == ["guest@2.0.0"]);
    // And what happens behind the new link is noticed, too.
    v("3.0.0").install(&root.join("green/guest.wasm"));
    served.until("replaced", |served| served.serving() == ["guest@3.0.0"]);
}

#[test]
fn failures_in_service_roll_back_and_quarantine() {
    let settings = configured(json!({"on_request": "version", "bad_versions": ["2.0.0"]}));
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", settings)]);
    v("2.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@2.0.0"]);
    let bad = served.plugin("guest");

    // One key alone cannot force the old version back.
    for _ in 0..20 {
        assert!(matches!(ask_as(&bad, "a", "one"), Err(CallError::Trapped(_))));
    }
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@2.0.0"]);

    assert!(matches!(ask_as(&bad, "b", "two"), Err(CallError::Trapped(_))));
    assert!(matches!(ask_as(&bad, "c", "three"), Err(CallError::Trapped(_))));
    assert_eq!(ask_as(&bad, "c", "four"), Err(CallError::Held), "refused from this moment");
    served.until("rolled back", |served| served.serving() == ["guest@1.0.0"]);
    assert_eq!(ask(&served.plugin("guest")).unwrap(), "1.0.0");
    let reason = served.reason("guest");
    assert!(reason.contains("2.0.0 failed in service") && reason.contains("1.0.0 is back"), "{reason}");
    assert!(matches!(served.status("guest").state, PluginState::Quarantined { .. }));

    // The same content stays out, however often it is written.
    v("2.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    assert!(matches!(served.status("guest").state, PluginState::Quarantined { .. }));

    v("2.0.1").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@2.0.1"]);
    assert_eq!(served.status("guest").state, PluginState::Loaded);
}

#[test]
fn of_two_unproven_versions_neither_is_gone_back_to() {
    let settings = configured(json!({"on_request": "version", "bad_versions": ["3.0.0"]}));
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", settings)]);
    for next in ["2.0.0", "3.0.0"] {
        v(next).install(&served.file("guest"));
        served.manager.rescan().unwrap();
    }
    let bad = served.plugin("guest");
    for key in ["one", "two", "three"] {
        assert!(ask_as(&bad, "a", key).is_err());
    }
    served.until("rolled back", |served| served.serving() == ["guest@1.0.0"]);
}

#[test]
fn what_the_gateway_refuses_is_not_served_until_it_fits() {
    fn at_most_one(plugins: &[Arc<Plugin>]) -> Result<(), String> {
        match plugins {
            [] | [_] => Ok(()),
            _ => Err("both want /v1/chat".to_owned()),
        }
    }
    let served = serve(&[("guest", &v("1.0.0"))], &[]);
    *served.published.refuse.lock().unwrap() = Some(at_most_one);
    v("1.0.0").mark("name", "other").install(&served.file("other"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    assert!(served.reason("other").contains("both want /v1/chat"));

    // A good change beside a refused one goes through, and so does the refused one when there is room.
    v("2.0.0").install(&served.file("guest"));
    v("1.1.0").mark("name", "other").install(&served.file("other"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@2.0.0"]);
    fs::remove_file(served.file("guest")).unwrap();
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["other@1.1.0"]);
    assert_eq!(served.status("other").state, PluginState::Loaded);
}

#[test]
fn plugins_are_published_in_their_order() {
    let settings = |order| PluginSettings { order, ..PluginSettings::default() };
    let (a, b, c) = (v("1.0.0").mark("name", "a"), v("1.0.0").mark("name", "b"), v("1.0.0").mark("name", "c"));
    let served = serve(&[("a", &a), ("b", &b), ("c", &c)], &[("a", settings(5)), ("c", settings(-1))]);
    assert_eq!(served.serving(), ["c@1.0.0", "b@1.0.0", "a@1.0.0"]);
    assert_eq!(served.published.sets.lock().unwrap().len(), 1, "a start is one transaction");
}

#[test]
fn settings_change_together_or_not_at_all() {
    let (a, b) = (v("1.0.0").mark("name", "a"), v("1.0.0").mark("name", "b"));
    let served = serve(&[("a", &a), ("b", &b)], &[("a", on_request("deny:one")), ("b", on_request("deny:one"))]);
    let untouched = served.plugin("b");
    let apply = |a: PluginSettings, b: PluginSettings| {
        served.manager.apply_settings([("a".to_owned(), a), ("b".to_owned(), b)].into())
    };
    let problems = apply(on_request("deny:two"), configured(json!({"refuse": true}))).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].plugin, "b");
    assert!(problems[0].reason.contains("told to refuse"), "{}", problems[0].reason);
    assert_eq!(ask(&served.plugin("a")).unwrap(), "one");

    apply(on_request("deny:two"), on_request("deny:one")).unwrap();
    assert_eq!(ask(&served.plugin("a")).unwrap(), "two");
    assert!(Arc::ptr_eq(&untouched, &served.plugin("b")));

    apply(PluginSettings { enabled: false, ..PluginSettings::default() }, on_request("deny:one")).unwrap();
    assert_eq!(served.serving(), ["b@1.0.0"]);
    assert_eq!(served.status("a").state, PluginState::Disabled);
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["b@1.0.0"]);

    apply(on_request("deny:three"), on_request("deny:one")).unwrap();
    assert_eq!(served.serving(), ["a@1.0.0", "b@1.0.0"]);
    assert_eq!(ask(&served.plugin("a")).unwrap(), "three");
}

#[test]
fn settings_can_heal_a_rejected_file() {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", configured(json!({"refuse": true})))]);
    assert!(served.serving().is_empty());
    assert!(served.reason("guest").contains("told to refuse"));
    served.manager.apply_settings([("guest".to_owned(), version())].into()).unwrap();
    served.until("healed", |served| served.serving() == ["guest@1.0.0"]);
}

#[test]
fn a_directory_that_goes_away_takes_nothing_with_it() {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", version())]);
    let away = served.directory.path().with_extension("away");
    fs::rename(served.directory.path(), &away).unwrap();
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    fs::rename(&away, served.directory.path()).unwrap();
    v("2.0.0").install(&served.file("guest"));
    served.until("back", |served| served.serving() == ["guest@2.0.0"]);
}
