//! A provider that nobody has heard of: `orrery`, whose protocol was made up so that it is like no other.
//!
//! `POST /speak/ENGINE?edition=3` takes `{"rules", "turns": [{"who", "words"}], "room", "trickle"}` and answers
//! `{"ref", "engine", "words", "why", "meter": {"heard", "spoken"}}`; with `trickle`, NDJSON: `{"ref", "engine"}`, then `{"words"}` as
//! often as it likes, then `{"why", "meter"}`. Trouble is `{"trouble", "detail", "again_in"}`, seconds, under any status and in place of
//! any line. It is authenticated by a header of its own, which the operator names.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "orrery";

pub struct Orrery;

portcullis_plugin::wire_object! {
    struct Line {
        reference as "ref": Option<String>,
        engine: Option<String>,
        words: Option<String>,
        why: Option<String>,
        meter: Option<Meter>,
        trouble: Option<String>,
        detail: Option<String>,
        again_in: Option<u64>,
    }

    struct Meter {
        heard: u64,
        spoken: u64,
    }
}

impl Plugin for Orrery {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        let endpoint = Endpoint {
            query: list(&["edition"]),
            headers: list(&["x-orrery-turns"]),
            model: vec![ModelPlace::path("engine")],
            stream_framing: Framing::Ndjson,
            ..Endpoint::post("speak", "chat", FORMAT, "/speak/{engine}")
        };
        let model = Model {
            id: "armillary".to_owned(),
            aliases: list(&["armillary-2"]),
            synonyms: Vec::new(),
            extra: Vec::new(),
            operations: list(&["chat"]),
            context: 8192,
            max_output: 1024,
            capabilities: list(&["streaming"]),
            quality: None,
            prices: vec![Price {
                effective: "2026-01-01".to_owned(),
                source: "made up".to_owned(),
                rates: Rates::tokens(3_000_000, 7_000_000),
                tiers: Vec::new(),
                units: Vec::new(),
                services: Vec::new(),
            }],
        };
        Manifest {
            access: Access::WRITE,
            endpoints: vec![endpoint],
            models: vec![model],
            ..Manifest::new("orrery", "0.1.0", "a provider that nobody has heard of")
        }
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Orrery)
    }
}

/// How far a stream is.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    speaking: bool,
    ended: bool,
}

impl Provider for Orrery {
    type State = State;

    fn encode_request(&self, _: &Context, target: &Target, request: Request) -> Result<UpstreamRequest, Failure> {
        let mut notes: Vec<Note> = request.extra.iter().map(|field| Note::dropped(field.name.clone())).collect();
        let (mut rules, mut turns) = (String::new(), 0_u32);
        let mut writer = Writer::new();
        writer.begin_object();
        writer.key("turns");
        writer.begin_array();
        for message in request.messages {
            let mut words = String::new();
            for part in message.parts {
                match part.content {
                    Content::Text(text) => words.push_str(&text),
                    _ => notes.push(Note::dropped("message part")),
                }
            }
            let who = match message.role {
                Role::System | Role::Developer => {
                    rules.push_str(&words);
                    continue;
                }
                Role::User | Role::Tool => "human",
                Role::Assistant => "orrery",
            };
            turns += 1;
            writer.begin_object();
            writer.member_string("who", who);
            writer.member_string("words", &words);
            writer.end_object();
        }
        writer.end_array();
        if !rules.is_empty() {
            writer.member_string("rules", &rules);
        }
        if let Some(limit) = target.max_output_tokens {
            writer.member_number("room", limit);
        }
        writer.member_bool("trickle", target.stream);
        writer.end_object();
        Ok(UpstreamRequest {
            path: vec![Pair::new("engine", &*target.model)],
            query: vec![Pair::new("edition", "3")],
            headers: vec![Pair::new("x-orrery-turns", turns.to_string())],
            ..UpstreamRequest::new("speak", writer.finish(), notes)
        })
    }

    fn decode_response(&self, _: &Context, _: &AnswerHead, body: &str) -> Result<DecodedResponse, Failure> {
        let line: Line = json::parse_upstream(body)?;
        if let Some(trouble) = trouble(&line) {
            return Err(trouble);
        }
        let choice = Choice {
            index: 0,
            parts: line.words.map(Part::text).into_iter().collect(),
            finish: line.why.map(finish),
            logprobs: None,
            extra: Vec::new(),
        };
        let response = Response {
            format: FORMAT.to_owned(),
            id: line.reference.unwrap_or_default(),
            model: line.engine.unwrap_or_default(),
            created: None,
            choices: vec![choice],
            usage: line.meter.map(usage),
            extra: line.extra,
        };
        Ok(DecodedResponse { response, notes: Vec::new() })
    }

    fn decode_frames(
        &self,
        _: &Context,
        _: &str,
        state: &mut State,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<Vec<Event>, Failure> {
        let at = Position { choice: 0, part: 0 };
        let mut events = Vec::new();
        for frame in frames {
            let line: Line = json::parse_upstream(&frame.data)?;
            if let Some(trouble) = trouble(&line) {
                state.ended = true;
                events.push(Event::Error(trouble));
                return Ok(events);
            }
            if let Some(id) = line.reference {
                events.push(Event::Start(StreamStart {
                    format: FORMAT.to_owned(),
                    id,
                    model: line.engine.unwrap_or_default(),
                    created: None,
                    usage: None,
                    extra: Vec::new(),
                }));
            }
            if let Some(text) = line.words {
                if !std::mem::replace(&mut state.speaking, true) {
                    let (id, name) = (String::new(), String::new());
                    events.push(Event::PartStart(PartStart { at, kind: PartKind::Text, id, name, carry: Vec::new() }));
                }
                events.push(Event::Text(Delta { at, text }));
            }
            events.extend(line.meter.map(|meter| Event::Usage(usage(meter))));
            if let Some(why) = line.why {
                state.ended = true;
                events.extend(std::mem::take(&mut state.speaking).then_some(Event::PartEnd(at)));
                events.push(Event::Finish(ChoiceFinish { choice: 0, finish: finish(why) }));
            }
        }
        if last && !state.ended {
            events.push(Event::Error(Failure::upstream_protocol("the stream ended early")));
        }
        Ok(events)
    }

    fn decode_error(&self, _: &Context, head: &AnswerHead, body: &str) -> Failure {
        let known = json::from_str::<Line>(body).ok().and_then(|line| trouble(&line));
        known.unwrap_or_else(|| Failure::new(FailureKind::of_status(head.status), "The provider refused the request."))
    }

    /// Nobody's client speaks this format, so nothing is passed through; what is asked all the same is answered.
    fn meter(&self, _: &Context, _: &str, metered: &mut Metered, frames: &[Frame], _: bool) -> Result<(), Failure> {
        for frame in frames {
            let line: Line = json::parse_upstream(&frame.data)?;
            metered.failure = trouble(&line).or(metered.failure.take());
            metered.id = line.reference.or(metered.id.take());
            metered.model = line.engine.or(metered.model.take());
            metered.usage = line.meter.map(usage).or(metered.usage.take());
            metered.finishes.extend(line.why.map(finish));
        }
        Ok(())
    }
}

fn usage(meter: Meter) -> Usage {
    Usage { input: meter.heard, output: meter.spoken, ..Usage::default() }
}

fn finish(why: String) -> Finish {
    let reason = match &*why {
        "finished" => FinishReason::Stop,
        "no room" => FinishReason::Length,
        _ => FinishReason::Other,
    };
    Finish { reason, raw: why, stop_sequence: None }
}

fn trouble(line: &Line) -> Option<Failure> {
    let kind = match line.trouble.as_deref()? {
        "too many at once" => FailureKind::RateLimited,
        "clouds" => FailureKind::Overloaded,
        "who are you" => FailureKind::Authentication,
        _ => FailureKind::Unavailable,
    };
    let message = line.detail.clone().unwrap_or_default();
    Some(Failure { retry_after: line.again_in.map(|seconds| seconds * 1000), ..Failure::new(kind, message) })
}

portcullis_plugin::export!(Orrery: provider);
