//! Clients: one that is polite, and the socket itself for those that are not.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{eventually, sse, within};

/// Seconds after which an answer is taken for hanging.
const PATIENCE: u64 = 60;

/// Where to ask, and with which key.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub key: String,
}

impl Client {
    /// A whole answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.try_post(path, body).await.expect("an answer")
    }

    /// # Errors
    /// When the connection is refused or breaks before the answer's end.
    pub async fn try_post(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        let mut connection = Connection::open(self).await?;
        connection.post(path, body).await
    }

    /// OpenAI's protocol: one user message.
    pub async fn chat(&self, model: &str, prompt: &str) -> Answer {
        self.post("/v1/chat/completions", chat(model, prompt, false).to_string()).await
    }

    /// The same as a stream, of which only the head was read.
    pub async fn chat_stream(&self, model: &str, prompt: &str) -> Stream {
        self.stream("/v1/chat/completions", chat(model, prompt, true).to_string()).await
    }

    /// Anthropic's protocol: one user message.
    pub async fn messages(&self, model: &str, prompt: &str) -> Answer {
        self.post("/v1/messages", messages(model, prompt, false).to_string()).await
    }

    pub async fn messages_stream(&self, model: &str, prompt: &str) -> Stream {
        self.stream("/v1/messages", messages(model, prompt, true).to_string()).await
    }

    pub async fn stream(&self, path: &str, body: impl Into<Bytes>) -> Stream {
        let connection = Connection::open(self).await.expect("a connection");
        connection.stream(path, body).await.expect("an answer's head")
    }

    /// With further headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut connection = Connection::open(self).await.expect("a connection");
        let request = connection.request_with("POST", path, headers, body.into());
        connection.send(request).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        let mut connection = Connection::open(self).await.expect("a connection");
        connection.get(path).await.expect("an answer")
    }

    /// Any method with any body.
    pub async fn ask(&self, method: &str, path: &str, content_type: Option<&str>, body: impl Into<Bytes>) -> Answer {
        let mut connection = Connection::open(self).await.expect("a connection");
        let mut request = connection.request(method, path, body.into());
        match content_type {
            Some(kind) => request.headers_mut().insert("content-type", kind.parse().expect("a content type")),
            None => request.headers_mut().remove("content-type"),
        };
        connection.send(request).await.expect("an answer")
    }

    /// A form: fields, then a file of the name `file`.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)], file: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        let head = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        self.ask("POST", path, Some("multipart/form-data; boundary=edge"), body).await
    }

    /// A request's receipt; waits until it is there, as that of a stream is written after its end.
    pub async fn receipt(&self, id: &str) -> Value {
        let path = format!("/v1/receipts/{id}");
        eventually(&format!("the receipt {id}"), || async { self.get(&path).await.status == StatusCode::OK }).await;
        self.get(&path).await.json()
    }

    /// A bare connection.
    pub async fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.expect("a connection");
        socket.set_nodelay(true).expect("a socket's option");
        socket
    }

    /// A request's head as text, without the empty line that ends it.
    pub fn head(&self, path: &str, headers: &str) -> String {
        format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n{headers}", self.key)
    }

    /// A whole request as text.
    pub fn request(&self, path: &str, body: &str) -> String {
        let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.head(path, &headers)
    }
}

/// The hash that a receipt names for a plugin.
pub fn hash_of<'a>(receipt: &'a Value, plugin: &str) -> Option<&'a str> {
    let plugins = receipt["plugins"].as_array()?;
    plugins.iter().find(|line| line["name"] == plugin)?["hash"].as_str()
}

/// A body of OpenAI's protocol.
pub fn chat(model: &str, prompt: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

/// A body of Anthropic's.
pub fn messages(model: &str, prompt: &str, stream: bool) -> Value {
    json!({"model": model, "max_tokens": 4096, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

/// A connection that is kept.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    client: Client,
}

impl Connection {
    /// # Errors
    /// When it is refused.
    pub async fn open(client: &Client) -> Result<Self> {
        let socket = TcpStream::connect(client.address).await.context("connecting")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, client: client.clone() })
    }

    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        let request = self.request("POST", path, body.into());
        self.send(request).await
    }

    /// # Errors
    /// When the connection breaks.
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        let request = self.request("GET", path, Bytes::new());
        self.send(request).await
    }

    /// # Errors
    /// When the connection breaks.
    pub async fn stream(mut self, path: &str, body: impl Into<Bytes>) -> Result<Stream> {
        let request = self.request("POST", path, body.into());
        self.sender.ready().await?;
        let answer = within(PATIENCE, "an answer's head", self.sender.send_request(request)).await?;
        let (head, body) = answer.into_parts();
        Ok(Stream { status: head.status, headers: head.headers, body, _connection: self })
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        self.request_with(method, path, &[], body)
    }

    fn request_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Request<Full<Bytes>> {
        let builder = Request::builder();
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder
            .method(method)
            .uri(path)
            .header("host", "gateway")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.client.key))
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(body))
            .expect("a request")
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        self.sender.ready().await?;
        let answer = within(PATIENCE, "an answer", self.sender.send_request(request)).await?;
        let (head, body) = answer.into_parts();
        let body = within(PATIENCE, "an answer's end", body.collect()).await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The request's id, for its receipt.
    pub fn id(&self) -> String {
        id(&self.headers)
    }

    /// The events of a stream that was read whole.
    pub fn events(&self) -> Vec<sse::Event> {
        sse::events(self.text())
    }

    /// Fails with what the answer says unless it is a 200.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        self
    }
}

/// An answer whose body was not read yet. Dropping it closes the connection.
pub struct Stream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    _connection: Connection,
}

impl Stream {
    pub fn id(&self) -> String {
        id(&self.headers)
    }

    /// What comes next; `None` at the end, an error where the connection breaks.
    pub async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match within(PATIENCE, "more of a stream", self.body.frame()).await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads on until this much came, or the end.
    pub async fn read(&mut self, bytes: usize) -> String {
        let mut text = Vec::new();
        while text.len() < bytes {
            match self.next().await {
                Some(Ok(data)) => text.extend_from_slice(&data),
                Some(Err(_)) | None => break,
            }
        }
        String::from_utf8(text).expect("UTF-8")
    }

    /// The rest, and whether it ended as HTTP says it must.
    pub async fn rest(&mut self) -> (String, bool) {
        let mut text = Vec::new();
        let complete = loop {
            match self.next().await {
                Some(Ok(data)) => text.extend_from_slice(&data),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        (String::from_utf8(text).expect("UTF-8"), complete)
    }
}

fn id(headers: &HeaderMap) -> String {
    let id = headers.get("x-portcullis-request-id").expect("a request's id");
    id.to_str().expect("letters and digits").to_owned()
}
