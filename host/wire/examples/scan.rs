//! What the host's own reading of JSON costs, at 1 KB and at 100 KB: `cargo run --release -p portcullis-wire --example scan -- [FILTER]
//! [SECONDS]`. With SECONDS each is repeated that long, for `perf record`.
//!
//! The bodies are the benchmark's, the patterns those of Chat Completions.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_wire::framing::Framing;
use portcullis_wire::json::{Condition, Edits, Pattern, PatternSet, Test, TopLevel, unescape, utf8};
use portcullis_wire::texts::{
    ChannelEndSpec, ChannelSpec, ConditionSpec, Direction, DocumentTexts, StreamLimits, StreamTexts, TextKind, TextMap,
    TextMapSpec,
};
use serde_json::{Value, json};

// As the gateway allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The best of so many batches counts: other programs only ever make one slower.
const BATCHES: usize = 60;
const BATCH: Duration = Duration::from_millis(4);

/// As real prompts are: lines, quotes, digits, several alphabets.
const PROSE: &str = "The gate keeper counts what passes: \"seven wagons\", two riders, and a dog.\nAt noon the list goes up \
     to the tower, where a clerk copies it twice. Résumé, naïve, 東京, готово. The third column holds the weight in stone; \
     the fourth, what was paid.\n\n";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let seconds = arguments.next().map(|text| text.parse::<f64>().expect("seconds"));
    let bench = Bench { filter, seconds };
    for size in [1_000, 100_000] {
        bench.body(size, &request(size));
    }
    bench.answer(&answer(), &stream(32));
}

struct Bench {
    filter: String,
    seconds: Option<f64>,
}

impl Bench {
    fn body(&self, size: usize, body: &str) {
        let time = |name: &str, call: &mut dyn FnMut()| self.time(&format!("{name} {size}"), call);
        time("utf8", &mut || drop(black_box(utf8(body.as_bytes()))));
        time("top level", &mut || drop(black_box(TopLevel::scan(body))));
        let places = PatternSet::new(&conversation());
        time("conversation", &mut || drop(black_box(places.select(body))));
        let at = pattern("/messages/*/reasoning_details/*/signature");
        let signed = Condition { at, test: Test::Equals("\"\"".to_owned()) };
        time("condition", &mut || {
            black_box(signed.holds(body));
        });
        let map = TextMap::new(&request_texts()).expect("a map");
        time("cut", &mut || drop(black_box(DocumentTexts::cut(body, &map, Direction::Request))));
        let model = TopLevel::scan(body).expect("an object").get("model").expect("a model");
        time("splice", &mut || {
            let mut edits = Edits::new();
            edits.replace(model.clone(), "\"another-model\"").expect("one edit");
            drop(black_box(edits.apply(body)));
        });
        // What must be done at the least: every content copied with its escapes undone.
        let contents = PatternSet::new(&[pattern("/messages/*/content")]).select(body);
        time("(unescape alone)", &mut || {
            for (_, at) in &contents {
                drop(black_box(unescape(&body[at.start + 1..at.end - 1]).into_owned()));
            }
        });
        time("(copy alone)", &mut || drop(black_box(body.to_owned())));
    }

    fn answer(&self, body: &str, stream: &[u8]) {
        let map = TextMap::new(&answer_texts()).expect("a map");
        self.time("cut answer", &mut || drop(black_box(DocumentTexts::cut(body, &map, Direction::Answer))));
        let map = Arc::new(TextMap::new(&stream_texts()).expect("a map"));
        let mut frames = Vec::new();
        Framing::Sse.splitter().push(&stream.to_vec().into(), &mut frames).expect("frames");
        self.time("cut 32 deltas", &mut || {
            let mut texts = StreamTexts::new(Arc::clone(&map), StreamLimits::default());
            drop(black_box(texts.cut(frames.clone(), false)));
            drop(black_box(texts.resolve(&[], &[])));
        });
    }

    fn time(&self, name: &str, call: &mut dyn FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let length = self.seconds.map_or(BATCH, Duration::from_secs_f64);
        let start = Instant::now();
        let mut calls = 0_u32;
        while start.elapsed() < length {
            call();
            calls += 1;
        }
        if self.seconds.is_some() {
            return;
        }
        let batch = || {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
        };
        let best = std::iter::repeat_with(batch).take(BATCHES).fold(f64::INFINITY, f64::min);
        println!("{name:>24} {best:9.3} µs");
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("a pattern")
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// A chat request of about `size` bytes, as the OpenAI SDKs send it.
fn request(size: usize) -> String {
    let mut messages = vec![
        json!({"role": "system", "content": "You are a careful assistant. Answer in one paragraph."}),
        json!({"role": "user", "content": "What is the weather like in Paris today?"}),
    ];
    let turn = (size / 40).clamp(300, 4000);
    let body = |messages: &[Value]| {
        let messages = Value::from(messages.to_vec());
        format!(r#"{{"messages":{messages},"model":"demo-bench","max_tokens":1024,"temperature":0.7}}"#)
    };
    while body(&messages).len() < size {
        let missing = size - body(&messages).len();
        let role = if messages.len() % 2 == 0 { "assistant" } else { "user" };
        let prose: String = PROSE.chars().cycle().take(missing.saturating_sub(40).clamp(1, turn)).collect();
        messages.push(json!({"role": role, "content": prose}));
    }
    body(&messages)
}

fn answer() -> String {
    let text = "You asked about the weather in Paris today. This is a canned reply of the demo provider: it is the same for \
        everyone, costs nothing, and was made up without looking out of a window.";
    let value = json!({
        "id": "chatcmpl-demo000000000000", "object": "chat.completion", "created": 1_735_689_600, "model": "demo-bench",
        "choices": [{
            "index": 0, "logprobs": null, "finish_reason": "stop",
            "message": {"role": "assistant", "content": text, "refusal": null, "annotations": []},
        }],
        "usage": {
            "prompt_tokens": 256, "completion_tokens": 40, "total_tokens": 296,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default", "system_fingerprint": "fp_demo",
    });
    value.to_string()
}

fn stream(deltas: usize) -> Vec<u8> {
    let frames = (0..deltas).map(|at| {
        let value = json!({
            "id": "chatcmpl-demo000000000000", "object": "chat.completion.chunk", "created": 1_735_689_600,
            "model": "demo-bench-stream-200", "service_tier": "default", "system_fingerprint": "fp_demo",
            "choices": [{"index": 0, "delta": {"content": format!("token{at} ")}, "logprobs": null, "finish_reason": null}],
        });
        format!("data: {value}\n\n")
    });
    frames.collect::<String>().into_bytes()
}

/// The needs' places and the prompts.
fn conversation() -> Vec<Pattern> {
    let texts = [
        "/tools/0",
        "/functions/0",
        "/messages/*/content/*/image_url",
        "/messages/*/content/*/input_audio",
        "/audio",
        "/messages/*/content/*/file",
        "/response_format/json_schema",
        "/response_format/type",
        "/logprobs",
        "/system",
        "/system/*/text",
        "/messages/*/content",
        "/messages/*/content/*/text",
    ];
    texts.map(pattern).to_vec()
}

fn request_texts() -> TextMapSpec {
    TextMapSpec {
        json_strings: strings(&["/messages/*/tool_calls/*/function/arguments", "/messages/*/function_call/arguments"]),
        derived: strings(&["/messages/*/reasoning_details/*/signature"]),
        ..TextMapSpec::default()
    }
}

fn answer_texts() -> TextMapSpec {
    TextMapSpec {
        json_strings: strings(&[
            "/choices/*/message/tool_calls/*/function/arguments",
            "/choices/*/message/function_call/arguments",
        ]),
        opaque: opaque("message"),
        derived: strings(&["/choices/*/logprobs", "/choices/*/message/reasoning_details/*/signature"]),
        ..TextMapSpec::default()
    }
}

fn stream_texts() -> TextMapSpec {
    let key = strings(&["/choices/*/index"]);
    let present = |at: &str| ConditionSpec { at: at.to_owned(), test: Test::Present };
    let channel = |text: &str, kind| ChannelSpec {
        text: text.to_owned(),
        kind,
        when: Vec::new(),
        key: key.clone(),
        ends: ["/choices/*/finish_reason", "/choices/*/delta/tool_calls"]
            .map(|at| ChannelEndSpec { when: present(at), key: key.clone() })
            .to_vec(),
    };
    TextMapSpec {
        opaque: opaque("delta"),
        derived: strings(&["/choices/*/logprobs", "/choices/*/delta/reasoning_details/*/signature"]),
        channels: vec![
            channel("/choices/*/delta/content", TextKind::Text),
            channel("/choices/*/delta/refusal", TextKind::Refusal),
            channel("/choices/*/delta/reasoning_content", TextKind::Reasoning),
            channel("/choices/*/delta/function_call/arguments", TextKind::ToolArguments),
        ],
        ..TextMapSpec::default()
    }
}

fn opaque(member: &str) -> Vec<String> {
    let mut patterns = strings(&[
        "/id",
        "/object",
        "/model",
        "/provider",
        "/system_fingerprint",
        "/service_tier",
        "/obfuscation",
        "/choices/*/finish_reason",
        "/choices/*/native_finish_reason",
    ]);
    let inside = [
        "role",
        "channel",
        "tool_calls/*/id",
        "tool_calls/*/type",
        "audio/id",
        "audio/data",
        "annotations/*/type",
        "reasoning_details/*/type",
        "reasoning_details/*/id",
        "reasoning_details/*/format",
        "reasoning_details/*/signature",
        "reasoning_details/*/data",
    ];
    patterns.extend(inside.iter().map(|path| format!("/choices/*/{member}/{path}")));
    patterns
}
