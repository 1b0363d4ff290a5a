//! What calls cost: `cargo run --release -p portcullis-runtime --example measure -- FILE.wasm` with a policy component.
//!
//! Measured by hand when the runtime changes; the bench holds the whole path to its ratios.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_runtime::contract::policy::Subject;
use portcullis_runtime::contract::types::{Caller, Context};
use portcullis_runtime::{Isolation, Plugin, PluginManager, PluginSettings, Runtime, RuntimeOptions};

/// The best of so many batches counts: other programs only ever make one slower.
const BATCHES: u32 = 30;
const ROUNDS: u32 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).ok_or("name a component's file")?;
    let file = std::path::PathBuf::from(file);
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let directory = tempfile::tempdir()?;
    std::fs::copy(&file, directory.path().join(format!("{name}.wasm")))?;
    for isolation in [Isolation::Shared, Isolation::Tenant, Isolation::Fresh] {
        let settings = PluginSettings { isolation, ..PluginSettings::default() };
        let runtime = Runtime::new(RuntimeOptions::default())?;
        let settings = [(name.clone(), settings)].into();
        let manager = PluginManager::start(runtime, directory.path().to_owned(), settings, Box::new(|_| Ok(())))?;
        let plugin = manager.plugins().first().cloned().ok_or_else(|| format!("{:?}", manager.status()))?;
        println!("{isolation:?}: {:?} a request, {:?} a call within one", requests(&plugin), calls(&plugin));
        manager.shutdown();
    }
    let before = processor();
    std::thread::sleep(Duration::from_secs(3));
    println!("idle: {:?} of processor time in 3 s", processor() - before);
    Ok(())
}

fn requests(plugin: &Arc<Plugin>) -> Duration {
    let (context, subject) = (context(), subject());
    best(|| {
        let mut session = plugin.session("acme", "key", "req-1");
        session.evaluate_request(&context, &subject, None).expect("a call").expect("a verdict");
    })
}

fn calls(plugin: &Arc<Plugin>) -> Duration {
    let (context, subject) = (context(), subject());
    let mut session = plugin.session("acme", "key", "req-1");
    best(|| drop(session.evaluate_request(&context, &subject, None).expect("a call").expect("a verdict")))
}

fn best(mut round: impl FnMut()) -> Duration {
    let batch = |_| {
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| round());
        begin.elapsed() / ROUNDS
    };
    (0..BATCHES).map(batch).min().unwrap_or_default()
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req-1".to_owned(), development: false, extra: Vec::new() }
}

fn subject() -> Subject {
    Subject {
        caller: Caller {
            key_id: "key-1".to_owned(),
            organisation: "acme".to_owned(),
            team: None,
            user: None,
            environment: "production".to_owned(),
            tags: Vec::new(),
            region: None,
        },
        operation: "chat".to_owned(),
        format: "openai-chat".to_owned(),
        model: "gpt-5".to_owned(),
        stream: false,
        body_bytes: 1000,
        input_tokens: 250,
        max_output_tokens: None,
        tool_names: Vec::new(),
        needs: Vec::new(),
    }
}

/// Processor time of this process, user and system, from the kernel's ticks of 10 ms.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .flat_map(str::parse::<u64>)
        .sum();
    Duration::from_millis(ticks * 10)
}
