//! Limits: who is let in, who is not, and what both are told in their own protocol.

use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{Answer, Gateway, Setup, Upstream, chat, demo, eventually, json_answer};

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", answer.headers)).to_str().unwrap()
}

/// How many tokens are left by the answer's head.
fn tokens_left(answer: &Answer) -> u64 {
    header(answer, "x-ratelimit-remaining-tokens").parse().unwrap()
}

async fn limited(limits: &str) -> (portcullis_demo_upstream::Handle, Gateway) {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with(limits).start().await;
    (demo, gateway)
}

#[tokio::test]
async fn each_protocol_is_told_in_its_own_headers() {
    let (demo, gateway) = limited("[[limit]]\nby = \"key\"\nrequests_per_minute = 2\ntokens_per_day = 100000\n").await;
    let client = gateway.client().await;
    let first = client.chat("demo/demo", "hello").await.ok();
    assert_eq!(header(&first, "x-ratelimit-limit-requests"), "2");
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), "1");
    assert!(header(&first, "x-ratelimit-reset-requests").starts_with("1m"), "{:?}", first.headers);
    assert_eq!(
        header(&first, "ratelimit-policy"),
        "\"key-requests-minute\";q=2;w=60, \"key-tokens-day\";q=100000;w=86400"
    );
    // A whole answer is settled when its head is written: what was assumed and not used is there again.
    let used = first.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(tokens_left(&first), 100_000 - used);
    let second = client.messages("demo-anthropic/demo", "hello").await.ok();
    assert_eq!(header(&second, "anthropic-ratelimit-requests-remaining"), "0");
    assert!(header(&second, "anthropic-ratelimit-requests-reset").ends_with('Z'));
    assert!(!second.headers.contains_key("x-ratelimit-limit-requests"));
    let sent = demo.stats().requests;

    let third = client.chat("demo/demo", "hello").await;
    assert_eq!(
        (third.status, &third.json()["error"]["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &"rate_limit_exceeded".into())
    );
    assert_eq!(header(&third, "x-ratelimit-remaining-requests"), "0");
    let wait: u64 = header(&third, "retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    let fourth = client.messages("demo-anthropic/demo", "hello").await;
    assert_eq!(
        (fourth.status, &fourth.json()["error"]["type"]),
        (StatusCode::TOO_MANY_REQUESTS, &"rate_limit_error".into())
    );
    assert_eq!(header(&fourth, "anthropic-ratelimit-requests-remaining"), "0");
    assert!((1..=61).contains(&header(&fourth, "retry-after").parse::<u64>().unwrap()));
    let body = r#"{"contents": [{"parts": [{"text": "hello"}]}]}"#;
    let fifth = client.post("/v1beta/models/demo:generateContent", body).await;
    assert_eq!(
        (fifth.status, &fifth.json()["error"]["status"]),
        (StatusCode::TOO_MANY_REQUESTS, &"RESOURCE_EXHAUSTED".into())
    );
    let details = fifth.json()["error"]["details"].to_string();
    assert!(details.contains("google.rpc.RetryInfo") && details.contains("retryDelay"), "{details}");
    assert_eq!(demo.stats().requests, sent, "nobody was asked");

    // Somebody else's key is another account.
    let other = gateway.client().await;
    other.chat("demo/demo", "hello").await.ok();
}

#[tokio::test]
async fn a_refusal_leaves_a_receipt() {
    let (_demo, gateway) = limited("[[limit]]\nby = \"address\"\nname = \"door\"\nrequests_per_hour = 2\n").await;
    let client = gateway.client().await;
    client.chat("demo/demo", "hello").await.ok();
    let list = client.get("/v1/models").await.ok();
    // The tests' client names a version of Anthropic's protocol, and so gets its list.
    assert_eq!(header(&list, "anthropic-ratelimit-requests-remaining"), "0");
    let refused = client.chat("demo/demo", "hello").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("`door` of 2 requests per hour"), "{}", refused.text());
    // Reading a receipt is a request too: the limit is lifted first.
    gateway.configure(&section(&gateway, ""));
    eventually("the limit is gone", || async { client.get("/v1/models").await.status == StatusCode::OK }).await;
    let receipt = client.receipt(&refused.id()).await;
    assert_eq!(receipt["outcome"]["code"], "denied", "{receipt}");
    assert_eq!(receipt["outcome"]["reason"], "limit:door:requests-hour", "{receipt}");
}

/// The folder's own providers, with other limits.
fn section(gateway: &Gateway, limits: &str) -> String {
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let providers = text.find("\n[providers").unwrap();
    let end = text.find("[[limit]]").unwrap_or(text.len());
    format!("{}\n{limits}", &text[providers..end])
}

#[tokio::test]
async fn a_stream_is_under_way_to_its_last_byte() {
    let (_demo, gateway) = limited("[[limit]]\nby = \"key\"\nconcurrent_requests = 1\n").await;
    let client = gateway.client().await;
    let mut stream = client.chat_stream("demo/demo-slow", "tell me about gates").await;
    stream.read(1).await;
    let second = client.chat("demo/demo", "hello").await;
    assert_eq!(
        (second.status, &second.json()["error"]["code"], header(&second, "retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, &"concurrency_limit_exceeded".into(), "1")
    );
    // A client that leaves gives its place back, and so does one that hears the end.
    drop(stream);
    eventually("the place is free", || async { client.chat("demo/demo", "hello").await.status == StatusCode::OK })
        .await;
    let mut stream = client.chat_stream("demo/demo", "hello").await;
    assert!(stream.rest().await.1);
    client.chat("demo/demo", "hello").await.ok();
    // So does one that never sends its body.
    let mut socket = client.socket().await;
    let head = client.head("/v1/chat/completions", "content-type: application/json\r\ncontent-length: 100\r\n\r\n{");
    tokio::io::AsyncWriteExt::write_all(&mut socket, head.as_bytes()).await.unwrap();
    // Asked sooner, this one would have the place, and the socket be refused.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.chat("demo/demo", "hello").await.status, StatusCode::TOO_MANY_REQUESTS);
    drop(socket);
    eventually("the place is free", || async { client.chat("demo/demo", "hello").await.status == StatusCode::OK })
        .await;
}

#[tokio::test]
async fn of_500_at_once_37_pass() {
    let (demo, gateway) = limited("[[limit]]\nby = \"organisation\"\nrequests_per_day = 37\n").await;
    let client = gateway.client().await;
    let all = (0..500).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.chat("demo/demo", "hello").await.status })
    });
    let mut passed = 0;
    for one in all.collect::<Vec<_>>() {
        match one.await.unwrap() {
            StatusCode::OK => passed += 1,
            StatusCode::TOO_MANY_REQUESTS => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!((passed, demo.stats().requests), (37, 37));
}

#[tokio::test]
async fn tokens_are_set_aside_and_settled() {
    let (demo, gateway) = limited("[[limit]]\nby = \"key\"\ntokens_per_hour = 3000\n").await;
    let client = gateway.client().await;
    let body = |limit: u32| {
        let mut body = chat("demo/demo", "hello", false);
        body["max_tokens"] = limit.into();
        body.to_string()
    };
    let post = |limit| client.post("/v1/chat/completions", body(limit));
    // So much is never let through, and waiting does not help.
    let refused = post(5_000).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!refused.headers.contains_key("retry-after"));
    assert_eq!(tokens_left(&refused), 3_000);
    let first = post(2_500).await.ok();
    let used = first.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(tokens_left(&first), 3_000 - used);
    post(2_500).await.ok();
    // While a stream may still take them, they are taken.
    let mut stream = chat("demo/demo-slow", "tell me about gates", true);
    stream["max_tokens"] = 2_500.into();
    let mut stream = client.stream("/v1/chat/completions", stream.to_string()).await;
    stream.read(1).await;
    assert_eq!(post(2_500).await.status, StatusCode::TOO_MANY_REQUESTS);
    drop(stream);
    eventually("they are back", || async { post(2_500).await.status == StatusCode::OK }).await;
    assert!(demo.stats().requests >= 4);
}

#[tokio::test]
async fn a_model_s_limit_leads_to_the_next_target_and_a_provider_s_own_numbers_stay_hidden() {
    let answer = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let told = "x-ratelimit-limit-requests: 12345\r\nx-ratelimit-limit-tokens: 67890\r\n";
    let one = Upstream::start(move |_| json_answer(200, told, answer)).await;
    let two = Upstream::start(move |_| json_answer(200, told, answer)).await;
    let limits = "[[limit]]\nby = \"model\"\nscope = { models = [\"one/*\", \"two/*\"] }\nrequests_per_day = 2\n";
    let setup = Setup::new().openai("one", one.address).openai("two", two.address);
    let gateway = setup.with(limits).start().await;
    let client = gateway.client().await;
    for _ in 0..4 {
        let answer = client.chat("demo", "hello").await.ok();
        assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "2");
        assert!(!answer.headers.contains_key("x-ratelimit-limit-tokens"), "{:?}", answer.headers);
    }
    assert_eq!((one.requests().len(), two.requests().len()), (2, 2));
    let refused = client.chat("demo", "hello").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), "0");
}

#[tokio::test]
async fn a_reload_keeps_what_was_counted() {
    let (_demo, gateway) = limited("[[limit]]\nby = \"key\"\nrequests_per_day = 100\n").await;
    let client = gateway.client().await;
    client.chat("demo/demo", "hello").await.ok();
    gateway.configure(&section(&gateway, "[[limit]]\nby = \"key\"\nrequests_per_day = 1000\n"));
    let of = |answer: &Answer| {
        (
            header(answer, "x-ratelimit-limit-requests").to_owned(),
            header(answer, "x-ratelimit-remaining-requests").parse::<u64>().unwrap(),
        )
    };
    let mut asked = 1;
    loop {
        let answer = client.chat("demo/demo", "hello").await.ok();
        asked += 1;
        let (limit, remaining) = of(&answer);
        if limit == "1000" {
            assert_eq!(remaining, 1_000 - asked);
            break;
        }
        assert!(asked < 100, "it is not read again");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
