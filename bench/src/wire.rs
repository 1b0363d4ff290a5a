//! A client that costs next to nothing: it writes bytes and reads until an answer has ended. It understands just enough of
//! HTTP/1.1 for that: a status line, a length, or chunks; one answer is under way at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

/// The end of a chunked body. Nothing the upstream says contains it.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    waits: bool,
    /// What is known of the answer under way.
    under_way: Option<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    head: Option<Head>,
    marked: Option<Instant>,
}

/// An answer that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub status: u16,
    /// When the wanted bytes were there, if they came.
    pub marked: Option<Instant>,
}

impl Client {
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, buffer: vec![0; 64 << 10], filled: 0, waits: true, under_way: None })
    }

    /// From now on nothing waits: for use with [`Client::write_some`] and [`Client::read_some`] only.
    ///
    /// # Errors
    /// The system refuses.
    pub fn never_wait(&mut self) -> Result<()> {
        self.waits = false;
        Ok(self.stream.set_nonblocking(true)?)
    }

    /// Writes what the connection takes at this moment and returns how many bytes that was.
    ///
    /// # Errors
    /// The connection has broken.
    pub fn write_some(&mut self, bytes: &[u8]) -> Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => Ok(written?),
        }
    }

    /// # Errors
    /// The connection has broken.
    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// Reads an answer to its end and notes when `mark` was first there.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not an answer.
    pub fn read(&mut self, mark: Option<&[u8]>) -> Result<Answer> {
        loop {
            if let Some(answer) = self.read_some(mark)? {
                return Ok(answer);
            }
        }
    }

    /// Reads once, and returns the answer where that was its end.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub fn read_some(&mut self, mark: Option<&[u8]>) -> Result<Option<Answer>> {
        let under_way = self.under_way.get_or_insert_with(|| {
            self.filled = 0;
            UnderWay::default()
        });
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = match self.stream.read(&mut self.buffer[self.filled..]) {
            // Of a connection that waits, this is the time limit.
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.waits => return Ok(None),
            read => read.context("no answer")?,
        };
        ensure!(read > 0, "the connection was closed within an answer");
        self.filled += read;
        let bytes = &self.buffer[..self.filled];
        if under_way.head.is_none() {
            under_way.head = Head::parse(bytes)?;
        }
        let Some(head) = &under_way.head else { return Ok(None) };
        if let (Some(mark), None) = (mark, under_way.marked) {
            under_way.marked = memmem::find(&bytes[head.length..], mark).map(|_| Instant::now());
        }
        let ended = match head.body {
            Some(body) => bytes.len() >= head.length + body,
            None => bytes[head.length - 2..].ends_with(LAST_CHUNK),
        };
        if !ended {
            return Ok(None);
        }
        let answer = Answer { status: head.status, marked: under_way.marked };
        self.under_way = None;
        Ok(Some(answer))
    }

    /// The last answer's body, as it was sent (chunk sizes included).
    pub fn body(&self) -> &[u8] {
        let bytes = &self.buffer[..self.filled];
        memmem::find(bytes, b"\r\n\r\n").map_or(&[], |end| &bytes[end + 4..])
    }

    /// Sends and reads one answer, which must be a 200.
    ///
    /// # Errors
    /// As [`Client::read`], or another status: then with the body.
    pub fn exchange(&mut self, request: &[u8], mark: Option<&[u8]>) -> Result<Answer> {
        self.send(request)?;
        let answer = self.read(mark)?;
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, String::from_utf8_lossy(self.body()));
        }
        Ok(answer)
    }
}

#[derive(Debug)]
struct Head {
    status: u16,
    /// Bytes up to and with the empty line.
    length: usize,
    /// The body's length; chunked where there is none.
    body: Option<usize>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end])?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
        let mut body = None;
        let mut chunked = false;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { bail!("not a header: {line}") };
            if name.eq_ignore_ascii_case("content-length") {
                body = Some(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = true;
            }
        }
        ensure!(chunked || body.is_some(), "the answer's end is not marked");
        Ok(Some(Self { status, length: end + 4, body }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A peer that answers one request with these pieces.
    fn peer(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            assert!(stream.read(&mut request).unwrap() > 0);
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        address
    }

    #[test]
    fn lengths_and_chunks_in_pieces() {
        let mut client = Client::connect(peer(&["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\nhe", "llo"])).unwrap();
        let answer = client.exchange(b"x", Some(b"ell")).unwrap();
        assert_eq!((answer.status, client.body()), (200, b"hello".as_slice()));
        assert!(answer.marked.is_some());
        let chunks = ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r", "\n0\r\n\r", "\n"];
        let mut client = Client::connect(peer(Box::leak(Box::new(chunks)))).unwrap();
        assert!(client.exchange(b"x", Some(b"cd")).unwrap().marked.is_none());
    }

    #[test]
    fn other_statuses_are_errors() {
        let mut client = Client::connect(peer(&["HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno"])).unwrap();
        assert_eq!(client.exchange(b"x", None).unwrap_err().to_string(), "status 401: no");
        let mut client = Client::connect(peer(&["HTTP/1.1 200 OK\r\n\r\n"])).unwrap();
        assert!(client.exchange(b"x", None).is_err());
    }
}
