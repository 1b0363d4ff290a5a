//! What each call into the plugins costs, lowering and lifting included, at 1 KB and at 100 KB:
//! `cargo run --release -p portcullis-runtime --example guests -- target/plugins [FILTER] [SECONDS]`.
//!
//! An engine of its own, configured as the runtime's in what decides over compiled code. With SECONDS each call that FILTER names is
//! repeated that long and perf's map is written: `perf record` then tells the guest's functions from the host's by name, which
//! is how the time within the guest is told from that of lowering.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_runtime::contract::chat::{
    Choice, Content, Delta, Event, Finish, FinishReason, Part, PartKind, PartStart, Position, Request, Response,
    StreamStart, Usage,
};
use portcullis_runtime::contract::dialect::{EncodedEvents, Head, Reply};
use portcullis_runtime::contract::guard::{Direction, Inspection, PlaceKind, Texts};
use portcullis_runtime::contract::policy::{Attempt, Subject, Verdict};
use portcullis_runtime::contract::provider::{
    AnswerHead, DecodedFrames, DecodedResponse, Reading, Target, UpstreamRequest,
};
use portcullis_runtime::contract::router::{Breaker, Candidate, Features, Plan};
use portcullis_runtime::contract::types::{Caller, Context, Failure, Frame, Pair};
use serde_json::{Value, json};
use wasmtime::component::{Component, ComponentNamedList, Instance, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Config, Engine, OptLevel, ProfilingStrategy, Store};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The best of so many batches counts: other programs only ever make one slower.
const BATCHES: u32 = 200;
const BATCH: Duration = Duration::from_millis(1);

/// As real prompts are: lines, quotes, digits, several alphabets.
const PROSE: &str = "The gate keeper counts what passes: \"seven wagons\", two riders, and a dog.\nAt noon the list goes up \
     to the tower, where a clerk copies it twice. Résumé, naïve, 東京, готово. The third column holds the weight in stone; \
     the fourth, what was paid.\n\n";

const POLICY: &str = r#"{"rules":[
    {"name":"strangers","when":{"organisations":"nobody"},"then":"deny"},
    {"name":"dear-models","when":{"models":"gpt-5*","environments":"production"},"then":"deny"},
    {"name":"short","then":{"constrain":{"max_output_tokens":4096}}}]}"#;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name the folder of components")?;
    let filter = arguments.next().unwrap_or_default();
    let seconds = arguments.next().map(|text| text.parse::<f64>()).transpose()?;
    let bench = Bench { engine: engine(seconds.is_some())?, folder: PathBuf::from(folder), filter, seconds };
    for size in [1_000, 100_000] {
        println!("{size} bytes");
        openai(&bench, size)?;
        anthropic(&bench, size)?;
        others(&bench, size)?;
    }
    Ok(())
}

fn engine(map: bool) -> Outcome<Engine> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .generate_address_map(false);
    if map {
        config.profiler(ProfilingStrategy::PerfMap);
    }
    Ok(Engine::new(&config)?)
}

struct Bench {
    engine: Engine,
    folder: PathBuf,
    filter: String,
    seconds: Option<f64>,
}

struct Guest<'a> {
    bench: &'a Bench,
    store: Store<()>,
    component: Component,
    instance: Instance,
}

impl Bench {
    fn guest(&self, name: &str, configuration: &str) -> Outcome<Guest<'_>> {
        let component = Component::from_file(&self.engine, self.folder.join(format!("{name}.wasm")))?;
        let mut linker = Linker::new(&self.engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate(&mut store, &component)?;
        let mut guest = Guest { bench: self, store, component, instance };
        let configure = guest.function::<(&str,), Result<(), String>>("plugin", "configure")?;
        configure.call(&mut guest.store, (configuration,))?.0?;
        Ok(guest)
    }
}

impl Guest<'_> {
    fn function<P, R>(&mut self, interface: &str, name: &str) -> Outcome<TypedFunc<P, (R,)>>
    where
        P: ComponentNamedList + Lower,
        (R,): ComponentNamedList + Lift,
    {
        let interface = format!("portcullis:plugin/{interface}@0.1.0");
        let interface = self.component.get_export_index(None, &interface).ok_or("no such interface")?;
        let function = self.component.get_export_index(Some(&interface), name).ok_or("no such function")?;
        Ok(self.instance.get_typed_func(&mut self.store, function)?)
    }

    /// Calls once for the answer and then, unless it is filtered out, many times for the time.
    fn measure<P, R>(&mut self, interface: &str, name: &str, label: &str, parameters: P) -> Outcome<R>
    where
        P: ComponentNamedList + Lower + Copy,
        (R,): ComponentNamedList + Lift,
    {
        let function = self.function::<P, R>(interface, name)?;
        let (answer,) = function.call(&mut self.store, parameters)?;
        if label.contains(&self.bench.filter) {
            let store = &mut self.store;
            let mut call = || function.call(&mut *store, parameters).map(drop);
            let took = match self.bench.seconds {
                Some(seconds) => batch(Duration::from_secs_f64(seconds), &mut call)?,
                None => (0..BATCHES)
                    .map(|_| batch(BATCH, &mut call))
                    .collect::<Result<Vec<_>, _>>()?
                    .into_iter()
                    .min()
                    .unwrap_or_default(),
            };
            println!("  {label:<36}{:>9.2} µs", took.as_secs_f64() * 1e6);
        }
        Ok(answer)
    }
}

fn batch(length: Duration, call: &mut impl FnMut() -> wasmtime::Result<()>) -> wasmtime::Result<Duration> {
    let (begin, mut calls) = (processor_time(), 0);
    loop {
        for _ in 0..8 {
            call()?;
        }
        calls += 8;
        let spent = processor_time() - begin;
        if spent >= length {
            return Ok(spent / calls);
        }
    }
}

/// Of this thread: what other programs take does not count.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn openai(bench: &Bench, size: usize) -> Outcome<()> {
    let mut guest = bench.guest("openai", "{}")?;
    let (context, head, body) = (context(), head(), chat(size));
    let request: Result<Request, Failure> =
        guest.measure("dialect", "decode-request", "openai decode-request", (&context, &head, body.as_str()))?;
    let request = request.map_err(|failure| failure.message)?;
    let target = target();
    let encoded: Result<UpstreamRequest, Failure> =
        guest.measure("provider", "encode-request", "openai encode-request", (&context, &target, &request))?;
    encoded.map_err(|failure| failure.message)?;
    let (reply, response) = (reply(), response(size));
    let answer: Result<String, Failure> =
        guest.measure("dialect", "encode-response", "openai encode-response", (&context, &reply, &response))?;
    let answer = answer.map_err(|failure| failure.message)?;
    let head = answer_head();
    let decoded: Result<DecodedResponse, Failure> =
        guest.measure("provider", "decode-response", "openai decode-response", (&context, &head, answer.as_str()))?;
    decoded.map_err(|failure| failure.message)?;
    let (state, frames) = (Vec::<u8>::new(), [Frame { event: String::new(), data: answer }]);
    let read: Result<Reading, Failure> = guest.measure(
        "provider",
        "meter",
        "openai meter, whole answer",
        (&context, "chat", &state[..], &frames[..], true),
    )?;
    assert_eq!(read.map_err(|failure| failure.message)?.finishes.len(), 1);
    if size == 1_000 {
        for count in [1, 32] {
            let frames: Vec<Frame> =
                (0..count).map(|_| Frame { event: String::new(), data: OPENAI_CHUNK.to_owned() }).collect();
            let label = format!("openai decode-frames, {count}");
            let decoded: Result<DecodedFrames, Failure> = guest.measure(
                "provider",
                "decode-frames",
                &label,
                (&context, "chat", &state[..], &frames[..], false),
            )?;
            decoded.map_err(|failure| failure.message)?;
        }
        encode_events(&mut guest, "openai")?;
    }
    Ok(())
}

fn anthropic(bench: &Bench, size: usize) -> Outcome<()> {
    let mut openai = bench.guest("openai", "{}")?;
    let mut guest = bench.guest("anthropic", "{}")?;
    let (context, head, target, body) = (context(), head(), target(), chat(size));
    let decode = openai.function::<(&Context, &Head, &str), Result<Request, Failure>>("dialect", "decode-request")?;
    let request = decode.call(&mut openai.store, (&context, &head, &body))?.0.map_err(|failure| failure.message)?;
    let encoded: Result<UpstreamRequest, Failure> =
        guest.measure("provider", "encode-request", "anthropic encode-request", (&context, &target, &request))?;
    let encoded = encoded.map_err(|failure| failure.message)?;
    let decoded: Result<Request, Failure> = guest.measure(
        "dialect",
        "decode-request",
        "anthropic decode-request",
        (&context, &head, std::str::from_utf8(&encoded.body).expect("text")),
    )?;
    decoded.map_err(|failure| failure.message)?;
    let (reply, response) = (reply(), response(size));
    let answer: Result<String, Failure> =
        guest.measure("dialect", "encode-response", "anthropic encode-response", (&context, &reply, &response))?;
    let answer = answer.map_err(|failure| failure.message)?;
    let head = answer_head();
    let decoded: Result<DecodedResponse, Failure> = guest.measure(
        "provider",
        "decode-response",
        "anthropic decode-response",
        (&context, &head, answer.as_str()),
    )?;
    decoded.map_err(|failure| failure.message)?;
    let (state, frames) = (Vec::<u8>::new(), [Frame { event: String::new(), data: answer }]);
    let read: Result<Reading, Failure> = guest.measure(
        "provider",
        "meter",
        "anthropic meter, whole answer",
        (&context, "chat", &state[..], &frames[..], true),
    )?;
    assert_eq!(read.map_err(|failure| failure.message)?.finishes.len(), 1);
    if size == 1_000 {
        let frame = |event: &str, data: &str| Frame { event: event.to_owned(), data: data.to_owned() };
        let begin = [frame("message_start", MESSAGE_START), frame("content_block_start", BLOCK_START)];
        let function = guest.function::<(&Context, &str, &[u8], &[Frame], bool), Result<DecodedFrames, Failure>>(
            "provider",
            "decode-frames",
        )?;
        let begun = function.call(&mut guest.store, (&context, "chat", &state[..], &begin[..], false))?.0;
        let begun = begun.map_err(|failure| failure.message)?;
        for count in [1, 32] {
            let frames: Vec<Frame> = (0..count).map(|_| frame("content_block_delta", BLOCK_DELTA)).collect();
            let label = format!("anthropic decode-frames, {count}");
            let decoded: Result<DecodedFrames, Failure> = guest.measure(
                "provider",
                "decode-frames",
                &label,
                (&context, "chat", &begun.state[..], &frames[..], false),
            )?;
            assert_eq!(decoded.map_err(|failure| failure.message)?.events.len(), count);
        }
        encode_events(&mut guest, "anthropic")?;
    }
    Ok(())
}

fn encode_events(guest: &mut Guest, name: &str) -> Outcome<()> {
    let (context, reply, at) = (context(), reply(), Position { choice: 0, part: 0 });
    let begin = [
        Event::Start(StreamStart {
            format: "other".to_owned(),
            id: "msg-1".to_owned(),
            model: "model-1".to_owned(),
            created: None,
            usage: None,
            extra: Vec::new(),
        }),
        Event::PartStart(PartStart {
            at,
            kind: PartKind::Text,
            id: String::new(),
            name: String::new(),
            carry: Vec::new(),
        }),
    ];
    let state = Vec::<u8>::new();
    type Parameters<'a> = (&'a Context, &'a Reply, &'a [u8], &'a [Event], bool);
    let function = guest.function::<Parameters, Result<EncodedEvents, Failure>>("dialect", "encode-events")?;
    let begun = function.call(&mut guest.store, (&context, &reply, &state[..], &begin[..], false))?.0;
    let begun = begun.map_err(|failure| failure.message)?;
    for count in [1, 32] {
        let events: Vec<Event> = (0..count).map(|_| Event::Text(Delta { at, text: " wagons,".to_owned() })).collect();
        let label = format!("{name} encode-events, {count}");
        let encoded: Result<EncodedEvents, Failure> = guest.measure(
            "dialect",
            "encode-events",
            &label,
            (&context, &reply, &begun.state[..], &events[..], false),
        )?;
        assert_eq!(encoded.map_err(|failure| failure.message)?.frames.len(), count);
    }
    Ok(())
}

fn others(bench: &Bench, size: usize) -> Outcome<()> {
    let (context, state) = (context(), Vec::<u8>::new());
    let mut guard = bench.guest("pii", "{}")?;
    let texts = texts(&chat(size));
    let inspected: Result<Inspection, Failure> =
        guard.measure("guard", "inspect", "pii inspect", (&context, Direction::Request, &state[..], &texts))?;
    inspected.map_err(|failure| failure.message)?;
    if size == 1_000 {
        for count in [1, 32] {
            let mut texts = Texts::with_capacity(count, count * 8);
            (0..count).for_each(|_| texts.push(PlaceKind::Text, "/choices/0/delta/content", " wagons,", 0, true));
            let label = format!("pii inspect, {count} deltas");
            let inspected: Result<Inspection, Failure> =
                guard.measure("guard", "inspect", &label, (&context, Direction::Answer, &state[..], &texts))?;
            inspected.map_err(|failure| failure.message)?;
        }
    }
    let mut policy = bench.guest("policy-rules", POLICY)?;
    let subject = subject(size);
    let verdict: Result<Verdict, Failure> = policy.measure(
        "policy",
        "evaluate-request",
        "policy evaluate-request",
        (&context, &subject, None::<&Request>),
    )?;
    verdict.map_err(|failure| failure.message)?;
    let attempt = Attempt {
        provider: "first".to_owned(),
        model: "demo-bench".to_owned(),
        region: None,
        number: 1,
        worst_cost: Some(12_000),
    };
    let verdict: Result<Verdict, Failure> =
        policy.measure("policy", "evaluate-target", "policy evaluate-target", (&context, &subject, &attempt))?;
    verdict.map_err(|failure| failure.message)?;
    let mut router = bench.guest("router-heuristic", "{}")?;
    let (features, preferences, candidates) =
        (features(size), Vec::<Pair>::new(), [candidate("first"), candidate("second")]);
    let plan: Result<Plan, Failure> = router.measure(
        "router",
        "rank",
        "router rank",
        (&context, &subject.caller, &features, &preferences[..], &candidates[..]),
    )?;
    assert_eq!(plan.map_err(|failure| failure.message)?.ranked.len(), 2);
    Ok(())
}

// --- what is passed --------------------------------------------------------------------------------------------------

const OPENAI_CHUNK: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"demo-bench","choices":[{"index":0,"delta":{"content":" wagons,"},"finish_reason":null}]}"#;
const MESSAGE_START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"demo-bench","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}}"#;
const BLOCK_START: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const BLOCK_DELTA: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" wagons,"}}"#;

/// A conversation of about `size` bytes in turns of a fortieth of it, as the OpenAI SDKs send one.
fn chat(size: usize) -> String {
    let mut messages = vec![
        json!({"role": "system", "content": "You are a careful assistant. Answer in one paragraph."}),
        json!({"role": "user", "content": "What is the weather like in Paris today?"}),
    ];
    let turn = (size / 40).clamp(300, 4000);
    let body = |messages: &[Value]| {
        format!(r#"{{"messages":{},"model":"demo-bench","max_tokens":1024,"temperature":0.7}}"#, Value::from(messages))
    };
    while body(&messages).len() < size {
        let missing = size - body(&messages).len();
        let role = if messages.len() % 2 == 0 { "assistant" } else { "user" };
        messages.push(json!({"role": role, "content": prose(missing.saturating_sub(40).clamp(1, turn))}));
    }
    body(&messages)
}

fn prose(length: usize) -> String {
    PROSE.chars().cycle().take(length).collect()
}

/// The string leaves of a document.
fn texts(json: &str) -> Texts {
    fn walk(value: &Value, at: &str, into: &mut Texts) {
        match value {
            Value::String(content) => into.push(PlaceKind::Text, at, content, 0, false),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| walk(item, &format!("{at}/{index}"), into));
            }
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| walk(value, &format!("{at}/{name}"), into));
            }
            _ => {}
        }
    }
    let mut texts = Texts::with_capacity(64, json.len());
    walk(&serde_json::from_str(json).unwrap_or_default(), "", &mut texts);
    texts
}

fn context() -> Context {
    Context {
        now: 1_700_000_000_000,
        seed: 7,
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        development: false,
        extra: Vec::new(),
    }
}

fn head() -> Head {
    Head { route: "chat".to_owned(), path: Vec::new(), query: Vec::new(), headers: Vec::new() }
}

fn reply() -> Reply {
    Reply {
        route: "chat".to_owned(),
        requested_model: "demo-bench".to_owned(),
        stream_usage: false,
        provider: "first".to_owned(),
        strategy: "heuristic".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn answer_head() -> AnswerHead {
    let header = Pair { name: "content-type".to_owned(), value: "application/json".to_owned() };
    AnswerHead { endpoint: "chat".to_owned(), status: 200, headers: vec![header] }
}

fn target() -> Target {
    Target {
        model: "demo-bench".to_owned(),
        max_output_tokens: Some(1024),
        stream: false,
        capabilities: vec!["tools".to_owned(), "vision".to_owned()],
        max_output: 8192,
    }
}

fn response(size: usize) -> Response {
    let part = Part { content: Content::Text(prose(size)), cache: None, carry: Vec::new(), extra: Vec::new() };
    let finish = Finish { reason: FinishReason::Stop, raw: "stop".to_owned(), stop_sequence: None };
    let usage = Usage {
        input: 250,
        cache_read: 0,
        cache_write_short: 0,
        cache_write_long: 0,
        output: 100,
        reasoning: 0,
        audio_input: 0,
        audio_output: 0,
        images: 0,
        searches: 0,
        estimated: false,
        units: Vec::new(),
        service_tier: None,
        stated_cost: None,
    };
    Response {
        format: "other".to_owned(),
        id: "chatcmpl-1".to_owned(),
        model: "demo-bench".to_owned(),
        created: Some(1_700_000_000),
        choices: vec![Choice { index: 0, parts: vec![part], finish: Some(finish), logprobs: None, extra: Vec::new() }],
        usage: Some(usage),
        extra: Vec::new(),
    }
}

fn subject(size: usize) -> Subject {
    Subject {
        caller: Caller {
            key_id: "key-1".to_owned(),
            organisation: "acme".to_owned(),
            team: None,
            user: None,
            environment: "development".to_owned(),
            tags: Vec::new(),
            region: None,
        },
        operation: "chat".to_owned(),
        format: "openai-chat".to_owned(),
        model: "demo-bench".to_owned(),
        stream: false,
        body_bytes: size as u64,
        input_tokens: size as u64 / 4,
        max_output_tokens: Some(1024),
        tool_names: Vec::new(),
        needs: Vec::new(),
    }
}

fn features(size: usize) -> Features {
    Features {
        operation: "chat".to_owned(),
        model: "demo-bench".to_owned(),
        body_bytes: size as u64,
        input_tokens: size as u64 / 4,
        max_output_tokens: Some(1024),
        stream: false,
        tool_names: Vec::new(),
        needs: Vec::new(),
        messages: 4,
        prompt: Some(prose((size / 4).min(4000))),
    }
}

fn candidate(provider: &str) -> Candidate {
    Candidate {
        provider: provider.to_owned(),
        model: "demo-bench".to_owned(),
        context: 200_000,
        max_output: 8192,
        capabilities: vec!["tools".to_owned(), "vision".to_owned()],
        quality: Some(70.0),
        input_price: Some(1_000_000),
        output_price: Some(2_000_000),
        region: None,
        latency: 3.0,
        error_rate: 0.0,
        in_flight: 1,
        breaker: Breaker::Closed,
        cooling: 0,
        extra: Vec::new(),
    }
}
