//! What binds a key beside its own lists: its organisation's and team's policies, where requests come from, suspension, rotation,
//! lock-outs. Each refusal in the client's protocol, and with a receipt where there is a key.

use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_tests::{Answer, Client, Gateway, Setup, chat, demo};
use serde_json::Value;

async fn command(gateway: &Gateway, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    let output = gateway.run(&all).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn ask(client: &Client, headers: &[(&str, &str)]) -> Answer {
    client.post_with("/v1/chat/completions", headers, chat("demo/demo", "hello", false).to_string()).await
}

async fn refused(client: &Client, headers: &[(&str, &str)], code: &str) {
    let answer = ask(client, headers).await;
    let found = (answer.status, answer.json()["error"]["code"].clone());
    assert_eq!(found, (StatusCode::FORBIDDEN, code.into()), "{headers:?} {}", answer.text());
}

#[tokio::test]
async fn the_narrowest_word_holds_and_a_change_follows() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let org = command(&gateway, &["org", "create", "--name", "acme", "--model", "demo*"]).await;
    command(&gateway, &["team", "create", "--name", "red", "--org", "acme", "--provider", "demo"]).await;
    let key = gateway.key(&["--org", "acme", "--team", "red", "--model", "*demo"]).await;
    let client = Client { address: gateway.address, key: key["key"].as_str().unwrap().to_owned() };
    assert_eq!(key["organisation"], org["id"]);
    let code = async |model: &str| client.chat(model, "hello").await.json()["error"]["code"].clone();
    assert_eq!(code("demo/demo").await, Value::Null);
    assert_eq!(code("demo/other").await, "model_not_allowed");
    assert_eq!(code("demo/demo-slow").await, "model_not_allowed");
    assert_eq!(code("demo-anthropic/demo").await, "provider_not_allowed");
    let answer = client.messages("demo-anthropic/demo", "hello").await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (StatusCode::FORBIDDEN, &"permission_error".into()));
    let receipt = client.receipt(&answer.id()).await;
    assert_eq!(
        (&receipt["outcome"]["code"], &receipt["outcome"]["reason"]),
        (&"denied".into(), &"provider_not_allowed".into())
    );
    let listed = client.get("/v1/models").await.json();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert!(names.iter().all(|name| name.as_str().unwrap().starts_with("demo/")), "{names:?}");

    let shown = command(&gateway, &["key", "show", key["id"].as_str().unwrap()]).await;
    let lines = shown["effective"]["policy"].as_array().unwrap();
    let origins: Vec<_> = lines.iter().filter(|line| line["field"] == "models").map(|line| &line["origin"]).collect();
    assert_eq!(origins, ["organisation", "key"]);
    let table = gateway.run(&["key", "show", key["id"].as_str().unwrap()]).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("team"), "{table:?}");

    command(&gateway, &["org", "edit", "acme", "--model", "nothing"]).await;
    let since = Instant::now();
    while code("demo/demo").await == Value::Null {
        assert!(since.elapsed() < Duration::from_secs(1), "the organisation's word does not hold");
    }
    command(&gateway, &["org", "edit", "acme", "--any", "model"]).await;
    // A suspension holds when its command returns.
    for (what, name, code) in [("team", "red", "team_suspended"), ("org", "acme", "organisation_suspended")] {
        command(&gateway, &[what, "suspend", name]).await;
        refused(&client, &[], code).await;
        command(&gateway, &[what, "resume", name]).await;
    }
    command(&gateway, &["key", "suspend", key["id"].as_str().unwrap()]).await;
    refused(&client, &[], "key_suspended").await;
    command(&gateway, &["key", "resume", key["id"].as_str().unwrap()]).await;
    let since = Instant::now();
    while ask(&client, &[]).await.status != StatusCode::OK {
        assert!(since.elapsed() < Duration::from_secs(1), "it is not served again");
    }
    let trail = command(&gateway, &["audit", "list", "--action", "team."]).await;
    let actions: Vec<_> = trail.as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(actions, ["team.resume", "team.suspend", "team.create"]);
}

#[tokio::test]
async fn where_requests_come_from() {
    let demo = demo().await;
    let trusting = "[server]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";
    let gateway = Setup::demo(&demo).with(trusting).start().await;
    let near = gateway.client_with(&["--cidr", "192.0.2.0/24"]).await;
    refused(&near, &[], "address_not_allowed").await;
    refused(&near, &[("x-forwarded-for", "192.0.2.1, 198.51.100.1")], "address_not_allowed").await;
    refused(&near, &[("forwarded", "for=192.0.2.1")], "address_not_allowed").await;
    ask(&near, &[("x-forwarded-for", "198.51.100.1, 192.0.2.1, 10.0.0.1")]).await.ok();
    // Nor are models told, or receipts.
    assert_eq!(near.get("/v1/models").await.status, StatusCode::FORBIDDEN);
    let denied = ask(&near, &[]).await;
    let opened = gateway.run(&["key", "edit", &near.key[..12], "--any", "cidr"]).await;
    assert!(opened.status.success(), "{opened:?}");
    let since = Instant::now();
    while ask(&near, &[]).await.status != StatusCode::OK {
        assert!(since.elapsed() < Duration::from_secs(1), "the edit does not hold");
    }
    let receipt = near.receipt(&denied.id()).await;
    assert_eq!(receipt["outcome"]["reason"], "address_not_allowed");

    let browser = gateway.client_with(&["--origin", "https://*.example.com"]).await;
    refused(&browser, &[], "origin_not_allowed").await;
    refused(&browser, &[("origin", "https://example.com.evil.org")], "origin_not_allowed").await;
    ask(&browser, &[("origin", "https://app.example.com")]).await.ok();
    let page = gateway.client_with(&["--referrer", "https://example.com/chat/*"]).await;
    refused(&page, &[("referer", "https://example.com/other")], "referrer_not_allowed").await;
    ask(&page, &[("referer", "https://example.com/chat/1")]).await.ok();

    // Elsewhere nobody is believed.
    let plain = Setup::demo(&demo).start().await;
    let near = plain.client_with(&["--cidr", "192.0.2.0/24"]).await;
    refused(&near, &[("x-forwarded-for", "192.0.2.1")], "address_not_allowed").await;
    let local = plain.client_with(&["--cidr", "127.0.0.1"]).await;
    ask(&local, &[("x-forwarded-for", "192.0.2.1")]).await.ok();
}

#[tokio::test]
async fn a_rotated_secret_goes_on_for_its_grace() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let first = gateway.client().await;
    let rotated = command(&gateway, &["key", "rotate", &first.key[..12], "--grace", "2s"]).await;
    let second = Client { key: rotated["key"].as_str().unwrap().to_owned(), ..first.clone() };
    let begun = Instant::now();
    assert_eq!((ask(&first, &[]).await.status, ask(&second, &[]).await.status), (StatusCode::OK, StatusCode::OK));
    while ask(&first, &[]).await.status == StatusCode::OK {
        assert!(begun.elapsed() < Duration::from_secs(5), "the first secret goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ask(&second, &[]).await.ok();
    let third = command(&gateway, &["key", "rotate", rotated["id"].as_str().unwrap(), "--grace", "0"]).await;
    assert_eq!(ask(&second, &[]).await.status, StatusCode::UNAUTHORIZED);
    ask(&Client { key: third["key"].as_str().unwrap().to_owned(), ..first.clone() }, &[]).await.ok();
}

#[tokio::test]
async fn who_guesses_is_locked_out_and_nobody_else() {
    let demo = demo().await;
    let setting = "[access]\nlockout_failures = 3\nlockout_seconds = 60\nlockout_longest_seconds = 60\n";
    let gateway = Setup::demo(&demo).with(setting).start().await;
    let client = gateway.client().await;
    let stranger = Client { key: "pc_prod_nobody".to_owned(), ..client.clone() };
    let statuses: Vec<_> = {
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(ask(&stranger, &[]).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429]);
    let answer = ask(&stranger, &[]).await;
    assert_eq!(answer.json()["error"]["code"], "too_many_invalid_keys", "{}", answer.text());
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 60);
    // From the very same address.
    ask(&client, &[]).await.ok();
    gateway.logged(&["locked out", "address:127.0.0.1"]).await;
    let trail = command(&gateway, &["audit", "list", "--action", "access."]).await;
    let failed: u64 = trail
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["action"] == "access.failed")
        .map(|event| event["after"]["count"].as_u64().unwrap())
        .sum();
    assert_eq!(failed, 4, "{trail}");
    assert!(!trail.to_string().contains(&client.key[..12]), "{trail}");
}
