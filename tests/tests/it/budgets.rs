//! Budgets through the whole gateway: the prices are 1 and 2 USD for a million tokens, in and out.

use std::process::Output;
use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{Act, Answer, Gateway, Setup, Upstream, answer, demo, eventually, json_answer};
use serde_json::{Value, json};

async fn budget(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut all = vec!["budget", "create", "--name", "test", "--json"];
    all.extend(arguments);
    let made: Value = serde_json::from_slice(&ok(gateway.run(&all).await).stdout).expect("JSON");
    // Running gateways follow within a fraction of a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    made["id"].as_str().expect("an id").to_owned()
}

fn ok(output: Output) -> Output {
    assert!(output.status.success(), "{output:?}");
    output
}

async fn show(gateway: &Gateway, id: &str) -> Value {
    serde_json::from_slice(&ok(gateway.run(&["budget", "show", id, "--json"]).await).stdout).expect("JSON")
}

async fn spent(gateway: &Gateway, id: &str) -> u64 {
    show(gateway, id).await["spent_nano"].as_u64().expect("a number")
}

fn request(cap: u32) -> String {
    let message = json!({ "role": "user", "content": "hello" });
    json!({ "model": "demo/demo", "max_tokens": cap, "messages": [message] }).to_string()
}

/// The most that a request can cost, nano-USD.
fn worst(body: &str, cap: u32) -> u64 {
    body.len() as u64 * 1_000 + u64::from(cap) * 2_000
}

fn usd(nano: u64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_500_at_once_exactly_the_37_that_the_budget_affords_pass() {
    // Nobody is answered before the last has asked.
    let (open, opened) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |_| {
        let mut acts = answer("hi");
        acts.insert(0, Act::Until(opened.clone()));
        acts
    })
    .await;
    let gateway = Setup::new().openai("demo", upstream.address).start().await;
    let body = request(100);
    let limit = usd(37 * worst(&body, 100) + worst(&body, 100) - 1);
    let id = budget(&gateway, &["--limit", &limit, "--period", "month", "--time-zone", "Europe/Berlin"]).await;
    let client = gateway.client().await;
    let mut refused = 0;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (client, body) = (client.clone(), body.clone());
        asked.spawn(async move { client.post("/v1/chat/completions", body).await });
    }
    let mut passed = 0;
    while let Some(answered) = asked.join_next().await {
        let answered = answered.expect("it is answered");
        match answered.status {
            StatusCode::OK => passed += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(code(&answered), "budget_exceeded", "{}", answered.text());
                refused += 1;
            }
            other => panic!("{other}: {}", answered.text()),
        }
        if refused == 463 {
            open.send(true).expect("the upstream waits");
        }
    }
    assert_eq!((passed, refused), (37, 463));
    eventually("the spending is written", || async { spent(&gateway, &id).await == 37 * (3 * 1_000 + 5 * 2_000) })
        .await;
    let entries = gateway.ledger().await.entries().await;
    assert_eq!(entries.len(), 37);
    assert!(entries.iter().all(|entry| entry.kind == "settled" && entry.reserved as u64 == worst(&body, 100)));
}

#[tokio::test]
async fn a_refusal_says_what_and_until_when_in_the_clients_protocol() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    budget(&gateway, &["--limit", "0.000001", "--period", "day"]).await;
    let client = gateway.client().await;
    let answered = client.post("/v1/chat/completions", request(100)).await;
    assert_eq!((answered.status, code(&answered).as_str()), (StatusCode::TOO_MANY_REQUESTS, "budget_exceeded"));
    assert_eq!(answered.headers["x-should-retry"], "false");
    assert!(answered.headers.contains_key("retry-after"));
    let message = answered.json()["error"]["message"].as_str().expect("a message").to_owned();
    for word in ["`test`", "0.000001 USD a day", "It begins anew at 20"] {
        assert!(message.contains(word), "{message}");
    }
    let receipt = client.receipt(&answered.id()).await;
    assert_eq!(
        (&receipt["outcome"]["code"], &receipt["outcome"]["reason"]),
        (&json!("denied"), &json!("budget_exceeded"))
    );
    let answered = client.messages("demo-anthropic/demo", "hello").await;
    assert_eq!(answered.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answered.json()["error"]["type"], "rate_limit_error");
    assert!(demo.received().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_request_without_a_limit_gets_the_one_that_is_affordable() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let message = json!({ "role": "user", "content": "hello" });
    let body = json!({ "model": "demo/demo", "messages": [message] }).to_string();
    let afford = worst(&body, 1_000) + 1_999;
    budget(&gateway, &["--limit", &usd(afford), "--period", "total"]).await;
    let client = gateway.client().await;
    let answered = client.post("/v1/chat/completions", body.clone()).await.ok();
    let sent = &demo.received()[0];
    let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
    let limit = sent["max_completion_tokens"].as_u64().or(sent["max_tokens"].as_u64());
    assert_eq!(limit, Some(1_000), "{sent}");
    let receipt = client.receipt(&answered.id()).await;
    assert!(receipt["notes"].to_string().contains("budget-output-limit"), "{receipt}");
    // One that states its own is not cut short.
    let answered = client.post("/v1/chat/completions", request(5_000)).await;
    assert_eq!((answered.status, code(&answered).as_str()), (StatusCode::TOO_MANY_REQUESTS, "budget_exceeded"));
}

#[tokio::test]
async fn what_is_not_generated_is_refunded_and_what_is_left_is_billed() {
    let demo = demo().await;
    let failing = Upstream::start(|_| json_answer(500, "", "{\"error\":{}}")).await;
    let gateway = Setup::demo(&demo).openai("failing", failing.address).start().await;
    let id = budget(&gateway, &["--limit", "1", "--period", "total"]).await;
    let client = gateway.client().await;
    // An error before the first byte.
    assert!(!client.chat("failing/demo", "hello").await.status.is_success());
    eventually("the refund", || async { gateway.ledger().await.entries().await.len() == 1 }).await;
    let entry = &gateway.ledger().await.entries().await[0];
    assert_eq!((entry.kind.as_str(), entry.amount), ("refunded", 0));
    assert_eq!(spent(&gateway, &id).await, 0);
    // A client that leaves in the middle.
    let mut stream = client.chat_stream("demo/demo-slow", "hello").await;
    stream.read(200).await;
    let request = stream.id();
    drop(stream);
    eventually("its bill", || async { gateway.ledger().await.entries_of(&request).await.len() == 1 }).await;
    let entry = &gateway.ledger().await.entries_of(&request).await[0];
    assert_eq!(entry.kind, "settled");
    assert!(entry.amount > 0 && entry.amount < entry.reserved, "{} of {}", entry.amount, entry.reserved);
    assert_eq!(spent(&gateway, &id).await, entry.amount as u64);
}

#[tokio::test]
async fn a_dead_gateway_leaves_what_it_knows_and_quarantines_the_rest() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let id = budget(&gateway, &["--limit", "1", "--period", "total"]).await;
    let client = gateway.client().await;
    client.post("/v1/chat/completions", request(100)).await.ok();
    let mut stream = client.chat_stream("demo/demo-slow", "hello").await;
    stream.read(200).await;
    let gateway = gateway.kill_and_restart().await;
    let entries = gateway.ledger().await.entries().await;
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(kinds.contains(&"settled") && kinds.contains(&"quarantined") && kinds.len() == 2, "{kinds:?}");
    let shown = show(&gateway, &id).await;
    let sum: i64 = entries.iter().map(|entry| entry.amount).sum();
    assert_eq!((shown["spent_nano"].as_i64(), shown["leased_nano"].as_i64()), (Some(sum), Some(0)));
    // Somebody decides.
    let list = ok(gateway.run(&["ledger", "quarantine", "list", "--json"]).await);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let request = list["reservations"][0]["request_id"].as_str().expect("an id").to_owned();
    ok(gateway.run(&["ledger", "decide", &request, "--refund"]).await);
    let settled = entries.iter().find(|entry| entry.kind == "settled").expect("one");
    assert_eq!(spent(&gateway, &id).await, settled.amount as u64);
    let listed = ok(gateway.run(&["ledger", "list", "--json"]).await);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
}
