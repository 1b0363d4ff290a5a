//! Fills every role of contract 0.1.0, by its bindings alone: what `tests/frozen/contract-0.1.0.wasm` was built from.
//!
//! Whatever it answers says what it was given, so that a record which crosses differently shows.

wit_bindgen::generate!({
    path: "../../../../wit",
    inline: r#"
        package portcullis:frozen;
        world all {
            include portcullis:plugin/base@0.1.0;
            include portcullis:plugin/dialect-role@0.1.0;
            include portcullis:plugin/provider-role@0.1.0;
            include portcullis:plugin/router-role@0.1.0;
            include portcullis:plugin/guard-role@0.1.0;
            include portcullis:plugin/policy-role@0.1.0;
            include portcullis:plugin/observer-role@0.1.0;
        }
    "#,
    world: "portcullis:frozen/all",
    generate_all,
});

use exports::portcullis::plugin::{dialect, guard, observer, plugin, policy, provider, router};
use portcullis::plugin::chat::{
    Choice, ChoiceFinish, Content, Delta, Event, Finish, FinishReason, Message, Part, PartKind, PartStart, Position,
    Request, Response, Role, Sampling, StreamStart, UnitCount, Usage,
};
use portcullis::plugin::log;
use portcullis::plugin::types::{Caller, Condition, Context, Failure, FailureKind, Field, Frame, Note, Pair, Test};

struct Frozen;

// A native linker takes none of the exports' names.
#[cfg(target_arch = "wasm32")]
export!(Frozen);

fn field(name: &str, value: &str) -> Field {
    Field { name: name.into(), value: value.into() }
}

fn pair(name: &str, value: &str) -> Pair {
    Pair { name: name.into(), value: value.into() }
}

fn note(code: &str, subject: &str) -> Note {
    Note { code: code.into(), subject: subject.into() }
}

fn text(text: &str) -> Part {
    Part { content: Content::Text(text.into()), cache: None, carry: Vec::new(), extra: Vec::new() }
}

fn said(parts: &[Part]) -> &str {
    parts
        .iter()
        .find_map(|part| if let Content::Text(text) = &part.content { Some(text.as_str()) } else { None })
        .unwrap_or("")
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure {
        kind,
        message: message.into(),
        code: Some("frozen".into()),
        param: Some("p".into()),
        retry_after: Some(7),
    }
}

fn usage(estimated: bool) -> Usage {
    Usage {
        input: 1,
        cache_read: 2,
        cache_write_short: 3,
        cache_write_long: 4,
        output: 5,
        reasoning: 6,
        audio_input: 7,
        audio_output: 8,
        images: 9,
        searches: 10,
        estimated,
        units: vec![UnitCount { unit: "pages".into(), count: 11 }],
        service_tier: Some("flex".into()),
        stated_cost: Some(12),
    }
}

fn finish() -> Finish {
    Finish { reason: FinishReason::StopSequence, raw: "end".into(), stop_sequence: Some("###".into()) }
}

impl plugin::Guest for Frozen {
    fn describe() -> plugin::Manifest {
        let texts = || plugin::TextMap {
            json_strings: vec!["/a".into()],
            opaque: Vec::new(),
            derived: Vec::new(),
            channels: vec![plugin::Channel {
                text: "/t".into(),
                kind: plugin::TextKind::ToolArguments,
                when: Vec::new(),
                key: vec!["/i".into()],
                ends: Vec::new(),
            }],
            terminators: vec![Condition { at: "/e".into(), test: Test::StartsWith("x".into()) }],
        };
        let rates = plugin::Rates {
            input: Some(1),
            output: Some(2),
            cache_read: None,
            cache_write_short: None,
            cache_write_long: None,
            reasoning: None,
            audio_input: None,
            audio_output: None,
            image: None,
            search: Some(3),
        };
        plugin::Manifest {
            name: "contract-0-1-0".into(),
            version: "1.0.0".into(),
            summary: "every role of contract 0.1.0".into(),
            access: plugin::Access { content_read: true, content_write: true },
            routes: vec![plugin::Route {
                name: "chat".into(),
                operation: "chat".into(),
                method: "POST".into(),
                path: "/frozen/{+model}".into(),
                when_header: Some("x-frozen: yes".into()),
                format: "frozen".into(),
                model: plugin::Location::Path("model".into()),
                auto_when: Vec::new(),
                stream: plugin::Location::Body("/stream".into()),
                output_limit: vec!["/max".into()],
                choices: Vec::new(),
                reencode_when: Vec::new(),
                features: plugin::FeatureMap {
                    tool_names: Vec::new(),
                    needs: vec![plugin::Need {
                        capability: "vision".into(),
                        when: Condition { at: "/image".into(), test: Test::Present },
                    }],
                    prompts: vec!["/prompt".into()],
                },
                request_texts: texts(),
                answer_texts: texts(),
                stream_texts: texts(),
                stream_framing: plugin::Framing::JsonArray,
                continuation: None,
                headers: vec!["x-frozen".into()],
                extra: vec![field("frozen.route", "1")],
            }],
            endpoints: vec![plugin::Endpoint {
                name: "ask".into(),
                operation: "chat".into(),
                format: "frozen".into(),
                streams: Some(false),
                method: "POST".into(),
                path: "/ask/{model}".into(),
                query: vec!["q".into()],
                headers: vec!["x-asked".into()],
                fixed_headers: vec![pair("x-fixed", "1")],
                forward_headers: Vec::new(),
                answer_headers: Vec::new(),
                model: vec![plugin::ModelPlace {
                    at: plugin::Location::Body("/r/*/model".into()),
                    prefix: "m/".into(),
                }],
                set_members: vec![plugin::Member { at: "/v".into(), value: "1".into() }],
                remove_members: vec!["/w".into()],
                reencode_when: Vec::new(),
                usage_flag: Some(plugin::UsageFlag { at: "/u".into(), value: "true".into(), frame: Vec::new() }),
                meter_frames: vec!["usage".into()],
                stream_framing: plugin::Framing::Ndjson,
                inline_media: vec!["image".into()],
                extra: vec![field("frozen.endpoint", "2")],
            }],
            models: vec![plugin::Model {
                id: "m".into(),
                aliases: vec!["a".into()],
                synonyms: vec!["s".into()],
                operations: vec!["chat".into()],
                context: 1000,
                max_output: 100,
                capabilities: vec!["tools".into()],
                quality: Some(plugin::Quality { score: 50.5, source: "here".into() }),
                prices: vec![plugin::Price {
                    effective: "2026-01-01".into(),
                    source: "there".into(),
                    rates,
                    tiers: vec![plugin::Tier { above: 9, rates }],
                    units: vec![plugin::UnitRate { unit: "pages".into(), rate: 4 }],
                    services: vec![plugin::ServiceRates {
                        service_tier: "flex".into(),
                        rates,
                        tiers: Vec::new(),
                        units: Vec::new(),
                    }],
                }],
                extra: vec![field("frozen.model", "3")],
            }],
            stages: plugin::Stages { request: true, target: true, response: false },
            suggestion: Some(plugin::Suggestion {
                base_url: "https://example.org".into(),
                auth: "bearer".into(),
                environment: "KEY".into(),
            }),
            extra: vec![field("frozen.manifest", "4")],
        }
    }

    fn configure(configuration: String) -> Result<(), String> {
        if configuration == "{}" { Ok(()) } else { Err(configuration) }
    }
}

impl dialect::Guest for Frozen {
    fn decode_request(context: Context, head: dialect::Head, body: String) -> Result<Request, Failure> {
        if body.is_empty() {
            return Err(failure(FailureKind::InvalidRequest, &context.request_id));
        }
        Ok(Request {
            format: "frozen".into(),
            model: head.path.first().map(|pair| pair.value.clone()).unwrap_or_default(),
            messages: vec![Message {
                role: Role::Developer,
                parts: vec![text(&body)],
                name: Some(head.route),
                extra: Vec::new(),
            }],
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: Some(false),
            response_format: None,
            sampling: Sampling {
                temperature: Some(0.5),
                top_p: None,
                top_k: Some(3),
                frequency_penalty: None,
                presence_penalty: None,
                seed: Some(-1),
            },
            reasoning: None,
            stop: vec!["###".into()],
            max_output_tokens: Some(64),
            choices: None,
            logprobs: None,
            stream: true,
            stream_usage: false,
            user: None,
            metadata: head.headers,
            extra: context.extra,
            echo: vec![field("seed", &context.seed.to_string())],
        })
    }

    fn encode_response(
        _: Context,
        reply: dialect::Reply,
        response: Response,
    ) -> Result<dialect::EncodedResponse, Failure> {
        let text = response.choices.first().map_or("", |choice| said(&choice.parts));
        let cost = reply.cost.map_or(0, |cost| cost.input + cost.output);
        let body = format!("{} {} {text} {cost}", reply.requested_model, response.id);
        Ok(dialect::EncodedResponse { body, notes: vec![note("dropped", &reply.provider)] })
    }

    fn encode_events(
        _: Context,
        _: dialect::Reply,
        mut state: Vec<u8>,
        events: Vec<Event>,
        last: bool,
    ) -> Result<dialect::EncodedEvents, Failure> {
        state.push(u8::from(last));
        let frames = events.into_iter().map(|event| match event {
            Event::Text(delta) => Frame { event: "text".into(), data: delta.text },
            Event::Usage(usage) => Frame { event: "usage".into(), data: usage.service_tier.unwrap_or_default() },
            Event::Finish(finish) => Frame { event: "finish".into(), data: finish.finish.raw },
            Event::Error(failure) => Frame { event: "error".into(), data: failure.message },
            _ => Frame { event: "other".into(), data: String::new() },
        });
        Ok(dialect::EncodedEvents { frames: frames.collect(), state, notes: Vec::new() })
    }

    fn encode_error(_: Context, route: String, failure: Failure) -> dialect::ErrorReply {
        let frames = vec![Frame { event: "error".into(), data: route }];
        dialect::ErrorReply { status: 418, headers: vec![pair("x-frozen", "error")], body: failure.message, frames }
    }

    fn encode_models(_: Context, models: Vec<dialect::ModelEntry>) -> String {
        models.iter().map(|model| format!("{}:{}", model.id, model.extra.len())).collect::<Vec<_>>().join(" ")
    }
}

impl provider::Guest for Frozen {
    fn encode_request(
        _: Context,
        target: provider::Target,
        request: Request,
    ) -> Result<provider::UpstreamRequest, Failure> {
        let text = request.messages.first().map_or("", |message| said(&message.parts));
        Ok(provider::UpstreamRequest {
            endpoint: "ask".into(),
            path: vec![pair("model", &target.model)],
            query: vec![pair("q", &target.max_output.to_string())],
            headers: vec![pair("x-asked", &request.model)],
            body: text.into(),
            notes: vec![note("clamped", "max")],
        })
    }

    fn decode_response(
        _: Context,
        head: provider::AnswerHead,
        body: String,
    ) -> Result<provider::DecodedResponse, Failure> {
        let choice =
            Choice { index: 0, parts: vec![text(&body)], finish: Some(finish()), logprobs: None, extra: Vec::new() };
        let response = Response {
            format: "frozen".into(),
            id: head.status.to_string(),
            model: head.endpoint,
            created: Some(1),
            choices: vec![choice],
            usage: Some(usage(false)),
            extra: head.headers.into_iter().map(|pair| field(&pair.name, &pair.value)).collect(),
        };
        Ok(provider::DecodedResponse { response, notes: Vec::new() })
    }

    fn decode_frames(
        _: Context,
        endpoint: String,
        mut state: Vec<u8>,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<provider::DecodedFrames, Failure> {
        let at = Position { choice: 0, part: 0 };
        let mut events = Vec::new();
        if state.is_empty() {
            events.push(Event::Start(StreamStart {
                format: "frozen".into(),
                id: endpoint,
                model: "m".into(),
                created: None,
                usage: None,
                extra: Vec::new(),
            }));
            let (id, name) = (String::new(), String::new());
            events.push(Event::PartStart(PartStart { at, kind: PartKind::Text, id, name, carry: Vec::new() }));
        }
        state.extend(frames.iter().map(|_| 1));
        events.extend(frames.into_iter().map(|frame| Event::Text(Delta { at, text: frame.data })));
        if last {
            events.push(Event::PartEnd(at));
            events.push(Event::Usage(usage(true)));
            events.push(Event::Finish(ChoiceFinish { choice: 0, finish: finish() }));
        }
        Ok(provider::DecodedFrames { state, events })
    }

    fn decode_error(_: Context, head: provider::AnswerHead, body: String) -> Failure {
        let kind = if head.status == 429 { FailureKind::RateLimited } else { FailureKind::Internal };
        failure(kind, &body)
    }

    fn meter(
        _: Context,
        endpoint: String,
        state: Vec<u8>,
        frames: Vec<Frame>,
        last: bool,
    ) -> Result<provider::Reading, Failure> {
        Ok(provider::Reading {
            state,
            id: frames.into_iter().next().map(|frame| frame.event),
            model: Some(endpoint),
            usage: Some(usage(false)),
            finishes: vec![finish()],
            failure: last.then(|| failure(FailureKind::Overloaded, "cut")),
        })
    }
}

impl router::Guest for Frozen {
    fn rank(
        _: Context,
        caller: Caller,
        features: router::Features,
        preferences: Vec<Pair>,
        candidates: Vec<router::Candidate>,
    ) -> Result<router::Plan, Failure> {
        let ranked = candidates.iter().zip(0..).filter(|(candidate, _)| candidate.cooling == 0);
        let rejected = candidates.iter().zip(0..).filter(|(candidate, _)| candidate.cooling > 0);
        Ok(router::Plan {
            ranked: ranked
                .map(|(known, candidate)| router::Ranked {
                    candidate,
                    score: f64::from(known.latency),
                    factors: vec![router::Factor { name: "load".into(), value: f64::from(known.in_flight) }],
                })
                .collect(),
            rejected: rejected.map(|(_, candidate)| router::Rejected { candidate, code: "cooling".into() }).collect(),
            strategy: preferences.first().map(|pair| pair.value.clone()).unwrap_or_default(),
            reason: format!("{} {}", caller.organisation, features.model),
        })
    }
}

impl guard::Guest for Frozen {
    fn inspect(
        _: Context,
        direction: guard::Direction,
        state: Vec<u8>,
        texts: guard::Texts,
    ) -> Result<guard::Inspection, Failure> {
        const WORD: &str = "secret";
        let (mut findings, mut holds, mut start) = (Vec::new(), Vec::new(), 0);
        for (one, text) in texts.list.iter().zip(0..) {
            let content = &texts.contents[start as usize..one.content_end as usize];
            for (at, _) in content.match_indices(WORD) {
                findings.push(guard::Finding {
                    text,
                    start: at as u32,
                    end: (at + WORD.len()) as u32,
                    kind: format!("{direction:?}"),
                    replacement: guard::Replacement::Mask("***".into()),
                });
            }
            if one.open {
                holds.push(guard::Hold { text, start: one.content_end - start });
            }
            start = one.content_end;
        }
        log::write(log::Level::Debug, "inspected");
        let block = texts.contents.contains("forbidden");
        let verdict = if block { guard::Verdict::Block("frozen.forbidden".into()) } else { guard::Verdict::Pass };
        Ok(guard::Inspection { verdict, findings, holds, state })
    }
}

impl policy::Guest for Frozen {
    fn evaluate_request(
        _: Context,
        subject: policy::Subject,
        content: Option<Request>,
    ) -> Result<policy::Verdict, Failure> {
        Ok(policy::Verdict::Constrain(policy::Constraints {
            models: Some(vec![subject.model]),
            providers: None,
            regions: Some(Vec::new()),
            tools: None,
            max_output_tokens: content.map(|content| content.messages.len() as u32),
            guards: vec!["pii".into()],
            tags: vec![pair("asked", &subject.caller.key_id)],
            extra: Vec::new(),
        }))
    }

    fn evaluate_target(_: Context, _: policy::Subject, attempt: policy::Attempt) -> Result<policy::Verdict, Failure> {
        let status = 400 + attempt.number as u16;
        let message = format!("{}/{} {:?}", attempt.provider, attempt.model, attempt.worst_cost);
        Ok(policy::Verdict::Deny(policy::Denial { code: "frozen".into(), status, message }))
    }

    fn evaluate_response(
        _: Context,
        _: policy::Subject,
        _: policy::Attempt,
        usage: Option<Usage>,
        _: Option<Response>,
    ) -> Result<policy::Verdict, Failure> {
        match usage {
            Some(_) => Ok(policy::Verdict::Allow),
            None => Err(failure(FailureKind::Unavailable, "nothing is known")),
        }
    }
}

impl observer::Guest for Frozen {
    fn observe(now: u64, receipts: Vec<String>) -> Result<(), String> {
        Err(format!("{now} {}", receipts.join(" ")))
    }
}
