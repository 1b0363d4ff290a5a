//! Sinks of events: the audit trail, failed accesses too, posted in signed batches as it grows; in the order of the trail, each event at
//! least once.
//!
//! Where a sink has come to is the place of the last event that it took. A batch that was not taken is not behind it and goes again: who
//! receives knows an event that comes twice by its place.

use bytes::Bytes;
use portcullis_core::Clock;
use portcullis_store::{AuditEvent, AuditFilter, AuditPage, Feed, StoreError};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::SiemConfig;
use crate::feeds::Desk;
use crate::webhook::{Webhook, WebhookError};

/// What the names of sinks begin with among all that goes outside.
pub const SIEM: &str = "siem:";
/// Batches that are sent before the configuration is looked at again.
const AT_ONCE: usize = 50;

/// Sends what there is.
pub(crate) async fn round(desk: &Desk, config: &SiemConfig) -> Result<(), StoreError> {
    let Some(webhook) = Webhook::new(&config.webhook) else { return Ok(()) };
    let name = format!("{SIEM}{}", config.name);
    let newest = newest(desk).await?;
    let feed = desk.find(&name, if config.backfill { 0 } else { newest }).await?;
    desk.meters.behind(&config.name, newest.saturating_sub(feed.position));
    if newest <= feed.position || desk.clock.now_ms() < feed.due_ms {
        return Ok(());
    }
    let Some(mut feed) = desk.take(&name, desk.clock.now_ms()).await? else { return Ok(()) };
    for _ in 0..AT_ONCE {
        let newest = newest.max(feed.position);
        let Some(batch) = next(desk, config, &feed, newest).await? else { break };
        let sent = match batch.events.is_empty() {
            true => Some(Ok(())),
            false => desk.with(&name, send(desk, config, &webhook, &batch)).await,
        };
        let count = batch.events.len() as u64;
        match sent {
            // It is another's now, who sends the same.
            None => return Ok(()),
            Some(Ok(())) => {
                if !desk.advance(&name, (feed.position, batch.end), count).await? {
                    return Ok(());
                }
                desk.meters.delivered(&config.name, count);
                desk.meters.behind(&config.name, newest.saturating_sub(batch.end));
                feed.position = batch.end;
            }
            Some(Err(error)) => {
                desk.meters.failed(&config.name);
                let again_in = desk.fail(&feed, &error.to_string()).await?;
                tracing::warn!(%error, sink = config.name, ?again_in, "a batch of events was not taken");
                return Ok(());
            }
        }
    }
    desk.release(&name).await
}

/// The place of the trail's newest event.
async fn newest(desk: &Desk) -> Result<u64, StoreError> {
    let newest = desk.store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 1)).await?;
    Ok(newest.first().map_or(0, |event| event.seq))
}

struct Batch {
    events: Vec<Value>,
    first: u64,
    last: u64,
    /// Up to here there is nothing left to send.
    end: u64,
}

/// What follows. `newest` is a place up to which the trail was complete before this was called.
async fn next(desk: &Desk, config: &SiemConfig, feed: &Feed, newest: u64) -> Result<Option<Batch>, StoreError> {
    let filter = AuditFilter { organisation: config.organisation, ..AuditFilter::default() };
    let page = desk.store.audit_events(&filter, AuditPage::After(feed.position, config.batch_events)).await?;
    let is_whole = page.len() < config.batch_events as usize;
    let mut batch = Batch { events: Vec::new(), first: 0, last: 0, end: feed.position };
    let mut bytes = 0;
    for event in page {
        let place = event.seq;
        if config.wants(&event.event.action) {
            let shown = shown(event);
            bytes += shown.to_string().len();
            if bytes > config.batch_bytes && !batch.events.is_empty() {
                return Ok(Some(batch));
            }
            if batch.events.is_empty() {
                batch.first = place;
            }
            batch.last = place;
            batch.events.push(shown);
        }
        batch.end = place;
    }
    if is_whole {
        batch.end = batch.end.max(newest);
    }
    Ok((batch.end > feed.position).then_some(batch))
}

async fn send(desk: &Desk, config: &SiemConfig, webhook: &Webhook, batch: &Batch) -> Result<(), WebhookError> {
    let now = desk.clock.now_ms();
    let id = format!("siem_{}_{}_{}", config.name, batch.first, batch.last);
    let message = json!({
        "type": "audit.events",
        "timestamp": rfc3339(now),
        "data": { "sink": config.name, "first": batch.first, "last": batch.last, "events": batch.events },
    });
    webhook.send(&id, now, Bytes::from(message.to_string())).await
}

fn shown(AuditEvent { seq, event }: AuditEvent) -> Value {
    json!({
        "seq": seq,
        "time": rfc3339(event.time_ms),
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

fn rfc3339(ms: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_core::{ManualClock, OrganisationId};
    use portcullis_store::{Actor, NewEvent, Store, StoreOptions};

    use super::*;

    const NOW: u64 = 1_780_000_000_000;

    fn config(more: &str) -> SiemConfig {
        let text = format!("name = \"a\"\nwebhook = {{ url = \"http://127.0.0.1:1/\", secret = \"x\" }}\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn batches_are_bounded_and_pass_over_what_is_not_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
        let desk = Desk::new(store.clone(), Arc::new(ManualClock::at(NOW)));
        let start = newest(&desk).await.unwrap();
        let theirs = OrganisationId::from_bytes([8; 16]);
        for (organisation, action, text) in [
            (Some(theirs), "key.create", 10),
            (None, "access.failed", 10),
            (Some(theirs), "key.edit", 3_000),
            (Some(theirs), "org.edit", 10),
            (Some(theirs), "key.edit", 10),
            (None, "key.create", 10),
        ] {
            let event = NewEvent::new(&Actor::cli("ada"), NOW, organisation, action, "x");
            store.record_event(&event.changed(None, Some(json!({ "text": "x".repeat(text) })))).await.unwrap();
        }
        let batches = async |config: SiemConfig| {
            let (mut feed, mut batches) = (Feed { position: start, ..Feed::default() }, Vec::new());
            while let Some(batch) = next(&desk, &config, &feed, start + 6).await.unwrap() {
                assert!(batch.end > feed.position);
                feed.position = batch.end;
                batches.push(batch.events.iter().map(|one| one["seq"].as_u64().unwrap() - start).collect::<Vec<_>>());
            }
            assert_eq!(feed.position, start + 6, "nothing is left behind");
            batches
        };
        assert_eq!(batches(config("")).await, [[1, 2, 3, 4, 5, 6]]);
        assert_eq!(batches(config("batch_events = 4")).await, [vec![1, 2, 3, 4], vec![5, 6]]);
        // One that is too long goes alone.
        assert_eq!(batches(config("batch_bytes = 1024")).await, [vec![1, 2], vec![3], vec![4, 5, 6]]);
        assert_eq!(batches(config("actions = [\"key.\"]")).await, [[1, 3, 5, 6]]);
        let of = format!("organisation = \"{theirs}\"\nactions = [\"org.edit\"]");
        assert_eq!(batches(config(&of)).await, [[4]]);
        assert_eq!(batches(config("actions = [\"nothing\"]")).await, [[0u64; 0]]);
    }

    #[tokio::test]
    async fn a_sink_begins_at_the_beginning_or_where_it_is_first_seen() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
        store.record_event(&NewEvent::new(&Actor::cli("ada"), NOW, None, "a.b", "x")).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let desk = Desk::new(store, clock.clone());
        let newest = newest(&desk).await.unwrap();
        round(&desk, &config("backfill = false")).await.unwrap();
        assert_eq!(desk.find("siem:a", 0).await.unwrap().position, newest);
        let mut all = config("");
        all.name = "b".to_owned();
        // Nobody listens there: it stays where it was.
        round(&desk, &all).await.unwrap();
        let feed = desk.find("siem:b", 7).await.unwrap();
        assert_eq!((feed.position, feed.failures, feed.due_ms), (0, 1, NOW + 1_000));
        round(&desk, &all).await.unwrap();
        assert_eq!(desk.find("siem:b", 7).await.unwrap().failures, 1, "it is not time yet");
        clock.advance(1_000);
        round(&desk, &all).await.unwrap();
        assert_eq!(desk.find("siem:b", 7).await.unwrap().failures, 2);
    }
}
