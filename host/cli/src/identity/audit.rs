//! `portcullis audit`

use anyhow::{Context, Result};
use clap::Subcommand;
use portcullis_store::{AuditEvent, AuditFilter, AuditPage};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::arguments::organisation;
use super::{Desk, cell, list};

#[derive(Subcommand)]
pub enum AuditAction {
    /// List events, the newest first.
    List {
        /// Only those of this organisation, by its id or name.
        #[arg(long)]
        org: Option<String>,
        /// Only what this one did: an id, or the operating system's user.
        #[arg(long)]
        actor: Option<String>,
        /// Only this action, `key.revoke`, or all that begin so, `key.`.
        #[arg(long)]
        action: Option<String>,
        /// Only what was done to this: mostly an id.
        #[arg(long)]
        target: Option<String>,
        /// From this time on: `2026-05-28` or `2026-05-28T20:26:40Z`.
        #[arg(long, value_parser = time_ms)]
        since: Option<u64>,
        /// Before this time.
        #[arg(long, value_parser = time_ms)]
        until: Option<u64>,
        /// Those before this place in the trail, for the next page.
        #[arg(long)]
        before: Option<u64>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub async fn act(Desk { store, .. }: &Desk, action: AuditAction) -> Result<()> {
    match action {
        AuditAction::List { org, actor, action, target, since, until, before, limit, json } => {
            let organisation = match &org {
                Some(org) => Some(organisation(store, Some(org)).await?),
                None => None,
            };
            let filter = AuditFilter {
                organisation,
                actor_kind: None,
                actor_id: actor,
                action,
                target,
                since_ms: since,
                until_ms: until,
            };
            let events =
                store.audit_events(&filter, AuditPage::Before(before, limit)).await.context("the audit trail")?;
            let columns = ["SEQ", "TIME", "ACTOR", "ADDRESS", "ACTION", "TARGET", "AFTER"];
            list(events.iter().map(as_json).collect(), json, &columns, |one| {
                let who = match (cell(one, "actor_kind"), &one["actor_id"]) {
                    (kind, Value::String(id)) => format!("{kind}:{id}"),
                    (kind, _) => kind,
                };
                let mut cells = vec![cell(one, "seq"), cell(one, "time_ms"), who];
                cells.extend(["address", "action", "target", "after"].map(|name| cell(one, name)));
                cells
            });
        }
    }
    Ok(())
}

fn as_json(AuditEvent { seq, event }: &AuditEvent) -> Value {
    json!({
        "seq": seq,
        "time_ms": event.time_ms,
        "actor_kind": event.actor_kind,
        "actor_id": event.actor_id,
        "address": event.address,
        "organisation": event.organisation,
        "action": event.action,
        "target": event.target,
        "before": event.before,
        "after": event.after,
    })
}

pub fn time_ms(text: &str) -> Result<u64, String> {
    let day = || Date::parse(text, format_description!("[year]-[month]-[day]")).map(|day| day.midnight().assume_utc());
    let at = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| day());
    let at = at.map_err(|_| "a time is 2026-05-28 or 2026-05-28T20:26:40Z".to_owned())?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).map_err(|_| "a time is after 1970".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_and_moments_are_times() {
        assert_eq!(super::time_ms("2026-05-28"), Ok(1_779_926_400_000));
        assert_eq!(super::time_ms("2026-05-28T20:26:40Z"), Ok(1_780_000_000_000));
        assert_eq!(super::time_ms("2026-05-28T22:26:40+02:00"), Ok(1_780_000_000_000));
        assert!(super::time_ms("yesterday").is_err() && super::time_ms("1969-01-01").is_err());
    }
}
