//! Routes are claimed once and never the gateway's own: a dialect that claims otherwise does not load, and the rest serves on.

use http::StatusCode;
use portcullis_tests::{Component, Gateway, Setup, Traffic, demo, hash_of};

async fn refused(gateway: &Gateway, plugin: &str, why: &str) {
    gateway.logged(&["plugin file rejected", &format!("plugin={plugin}"), why]).await;
}

#[tokio::test]
async fn two_dialects_cannot_claim_one_route() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 2);
    // The same dialect under another name, without its vectors, which name its formats.
    let other =
        Component::built("openai").exchange("portcullis:golden", "portcullis-golden").exchange("openai", "opendi");
    gateway.plugins.put("opendi", &other);
    refused(&gateway, "opendi", "is already taken by").await;
    let id = client.chat("demo/demo", "hello").await.ok().id();
    let receipt = client.receipt(&id).await;
    assert_eq!(receipt["dialect"], "openai");
    assert_eq!(hash_of(&receipt, "openai"), Some(Component::built("openai").hash().as_str()));
    // It stands in nobody's way: a good file beside it is taken.
    let variant = Component::built("pii").variant(31);
    gateway.plugins.put("pii", &variant);
    portcullis_tests::eventually("the guard is replaced", || async {
        let id = client.chat("demo/demo", "hello").await.ok().id();
        hash_of(&client.receipt(&id).await, "pii") == Some(&variant.hash())
    })
    .await;
    traffic.stop().await.all_went_well();
}

#[tokio::test]
async fn nobody_claims_the_gateways_own_paths() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&client, 2);
    let good = Component::built("openai");
    for reserved in ["/v1/receipts/complet", "/admin/at/completion", "/healthz/completions"] {
        gateway.plugins.put("openai", &good.clone().exchange("/v1/chat/completions", reserved));
        refused(&gateway, "openai", &format!("{reserved}: the path is reserved")).await;
        gateway.plugins.put("openai", &good);
    }
    let id = client.chat("demo/demo", "hello").await.ok().id();
    assert_eq!(hash_of(&client.receipt(&id).await, "openai"), Some(good.hash().as_str()));
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
    traffic.stop().await.all_went_well();
}
