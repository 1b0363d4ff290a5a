//! `options`: how a model samples and runs (`ModelOptions` of the API's description, `Options` of the SDK).

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use portcullis_plugin::notes::Notes;

pub const NAME: &str = "options";

/// Options that clients of other protocols name at the top; vLLM's word for one of them is Ollama's by another name.
const AT_TOP: &[(&str, &str)] = &[
    ("min_p", "min_p"),
    ("typical_p", "typical_p"),
    ("repeat_penalty", "repeat_penalty"),
    ("repetition_penalty", "repeat_penalty"),
    ("repeat_last_n", "repeat_last_n"),
    ("num_ctx", "num_ctx"),
    ("num_keep", "num_keep"),
];

/// Whether a top-level field is an option.
pub fn is_option(name: &str) -> bool {
    name == NAME || AT_TOP.iter().any(|(own, _)| *own == name)
}

/// Writes the options, the client's own last: but for what the gateway decides, they are what it meant.
pub fn write(writer: &mut Writer, target: &Target, request: &Request, notes: &mut Notes) {
    let sampling = &request.sampling;
    let mut options: Vec<Field> = Vec::new();
    let mut set = |name: &str, value: String| {
        options.retain(|option| option.name != name);
        options.push(Field::new(name, value));
    };
    let numbers = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ];
    for (name, value) in numbers {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            set(name, value.to_string());
        }
    }
    if let Some(k) = sampling.top_k {
        set("top_k", k.to_string());
    }
    if let Some(seed) = sampling.seed {
        set("seed", seed.to_string());
    }
    if !request.stop.is_empty() {
        let stop: Vec<_> = request.stop.iter().map(|sequence| json::quote(sequence)).collect();
        set("stop", format!("[{}]", stop.join(",")));
    }
    for field in request.extra.iter().filter(|field| field.value != "null") {
        if let Some((_, option)) = AT_TOP.iter().find(|(own, _)| *own == field.name) {
            set(option, field.value.clone());
        }
    }
    if let Some(own) = request.extra.iter().find(|field| field.name == NAME && field.value != "null") {
        match members(&own.value) {
            Some(members) => members.into_iter().for_each(|member| set(&member.name, member.value)),
            None => notes.dropped(NAME),
        }
    }
    if let Some(cap) = cap(target, request, notes) {
        set("num_predict", cap.to_string());
    }
    if options.is_empty() {
        return;
    }
    writer.key(NAME);
    writer.begin_object();
    for option in options {
        writer.member_raw(&option.name, &option.value);
    }
    writer.end_object();
}

/// The output cap, no more than the operator says the model gives.
fn cap(target: &Target, request: &Request, notes: &mut Notes) -> Option<u32> {
    let asked = target.max_output_tokens.or(request.max_output_tokens)?;
    if target.max_output > 0 && asked > target.max_output {
        notes.clamped("max_tokens");
        return Some(target.max_output);
    }
    Some(asked)
}

fn members(object: &str) -> Option<Vec<Field>> {
    portcullis_plugin::wire_object! {
        struct WireOptions {}
    }
    json::from_str::<WireOptions>(object).ok().map(|options| options.extra)
}
