//! A new version that fails in service: the old one comes back, the new one stays out, and the operator learns of it.

use http::StatusCode;
use portcullis_tests::{Client, Component, Gateway, Setup, demo, eventually, hash_of};
use serde_json::Value;

/// The guest is a policy that allows everything as 1.0.0, and traps for every request as 2.0.0. It is a router too, which is not to
/// be the first.
const CONFIG: &str = "[plugin.guest]\norder = 10\n[plugin.guest.config]\nbad_versions = [\"2.0.0\"]\n";

async fn gateway(demo: &portcullis_demo_upstream::Handle) -> Gateway {
    let gateway = Setup::demo(demo).with(CONFIG).start().await;
    gateway.plugins.put("guest", &Component::guest("policy"));
    gateway.logged(&["plugin loaded", "plugin=\"guest\"", "version=\"1.0.0\""]).await;
    gateway
}

fn bad() -> Component {
    Component::guest("policy").version("2.0.0")
}

async fn status(client: &Client) -> StatusCode {
    client.chat("demo/demo", "hello").await.status
}

/// Puts the bad version in place and asks with one key after the other until it is gone.
async fn roll_back(gateway: &Gateway) {
    gateway.plugins.put("guest", &bad());
    gateway.logged(&["plugin loaded", "plugin=\"guest\"", "version=\"2.0.0\""]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(gateway.client().await);
    }
    // One key alone brings no old version back.
    for _ in 0..5 {
        let refused = clients[0].chat("demo/demo", "hello").await;
        assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR, "a policy that fails, fails closed");
        let receipt = clients[0].receipt(&refused.id()).await;
        assert_eq!(hash_of(&receipt, "guest"), Some(bad().hash().as_str()));
        let line = receipt["plugins"].as_array().unwrap().iter().find(|line| line["name"] == "guest").unwrap();
        assert_eq!(line["verdict"], "trapped", "{receipt}");
    }
    for client in &clients[1..] {
        assert_eq!(status(client).await, StatusCode::INTERNAL_SERVER_ERROR);
    }
    eventually("the old version is back", || async { status(&clients[0]).await == StatusCode::OK }).await;
    let id = clients[2].chat("demo/demo", "hello").await.ok().id();
    let receipt = clients[2].receipt(&id).await;
    assert_eq!(hash_of(&receipt, "guest"), Some(Component::guest("policy").hash().as_str()));
}

async fn quarantined(gateway: &Gateway) -> Vec<Value> {
    let output = gateway.run(&["plugin", "quarantined", "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn a_version_that_traps_for_several_keys_is_rolled_back() {
    let demo = demo().await;
    let gateway = gateway(&demo).await;
    assert_eq!(quarantined(&gateway).await, Vec::<Value>::new());
    roll_back(&gateway).await;
    let hash = bad().hash();
    gateway.logged(&["plugin version quarantined", "plugin=guest", &hash, "1.0.0 is back"]).await;
    let list = quarantined(&gateway).await;
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["hash"], hash.as_str());
    assert_eq!((&list[0]["plugin"], &list[0]["version"]), (&"guest".into(), &"2.0.0".into()));
    assert_eq!(list[0]["instead"]["version"], "1.0.0");
    // Written again it stays out; another content is another version.
    let client = gateway.client().await;
    gateway.plugins.put("guest", &bad());
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(status(&client).await, StatusCode::OK);
    let mended = Component::guest("policy").version("2.0.1");
    gateway.plugins.put("guest", &mended);
    eventually("the mended version serves", || async {
        let id = client.chat("demo/demo", "hello").await.ok().id();
        hash_of(&client.receipt(&id).await, "guest") == Some(&mended.hash())
    })
    .await;
}

#[tokio::test]
async fn a_quarantine_outlives_the_gateway_until_it_is_lifted() {
    let demo = demo().await;
    let gateway = gateway(&demo).await;
    roll_back(&gateway).await;
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client().await;
    let id = client.chat("demo/demo", "hello").await.ok().id();
    let receipt = client.receipt(&id).await;
    assert_eq!(hash_of(&receipt, "guest"), Some(Component::guest("policy").hash().as_str()), "the copy that was kept");

    let checked = gateway.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("quarantined, 1.0.0 serves instead"), "{checked:?}");
    let unknown = gateway.run(&["plugin", "release", "nosuch"]).await;
    assert!(!unknown.status.success(), "{unknown:?}");
    let released = gateway.run(&["plugin", "release", &bad().hash()[..12]]).await;
    assert!(released.status.success(), "{released:?}");
    assert_eq!(quarantined(&gateway).await, Vec::<Value>::new());
    eventually("it is tried again", || async { status(&client).await == StatusCode::INTERNAL_SERVER_ERROR }).await;
    gateway.logged(&["quarantine lifted", "plugin=guest", &bad().hash()]).await;
}
