//! Media that a request names by URL, for a provider that takes it inline only: fetched where the operator allows it, once, and
//! never from the operator's own networks unasked.

use http::StatusCode;
use portcullis_tests::{Act, Answer, Client, Gateway, Setup, Upstream, json_answer};
use serde_json::{Value, json};

const FETCH: &str = "[media]\nfetch = true\nallow_http = true\n";
const PRIVATE: &str = "allow_private = true\n";
/// Bytes and their base64.
const PICTURE: (&str, &str) = ("\u{1}\u{2}\u{3}", "AQID");

/// Ollama, which takes images as base64 alone (<https://docs.ollama.com/api/chat>).
async fn ollama() -> Upstream {
    Upstream::start(|_| {
        let message = json!({"role": "assistant", "content": "A gate."});
        let body = json!({"model": "demo", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": true,
            "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 5});
        json_answer(200, "", &body.to_string())
    })
    .await
}

/// A server of files: any picture, but for the paths that say otherwise.
async fn files() -> Upstream {
    Upstream::start(|request| {
        let head = |status: &str, more: &str, body: &str| {
            vec![Act::send(format!("HTTP/1.1 {status}\r\n{more}content-length: {}\r\n\r\n{body}", body.len()))]
        };
        match request.head.split(' ').nth(1).expect("a path") {
            "/missing" => head("404 Not Found", "", ""),
            "/page" => head("200 OK", "content-type: text/html\r\n", "<html>"),
            "/moved" => head("302 Found", "location: /picture\r\n", ""),
            "/large" => head("200 OK", "content-type: image/png\r\n", &"x".repeat(2000)),
            "/slow" => vec![Act::Hang],
            _ => head("200 OK", "content-type: image/png\r\n", PICTURE.0),
        }
    })
    .await
}

async fn start(ollama: &Upstream, more: &str) -> Gateway {
    let url = format!("http://{}", ollama.address);
    Setup::new().provider("own", "ollama", &url, "").with(more).start().await
}

fn picture(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

async fn look(client: &Client, model: &str, pictures: &[String]) -> Answer {
    let mut content = vec![json!({"type": "text", "text": "What is this?"})];
    content.extend(pictures.iter().map(|url| picture(url)));
    let body = json!({"model": model, "messages": [{"role": "user", "content": content}]});
    client.post("/v1/chat/completions", body.to_string()).await
}

fn images(upstream: &Upstream) -> Value {
    let requests = upstream.requests();
    let body: Value = serde_json::from_slice(&requests.last().expect("a request").body).expect("JSON");
    body["messages"][0]["images"].clone()
}

#[tokio::test]
async fn a_picture_comes_inline() {
    let (ollama, files) = (ollama().await, files().await);
    let gateway = start(&ollama, &format!("{FETCH}{PRIVATE}")).await;
    let client = gateway.client().await;
    let url = format!("http://{}/picture", files.address);
    look(&client, "own/demo", &[url.clone(), "data:image/png;base64,BAUG".to_owned(), url]).await.ok();
    assert_eq!(images(&ollama), json!([PICTURE.1, "BAUG", PICTURE.1]));
    assert_eq!(files.requests().len(), 1, "one file is fetched once");
    let head = files.requests()[0].head.to_ascii_lowercase();
    for secret in ["authorization", "cookie", "referer", "forwarded", &client.key] {
        assert!(!head.contains(secret), "{head}");
    }
}

#[tokio::test]
async fn a_file_is_fetched_once_for_all_attempts() {
    let (ollama, files) = (ollama().await, files().await);
    let full = Upstream::start(|_| json_answer(503, "", r#"{"error":"server busy"}"#)).await;
    let url = |upstream: &Upstream| format!("http://{}", upstream.address);
    let setup = Setup::new().provider("busy", "ollama", &url(&full), "").provider("own", "ollama", &url(&ollama), "");
    let routing = "[routing]\nauto = [\"busy/demo\", \"own/demo\"]\n";
    let gateway = setup.without("router-heuristic").with(&format!("{routing}{FETCH}{PRIVATE}")).start().await;
    let client = gateway.client().await;
    let answer = look(&client, "auto", &[format!("http://{}/picture", files.address)]).await.ok();
    let attempts = client.receipt(&answer.id()).await["attempts"].clone();
    assert_eq!(attempts.as_array().map(Vec::len), Some(2), "{attempts}");
    assert_eq!((images(&full), images(&ollama)), (json!([PICTURE.1]), json!([PICTURE.1])));
    assert_eq!(files.requests().len(), 1);
}

#[tokio::test]
async fn the_operators_networks_are_closed() {
    let (ollama, files) = (ollama().await, files().await);
    let gateway = start(&ollama, FETCH).await;
    let client = gateway.client().await;
    let port = files.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:7f00:1]", "2130706433", "169.254.169.254", "10.0.0.1"] {
        let answer = look(&client, "own/demo", &[format!("http://{host}:{port}/picture")]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{host}: {:?}", answer.body);
        assert_eq!(answer.json()["error"]["code"], "media_not_fetched");
    }
    assert!(files.requests().is_empty() && ollama.requests().is_empty());
    // What needs no network is read all the same.
    look(&client, "own/demo", &["data:image/png;base64,BAUG".to_owned()]).await.ok();
    assert_eq!(images(&ollama), json!(["BAUG"]));
}

#[tokio::test]
async fn what_cannot_be_had_is_told() {
    let (ollama, files) = (ollama().await, files().await);
    let limits = "max_bytes = 1000\nmax_files = 3\ntimeout_ms = 300\n";
    let gateway = start(&ollama, &format!("{FETCH}{PRIVATE}{limits}")).await;
    let client = gateway.client().await;
    for (path, why) in [
        ("/missing", "status 404"),
        ("/page", "text/html"),
        ("/moved", "redirect"),
        ("/large", "longer than 1000 bytes"),
        ("/slow", "in time"),
    ] {
        let answer = look(&client, "own/demo", &[format!("http://{}{path}", files.address)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {:?}", answer.body);
        let error = answer.json()["error"].clone();
        assert_eq!(error["code"], "media_not_fetched", "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(why)), "{why}: {error}");
    }
    let many: Vec<String> = (0..4).map(|at| format!("http://{}/{at}", files.address)).collect();
    assert_eq!(look(&client, "own/demo", &many).await.status, StatusCode::BAD_REQUEST);
    look(&client, "own/demo", &many[..3]).await.ok();
    assert_eq!(ollama.requests().len(), 1);
}

#[tokio::test]
async fn where_nothing_is_fetched_it_is_left_out_or_refused() {
    let (ollama, files) = (ollama().await, files().await);
    let url = format!("http://{}/picture", files.address);
    let gateway = start(&ollama, "").await;
    let client = gateway.client().await;
    let answer = look(&client, "own/demo", std::slice::from_ref(&url)).await.ok();
    assert_eq!(images(&ollama), json!(null));
    let notes = client.receipt(&answer.id()).await["notes"].clone();
    assert!(
        notes.as_array().expect("notes").contains(&json!({"code": "dropped", "subject": "image by URL"})),
        "{notes}"
    );
    // Nothing would be left of this one.
    let body = json!({"model": "own/demo", "messages": [{"role": "user", "content": [picture(&url)]}]});
    let answer = client.post("/v1/chat/completions", body.to_string()).await;
    assert_eq!(answer.json()["error"]["code"], "unsupported_feature", "{:?}", answer.body);

    let gateway = start(&ollama, "[routing]\nunsupported = \"refuse\"\n").await;
    let client = gateway.client().await;
    let answer = look(&client, "own/demo", &[url]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], "unsupported_feature", "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("image by URL") && message.contains("own"), "{message}");
    assert_eq!((files.requests().len(), ollama.requests().len()), (0, 1));
}
