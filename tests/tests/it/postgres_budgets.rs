//! One budget over several gateways on one PostgreSQL: what they may spend together, what a dead one leaves, and what of the database a
//! request needs.

use std::collections::HashSet;
use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{Act, Client, Gateway, Setup, Traffic, Upstream, answer, demo, eventually};
use serde_json::{Value, json};

const INPUT: u64 = 3 * 1_000;
const OUTPUT: u64 = 5 * 2_000;

fn body() -> String {
    json!({ "model": "demo/demo", "max_tokens": 100, "messages": [{ "role": "user", "content": "hello" }] }).to_string()
}

/// The most that a request can cost, nano-USD: a token a byte at 1 USD for a million, and 100 tokens at 2.
fn worst() -> u64 {
    body().len() as u64 * 1_000 + 100 * 2_000
}

fn usd(nano: u64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

async fn told(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.run(arguments).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn budget(gateway: &Gateway, limit: u64) -> String {
    let limit = usd(limit);
    let made = told(
        gateway,
        &["budget", "create", "--name", "test", "--limit", &limit, "--period", "total", "--threshold", "100", "--json"],
    )
    .await;
    // Running gateways follow within a fraction of a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    made["id"].as_str().expect("an id").to_owned()
}

async fn number(gateway: &Gateway, budget: &str, member: &str) -> u64 {
    told(gateway, &["budget", "show", budget, "--json"]).await[member].as_u64().expect("a number")
}

async fn clients(gateways: &[Gateway]) -> Vec<Client> {
    let key = gateways[0].key(&[]).await;
    let secret = key["key"].as_str().expect("a key");
    gateways.iter().map(|gateway| Client { address: gateway.address, key: secret.to_owned() }).collect()
}

async fn three(url: &str, upstream: &Upstream) -> Vec<Gateway> {
    let start = || Setup::new().openai("demo", upstream.address).on_postgres(url).start();
    let (one, two, three) = tokio::join!(start(), start(), start());
    vec![one, two, three]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_500_at_once_over_three_gateways_exactly_the_37_pass() {
    let Some(url) = portcullis_test_postgres::database() else { return };
    // Nobody is answered before the last has asked.
    let (open, opened) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |_| {
        let mut acts = answer("hi");
        acts.insert(0, Act::Until(opened.clone()));
        acts
    })
    .await;
    let gateways = three(&url, &upstream).await;
    let id = budget(&gateways[0], 37 * worst() + worst() - 1).await;
    let clients = clients(&gateways).await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..500 {
        let client = clients[number % 3].clone();
        asked.spawn(async move { client.post("/v1/chat/completions", body()).await });
    }
    let (mut passed, mut refused) = (0, 0);
    while let Some(answered) = asked.join_next().await {
        let answered = answered.expect("it is answered");
        match answered.status {
            StatusCode::OK => passed += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(answered.json()["error"]["code"], "budget_exceeded", "{}", answered.text());
                refused += 1;
            }
            other => panic!("{other}: {}", answered.text()),
        }
        if refused == 463 {
            open.send(true).expect("the upstream waits");
        }
    }
    assert_eq!((passed, refused), (37, 463));
    eventually("the spending is written", async || {
        number(&gateways[1], &id, "spent_nano").await == 37 * (INPUT + OUTPUT)
    })
    .await;
    let entries = gateways[2].ledger().await.entries().await;
    assert_eq!(entries.len(), 37);
    assert!(entries.iter().all(|entry| entry.kind == "settled" && entry.amount as u64 == INPUT + OUTPUT));
}

/// Traffic on all three until each is refused: what was spent is within one request of the limit, and never above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_cap_is_reached_and_not_passed() {
    let Some(url) = portcullis_test_postgres::database() else { return };
    let upstream = Upstream::start(|_| answer("hi")).await;
    let gateways = three(&url, &upstream).await;
    let limit = 600 * (INPUT + OUTPUT) + worst();
    let id = budget(&gateways[0], limit).await;
    let clients = clients(&gateways).await;
    let mut asking = tokio::task::JoinSet::new();
    for client in clients.iter().cycle().take(12) {
        let client = client.clone();
        asking.spawn(async move {
            let mut passed = 0_u64;
            let mut refused = 0;
            // The last ones wait for what others hold.
            while refused < 20 {
                match client.post("/v1/chat/completions", body()).await.status {
                    StatusCode::OK => passed += 1,
                    StatusCode::TOO_MANY_REQUESTS => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    other => panic!("{other}"),
                }
            }
            passed
        });
    }
    let passed: u64 = asking.join_all().await.into_iter().sum();
    eventually("the spending is written", async || {
        number(&gateways[0], &id, "spent_nano").await == passed * (INPUT + OUTPUT)
    })
    .await;
    let spent = passed * (INPUT + OUTPUT);
    assert!(spent <= limit && spent + worst() + INPUT + OUTPUT > limit, "{passed} passed, {spent} of {limit}");
    assert_eq!(upstream.requests().len() as u64, passed);
}

/// What a gateway that was killed had leased counts until it comes back and its journal says what of it was spent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_gateways_slice_comes_back_with_it() {
    let Some(url) = portcullis_test_postgres::database() else { return };
    let upstream = Upstream::start(|_| answer("hi")).await;
    let mut gateways = three(&url, &upstream).await;
    let limit = 40 * worst();
    let id = budget(&gateways[0], limit).await;
    let clients = clients(&gateways).await;
    clients[2].post("/v1/chat/completions", body()).await.ok();
    eventually("it is written", async || number(&gateways[0], &id, "spent_nano").await == INPUT + OUTPUT).await;
    let leased = number(&gateways[0], &id, "leased_nano").await;
    assert!(leased > 0, "it holds a slice for the requests to come");
    let dead = gateways.pop().expect("three").kill().await;
    // The others have what is left, to the last request that fits.
    let mut passed = 1_u64;
    loop {
        let answered = clients[passed as usize % 2].post("/v1/chat/completions", body()).await;
        if answered.status != StatusCode::OK {
            assert_eq!(answered.json()["error"]["code"], "budget_exceeded", "{}", answered.text());
            break;
        }
        passed += 1;
    }
    let spent = async |gateway: &Gateway| number(gateway, &id, "spent_nano").await;
    eventually("the spending is written", async || spent(&gateways[0]).await == passed * (INPUT + OUTPUT)).await;
    assert!(limit - passed * (INPUT + OUTPUT) >= leased, "the dead one's slice is nobody's");

    let back = dead.restart().await;
    eventually("its slice is given back", async || {
        clients[0].post("/v1/chat/completions", body()).await.status == StatusCode::OK
    })
    .await;
    let entries = back.ledger().await.entries().await;
    let ids: HashSet<_> = entries.iter().map(|entry| &entry.request).collect();
    assert_eq!(ids.len(), entries.len(), "each once");
    assert!(entries.iter().all(|entry| entry.kind == "settled"), "{entries:?}");
}

/// Without its database a gateway serves as long as keys are known to hold, refuses cleanly then, and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_ends_in_clean_refusals() {
    let Some(server) = portcullis_test_postgres::own() else { return };
    let demo = demo().await;
    let gateway = Setup::demo(&demo).on_postgres(&server.database()).start().await;
    let client = gateway.client().await;
    client.chat("demo/demo", "hello").await.ok();
    server.stop();
    let since = std::time::Instant::now();
    let mut ids = Vec::new();
    let refused = loop {
        let answered = client.chat("demo/demo", "hello").await;
        if answered.status != StatusCode::OK {
            break answered;
        }
        ids.push(answered.id());
        assert!(since.elapsed() < Duration::from_secs(20), "a revoked key would go on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(since.elapsed() > Duration::from_secs(3), "after {:?}", since.elapsed());
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after") && refused.json()["error"]["message"].is_string());
    server.start_again();
    eventually("it serves again", async || client.chat("demo/demo", "hello").await.status == StatusCode::OK).await;
    let ledger = gateway.ledger().await;
    eventually("every request is written", async || {
        let written: HashSet<_> = ledger.requests().await.into_iter().collect();
        ids.iter().all(|id| written.contains(id))
    })
    .await;
    let traffic = Traffic::start(&client, 2);
    tokio::time::sleep(Duration::from_millis(200)).await;
    traffic.stop().await.all_went_well();
}
