//! Thought signatures over two turns, through the clients of other protocols: what the API signed comes back to it, unchanged
//! and at its part, from a client that returns the assistant's message as it got it.

use portcullis_plugin::prelude::*;
use portcullis_plugin_anthropic::Anthropic;
use portcullis_plugin_gemini::Gemini;
use portcullis_plugin_openai::OpenAi;
use serde_json::{Value, json};

const TEXT: &str = "VGV4dA==";
const CALL: &str = "EpMBCpABAQw51sc+/w==";

fn context() -> Context {
    Context { now: 0, seed: 7, request_id: "req-test".to_owned(), development: true, extra: Vec::new() }
}

fn reply(route: &str) -> Reply {
    Reply {
        route: route.to_owned(),
        requested_model: "m".to_owned(),
        stream_usage: true,
        provider: "google".to_owned(),
        strategy: "explicit".to_owned(),
        cost: None,
        account: None,
        echo: Vec::new(),
    }
}

fn head(route: &str) -> Head {
    Head { route: route.to_owned(), path: Vec::new(), query: Vec::new(), headers: Vec::new() }
}

/// A thought, a signed text, two calls without ids of which the first is signed.
fn parts() -> Value {
    json!([
        {"text": "Two cities.", "thought": true},
        {"text": "Let me look.", "thoughtSignature": TEXT},
        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": CALL},
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
    ])
}

fn whole() -> Response {
    let body = json!({"candidates": [{"content": {"role": "model", "parts": parts()}, "finishReason": "STOP"}],
        "modelVersion": "gemini-3.8-flash", "responseId": "r-1"});
    let head = AnswerHead { endpoint: "generate".to_owned(), status: 200, headers: Vec::new() };
    Gemini.decode_response(&context(), &head, &body.to_string()).expect("an answer").response
}

/// The same as a stream, the text's signature in an empty piece behind it, as the API sends it.
fn streamed() -> Vec<Event> {
    let chunk = |parts: Value, finish: Option<&str>| {
        let chunk = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish}],
            "modelVersion": "gemini-3.8-flash", "responseId": "r-1"});
        Frame::data(chunk.to_string())
    };
    let frames = vec![
        chunk(json!([{"text": "Two cities.", "thought": true}]), None),
        chunk(json!([{"text": "Let me "}]), None),
        chunk(json!([{"text": "look."}, {"text": "", "thoughtSignature": TEXT}]), None),
        chunk(json!([parts()[2], parts()[3]]), Some("STOP")),
    ];
    Gemini.decode_frames(&context(), "stream", &mut Default::default(), frames, true).expect("events")
}

/// The model's turn and the results, as the API gets them from this client's request.
fn upstream(request: Request) -> (Value, Value) {
    let target = Target {
        model: "gemini-3.8-flash".to_owned(),
        max_output_tokens: None,
        stream: false,
        capabilities: Vec::new(),
        max_output: 0,
    };
    let encoded = Gemini.encode_request(&context(), &target, request).expect("a request");
    let body: Value = serde_json::from_slice(&encoded.body).expect("JSON");
    (body["contents"][1]["parts"].clone(), body["contents"][2]["parts"].clone())
}

/// What the API wants to see: the summary of its thought, which it did not sign, it can do without.
fn expect(request: Request, through: &str) {
    let (model, results) = upstream(request);
    let mut expected = parts();
    expected.as_array_mut().unwrap().remove(0);
    assert_eq!(model, expected, "{through}");
    let result = |text: &str| json!({"functionResponse": {"name": "weather", "response": {"output": text}}});
    assert_eq!(results, json!([result("cold"), result("warm")]), "{through}");
}

fn openai() -> OpenAi {
    let configuration = serde_json::from_str("{}").expect("a configuration");
    OpenAi::configure(configuration).expect("the plugin")
}

// --- OpenAI Chat Completions ---------------------------------------------------------------------------------------------

fn openai_turn(message: Value) -> Request {
    let ids: Vec<_> = message["tool_calls"].as_array().expect("calls").iter().map(|call| call["id"].clone()).collect();
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, message,
        {"role": "tool", "tool_call_id": ids[1], "content": "warm"}, {"role": "tool", "tool_call_id": ids[0], "content": "cold"}]});
    openai().decode_request(&context(), &head("chat"), &body.to_string()).expect("a request")
}

#[test]
fn through_an_openai_client() {
    let answer = openai().encode_response(&context(), &reply("chat"), whole()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    expect(openai_turn(answer["choices"][0]["message"].clone()), "whole");
}

/// Clients that were written for Google's own endpoint of this protocol return `extra_content` and know no `reasoning_details`.
#[test]
fn through_an_openai_client_of_googles_own_endpoint() {
    let answer = openai().encode_response(&context(), &reply("chat"), whole()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut message = answer["choices"][0]["message"].clone();
    message.as_object_mut().expect("a message").remove("reasoning_details").expect("details");
    assert_eq!(message["tool_calls"][0]["extra_content"], json!({"google": {"thought_signature": CALL}}));
    assert_eq!(message["tool_calls"][1].get("extra_content"), None);
    let (model, _) = upstream(openai_turn(message));
    let mut expected = parts();
    expected.as_array_mut().unwrap().remove(0);
    // The text's own is nowhere else.
    expected[0].as_object_mut().unwrap().remove("thoughtSignature");
    assert_eq!(model, expected);
}

#[test]
fn through_an_openai_client_s_stream() {
    let frames =
        openai().encode_events(&context(), &reply("chat"), &mut Default::default(), streamed(), true).expect("frames");
    let mut message = json!({"role": "assistant", "content": "", "tool_calls": [], "reasoning_details": []});
    for frame in frames.iter().filter(|frame| frame.data != "[DONE]") {
        let chunk: Value = serde_json::from_str(&frame.data).expect("JSON");
        let delta = &chunk["choices"][0]["delta"];
        if let Some(text) = delta["content"].as_str() {
            message["content"] = json!(message["content"].as_str().unwrap().to_owned() + text);
        }
        merge(&mut message["tool_calls"], &delta["tool_calls"]);
        merge(&mut message["reasoning_details"], &delta["reasoning_details"]);
    }
    expect(openai_turn(message), "stream");
}

/// Entries by index: strings are pieces of one, but those that name something.
fn merge(all: &mut Value, more: &Value) {
    let all = all.as_array_mut().unwrap();
    for entry in more.as_array().into_iter().flatten() {
        match all.iter_mut().find(|known| known["index"] == entry["index"]) {
            Some(known) => extend(known, entry),
            None => all.push(entry.clone()),
        }
    }
}

fn extend(known: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        let slot = &mut known[name];
        let piece = !["id", "type", "format", "name"].contains(&name.as_str());
        *slot = match (slot.clone(), value) {
            (Value::String(text), Value::String(more)) if piece => json!(text + more),
            (mut object @ Value::Object(_), Value::Object(_)) => {
                extend(&mut object, value);
                object
            }
            (_, value) => value.clone(),
        };
    }
}

// --- OpenAI Responses ----------------------------------------------------------------------------------------------------

fn responses_turn(output: &Value) -> Request {
    let mut input = vec![json!({"role": "user", "content": "x"})];
    let items = output.as_array().expect("output");
    input.extend(items.iter().cloned());
    let calls: Vec<_> =
        items.iter().filter(|item| item["type"] == "function_call").map(|item| &item["call_id"]).collect();
    for (id, text) in [(calls[1], "warm"), (calls[0], "cold")] {
        input.push(json!({"type": "function_call_output", "call_id": id, "output": text}));
    }
    let body = json!({"model": "m", "input": input, "store": false, "include": ["reasoning.encrypted_content"]});
    openai().decode_request(&context(), &head("responses"), &body.to_string()).expect("a request")
}

#[test]
fn through_a_responses_client() {
    let answer = openai().encode_response(&context(), &reply("responses"), whole()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    expect(responses_turn(&answer["output"]), "whole");
}

#[test]
fn through_a_responses_client_s_stream() {
    let frames = openai()
        .encode_events(&context(), &reply("responses"), &mut Default::default(), streamed(), true)
        .expect("frames");
    let mut events = frames
        .iter()
        .filter(|frame| frame.data != "[DONE]")
        .map(|frame| serde_json::from_str::<Value>(&frame.data).expect("JSON"));
    let done = events.rfind(|event| event["type"] == "response.completed").expect("an end");
    expect(responses_turn(&done["response"]["output"]), "stream");
}

// --- Anthropic Messages --------------------------------------------------------------------------------------------------

fn anthropic_turn(content: Value) -> Request {
    let ids: Vec<_> = content
        .as_array()
        .expect("content")
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|block| block["id"].clone())
        .collect();
    let body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": ids[1], "content": "warm"}, {"type": "tool_result", "tool_use_id": ids[0], "content": "cold"}]}]});
    Anthropic.decode_request(&context(), &head("chat"), &body.to_string()).expect("a request")
}

#[test]
fn through_an_anthropic_client() {
    let answer = Anthropic.encode_response(&context(), &reply("chat"), whole()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    expect(anthropic_turn(answer["content"].clone()), "whole");
}

#[test]
fn through_an_anthropic_client_s_stream() {
    let frames =
        Anthropic.encode_events(&context(), &reply("chat"), &mut Default::default(), streamed(), true).expect("frames");
    let mut content: Vec<Value> = Vec::new();
    for frame in frames {
        let event: Value = serde_json::from_str(&frame.data).expect("JSON");
        match event["type"].as_str() {
            Some("content_block_start") => content.push(event["content_block"].clone()),
            Some("content_block_delta") => {
                let block = content.last_mut().expect("a block");
                for (name, piece) in event["delta"].as_object().unwrap().iter().filter(|(name, _)| *name != "type") {
                    let name = if name == "partial_json" { "input" } else { name };
                    let known = block[name].as_str().unwrap_or_default().to_owned();
                    block[name] = json!(known + piece.as_str().unwrap());
                }
            }
            Some("content_block_stop") => {
                let block = content.last_mut().expect("a block");
                if let Some(input) = block["input"].as_str() {
                    block["input"] = serde_json::from_str(input).expect("arguments");
                }
            }
            _ => {}
        }
    }
    expect(anthropic_turn(content.into()), "stream");
}

/// A client that returns nothing but what its protocol knows gets what the API takes for a signature.
#[test]
fn through_a_client_that_forgets() {
    let answer = openai().encode_response(&context(), &reply("chat"), whole()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut message = answer["choices"][0]["message"].clone();
    message.as_object_mut().unwrap().retain(|name, _| ["role", "content", "tool_calls"].contains(&name.as_str()));
    for call in message["tool_calls"].as_array_mut().expect("calls") {
        call.as_object_mut().expect("a call").remove("extra_content");
    }
    let (model, _) = upstream(openai_turn(message));
    assert_eq!(model[1]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(model[2].get("thoughtSignature"), None);
}
