//! Delivering the alerts of budgets to the operator's webhook: at least once, off every request's path.
//!
//! What is to be delivered stands in the database, so that a restart forgets nothing and of several gateways one delivers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::Clock;
use portcullis_store::Store;
use portcullis_store::budgets::{Alert, AlertKind};
use serde_json::{Value, json};

use crate::Gateway;
use crate::webhook::{Webhook, wait_after};

const LOOK: Duration = Duration::from_secs(1);
/// Taken at a time, and until when whoever took them has delivered or died.
const BATCH: u32 = 16;
const TAKEN_MS: u64 = 10 * 60 * 1000;

/// Delivers as long as the gateway lives.
pub async fn deliver(gateway: Weak<Gateway>, store: Store) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(gateway) = gateway.upgrade() else { return };
        let (snapshot, clock) = (gateway.snapshot(), Arc::clone(&gateway.clock));
        drop(gateway);
        let Some(config) = &snapshot.config.alerts.webhook else { continue };
        let Some(webhook) = Webhook::new(config) else { continue };
        if let Err(error) = deliver_due(&webhook, &store, &*clock).await {
            tracing::warn!(%error, "alerts could not be read");
        }
    }
}

async fn deliver_due(webhook: &Webhook, store: &Store, clock: &dyn Clock) -> Result<(), portcullis_store::StoreError> {
    let now = clock.now_ms();
    for alert in store.backend().take_due_alerts(now, now + TAKEN_MS, BATCH).await? {
        let id = format!("alert_{}", alert.id);
        let sent = webhook.send(&id, clock.now_ms(), Bytes::from(message(&alert).to_string())).await;
        let now = clock.now_ms();
        match sent {
            Ok(()) => store.backend().alert_tried(alert.id, Some(now), now).await?,
            Err(error) => {
                let again = wait_after(alert.attempts + 1);
                tracing::warn!(%error, alert = alert.id, again_in = ?again, "an alert was not taken");
                let again_ms = now + u64::try_from(again.as_millis()).unwrap_or(TAKEN_MS);
                store.backend().alert_tried(alert.id, None, again_ms).await?;
            }
        }
    }
    Ok(())
}

/// As Standard Webhooks recommends a payload: type, timestamp, data.
fn message(alert: &Alert) -> Value {
    let (name, per_cent) = match alert.kind {
        AlertKind::Threshold(per_cent) => ("budget.threshold", Some(per_cent)),
        AlertKind::Refused => ("budget.refused", None),
    };
    json!({
        "type": name,
        "timestamp": rfc3339(alert.time_ms),
        "data": {
            "alert": alert.id,
            "organisation": alert.organisation,
            "budget": alert.budget,
            "name": alert.name,
            "per_cent": per_cent,
            "window_start": rfc3339(alert.start_ms),
            "spent_nano_usd": alert.spent,
            "spent_usd": alert.spent.to_string(),
            "limit_nano_usd": alert.limit,
            "limit_usd": alert.limit.to_string(),
        },
    })
}

fn rfc3339(ms: u64) -> Option<String> {
    let seconds = i64::try_from(ms / 1000).ok()?;
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&time::format_description::well_known::Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use portcullis_core::{BudgetId, ManualClock, NanoUsd, OrganisationId};
    use portcullis_store::StoreOptions;
    use portcullis_store::budgets::AlertFilter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const NOW: u64 = 1_780_000_000_000;

    fn alert() -> Alert {
        Alert {
            id: 0,
            kind: AlertKind::Threshold(80),
            organisation: OrganisationId::DEFAULT,
            budget: BudgetId::from_bytes([1; 16]),
            name: "team".to_owned(),
            start_ms: NOW - 1_000,
            spent: NanoUsd::new(80).unwrap(),
            limit: NanoUsd::new(100).unwrap(),
            time_ms: NOW,
            delivered_ms: None,
            attempts: 0,
        }
    }

    /// A receiver that takes the second message only.
    async fn receiver() -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut seen = Vec::new();
            for status in ["500 Broken", "204 Taken"] {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let whole = |request: &[u8]| {
                    let body = std::str::from_utf8(request).ok().and_then(|text| text.split_once("\r\n\r\n"));
                    body.is_some_and(|(_, body)| serde_json::from_str::<Value>(body).is_ok())
                };
                while !whole(&request) {
                    assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
                }
                seen.push(String::from_utf8(request).unwrap());
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            seen
        });
        (url, served)
    }

    #[tokio::test]
    async fn an_alert_is_delivered_until_it_is_taken_and_then_no_more() {
        let path = std::env::temp_dir().join(format!("portcullis-alerts-{}.db", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let clock = ManualClock::at(NOW);
        let store = Store::open(&StoreOptions::at(&path)).await.unwrap();
        store.backend().raise_alert(&alert()).await.unwrap();
        assert!(!store.backend().raise_alert(&alert()).await.unwrap());
        let (url, served) = receiver().await;
        let webhook = Webhook::new(&toml::from_str(&format!("url = \"{url}\"")).unwrap()).unwrap();
        deliver_due(&webhook, &store, &clock).await.unwrap();
        // Not before its time.
        deliver_due(&webhook, &store, &clock).await.unwrap();
        clock.advance(1_000);
        deliver_due(&webhook, &store, &clock).await.unwrap();
        clock.advance(TAKEN_MS);
        deliver_due(&webhook, &store, &clock).await.unwrap();
        let seen = served.await.unwrap();
        assert!(seen.iter().all(|request| request.contains("webhook-id: alert_1\r\n")), "{seen:?}");
        let body: Value = serde_json::from_str(seen[1].split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["type"], "budget.threshold");
        assert_eq!((&body["data"]["per_cent"], &body["data"]["spent_usd"]), (&json!(80), &json!("0.00000008")));
        let kept = store.alerts(&AlertFilter::default()).await.unwrap();
        assert_eq!((kept[0].attempts, kept[0].delivered_ms), (1, Some(NOW + 1_000)));
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
