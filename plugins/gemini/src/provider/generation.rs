//! `generationConfig`: sampling, limits, thinking and the answer's format
//! (<https://ai.google.dev/api/generate-content#v1beta.GenerationConfig>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::reasoning::{self, Thinking};
use super::schema::{self, Subset};
use super::tools;
use crate::FORMAT;
use crate::catalogue::Traits;
use crate::wire::write;
use portcullis_plugin::notes::Notes;

/// More the API refuses.
const MAX_STOPS: usize = 5;
/// The end of a penalty's range, which the API leaves out.
const MAX_PENALTY: f64 = 1.99;

const JSON_INSTRUCTION: &str =
    "Respond with a single valid JSON object and nothing else: no introduction, no explanation, no code fence.";

/// What an answer must look like.
#[derive(Default)]
pub struct Output {
    mime_type: Option<&'static str>,
    /// `responseJsonSchema` or `responseSchema`.
    schema: Option<(&'static str, String)>,
    /// For what the model cannot be held to: words to it, after the system prompt.
    pub instruction: Option<String>,
}

/// Before Gemini 3 JSON and functions exclude each other; then the model is asked.
pub fn output(request: &Request, traits: &Traits, notes: &mut Notes) -> Output {
    let native = request.format == FORMAT;
    let json = |schema| Output { mime_type: Some("application/json"), schema, instruction: None };
    let ask = !native && tools::offers_functions(request) && !traits.json_with_tools;
    match &request.response_format {
        None | Some(ResponseFormat::Text) => Output::default(),
        Some(ResponseFormat::JsonObject) if ask => {
            notes.approximated("response_format");
            Output { instruction: Some(JSON_INSTRUCTION.to_owned()), ..Output::default() }
        }
        Some(ResponseFormat::JsonObject) => json(None),
        Some(ResponseFormat::JsonSchema(_))
            if request.extra.iter().any(|field| native && field.name == "generationConfig.responseSchema") =>
        {
            json(None)
        }
        Some(ResponseFormat::JsonSchema(schema)) if native => json(Some(("responseJsonSchema", schema.schema.clone()))),
        Some(ResponseFormat::JsonSchema(schema)) if ask => {
            notes.approximated("response_format");
            let text = format!("{JSON_INSTRUCTION} It follows this JSON Schema:\n{}", schema.schema);
            Output { instruction: Some(text), ..Output::default() }
        }
        Some(ResponseFormat::JsonSchema(wanted)) => {
            let (member, subset) = if traits.json_schema {
                ("responseJsonSchema", Subset::JsonSchema)
            } else {
                ("responseSchema", Subset::OpenApi)
            };
            let fitted = schema::fit(&wanted.schema, subset);
            if fitted.loosened {
                notes.approximated("response_format.schema");
            }
            json(fitted.schema.map(|schema| (member, schema.to_string())))
        }
        Some(ResponseFormat::Other(item)) => {
            if item.format != FORMAT {
                notes.dropped("response_format");
            }
            Output::default()
        }
    }
}

pub fn write(
    writer: &mut Writer,
    target: &Target,
    request: &Request,
    traits: &Traits,
    output: &Output,
    notes: &mut Notes,
) {
    let native = request.format == FORMAT;
    let mut config = Writer::new();
    config.begin_object();
    sampling(&mut config, &request.sampling, native, notes);
    if let Some(most) = cap(target, request, notes) {
        config.member_number("maxOutputTokens", most);
    }
    stops(&mut config, &request.stop, native, notes);
    if let Some(choices) = request.choices.filter(|choices| native || *choices != 1) {
        config.member_number("candidateCount", choices);
    }
    if let Some(logprobs) = &request.logprobs {
        config.member_bool("responseLogprobs", true);
        if logprobs.top > 0 {
            config.member_number("logprobs", logprobs.top);
        }
    }
    if let Some(mime_type) = output.mime_type {
        config.member_string("responseMimeType", mime_type);
    }
    if let Some((member, schema)) = &output.schema {
        config.member_raw(member, schema);
    }
    if native {
        write::nested(&mut config, &request.extra, "generationConfig");
    } else {
        thinking(&mut config, &reasoning::plan(request, traits, notes));
    }
    config.end_object();
    let config = config.finish();
    if config != "{}" {
        writer.member_raw("generationConfig", &config);
    }
}

/// The output cap: the target's or the client's, at most what the model gives.
fn cap(target: &Target, request: &Request, notes: &mut Notes) -> Option<u32> {
    let asked = target.max_output_tokens.or(request.max_output_tokens)?;
    if target.max_output > 0 && asked > target.max_output {
        notes.clamped("max_tokens");
        return Some(target.max_output);
    }
    Some(asked)
}

fn sampling(config: &mut Writer, sampling: &Sampling, native: bool, notes: &mut Notes) {
    let mut float = |config: &mut Writer, name: &str, note: &str, value: Option<f64>, least: f64, most: f64| {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        // The API tells its own clients what is wrong.
        let clamped = if native { value } else { value.clamp(least, most) };
        if clamped != value {
            notes.clamped(note);
        }
        config.member_float(name, clamped);
    };
    float(config, "temperature", "temperature", sampling.temperature, 0.0, 2.0);
    float(config, "topP", "top_p", sampling.top_p, 0.0, 1.0);
    float(config, "frequencyPenalty", "frequency_penalty", sampling.frequency_penalty, -2.0, MAX_PENALTY);
    float(config, "presencePenalty", "presence_penalty", sampling.presence_penalty, -2.0, MAX_PENALTY);
    if let Some(top_k) = sampling.top_k {
        config.member_number("topK", top_k);
    }
    if let Some(seed) = sampling.seed {
        // 32 bits here: of a longer one the lower half, which is as good a seed.
        let short = seed as i32;
        if i64::from(short) != seed {
            notes.approximated("seed");
        }
        config.member_number("seed", short);
    }
}

fn stops(config: &mut Writer, stops: &[String], native: bool, notes: &mut Notes) {
    let mut taken: Vec<_> = stops.iter().filter(|stop| native || !stop.is_empty()).collect();
    if !native {
        taken.truncate(MAX_STOPS);
    }
    if taken.len() < stops.len() {
        notes.dropped("stop");
    }
    if taken.is_empty() {
        return;
    }
    config.key("stopSequences");
    config.begin_array();
    for stop in taken {
        config.string(stop);
    }
    config.end_array();
}

fn thinking(config: &mut Writer, thinking: &Thinking) {
    if *thinking == Thinking::default() {
        return;
    }
    config.key("thinkingConfig");
    config.begin_object();
    if let Some(level) = &thinking.level {
        config.member_string("thinkingLevel", level);
    }
    if let Some(budget) = thinking.budget {
        config.member_number("thinkingBudget", budget);
    }
    if let Some(include) = thinking.include {
        config.member_bool("includeThoughts", include);
    }
    config.end_object();
}
