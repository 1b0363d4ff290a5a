//! The wire: what clients may send, how slowly, and how much.

use std::time::{Duration, Instant};

use http::StatusCode;
use portcullis_tests::{Client, Setup, chat, demo, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATH: &str = "/v1/chat/completions";

/// All that comes until the other side closes.
async fn to_the_end(socket: &mut TcpStream, seconds: u64) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = within(seconds, "the connection's end", socket.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer with a content-length.
async fn one_answer(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    within(30, "an answer", async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: "))
                && body.len() >= length.parse::<usize>().unwrap()
            {
                return text;
            }
            let mut piece = [0; 4096];
            let read = socket.read(&mut piece).await.unwrap();
            assert!(read > 0, "it closed after {text}");
            bytes.extend_from_slice(&piece[..read]);
        }
    })
    .await
}

fn body() -> String {
    chat("demo/demo-echo", "hello", false).to_string()
}

async fn still_serves(client: &Client) {
    client.chat("demo/demo", "hello").await.ok();
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_cut() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[limits]\nheader_timeout_ms = 500\n").start().await;
    let client = gateway.client().await;
    let mut socket = client.socket().await;
    let began = Instant::now();
    // A byte now and then keeps nothing alive.
    let (mut reading, mut writing) = socket.split();
    let slowly = async {
        for byte in client.head(PATH, "x-slow: ").into_bytes() {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut bytes = Vec::new();
    tokio::select! {
        () = slowly => panic!("it was heard to its end"),
        _ = reading.read_to_end(&mut bytes) => {}
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    still_serves(&client).await;
}

#[tokio::test]
async fn a_body_that_stops_is_cut() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[limits]\nclient_idle_ms = 500\n").start().await;
    let client = gateway.client().await;
    let mut socket = client.socket().await;
    let began = Instant::now();
    socket.write_all(client.head(PATH, "content-length: 1000\r\n\r\n{\"model\":").as_bytes()).await.unwrap();
    let answer = to_the_end(&mut socket, 10).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    assert_eq!(demo.stats().requests, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_reaches_nobody() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for _ in 0..20 {
        let mut socket = client.socket().await;
        socket.write_all(client.head(PATH, "content-length: 1000\r\n\r\n{\"model\":").as_bytes()).await.unwrap();
        drop(socket);
    }
    still_serves(&client).await;
    assert_eq!(demo.stats().requests, 1);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_however_it_comes() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).with("[limits]\nrequest_bytes = 10000\n").start().await;
    let client = gateway.client().await;
    let long = chat("demo/demo", &"x".repeat(20_000), false).to_string();
    let answer = client.post(PATH, long.clone()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["error"]["code"], "request_too_large", "{:?}", answer.body);
    let answer = client.post("/v1/messages", long.clone()).await;
    assert_eq!(answer.json()["type"], "error", "{:?}", answer.body);
    // Announced and never sent: it is not waited for.
    let mut socket = client.socket().await;
    socket.write_all(client.head(PATH, "content-length: 99999999\r\n\r\n").as_bytes()).await.unwrap();
    assert!(within(5, "an answer", one_answer(&mut socket)).await.contains("request_too_large"));
    // Not announced.
    let mut socket = client.socket().await;
    let head = client.head(PATH, "transfer-encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    for piece in long.as_bytes().chunks(3_000) {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        if socket.write_all(&chunk).await.is_err() {
            break;
        }
    }
    assert!(one_answer(&mut socket).await.contains("request_too_large"));
    assert_eq!(demo.stats().requests, 0);
    // What fits to the byte is taken.
    let empty = chat("demo/demo", "", false).to_string().len();
    let fits = chat("demo/demo", &"x".repeat(10_000 - empty), false).to_string();
    assert_eq!(fits.len(), 10_000);
    client.post(PATH, fits).await.ok();
}

#[tokio::test]
async fn heads_have_limits() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let many: String = (0..500).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(2 << 20));
    for headers in [many, long] {
        let mut socket = client.socket().await;
        let request = client.head(PATH, &format!("{headers}content-length: 0\r\n\r\n"));
        // The gateway may well close before it has heard all of it.
        let _ = socket.write_all(request.as_bytes()).await;
        let answer = to_the_end(&mut socket, 20).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    let many: String = (0..60).map(|number| format!("x-{number}: {}\r\n", "y".repeat(200))).collect();
    let mut socket = client.socket().await;
    let request = client.head(PATH, &format!("{many}content-length: {}\r\n\r\n{}", body().len(), body()));
    socket.write_all(request.as_bytes()).await.unwrap();
    assert!(one_answer(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let smuggled = client
        .head(PATH, "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n");
    let twice = client.head(PATH, "content-length: 5\r\ncontent-length: 7\r\n\r\nhellohe");
    for bytes in ["\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03", "GET\r\n\r\n", "POST / HTTP/9.9\r\n\r\n", &twice] {
        let mut socket = client.socket().await;
        socket.write_all(bytes.as_bytes()).await.unwrap();
        let answer = to_the_end(&mut socket, 15).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    // Where both lengths are given the chunks hold (RFC 9112, 6.1), and what follows is never taken for a body.
    let mut socket = client.socket().await;
    socket.write_all(smuggled.as_bytes()).await.unwrap();
    let mut piece = [0; 4096];
    let read = within(10, "an answer", socket.read(&mut piece)).await.unwrap();
    let answer = String::from_utf8_lossy(&piece[..read]).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(demo.stats().requests, 0);
    still_serves(&client).await;
}

#[tokio::test]
async fn connections_are_kept_and_requests_may_follow_at_once() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut socket = client.socket().await;
    for _ in 0..3 {
        socket.write_all(client.request(PATH, &body()).as_bytes()).await.unwrap();
        assert!(one_answer(&mut socket).await.starts_with("HTTP/1.1 200"));
    }
    // Ten in one write: ten answers in their order.
    let prompts: Vec<String> = (0..10).map(|number| format!("pipelined {number}")).collect();
    let all: String =
        prompts.iter().map(|prompt| client.request(PATH, &chat("demo/demo-echo", prompt, false).to_string())).collect();
    let last = client.head(PATH, &format!("connection: close\r\ncontent-length: {}\r\n\r\n{}", body().len(), body()));
    socket.write_all(format!("{all}{last}").as_bytes()).await.unwrap();
    let answers = to_the_end(&mut socket, 20).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 11, "{answers}");
    let places: Vec<_> =
        prompts.iter().map(|prompt| answers.find(prompt.as_str()).expect("each is answered")).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn a_stream_is_not_held_back_by_a_request_behind_it() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut socket = client.socket().await;
    let stream = client.request(PATH, &chat("demo/demo-slow", "tell me about gates", true).to_string());
    socket
        .write_all(format!("{stream}GET /healthz HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("\"content\"") {
        let mut piece = [0; 4096];
        let read = within(10, "the first token", socket.read(&mut piece)).await.unwrap();
        assert!(read > 0, "it closed after {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    assert_eq!(demo.stats().active, 1, "the stream is under way");
    text.push_str(&to_the_end(&mut socket, 30).await);
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
    assert!(text.find("[DONE]") < text.find("\"status\":\"ok\""), "{text}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    for stream in [false, true] {
        let mut socket = client.socket().await;
        let body = chat("demo/demo-echo", "as in 1996", stream).to_string();
        let request = client.request(PATH, &body).replace("HTTP/1.1", "HTTP/1.0");
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = to_the_end(&mut socket, 10).await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");
        assert!(answer.contains("1996"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut socket = client.socket().await;
    let body = chat("demo/demo-echo", "gr\u{fc}\u{df}e \u{1f3f0}", false).to_string();
    let mut request = client.head(PATH, "transfer-encoding: chunked\r\n\r\n").into_bytes();
    for byte in body.bytes() {
        request.extend_from_slice(b"1\r\n");
        request.push(byte);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    for byte in request {
        socket.write_all(&[byte]).await.unwrap();
    }
    let answer = one_answer(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("gr\u{fc}\u{df}e \u{1f3f0}"), "{answer}");
    let received = demo.received();
    assert_eq!(received.len(), 1);
    assert!(String::from_utf8_lossy(&received[0].body).contains("gr\u{fc}\u{df}e"));
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_continue() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let mut socket = client.socket().await;
    let head = client.head(PATH, &format!("expect: 100-continue\r\ncontent-length: {}\r\n\r\n", body().len()));
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut piece = [0; 25];
    within(5, "100 Continue", socket.read_exact(&mut piece)).await.unwrap();
    assert_eq!(&piece, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body().as_bytes()).await.unwrap();
    assert!(one_answer(&mut socket).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_gateways_own_routes() {
    let demo = demo().await;
    let gateway = Setup::demo(&demo).start().await;
    let client = gateway.client().await;
    let stranger = Client { key: "nobody".to_owned(), ..client.clone() };
    assert_eq!(stranger.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(stranger.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(stranger.get("/v1/models").await.status, StatusCode::UNAUTHORIZED);
    let models = client.get("/v1/models").await.ok().json();
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "demo/demo"), "{models}");
    assert_eq!(client.get("/v1/nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get(PATH).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.get("/v1/receipts/req_nonsense").await.status, StatusCode::NOT_FOUND);
    // Another key's receipt looks like none.
    let id = client.chat("demo/demo", "hello").await.ok().id();
    client.receipt(&id).await;
    let other = gateway.client().await;
    assert_eq!(other.get(&format!("/v1/receipts/{id}")).await.status, StatusCode::NOT_FOUND);
}
