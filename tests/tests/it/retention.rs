//! How long records live, as an operator sees it: settings, deletion, search, and the proof beside them. Time itself passes in the
//! store's own tests.

use portcullis_tests::{Client, Gateway, Setup, chat, demo};
use serde_json::{Value, json};

async fn json_of(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.run(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn retention_is_set_and_kept_to() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[records]\nretention_days = 7\n").start().await;
    let client = gateway.client().await;
    let id = client.chat("demo/demo", "hello").await.ok().id();
    client.receipt(&id).await;
    let edited = json_of(&gateway, &["org", "edit", "default", "--retention-days", "30", "--json"]).await;
    assert_eq!(edited["retention_days"], 30);
    for days in ["6", "366", "soon"] {
        let refused = gateway.run(&["org", "edit", "default", "--retention-days", days]).await;
        assert!(!refused.status.success(), "{days}");
    }
    let events = json_of(&gateway, &["audit", "list", "--action", "organisation.edit", "--json"]).await;
    assert_eq!(events[0]["after"]["retention_days"], 30);
    // Nothing is that old yet.
    assert_eq!(json_of(&gateway, &["request", "expire", "--json"]).await, json!([]));
    assert_eq!(json_of(&gateway, &["request", "show", &id]).await["id"], id);
    let back = json_of(&gateway, &["org", "edit", "default", "--retention-days", "default", "--json"]).await;
    assert_eq!(back["retention_days"], Value::Null);
    // The gateway signs now and then: here it is asked to.
    let signed = gateway.run(&["audit", "checkpoint"]).await;
    assert!(signed.status.success(), "{signed:?}");
    let verified = gateway.run(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn a_default_out_of_bounds_starts_nothing() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    gateway.configure("[records]\nretention_days = 3\n");
    let checked = gateway.run(&["check"]).await;
    assert!(!checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stderr).contains("records.retention_days"), "{checked:?}");
}

#[tokio::test]
async fn requests_are_found_by_what_became_of_them() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let narrow = gateway.client_with(&["--model", "demo/other"]).await;
    let body = chat("demo/demo", "hello", false).to_string();
    let named = client.post_with("/v1/chat/completions", &[("x-request-id", "client-7")], body).await.ok().id();
    let plain = client.chat("demo/demo", "hello").await.ok().id();
    let denied = narrow.chat("demo/demo", "hello").await.id();
    for (client, id) in [(&client, &named), (&client, &plain), (&narrow, &denied)] {
        client.receipt(id).await;
    }
    let found = async |arguments: &[&str]| {
        let mut all = vec!["request", "list", "--json"];
        all.extend(arguments);
        let listed = json_of(&gateway, &all).await;
        listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(&[]).await, [&*denied, &*plain, &*named]);
    assert_eq!(found(&["--correlation", "client-7"]).await, [&*named]);
    assert_eq!(found(&["--correlation", "client-8"]).await, [""; 0]);
    assert_eq!(found(&["--outcome", "denied"]).await, [&*denied]);
    assert_eq!(found(&["--status", "200"]).await, [&*plain, &*named]);
    assert_eq!(found(&["--status", "400-499", "--reason", "model_not_allowed"]).await, [&*denied]);
    assert_eq!(found(&["--org", "default", "--provider", "demo", "--limit", "1"]).await, [&*plain]);
    assert_eq!(found(&["--provider", "demo", "--before", &plain]).await, [&*named]);
    assert_eq!(found(&["--cost-from", "0.000000001"]).await, [&*plain, &*named]);
    assert_eq!(found(&["--cost-from", "1000"]).await, [""; 0]);
    assert_eq!(found(&["--ms-from", "600000"]).await, [""; 0]);
    assert_eq!(found(&["--days", "1", "--environment", "production"]).await.len(), all_production(&gateway).await);
    let shown = json_of(&gateway, &["request", "show", &named]).await;
    assert_eq!((&shown["correlation"], &shown["receipt"]["correlation"]), (&json!("client-7"), &json!("client-7")));
    assert_eq!(client_receipt(&client, &plain).await["correlation"], Value::Null);
    let table = gateway.run(&["request", "list"]).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("model_not_allowed"), "{table:?}");
}

async fn all_production(gateway: &Gateway) -> usize {
    let listed = json_of(gateway, &["request", "list", "--json"]).await;
    listed.as_array().unwrap().iter().filter(|one| one["environment"] == "production").count()
}

async fn client_receipt(client: &Client, id: &str) -> Value {
    client.receipt(id).await
}
