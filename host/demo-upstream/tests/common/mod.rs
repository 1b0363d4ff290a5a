//! A server on a free port and a client that keeps what arrived, whole or broken off.
#![allow(dead_code)]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use portcullis_demo_upstream::{Handle, Options, serve};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

pub async fn server() -> Handle {
    server_with(Options { token_delay: Duration::ZERO, ..Options::default() }).await
}

pub async fn server_with(options: Options) -> Handle {
    serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), options).unwrap()
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// The body ended as HTTP says it must.
    pub complete: bool,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The data of every server-sent event, `[DONE]` left out.
    pub fn events(&self) -> Vec<Value> {
        self.text
            .split("\n\n")
            .filter_map(|frame| frame.lines().find_map(|line| line.strip_prefix("data: ")))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

pub async fn send(
    server: &Handle,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> http::Response<Incoming> {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "demo");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap()
}

pub async fn read(response: http::Response<Incoming>) -> Answer {
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut complete = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => complete = false,
        }
    }
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes).unwrap(), complete }
}

pub async fn openai(server: &Handle, body: &Value) -> Answer {
    read(send(server, Method::POST, "/v1/chat/completions", &[], body).await).await
}

pub async fn anthropic(server: &Handle, body: &Value) -> Answer {
    let headers = [("anthropic-version", "2023-06-01")];
    read(send(server, Method::POST, "/v1/messages", &headers, body).await).await
}

pub async fn responses(server: &Handle, body: &Value) -> Answer {
    read(send(server, Method::POST, "/v1/responses", &[], body).await).await
}

pub async fn gemini(server: &Handle, target: &str, body: &Value) -> Answer {
    read(send(server, Method::POST, &format!("/v1beta/models/{target}"), &[], body).await).await
}

/// A request with one user message and more members.
pub fn ask(model: &str, prompt: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": prompt}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    body
}
