//! Streams that no recording has: calls and text cut anywhere, and requests of any shape within Converse's rules.

use portcullis_plugin::prelude::*;
use portcullis_plugin_bedrock::Bedrock;
use proptest::prelude::*;
use serde_json::{Value, json};

fn context() -> Context {
    Context { now: 0, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn frame(event: &str, data: Value) -> Frame {
    Frame::named(event, data.to_string())
}

/// One batch a frame, with the state stored in between.
fn decode(frames: Vec<Frame>) -> Vec<Event> {
    let mut state = Default::default();
    let count = frames.len();
    let mut events = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let last = at + 1 == count;
        let decoded = Bedrock.decode_frames(&context(), "converse-stream", &mut state, vec![frame], last);
        events.extend(decoded.expect("events"));
        let bytes = postcard::to_stdvec(&state).expect("a state");
        assert!(bytes.len() <= 64 * 1024);
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    events
}

fn cut(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut bounds: Vec<_> =
        cuts.iter().map(|cut| cut % (text.len() + 1)).filter(|&at| text.is_char_boundary(at)).collect();
    bounds.extend([0, text.len()]);
    bounds.sort_unstable();
    bounds.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).collect()
}

fn of_part(events: &[Event], part: u32) -> String {
    let pieces = events.iter().filter_map(|event| match event {
        Event::Text(delta) | Event::ToolArguments(delta) if delta.at.part == part => Some(delta.text.as_str()),
        _ => None,
    });
    pieces.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_make_the_whole(text in ".{1,40}", value in any::<String>(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let arguments = json!({"v": value}).to_string();
        let mut frames = vec![frame("messageStart", json!({"role": "assistant"}))];
        let delta = |index: u32, delta: Value| frame("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
        frames.extend(cut(&text, &cuts).into_iter().map(|text| delta(0, json!({ "text": text }))));
        frames.push(frame("contentBlockStop", json!({"contentBlockIndex": 0})));
        frames.push(frame("contentBlockStart", json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}})));
        frames.extend(cut(&arguments, &cuts).into_iter().map(|input| delta(1, json!({"toolUse": {"input": input}}))));
        frames.push(frame("contentBlockStop", json!({"contentBlockIndex": 1})));
        frames.push(frame("messageStop", json!({"stopReason": "tool_use"})));
        let events = decode(frames);
        prop_assert_eq!(of_part(&events, 0), text);
        prop_assert_eq!(of_part(&events, 1), arguments);
        prop_assert!(matches!(events.last(), Some(Event::Finish(_))));
    }

    /// Whatever a client sends, turns alternate from the user's on, none is empty, no text is blank, every result stands before
    /// other content, and tools are configured where there are calls.
    #[test]
    fn requests_keep_the_rules(turns in prop::collection::vec((0..5_u8, prop::collection::vec(0..5_u8, 0..4)), 0..8)) {
        let mut request = Request::new("openai-chat", "m");
        for (role, parts) in turns {
            let role = [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool][usize::from(role)];
            let content = |kind: u8| match (kind, role) {
                (0, _) => Content::Text("words".to_owned()),
                (1, _) => Content::Text(" \n".to_owned()),
                (2, Role::Assistant) => Content::ToolCall(ToolCall {
                    id: "call 1".to_owned(), name: "a tool".to_owned(), arguments: String::new(), custom: false,
                }),
                (2, Role::User | Role::Tool) => Content::ToolResult(ToolResult {
                    call_id: "call 1".to_owned(), name: None, parts: Vec::new(), is_error: false,
                }),
                (3, Role::User) => Content::Document(Media {
                    source: Source::Base64("JVBERi0=".to_owned()), media_type: None, name: None, detail: None,
                }),
                _ => Content::Refusal("no".to_owned()),
            };
            request.messages.push(Message::new(role, parts.into_iter().map(|kind| Part::new(content(kind))).collect()));
        }
        let target = Target {
            model: "us.anthropic.claude-sonnet-4-6".to_owned(),
            max_output_tokens: None,
            stream: false,
            capabilities: Vec::new(),
            max_output: 0,
        };
        let Ok(encoded) = Bedrock.encode_request(&context(), &target, request) else { return Ok(()) };
        let body: Value = serde_json::from_slice(&encoded.body).expect("JSON");
        let mut calls = false;
        for (at, turn) in body["messages"].as_array().expect("messages").iter().enumerate() {
            prop_assert_eq!(&turn["role"], if at % 2 == 0 { "user" } else { "assistant" });
            let content = turn["content"].as_array().expect("content");
            prop_assert!(!content.is_empty());
            let has = |name: &str| content.iter().any(|block| block.get(name).is_some());
            prop_assert!(!has("document") || has("text"));
            let last_result = content.iter().rposition(|block| block.get("toolResult").is_some());
            let first_other = content.iter().position(|block| block.get("toolResult").is_none());
            prop_assert!(last_result.is_none_or(|result| first_other.is_none_or(|other| result < other)));
            for block in content {
                prop_assert!(block["text"].as_str().is_none_or(|text| !text.trim().is_empty()));
            }
            calls |= has("toolUse") || has("toolResult");
        }
        prop_assert_eq!(calls, body["toolConfig"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
    }
}

/// A message of an event stream, byte for byte as AWS documents it ("Event stream encoding", Amazon Transcribe developer guide).
fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encoded.push(name.len() as u8);
        encoded.extend_from_slice(name.as_bytes());
        encoded.push(7);
        encoded.extend_from_slice(&(value.len() as u16).to_be_bytes());
        encoded.extend_from_slice(value.as_bytes());
    }
    let mut out = Vec::new();
    out.extend_from_slice(&((16 + encoded.len() + payload.len()) as u32).to_be_bytes());
    out.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&encoded);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

#[test]
fn exceptions_and_errors_on_the_wire_are_failures() {
    let exception = [(":exception-type", "throttlingException"), (":message-type", "exception")];
    let error = [(":error-code", "InternalFailure"), (":error-message", "oops"), (":message-type", "error")];
    for (headers, payload, kind) in [
        (&exception[..], r#"{"message":"Too many requests"}"#, FailureKind::RateLimited),
        (&error, "", FailureKind::Unavailable),
    ] {
        let mut stream =
            message(&[(":event-type", "messageStart"), (":message-type", "event")], r#"{"role":"assistant"}"#);
        stream.extend(message(headers, payload));
        let (mut splitter, mut frames) = (portcullis_wire::framing::aws::Splitter::default(), Vec::new());
        for byte in stream {
            splitter.push(&bytes::Bytes::copy_from_slice(&[byte]), &mut frames).expect("frames");
        }
        let frames = frames.iter().map(|frame| Frame::named(frame.event(), frame.data())).collect();
        let events = decode(frames);
        let Some(Event::Error(failure)) = events.last() else { panic!("{events:?}") };
        assert_eq!(failure.kind, kind);
        assert_eq!(events.len(), 2, "nothing follows: {events:?}");
    }
}

#[test]
fn a_server_tools_item_is_bounded() {
    let start = json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "n", "type": "server_tool_use"}}});
    let mut frames = vec![frame("contentBlockStart", start)];
    for _ in 0..3 {
        let delta = json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": "x".repeat(30_000)}}});
        frames.push(frame("contentBlockDelta", delta));
    }
    frames.push(frame("contentBlockStop", json!({"contentBlockIndex": 0})));
    frames.push(frame("messageStop", json!({"stopReason": "end_turn"})));
    let whole: Vec<_> = decode(frames).into_iter().filter(|event| matches!(event, Event::WholePart(_))).collect();
    assert_eq!(whole.len(), 1);
}
