//! Recorded traffic against a plugin: every answer of status 200 decodes to what a plain reading of its JSON says, whole and streamed,
//! in batches of any size. The judge reads the recorded JSON itself and knows nothing of how the library reads it.

use std::path::PathBuf;

use portcullis_plugin::ir::{Content, Context, Event, Frame};
use portcullis_plugin::provider::{AnswerHead, Metered, Provider};
use serde_json::Value;

/// What an answer tells, by the first choice.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    pub text: String,
    pub reasoning: String,
    /// Name and arguments.
    pub calls: Vec<(String, Value)>,
    pub finish: Option<String>,
    /// All input, all output.
    pub usage: Option<(u64, u64)>,
    pub failed: bool,
}

/// The recorded answers of a provider's chat, with the operations that are meant.
fn recordings(provider: &str) -> Option<Vec<Value>> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return None;
    };
    let path = PathBuf::from(folder).join(format!("{provider}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a recording"));
    let chat = |recording: &Value| {
        recording["operation"].as_str().is_some_and(|operation| operation.ends_with("chat/completions"))
            && recording["status"] == 200
    };
    Some(all.filter(chat).collect())
}

/// Runs all of a provider's recordings; says how many whole answers and streams there were.
///
/// # Panics
/// One is read otherwise than it was told.
pub fn every_recording<P: Provider>(plugin: &P, provider: &str) -> Option<(usize, usize)> {
    let (mut whole, mut streamed) = (0, 0);
    for recording in recordings(provider)? {
        let id = &recording["id"];
        let Some(text) = recording["response"]["text"].as_str() else { continue };
        let mut metered = Metered::default();
        if recording["stream"] == true {
            streamed += 1;
            let frames = frames(text);
            let expected = judge(frames.iter().filter_map(|frame| serde_json::from_str(&frame.data).ok()));
            for size in [1, 3, frames.len()] {
                assert_eq!(stream(plugin, &frames, size), expected, "{id} by {size}");
            }
            plugin.meter(&context(), "chat", &mut metered, &frames, true).expect("a reading");
            assert_eq!(metered.usage.map(|usage| (usage.total_input(), usage.output)), expected.usage, "{id}");
        } else {
            whole += 1;
            let document: Value = serde_json::from_str(text).expect("JSON");
            let expected = judge([document]);
            assert_eq!(answer(plugin, text), expected, "{id}");
        }
    }
    eprintln!("{provider}: {whole} whole answers, {streamed} streams");
    Some((whole, streamed))
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req".into(), development: false, extra: Vec::new() }
}

/// A plain reading of one whole answer or of all chunks.
fn judge(documents: impl IntoIterator<Item = Value>) -> Told {
    let mut told = Told::default();
    let mut calls: Vec<(Value, String, String)> = Vec::new();
    for document in documents {
        // Groq's error event is the error itself.
        told.failed |= document["error"].is_object() || document.get("status_code").is_some();
        for usage in [&document["usage"], &document["x_groq"]["usage"]] {
            if usage.is_object() {
                let count = |name: &str| usage[name].as_u64().unwrap_or(0);
                // What was written to a cache is part of the prompt, unless it was read as well: then both are charged, as OpenRouter's
                // `cost_details` say.
                let detail = |name: &str| usage["prompt_tokens_details"][name].as_u64().unwrap_or(0);
                let (prompt, written) = (count("prompt_tokens"), detail("cache_write_tokens"));
                let beside = if detail("cached_tokens") + written > prompt { written } else { 0 };
                told.usage = Some((prompt + beside, count("completion_tokens")));
                break;
            }
        }
        let choice = &document["choices"][0];
        let message = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
        match &message["content"] {
            Value::String(text) => told.text += text,
            Value::Array(parts) => {
                for part in parts {
                    told.text += part["text"].as_str().unwrap_or_default();
                    for thought in part["thinking"].as_array().into_iter().flatten() {
                        told.reasoning += thought["text"].as_str().unwrap_or_default();
                    }
                }
            }
            _ => {}
        }
        let plain = message["reasoning_content"].as_str().or(message["reasoning"].as_str());
        told.reasoning += plain.unwrap_or_default();
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let arguments = match &function["arguments"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let key = if document["object"] == "chat.completion.chunk" { &call["index"] } else { &Value::Null };
            match calls.iter_mut().find(|(known, ..)| !key.is_null() && known == key) {
                Some((_, _, known)) => known.push_str(&arguments),
                None => calls.push((key.clone(), function["name"].as_str().unwrap_or_default().to_owned(), arguments)),
            }
        }
        if let Some(word) = choice["finish_reason"].as_str() {
            told.finish.get_or_insert_with(|| word.to_owned());
        }
    }
    told.calls = calls.into_iter().map(|(_, name, arguments)| (name, parsed(&arguments))).collect();
    told
}

fn parsed(arguments: &str) -> Value {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn answer<P: Provider>(plugin: &P, text: &str) -> Told {
    let head = AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: Vec::new() };
    let mut told = Told::default();
    let response = match plugin.decode_response(&context(), &head, text) {
        Ok(decoded) => decoded.response,
        Err(_) => return Told { failed: true, ..told },
    };
    told.usage = response.usage.map(|usage| (usage.total_input(), usage.output));
    let Some(choice) = response.choices.first() else { return told };
    for part in &choice.parts {
        match &part.content {
            Content::Text(text) => told.text += text,
            Content::Reasoning(reasoning) => told.reasoning += &reasoning.text,
            Content::ToolCall(call) => told.calls.push((call.name.clone(), parsed(&call.arguments))),
            _ => {}
        }
    }
    told.finish = choice.finish.as_ref().map(|finish| finish.raw.clone());
    told
}

fn stream<P: Provider>(plugin: &P, frames: &[Frame], size: usize) -> Told {
    let mut told = Told::default();
    let mut calls: Vec<((u32, u32), String, String)> = Vec::new();
    let mut reasoning = std::collections::HashSet::new();
    let mut state = P::State::default();
    let batches: Vec<_> = frames.chunks(size.max(1)).collect();
    for (index, batch) in batches.iter().enumerate() {
        let last = index + 1 == batches.len();
        for event in plugin.decode_frames(&context(), "chat", &mut state, batch.to_vec(), last).expect("events") {
            match event {
                Event::PartStart(start) => {
                    let at = (start.at.choice, start.at.part);
                    match start.kind {
                        portcullis_plugin::ir::PartKind::ToolCall => calls.push((at, start.name, String::new())),
                        portcullis_plugin::ir::PartKind::Reasoning => drop(reasoning.insert(at)),
                        _ => {}
                    }
                }
                Event::Text(delta) if reasoning.contains(&(delta.at.choice, delta.at.part)) => {
                    told.reasoning += &delta.text;
                }
                Event::Text(delta) => told.text += &delta.text,
                Event::ToolArguments(delta) => {
                    let at = (delta.at.choice, delta.at.part);
                    let call = calls.iter_mut().find(|(known, ..)| *known == at).expect("a started call");
                    call.2.push_str(&delta.text);
                }
                Event::Usage(usage) => told.usage = Some((usage.total_input(), usage.output)),
                Event::Finish(finish) => told.finish = Some(finish.finish.raw),
                Event::Error(_) => told.failed = true,
                _ => {}
            }
        }
        // As the host keeps it.
        let bytes = serde_json::to_vec(&state).expect("a state");
        state = serde_json::from_slice(&bytes).expect("a state");
    }
    told.calls = calls.into_iter().map(|(_, name, arguments)| (name, parsed(&arguments))).collect();
    told
}

fn frames(text: &str) -> Vec<Frame> {
    let text = text.replace("\r\n", "\n");
    let blocks = text.split("\n\n").filter_map(|block| {
        let lines = |name: &str| {
            block.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim_start).collect::<Vec<_>>().join("\n")
        };
        let (event, data) = (lines("event:"), lines("data:"));
        (!data.is_empty()).then_some(Frame { event, data })
    });
    blocks.collect()
}
