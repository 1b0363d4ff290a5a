//! Plugins come, change and go while requests are served, and no request fails for it.

use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{Client, Component, Gateway, Setup, Traffic, demo, eventually, hash_of, sse};
use serde_json::Value;

/// Refuses the model `demo-echo` and nothing else.
const REFUSES_ECHO: &str = r#"
[[plugin.policy-rules.config.rules]]
name = "no-echo"
when = { requested_models = ["demo/demo-echo"] }
then = "deny"
"#;

async fn serving(client: &Client, plugin: &str, component: &Component) {
    let hash = component.hash();
    eventually(&format!("{plugin} {hash} serves"), || async {
        let id = client.chat("demo/demo", "hello").await.ok().id();
        hash_of(&client.receipt(&id).await, plugin) == Some(&hash)
    })
    .await;
}

async fn echo(client: &Client) -> StatusCode {
    client.chat("demo/demo-echo", "hello").await.status
}

async fn rejected(gateway: &Gateway, plugin: &str) {
    gateway.logged(&["plugin file rejected", &format!("plugin={plugin}")]).await;
}

#[tokio::test]
async fn a_policy_is_added_replaced_and_removed() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with(REFUSES_ECHO).without("policy-rules").start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 4);
    assert_eq!(echo(&client).await, StatusCode::OK);

    gateway.plugins.put("policy-rules", &Component::built("policy-rules"));
    eventually("the policy refuses", || async { echo(&client).await == StatusCode::FORBIDDEN }).await;

    let variant = Component::built("policy-rules").variant(1);
    gateway.plugins.put("policy-rules", &variant);
    serving(&client, "policy-rules", &variant).await;
    assert_eq!(echo(&client).await, StatusCode::FORBIDDEN);

    gateway.plugins.remove("policy-rules");
    eventually("the policy is gone", || async { echo(&client).await == StatusCode::OK }).await;
    let id = client.chat("demo/demo", "hello").await.ok().id();
    assert_eq!(hash_of(&client.receipt(&id).await, "policy-rules"), None);
    traffic.stop().await.all_went_well();
}

/// The host has never heard of it: the name, the file and the section are new.
#[tokio::test]
async fn a_plugin_of_another_name_joins() {
    let demo = demo().await;
    let section = REFUSES_ECHO.replace("plugin.policy-rules", "plugin.policy-other");
    let gateway = Setup::demo(&demo).with(&section).start().await;
    let client = gateway.client().await;
    assert_eq!(echo(&client).await, StatusCode::OK);
    let other = Component::built("policy-rules").exchange("policy-rules", "policy-other");
    gateway.plugins.put("policy-other", &other);
    eventually("the policy refuses", || async { echo(&client).await == StatusCode::FORBIDDEN }).await;
    let id = client.chat("demo/demo", "hello").await.ok().id();
    let receipt = client.receipt(&id).await;
    assert_eq!(hash_of(&receipt, "policy-other"), Some(other.hash().as_str()));
    assert!(hash_of(&receipt, "policy-rules").is_some());
}

#[tokio::test]
async fn every_role_is_replaced_under_traffic() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 4);
    for (mark, plugin) in (1..).zip(["openai", "pii", "policy-rules", "router-heuristic"]) {
        let variant = Component::built(plugin).variant(mark);
        gateway.plugins.put(plugin, &variant);
        serving(&client, plugin, &variant).await;
    }
    let variant = Component::built("anthropic").variant(9);
    gateway.plugins.put("anthropic", &variant);
    eventually("anthropic's variant serves", || async {
        let id = client.chat("demo-anthropic/demo", "hello").await.ok().id();
        hash_of(&client.receipt(&id).await, "anthropic") == Some(&variant.hash())
    })
    .await;
    let tally = traffic.stop().await;
    tally.all_went_well();
    for id in tally.ids.iter().rev().take(20) {
        assert_eq!(client.receipt(id).await["outcome"]["code"], "ok");
    }
}

#[tokio::test]
async fn broken_files_change_nothing_and_are_named() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let good = Component::built("pii");
    let traffic = Traffic::start(&client, 4);
    let name_of_another = Component::built("pii").exchange("pii", "pia");
    let module = b"\0asm\x01\0\0\0".to_vec();
    for (plugin, bytes) in [
        ("pii", b"this is no component".to_vec()),
        ("openai", Vec::new()),
        ("policy-rules", Component::built("policy-rules").bytes()[..100_000].to_vec()),
        ("router-heuristic", name_of_another.bytes().to_vec()),
        ("anthropic", module),
    ] {
        gateway.plugins.put_bytes(plugin, &bytes);
        rejected(&gateway, plugin).await;
    }
    serving(&client, "pii", &good).await;
    serving(&client, "openai", &Component::built("openai")).await;
    serving(&client, "policy-rules", &Component::built("policy-rules")).await;
    // What was broken is mended by the next file.
    let mended = Component::built("pii").variant(3);
    gateway.plugins.put("pii", &mended);
    serving(&client, "pii", &mended).await;
    traffic.stop().await.all_went_well();
}

#[tokio::test]
async fn a_file_that_is_half_written_waits_for_its_other_half() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 2);
    let (old, new) = (Component::built("policy-rules"), Component::built("policy-rules").variant(4));
    let path = gateway.plugins.path("policy-rules");
    let (first, second) = new.bytes().split_at(new.bytes().len() / 2);
    // In place, as `cp` does.
    std::fs::write(&path, first).unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    serving(&client, "policy-rules", &old).await;
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    for piece in second.chunks(second.len() / 5 + 1) {
        std::io::Write::write_all(&mut file, piece).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    drop(file);
    serving(&client, "policy-rules", &new).await;
    traffic.stop().await.all_went_well();
}

#[tokio::test]
async fn a_link_is_turned() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 2);
    let (blue, green) = (Component::built("pii").variant(5), Component::built("pii").variant(6));
    let blue_path = gateway.plugins.lay_aside("blue", &blue);
    let green_path = gateway.plugins.lay_aside("green", &green);
    for _ in 0..2 {
        gateway.plugins.link("pii", &blue_path);
        serving(&client, "pii", &blue).await;
        gateway.plugins.link("pii", &green_path);
        serving(&client, "pii", &green).await;
    }
    traffic.stop().await.all_went_well();
}

/// A request ends with the versions it began with, to its last byte: also those that are first called after the swap.
#[tokio::test]
async fn a_stream_ends_with_the_versions_it_began_with() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let names = ["openai", "anthropic", "pii", "policy-rules", "router-heuristic"];
    // One passes through, one crosses formats.
    let mut same = client.chat_stream("demo/demo-slow", "tell me about gates").await;
    let mut across = client.chat_stream("demo-anthropic/demo-slow", "tell me about gates").await;
    let mut begun = [same.read(1).await, across.read(1).await];
    for (mark, name) in (20..).zip(names) {
        gateway.plugins.put(name, &Component::built(name).variant(mark));
    }
    serving(&client, "pii", &Component::built("pii").variant(22)).await;
    serving(&client, "openai", &Component::built("openai").variant(20)).await;
    assert_eq!(demo.stats().active, 2, "both streams are still under way");
    for (stream, begun) in [&mut same, &mut across].into_iter().zip(&mut begun) {
        let (rest, complete) = stream.rest().await;
        assert!(complete);
        begun.push_str(&rest);
        assert!(sse::ended(&sse::events(begun)), "{begun}");
        let receipt: Value = client.receipt(&stream.id()).await;
        for line in receipt["plugins"].as_array().unwrap() {
            let name = line["name"].as_str().unwrap();
            assert_eq!(line["hash"].as_str(), Some(Component::built(name).hash().as_str()), "{name}");
        }
    }
}
