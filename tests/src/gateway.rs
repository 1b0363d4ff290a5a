//! A gateway as a process: its folder, its configuration, its life and death.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis_demo_upstream::{Handle, Options, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::{Client, Ledger, PluginFolder, eventually, within};

/// The demo provider in this process, quick, and with a memory of what it was sent.
pub async fn demo() -> Handle {
    let options = Options {
        token_delay: Duration::from_millis(1),
        slow_token_delay: Duration::from_millis(100),
        keep_requests: 10_000,
        ..Options::default()
    };
    demo_with(options).await
}

pub async fn demo_with(options: Options) -> Handle {
    serve(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), options).expect("the demo provider")
}

/// A gateway before its start.
pub struct Setup {
    plugins: Vec<String>,
    config: String,
    /// The URL of PostgreSQL.
    database: Option<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// With every plugin and nobody to ask.
    pub fn new() -> Self {
        Setup { plugins: PluginFolder::all(), config: String::new(), database: None, environment: Vec::new() }
    }

    /// With the demo provider as `demo` (OpenAI's protocol) and `demo-anthropic`.
    pub fn demo(demo: &Handle) -> Self {
        let address = demo.address();
        Self::new().openai("demo", address).anthropic("demo-anthropic", address)
    }

    /// A provider that speaks OpenAI's protocol and offers any model, at 1 and 2 USD for a million tokens.
    pub fn openai(self, name: &str, address: SocketAddr) -> Self {
        self.provider(name, "openai", &format!("http://{address}/v1"), "")
    }

    /// The same with Anthropic's.
    pub fn anthropic(self, name: &str, address: SocketAddr) -> Self {
        self.provider(name, "anthropic", &format!("http://{address}"), "auth = \"header:x-api-key\"\n")
    }

    /// `more` is further lines of its section.
    pub fn provider(mut self, name: &str, plugin: &str, base_url: &str, more: &str) -> Self {
        write!(
            self.config,
            "\n[providers.{name}]\nplugin = \"{plugin}\"\nbase_url = \"{base_url}\"\nmodels = [\"demo\", \"*\"]\nonly = [\"none\"]\n{more}\n\
             [[pricing.price]]\nmodel = \"{name}/*\"\ninput = \"1\"\noutput = \"2\"\n"
        )
        .expect("memory");
        self
    }

    /// Further sections of the configuration.
    pub fn with(mut self, config: &str) -> Self {
        self.config.push('\n');
        self.config.push_str(config);
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On PostgreSQL instead of SQLite.
    pub fn on_postgres(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    /// Only these plugins are in the folder.
    pub fn plugins(mut self, names: &[&str]) -> Self {
        self.plugins = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    pub fn without(mut self, plugin: &str) -> Self {
        self.plugins.retain(|name| name != plugin);
        self
    }

    /// Starts it; it serves when this returns.
    pub async fn start(self) -> Gateway {
        let folder = TempDir::new().expect("a temporary folder");
        let plugins = PluginFolder::create(folder.path().join("plugins"), &self.plugins);
        let home = Arc::new(Home { folder, database: self.database, environment: self.environment });
        home.configure(&self.config);
        Gateway::launch(home, plugins).await
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// What outlives a process.
struct Home {
    folder: TempDir,
    database: Option<String>,
    environment: Vec<(String, String)>,
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, sections: &str) {
        let quoted = |path: &Path| Value::from(path.display().to_string()).to_string();
        let url = self.database.as_ref().map(|url| format!("url = {}\n", Value::from(&**url))).unwrap_or_default();
        let text = format!(
            "[store]\npath = {}\n{url}\n[plugins]\ndirectory = {}\ncache = {}\nstate = {}\nrescan_seconds = 1\n{sections}",
            quoted(&self.path("portcullis.db")),
            quoted(&self.path("plugins")),
            quoted(&code_cache()),
            quoted(&self.path("state")),
        );
        // Replaced at once: a file that is written in place is read half.
        let aside = self.path("portcullis.toml.new");
        std::fs::write(&aside, text).expect("the configuration is written");
        std::fs::rename(aside, self.path("portcullis.toml")).expect("the configuration is replaced");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.folder.path()).kill_on_drop(true);
        for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PORTCULLIS_LOG_FORMAT"] {
            command.env_remove(name);
        }
        command.env("RUST_LOG", "info").env("PORTCULLIS_CONFIG", self.path("portcullis.toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.path("gateway.log")).expect("the log")
    }
}

/// What a gateway that was killed leaves.
pub struct Dead {
    home: Arc<Home>,
    plugins: PluginFolder,
}

impl Dead {
    pub async fn restart(self) -> Gateway {
        Gateway::launch(self.home, self.plugins).await
    }
}

/// A running gateway. It is killed when this is dropped.
pub struct Gateway {
    pub address: SocketAddr,
    pub plugins: PluginFolder,
    home: Arc<Home>,
    child: Child,
}

impl Gateway {
    async fn launch(home: Arc<Home>, plugins: PluginFolder) -> Self {
        let mut command = home.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(home.log());
        let mut child = command.spawn().expect("the gateway starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        // Components are compiled where nobody did before.
        let line = within(120, "the gateway's start", lines.next_line()).await.expect("its output");
        let address = line.as_deref().and_then(|line| line.strip_prefix("listening on http://")?.parse().ok());
        let Some(address) = address else {
            panic!("the gateway did not start: {line:?}\n{}", read(&home.path("gateway.log")))
        };
        Gateway { address, plugins, home, child }
    }

    /// Makes a key, with further arguments to `key create`.
    pub async fn key(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["key", "create", "--name", "test", "--json"];
        all.extend(arguments);
        let output = self.run(&all).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// A client with a key of its own.
    pub async fn client(&self) -> Client {
        self.client_with(&[]).await
    }

    pub async fn client_with(&self, arguments: &[&str]) -> Client {
        let key = self.key(arguments).await["key"].as_str().expect("a key").to_owned();
        Client { address: self.address, key }
    }

    /// Runs the program beside the gateway, with its configuration.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.home.command().args(arguments).output();
        within(60, "a command", output).await.expect("the program runs")
    }

    /// Writes new sections after those of the folder. The caller waits for whatever shall follow.
    pub fn configure(&self, sections: &str) {
        self.home.configure(sections);
    }

    /// The file itself, for faults in it.
    pub fn config_path(&self) -> PathBuf {
        self.home.path("portcullis.toml")
    }

    /// Something in the gateway's folder: `portcullis.db`, …
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    /// What stands in the log so far.
    pub fn log(&self) -> String {
        read(&self.home.path("gateway.log"))
    }

    /// Waits for a line that has all of these in it.
    pub async fn logged(&self, words: &[&str]) {
        let has = || self.log().lines().any(|line| words.iter().all(|word| line.contains(word)));
        eventually(&format!("{words:?} in the log"), || async { has() }).await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.pid()).expect("a process id");
        // SAFETY: a signal to a child that was not waited for, whose id is therefore still its own.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "the signal is sent");
    }

    /// Waits for its end.
    pub async fn ended(&mut self, seconds: u64) -> ExitStatus {
        within(seconds, "the gateway's end", self.child.wait()).await.expect("it is waited for")
    }

    /// `kill -9` where it still lives, then a new process over the same folder, under another address.
    pub async fn kill_and_restart(self) -> Gateway {
        self.kill().await.restart().await
    }

    pub async fn kill(mut self) -> Dead {
        self.child.kill().await.expect("it is killed, or was");
        Dead { home: self.home.clone(), plugins: self.plugins.clone() }
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// The database, to be read beside the gateway.
    pub async fn ledger(&self) -> Ledger {
        match &self.home.database {
            None => Ledger::open(&self.home.path("portcullis.db")).await,
            Some(url) => Ledger::on_postgres(url).await,
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The built program.
fn program() -> PathBuf {
    let program = std::env::var_os("PORTCULLIS_BIN").map_or_else(|| built("debug/portcullis"), PathBuf::from);
    assert!(program.is_file(), "no gateway at {}: run `cargo xtask test`, or build it", program.display());
    program
}

/// What a build of this checkout left in its target folder.
pub(crate) fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(name)
}

/// One cache of compiled code for all tests: what is under test is seldom the compiler.
fn code_cache() -> PathBuf {
    std::env::temp_dir().join("portcullis-tests-code")
}
