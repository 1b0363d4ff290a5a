//! A real PostgreSQL for tests: a server of its own in a temporary directory, with a database for each test.
//!
//! It listens on a Unix socket alone, runs as somebody who is not root, and does not outlive the process that started it,
//! however that ends: a shell waits at a pipe whose other end only this process has, and stops the server and removes its
//! directory when the pipe closes. What a test writes survives the server's crash and not the machine's: nothing is fsynced.

mod find;
mod server;

use std::sync::OnceLock;

pub use find::find;
pub use server::Server;

/// Where this is set to 1, tests fail that need a server and find none.
pub const REQUIRED: &str = "PORTCULLIS_REQUIRE_POSTGRES";

/// What is said, in one line, where there is no server to be had.
pub const ABSENT: &str =
    "no PostgreSQL (initdb, pg_ctl, postgres and createdb on PATH or in /usr/lib/postgresql/*/bin)";

/// This process's server, started when it is first asked for; `None`, said in one line, where there is none to be had.
///
/// # Panics
/// It is there and does not start, or is absent and [`REQUIRED`] says that it must not be.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(own).as_ref()
}

/// The URL of a new and empty database on [`shared`].
pub fn database() -> Option<String> {
    shared().map(Server::database)
}

/// A server for one test alone, which may stop or freeze it.
///
/// # Panics
/// As [`shared`].
pub fn own() -> Option<Server> {
    let Some(programs) = find() else {
        assert!(std::env::var_os(REQUIRED).is_none_or(|value| value != "1"), "{REQUIRED} is set: {ABSENT}");
        eprintln!("skipped: {ABSENT}");
        return None;
    };
    Some(Server::start(programs))
}
