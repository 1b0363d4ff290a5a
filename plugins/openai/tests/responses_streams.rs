//! However a stream is cut into batches, it says the same; and what the dialect writes reads back, however long it is.

use portcullis_plugin::ir::{
    ChoiceFinish, Content, Context, Delta, Event, Finish, FinishReason, Frame, PartKind, PartStart, Position,
    StreamStart, Usage,
};
use portcullis_plugin::prelude::Reply;
use portcullis_plugin_openai::responses::wire::proof;
use portcullis_plugin_openai::responses::{dialect, provider};
use proptest::prelude::*;
use serde_json::Value;

/// The contract's limit on the state of a dialect, whose last frame repeats the whole answer.
const MOST_DIALECT_STATE: usize = 1 << 20;

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req".into(), development: false, extra: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "responses".into(),
        requested_model: "m".into(),
        stream_usage: true,
        provider: "p".into(),
        strategy: "explicit".into(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn at(part: u32) -> Position {
    Position { choice: 0, part }
}

fn start(part: u32, kind: PartKind, id: &str, name: &str) -> Event {
    Event::PartStart(PartStart { at: at(part), kind, id: id.into(), name: name.into(), carry: Vec::new() })
}

fn text(part: u32, text: &str) -> Event {
    Event::Text(Delta { at: at(part), text: text.into() })
}

fn begin() -> Event {
    Event::Start(StreamStart {
        format: "anthropic-messages".into(),
        id: "msg".into(),
        model: "m".into(),
        created: None,
        usage: None,
        extra: Vec::new(),
    })
}

fn finish(reason: FinishReason) -> Event {
    let finish = Finish { reason, raw: "raw".into(), stop_sequence: None };
    Event::Finish(ChoiceFinish { choice: 0, finish })
}

/// Encodes in batches of these sizes, the state through bytes in between.
fn encode(events: &[Event], sizes: &[usize]) -> Vec<Frame> {
    let (mut bytes, mut frames, mut rest) = (Vec::new(), Vec::new(), events);
    let mut sizes = sizes.iter().cycle();
    loop {
        let (batch, after) = rest.split_at(rest.len().min(*sizes.next().unwrap_or(&1)));
        rest = after;
        let mut state = if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).unwrap() };
        let last = rest.is_empty();
        frames.extend(dialect::stream::encode(&context(), &reply(), &mut state, batch.to_vec(), last).unwrap());
        bytes = postcard::to_allocvec(&state).unwrap();
        assert!(bytes.len() <= MOST_DIALECT_STATE, "{} bytes", bytes.len());
        if last {
            return frames;
        }
    }
}

fn decode(frames: &[Frame], sizes: &[usize]) -> Vec<Event> {
    let (mut bytes, mut events, mut rest) = (Vec::new(), Vec::new(), frames);
    let mut sizes = sizes.iter().cycle();
    loop {
        let (batch, after) = rest.split_at(rest.len().min(*sizes.next().unwrap_or(&1)));
        rest = after;
        let mut state = if bytes.is_empty() { Default::default() } else { postcard::from_bytes(&bytes).unwrap() };
        events.extend(provider::stream::decode(&mut state, batch.to_vec(), rest.is_empty()));
        bytes = postcard::to_allocvec(&state).unwrap();
        if rest.is_empty() {
            return events;
        }
    }
}

/// Text, thoughts with their proofs, and calls.
#[derive(Debug, Default, PartialEq)]
struct Joined {
    text: String,
    thoughts: String,
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
                PartKind::Reasoning => joined.thoughts += &delta.text,
                _ => joined.text += &delta.text,
            },
            Event::ToolArguments(delta) => joined.calls[kinds[&delta.at.part].1 - 1].2 += &delta.text,
            Event::WholePart(whole) => match &whole.part.content {
                Content::Text(text) => joined.text += text,
                Content::Reasoning(thought) => joined.thoughts += &thought.text,
                other => panic!("{other:?}"),
            },
            Event::Finish(finish) => joined.finish = Some(finish.finish.reason),
            Event::Usage(usage) => joined.usage = Some(usage.clone()),
            Event::Error(failure) => panic!("{failure:?}"),
            _ => {}
        }
    }
    joined
}

fn last(frames: &[Frame]) -> Value {
    serde_json::from_str(&frames.last().expect("a frame").data).expect("JSON")
}

proptest! {
    #[test]
    fn what_the_dialect_writes_reads_back(
        texts in prop::collection::vec(any::<String>(), 0..4),
        thoughts in prop::collection::vec(any::<String>(), 1..4),
        signature in "[A-Za-z0-9+/]{1,9}",
        arguments in prop::collection::vec(any::<String>(), 0..4),
        side_by_side: bool,
        sizes in prop::collection::vec(1usize..5, 1..4),
    ) {
        let usage = Usage { input: 3, cache_read: 2, output: 4, reasoning: 1, ..Usage::default() };
        let mut events = vec![begin(), start(0, PartKind::Reasoning, "", "")];
        events.extend(thoughts.iter().map(|piece| text(0, piece)));
        events.push(Event::Signature(Delta { at: at(0), text: signature.clone() }));
        events.push(Event::PartEnd(at(0)));
        events.push(start(1, PartKind::Text, "", ""));
        events.extend(texts.iter().map(|piece| text(1, piece)));
        events.push(Event::PartEnd(at(1)));
        let calls = [2, 3];
        let begins = calls.map(|part| start(part, PartKind::ToolCall, &format!("toolu_{part}"), "f"));
        let pieces = calls.map(|part| {
            let opening = std::iter::once("{".to_owned()).chain(arguments.iter().cloned());
            opening.map(move |text| Event::ToolArguments(Delta { at: at(part), text })).collect::<Vec<_>>()
        });
        if side_by_side {
            events.extend(begins);
            for (one, other) in pieces[0].iter().zip(&pieces[1]) {
                events.extend([one.clone(), other.clone()]);
            }
            events.extend(calls.map(|part| Event::PartEnd(at(part))));
        } else {
            for ((begin, pieces), part) in begins.into_iter().zip(pieces).zip(calls) {
                events.push(begin);
                events.extend(pieces);
                events.push(Event::PartEnd(at(part)));
            }
        }
        events.extend([Event::Usage(usage), finish(FinishReason::ToolCalls)]);

        let frames = encode(&events, &sizes);
        prop_assert_eq!(join(&decode(&frames, &sizes)), join(&events));
        let whole = provider::response::decode(&last(&frames)["response"].to_string()).unwrap();
        let proofs: Vec<_> = whole.choices[0].parts.iter().filter_map(|part| match &part.content {
            Content::Reasoning(thought) => Some((thought.format.clone(), thought.signature.clone())),
            _ => None,
        }).collect();
        prop_assert_eq!(proofs, vec![("anthropic-messages".to_owned(), Some(signature))]);
    }

    #[test]
    fn no_frame_panics(frames in prop::collection::vec(any::<String>(), 0..5), last: bool) {
        let frames = frames.into_iter().map(Frame::data).collect();
        provider::stream::decode(&mut Default::default(), frames, last);
    }
}

proptest! {
    // Each case is some megabytes.
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Every piece is in some frame as it came, and every frame that repeats pieces repeats those of its item.
    #[test]
    fn long_answers_stay_within_the_state(
        spoken in prop::collection::vec(8_000_usize..50_000, 30..70),
        thought in prop::collection::vec(8_000_usize..50_000, 0..30),
    ) {
        let piece = |(index, length): (usize, &usize)| -> String {
            ["\"\\", "\n", "aé"].iter().cycle().skip(index).flat_map(|text| text.chars()).take(*length).collect()
        };
        let pieces: Vec<String> = spoken.iter().enumerate().map(piece).collect();
        let thoughts: Vec<String> = thought.iter().enumerate().map(piece).collect();
        let mut events = vec![begin(), start(0, PartKind::Reasoning, "", "")];
        events.extend(thoughts.iter().map(|piece| text(0, piece)));
        events.push(Event::Signature(Delta { at: at(0), text: "c2ln".into() }));
        events.extend([Event::PartEnd(at(0)), start(1, PartKind::Text, "", "")]);
        let (one, other) = pieces.split_at(pieces.len() / 3);
        events.extend(one.iter().map(|piece| text(1, piece)));
        events.extend([Event::PartEnd(at(1)), start(2, PartKind::Text, "", "")]);
        events.extend(other.iter().map(|piece| text(2, piece)));
        events.extend([Event::PartEnd(at(2)), finish(FinishReason::Stop)]);
        let frames = encode(&events, &[3]);
        prop_assert!(join(&decode(&frames, &[7])).text == pieces.concat());
        let repeated: String = frames.iter().filter(|frame| frame.event == "response.output_item.done").map(|frame| {
            let data: Value = serde_json::from_str(&frame.data).unwrap();
            let content = data["item"]["content"].as_array().cloned().unwrap_or_default();
            content.iter().filter(|piece| piece["type"] == "output_text").filter_map(|piece| piece["text"].as_str().map(str::to_owned)).collect::<String>()
        }).collect();
        prop_assert!(repeated == pieces.concat());
        // Reasoning that is not whole has no proof.
        for frame in frames.iter().filter(|frame| frame.event == "response.output_item.done") {
            let data: Value = serde_json::from_str(&frame.data).unwrap();
            if data["item"]["type"] == "reasoning" {
                let text = data["item"]["content"][0]["text"].as_str().unwrap_or_default();
                let signed = data["item"]["encrypted_content"].as_str().and_then(proof::unwrap).is_some();
                prop_assert_eq!(signed, text == thoughts.concat());
            }
        }
    }
}

#[test]
fn a_stream_that_fails_ends_in_a_failed_answer() {
    let failure = portcullis_plugin::ir::Failure::new(portcullis_plugin::ir::FailureKind::Overloaded, "later");
    let frames = encode(&[begin(), start(0, PartKind::Text, "", ""), text(0, "a"), Event::Error(failure)], &[1]);
    let names: Vec<&str> = frames.iter().rev().take(2).map(|frame| frame.event.as_str()).collect();
    assert_eq!(names, ["response.failed", "error"]);
    assert_eq!(last(&frames)["response"]["error"]["message"], "later");
    let events = provider::stream::decode(&mut Default::default(), frames, true);
    assert!(matches!(events.last(), Some(Event::Error(failure)) if failure.message == "later"));
}

#[test]
fn a_stream_that_breaks_off_is_a_failure() {
    let frames = encode(&[begin(), start(0, PartKind::Text, "", ""), text(0, "a")], &[9]);
    let cut = frames[..frames.len() - 1].to_vec();
    let events = provider::stream::decode(&mut Default::default(), cut, true);
    assert!(matches!(events.last(), Some(Event::Error(_))));
}
