//! A server: started, stopped, frozen.

use std::fs::{self, DirBuilder};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// Nobody else is on this socket, so a name that needs no password is as good as any.
const USER: &str = "portcullis";

/// No network, little memory, nothing pressed to disk.
const SETTINGS: &str = "listen_addresses = ''\nfsync = off\nfull_page_writes = off\nshared_buffers = 16MB\n\
    max_connections = 200\nwal_level = minimal\nmax_wal_senders = 0\nautovacuum_naptime = 10\nlc_messages = 'C'\n\
    timezone = 'Pacific/Auckland'\n";

/// Waits until its standard input ends, then stops the server, which may be frozen, and removes its directory.
const WATCH: &str = r#"cat >/dev/null
kill -CONT "$(head -n 1 "$1/data/postmaster.pid")"
"$2/pg_ctl" stop -D "$1/data" -m immediate
rm -rf "$1""#;

/// A server of this process's own.
pub struct Server {
    programs: PathBuf,
    directory: PathBuf,
    data: PathBuf,
    account: Option<(u32, u32)>,
    databases: AtomicU32,
    /// Closed with this value or with the process: then the server goes.
    pipe: Option<ChildStdin>,
    watch: Child,
}

impl Server {
    /// Starts one with the programs in this directory.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(programs: PathBuf) -> Self {
        let account = unprivileged();
        let directory = private_directory(account);
        let mut watch = as_user(Path::new("/bin/sh"), account);
        watch.args(["-c", WATCH, "sh"]).arg(&directory).arg(&programs).stdin(Stdio::piped()).process_group(0);
        let mut watch = watch.spawn().expect("a shell starts");
        let data = directory.join("data");
        let server =
            Self { programs, directory, data, account, databases: AtomicU32::new(0), pipe: watch.stdin.take(), watch };
        server.run(
            "initdb",
            &["-D", text(&server.data), "--no-sync", "--auth=trust", "-E", "UTF8", "--locale=C", "-U", USER],
        );
        let settings = format!("{SETTINGS}unix_socket_directories = '{}'\n", server.directory.display());
        fs::write(server.settings(), settings).expect("the settings are written");
        server.start_again();
        server
    }

    /// The URL of a new and empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &["-h", self.socket(), "-U", USER, &name]);
        self.url(&name)
    }

    /// The URL of a database by its name.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://{USER}@localhost/{name}?host={}", self.socket())
    }

    /// The directory of PostgreSQL's programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Restarts it so that it also listens on a port of the loopback address, with TLS. The URL of a database over that, to which
    /// `sslmode` is to be added, and the certificate of who vouches for it, as a file.
    pub fn with_tls(&self, database: &str) -> (String, PathBuf) {
        let file = |name: &str| text(&self.directory.join(name)).to_owned();
        let (authority, authority_key) = (file("ca.crt"), file("ca.key"));
        let (certificate, key, request, names) = (file("tls.crt"), file("tls.key"), file("tls.csr"), file("names"));
        fs::write(&names, "subjectAltName = DNS:localhost\n").expect("a file is written");
        let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let make = |arguments: &[&str]| run(as_user(Path::new("openssl"), self.account).args(arguments), "openssl");
        make(
            &[&["req", "-x509"], &new[..], &["-subj", "/CN=test", "-keyout", &authority_key, "-out", &authority]]
                .concat(),
        );
        make(&[&["req"], &new[..], &["-subj", "/CN=localhost", "-keyout", &key, "-out", &request]].concat());
        let signed = ["x509", "-req", "-in", &request, "-CA", &authority, "-CAkey", &authority_key, "-CAcreateserial"];
        make(&[&signed[..], &["-extfile", &names, "-out", &certificate]].concat());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let settings = fs::read_to_string(self.settings()).expect("the settings are there");
        let settings = format!(
            "{settings}listen_addresses = 'localhost'\nport = {port}\nssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = \
             '{key}'\n"
        );
        fs::write(self.settings(), settings).expect("the settings are written");
        self.stop();
        self.start_again();
        (format!("postgres://{USER}@localhost:{port}/{database}"), authority.into())
    }

    /// Ends the server as a crash would: connections break, the next start recovers.
    pub fn stop(&self) {
        self.run("pg_ctl", &["stop", "-D", text(&self.data), "-m", "immediate"]);
    }

    /// Starts it after [`stop`](Self::stop), and waits until it answers.
    pub fn start_again(&self) {
        let log = self.directory.join("log");
        self.run("pg_ctl", &["start", "-w", "-D", text(&self.data), "-l", text(&log)]);
    }

    /// Freezes all of the server's processes: connections stay open, and nobody answers.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).expect("the server runs");
        let postmaster: libc::pid_t = file.lines().next().and_then(|line| line.parse().ok()).expect("it says its id");
        // The one that makes the others first, so that none escapes.
        send(postmaster, signal);
        for child in children(postmaster) {
            send(child, signal);
        }
    }

    fn socket(&self) -> &str {
        text(&self.directory)
    }

    fn settings(&self) -> PathBuf {
        self.data.join("postgresql.auto.conf")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        run(as_user(&self.programs.join(program), self.account).args(arguments), program);
    }
}

fn run(command: &mut Command, program: &str) {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    assert!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.watch.wait();
    }
}

/// A path that this module made, of ASCII.
fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory has a name in UTF-8")
}

/// The server refuses to run as root: who it is then.
fn unprivileged() -> Option<(u32, u32)> {
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("a system has accounts");
    let account = |name: &str| {
        let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    Some(account("postgres").or_else(|| account("nobody")).expect("there is an account besides root"))
}

/// In the system's own place for such, since that user must reach it; short, since a socket's path must be.
fn private_directory(account: Option<(u32, u32)>) -> PathBuf {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = format!("portcullis-pg-{}-{:x}", std::process::id(), now.subsec_nanos());
    let directory = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&directory).expect("a temporary directory can be made");
    if let Some((user, group)) = account {
        chown(&directory, Some(user), Some(group)).expect("root may give a directory away");
    }
    directory
}

fn as_user(program: &Path, account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    // Where the test stands may be closed to that user.
    command.current_dir("/").env("LC_ALL", "C").stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = account {
        command.uid(user).gid(group);
    }
    command
}

fn send(process: libc::pid_t, signal: libc::c_int) {
    // SAFETY: two numbers; a process that is gone is an error, which changes nothing.
    unsafe { libc::kill(process, signal) };
}

/// Those of `/proc` that have this parent.
fn children(parent: libc::pid_t) -> Vec<libc::pid_t> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is_child = |process: &libc::pid_t| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The name, in brackets, may hold anything; state and parent follow it.
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_stops_freezes_and_leaves_nothing() {
        let Some(server) = crate::own() else { return };
        let asks = |server: &Server| {
            let mut ready = as_user(&server.programs.join("pg_isready"), None);
            ready.args(["-h", server.socket(), "-t", "1"]).status().is_ok_and(|status| status.success())
        };
        assert_ne!(server.database(), server.database());
        assert!(asks(&server));
        server.stop();
        assert!(!asks(&server));
        server.start_again();
        assert!(asks(&server));
        server.freeze();
        assert!(!asks(&server));
        server.thaw();
        assert!(asks(&server));
        server.freeze();
        let directory = server.directory.clone();
        drop(server);
        assert!(!directory.exists());
    }
}
