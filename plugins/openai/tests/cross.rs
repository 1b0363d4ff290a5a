//! Between the two protocols, over real traffic: a Chat Completions answer that a Responses client reads, whole and streamed, and a
//! Responses answer that a Chat Completions client reads, say what the provider said. Runs where `PORTCULLIS_RECORDINGS` names
//! the folder of recordings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portcullis_plugin::ir::{Content, Context, Event, FinishReason, Frame, PartKind, Response, Usage};
use portcullis_plugin::prelude::Reply;
use portcullis_plugin_openai::{dialect, provider, responses};
use serde_json::Value;

const PROVIDERS: &[&str] =
    &["openai", "azure", "bedrock", "groq", "mistral", "openrouter", "deepseek", "cerebras", "together", "z.ai"];

struct Recording {
    id: String,
    is_chat: bool,
    stream: bool,
    answer: String,
}

fn recordings() -> Option<Vec<Recording>> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return None;
    };
    let mut all = Vec::new();
    for provider in PROVIDERS {
        let path = PathBuf::from(&folder).join(format!("{provider}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a recording");
            let operation = line["operation"].as_str().expect("an operation");
            let is_chat = operation.ends_with("chat/completions");
            let Some(answer) = line["response"]["text"].as_str() else { continue };
            let known = is_chat || operation.ends_with("responses") && !answer.contains("\"response.compaction\"");
            if known && line["status"] == 200 {
                all.push(Recording {
                    id: format!("{provider}/{}", line["id"].as_str().expect("an id")),
                    is_chat,
                    stream: line["stream"] == true,
                    answer: answer.to_owned(),
                });
            }
        }
    }
    assert!(!all.is_empty());
    Some(all)
}

fn context() -> Context {
    Context { now: 1_700_000_000_000, seed: 7, request_id: "req".into(), development: false, extra: Vec::new() }
}

fn reply(route: &str) -> Reply {
    Reply {
        route: route.into(),
        requested_model: "m".into(),
        stream_usage: true,
        provider: "p".into(),
        strategy: "explicit".into(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    text: String,
    refusal: String,
    reasoning: String,
    calls: Vec<(String, String, String)>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    failed: bool,
}

impl Told {
    fn add(&mut self, content: &Content) {
        match content {
            Content::Text(text) => self.text += text,
            Content::Refusal(text) => self.refusal += text,
            Content::Reasoning(thought) => self.reasoning += &thought.text,
            Content::ToolCall(call) => self.calls.push((call.id.clone(), call.name.clone(), call.arguments.clone())),
            _ => {}
        }
    }

    /// What both protocols can say: neither has the other's way of counting sounds and searches, and each has its own words
    /// for an end that is neither a limit nor a filter.
    fn common(mut self) -> Self {
        if let Some(usage) = &mut self.usage {
            // Nor does the rate that a provider serves at, whose names are its own.
            *usage = Usage {
                audio_input: 0,
                audio_output: 0,
                searches: 0,
                service_tier: None,
                stated_cost: None,
                ..usage.clone()
            };
        }
        self.finish = self.finish.map(|finish| match finish {
            FinishReason::Length | FinishReason::ContentFilter => finish,
            _ => FinishReason::Stop,
        });
        if self.failed {
            // After an error nothing follows, neither usage nor an end.
            (self.usage, self.finish) = (None, None);
        }
        self
    }
}

/// The first answer: the Responses protocol has one.
fn told_by(response: &Response) -> Told {
    let mut told = Told { usage: response.usage.clone(), ..Told::default() };
    let choice = response.choices.first().expect("an answer");
    choice.parts.iter().for_each(|part| told.add(&part.content));
    told.finish = choice.finish.as_ref().map(|finish| finish.reason);
    told
}

fn told_by_events(events: &[Event]) -> Told {
    let mut told = Told::default();
    let mut open: BTreeMap<u32, (PartKind, usize)> = BTreeMap::new();
    for event in events {
        match event {
            Event::PartStart(start) if start.at.choice == 0 => {
                if start.kind == PartKind::ToolCall {
                    told.calls.push((start.id.clone(), start.name.clone(), String::new()));
                }
                open.insert(start.at.part, (start.kind, told.calls.len().saturating_sub(1)));
            }
            Event::Text(delta) if delta.at.choice == 0 => match open[&delta.at.part].0 {
                PartKind::Reasoning => told.reasoning += &delta.text,
                PartKind::Refusal => told.refusal += &delta.text,
                _ => told.text += &delta.text,
            },
            Event::ToolArguments(delta) if delta.at.choice == 0 => {
                told.calls[open[&delta.at.part].1].2 += &delta.text;
            }
            Event::WholePart(whole) if whole.at.choice == 0 => told.add(&whole.part.content),
            Event::Usage(usage) => told.usage = Some(usage.clone()),
            Event::Finish(finish) if finish.choice == 0 => told.finish = Some(finish.finish.reason),
            Event::Error(_) => told.failed = true,
            _ => {}
        }
    }
    told
}

fn frames(text: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    for block in text.replace("\r\n", "\n").split("\n\n") {
        let lines = |name: &str| {
            block.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim_start).collect::<Vec<_>>().join("\n")
        };
        let (event, data) = (lines("event:"), lines("data:"));
        if !data.is_empty() {
            frames.push(Frame { event, data });
        }
    }
    frames
}

fn stream(recording: &Recording) -> (Told, Told) {
    let frames = frames(&recording.answer);
    if recording.is_chat {
        let events = provider::stream::decode(&context(), &mut Default::default(), frames, true);
        let mut state = Default::default();
        let said = told_by_events(&events);
        let again = responses::dialect::stream::encode(&context(), &reply("responses"), &mut state, events, true);
        let again = again.expect("frames");
        (said, told_by_events(&responses::provider::stream::decode(&mut Default::default(), again, true)))
    } else {
        let events = responses::provider::stream::decode(&mut Default::default(), frames, true);
        let mut state = Default::default();
        let said = told_by_events(&events);
        let again = dialect::stream::encode(&context(), &reply("chat"), &mut state, events, true).expect("frames");
        (said, told_by_events(&provider::stream::decode(&context(), &mut Default::default(), again, true)))
    }
}

fn whole(recording: &Recording) -> Option<(Told, Told)> {
    if recording.is_chat {
        // Some answers of status 200 are errors, which the other tests look at.
        let response = provider::response::decode(&context(), &recording.answer).ok()?;
        let again = responses::dialect::response::encode(&context(), &reply("responses"), &response);
        let back = responses::provider::response::decode(&again).expect("our own answer");
        Some((told_by(&response), told_by(&back)))
    } else {
        let response = responses::provider::response::decode(&recording.answer).expect("an answer");
        let again = dialect::response::encode(&context(), &reply("chat"), &response);
        let back = provider::response::decode(&context(), &again).expect("our own answer");
        Some((told_by(&response), told_by(&back)))
    }
}

#[test]
fn a_client_of_the_other_protocol_reads_the_same() {
    let Some(recordings) = recordings() else { return };
    let mut counts: BTreeMap<(bool, bool), u32> = BTreeMap::new();
    for recording in &recordings {
        let (said, read) = match recording.stream {
            true => stream(recording),
            false => match whole(recording) {
                Some(pair) => pair,
                None => continue,
            },
        };
        // An answer that is not there yet has no end; a client that cannot ask for one reads that it ended.
        let unfinished = said.finish.is_none();
        let (said, mut read) = (said.common(), read.common());
        if unfinished {
            read.finish = None;
        }
        assert_eq!(read, said, "{}", recording.id);
        *counts.entry((recording.is_chat, recording.stream)).or_default() += 1;
    }
    eprintln!("answers by (chat, streamed): {counts:?}");
    assert_eq!(counts.len(), 4);
}
