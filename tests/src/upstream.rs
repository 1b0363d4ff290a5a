//! A provider that answers with given bytes at a given pace, and knows what became of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A step of an answer.
#[derive(Clone, Debug)]
pub enum Act {
    Send(Bytes),
    Pause(Duration),
    /// Waits until somebody says so, to all who wait.
    Until(tokio::sync::watch::Receiver<bool>),
    /// Silence until the client goes.
    Hang,
    /// The connection closes.
    Close,
}

impl Act {
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Act::Send(Bytes::copy_from_slice(bytes.as_ref()))
    }

    pub fn pause(milliseconds: u64) -> Self {
        Act::Pause(Duration::from_millis(milliseconds))
    }

    /// A chunk of a chunked body.
    pub fn chunk(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        Act::Send(chunk.into())
    }

    /// A chunked body's end.
    pub fn end() -> Self {
        Act::send("0\r\n\r\n")
    }
}

/// The head of a streamed answer with a chunked body.
pub fn stream_head() -> Act {
    Act::send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
}

/// A whole JSON answer with a status.
pub fn json_answer(status: u16, headers: &str, body: &str) -> Vec<Act> {
    vec![Act::send(format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

/// A whole answer of OpenAI's protocol.
pub fn answer(text: &str) -> Vec<Act> {
    let body = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "demo",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    });
    json_answer(200, "", &body.to_string())
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and headers.
    pub head: String,
    pub body: Bytes,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    gone: AtomicU64,
    sent: AtomicU64,
}

/// A running provider; it ends when this is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

type Script = dyn Fn(&Received) -> Vec<Act> + Send + Sync;

impl Upstream {
    pub async fn start(script: impl Fn(&Received) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Seen::default());
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(serve(socket, Arc::clone(&script), Arc::clone(&seen)));
                }
            }
        });
        Upstream { address, seen, task }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().expect("no panic while held").clone()
    }

    /// As if there had been none.
    pub fn forget(&self) {
        self.seen.requests.lock().expect("no panic while held").clear();
    }

    /// Answers that the client did not wait for.
    pub fn gone(&self) -> u64 {
        self.seen.gone.load(Ordering::SeqCst)
    }

    /// Bytes that the network took.
    pub fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Script>, seen: Arc<Seen>) {
    let _ = socket.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut socket, &mut buffer).await {
        let acts = script(&request);
        seen.requests.lock().expect("no panic while held").push(request);
        for act in acts {
            let stays = match act {
                Act::Send(bytes) => send(&mut socket, &bytes, &seen).await,
                Act::Pause(time) => {
                    tokio::time::sleep(time).await;
                    true
                }
                Act::Until(mut said) => said.wait_for(|said| *said).await.is_ok(),
                Act::Hang => {
                    let mut byte = [0];
                    while socket.read(&mut byte).await.is_ok_and(|read| read > 0) {}
                    false
                }
                Act::Close => return,
            };
            if !stays {
                seen.gone.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

async fn send(socket: &mut TcpStream, mut bytes: &[u8], seen: &Seen) -> bool {
    while !bytes.is_empty() {
        match socket.write(bytes).await {
            Ok(0) | Err(_) => return false,
            Ok(taken) => {
                seen.sent.fetch_add(taken as u64, Ordering::SeqCst);
                bytes = &bytes[taken..];
            }
        }
    }
    true
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let length = length.unwrap_or(0);
    while buffer.len() < end + length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = Bytes::copy_from_slice(&buffer[end..end + length]);
    buffer.drain(..end + length);
    Some(Received { head, body })
}
