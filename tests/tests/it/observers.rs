//! Observers are told of every request after the fact, and whatever they do harms none.

use std::time::{Duration, Instant};

use portcullis_tests::{Component, Gateway, Setup, Traffic, demo, eventually};

async fn gateway(demo: &portcullis_demo_upstream::Handle, on_batch: &str) -> Gateway {
    let config = format!("[plugin.guest.config]\non_batch = \"{on_batch}\"\n");
    let gateway = Setup::demo(demo).with(&config).start().await;
    gateway.plugins.put("guest", &Component::guest("observer"));
    gateway.logged(&["plugin loaded", "plugin=\"guest\""]).await;
    gateway
}

#[tokio::test]
async fn an_observer_is_shown_every_receipt_in_batches() {
    let demo = demo().await;
    let gateway = gateway(&demo, "").await;
    let client = gateway.client().await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push((client.chat("demo/demo", "hello").await.ok().id(), "ok"));
    }
    let mut stream = client.messages_stream("demo/demo", "hello").await;
    seen.push((stream.id(), "ok"));
    stream.rest().await;
    let denied = client.chat("demo/demo-error-400", "hello").await;
    seen.push((denied.id(), "failed"));
    for (id, code) in &seen {
        gateway.logged(&["plugin=guest", &format!("seen {id} {code}")]).await;
    }
    let log = gateway.log();
    let batches = log.lines().filter(|line| line.contains("batch of")).count();
    assert!((1..seen.len()).contains(&batches), "{batches} batches for {} receipts", seen.len());
}

/// What waits is told before the end, and the end waits for no observer's sake.
#[tokio::test]
async fn the_last_receipts_are_shown_at_the_end() {
    let demo = demo().await;
    let mut gateway = gateway(&demo, "").await;
    let client = gateway.client().await;
    client.chat("demo/demo", "hello").await.ok();
    gateway.logged(&["plugin=guest", "batch of"]).await;
    let last = client.chat("demo/demo", "hello").await.ok().id();
    gateway.signal(libc::SIGTERM);
    let began = Instant::now();
    assert!(gateway.ended(10).await.success());
    assert!(began.elapsed() < Duration::from_secs(5));
    gateway.logged(&["plugin=guest", &format!("seen {last} ok")]).await;
}

#[tokio::test]
async fn an_observer_that_fails_harms_no_request() {
    let demo = demo().await;
    for (on_batch, told) in [("panic", "trapped"), ("loop", "took more than"), ("refuse", "an observer refused")] {
        let gateway = gateway(&demo, on_batch).await;
        let client = gateway.client().await;
        let traffic = Traffic::start(&client, 4);
        gateway.logged(&["plugin=guest", told]).await;
        eventually("several batches failed", || async {
            gateway.log().lines().filter(|line| line.contains("plugin=guest") && line.contains("an observer")).count()
                > 2
        })
        .await;
        let tally = traffic.stop().await;
        tally.all_went_well();
        let receipt = client.receipt(tally.ids.last().unwrap()).await;
        assert_eq!(receipt["outcome"]["code"], "ok");
        let named = |line: &serde_json::Value| line["name"] == "guest";
        assert!(!receipt["plugins"].as_array().unwrap().iter().any(named), "it took no part in the request");
    }
}
