//! Several gateways on one PostgreSQL, and a PostgreSQL that goes away.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_test_postgres::Server;
use portcullis_tests::{Client, Gateway, Ledger, Setup, Tally, Traffic, demo, eventually};

/// How long a change may take to reach the others.
const SOON: Duration = Duration::from_secs(1);

async fn three(url: &str, demo: &portcullis_demo_upstream::Handle) -> [Gateway; 3] {
    // At once: one migrates, the others wait for it.
    let start = || Setup::demo(demo).on_postgres(url).start();
    tokio::join!(start(), start(), start()).into()
}

#[tokio::test]
async fn what_one_gateway_is_told_holds_on_all() {
    let Some(url) = portcullis_test_postgres::database() else { return };
    let demo = demo().await;
    let gateways = three(&url, &demo).await;
    let key = gateways[0].key(&[]).await;
    let secret = key["key"].as_str().unwrap();
    let clients = gateways.each_ref().map(|gateway| Client { address: gateway.address, key: secret.to_owned() });
    let mut ids = HashSet::new();
    for client in &clients {
        ids.insert(client.chat("demo/demo", "hello").await.ok().id());
    }
    // Each request is where any gateway looks, once its group is written.
    let id = clients[0].chat("demo/demo", "hello").await.ok().id();
    clients[0].receipt(&id).await;
    assert_eq!(clients[2].receipt(&id).await["request_id"], *id);
    ids.insert(id);
    let ledger = gateways[1].ledger().await;
    eventually("every request is written", async || ledger.requests().await.into_iter().collect::<HashSet<_>>() == ids)
        .await;

    let revoked = gateways[0].run(&["key", "revoke", key["id"].as_str().unwrap()]).await;
    assert!(revoked.status.success(), "{revoked:?}");
    let since = Instant::now();
    for client in &clients {
        while client.chat("demo/demo", "hello").await.status == StatusCode::OK {
            assert!(since.elapsed() < SOON, "it still works");
        }
        assert_eq!(client.chat("demo/demo", "hello").await.status, StatusCode::UNAUTHORIZED);
    }
}

/// What was answered is in the database once, with the cost that its receipt says.
async fn all_is_there(ledger: &Ledger, tally: &Tally) {
    eventually("every request is written", async || {
        let written: HashSet<_> = ledger.requests().await.into_iter().collect();
        tally.ids.iter().all(|id| written.contains(id))
    })
    .await;
    let mut ends: HashMap<String, Vec<(String, i64)>> = HashMap::new();
    for entry in ledger.entries().await {
        ends.entry(entry.request).or_default().push((entry.kind, entry.amount));
    }
    for id in &tally.ids {
        let [(kind, amount)] = &ends[id][..] else { panic!("{id}: {:?}", ends[id]) };
        assert!(kind == "settled" && *amount > 0, "{id}: {kind} {amount}");
    }
}

async fn goes_on_through(fault: impl AsyncFnOnce(&Server)) {
    let Some(server) = portcullis_test_postgres::own() else { return };
    let demo = demo().await;
    let gateway = Setup::demo(&demo).on_postgres(&server.database()).start().await;
    let client = gateway.client().await;
    client.chat("demo/demo", "hello").await.ok();
    let traffic = Traffic::start(&client, 4);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fault(&server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tally = traffic.stop().await;
    tally.all_went_well();
    all_is_there(&gateway.ledger().await, &tally).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_holds_up_no_request() {
    goes_on_through(async |server| {
        server.freeze();
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.thaw();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_fails_no_request() {
    goes_on_through(async |server| {
        server.stop();
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.start_again();
    })
    .await;
}

#[tokio::test]
async fn without_its_server_a_command_says_what_is_missing() {
    let Some(server) = portcullis_test_postgres::own() else { return };
    let demo = demo().await;
    let url = server.database();
    let gateway = Setup::demo(&demo).on_postgres(&url).start().await;
    server.stop();
    let listed = gateway.run(&["key", "list"]).await;
    assert!(!listed.status.success());
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(said.contains("the store at postgres://") && !said.contains("panicked"), "{said}");
}
