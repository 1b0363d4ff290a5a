//! Precomputed answers for the benchmark: `demo-bench` whole, `demo-bench-stream-N` as a stream of N deltas. A request for one
//! is recognised by a search through its bytes, without parsing, so that the server's own cost stays out of the way.
//!
//! Invariant: only the unescaped member `"model": "demo-bench…"` is recognised. Within a JSON string the quotes before the name
//! would be escaped, and a backslash then stands where a colon or a quote must.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use memchr::memmem;

use crate::ask::{Ask, Input};
use crate::behaviour::Behaviour;
use crate::protocol::Protocol;
use crate::reply;
use crate::server::Stamp;

/// What a recognised request gets.
#[derive(Clone, Debug)]
pub enum Ready {
    Whole(Bytes),
    /// One chunk each.
    Frames(Arc<[Bytes]>),
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Wanted {
    protocol: Protocol,
    /// Deltas of a stream; absent for a whole answer.
    deltas: Option<u32>,
    usage: bool,
}

/// Deltas of the longest precomputed stream.
const MOST_DELTAS: u32 = 20_000;
/// Streams kept; others are made anew.
const MOST_KEPT: usize = 32;

#[derive(Debug, Default)]
pub struct Bench {
    ready: Mutex<HashMap<Wanted, Ready>>,
}

impl Bench {
    /// The precomputed answer, if the body asks for one.
    pub fn answer(&self, protocol: Protocol, body: &[u8]) -> Option<Ready> {
        let wanted = recognise(protocol, body)?;
        let mut ready = self.ready.lock().expect("no panic while held");
        if let Some(found) = ready.get(&wanted) {
            return Some(found.clone());
        }
        let made = make(wanted);
        if ready.len() < MOST_KEPT {
            ready.insert(wanted, made.clone());
        }
        Some(made)
    }
}

fn recognise(protocol: Protocol, body: &[u8]) -> Option<Wanted> {
    let at = memmem::find_iter(body, b"demo-bench").find(|at| is_model(&body[..*at]))?;
    let name = &body[at + b"demo-bench".len()..];
    let name = &name[..memchr::memchr(b'"', name)?];
    let stream = flag(body, b"\"stream\"");
    let deltas = match name.strip_prefix(b"-stream-") {
        Some(digits) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok().filter(|deltas| (1..=MOST_DELTAS).contains(deltas))?)
        }
        None if name.is_empty() => None,
        None => return None,
    };
    let usage = stream && flag(body, b"\"include_usage\"");
    (deltas.is_some() == stream).then_some(Wanted { protocol, deltas, usage })
}

/// Whether the bytes before a name end in `"model": "` and an optional prefix of the name.
fn is_model(before: &[u8]) -> bool {
    let Some(quote) = memchr::memrchr(b'"', before) else { return false };
    let prefix = &before[quote + 1..];
    if prefix.contains(&b'\\') || (!prefix.is_empty() && !prefix.ends_with(b"/")) {
        return false;
    }
    let member = before[..quote].trim_ascii_end();
    member.strip_suffix(b":").is_some_and(|member| member.trim_ascii_end().ends_with(b"\"model\""))
}

/// Whether a member is true.
fn flag(body: &[u8], member: &[u8]) -> bool {
    memmem::find_iter(body, member).any(|at| {
        let rest = body[at + member.len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"true"))
    })
}

fn make(wanted: Wanted) -> Ready {
    let (behaviour, model) = match wanted.deltas {
        Some(deltas) => (Behaviour::Burst(deltas.into()), format!("demo-bench-stream-{deltas}")),
        None => (Behaviour::Chat, "demo-bench".to_owned()),
    };
    let ask = Ask {
        model,
        prompt: "What is the weather like in Paris today?".to_owned(),
        count: 1,
        stream_usage: wanted.usage,
        input: Input { uncached: 256, ..Input::default() },
        ..Ask::default()
    };
    let stamp = Stamp { serial: 0, created: 1_735_689_600 };
    let reply = reply::compose(&ask, behaviour, stamp.serial);
    match wanted.deltas {
        None => Ready::Whole(Bytes::from(wanted.protocol.whole(&reply, &ask, stamp).to_string())),
        Some(_) => {
            let frames = wanted.protocol.frames(&reply, &ask, stamp);
            Ready::Frames(frames.into_iter().map(|frame| frame.bytes).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openai(body: &str) -> Option<(Option<u32>, bool)> {
        recognise(Protocol::OpenAi, body.as_bytes()).map(|wanted| (wanted.deltas, wanted.usage))
    }

    #[test]
    fn only_the_member_counts() {
        assert_eq!(openai(r#"{"model":"demo-bench","messages":[]}"#), Some((None, false)));
        assert_eq!(openai(r#"{ "model" : "openai/demo-bench" }"#), Some((None, false)));
        assert_eq!(openai(r#"{"messages":[{"content":"\"model\":\"demo-bench\""}],"model":"demo"}"#), None);
        assert_eq!(openai(r#"{"messages":[{"content":"demo-bench"}],"model":"demo-echo"}"#), None);
        assert_eq!(openai(r#"{"model":"demo-bench-stream-40","stream":true}"#), Some((Some(40), false)));
        assert_eq!(
            openai(r#"{"model":"demo-bench-stream-40","stream": true,"stream_options":{"include_usage":true}}"#),
            Some((Some(40), true))
        );
        assert_eq!(openai(r#"{"model":"demo-bench-stream-40"}"#), None);
        assert_eq!(openai(r#"{"model":"demo-bench","stream":true}"#), None);
        assert_eq!(openai(r#"{"model":"demo-bench-stream-0","stream":true}"#), None);
        assert_eq!(openai(r#"{"model":"demo-benchmark"}"#), None);
    }
}
