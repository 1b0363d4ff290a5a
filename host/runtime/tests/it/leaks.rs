//! Nothing of a replaced version stays.

use portcullis_runtime::{Isolation, PluginSettings};
use serde_json::json;

use crate::support::*;

const SWAPS: usize = 300;

/// Resident memory in KB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn hundreds_of_swaps_leave_no_code_and_no_instances() {
    let versions =
        [Guest::policy().version("1.0.0"), Guest::policy().version("1.0.1"), Guest::policy().version("1.0.2")];
    let settings = PluginSettings { isolation: Isolation::Shared, ..configured(json!({"on_request": "version"})) };
    let served = serve(&[("guest", &versions[0])], &[("guest", settings)]);
    let mut early = 0;
    for swap in 0..SWAPS {
        versions[(swap + 1) % 3].install(&served.file("guest"));
        served.manager.rescan().unwrap();
        let plugin = served.plugin("guest");
        assert_eq!(ask(&plugin).unwrap(), format!("1.0.{}", (swap + 1) % 3));
        let statistics = served.runtime.statistics();
        // The one that serves and the one to go back to.
        assert!(statistics.components <= 2, "after swap {swap}: {statistics:?}");
        assert!(statistics.instances <= 2, "after swap {swap}: {statistics:?}");
        if swap == SWAPS / 3 {
            early = resident();
        }
    }
    let late = resident();
    // Loose, since other tests run beside this one.
    assert!(late < early + 60_000, "from {early} KB to {late} KB");
}
