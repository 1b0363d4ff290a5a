//! Checkpoints, the key, and the proof.

use portcullis_store::AuditKeySource;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_and_the_trail_are_proven() {
    let world = world().await;
    let key = AuditKeySource::Given("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".to_owned()).fetch().unwrap();
    world.gateway.ledger.flush().await.unwrap();
    let first = world.store.checkpoint(&key, None).await.unwrap().unwrap();
    assert_eq!(world.post("/organisations", json!({"name": "third"})).await.status, StatusCode::CREATED);
    let second = world.store.checkpoint(&key, None).await.unwrap().unwrap();

    let shown = world.get("/audit/key").await;
    assert_eq!(shown.body["public_key"], key.public().to_string(), "{}", shown.text);
    assert!(shown.body["pem"].as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
    let all = world.get("/audit/checkpoints?limit=1").await;
    assert_eq!(all.body["data"][0]["checkpoint"], second.number, "{}", all.text);
    let next = all.body["next"].as_str().unwrap();
    let older = world.get(&format!("/audit/checkpoints?limit=1&cursor={next}")).await;
    assert_eq!((&older.body["data"][0]["checkpoint"], &older.body["next"]), (&json!(first.number), &Value::Null));

    // What is listed is what verification takes as an anchor.
    let mut anchor = all.body["data"][0].clone();
    anchor.as_object_mut().unwrap().remove("next_key");
    let proven = world.post("/audit/verify", json!({"anchors": [anchor], "wait_seconds": 60})).await;
    assert_eq!(proven.status, StatusCode::OK, "{}", proven.text);
    assert_eq!(
        (&proven.body["state"], &proven.body["report"]["fault"]),
        (&json!("proven"), &Value::Null),
        "{}",
        proven.text
    );
    let report = &proven.body["report"];
    assert_eq!((&report["anchors"], &report["newest_checkpoint"]), (&json!(1), &json!(second.number)));
    assert!(report["events"].as_u64().unwrap() > 5 && report["entries"].as_u64().unwrap() > 0, "{report}");
    let asked = world.get(&format!("/audit/verify/{}", proven.body["id"].as_str().unwrap())).await;
    assert_eq!(asked.body, proven.body);
    assert_eq!(world.get("/audit/verify/proof_no").await.status, StatusCode::NOT_FOUND);

    // Another's key does not vouch for it.
    let stranger = AuditKeySource::Given("07".repeat(32)).fetch().unwrap().public();
    let faulty = world.post("/audit/verify", json!({"public_keys": [stranger.to_string()]})).await;
    assert_eq!(faulty.body["state"], "faulty", "{}", faulty.text);
    assert_eq!(faulty.body["report"]["fault"]["table"], "checkpoints", "{}", faulty.text);
    let mut forged = anchor.clone();
    forged["checkpoint"] = json!(7);
    forged["hash"] = json!("00".repeat(32));
    for (body, pointer) in [
        (json!({"wait_seconds": 61}), "/wait_seconds"),
        (json!({"public_keys": ["x"]}), "/public_keys/0"),
        (json!({"anchors": [forged]}), "/anchors/0"),
    ] {
        let refused = world.post("/audit/verify", body).await;
        assert_eq!((refused.code(), refused.body["pointer"].as_str()), ("invalid", Some(pointer)), "{}", refused.text);
    }
}
