//! Whom requests are for, by their clients' own word: in receipts and usage, and counted by budgets.

use http::StatusCode;
use portcullis_tests::{Setup, demo, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn a_request_says_who_asks_and_what_for() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client_with(&["--tag", "team=a"]).await;
    let ask = |more: Value| {
        let mut body = json!({"model": "demo/demo", "messages": [{"role": "user", "content": "hello"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let said = |receipt: &Value| (receipt["caller"]["user"].clone(), receipt["tags"].clone());
    let body = ask(json!({"user": "ada", "metadata": {"job": "nightly", "team": "another's"}, "store": false}));
    let answer = client.post("/v1/chat/completions", body).await.ok();
    let tags = json!([{"name": "team", "value": "a"}, {"name": "job", "value": "nightly"}]);
    assert_eq!(said(&client.receipt(&answer.id()).await), (json!("ada"), tags));
    let headers = [("x-portcullis-user", "grace"), ("x-portcullis-tags", "job=head")];
    let answer = client.post_with("/v1/chat/completions", &headers, ask(json!({"user": "ada"}))).await.ok();
    let tags = json!([{"name": "team", "value": "a"}, {"name": "job", "value": "head"}]);
    assert_eq!(said(&client.receipt(&answer.id()).await), (json!("grace"), tags));
    let body = json!({"model": "demo-anthropic/demo", "max_tokens": 9, "metadata": {"user_id": "barbara"},
        "messages": [{"role": "user", "content": "hello"}]});
    let answer = client.post("/v1/messages", body.to_string()).await.ok();
    assert_eq!(said(&client.receipt(&answer.id()).await).0, json!("barbara"));

    let usage = async || -> Value {
        let output = gateway.run(&["usage", "--by", "user", "--json"]).await;
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    eventually("usage by user", async || {
        let told = usage().await.to_string();
        ["ada", "grace", "barbara"].iter().all(|user| told.contains(user))
    })
    .await;
}

#[tokio::test]
async fn a_person_s_budget_is_theirs_alone() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let made = gateway
        .run(&[
            "budget", "create", "--name", "ada", "--limit", "0.000001", "--period", "day", "--scope", "user",
            "--value", "ada",
        ])
        .await;
    assert!(made.status.success(), "{made:?}");
    let client = gateway.client().await;
    let ask = async |user: &str| {
        let body = json!({"model": "demo/demo", "user": user, "messages": [{"role": "user", "content": "hello"}]});
        client.post("/v1/chat/completions", body.to_string()).await.status
    };
    eventually("hers is spent", async || ask("ada").await == StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(ask("grace").await, StatusCode::OK);
}
