//! However a stream is cut into chunks and batches, it says the same as the whole answer; and what the dialect writes reads back.

use portcullis_plugin::ir::{
    ChoiceFinish, Content, Context, Delta, Event, Finish, FinishReason, Frame, PartKind, PartStart, Position,
    StreamStart, Usage,
};
use portcullis_plugin::prelude::Reply;
use portcullis_plugin_openai::{dialect, provider};
use proptest::prelude::*;
use serde_json::{Value, json};

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req".into(), development: false, extra: Vec::new() }
}

/// Cuts a text at character boundaries; the shares say where.
fn pieces(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(characters.len() + 1)).collect();
    at.extend([0, characters.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| characters[pair[0]..pair[1]].iter().collect()).collect()
}

fn chunk(delta: Value, finish: Value) -> Frame {
    Frame::data(
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            .to_string(),
    )
}

/// Decodes in batches of these sizes, the state through bytes in between.
fn decode(frames: &[Frame], sizes: &[usize]) -> Vec<Event> {
    let (mut bytes, mut events, mut rest) = (Vec::new(), Vec::new(), frames);
    let mut sizes = sizes.iter().cycle();
    loop {
        let (batch, after) = rest.split_at(rest.len().min(*sizes.next().unwrap_or(&1)));
        rest = after;
        let mut state = if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).unwrap() };
        events.extend(provider::stream::decode(&context(), &mut state, batch.to_vec(), rest.is_empty()));
        bytes = postcard::to_allocvec(&state).unwrap();
        if rest.is_empty() {
            return events;
        }
    }
}

/// Text, reasoning, and each call's id, name and arguments.
#[derive(Debug, Default, PartialEq)]
struct Joined {
    text: String,
    reasoning: String,
    signature: String,
    calls: Vec<(String, String, String)>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

fn join(events: &[Event]) -> Joined {
    let mut joined = Joined::default();
    let mut kinds = std::collections::HashMap::new();
    for event in events {
        match event {
            Event::PartStart(start) => {
                if start.kind == PartKind::ToolCall {
                    joined.calls.push((start.id.clone(), start.name.clone(), String::new()));
                }
                kinds.insert(start.at.part, (start.kind, joined.calls.len()));
            }
            Event::Text(delta) => match kinds[&delta.at.part].0 {
                PartKind::Reasoning => joined.reasoning += &delta.text,
                _ => joined.text += &delta.text,
            },
            Event::Signature(delta) => joined.signature += &delta.text,
            Event::ToolArguments(delta) => joined.calls[kinds[&delta.at.part].1 - 1].2 += &delta.text,
            Event::Finish(finish) => joined.finish = Some(finish.finish.reason),
            Event::Usage(usage) => joined.usage = Some(usage.clone()),
            Event::Error(failure) => panic!("{failure:?}"),
            _ => {}
        }
    }
    joined
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_says_what_the_whole_says(
        text in any::<String>(),
        reasoning in any::<String>(),
        arguments in prop::collection::vec(any::<String>(), 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        sizes in prop::collection::vec(1usize..5, 1..4),
        side_by_side in any::<bool>(),
    ) {
        // Arguments are JSON; a call without any is `{}` on both ways.
        let arguments: Vec<String> = arguments.iter().map(|text| json!({ "a": text }).to_string()).collect();
        let calls: Vec<Value> = arguments.iter().enumerate().map(|(index, arguments)| {
            json!({"id": format!("call_{index}"), "type": "function", "function": {"name": format!("f{index}"), "arguments": arguments}})
        }).collect();
        let whole = json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"content": text, "reasoning_content": reasoning, "tool_calls": calls}}]}).to_string();
        let whole = provider::response::decode(&context(), &whole).unwrap();

        let mut frames = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
        frames.extend(pieces(&reasoning, &cuts).iter().map(|piece| chunk(json!({"reasoning_content": piece}), Value::Null)));
        frames.extend(pieces(&text, &cuts).iter().map(|piece| chunk(json!({"content": piece}), Value::Null)));
        let starts: Vec<Frame> = arguments.iter().enumerate().map(|(index, _)| {
            chunk(json!({"tool_calls": [{"index": index, "id": format!("call_{index}"), "type": "function",
                "function": {"name": format!("f{index}"), "arguments": ""}}]}), Value::Null)
        }).collect();
        let deltas: Vec<Vec<Frame>> = arguments.iter().enumerate().map(|(index, arguments)| {
            pieces(arguments, &cuts).iter().map(|piece| {
                chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), Value::Null)
            }).collect()
        }).collect();
        if side_by_side {
            frames.extend(starts);
            for round in 0..=cuts.len() {
                frames.extend(deltas.iter().map(|pieces| pieces[round].clone()));
            }
        } else {
            for (start, pieces) in starts.into_iter().zip(deltas) {
                frames.push(start);
                frames.extend(pieces);
            }
        }
        frames.push(chunk(json!({}), json!("stop")));
        frames.push(Frame::data("[DONE]"));

        let joined = join(&decode(&frames, &sizes));
        let mut expected = Joined { finish: Some(FinishReason::Stop), ..Joined::default() };
        for part in &whole.choices[0].parts {
            match &part.content {
                Content::Text(text) => expected.text += text,
                Content::Reasoning(part) => expected.reasoning += &part.text,
                Content::ToolCall(call) => expected.calls.push((call.id.clone(), call.name.clone(), call.arguments.clone())),
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(joined, expected);
    }

    #[test]
    fn what_the_dialect_writes_reads_back(
        texts in prop::collection::vec(any::<String>(), 0..4),
        thoughts in prop::collection::vec(any::<String>(), 0..4),
        signature in prop::collection::vec("[A-Za-z0-9+/]{1,9}", 0..3),
        arguments in prop::collection::vec(any::<String>(), 0..4),
        sizes in prop::collection::vec(1usize..5, 1..4),
    ) {
        let at = |part| Position { choice: 0, part };
        let start = |part, kind, id: &str, name: &str| {
            Event::PartStart(PartStart { at: at(part), kind, id: id.into(), name: name.into(), carry: Vec::new() })
        };
        let usage = Usage { input: 3, output: 4, ..Usage::default() };
        let mut events = vec![Event::Start(StreamStart {
            format: "anthropic-messages".into(), id: "msg".into(), model: "m".into(), created: None, usage: None, extra: Vec::new(),
        })];
        events.push(start(0, PartKind::Reasoning, "", ""));
        events.extend(thoughts.iter().map(|text| Event::Text(Delta { at: at(0), text: text.clone() })));
        events.extend(signature.iter().map(|text| Event::Signature(Delta { at: at(0), text: text.clone() })));
        events.push(Event::PartEnd(at(0)));
        events.push(start(1, PartKind::Text, "", ""));
        events.extend(texts.iter().map(|text| Event::Text(Delta { at: at(1), text: text.clone() })));
        events.push(Event::PartEnd(at(1)));
        events.push(start(2, PartKind::ToolCall, "toolu", "f"));
        events.push(Event::ToolArguments(Delta { at: at(2), text: "{".into() }));
        events.extend(arguments.iter().map(|text| Event::ToolArguments(Delta { at: at(2), text: text.clone() })));
        events.push(Event::PartEnd(at(2)));
        events.push(Event::Usage(usage));
        let finish = Finish { reason: FinishReason::ToolCalls, raw: "tool_use".into(), stop_sequence: None };
        events.push(Event::Finish(ChoiceFinish { choice: 0, finish }));

        let reply = Reply { route: "chat".into(), requested_model: "m".into(), stream_usage: true, provider: "provider".to_owned(), strategy: "explicit".to_owned(), cost: None, account: None, echo: Vec::new() };
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        let count = events.len();
        for (index, event) in events.clone().into_iter().enumerate() {
            let mut state = if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).unwrap() };
            frames.extend(dialect::stream::encode(&context(), &reply, &mut state, vec![event], index + 1 == count).unwrap());
            bytes = postcard::to_allocvec(&state).unwrap();
            prop_assert!(bytes.len() < 512);
        }
        prop_assert_eq!(join(&decode(&frames, &sizes)), join(&events));
        prop_assert_eq!(frames.last().map(|frame| frame.data.as_str()), Some("[DONE]"));
    }

    #[test]
    fn no_frame_panics(frames in prop::collection::vec(any::<String>(), 0..5), last in any::<bool>()) {
        let frames = frames.into_iter().map(Frame::data).collect();
        provider::stream::decode(&context(), &mut Default::default(), frames, last);
    }
}

#[test]
fn calls_all_numbered_zero_are_told_apart_by_id() {
    let call = |id: &str| {
        chunk(
            json!({"tool_calls": [{"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}}]}),
            Value::Null,
        )
    };
    let frames = [call("a"), call("b"), chunk(json!({}), json!("tool_calls"))];
    let calls: Vec<_> = join(&decode(&frames, &[1])).calls.into_iter().map(|(id, ..)| id).collect();
    assert_eq!(calls, ["a", "b"]);
}

#[test]
fn arguments_wait_for_their_name() {
    let piece =
        |function: Value| chunk(json!({"tool_calls": [{"index": 0, "id": "a", "function": function}]}), Value::Null);
    let frames = [
        piece(json!({"arguments": "{\"a\":"})),
        piece(json!({"name": "f", "arguments": "1}"})),
        chunk(json!({}), json!("stop")),
    ];
    assert_eq!(join(&decode(&frames, &[1])).calls, [("a".to_owned(), "f".to_owned(), "{\"a\":1}".to_owned())]);
}
