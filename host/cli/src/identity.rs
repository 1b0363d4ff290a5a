//! `portcullis org|team|key|member|token|audit|admin`: who may do what. These act on the store itself, as the operating system's
//! user; a running gateway follows within a fraction of a second.

mod admin;
mod arguments;
mod audit;
mod key;
mod member;
mod org;
mod team;
mod token;

use anyhow::Result;
use portcullis_store::{Actor, Store};
use serde::Serialize;
use serde_json::Value;

pub use admin::AdminAction;
pub use audit::{AuditAction, time_ms};
pub use key::KeyAction;
pub use member::MemberAction;
pub use org::OrgAction;
pub use team::TeamAction;
pub use token::TokenAction;

use crate::{ConfigArgument, running, serve, table};

/// What is asked of one of these commands.
pub enum Action {
    Org(OrgAction),
    Team(TeamAction),
    Key(Box<KeyAction>),
    Member(MemberAction),
    Token(TokenAction),
    Audit(AuditAction),
    Admin(AdminAction),
}

/// A store and who acts on it.
struct Desk {
    store: Store,
    actor: Actor,
}

pub fn run(argument: &ConfigArgument, action: Action) -> Result<()> {
    let config = argument.load()?.store;
    serve::async_runtime(1)?.block_on(async {
        let desk = Desk { store: running::open(&config).await?, actor: Actor::cli(user()) };
        match action {
            Action::Org(action) => org::act(&desk, action).await,
            Action::Team(action) => team::act(&desk, action).await,
            Action::Key(action) => key::act(&desk, *action).await,
            Action::Member(action) => member::act(&desk, action).await,
            Action::Token(action) => token::act(&desk, action).await,
            Action::Audit(action) => audit::act(&desk, action).await,
            Action::Admin(action) => admin::act(&desk, action).await,
        }
    })
}

/// The operating system's name of who runs this, and not what the environment says of it; its number where it has no name.
pub fn user() -> String {
    use std::os::unix::fs::MetadataExt;
    let Ok(own) = std::fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let uid = own.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or(uid)
}

fn value(record: &impl Serialize) -> Value {
    serde_json::to_value(record).expect("records are plain data")
}

/// One record: as JSON, or field by field.
fn show(record: &Value, json: bool) {
    if json {
        println!("{record}");
        return;
    }
    for (name, value) in record.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => "-".to_owned(),
            Value::Number(number) if name.ends_with("_ms") => table::time(number.as_u64()),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        println!("{name:<20} {text}");
    }
}

/// What was done to what; the record with `--json`.
fn done(what: &str, id: impl ToString, name: &str, record: &Value, json: bool) {
    if json {
        println!("{record}");
    } else {
        println!("{what} {} ({name})", id.to_string());
    }
}

/// Rows, or all of it as JSON.
fn list(records: Vec<Value>, json: bool, columns: &[&str], row: impl Fn(&Value) -> Vec<String>) {
    if json {
        println!("{}", Value::Array(records));
    } else {
        table::print(columns, &records.iter().map(row).collect::<Vec<_>>());
    }
}

/// A field of a record for a table.
fn cell(record: &Value, name: &str) -> String {
    match &record[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if name.ends_with("_ms") => table::time(number.as_u64()),
        other => other.to_string(),
    }
}

/// Whether an organisation or team is in service.
fn state(suspended_ms: Option<u64>) -> &'static str {
    if suspended_ms.is_some() { "suspended" } else { "active" }
}
