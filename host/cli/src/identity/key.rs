//! `portcullis key`

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use portcullis_core::receipt::Tag;
use portcullis_core::{Clock, Environment, SystemClock};
use portcullis_store::{ActiveKey, CreatedKey, KeyEdit, KeyFilter, KeyRecord, NewKey, RequestDefaults, Store};
use serde_json::{Value, json};

use super::arguments::{PolicyArguments, PolicyName, header_value, in_days, member, open, span, tag, team};
use super::{Desk, cell, done, list, value};
use crate::table;

#[derive(Subcommand)]
pub enum KeyAction {
    /// Make a key. It is shown once.
    Create {
        /// What people call it.
        #[arg(long)]
        name: String,
        /// `production` or `development`.
        #[arg(long, default_value = "production")]
        environment: Environment,
        /// The organisation, by its id or name; the default one, or the team's, where none is named.
        #[arg(long)]
        org: Option<String>,
        /// The team, by its id or name.
        #[arg(long)]
        team: Option<String>,
        /// Whose it is, by id or e-mail address.
        #[arg(long)]
        member: Option<String>,
        /// Days until it expires; never by default.
        #[arg(long)]
        expires_in_days: Option<u64>,
        #[command(flatten)]
        policy: PolicyArguments,
        /// `name=value`, kept with its usage; repeat for more.
        #[arg(long = "tag", value_parser = tag)]
        tags: Vec<Tag>,
        /// The protocol that it speaks on paths which several share, such as `flat` on `/v1/chat/completions`. A request that has the
        /// header `x-portcullis-format` says it for itself.
        #[arg(long, value_parser = header_value)]
        format: Option<String>,
        /// `body`: answers tell their way through the gateway in their body too, and not in a header alone. A request that has the
        /// header `x-portcullis-metadata` says it for itself.
        #[arg(long, value_parser = header_value)]
        metadata: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List keys.
    List {
        /// Only those of this organisation.
        #[arg(long)]
        org: Option<String>,
        /// Only those of this team.
        #[arg(long)]
        team: Option<String>,
        /// Only this member's.
        #[arg(long)]
        member: Option<String>,
        /// Only those of this environment.
        #[arg(long)]
        environment: Option<Environment>,
        /// Only those that expire within so many days, the soonest first.
        #[arg(long, value_name = "DAYS")]
        expiring: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a key with all it may do and whose word that is, by its id or the part of it that `list` shows.
    Show {
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a key.
    Edit {
        key: String,
        #[arg(long)]
        name: Option<String>,
        /// Days from now until it expires.
        #[arg(long, conflicts_with = "never_expires")]
        expires_in_days: Option<u64>,
        /// Let it not expire by its own word.
        #[arg(long)]
        never_expires: bool,
        #[command(flatten)]
        policy: PolicyArguments,
        /// Say nothing any more of this; repeat for more.
        #[arg(long, value_enum, value_name = "WHAT")]
        any: Vec<PolicyName>,
        /// `name=value`; those named take the place of all there are.
        #[arg(long = "tag", value_parser = tag)]
        tags: Vec<Tag>,
        /// Take all its tags.
        #[arg(long, conflicts_with = "tags")]
        no_tags: bool,
        #[arg(long, value_parser = header_value)]
        format: Option<String>,
        #[arg(long, value_parser = header_value)]
        metadata: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret, which is shown once. The one before goes on for a while.
    Rotate {
        key: String,
        /// How long the secret before goes on: `90s`, `30m`, `24h`, `7d`, 30 days at most; `0` ends it now.
        #[arg(long, default_value = "24h", value_parser = span)]
        grace: Duration,
        /// Days until the new secret expires. Where none are given and the key has an end, it lives as long as the one before was
        /// to.
        #[arg(long)]
        expires_in_days: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refuse a key for the time being.
    Suspend {
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Serve a suspended key again.
    Resume {
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key for good. Returns when every gateway knows.
    Revoke {
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub async fn act(Desk { store, actor }: &Desk, action: KeyAction) -> Result<()> {
    match action {
        KeyAction::Create {
            name,
            environment,
            org,
            team: in_team,
            member: whose,
            expires_in_days,
            policy,
            tags,
            format,
            metadata,
            json,
        } => {
            let (organisation, team) = team(store, org.as_deref(), in_team.as_deref()).await?;
            let new = NewKey {
                organisation,
                team,
                member: member(store, whose.as_deref()).await?,
                expires_ms: expires_in_days.map(in_days),
                policy: policy.policy(),
                tags,
                defaults: RequestDefaults { format, metadata },
                ..NewKey::new(name, environment)
            };
            show_secret(store, store.create_key(actor, new).await?, json).await?;
        }
        KeyAction::List { org, team: in_team, member: whose, environment, expiring, json } => {
            let named = org.is_some() || in_team.is_some();
            let (organisation, team) = if named {
                let (organisation, team) = team(store, org.as_deref(), in_team.as_deref()).await?;
                (Some(organisation), team)
            } else {
                (None, None)
            };
            let member = member(store, whose.as_deref()).await?;
            let filter = KeyFilter { organisation, team, member, environment, ..KeyFilter::default() };
            let keys = match expiring {
                None => store.active_keys(&filter).await?,
                Some(days) => {
                    let expiring = store.expiring_keys(organisation, days).await?.into_iter().map(|one| one.key);
                    expiring
                        .filter(|key| {
                            (team.is_none() || key.team == team)
                                && (member.is_none() || key.member == member)
                                && environment.is_none_or(|environment| key.environment == environment)
                        })
                        .collect()
                }
            };
            let columns = ["ID", "PREFIX", "ENVIRONMENT", "STATE", "EXPIRES", "FORMAT", "METADATA", "NAME"];
            list(keys.iter().map(as_json).collect(), json, &columns, |one| {
                let mut cells: Vec<String> =
                    ["id", "prefix", "environment", "state"].map(|name| cell(one, name)).to_vec();
                cells.push(table::time(one["effective"]["expires_ms"].as_u64()));
                cells.extend(["format", "metadata", "name"].map(|name| cell(one, name)));
                cells
            });
        }
        KeyAction::Show { key, json } => {
            let key = store.active_key(store.key(&key).await?.id).await?;
            if json {
                println!("{}", as_json(&key));
            } else {
                print_key(&key);
            }
        }
        KeyAction::Edit {
            key,
            name,
            expires_in_days,
            never_expires,
            policy,
            any,
            tags,
            no_tags,
            format,
            metadata,
            json,
        } => {
            let found = store.key(&key).await?;
            let mut changed = found.policy.clone();
            policy.apply(&mut changed);
            open(&mut changed, &any);
            let defaults = RequestDefaults {
                format: format.or(found.defaults.format.clone()),
                metadata: metadata.or(found.defaults.metadata.clone()),
            };
            let edit = KeyEdit {
                name,
                expires_ms: match expires_in_days {
                    Some(days) => Some(Some(in_days(days))),
                    None => never_expires.then_some(None),
                },
                policy: (changed != found.policy).then_some(changed),
                tags: (no_tags || !tags.is_empty()).then_some(tags),
                defaults: (defaults != found.defaults).then_some(defaults),
            };
            let edited = store.edit_key(actor, found.id, edit).await?;
            told(store, "edited", &edited, json).await?;
        }
        KeyAction::Rotate { key, grace, expires_in_days, json } => {
            let id = store.key(&key).await?.id;
            let rotated = store.rotate_key(actor, id, grace, expires_in_days.map(in_days)).await?;
            show_secret(store, rotated, json).await?;
        }
        KeyAction::Suspend { key, json } => {
            let changed = store.suspend_key(actor, store.key(&key).await?.id).await?;
            told(store, "suspended", &changed, json).await?;
        }
        KeyAction::Resume { key, json } => {
            let changed = store.resume_key(actor, store.key(&key).await?.id).await?;
            told(store, "resumed", &changed, json).await?;
        }
        KeyAction::Revoke { key, json } => {
            let revoked = store.revoke_key(actor, store.key(&key).await?.id).await?;
            told(store, "revoked", &revoked, json).await?;
        }
    }
    Ok(())
}

async fn told(store: &Store, what: &str, record: &KeyRecord, json: bool) -> Result<()> {
    let key = store.active_key(record.id).await?;
    done(what, record.id, &record.name, &as_json(&key), json);
    Ok(())
}

async fn show_secret(store: &Store, created: CreatedKey, json: bool) -> Result<()> {
    let record = &created.record;
    if json {
        let mut line = as_json(&store.active_key(record.id).await?);
        line["key"] = json!(created.secret.expose());
        println!("{line}");
        return Ok(());
    }
    println!("{}", created.secret.expose());
    eprintln!("This is the only time the key is shown. Its id is {}.", record.id);
    if let Some(until) = record.previous_until_ms {
        eprintln!("The secret before this one goes on until {}.", table::time(Some(until)));
    }
    Ok(())
}

fn print_key(key: &ActiveKey) {
    let record = as_json(key);
    for name in [
        "id",
        "prefix",
        "name",
        "state",
        "environment",
        "organisation",
        "team",
        "member",
        "created_ms",
        "rotated_ms",
        "previous_until_ms",
        "revoked_ms",
        "format",
        "metadata",
    ] {
        println!("{name:<20} {}", cell(&record, name));
    }
    for tag in &key.tags {
        println!("{:<20} {}={}", "tag", tag.name, tag.value);
    }
    println!();
    let lines: Vec<Vec<String>> = key
        .policy
        .explain()
        .into_iter()
        .map(|line| {
            let shown = match &line.value {
                Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
                Value::Number(number) => table::time(number.as_u64()),
                Value::String(text) if text == "*" => "any".to_owned(),
                Value::String(text) => text.clone(),
                _ => "-".to_owned(),
            };
            vec![line.field, line.origin.as_str().to_owned(), if shown.is_empty() { "none".to_owned() } else { shown }]
        })
        .collect();
    table::print(&["ALLOWED", "BY", "WHAT"], &lines);
}

fn as_json(key: &ActiveKey) -> Value {
    let mut record = value(&key.record);
    record["format"] = json!(key.defaults.format);
    record["metadata"] = json!(key.defaults.metadata);
    if let Some(fields) = record.as_object_mut() {
        fields.remove("defaults");
    }
    record["state"] = key.state(SystemClock.now_ms()).into();
    record["suspended"] = json!(key.suspension.map(|suspension| suspension.as_str()));
    record["effective"] = json!({
        "expires_ms": key.policy.expires_ms.map(|(expires, _)| expires),
        "policy": key.policy.explain(),
    });
    record
}
