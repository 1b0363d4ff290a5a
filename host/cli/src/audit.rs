//! `portcullis audit`: the ledger and the audit trail, proven.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use portcullis_gateway::config::Config;
use portcullis_store::chain::{Presence, Report};
use portcullis_store::{Anchor, Checkpoint, PublicKey, Store, Verification};
use serde_json::{Value, json};

use crate::{ConfigArgument, checkpoints, identity, running, serve, table};

#[derive(Subcommand)]
pub enum AuditAction {
    #[command(flatten)]
    Trail(identity::AuditAction),
    /// Prove the ledger and the audit trail. Names the first thing that is wrong, and fails where there is one.
    Verify {
        /// A key that checkpoints may be signed with, in base64, hex or PEM, or a file that holds it; repeat for more. By default the
        /// configured key's.
        #[arg(long = "public-key")]
        public_keys: Vec<String>,
        /// A file of anchors, as `head` prints them and `audit.anchor_file` collects them: they must all be there still.
        #[arg(long = "anchor")]
        anchors: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign how far everything goes, now.
    Checkpoint {
        /// With the configured key although nobody handed over to it: the one before is lost. Who verifies must then name both.
        #[arg(long)]
        accept_new_key: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List checkpoints, newest first.
    Checkpoints {
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the newest checkpoint, to be kept elsewhere.
    Head,
    /// Print the public key.
    Key {
        /// As PEM.
        #[arg(long)]
        pem: bool,
    },
    /// Replace the signing key in its file. The old one signs that the new one follows.
    RotateKey,
}

pub fn run(argument: &ConfigArgument, action: AuditAction) -> Result<()> {
    if let AuditAction::Trail(action) = action {
        return identity::run(argument, identity::Action::Audit(action));
    }
    let config = argument.load()?;
    serve::async_runtime(1)?.block_on(async { act(&config, action).await })
}

async fn act(config: &Config, action: AuditAction) -> Result<()> {
    let open = || running::open(&config.store);
    match action {
        AuditAction::Trail(_) => unreachable!("it is acted on before"),
        AuditAction::Verify { public_keys, anchors, json } => {
            let store = open().await?;
            let mut given = Verification::default();
            for key in &public_keys {
                given.trusted.push(public_key(key)?);
            }
            if given.trusted.is_empty() {
                given.trusted.push(checkpoints::key(&store, config).await?.public());
            }
            for path in &anchors {
                given.anchors.extend(read_anchors(path)?);
            }
            verify(&store, &given, json).await
        }
        AuditAction::Checkpoint { accept_new_key, json } => {
            let store = open().await?;
            let key = checkpoints::key(&store, config).await?;
            let made = match accept_new_key {
                true => store.checkpoint_with_another_key(&key).await?,
                false => store.checkpoint(&key, None).await?,
            };
            if let (Some(made), Some(file)) = (&made, &config.audit.anchor_file) {
                checkpoints::append(file, &[made.anchor()]).with_context(|| file.display().to_string())?;
            }
            match (made, json) {
                (Some(made), true) => println!("{}", made.anchor().to_json()),
                (Some(made), false) => println!("checkpoint {} joins {} chains", made.number, made.heads.len()),
                (None, true) => println!("null"),
                (None, false) => println!("nothing was written since the newest checkpoint"),
            }
            Ok(())
        }
        AuditAction::Checkpoints { limit, json } => {
            let all = open().await?.checkpoints(None, limit).await?;
            if json {
                let lines: Vec<String> = all.iter().map(|one| one.anchor().to_json()).collect();
                println!("[{}]", lines.join(","));
            } else {
                let row = |one: &Checkpoint| {
                    let anchor = one.anchor();
                    let time = table::time(u64::try_from(one.time_ms).ok());
                    vec![one.number.to_string(), time, one.public_key.to_string(), anchor.hash_text()]
                };
                table::print(&["NUMBER", "TIME", "SIGNED BY", "HASH"], &all.iter().map(row).collect::<Vec<_>>());
            }
            Ok(())
        }
        AuditAction::Head => {
            let newest = open().await?.newest_checkpoint().await?.context("there is no checkpoint yet")?;
            println!("{}", newest.anchor().to_json());
            Ok(())
        }
        AuditAction::Key { pem } => {
            let key = config.audit.key(&config.store.path).fetch()?.public();
            if pem {
                print!("{}", key.pem());
            } else {
                println!("{key}");
            }
            Ok(())
        }
        AuditAction::RotateKey => {
            let made = open().await?.rotate_audit_key(&config.audit.key(&config.store.path)).await?;
            println!("checkpoint {} hands over from {} to {}", made.number, made.public_key, made.signer_of_next());
            Ok(())
        }
    }
}

fn public_key(text: &str) -> Result<PublicKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let content = std::fs::read_to_string(text).with_context(|| format!("{text} is no public key, and no file"))?;
    content.parse().with_context(|| text.to_owned())
}

fn read_anchors(path: &Path) -> Result<Vec<Anchor>> {
    let content = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            Anchor::from_json(line)
                .with_context(|| format!("{}:{}: no anchor that its key has signed", path.display(), at + 1))
        })
        .collect()
}

async fn verify(store: &Store, given: &Verification, json: bool) -> Result<()> {
    let report = store.verify(given).await?;
    if json {
        println!("{}", as_json(&report));
    } else {
        print(&report);
    }
    match &report.fault {
        None => Ok(()),
        Some(fault) if json => bail!("the proof fails: {}", fault.table),
        Some(fault) => bail!("the proof fails: {fault}"),
    }
}

fn as_json(report: &Report) -> Value {
    let presence = |of: Presence| json!({"proven": of.proven, "expired": of.expired, "unsealed": of.unsealed});
    json!({
        "verified": report.fault.is_none(),
        "fault": report.fault.as_ref().map(|fault| json!({
            "table": fault.table,
            "chain": fault.chain_name(),
            "seq": fault.seq,
            "request_id": fault.request.map(|request| request.to_string()),
            "what": fault.what,
        })),
        "chains": report.chains,
        "entries": report.entries,
        "events": report.events,
        "seals": report.seals,
        "requests": presence(report.requests),
        "receipt_pages": presence(report.pages),
        "checkpoints": report.checkpoints,
        "anchors": report.anchors,
        "keys": report.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unsigned_links": report.unsigned,
        "newest_checkpoint": report.newest.as_ref().map(|newest| json!({
            "checkpoint": newest.checkpoint,
            "time_ms": newest.time_ms,
        })),
        "seconds": report.took.as_secs_f64(),
        "entries_per_second": per_second(report.entries, report.took),
    })
}

fn per_second(count: u64, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64().max(1e-6)) as u64
}

fn print(report: &Report) {
    let presence = |of: Presence| {
        let mut text = format!("{}", of.proven);
        for (count, what) in [(of.expired, "expired"), (of.unsealed, "older than the chains")] {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text
    };
    for (name, value) in [
        ("entries", format!("{} in {} chains", report.entries, report.chains)),
        ("audit events", report.events.to_string()),
        ("requests", presence(report.requests)),
        ("pages of receipts", presence(report.pages)),
        ("checkpoints", format!("{}, {} anchored outside", report.checkpoints, report.anchors)),
        ("signed by", report.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("not signed yet", format!("{} links", report.unsigned)),
        ("took", format!("{:.2} s, {} entries/s", report.took.as_secs_f64(), per_second(report.entries, report.took))),
    ] {
        println!("{name:<18} {value}");
    }
    if report.fault.is_none() {
        println!("verified");
    }
}
