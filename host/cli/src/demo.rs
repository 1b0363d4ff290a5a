//! `portcullis demo`: everything in one process, on loopback, offline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use portcullis_core::Environment;
use portcullis_demo_upstream as upstream;
use portcullis_gateway::config::{Config, ProcessEnvironment, watch};
use portcullis_store::{Actor, NewKey};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::running::Running;
use crate::{logging, serve};

#[derive(Args)]
pub struct DemoArguments {
    /// Where to listen. The next free port where this one is taken.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
    /// The folder of built plugins.
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
    /// Where the database, the cache and the configuration of the demo are kept.
    #[arg(long, default_value = ".portcullis/demo")]
    data: PathBuf,
    /// Where the plugins' compiled code is kept, if elsewhere: demos that share it compile each plugin once.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Milliseconds between the tokens of a stream of the demo provider.
    #[arg(long, default_value_t = 15)]
    token_delay: u64,
}

pub fn run(arguments: DemoArguments) -> Result<()> {
    logging::start("warn,portcullis=info");
    ensure!(
        arguments.plugins.is_dir(),
        "there are no built plugins in {}: run `cargo xtask plugins`",
        arguments.plugins.display()
    );
    serve::async_runtime(0)?.block_on(demo(arguments))
}

async fn demo(arguments: DemoArguments) -> Result<()> {
    let provider = upstream::serve(
        TcpListener::bind("127.0.0.1:0").await?,
        upstream::Options { token_delay: Duration::from_millis(arguments.token_delay), ..upstream::Options::default() },
    )?;
    std::fs::create_dir_all(&arguments.data).with_context(|| arguments.data.display().to_string())?;
    let path = arguments.data.join("portcullis.toml");
    let text = configuration(&arguments, provider.address());
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    let config = Config::load(Some(&path), &ProcessEnvironment)?;
    let running = match Running::start(config.clone(), Some(arguments.listen)).await {
        Ok(running) => running,
        Err(error) if is_taken(&error) => {
            let any = std::net::SocketAddr::new(arguments.listen.ip(), 0);
            Running::start(config, Some(any)).await?
        }
        Err(error) => return Err(error),
    };
    let created = running.store.create_key(&Actor::system(), NewKey::new("demo", Environment::Development)).await?;
    print_welcome(&running, created.secret.expose(), &path, &arguments.plugins);
    let mut changes = watch::changes(path.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = changes.next() => serve::reload(&running, Some(&path)).await,
        }
    }
    running.stop(Duration::from_secs(2)).await;
    Ok(())
}

fn is_taken(error: &anyhow::Error) -> bool {
    let taken = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::AddrInUse;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(taken))
}

/// The demo's configuration: the demo provider in its three protocols, the real ones where their keys are in the environment.
fn configuration(arguments: &DemoArguments, provider: std::net::SocketAddr) -> String {
    let quoted = |path: &Path| toml_string(&path.display().to_string());
    let mut text = format!(
        r#"# Written by `portcullis demo` at each start. Change it while the demo runs: it is read again.

[server]
development = true

[store]
path = {store}

[plugins]
directory = {plugins}
cache = {cache}
state = {state}
rescan_seconds = 1

[providers.demo]
plugin = "openai"
base_url = "http://{provider}/v1"
models = ["demo", "demo-echo", "demo-tool", "demo-think", "demo-slow", "*"]
only = ["none"]

[providers.demo-anthropic]
plugin = "anthropic"
base_url = "http://{provider}"
auth = "header:x-api-key"
models = ["demo", "demo-echo", "demo-tool", "demo-think", "demo-slow", "*"]
only = ["none"]

[providers.demo-gemini]
plugin = "gemini"
base_url = "http://{provider}/v1beta"
auth = "header:x-goog-api-key"
models = ["*"]
only = ["none"]

[routing]
auto = ["demo/demo", "demo-anthropic/demo"]

[[pricing.price]]
model = "demo/*"
input = "0.15"
output = "0.60"

[[pricing.price]]
model = "demo-anthropic/*"
input = "0.25"
output = "1.25"

[[pricing.price]]
model = "demo-gemini/*"
input = "0.30"
output = "2.50"
"#,
        store = quoted(&arguments.data.join("portcullis.db")),
        plugins = quoted(&arguments.plugins),
        cache = quoted(&arguments.cache.clone().unwrap_or_else(|| arguments.data.join("cache"))),
        state = quoted(&arguments.data.join("plugins")),
    );
    for (name, variable, rest) in [
        ("openai", "OPENAI_API_KEY", "base_url = \"https://api.openai.com/v1\"\n"),
        ("anthropic", "ANTHROPIC_API_KEY", "base_url = \"https://api.anthropic.com\"\nauth = \"header:x-api-key\"\n"),
    ] {
        if std::env::var(variable).is_ok_and(|value| !value.is_empty()) {
            text.push_str(&format!("\n[providers.{name}]\nplugin = \"{name}\"\n{rest}api_key = \"${{{variable}}}\"\n"));
        }
    }
    text
}

fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn print_welcome(running: &Running, key: &str, config: &Path, plugins: &Path) {
    let base = format!("http://{}", running.address());
    let loaded: Vec<String> =
        running.plugins.plugins().iter().map(|plugin| format!("{} {}", plugin.name(), plugin.version())).collect();
    println!(
        r#"
Portcullis is running.

  base URL   {base}/v1
  key        {key}
  plugins    {loaded}
             from {plugins} (drop, replace or remove a file: it is live at once)
  config     {config} (read again when it changes)

A streamed answer through a dialect, a policy, a guard, a router and a provider, each a WebAssembly component
(OpenAI's protocol to Anthropic's; with "model":"auto" the router chooses, and where protocols agree the bytes pass through):

  curl -N {base}/v1/chat/completions \
    -H 'Authorization: Bearer {key}' \
    -H 'Content-Type: application/json' \
    -d '{{"model":"demo-anthropic/demo","stream":true,"messages":[{{"role":"user","content":"Hello! I am ada@example.org."}}]}}'

Its receipt (the id is in the answer's x-portcullis-request-id header; add -i to see it):

  curl {base}/v1/receipts/ID -H 'Authorization: Bearer {key}'

The same from Python, with the official SDK (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{base}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(
      model="demo-anthropic/demo", stream=True,
      messages=[{{"role": "user", "content": "Tell me about gates."}}],
  ):
      print(chunk.choices[0].delta.content if chunk.choices else "", end="", flush=True)

Ctrl-C ends it."#,
        loaded = loaded.join(", "),
        plugins = plugins.display(),
        config = config.display(),
    );
}
