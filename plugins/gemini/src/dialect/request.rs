//! A client's request (<https://ai.google.dev/api/generate-content>).
//!
//! Fields without a place in the IR go to `extra` by name; members of objects that the IR takes apart go there under
//! `OBJECT.NAME` (`generationConfig.mediaResolution`, `toolConfig.retrievalConfig`), and what the IR cannot say whole goes there as
//! it is (`generationConfig.thinkingConfig`).

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use super::tools::{self, WireTool, WireToolConfig};
use crate::wire::part::{self, Ids, WireContent, nest};
use crate::wire::{Number, OneOrMany, Word};
use crate::{FORMAT, ids};

wire! {
    struct WireRequest {
        contents "contents": OneOrMany<WireContent>,
        system "systemInstruction": Option<WireContent>,
        tools "tools": OneOrMany<WireTool>,
        tool_config "toolConfig": Option<WireToolConfig>,
        config "generationConfig": Option<WireConfig>,
        // The path says it.
        model "model": Option<Box<RawValue>>,
    }
    struct WireConfig {
        temperature "temperature": Option<Number>,
        top_p "topP": Option<Number>,
        top_k "topK": Option<Number>,
        candidates "candidateCount": Option<Number>,
        most "maxOutputTokens": Option<Number>,
        stops "stopSequences": OneOrMany<String>,
        presence "presencePenalty": Option<Number>,
        frequency "frequencyPenalty": Option<Number>,
        seed "seed": Option<Number>,
        wants_logprobs "responseLogprobs": Option<bool>,
        logprobs "logprobs": Option<Number>,
        mime_type "responseMimeType": Option<String>,
        schema "responseSchema": Option<Box<RawValue>>,
        json_schema "responseJsonSchema": Option<Box<RawValue>>,
        thinking "thinkingConfig": Option<Box<RawValue>>,
    }
    struct WireThinking {
        include "includeThoughts": Option<bool>,
        budget "thinkingBudget": Option<Number>,
        level "thinkingLevel": Option<Word>,
    }
}

pub fn decode(context: &Context, head: &Head, body: &str) -> Result<Request, Failure> {
    let wire: WireRequest = json::parse(body)?;
    let model = head.path.iter().find(|pair| pair.name == "model").map(|pair| pair.value.as_str()).unwrap_or_default();
    let mut request = Request::new(FORMAT, model);
    request.stream = head.route.ends_with("stream");
    // Every stream of this protocol ends with its usage.
    request.stream_usage = request.stream;
    request.messages = messages(context, wire.system, wire.contents.0)?;
    request.tools = tools::decode(wire.tools.0)?;
    request.extra = wire.extra;
    if let Some(config) = wire.tool_config {
        request.tool_choice = tools::choice(config, &mut request.extra);
    }
    if let Some(config) = wire.config {
        generation(&mut request, config);
    }
    Ok(request)
}

// --- contents ----------------------------------------------------------------------------------------------------------

/// Gives ids to calls and results that have none: a result answers the first call of its name that has no answer.
struct RequestIds<'a> {
    context: &'a Context,
    content: usize,
    part: usize,
    /// Id and function of calls without an answer.
    waiting: Vec<(String, String)>,
}

impl Ids for RequestIds<'_> {
    fn call(&mut self, id: Option<String>, name: &str) -> String {
        let id =
            id.filter(|id| !id.is_empty()).unwrap_or_else(|| ids::in_request(self.context, self.content, self.part));
        self.waiting.push((id.clone(), name.to_owned()));
        id
    }

    fn result(&mut self, id: Option<String>, name: &str) -> String {
        let waiting = &mut self.waiting;
        let found = match &id {
            Some(id) if !id.is_empty() => waiting.iter().position(|(known, _)| known == id),
            _ => waiting.iter().position(|(_, known)| known == name),
        };
        match (found, id.filter(|id| !id.is_empty())) {
            (Some(at), _) => waiting.remove(at).0,
            (None, Some(id)) => id,
            (None, None) => ids::in_request(self.context, self.content, self.part),
        }
    }
}

fn messages(
    context: &Context,
    system: Option<WireContent>,
    contents: Vec<WireContent>,
) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::with_capacity(contents.len() + 1);
    let mut ids = RequestIds { context, content: 0, part: 0, waiting: Vec::new() };
    if let Some(system) = system.filter(|system| !system.parts.0.is_empty()) {
        let parts = system.parts.0.into_iter().map(|part| part.into_part(&mut ids)).collect();
        messages.push(Message::new(Role::System, parts));
    }
    if contents.is_empty() {
        return Err(Failure::invalid("contents", "contents is not specified"));
    }
    for (index, content) in contents.into_iter().enumerate() {
        let role = match content.role.as_ref().map(|role| role.0.to_ascii_lowercase()).as_deref() {
            None | Some("" | "user") => Role::User,
            Some("model") => Role::Assistant,
            Some("function" | "tool") => Role::Tool,
            Some(_) => {
                return Err(Failure::invalid(
                    &format!("contents[{index}].role"),
                    "Please use a valid role: user, model.",
                ));
            }
        };
        ids.content = index;
        let mut parts = Vec::with_capacity(content.parts.0.len());
        for (at, part) in content.parts.0.into_iter().enumerate() {
            ids.part = at;
            parts.push(part.into_part(&mut ids));
        }
        part::join(&mut parts);
        messages.push(Message { extra: content.extra, ..Message::new(role, parts) });
    }
    Ok(messages)
}

// --- generationConfig --------------------------------------------------------------------------------------------------

fn generation(request: &mut Request, config: WireConfig) {
    let float = |number: Option<Number>| number.map(|number| number.0);
    request.sampling = Sampling {
        temperature: float(config.temperature),
        top_p: float(config.top_p),
        top_k: config.top_k.map(Number::small),
        frequency_penalty: float(config.frequency),
        presence_penalty: float(config.presence),
        seed: config.seed.map(|seed| seed.0 as i64),
    };
    request.choices = config.candidates.map(Number::small);
    request.max_output_tokens = config.most.map(Number::small);
    request.stop = config.stops.0;
    let mut extra = config.extra;
    match (config.wants_logprobs, config.logprobs) {
        (Some(true), top) => request.logprobs = Some(Logprobs { top: top.map_or(0, Number::small) }),
        (wants, top) => {
            extra.extend(wants.map(|wants| Field::new("responseLogprobs", wants.to_string())));
            extra.extend(top.map(|top| Field::new("logprobs", top.small().to_string())));
        }
    }
    request.response_format = format(config.mime_type, config.schema, config.json_schema, &mut extra);
    if let Some(thinking) = config.thinking.filter(|thinking| !json::is_null(thinking)) {
        request.reasoning = reasoning(&thinking);
        extra.push(Field::new("thinkingConfig", thinking.get()));
    }
    nest(&mut request.extra, "generationConfig", extra);
}

fn format(
    mime_type: Option<String>,
    schema: Option<Box<RawValue>>,
    json_schema: Option<Box<RawValue>>,
    extra: &mut Vec<Field>,
) -> Option<ResponseFormat> {
    let schema = schema.filter(|schema| !json::is_null(schema));
    let json_schema = json_schema.filter(|schema| !json::is_null(schema));
    let wanted = |schema: String| {
        ResponseFormat::JsonSchema(JsonSchema { name: None, description: None, schema, strict: Some(true) })
    };
    match (mime_type.as_deref(), schema, json_schema) {
        (Some("application/json"), None, Some(schema)) => Some(wanted(schema.get().to_owned())),
        (Some("application/json"), Some(schema), None) => {
            extra.push(Field::new("responseSchema", schema.get()));
            Some(wanted(tools::json_schema(&schema)))
        }
        (Some("application/json"), None, None) => Some(ResponseFormat::JsonObject),
        (None, None, None) => None,
        (mime_type, schema, json_schema) => {
            // Enumerations as text, or what contradicts itself: the API's to judge.
            extra.extend(mime_type.map(|mime_type| Field::new("responseMimeType", json::quote(mime_type))));
            extra.extend(schema.map(|schema| Field::new("responseSchema", schema.get())));
            extra.extend(json_schema.map(|schema| Field::new("responseJsonSchema", schema.get())));
            None
        }
    }
}

/// What other providers are told of `thinkingConfig`; this one gets it as it was.
fn reasoning(thinking: &RawValue) -> Option<ReasoningSettings> {
    let wire: WireThinking = json::from_str(thinking.get()).ok()?;
    let level =
        wire.level.map(|level| level.0.to_ascii_lowercase()).filter(|level| level != "thinking_level_unspecified");
    // -1 leaves it to the model, 0 turns it off.
    let (budget, enabled) = match wire.budget {
        Some(Number(budget)) if budget < 0.0 => (None, Some(true)),
        Some(Number(0.0)) => (None, Some(false)),
        Some(budget) => (Some(budget.small()), Some(true)),
        None => (None, None),
    };
    let summary = wire.include.map(|include| if include { "auto" } else { "omitted" }.to_owned());
    if level.is_none() && budget.is_none() && enabled.is_none() && wire.include != Some(true) {
        return None;
    }
    let enabled = enabled.or((wire.include == Some(true)).then_some(true));
    Some(ReasoningSettings { effort: level, budget, enabled, summary })
}
