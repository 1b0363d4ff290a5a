//! The admin API over the built program: what is done there holds for requests, and stands in the trail.

use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{Answer, Client, Gateway, Setup, demo, eventually};
use serde_json::{Value, json};

/// The first superadmin, by the admin API.
async fn superadmin(gateway: &Gateway) -> Client {
    let output = gateway.run(&["admin", "bootstrap", "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    Client { address: gateway.address, key: made["token"].as_str().expect("a token").to_owned() }
}

async fn post(admin: &Client, path: &str, body: Value) -> Answer {
    admin.ask("POST", &format!("/admin/v1{path}"), Some("application/json"), body.to_string()).await
}

async fn get(admin: &Client, path: &str) -> Value {
    let answer = admin.get(&format!("/admin/v1{path}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer.json()
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_budget_made_there_refuses_until_it_is_topped_up() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let admin = superadmin(&gateway).await;
    let client = gateway.client().await;
    assert_eq!(client.chat("demo/demo", "hello").await.status, StatusCode::OK);
    let new = json!({"name": "credit", "period": "total", "limit_usd": "0.000000001"});
    let made = post(&admin, "/budgets", new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    // Running gateways follow within a fraction of a second.
    eventually("the refusal", || async { code(&client.chat("demo/demo", "hello").await) == "budget_exceeded" }).await;
    eventually("the alert", || async {
        get(&admin, &format!("/alerts?budget={id}")).await["data"][0]["kind"] == "refused"
    })
    .await;
    let topped = post(&admin, &format!("/budgets/{id}/top-up"), json!({"amount_usd": "5"})).await;
    assert_eq!(topped.json()["limit_nano_usd"], 5_000_000_001_u64, "{}", topped.text());
    eventually("the answer", || async { client.chat("demo/demo", "hello").await.status == StatusCode::OK }).await;
    eventually("the spending", || async {
        get(&admin, &format!("/budgets/{id}")).await["standing"]["spent_nano_usd"].as_u64() > Some(0)
    })
    .await;
    let entries = get(&admin, "/ledger/entries?kind=settled").await;
    assert_eq!(entries["data"][0]["provider"], "demo", "{entries}");
    let trail = get(&admin, &format!("/audit-events?target={id}")).await;
    let done: Vec<_> = trail["data"].as_array().expect("a list").iter().map(|event| event["action"].clone()).collect();
    assert_eq!(done, ["budget.top-up", "budget.create"]);
    // What the command line shows is the same.
    let shown = gateway.run(&["budget", "show", &id, "--json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["limit_usd"], "5.000000001");
    let alerts = gateway.run(&["budget", "alerts", "--json"]).await;
    let alerts: Value = serde_json::from_slice(&alerts.stdout).expect("JSON");
    assert_eq!(alerts[0]["kind"], "refused", "{alerts}");
}

#[tokio::test]
async fn what_the_gateway_wrote_is_proven_there() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[audit]\ncheckpoint_seconds = 1\n").start().await;
    let admin = superadmin(&gateway).await;
    let client = gateway.client().await;
    assert_eq!(client.chat("demo/demo", "hello").await.status, StatusCode::OK);
    eventually("a checkpoint", || async {
        !get(&admin, "/audit/checkpoints").await["data"].as_array().expect("a list").is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let proof = post(&admin, "/audit/verify", json!({"wait_seconds": 30})).await;
    assert_eq!(proof.json()["state"], "proven", "{}", proof.text());
    let key = get(&admin, "/audit/key").await;
    let printed = gateway.run(&["audit", "key"]).await;
    assert_eq!(key["public_key"].as_str().expect("a key"), String::from_utf8_lossy(&printed.stdout).trim());
    let listed = gateway.run(&["audit", "checkpoints", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert!(listed[0]["checkpoint"].as_u64() >= Some(1), "{listed}");
}

#[tokio::test]
async fn files_come_whole() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let admin = superadmin(&gateway).await;
    let client = gateway.client().await;
    assert_eq!(client.chat("demo/demo", "hello").await.status, StatusCode::OK);
    eventually("the request", || async {
        let file = admin.get("/admin/v1/usage/export?by=provider").await;
        file.status == StatusCode::OK && file.text().lines().nth(1).is_some_and(|line| line.starts_with("demo,1,"))
    })
    .await;
    let trail = admin.get("/admin/v1/audit-events/export").await;
    let actions: Vec<Value> = trail.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(actions.iter().any(|event| event["action"] == "key.create"), "{}", trail.text());
}
