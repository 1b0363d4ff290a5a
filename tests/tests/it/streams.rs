//! Clients of streams: those that leave, those that do not read, and a gateway that is told to end.

use std::time::Duration;

use http::StatusCode;
use portcullis_tests::{Act, Client, Setup, Upstream, chat, demo, eventually, sse, stream_head, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call_and_pays_for_what_was_generated() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for (number, model) in (1..).zip(["demo/demo-slow", "demo-anthropic/demo-slow"]) {
        let mut stream = client.chat_stream(model, "tell me about gates").await;
        let id = stream.id();
        let begun = stream.read(1_500).await;
        assert!(!sse::ended(&sse::events(&begun)));
        drop(stream);
        eventually("the provider is left", || async { demo.stats().cancelled == number }).await;
        let receipt = client.receipt(&id).await;
        assert_eq!(receipt["outcome"]["code"], "client-gone", "{receipt}");
        assert_eq!(receipt["attempts"][0]["ended"], "settled", "{receipt}");
        assert_eq!(receipt["usage"]["estimated"], true, "{receipt}");
        assert!(receipt["usage"]["output"].as_u64() > Some(0), "{receipt}");
    }
}

/// Whole answers too: nobody waits for what nobody will read.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for (number, model) in (1..).zip(["demo/demo-stall-headers", "demo/demo-stall", "demo-anthropic/demo-stall"]) {
        let mut socket = client.socket().await;
        let body = chat(model, "hello", false).to_string();
        socket.write_all(client.request("/v1/chat/completions", &body).as_bytes()).await.unwrap();
        eventually("the provider is asked", || async { demo.stats().requests == number }).await;
        drop(socket);
        eventually("the provider is left", || async { demo.stats().active == 0 }).await;
    }
    let ledger = gateway.ledger().await;
    eventually("each reservation has an end", || async { ledger.entries().await.len() == 3 }).await;
    for entry in ledger.entries().await {
        // Nobody knows what the provider charges for it.
        assert_eq!(entry.kind, "quarantined", "{entry:?}");
        assert_eq!(entry.amount, entry.reserved, "{entry:?}");
    }
    eventually("each request has a row", || async { ledger.requests().await.len() == 3 }).await;
}

/// Two hundred megabytes for a client that reads none of it: the provider is held back, and the gateway holds next to nothing.
#[tokio::test]
async fn backpressure_goes_from_end_to_end() {
    const CHUNKS: usize = 50_000;
    for (provider, format) in [("same", "openai"), ("across", "anthropic")] {
        let word = "gates and portcullises ".repeat(180);
        let (first, event, last) = match format {
            "openai" => (
                String::new(),
                format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"demo\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}]}}\n\n"),
                "data: [DONE]\n\n".to_owned(),
            ),
            _ => (
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"demo\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n".to_owned(),
                format!("event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}}}\n\n"),
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
            ),
        };
        let upstream = Upstream::start(move |_| {
            let Act::Send(bytes) = Act::chunk(&event) else { unreachable!("a chunk is sent") };
            let mut acts = vec![stream_head()];
            if !first.is_empty() {
                acts.push(Act::chunk(&first));
            }
            acts.extend(std::iter::repeat_n(Act::Send(bytes), CHUNKS));
            acts.extend([Act::chunk(&last), Act::end()]);
            acts
        })
        .await;
        let setup = Setup::new();
        let setup = match format {
            "openai" => setup.openai(provider, upstream.address),
            _ => setup.anthropic(provider, upstream.address),
        };
        let gateway = setup.start().await;
        let client = gateway.client().await;
        client.get("/v1/models").await.ok();
        let before = gateway.resident();
        let mut stream = client.chat_stream(&format!("{provider}/demo"), "hello").await;
        let mut sent = u64::MAX;
        eventually("the provider is held back", || {
            let still = std::mem::replace(&mut sent, upstream.sent()) == upstream.sent();
            async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                still
            }
        })
        .await;
        // Three pairs of socket buffers lie between.
        assert!(upstream.sent() < 40 << 20, "{format}: {} bytes were taken", upstream.sent());
        let grown = gateway.resident().saturating_sub(before);
        assert!(grown < 24 << 20, "{format}: {grown} bytes more");
        // It goes on where it stood.
        let held = upstream.sent();
        let more = stream.read(16 << 20).await;
        assert!(more.len() >= 16 << 20);
        eventually("the provider goes on", || async { upstream.sent() > held }).await;
        drop(stream);
        eventually("the provider is left", || async { upstream.gone() == 1 }).await;
    }
}

/// A client that takes nothing for too long loses its connection, and with it the provider's.
#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[limits]\nclient_idle_ms = 600\n").start().await;
    let client = gateway.client().await;
    let stream = client.chat_stream("demo/demo-burst-300000", "hello").await;
    let id = stream.id();
    eventually("the provider is left", || async { demo.stats().cancelled == 1 }).await;
    assert_eq!(client.receipt(&id).await["outcome"]["code"], "client-gone");
    drop(stream);
}

/// A slow reader who does read gets all of it.
#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut stream = client.chat_stream("demo/demo-burst-20000", "hello").await;
    let mut text = String::new();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        text.push_str(&stream.read(1_000).await);
    }
    let (rest, complete) = stream.rest().await;
    text.push_str(&rest);
    let events = sse::events(&text);
    assert!(complete && sse::ended(&events));
    let receipt = client.receipt(&stream.id()).await;
    assert_eq!((&receipt["outcome"]["code"], &receipt["usage"]["output"]), (&"ok".into(), &20_000.into()), "{receipt}");
}

async fn refused(client: &Client) -> bool {
    tokio::net::TcpStream::connect(client.address).await.is_err()
}

#[tokio::test]
async fn sigterm_lets_streams_end_and_takes_no_more() {
    let demo = demo().await;
    let mut gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut stream = client.chat_stream("demo/demo-slow", "tell me about gates").await;
    let mut waiting = client.socket().await;
    let body = chat("demo/demo-slow", "hello", false).to_string();
    waiting.write_all(client.request("/v1/chat/completions", &body).as_bytes()).await.unwrap();
    let mut idle = client.socket().await;
    let mut text = stream.read(1).await;
    eventually("both are under way", || async { demo.stats().requests == 2 }).await;
    gateway.signal(libc::SIGTERM);
    eventually("new connections are refused", || refused(&client)).await;
    // An idle connection is closed at once.
    let mut byte = [0];
    assert_eq!(within(5, "an idle connection's end", idle.read(&mut byte)).await.unwrap(), 0);
    assert!(demo.stats().active > 0, "the stream is under way");
    let (rest, complete) = stream.rest().await;
    text.push_str(&rest);
    assert!(complete && sse::ended(&sse::events(&text)), "{text}");
    let mut answer = String::new();
    within(20, "the whole answer", waiting.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(gateway.ended(10).await.code(), Some(0));
    let ledger = gateway.ledger().await;
    assert_eq!(ledger.requests().await.len(), 2);
    assert!(ledger.entries().await.iter().all(|entry| entry.kind == "settled"));
}

#[tokio::test]
async fn what_takes_longer_than_the_drain_is_cut_and_billed() {
    let demo = demo().await;
    let mut gateway = Setup::demo(&demo).with("[server]\ndrain_seconds = 1\n").start().await;
    let client = gateway.client().await;
    let mut stream = client.chat_stream("demo/demo-stall-middle", "hello").await;
    let id = stream.id();
    assert_eq!(stream.status, StatusCode::OK);
    stream.read(1).await;
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.ended(10).await.code(), Some(0));
    let (_, complete) = stream.rest().await;
    assert!(!complete);
    let entries = gateway.ledger().await.entries_of(&id).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
}
