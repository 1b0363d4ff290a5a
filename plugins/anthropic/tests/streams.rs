//! Streams that no recording has: pieces cut anywhere, and tool calls in any interleaving.

use portcullis_plugin::prelude::*;
use portcullis_plugin_anthropic::{Anthropic, FORMAT};
use proptest::prelude::*;
use serde_json::{Value, json};

fn context() -> Context {
    Context { now: 0, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "chat".to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: true,
        provider: "provider".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn at(part: u32) -> Position {
    Position { choice: 0, part }
}

fn start() -> Event {
    Event::Start(StreamStart {
        format: "openai-chat".to_owned(),
        id: "chatcmpl-1".to_owned(),
        model: "gpt".to_owned(),
        created: None,
        usage: None,
        extra: Vec::new(),
    })
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish(ChoiceFinish { choice: 0, finish: Finish { reason, raw: String::new(), stop_sequence: None } })
}

/// One batch an event, with the state stored in between.
fn encode(events: Vec<Event>) -> Vec<Frame> {
    let mut state = Default::default();
    let count = events.len();
    let mut frames = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        frames.extend(
            Anthropic.encode_events(&context(), &reply(), &mut state, vec![event], index + 1 == count).expect("frames"),
        );
        let bytes = postcard::to_stdvec(&state).expect("a state");
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    frames
}

fn decode(frames: Vec<Frame>) -> Vec<Event> {
    let mut state = Default::default();
    let count = frames.len();
    let mut events = Vec::new();
    for (index, frame) in frames.into_iter().enumerate() {
        events.extend(
            Anthropic.decode_frames(&context(), "chat", &mut state, vec![frame], index + 1 == count).expect("events"),
        );
        let bytes = postcard::to_stdvec(&state).expect("a state");
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    events
}

/// The text of a part, put together.
fn text_of(events: &[Event], part: u32) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Text(delta) | Event::ToolArguments(delta) if delta.at.part == part => Some(delta.text.as_str()),
            _ => None,
        })
        .collect()
}

fn cut(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut bounds: Vec<_> =
        cuts.iter().map(|cut| cut % (text.len() + 1)).filter(|&at| text.is_char_boundary(at)).collect();
    bounds.extend([0, text.len()]);
    bounds.sort_unstable();
    bounds.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).collect()
}

proptest! {
    /// Text survives, wherever it is cut, on the way to the client's frames and back.
    #[test]
    fn text_survives_any_cut(text in any::<String>(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let mut events = vec![start(), Event::PartStart(PartStart {
            at: at(0), kind: PartKind::Text, id: String::new(), name: String::new(), carry: Vec::new(),
        })];
        events.extend(cut(&text, &cuts).into_iter().map(|text| Event::Text(Delta { at: at(0), text })));
        events.extend([Event::PartEnd(at(0)), finish(FinishReason::Stop)]);
        let back = decode(encode(events));
        prop_assert_eq!(text_of(&back, 0), text);
        prop_assert!(matches!(back.last(), Some(Event::Finish(_))), "{:?}", back.last());
    }

    /// However calls interleave, blocks come one after the other and every call keeps its arguments.
    #[test]
    fn calls_may_interleave(
        values in prop::collection::vec(any::<String>(), 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ended in any::<bool>(),
    ) {
        let arguments: Vec<_> = values.iter().map(|value| json!({"v": value, "n": {"{": [1]}}).to_string()).collect();
        let mut pieces: Vec<Vec<String>> = arguments
            .iter()
            .map(|text| text.chars().collect::<Vec<_>>().chunks(5).map(String::from_iter).rev().collect())
            .collect();
        let mut events = vec![start()];
        for index in 0..pieces.len() {
            events.push(Event::PartStart(PartStart {
                at: at(index as u32), kind: PartKind::ToolCall, id: format!("call_{index}"), name: "f".to_owned(), carry: Vec::new(),
            }));
        }
        let mut push = |index: usize, events: &mut Vec<Event>| {
            if let Some(text) = pieces[index].pop() {
                events.push(Event::ToolArguments(Delta { at: at(index as u32), text }));
            }
        };
        for next in &order {
            push(next.index(values.len()), &mut events);
        }
        for (index, arguments) in arguments.iter().enumerate() {
            for _ in 0..arguments.len() {
                push(index, &mut events);
            }
            if ended {
                events.push(Event::PartEnd(at(index as u32)));
            }
        }
        events.push(finish(FinishReason::ToolCalls));

        let frames = encode(events);
        let mut open: Option<u64> = None;
        let mut next = 0;
        for frame in &frames {
            let event: Value = serde_json::from_str(&frame.data).unwrap();
            match &*frame.event {
                "content_block_start" => {
                    prop_assert_eq!((open, &event["index"]), (None, &json!(next)));
                    open = Some(next);
                    next += 1;
                }
                "content_block_delta" => prop_assert_eq!(open, event["index"].as_u64()),
                "content_block_stop" => prop_assert_eq!(open.take(), event["index"].as_u64()),
                _ => prop_assert_eq!(open, None),
            }
        }
        prop_assert_eq!(next as usize, values.len());
        let back = decode(frames);
        for (index, arguments) in arguments.iter().enumerate() {
            prop_assert_eq!(&text_of(&back, index as u32), arguments);
        }
    }
}

#[test]
fn nothing_at_all_is_still_a_message() {
    let frames = Anthropic.encode_events(&context(), &reply(), &mut Default::default(), Vec::new(), true).unwrap();
    let names: Vec<_> = frames.iter().map(|frame| &*frame.event).collect();
    assert_eq!(names, ["message_start", "message_delta", "message_stop"]);
}

#[test]
fn waiting_calls_are_bounded() {
    let call = |part| {
        Event::PartStart(PartStart {
            at: at(part),
            kind: PartKind::ToolCall,
            id: "c".to_owned(),
            name: "f".to_owned(),
            carry: Vec::new(),
        })
    };
    let piece = |part, size| Event::ToolArguments(Delta { at: at(part), text: "x".repeat(size) });
    let mut state = Default::default();
    let mut encode = |event| Anthropic.encode_events(&context(), &reply(), &mut state, vec![event], false);
    for event in [start(), call(0), piece(0, 1_000_000), call(1), piece(1, 40_000)] {
        encode(event).expect("within the bound");
    }
    assert_eq!(encode(piece(1, 40_000)).unwrap_err().kind, FailureKind::Internal);
}

#[test]
fn a_server_tools_input_is_bounded() {
    let frame = |value: Value| Frame::named(value["type"].as_str().unwrap(), value.to_string());
    let mut frames = vec![frame(
        json!({"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"n","input":{}}}),
    )];
    for _ in 0..3 {
        let piece = "x".repeat(30_000);
        frames.push(frame(
            json!({"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":piece}}),
        ));
    }
    frames.push(frame(json!({"type":"content_block_stop","index":0})));
    let events = Anthropic.decode_frames(&context(), "chat", &mut Default::default(), frames, false).unwrap();
    let [Event::WholePart(whole)] = &events[..] else { panic!("{events:?}") };
    let Content::Other(item) = &whole.part.content else { panic!("{whole:?}") };
    assert_eq!((&*item.format, &*item.kind), (FORMAT, "server_tool_use"));
}

#[test]
fn logprobs_are_told() {
    let mut request = Request::new("openai-chat", "m");
    request.messages.push(Message::new(Role::User, vec![Part::text("x")]));
    request.logprobs = Some(Logprobs { top: 2 });
    let target = Target {
        model: "claude-opus-5".to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = Anthropic.encode_request(&context(), &target, request).unwrap();
    assert_eq!(encoded.notes, [Note::dropped("logprobs")]);
    let body = String::from_utf8(encoded.body).expect("text");
    assert!(body.contains(r#""max_tokens":4096"#), "{body}");
}
