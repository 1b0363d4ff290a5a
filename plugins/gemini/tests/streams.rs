//! Streams that no recording has: pieces cut anywhere, calls in any interleaving, and what other providers must see again.

use portcullis_plugin::prelude::*;
use portcullis_plugin_gemini::{FORMAT, Gemini};
use proptest::prelude::*;
use serde_json::{Value, json};

fn context() -> Context {
    Context { now: 0, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "chat-stream".to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: true,
        provider: "openai".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn at(part: u32) -> Position {
    Position { choice: 0, part }
}

fn start(format: &str) -> Event {
    Event::Start(StreamStart {
        format: format.to_owned(),
        id: "answer-1".to_owned(),
        model: "gpt".to_owned(),
        created: None,
        usage: None,
        extra: Vec::new(),
    })
}

fn part_start(part: u32, kind: PartKind, id: &str) -> Event {
    let name = if id.is_empty() { "" } else { "f" };
    Event::PartStart(PartStart { at: at(part), kind, id: id.to_owned(), name: name.to_owned(), carry: Vec::new() })
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
        let last = index + 1 == count;
        frames.extend(Gemini.encode_events(&context(), &reply(), &mut state, vec![event], last).expect("frames"));
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
        let last = index + 1 == count;
        events.extend(Gemini.decode_frames(&context(), "stream", &mut state, vec![frame], last).expect("events"));
        let bytes = postcard::to_stdvec(&state).expect("a state");
        state = postcard::from_bytes(&bytes).expect("the same state");
    }
    events
}

fn texts(events: &[Event]) -> String {
    let text = |event: &Event| if let Event::Text(delta) = event { Some(delta.text.clone()) } else { None };
    events.iter().filter_map(text).collect()
}

fn cut(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut bounds: Vec<_> =
        cuts.iter().map(|cut| cut % (text.len() + 1)).filter(|&at| text.is_char_boundary(at)).collect();
    bounds.extend([0, text.len()]);
    bounds.sort_unstable();
    bounds.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).collect()
}

/// What a client that keeps all parts of all chunks, as the official SDKs' chats do, sends in the next turn.
fn history(frames: &[Frame]) -> Value {
    let parts: Vec<Value> = frames
        .iter()
        .map(|frame| serde_json::from_str::<Value>(&frame.data).expect("JSON"))
        .flat_map(|chunk| chunk["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default())
        .collect();
    json!({"role": "model", "parts": parts})
}

fn next_turn(frames: &[Frame]) -> Request {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, history(frames), {"role": "user", "parts": [{"text": "y"}]}]});
    let head =
        Head { route: "chat".to_owned(), path: vec![Pair::new("model", "m")], query: Vec::new(), headers: Vec::new() };
    Gemini.decode_request(&context(), &head, &body.to_string()).expect("a request")
}

fn upstream(model: &str, request: Request) -> (Value, Vec<Note>) {
    let target = Target {
        model: model.to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = Gemini.encode_request(&context(), &target, request).expect("a request");
    (serde_json::from_slice(&encoded.body).expect("JSON"), encoded.notes)
}

proptest! {
    /// Text survives, wherever it is cut, on the way to the client's chunks and back.
    #[test]
    fn text_survives_any_cut(text in any::<String>(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let mut events = vec![start("openai-chat"), part_start(0, PartKind::Text, "")];
        events.extend(cut(&text, &cuts).into_iter().map(|text| Event::Text(Delta { at: at(0), text })));
        events.extend([Event::PartEnd(at(0)), finish(FinishReason::Stop)]);
        let back = decode(encode(events));
        prop_assert_eq!(texts(&back), text);
        let finish = back.iter().rev().find_map(|event| if let Event::Finish(finish) = event { Some(finish) } else { None });
        prop_assert_eq!(finish.map(|finish| finish.finish.reason), Some(FinishReason::Stop));
    }

    /// However calls interleave, each comes whole with its id, once.
    #[test]
    fn calls_may_interleave(
        values in prop::collection::vec(any::<String>(), 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ended in any::<bool>(),
    ) {
        let arguments: Vec<_> = values.iter().map(|value| json!({"v": value, "n": {"{": [1]}})).collect();
        let mut pieces: Vec<Vec<String>> = arguments
            .iter()
            .map(|value| value.to_string().chars().collect::<Vec<_>>().chunks(5).map(String::from_iter).rev().collect())
            .collect();
        let mut events = vec![start("openai-chat")];
        events.extend((0..pieces.len()).map(|index| part_start(index as u32, PartKind::ToolCall, &format!("call_{index}"))));
        let rest = (0..pieces.len()).flat_map(|index| std::iter::repeat_n(index, pieces[index].len()));
        let order: Vec<usize> = order.iter().map(|next| next.index(values.len())).chain(rest).collect();
        for index in order {
            if let Some(text) = pieces[index].pop() {
                events.push(Event::ToolArguments(Delta { at: at(index as u32), text }));
            }
        }
        if ended {
            events.extend((0..pieces.len()).map(|index| Event::PartEnd(at(index as u32))));
        }
        events.push(finish(FinishReason::ToolCalls));

        let content = history(&encode(events));
        let parts = content["parts"].as_array().unwrap();
        prop_assert_eq!(parts.len(), arguments.len());
        for (index, (part, arguments)) in parts.iter().zip(&arguments).enumerate() {
            prop_assert_eq!(&part["functionCall"]["id"], &json!(format!("call_{index}")));
            prop_assert_eq!(&part["functionCall"]["args"], arguments);
            prop_assert_eq!(part.get("thoughtSignature").is_some(), index == 0);
        }
    }

    /// Another provider's signed thinking comes back whole, however it was cut.
    #[test]
    fn foreign_thinking_comes_back(text in "[^\u{0}]{1,40}", cuts in prop::collection::vec(any::<usize>(), 0..5), signature in "[A-Za-z0-9+/]{1,60}") {
        let mut events = vec![start("anthropic-messages"), part_start(0, PartKind::Reasoning, "")];
        events.extend(cut(&text, &cuts).into_iter().map(|text| Event::Text(Delta { at: at(0), text })));
        events.extend(cut(&signature, &cuts).into_iter().map(|text| Event::Signature(Delta { at: at(0), text })));
        events.extend([Event::PartEnd(at(0)), part_start(1, PartKind::Text, ""), Event::Text(Delta { at: at(1), text: "Yes.".to_owned() })]);
        events.extend([Event::PartEnd(at(1)), finish(FinishReason::Stop)]);
        let request = next_turn(&encode(events));
        let expected = Reasoning { text, summary: false, signature: Some(signature), redacted: None, format: "anthropic-messages".to_owned() };
        let parts = &request.messages[1].parts;
        prop_assert_eq!(&parts[0].content, &Content::Reasoning(expected));
        prop_assert_eq!(&parts[1].content, &Content::Text("Yes.".to_owned()));
        prop_assert_eq!(parts.len(), 2);
        // And the API, should the conversation go on with it, sees nothing of that.
        let (body, notes) = upstream("gemini-3.8-flash", request);
        prop_assert_eq!(&body["contents"][1]["parts"], &json!([{"text": "Yes."}]));
        prop_assert_eq!(notes, [Note::new("signature-dropped", "reasoning")]);
    }
}

#[test]
fn nothing_at_all_is_still_an_answer() {
    let frames = Gemini.encode_events(&context(), &reply(), &mut Default::default(), Vec::new(), true).unwrap();
    assert_eq!(frames.len(), 1);
    assert!(frames[0].data.contains(r#""finishReason":"STOP""#), "{}", frames[0].data);
}

#[test]
fn waiting_arguments_are_bounded() {
    let mut state = Default::default();
    let mut encode = |event| Gemini.encode_events(&context(), &reply(), &mut state, vec![event], false);
    let piece = |size| Event::ToolArguments(Delta { at: at(0), text: "x".repeat(size) });
    encode(start("openai-chat")).unwrap();
    encode(part_start(0, PartKind::ToolCall, "c")).unwrap();
    encode(piece(40_000)).expect("within the bound");
    assert_eq!(encode(piece(40_000)).unwrap_err().kind, FailureKind::Internal);
}

#[test]
fn probabilities_are_asked_for() {
    let mut request = Request::new("openai-chat", "m");
    request.messages.push(Message::new(Role::User, vec![Part::text("x")]));
    request.logprobs = Some(Logprobs { top: 2 });
    let (body, notes) = upstream("gemini-2.0-flash", request);
    assert_eq!((&body["generationConfig"], notes.len()), (&json!({"responseLogprobs": true, "logprobs": 2}), 0));
}

/// Ids that were made here are the same in every turn, and do not go out.
#[test]
fn calls_without_ids() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "f", "args": {"a": 2}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "1"}}}, {"functionResponse": {"name": "f", "response": {"output": "2"}}}]},
    ]});
    let head =
        Head { route: "chat".to_owned(), path: vec![Pair::new("model", "m")], query: Vec::new(), headers: Vec::new() };
    let decode = || Gemini.decode_request(&context(), &head, &body.to_string()).expect("a request");
    assert_eq!(decode(), decode());
    let request = decode();
    assert_eq!(request.format, FORMAT);
    let ids = |message: &Message| -> Vec<String> {
        let id = |part: &Part| match &part.content {
            Content::ToolCall(call) => call.id.clone(),
            Content::ToolResult(result) => result.call_id.clone(),
            other => panic!("{other:?}"),
        };
        message.parts.iter().map(id).collect()
    };
    let calls = ids(&request.messages[1]);
    assert_ne!(calls[0], calls[1]);
    assert_eq!(calls, ids(&request.messages[2]));
    assert_eq!(upstream("gemini-3.8-flash", request).0, body);
}
