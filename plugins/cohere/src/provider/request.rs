//! A request to `POST /v2/chat` (<https://docs.cohere.com/v2/reference/chat>; ranges from the SDK's documentation of `chat`).
//!
//! What Cohere would refuse is made to fit or left out, each with a note. Its own top-level fields are taken from `extra` of any
//! client under Cohere's names.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::reasoning::{self, Plan};
use super::{messages, tools};
use crate::FORMAT;
use crate::manifest::CHAT;
use portcullis_plugin::notes::Notes;

/// Cohere's own, which cross as they are.
const OWN: &[&str] = &["safety_mode", "documents", "citation_options", "strict_tools", "priority"];
const MOST_STOPS: usize = 5;
const MOST_K: u32 = 500;

pub fn encode(target: &Target, request: &Request) -> Result<UpstreamRequest, Failure> {
    let mut notes = Notes::default();
    let cap = cap(target, request, &mut notes);
    let able = target.capabilities.is_empty() || target.capabilities.iter().any(|able| able == "reasoning");
    let plan = reasoning::plan(request, able, cap, &mut notes);

    let mut writer = Writer::with_capacity(1024 + text_bytes(request));
    writer.begin_object();
    writer.member_string("model", &target.model);
    messages::write(&mut writer, request, able && plan != Plan::Off, &mut notes)?;
    let tools = tools::write(&mut writer, target, request, &mut notes);
    format(&mut writer, request, tools, &mut notes);
    sampling(&mut writer, request, &mut notes);
    if let Some(cap) = cap {
        writer.member_number("max_tokens", cap);
    }
    reasoning::write(&mut writer, plan);
    if let Some(logprobs) = &request.logprobs {
        writer.member_bool("logprobs", true);
        if logprobs.top > 0 {
            notes.dropped("top_logprobs");
        }
    }
    extra(&mut writer, request, &mut notes);
    writer.member_bool("stream", target.stream);
    writer.end_object();

    // These models answer once.
    let many = request.choices.is_some_and(|choices| choices > 1);
    for (name, given) in [("n", many), ("user", request.user.is_some()), ("metadata", !request.metadata.is_empty())] {
        if given {
            notes.dropped(name);
        }
    }
    Ok(UpstreamRequest::new(CHAT, writer.finish(), notes.into_vec()))
}

/// About what the texts of a request come to, so that a long one is not moved again and again as it is written.
fn text_bytes(request: &Request) -> usize {
    let text = |part: &Part| match &part.content {
        Content::Text(text) => text.len() + text.len() / 16 + 64,
        _ => 256,
    };
    request.messages.iter().flat_map(|message| &message.parts).map(text).sum()
}

/// The output cap. More than the model gives is an error ("max tokens must be less than or equal to 4096").
fn cap(target: &Target, request: &Request, notes: &mut Notes) -> Option<u32> {
    let asked = target.max_output_tokens.or(request.max_output_tokens)?;
    if target.max_output > 0 && asked > target.max_output {
        notes.clamped("max_tokens");
        return Some(target.max_output);
    }
    Some(asked)
}

/// "The parameter is not supported when used in combinations with the `documents` or `tools` parameters."
fn format(writer: &mut Writer, request: &Request, tools: bool, notes: &mut Notes) {
    let given = match &request.response_format {
        None | Some(ResponseFormat::Text) => return,
        Some(ResponseFormat::Other(item)) if item.format != FORMAT => return notes.dropped("response_format"),
        Some(given) => given,
    };
    if tools || request.extra.iter().any(|field| field.name == "documents" && field.value != "null") {
        return notes.dropped("response_format");
    }
    writer.key("response_format");
    if let ResponseFormat::Other(item) = given {
        return writer.raw(&item.value);
    }
    writer.begin_object();
    writer.member_string("type", "json_object");
    if let ResponseFormat::JsonSchema(schema) = given {
        writer.member_raw("json_schema", &schema.schema);
    }
    writer.end_object();
}

fn sampling(writer: &mut Writer, request: &Request, notes: &mut Notes) {
    let sampling = &request.sampling;
    let mut ranged = |name: &str, value: Option<f64>, least: f64, most: f64| {
        let value = value.filter(|value| value.is_finite())?;
        let within = value.clamp(least, most);
        if within != value {
            notes.clamped(name);
        }
        Some(within)
    };
    // "temperature must be between 0 and 1.0 inclusive"
    let temperature = ranged("temperature", sampling.temperature, 0.0, 1.0);
    let p = ranged("top_p", sampling.top_p, 0.01, 0.99);
    let frequency = ranged("frequency_penalty", sampling.frequency_penalty, 0.0, 1.0).filter(|penalty| *penalty > 0.0);
    let mut presence = ranged("presence_penalty", sampling.presence_penalty, 0.0, 1.0).filter(|penalty| *penalty > 0.0);
    // "cannot specify both frequency_penalty and presence_penalty"
    if frequency.is_some() && presence.take().is_some() {
        notes.dropped("presence_penalty");
    }
    for (name, value) in
        [("temperature", temperature), ("p", p), ("frequency_penalty", frequency), ("presence_penalty", presence)]
    {
        if let Some(value) = value {
            writer.member_float(name, value);
        }
    }
    if let Some(k) = sampling.top_k {
        if k > MOST_K {
            notes.clamped("top_k");
        }
        writer.member_number("k", k.min(MOST_K));
    }
    match sampling.seed {
        Some(seed) if seed >= 0 => writer.member_number("seed", seed),
        Some(_) => notes.dropped("seed"),
        None => {}
    }
    if request.stop.is_empty() {
        return;
    }
    if request.stop.len() > MOST_STOPS {
        notes.clamped("stop");
    }
    writer.key("stop_sequences");
    writer.begin_array();
    for sequence in request.stop.iter().take(MOST_STOPS) {
        writer.string(sequence);
    }
    writer.end_array();
}

fn extra(writer: &mut Writer, request: &Request, notes: &mut Notes) {
    for field in request.extra.iter().filter(|field| field.value != "null") {
        if request.format == FORMAT || OWN.contains(&field.name.as_str()) {
            writer.member_raw(&field.name, &field.value);
        } else {
            notes.dropped(&field.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alternatives have no place.
    #[test]
    fn logprobs_are_of_tokens_alone() {
        let mut request = Request::new("openai-chat", "m");
        request.messages = vec![Message::new(Role::User, vec![Part::text("Hi")])];
        let target = Target {
            model: "m".to_owned(),
            max_output_tokens: None,
            stream: false,
            capabilities: Vec::new(),
            max_output: 0,
        };
        for (top, notes) in [(0, vec![]), (3, vec![Note::dropped("top_logprobs")])] {
            request.logprobs = Some(Logprobs { top });
            let encoded = encode(&target, &request).unwrap();
            let body = String::from_utf8(encoded.body).expect("text");
            assert!(body.contains(r#""logprobs":true"#), "{body}");
            assert_eq!(encoded.notes, notes);
        }
    }
}
