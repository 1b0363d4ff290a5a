//! Prompts and answers that an organisation wants kept: what the guards passed, encrypted, and nothing of anybody else's.

use std::path::Path;

use http::StatusCode;
use portcullis_tests::{Act, Answer, Client, Gateway, Setup, Upstream, answer, chat, eventually, stream_head};
use serde_json::{Value, json};

const CANARY: &str = "ZQX-7319-CANARY";
const MASKS_THE_CANARY: &str = r#"
[[plugin.pii.config.custom]]
name = "canary"
pattern = 'ZQX-\d{4}-CANARY'
mask = "(none)"
max-length = 32
"#;
/// What was said and is nothing that a guard would mask.
const SAID: &str = "lower the drawbridge";

/// Says the canary in every answer, cut through where it streams.
async fn provider() -> Upstream {
    Upstream::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = format!("the password is {CANARY}, friend");
        if body["stream"] != json!(true) {
            return answer(&text);
        }
        let piece = |delta: Value, finish: Value| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "demo",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            Act::chunk(format!("data: {chunk}\n\n"))
        };
        let (first, second) = text.split_at(20);
        vec![
            stream_head(),
            piece(json!({"role": "assistant", "content": first}), Value::Null),
            piece(json!({"content": second}), Value::Null),
            piece(json!({}), json!("stop")),
            Act::chunk("data: [DONE]\n\n"),
            Act::end(),
        ]
    })
    .await
}

async fn json_of(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.run(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What was kept of a request, once it is written; `None` where it was not within a while, though its record was.
async fn content(gateway: &Gateway, client: &Client, id: &str) -> Option<Value> {
    client.receipt(id).await;
    for _ in 0..20 {
        let output = gateway.run(&["request", "content", id, "--json"]).await;
        if output.status.success() {
            return Some(serde_json::from_slice(&output.stdout).unwrap());
        }
        assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was kept"), "{output:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    None
}

/// Has the default organisation's content kept, and waits until the gateway knows.
async fn captured(gateway: &Gateway, client: &Client) {
    let edited = json_of(gateway, &["org", "edit", "default", "--capture-days", "7", "--json"]).await;
    assert_eq!(edited["capture_days"], 7);
    eventually("the gateway keeps content", async || {
        let id = client.chat("same/demo", "ping").await.ok().id();
        content(gateway, client, &id).await.is_some()
    })
    .await;
}

async fn ask(client: &Client, stream: bool) -> Answer {
    let prompt = format!("{SAID}: {CANARY}, says ada@moat.example");
    client.post("/v1/chat/completions", chat("same/demo", &prompt, stream).to_string()).await.ok()
}

/// Every file of the gateway's folder but the plugins: the database, its log, the journal, the log.
fn bytes_of(folder: &Path, found: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("plugins") {
            bytes_of(&path, found);
        } else if path.is_file() {
            found.extend(std::fs::read(&path).unwrap());
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn nothing_is_kept_of_whom_did_not_ask_for_it() {
    let upstream = provider().await;
    let gateway = Setup::new().openai("same", upstream.address).with(MASKS_THE_CANARY).start().await;
    let client = gateway.client().await;
    json_of(&gateway, &["org", "create", "--name", "other", "--capture-days", "7", "--json"]).await;
    let id = ask(&client, false).await.id();
    assert_eq!(content(&gateway, &client, &id).await, None);
    let other = gateway.client_with(&["--org", "other"]).await;
    let kept = ask(&other, false).await.id();
    assert!(content(&gateway, &other, &kept).await.is_some());
    assert_eq!(content(&gateway, &client, &id).await, None);
}

#[tokio::test]
async fn what_is_kept_is_what_the_guards_passed_and_encrypted() {
    let upstream = provider().await;
    let gateway = Setup::new().openai("same", upstream.address).with(MASKS_THE_CANARY).start().await;
    let client = gateway.client().await;
    captured(&gateway, &client).await;
    for stream in [false, true] {
        let answer = ask(&client, stream).await;
        let kept = content(&gateway, &client, &answer.id()).await.expect("it was kept");
        let [request, told] = ["request", "answer"].map(|part| kept[part]["text"].as_str().unwrap().to_owned());
        assert!(request.contains(SAID) && request.contains("(none), says [EMAIL]"), "{request}");
        assert!(told.contains("(none)") && !told.contains("CANARY") && !request.contains("CANARY"), "{told}");
        assert_eq!(told, answer.text(), "what its client got");
        assert_eq!((&kept["answer"]["cut"], &kept["answer"]["length"]), (&json!(false), &json!(told.len())));
        let shown = gateway.run(&["request", "content", &answer.id()]).await;
        assert!(String::from_utf8_lossy(&shown.stdout).contains(SAID), "{shown:?}");
        let id = answer.id();
        let arguments = ["audit", "list", "--action", "request.content.read", "--target", &id, "--json"];
        let events = json_of(&gateway, &arguments).await;
        assert_eq!(events.as_array().unwrap().len(), 2, "each reading");
    }
    let mut bytes = Vec::new();
    bytes_of(gateway.config_path().parent().unwrap(), &mut bytes);
    assert!(bytes.len() > 100_000, "the files were read");
    for text in [SAID, CANARY, "the password is", "ada@moat.example"] {
        assert!(!holds(&bytes, text), "{text} stands in a file");
    }
    let receipt = client.receipt(&ask(&client, false).await.id()).await.to_string();
    assert!(!receipt.contains("drawbridge") && !receipt.contains("password"), "{receipt}");
}

#[tokio::test]
async fn what_is_long_is_cut_and_what_is_refused_is_not_kept() {
    let upstream = provider().await;
    let short = "[capture]\nrequest_bytes = 40\nanswer_bytes = 30\n";
    let blocks = "[[plugin.pii.config.custom]]\nname = \"secret\"\npattern = 'BLOCK-\\d{4}'\naction = \"block\"\nmax-length = 16\n";
    let gateway = Setup::new().openai("same", upstream.address).with(short).with(blocks).start().await;
    let client = gateway.client().await;
    captured(&gateway, &client).await;
    for stream in [false, true] {
        let answer = ask(&client, stream).await;
        let kept = content(&gateway, &client, &answer.id()).await.unwrap();
        let told = kept["answer"]["text"].as_str().unwrap();
        assert_eq!((told.len(), told), (30, &answer.text()[..30]));
        assert_eq!((&kept["answer"]["cut"], &kept["answer"]["length"]), (&json!(true), &json!(answer.text().len())));
        assert_eq!((kept["request"]["text"].as_str().unwrap().len(), &kept["request"]["cut"]), (40, &json!(true)));
    }
    let refused = client.chat("same/demo", "the code is BLOCK-1234").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text());
    assert_eq!(content(&gateway, &client, &refused.id()).await, None);
}

#[tokio::test]
async fn it_is_forgotten_on_demand_and_no_more_is_kept() {
    let upstream = provider().await;
    let gateway = Setup::new().openai("same", upstream.address).start().await;
    let client = gateway.client().await;
    captured(&gateway, &client).await;
    let id = ask(&client, false).await.id();
    assert!(content(&gateway, &client, &id).await.is_some());
    let forgot = gateway.run(&["request", "forget", &id]).await;
    assert!(forgot.status.success(), "{forgot:?}");
    assert_eq!(content(&gateway, &client, &id).await, None);
    assert!(!gateway.run(&["request", "forget", &id]).await.status.success());
    json_of(&gateway, &["request", "show", &id]).await;
    json_of(&gateway, &["org", "edit", "default", "--capture-days", "off", "--json"]).await;
    eventually("no more is kept", async || {
        let id = ask(&client, false).await.id();
        content(&gateway, &client, &id).await.is_none()
    })
    .await;
}

/// What stands in memory is written when the gateway stops, and read with the same key after it started again.
#[tokio::test]
async fn what_was_kept_outlives_the_process() {
    let upstream = provider().await;
    let mut gateway = Setup::new().openai("same", upstream.address).start().await;
    let client = gateway.client().await;
    captured(&gateway, &client).await;
    let id = ask(&client, false).await.id();
    gateway.signal(libc::SIGTERM);
    assert!(gateway.ended(20).await.success());
    let gateway = gateway.kill_and_restart().await;
    let client = Client { address: gateway.address, ..client };
    assert!(content(&gateway, &client, &id).await.is_some());
    // The gateway signs now and then: here it is asked to.
    let signed = gateway.run(&["audit", "checkpoint"]).await;
    assert!(signed.status.success(), "{signed:?}");
    let verified = gateway.run(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
}
