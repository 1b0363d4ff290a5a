//! Budgets and alerts over the API, and edits of one version at once.

use portcullis_store::budgets::AlertKind;
use portcullis_store::budgets::{Alert, Budget};

use super::*;

impl World {
    /// A call as superadmin, of a version.
    async fn edit(&self, method: &str, path: &str, tag: &str, body: Value) -> Answer {
        let token = format!("Bearer {}", self.superadmin);
        let headers = [("authorization", token.as_str()), ("if-match", tag)];
        ask(self.server.address(), method, &format!("/admin/v1{path}"), &headers, Some(body)).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &self.superadmin, Some(body)).await
    }

    async fn budget(&self) -> Budget {
        self.store.budget(self.ids["budget"].parse().unwrap()).await.unwrap()
    }
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_s_life() {
    let world = world().await;
    let organisation = world.organisations[0].to_string();
    let made = world
        .post(
            "/budgets",
            json!({"organisation": organisation, "name": "credit", "period": "total", "limit_usd": "2.50", "thresholds": [90, 10]}),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let path = format!("/budgets/{}", made.body["id"].as_str().unwrap());
    assert_eq!(made.headers["location"], format!("/admin/v1{path}"));
    let shown = world.get(&path).await;
    assert_eq!(tag(&shown), tag(&made));
    for (field, value) in [
        ("limit_nano_usd", json!(2_500_000_000u64)),
        ("limit_usd", json!("2.5")),
        ("mode", json!("hard")),
        ("scope", json!("organisation")),
        ("value", Value::Null),
        ("thresholds", json!([10, 90])),
    ] {
        assert_eq!(shown.body[field], value, "{field}: {}", shown.text);
    }
    let standing = &shown.body["standing"];
    assert_eq!(
        (&standing["spent_nano_usd"], &standing["remaining_usd"], &standing["window_end_ms"]),
        (&json!(0), &json!("2.5"), &Value::Null)
    );

    let edited = world.edit("PATCH", &path, &tag(&shown), json!({"limit_nano_usd": 3_000_000_000u64})).await;
    assert_eq!((edited.status, &edited.body["limit_usd"]), (StatusCode::OK, &json!("3")), "{}", edited.text);
    // What was sent twice is added once.
    for status in [StatusCode::OK, StatusCode::PRECONDITION_FAILED] {
        let topped = world.edit("POST", &format!("{path}/top-up"), &tag(&edited), json!({"amount_usd": "0.5"})).await;
        assert_eq!(topped.status, status, "{}", topped.text);
    }
    assert_eq!(world.get(&path).await.body["standing"]["remaining_usd"], "3.5");
    assert_eq!(world.edit("DELETE", &path, &tag(&edited), json!(null)).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(world.call("DELETE", &path, &world.superadmin, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get(&path).await.status, StatusCode::NOT_FOUND);
    let id = path.rsplit_once('/').unwrap().1;
    let trail = world.get(&format!("/audit-events?target={id}")).await;
    let done: Vec<_> = trail.body["data"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(done, ["budget.delete", "budget.top-up", "budget.edit", "budget.create"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_found_by_what_they_count() {
    let world = world().await;
    let [ours, theirs] = world.organisations.map(|organisation| organisation.to_string());
    for (organisation, scope, value, period) in [
        (&ours, "user", Some("ada"), "day"),
        (&ours, "tag", Some("job=nightly"), "request"),
        (&theirs, "organisation", None, "week"),
    ] {
        let new = json!({"organisation": organisation, "name": scope, "scope": scope, "value": value, "period": period,
            "time_zone": (period == "day").then_some("Europe/Berlin"), "limit_usd": "1", "mode": "soft"});
        let made = world.post("/budgets", new).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let standing = &made.body["standing"];
        assert_eq!(standing.is_null(), period == "request", "{}", made.text);
        if period == "day" {
            let [start, end] = ["window_start_ms", "window_end_ms"].map(|name| standing[name].as_u64().unwrap());
            // 23 to 25 hours.
            assert!((82_800_000..=90_000_000).contains(&(end - start)), "{standing}");
        }
    }
    // Those of one millisecond have no order.
    let named = |answer: Answer| -> Vec<String> {
        let all = answer.body["data"].as_array().unwrap_or_else(|| panic!("{}", answer.text)).clone();
        let mut names: Vec<String> = all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(
        named(world.get(&format!("/budgets?organisation={ours}")).await),
        ["leased", "tag", "the team's", "user"]
    );
    assert_eq!(named(world.get("/budgets?scope=user&value=ada").await), ["user"]);
    assert_eq!(named(world.get(&format!("/budgets?team={}", world.team)).await), ["the team's"]);
    let first = world.get("/budgets?limit=3").await;
    let rest = world.get(&format!("/budgets?limit=3&cursor={}", first.body["next"].as_str().unwrap())).await;
    let mut all = [named(first), named(rest)].concat();
    all.sort();
    assert_eq!(all, ["leased", "organisation", "tag", "the team's", "user"]);
    // A team's people see its budgets and no others.
    let token = world.token(Role::TeamAdmin, Scope::Team(world.organisations[0], world.team)).await;
    assert_eq!(named(world.call("GET", "/budgets", &token, None).await), ["the team's"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_budget_is_refused_with_its_place() {
    let world = world().await;
    let base = json!({"name": "x", "period": "day", "limit_usd": "1"});
    for (name, value, pointer) in [
        ("limit_usd", json!("-1"), "/limit_usd"),
        ("limit_nano_usd", json!(1), "/limit_usd"),
        ("limit_nano_usd", json!("1"), "/limit_nano_usd"),
        ("scope", json!("continent"), "/scope"),
        ("scope", json!("team"), "/value"),
        ("period", json!("year"), "/period"),
        ("time_zone", json!("Europe/Nowhere"), "/time_zone"),
        ("thresholds", json!([0]), "/thresholds"),
        ("thresholds", json!(["many"]), "/thresholds/0"),
        ("name", json!(" "), "/name"),
        ("mode", json!("firm"), "/mode"),
    ] {
        let mut new = base.clone();
        new[name] = value;
        let answer = world.post("/budgets", new.clone()).await;
        let told = (answer.status.as_u16(), answer.code(), answer.body["pointer"].as_str());
        assert_eq!(told, (422, "invalid", Some(pointer)), "{new}: {}", answer.text);
        for word in ["u16", "u64", "struct", "variant", "enum"] {
            assert!(!answer.body["detail"].as_str().unwrap().contains(word), "{}", answer.text);
        }
    }
    let path = format!("/budgets/{}/top-up", world.ids["budget"]);
    assert_eq!(world.post(&path, json!({"amount_nano_usd": i64::MAX})).await.code(), "invalid");
    let daily = world.post("/budgets", base).await;
    let path = format!("/budgets/{}/top-up", daily.body["id"].as_str().unwrap());
    let refused = world.post(&path, json!({"amount_usd": "1"})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "not_credit"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_newest_first() {
    let world = world().await;
    let budget = world.budget().await;
    for (at, kind) in [AlertKind::Threshold(50), AlertKind::Refused].into_iter().enumerate() {
        let alert = Alert {
            id: 0,
            kind,
            organisation: budget.organisation,
            budget: budget.id,
            name: budget.name.clone(),
            start_ms: 0,
            spent: "0.5".parse().unwrap(),
            limit: budget.limit,
            time_ms: 1_000 + at as u64,
            delivered_ms: None,
            attempts: 0,
        };
        assert!(world.store.backend().raise_alert(&alert).await.unwrap());
    }
    let all = world.get("/alerts").await;
    let newest = &all.body["data"][0];
    assert_eq!((&newest["kind"], &newest["per_cent"]), (&json!("refused"), &Value::Null), "{}", all.text);
    let older = &all.body["data"][1];
    assert_eq!(
        (&older["per_cent"], &older["spent_usd"], &older["delivered_ms"]),
        (&json!(50), &json!("0.5"), &Value::Null)
    );
    let id = older["id"].as_i64().unwrap();
    world.store.backend().alert_tried(id, Some(2_000), 0).await.unwrap();
    let delivered = world.get("/alerts?delivered=true").await;
    assert_eq!(delivered.body["data"][0]["delivered_ms"], 2_000, "{}", delivered.text);
    let count = async |query: &str| world.get(&format!("/alerts?{query}")).await.body["data"].as_array().unwrap().len();
    assert_eq!(count("delivered=true").await, 1);
    assert_eq!(count("until_ms=1001").await, 1);
    assert_eq!(count(&format!("budget={}", budget.id)).await, 2);
    assert_eq!(count(&format!("team={}", world.team)).await, 2);
    assert_eq!(count(&format!("organisation={}", world.organisations[1])).await, 0);
    let next = world.get("/alerts?limit=1").await.body["next"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/alerts?limit=1&cursor={next}")).await.body["data"][0]["id"], id);
    // Of another team's budgets nothing is seen.
    let new = NewTeam { organisation: world.organisations[0], name: "other".to_owned(), policy: Default::default() };
    let other = world.store.create_team(&Actor::cli("test"), new).await.unwrap().id;
    let token = world.token(Role::TeamAdmin, Scope::Team(world.organisations[0], other)).await;
    assert_eq!(world.call("GET", "/alerts", &token, None).await.body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_edits_of_one_version_exactly_one_wins() {
    let world = Arc::new(world().await);
    for (what, field) in
        [("organisation", "name"), ("team", "name"), ("key", "name"), ("member", "name"), ("budget", "name")]
    {
        let path = format!("/{what}s/{}", world.ids[what]);
        let read = world.get(&path).await;
        assert_eq!(read.status, StatusCode::OK, "{}", read.text);
        let mut edits = tokio::task::JoinSet::new();
        for number in 0..12 {
            let (world, path, tag) = (Arc::clone(&world), path.clone(), tag(&read));
            edits.spawn(async move { world.edit("PATCH", &path, &tag, json!({field: format!("n{number}")})).await });
        }
        let mut won = Vec::new();
        while let Some(answer) = edits.join_next().await {
            let answer = answer.unwrap();
            match answer.status {
                StatusCode::OK => won.push(answer.body[field].clone()),
                StatusCode::PRECONDITION_FAILED => assert_eq!(answer.code(), "changed"),
                other => panic!("{what}: {other} {}", answer.text),
            }
        }
        assert_eq!(won.len(), 1, "{what}");
        assert_eq!(world.get(&path).await.body[field], won[0], "{what}");
        let tried = world.edit("PATCH", &path, "*", json!({field: "any"})).await;
        assert_eq!(tried.status, StatusCode::OK, "{what}: {}", tried.text);
    }
}
