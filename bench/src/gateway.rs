//! The gateway as a target: its configuration, its key, its start.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::bodies;
use crate::process::Process;
use crate::scenario::{Instances, Plugins, SMALL, Setup, Upstream};
use crate::target::Target;
use crate::wire::Client;

/// Where the built things are.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The `portcullis` program.
    pub program: PathBuf,
    /// The folder of components.
    pub plugins: PathBuf,
    /// For configurations, databases and the code cache.
    pub scratch: PathBuf,
    /// The upstream's certificate, where it is reached by TLS.
    pub certificate: Option<PathBuf>,
}

/// How long a gateway may take to answer, its plugins compiled the first time.
const START_LIMIT: Duration = Duration::from_secs(120);

impl Installation {
    /// Starts a gateway on these cores, or anywhere if none is named, and waits for its first 200. Returns how long that took.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub fn start(&self, setup: Setup, cores: &[usize], upstream: SocketAddr) -> Result<(Target, Duration)> {
        let probe = bodies::chat("demo-bench", SMALL, false);
        self.launch(&setup.to_string(), &self.work_of(setup, upstream), &probe, cores)
    }

    /// Starts a gateway with these sections in its file and waits until it answers the chat request `probe` with 200. Returns how long
    /// that took.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub fn launch(&self, name: &str, sections: &str, probe: &str, cores: &[usize]) -> Result<(Target, Duration)> {
        let address = free_address()?;
        let folder = tempfile::Builder::new().prefix("gateway-").tempdir_in(&self.scratch)?.keep();
        let config = folder.join("portcullis.toml");
        std::fs::write(&config, self.places(address, &folder) + sections)?;
        let key = self.key(&config)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&config).env("RUST_LOG", "warn");
        if let Some(certificate) = &self.certificate {
            command.env("SSL_CERT_FILE", certificate);
        }
        let log = std::fs::File::create(folder.join("log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let process = Process::start(command, cores)?;
        let mut target = Target { process, address, path: "/v1/chat/completions", key: Some(key) };
        let taken = first_200(&mut target, probe).with_context(|| {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            format!(
                "{name}: the gateway does not answer; its configuration is {}; its log ends:\n{}",
                config.display(),
                tail(&log)
            )
        })?;
        Ok((target, taken))
    }

    fn key(&self, config: &Path) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["key", "create", "--name", "bench", "--environment", "development", "--json"]);
        let output = command.env("PORTCULLIS_CONFIG", config).output();
        let output = output.with_context(|| format!("cannot run {}", self.program.display()))?;
        ensure!(output.status.success(), "no key: {}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).context("the key is not JSON")?;
        Ok(made["key"].as_str().context("the answer holds no key")?.to_owned())
    }

    /// Where the gateway listens and keeps its things.
    fn places(&self, listen: SocketAddr, folder: &Path) -> String {
        let quoted = |path: &Path| Value::from(path.display().to_string()).to_string();
        format!(
            "[server]\nlisten = \"{listen}\"\n\n[store]\npath = {}\n\n[plugins]\ndirectory = {}\ncache = {}\nstate = {}\n",
            quoted(&folder.join("data/portcullis.db")),
            quoted(&self.plugins),
            quoted(&self.scratch.join("cache")),
            quoted(&folder.join("data/plugins")),
        )
    }

    /// Providers, prices and plugins.
    fn work_of(&self, setup: Setup, upstream: SocketAddr) -> String {
        let mut text = String::new();
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let (plugin, base, auth) = match setup.upstream {
            Upstream::Same => ("openai", format!("{scheme}://{upstream}/v1"), "bearer"),
            Upstream::Cross => ("anthropic", format!("{scheme}://{upstream}"), "header:x-api-key"),
        };
        // Two connections offer the model, so that there is something to route.
        for name in ["first", "second"] {
            let _ = write!(
                text,
                "\n[providers.{name}]\nplugin = \"{plugin}\"\nbase_url = \"{base}\"\napi_key = \"demo\"\nauth = \"{auth}\"\n\
                 models = [\"*\", \"demo-bench\", \"demo-bench-stream-{DELTAS}\", \"demo-bench-stream-{FEW}\"]\n\
                 \n[[pricing.price]]\nmodel = \"{name}/*\"\ninput = \"1.00\"\noutput = \"2.00\"\n",
                DELTAS = crate::scenario::DELTAS,
                FEW = crate::scenario::FEW_DELTAS,
            );
        }
        let reads = setup.plugins == Plugins::Content;
        for (name, content) in
            [("openai", true), ("anthropic", true), ("policy-rules", false), ("router-heuristic", reads), ("pii", true)]
        {
            let enabled = match name {
                "policy-rules" | "router-heuristic" => setup.plugins != Plugins::None,
                "pii" => setup.plugins == Plugins::Content,
                _ => true,
            };
            text.push_str(&section(name, enabled, setup.instances, content));
        }
        text.push_str(POLICY);
        text
    }
}

/// A plugin's section; `content` says whether it reads any.
pub(crate) fn section(name: &str, enabled: bool, instances: Instances, content: bool) -> String {
    let isolation = match (instances, content) {
        (Instances::Fresh, _) => "fresh",
        (Instances::Warm, true) => "tenant",
        (Instances::Warm, false) => "shared",
    };
    let access = if content { "" } else { "access = { content_read = false }\n" };
    format!("\n[plugin.{name}]\nenabled = {enabled}\nisolation = \"{isolation}\"\n{access}")
}

/// Rules to look through, none of which applies to the benchmark's own request but the last.
pub(crate) const POLICY: &str = r#"
[plugin.policy-rules.config]
rules = [
    { name = "strangers", when = { organisations = "nobody" }, then = "deny" },
    { name = "dear-models", when = { models = "gpt-5*", environments = "production" }, then = "deny" },
    { name = "short", then = { constrain = { max_output_tokens = 4096 } } },
]
"#;

fn first_200(target: &mut Target, probe: &str) -> Result<Duration> {
    let request = target.request(probe);
    let mut last = None;
    while target.process.started.elapsed() < START_LIMIT {
        target.process.check()?;
        let asked = Client::connect(target.address).and_then(|mut client| client.exchange(&request, None));
        match asked {
            Ok(_) => return Ok(target.process.started.elapsed()),
            Err(error) => last = Some(error),
        }
        thread::sleep(Duration::from_micros(500));
    }
    match last {
        Some(error) => Err(error.context("no 200 yet")),
        None => bail!("never asked"),
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// How long the process rests before its idle memory is read.
pub const REST: Duration = Duration::from_secs(2);
