//! Real answers of other providers, where they are, to a client of this protocol: text, calls, finish and usage must be there,
//! whole and streamed, and what the client returns must reach the other provider again.
//!
//! `PORTCULLIS_RECORDINGS` names the folder; without it the tests skip, since the recordings are not part of the project.

use std::path::PathBuf;

use portcullis_plugin::prelude::*;
use portcullis_plugin_anthropic::Anthropic;
use portcullis_plugin_gemini::Gemini;
use serde_json::{Value, json};

struct Recording {
    id: String,
    stream: bool,
    response: String,
}

/// Anthropic's good answers, or nothing where there are none.
fn recordings() -> Vec<Recording> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return Vec::new();
    };
    let path = PathBuf::from(folder).join("anthropic.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a recording"));
    let good: Vec<_> = values
        .filter(|value| value["operation"] == "v1/messages" && value["status"] == 200)
        .map(|value| Recording {
            id: value["id"].to_string(),
            stream: value["stream"] == true,
            response: value["response"]["text"].as_str().unwrap_or_default().to_owned(),
        })
        .collect();
    assert!(good.len() > 50, "{} holds too little", path.display());
    good
}

fn context() -> Context {
    Context { now: 0, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "chat".to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: true,
        provider: "anthropic".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn frames(sse: &str) -> Vec<Frame> {
    sse.split("\n\n")
        .filter_map(|frame| {
            let line = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
            Some(Frame::named(line("event:").unwrap_or_default(), line("data:")?))
        })
        .collect()
}

/// What a reader sees: the text, and each call with its arguments.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: String,
    calls: Vec<(String, String, Value)>,
}

impl Seen {
    fn parts(parts: &[Part]) -> Self {
        let mut seen = Seen::default();
        for part in parts {
            match &part.content {
                Content::Text(text) => seen.text.push_str(text),
                Content::ToolCall(call) => {
                    let arguments = serde_json::from_str(&call.arguments).unwrap_or(json!({}));
                    seen.calls.push((call.id.clone(), call.name.clone(), arguments));
                }
                _ => {}
            }
        }
        seen
    }

    fn wire(answers: &[Value]) -> Self {
        let mut seen = Seen::default();
        for part in parts(answers) {
            if let Some(text) = part["text"].as_str().filter(|_| part["thought"] != true) {
                seen.text.push_str(text);
            }
            if let Value::Object(call) = &part["functionCall"] {
                let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
                seen.calls.push((text("id"), text("name"), call["args"].clone()));
            }
        }
        seen
    }
}

fn parts(answers: &[Value]) -> Vec<Value> {
    let all = answers.iter().filter_map(|answer| answer["candidates"][0]["content"]["parts"].as_array());
    all.flatten().cloned().collect()
}

/// The signed thoughts of an answer.
fn signed(parts: &[Part]) -> Vec<Reasoning> {
    let reasoning = parts.iter().filter_map(|part| match &part.content {
        Content::Reasoning(reasoning) => Some(reasoning.clone()),
        _ => None,
    });
    reasoning.filter(|reasoning| reasoning.signature.is_some() || reasoning.redacted.is_some()).collect()
}

#[test]
fn answers_reach_the_client_and_what_is_signed_comes_back() {
    let head = AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: Vec::new() };
    for recording in recordings() {
        // A stream's parts, put together, are those of the answer that its frames say.
        let (expected, usage, answers) = if recording.stream {
            let decode = |frames| Anthropic.decode_frames(&context(), "chat", &mut Default::default(), frames, true);
            let events = decode(frames(&recording.response)).expect("events");
            let frames = Gemini
                .encode_events(&context(), &reply(), &mut Default::default(), events.clone(), true)
                .unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.id));
            let answers = frames.iter().map(|frame| serde_json::from_str(&frame.data).expect("JSON")).collect();
            let usage = events.iter().rev().find_map(|event| match event {
                Event::Usage(usage) => Some(usage.clone()),
                _ => None,
            });
            (assembled(&events), usage, answers)
        } else {
            let response =
                Anthropic.decode_response(&context(), &head, &recording.response).expect("an answer").response;
            let (parts, usage) = (response.choices[0].parts.clone(), response.usage.clone());
            let answer = Gemini.encode_response(&context(), &reply(), response).expect("an answer");
            (parts, usage, vec![serde_json::from_str::<Value>(&answer).expect("JSON")])
        };
        assert_eq!(Seen::wire(&answers), Seen::parts(&expected), "{}", recording.id);
        let last = answers.last().expect("an answer");
        let usage = usage.unwrap_or_default();
        assert_eq!(last["usageMetadata"]["totalTokenCount"], usage.total_input() + usage.output, "{}", recording.id);
        assert!(last["candidates"][0]["finishReason"].is_string(), "{}", recording.id);

        let body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": parts(&answers)}]});
        let head = Head {
            route: "chat".to_owned(),
            path: vec![Pair::new("model", "m")],
            query: Vec::new(),
            headers: Vec::new(),
        };
        let request = Gemini.decode_request(&context(), &head, &body.to_string()).expect("a request");
        assert_eq!(signed(&request.messages[1].parts), signed(&expected), "{}", recording.id);
        assert_eq!(Seen::parts(&request.messages[1].parts), Seen::parts(&expected), "{}", recording.id);
    }
}

/// The parts that a stream's events say.
fn assembled(events: &[Event]) -> Vec<Part> {
    let mut parts: Vec<(u32, Part)> = Vec::new();
    let find = |parts: &mut Vec<(u32, Part)>, at: Position| parts.iter().position(|(part, _)| *part == at.part);
    for event in events {
        match event {
            Event::PartStart(start) => {
                let content = match start.kind {
                    PartKind::Text | PartKind::Refusal => Content::Text(String::new()),
                    PartKind::Reasoning => Content::Reasoning(Reasoning {
                        text: String::new(),
                        summary: false,
                        signature: None,
                        redacted: None,
                        format: "anthropic-messages".to_owned(),
                    }),
                    PartKind::ToolCall => Content::ToolCall(ToolCall {
                        id: start.id.clone(),
                        name: start.name.clone(),
                        arguments: String::new(),
                        custom: false,
                    }),
                };
                parts.push((start.at.part, Part::new(content)));
            }
            Event::WholePart(whole) => parts.push((whole.at.part, whole.part.clone())),
            Event::Text(delta) | Event::ToolArguments(delta) | Event::Signature(delta) => {
                let at = find(&mut parts, delta.at).expect("a part");
                match &mut parts[at].1.content {
                    Content::Text(text) => text.push_str(&delta.text),
                    Content::ToolCall(call) => call.arguments.push_str(&delta.text),
                    Content::Reasoning(own) if matches!(event, Event::Signature(_)) => {
                        own.signature.get_or_insert_default().push_str(&delta.text);
                    }
                    Content::Reasoning(own) => own.text.push_str(&delta.text),
                    other => panic!("{other:?}"),
                }
            }
            _ => {}
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}
