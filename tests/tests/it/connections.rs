//! Connections that the database keeps: made by the program, used by a running gateway, and never shown again.

use http::StatusCode;
use portcullis_tests::{Gateway, Received, Setup, Upstream, answer, eventually, json_answer};
use serde_json::Value;

const SECRET: &str = "sk-one-that-nobody-sees";

fn has(request: &Received, secret: &str) -> bool {
    request.head.to_ascii_lowercase().contains(&format!("authorization: bearer {secret}"))
}

async fn ran(gateway: &Gateway, arguments: &[&str]) -> Value {
    let mut all = vec!["connection"];
    all.extend(arguments);
    all.push("--json");
    let output = gateway.run(&all).await;
    assert!(output.status.success(), "{output:?}");
    assert!(!format!("{output:?}").contains("sk-"), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn created(gateway: &Gateway, name: &str, url: &str, secret: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["create", "--provider", "kept", "--name", name, "--plugin", "openai", "--base-url", url];
    arguments.extend(["--model", "demo", "--only", "none", "--secret-env", secret]);
    arguments.extend(more);
    ran(gateway, &arguments).await
}

const PRICES: &str =
    "[[pricing.price]]\nmodel = \"kept/*\"\ninput = \"1\"\noutput = \"2\"\n[connections]\nhosts = [\"127.0.0.1\"]\n";

async fn started() -> Gateway {
    let setup = Setup::new().with(PRICES).environment("ONE", SECRET).environment("TWO", "sk-two");
    setup.start().await
}

#[tokio::test]
async fn a_connection_serves_is_rotated_suspended_and_deleted() {
    let upstream = Upstream::start(|_| answer("hi")).await;
    let gateway = started().await;
    let client = gateway.client().await;
    assert_eq!(client.chat("kept/demo", "hello").await.status, StatusCode::NOT_FOUND);
    let url = format!("http://{}/v1", upstream.address);
    let made = created(&gateway, "main", &url, "ONE", &[]).await;
    let served = || async { client.chat("kept/demo", "hello").await.status == StatusCode::OK };
    eventually("it serves", served).await;
    assert!(upstream.requests().iter().all(|request| has(request, SECRET)));
    let id = made["id"].as_str().unwrap();
    assert_eq!(ran(&gateway, &["show", id]).await["settings"]["base_url"], url);
    assert_eq!(ran(&gateway, &["list"]).await.as_array().unwrap().len(), 1);

    ran(&gateway, &["rotate", "main", "--secret-env", "TWO"]).await;
    eventually("the new credential is used", || async {
        upstream.forget();
        served().await && upstream.requests().iter().all(|request| has(request, "sk-two"))
    })
    .await;
    ran(&gateway, &["edit", "main", "--suspend"]).await;
    eventually("it rests", || async { !served().await }).await;
    ran(&gateway, &["edit", "main", "--resume"]).await;
    eventually("it serves again", served).await;
    let tested = ran(&gateway, &["test", "main"]).await;
    assert_eq!((&tested["status"], &tested["failure"]), (&200.into(), &Value::Null), "{tested}");
    ran(&gateway, &["delete", "main"]).await;
    eventually("it is gone", || async { !served().await }).await;

    // Neither the database nor the log nor the audit trail has it.
    let database = gateway.config_path().with_file_name("portcullis.db");
    for file in [database.clone(), database.with_file_name("portcullis.db-wal")] {
        let bytes = std::fs::read(file).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    }
    assert!(!gateway.log().contains("sk-"));
}

#[tokio::test]
async fn several_share_a_provider_s_requests_and_the_next_takes_what_one_refuses() {
    let one = Upstream::start(|_| answer("one")).await;
    let two = Upstream::start(|_| answer("two")).await;
    let ill =
        Upstream::start(|_| json_answer(401, "", r#"{"error": {"message": "no", "type": "invalid_request_error"}}"#))
            .await;
    let gateway = started().await;
    let client = gateway.client().await;
    for (name, upstream, weight) in [("one", &one, "3"), ("two", &two, "1"), ("ill", &ill, "1")] {
        created(&gateway, name, &format!("http://{}/v1", upstream.address), "ONE", &["--weight", weight]).await;
    }
    eventually("all are asked", || async {
        client.chat("kept/demo", "hello").await;
        !one.requests().is_empty() && !two.requests().is_empty() && !ill.requests().is_empty()
    })
    .await;
    one.forget();
    two.forget();
    for _ in 0..60 {
        client.chat("kept/demo", "hello").await.ok();
    }
    let (first, second) = (one.requests().len(), two.requests().len());
    assert_eq!(first + second, 60);
    assert!(first > second && second > 0, "{first} and {second}");
    let list = client.get("/v1/models").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    let refused = gateway.run(&["connection", "test", "ill"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    assert!(!format!("{refused:?}").contains("sk-"), "{refused:?}");
}

#[tokio::test]
async fn an_organisation_s_own_leads_where_the_operator_allows_and_the_file_goes_first() {
    let own = Upstream::start(|_| answer("own")).await;
    let shared = Upstream::start(|_| answer("shared")).await;
    let file = Upstream::start(|_| answer("file")).await;
    let gateway = started().await;
    let client = gateway.client().await;
    let organisation = "org_00000000000000000000000000000000";
    created(&gateway, "shared", &format!("http://{}/v1", shared.address), "ONE", &[]).await;
    let own_url = format!("http://{}/v1", own.address);
    created(&gateway, "own", &own_url, "ONE", &["--organisation", organisation]).await;
    let text = || async { client.chat("kept/demo", "hello").await.text().to_owned() };
    eventually("its own goes before everybody's", || async { text().await.contains("own") }).await;
    let elsewhere =
        ["connection", "create", "--provider", "x", "--plugin", "openai", "--base-url", "https://evil.example"];
    let mut elsewhere = elsewhere.to_vec();
    elsewhere.extend(["--organisation", organisation, "--secret-env", "ONE"]);
    let refused = gateway.run(&elsewhere).await;
    assert!(!refused.status.success() && format!("{refused:?}").contains("evil.example"), "{refused:?}");
    let provider = format!(
        "[providers.kept]\nplugin = \"openai\"\nbase_url = \"http://{}/v1\"\nmodels = [\"demo\"]\nonly = [\"none\"]\n{PRICES}",
        file.address
    );
    gateway.configure(&provider);
    eventually("the file goes first", || async { text().await.contains("file") }).await;
}

#[tokio::test]
async fn a_new_master_key_takes_over() {
    let upstream = Upstream::start(|_| answer("hi")).await;
    let (old, new) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let keys = |text: &str| format!("{PRICES}{text}");
    let setup = Setup::new().with(&keys("key = \"${OLD}\"\n"));
    let gateway = setup.environment("ONE", SECRET).environment("OLD", old).environment("NEW", new).start().await;
    created(&gateway, "main", &format!("http://{}/v1", upstream.address), "ONE", &[]).await;
    gateway.configure(&keys("key = \"${NEW}\"\nprevious_keys = [\"${OLD}\"]\n"));
    assert_eq!(ran(&gateway, &["rewrap"]).await["rewrapped"], 1);
    gateway.configure(&keys("key = \"${NEW}\"\n"));
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client().await;
    client.chat("kept/demo", "hello").await.ok();
    assert!(upstream.requests().iter().all(|request| has(request, SECRET)));
}
