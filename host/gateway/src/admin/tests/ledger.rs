//! Entries, and what is decided about those in quarantine; limits, tiers and replicas.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_and_follow_each_other() {
    let world = world().await;
    let ledger = &world.gateway.ledger;
    let key: KeyId = world.ids["key"].parse().unwrap();
    let mut requests = Vec::new();
    for at in 0..5u64 {
        let id = RequestId::new(1_790_000_000_000 + at, &mut rand::rng());
        let reserve = ReserveRequest {
            request_id: id,
            attempt: 1,
            key_id: key,
            organisation: world.organisations[0],
            provider: "one".into(),
            model: "m".into(),
            worst: "0.25".parse().unwrap(),
            now_ms: 1_790_000_000_000 + at,
        };
        ledger.reserve(reserve, Hold::unbudgeted()).unwrap().refund("failed").unwrap();
        requests.push(id.to_string());
    }
    let all = world.get("/ledger/entries").await;
    let newest = &all.body["data"][0];
    for (field, value) in [
        ("request", json!(requests[4])),
        ("kind", json!("refunded")),
        ("reserved_usd", json!("0.25")),
        ("amount_nano_usd", json!(0)),
        ("reason", json!("failed")),
    ] {
        assert_eq!(newest[field], value, "{field}: {}", all.text);
    }
    let listed = async |query: &str| -> Vec<String> {
        let answer = world.get(&format!("/ledger/entries?{query}")).await;
        let data = answer.body["data"].as_array().unwrap_or_else(|| panic!("{query}: {}", answer.text)).clone();
        data.iter().map(|one| one["request"].as_str().unwrap().to_owned()).collect()
    };
    let newest_first: Vec<String> = requests.iter().rev().cloned().collect();
    assert_eq!(listed("kind=refunded").await, newest_first);
    assert_eq!(listed(&format!("request={}", requests[2])).await, requests[2..3]);
    assert_eq!(listed(&format!("key={key}&since_ms=1790000000003")).await, newest_first[..2]);
    assert_eq!(listed("kind=refunded&until_ms=1790000000001").await, requests[..1]);
    assert_eq!(listed(&format!("kind=refunded&team={}", world.team)).await, newest_first);
    assert!(listed(&format!("organisation={}", world.organisations[1])).await.is_empty());
    assert!(listed("kind=settled").await.is_empty());
    assert_eq!(world.get("/ledger/entries?kind=lost").await.code(), "invalid_parameter");
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/ledger/entries?kind=refunded&limit=2{cursor}")).await;
        walked.extend(
            page.body["data"].as_array().unwrap().iter().map(|one| one["request"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.body["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(walked, newest_first);
    // Of another team's keys nothing is seen.
    let new = NewTeam { organisation: world.organisations[0], name: "other".to_owned(), policy: Default::default() };
    let other = world.store.create_team(&Actor::cli("test"), new).await.unwrap().id;
    let token = world.token(Role::Auditor, Scope::Team(world.organisations[0], other)).await;
    for path in ["/ledger/entries", "/ledger/quarantine", "/ledger/leases"] {
        assert_eq!(world.call("GET", path, &token, None).await.body["data"], json!([]), "{path}");
    }
    // The audit trail is kept by organisation.
    assert_eq!(world.call("GET", "/audit-events", &token, None).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_quarantine_is_decided_once() {
    let world = world().await;
    let found = world.get("/ledger/quarantine").await;
    let one = &found.body["data"][0];
    assert_eq!((&one["id"], &one["amount_usd"]), (&json!(world.ids["reservation"]), &json!("0.5")), "{}", found.text);
    let path = format!("/ledger/quarantine/{}/decide", world.ids["reservation"]);
    for (body, pointer) in [
        (json!({"outcome": "settle"}), "/amount_usd"),
        (json!({"outcome": "release", "amount_usd": "1"}), "/amount_usd"),
        (json!({"outcome": "guess"}), "/outcome"),
    ] {
        let refused = world.post(&path, body).await;
        assert_eq!((refused.code(), refused.body["pointer"].as_str()), ("invalid", Some(pointer)), "{}", refused.text);
    }
    let decided = world.post(&path, json!({"outcome": "settle", "amount_usd": "0.125"})).await;
    assert_eq!(decided.status, StatusCode::OK, "{}", decided.text);
    assert_eq!(
        (&decided.body["kind"], &decided.body["amount_nano_usd"], &decided.body["step"]),
        (&json!("settled"), &json!(125_000_000), &json!(1))
    );
    let request = decided.body["request"].as_str().unwrap();
    // As it is written, and as it was before.
    let entries = world.get(&format!("/ledger/entries?request={request}")).await;
    assert_eq!(entries.body["data"][0], decided.body);
    assert_eq!(entries.body["data"][1]["kind"], "quarantined");
    assert_eq!(world.get("/ledger/quarantine").await.body["data"], json!([]));
    assert_eq!(world.post(&path, json!({"outcome": "release"})).await.status, StatusCode::NOT_FOUND);

    let leases = world.get(&format!("/ledger/leases?organisation={}", world.organisations[0])).await;
    let lease = &leases.body["data"][0];
    assert_eq!((&lease["id"], &lease["rest_nano_usd"]), (&json!(world.ids["lease"]), &json!(700)), "{}", leases.text);
    let path = format!("/ledger/leases/{}/decide", world.ids["lease"]);
    assert_eq!(world.post(&path, json!({"spent_nano_usd": 701})).await.code(), "invalid");
    assert_eq!(world.post(&path, json!({"spent_nano_usd": 200})).await.status, StatusCode::OK);
    assert_eq!(world.post(&path, json!({"spent_nano_usd": 200})).await.status, StatusCode::NOT_FOUND);
    let budget = world.get(&format!("/budgets/{}", lease["budget"].as_str().unwrap())).await;
    let standing = &budget.body["standing"];
    assert_eq!((&standing["spent_nano_usd"], &standing["quarantined_nano_usd"]), (&json!(200), &json!(0)));
    let trail = world.get("/audit-events?action=ledger.").await;
    let done: Vec<_> = trail.body["data"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(done, ["ledger.decide-lease", "ledger.decide"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_may_ask_for_is_said_with_whose_word_it_is() {
    let world = world().await;
    let path = format!("/keys/{}", world.ids["key"]);
    let edit = json!({"policy": {"tier": "free", "limits": {"requests_per_minute": 7}}});
    assert_eq!(world.call("PATCH", &path, &world.superadmin, Some(edit)).await.status, StatusCode::OK);
    let stands = world.get(&format!("{path}/limits")).await;
    assert_eq!(stands.body["tier"], json!({"tier": "free", "origin": "key"}), "{}", stands.text);
    let limits = stands.body["limits"].as_array().unwrap();
    let of = |unit: &str, window: Value| {
        let found = limits.iter().find(|one| one["unit"] == unit && one["window"] == window);
        found.unwrap_or_else(|| panic!("{}", stands.text)).clone()
    };
    let minute = of("requests", json!("minute"));
    assert_eq!((&minute["limit"], &minute["origin"], &minute["remaining"]), (&json!(7), &json!("key"), &json!(7)));
    assert_eq!(minute["by"], json!(["key"]));
    let day = of("tokens", json!("day"));
    assert_eq!((&day["origin"], &day["origin_tier"]), (&json!("tier"), &json!("free")));
    assert_eq!(of("requests", Value::Null)["limit"], 4);
    let edit = json!({"policy": {"tier": "no-such"}});
    assert_eq!(world.call("PATCH", &path, &world.superadmin, Some(edit)).await.status, StatusCode::OK);
    let unknown = world.get(&format!("{path}/limits")).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::CONFLICT, "unknown_tier"));
    let tiers = world.get("/tiers").await;
    let free = tiers.body["data"].as_array().unwrap().iter().find(|tier| tier["name"] == "free").unwrap().clone();
    assert_eq!(free["limits"]["tokens_per_day"], 500_000, "{}", tiers.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processes_that_serve_are_listed() {
    let world = world().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let one = loop {
        let all = world.get("/replicas").await;
        if let Some(one) = all.body["data"].get(0) {
            break one.clone();
        }
        assert!(std::time::Instant::now() < deadline, "{}", all.text);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(one["live"], true, "{one}");
    assert!(one["name"].as_str().unwrap().ends_with(&format!(":{}", std::process::id())), "{one}");
}
