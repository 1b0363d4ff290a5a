//! Keys: who may ask for what, and that a change holds at once.

use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_tests::{Client, Setup, demo};
use serde_json::Value;

async fn status(client: &Client, model: &str) -> StatusCode {
    client.chat(model, "hello").await.status
}

#[tokio::test]
async fn a_key_works_at_once_and_ends_within_a_second() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let key = gateway.key(&[]).await;
    let client = Client { address: gateway.address, key: key["key"].as_str().unwrap().to_owned() };
    assert_eq!(status(&client, "demo/demo").await, StatusCode::OK);
    let list: Value = serde_json::from_slice(&gateway.run(&["key", "list", "--json"]).await.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert!(!list.to_string().contains(&client.key), "a key is shown once");
    let revoked = gateway.run(&["key", "revoke", key["id"].as_str().unwrap()]).await;
    assert!(revoked.status.success(), "{revoked:?}");
    let since = Instant::now();
    while status(&client, "demo/demo").await == StatusCode::OK {
        assert!(since.elapsed() < Duration::from_secs(1), "it still works");
    }
    assert_eq!(status(&client, "demo/demo").await, StatusCode::UNAUTHORIZED);
    // Also for whoever kept a connection, and in the other protocol's shape.
    let answer = client.messages("demo/demo", "hello").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["type"]),
        (StatusCode::UNAUTHORIZED, &"authentication_error".into())
    );
    let again = gateway.run(&["key", "revoke", "key_00000000000000000000000000000000"]).await;
    assert!(!again.status.success(), "{again:?}");
}

#[tokio::test]
async fn a_key_that_has_expired_is_none() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let expired = gateway.client_with(&["--expires-in-days", "0"]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(status(&expired, "demo/demo").await, StatusCode::UNAUTHORIZED);
    let fresh = gateway.client_with(&["--expires-in-days", "1"]).await;
    assert_eq!(status(&fresh, "demo/demo").await, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_key_is_refused_alike() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut mistyped = client.key.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    let mut answers = Vec::new();
    for key in ["", "nobody", "pc_prod_short", &mistyped] {
        let answer = Client { key: key.to_owned(), ..client.clone() }.chat("demo/demo", "hello").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{key}");
        answers.push(answer);
    }
    assert_eq!(answers[1].body, answers[3].body, "an answer tells nothing of how near it was");
    assert_eq!(demo.stats().requests, 0);
}

#[tokio::test]
async fn a_key_is_good_for_its_models_and_providers() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let one_model = gateway.client_with(&["--model", "demo/demo-echo"]).await;
    assert_eq!(status(&one_model, "demo/demo-echo").await, StatusCode::OK);
    assert_eq!(status(&one_model, "demo/demo").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&one_model, "demo-anthropic/demo-echo").await, StatusCode::FORBIDDEN);
    let one_provider = gateway.client_with(&["--provider", "demo-anthropic"]).await;
    assert_eq!(status(&one_provider, "demo-anthropic/demo").await, StatusCode::OK);
    assert_eq!(status(&one_provider, "demo/demo").await, StatusCode::FORBIDDEN);
    // `auto` goes where the key may go.
    let answer = one_provider.chat("auto", "hello").await.ok();
    assert_eq!(answer.headers["x-portcullis-provider"], "demo-anthropic");
    let models = one_provider.get("/v1/models").await.ok().json();
    let names: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(!names.is_empty() && !names.iter().any(|name| name.starts_with("demo/")), "{names:?}");
}

#[tokio::test]
async fn usage_is_told_by_key() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for _ in 0..3 {
        let id = client.chat("demo/demo", "hello").await.ok().id();
        client.receipt(&id).await;
    }
    let usage = gateway.run(&["usage"]).await;
    assert!(usage.status.success(), "{usage:?}");
    let told = String::from_utf8_lossy(&usage.stdout).into_owned();
    assert!(told.contains("demo") && told.contains('3'), "{told}");

    let exported = gateway.run(&["usage", "export", "--by", "day,key,provider,model", "--format", "jsonl"]).await;
    let line: serde_json::Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!((&line["provider"], &line["model"], &line["requests"]), (&"demo".into(), &"demo".into(), &3.into()));
    assert!(line["cost_nano_usd"].as_u64().unwrap() > 0 && line["key"].as_str().unwrap().starts_with("key_"), "{line}");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("chargeback");
    let to = to.to_str().unwrap();
    let exported = gateway.run(&["usage", "export", "--by", "team", "--format", "parquet", "--to", to]).await;
    assert!(exported.status.success(), "{exported:?}");
    assert!(std::fs::read(folder.path().join("chargeback/usage.parquet")).unwrap().ends_with(b"PAR1"));
    let refused = gateway.run(&["usage", "--by", "tag"]).await;
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--tag"), "{refused:?}");
}
