//! A provider of every format, which answers each request with the same text, ready made: what it costs is nobody's business
//! here. Shapes are those of the providers' references, with the members that every real answer has.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::Upstream;

/// Of the text, words that no protocol writes another way.
pub const WORDS: &[u8] = b"Paris is mild today";
const TEXT: &str = "Paris is mild today, with broken cloud in the morning and a little sun after noon: 17 °C at most, a light wind from the \
     south-west, and a chance of rain towards the evening of about one in five. Take a jacket if you stay out late; you will not \
     need an umbrella before eight o'clock. \"Mild\" is what the forecasters say, and they have been right all week.";
const INPUT: u64 = 480;
const OUTPUT: u64 = 92;
const CREATED: u64 = 1_735_689_600;

/// Starts it on the upstream's thread and returns its address.
///
/// # Errors
/// No port is free.
pub fn start(upstream: &Upstream) -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((upstream.address.ip(), 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    upstream.thread.spawn(serve(listener, Arc::new(answers())));
    Ok(address)
}

async fn serve(listener: std::net::TcpListener, answers: Arc<Answers>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, Arc::clone(&answers)));
    }
}

type Answers = HashMap<&'static str, Bytes>;

async fn connection(stream: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answers = Arc::clone(&answers);
        async move {
            let answer = answers.get(kind(request.uri().path())).cloned();
            // A body that breaks off ends its connection by itself.
            let _ = request.into_body().collect().await;
            let mut response = Response::new(Full::new(answer.clone().unwrap_or_default()));
            if answer.is_none() {
                *response.status_mut() = http::StatusCode::NOT_FOUND;
            }
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        }
    });
    // A client that leaves is no failure.
    let _ = stream.set_nodelay(true);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The end of the path, since some formats have the model before it.
fn kind(path: &str) -> &'static str {
    const ENDS: [&str; 8] = [
        "/completions",
        "/responses",
        "/messages",
        ":generateContent",
        "/converse",
        "/v2/chat",
        "/api/chat",
        "/llm/chat",
    ];
    ENDS.into_iter().find(|end| path.ends_with(end)).unwrap_or_default()
}

fn answers() -> Answers {
    let by_end = [
        ("/completions", chat()),
        ("/responses", responses()),
        ("/messages", messages()),
        (":generateContent", gemini()),
        ("/converse", converse()),
        ("/v2/chat", cohere()),
        ("/api/chat", ollama()),
        // No provider speaks it: the bare proxy's client does.
        ("/llm/chat", flat()),
    ];
    by_end.into_iter().map(|(end, body)| (end, body.to_string().into())).collect()
}

fn flat() -> Value {
    json!({"content": TEXT, "model": "demo-bench", "provider": "bench", "route_method": "explicit",
        "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT, "tokens_in": INPUT, "tokens_out": OUTPUT, "cost_usd": 0.000664}})
}

/// <https://platform.openai.com/docs/api-reference/chat/object>
fn chat() -> Value {
    json!({"id": "chatcmpl-bench", "object": "chat.completion", "created": CREATED, "model": "demo-bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT, "refusal": null, "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
        "service_tier": "default", "system_fingerprint": null})
}

/// <https://platform.openai.com/docs/api-reference/responses/object>
fn responses() -> Value {
    json!({"id": "resp_bench", "object": "response", "created_at": CREATED, "status": "completed", "background": false, "error": null,
        "incomplete_details": null, "instructions": null, "max_output_tokens": 1024, "model": "demo-bench",
        "output": [{"id": "msg_bench", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": TEXT}]}],
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": false,
        "temperature": 0.7, "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled", "user": null, "metadata": {},
        "usage": {"input_tokens": INPUT, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": OUTPUT,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": INPUT + OUTPUT}})
}

/// <https://docs.claude.com/en/api/messages>
fn messages() -> Value {
    json!({"id": "msg_bench", "type": "message", "role": "assistant", "model": "demo-bench", "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": INPUT, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, "output_tokens": OUTPUT, "service_tier": "standard"}})
}

/// <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>
fn gemini() -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": INPUT}]},
        "modelVersion": "demo-bench", "responseId": "bench"})
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
fn converse() -> Value {
    json!({"metrics": {"latencyMs": 700}, "output": {"message": {"content": [{"text": TEXT}], "role": "assistant"}}, "stopReason": "end_turn",
        "usage": {"inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT, "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0}})
}

/// <https://docs.cohere.com/v2/reference/chat>
fn cohere() -> Value {
    json!({"id": "bench", "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}, "finish_reason": "COMPLETE",
        "usage": {"billed_units": {"input_tokens": INPUT, "output_tokens": OUTPUT}, "tokens": {"input_tokens": INPUT, "output_tokens": OUTPUT}, "cached_tokens": 0}})
}

/// <https://docs.ollama.com/api/chat>
fn ollama() -> Value {
    json!({"model": "demo-bench", "created_at": "2025-01-01T00:00:00.000000Z", "message": {"role": "assistant", "content": TEXT}, "done": true,
        "done_reason": "stop", "total_duration": 700_000_000, "load_duration": 10_000_000, "prompt_eval_count": INPUT,
        "prompt_eval_duration": 100_000_000, "eval_count": OUTPUT, "eval_duration": 500_000_000})
}
