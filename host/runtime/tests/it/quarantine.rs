//! What failed in service stays out: over restarts, over the operator's other doings, until the operator lifts it.

use std::fs;

use portcullis_runtime::{PluginSettings, PluginState};
use serde_json::json;

use crate::support::*;

fn settings() -> PluginSettings {
    configured(json!({"on_request": "version", "bad_versions": ["2.0.0"]}))
}

fn v(version: &str) -> Guest {
    Guest::policy().version(version)
}

/// Version 1.0.0 serves, since 2.0.0 failed; the file is 2.0.0's.
fn rolled_back() -> Served {
    let served = serve(&[("guest", &v("1.0.0"))], &[("guest", settings())]);
    v("2.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    let bad = served.plugin("guest");
    for key in ["one", "two", "three"] {
        assert!(ask_as(&bad, "a", key).is_err());
    }
    served.until("rolled back", |served| served.serving() == ["guest@1.0.0"]);
    served
}

fn is_quarantined(served: &Served) {
    assert!(matches!(served.status("guest").state, PluginState::Quarantined { .. }), "{:?}", served.status("guest"));
}

#[test]
fn a_restart_goes_on_with_the_version_before() {
    let served = rolled_back();
    let hash = served.quarantine().list().unwrap().remove(0).hash;
    for _ in 0..2 {
        let served = rolled_back().restart(&[("guest", settings())]);
        assert_eq!(served.serving(), ["guest@1.0.0"]);
        assert_eq!(ask(&served.plugin("guest")).unwrap(), "1.0.0");
        is_quarantined(&served);
        let reason = served.reason("guest");
        assert!(reason.contains("2.0.0 failed in service") && reason.contains("1.0.0 is back"), "{reason}");
        let list = served.quarantine().list().unwrap();
        assert_eq!((list.len(), list[0].plugin.as_str(), list[0].version.as_str()), (1, "guest", "2.0.0"));
        assert_eq!(list[0].hash, hash);
        assert_eq!(list[0].instead.as_ref().unwrap().version, "1.0.0");
    }
}

#[test]
fn a_restart_goes_on_with_the_version_that_served_last() {
    let served = rolled_back();
    v("3.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@3.0.0"]);
    v("2.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@3.0.0"]);
    is_quarantined(&served);
    let served = served.restart(&[("guest", settings())]);
    assert_eq!(served.serving(), ["guest@3.0.0"]);
}

#[test]
fn nothing_serves_where_no_copy_was_kept() {
    let served = rolled_back();
    fs::remove_dir_all(served.state.path().join("state/versions")).unwrap();
    let served = served.restart(&[("guest", settings())]);
    assert_eq!(served.serving(), Vec::<String>::new());
    assert!(served.reason("guest").contains("1.0.0 is not back"), "{}", served.reason("guest"));
}

#[test]
fn a_copy_that_was_tampered_with_does_not_serve() {
    let served = rolled_back();
    let copies = served.state.path().join("state/versions");
    for copy in fs::read_dir(copies).unwrap() {
        fs::write(copy.unwrap().path(), v("1.5.0").bytes()).unwrap();
    }
    assert_eq!(served.restart(&[("guest", settings())]).serving(), Vec::<String>::new());
}

/// Switching the plugin off and on, or taking the file away and putting it back, is no pardon.
#[test]
fn other_changes_do_not_lift_it() {
    let served = rolled_back();
    let apply =
        |settings: PluginSettings| served.manager.apply_settings([("guest".to_owned(), settings)].into()).unwrap();
    apply(PluginSettings { enabled: false, ..settings() });
    assert_eq!(served.serving(), Vec::<String>::new());
    apply(settings());
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    is_quarantined(&served);

    fs::remove_file(served.file("guest")).unwrap();
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), Vec::<String>::new());
    v("2.0.0").install(&served.file("guest"));
    served.manager.rescan().unwrap();
    assert_eq!(served.serving(), ["guest@1.0.0"]);
    is_quarantined(&served);
}

#[test]
fn the_operator_lifts_it() {
    let served = rolled_back();
    let hash = served.quarantine().list().unwrap().remove(0).hash;
    assert!(served.quarantine().release(&hash).unwrap());
    served.until("tried again", |served| served.serving() == ["guest@2.0.0"]);
    assert_eq!(served.status("guest").state, PluginState::Loaded);
    assert_eq!(served.status("guest").running.unwrap().health, "probation");
    // What fails again is out again.
    let bad = served.plugin("guest");
    for key in ["one", "two", "three"] {
        assert!(ask_as(&bad, "a", key).is_err());
    }
    served.until("rolled back again", |served| served.serving() == ["guest@1.0.0"]);
    assert_eq!(served.quarantine().list().unwrap().len(), 1);
}
