//! A request to Converse (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
//!
//! What Converse or the model would refuse is made to fit or left out, each with a note. Converse's own top-level fields
//! (guardrails, tiers, additional fields, …) are taken from `extra` of any client under Converse's names, which no other protocol has.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;

use super::content::Encoding;
use super::names::Documents;
use super::reasoning::{self, Plan};
use super::{media, messages, output, tools};
use crate::FORMAT;
use crate::catalogue::{Traits, traits};
use crate::family::Family;
use crate::manifest::{STREAM, WHOLE};
use portcullis_plugin::media::fitted;
use portcullis_plugin::notes::Notes;

const ADDITIONAL: &str = "additionalModelRequestFields";
const RESPONSE_PATHS: &str = "additionalModelResponseFieldPaths";
const METADATA: &str = "requestMetadata";
/// Converse's own, which cross as they are.
const OWN: &[&str] =
    &["guardrailConfig", "performanceConfig", "promptVariables", "serviceTier", METADATA, RESPONSE_PATHS];
const MAX_METADATA: usize = 16;

pub fn encode(target: &Target, request: &Request) -> Result<UpstreamRequest, Failure> {
    let family = Family::of(&target.model);
    let traits = traits(&target.capabilities);
    let mut notes = Notes::default();
    let request = fitted(request, "Bedrock", &mut notes, media::takes)?;
    let request = &*request;
    let cap = cap(target, request, &mut notes);
    let plan = reasoning::plan(request, family, &traits, cap.unwrap_or(0), &mut notes);
    let output = output::of(request, target, &mut notes);

    let mut writer = Writer::with_capacity(1024 + text_bytes(request));
    writer.begin_object();
    let mut encoding = Encoding {
        family,
        opaque: family.is_opaque(&target.model),
        documents: Documents::default(),
        notes: &mut notes,
    };
    messages::write(&mut writer, request, output.instruction.as_deref(), &mut encoding)?;
    let sampled = inference(&mut writer, request, family, &traits, &plan, cap, &mut notes);
    tools::write(&mut writer, target, request, family, &plan, &mut notes);
    output::write(&mut writer, &output, &plan);
    additional(&mut writer, request, family, &plan, sampled, &mut notes);
    own_fields(&mut writer, request, family, &mut notes);
    writer.end_object();

    // These models answer once.
    let many = request.choices.is_some_and(|choices| choices > 1);
    for (name, given) in [("n", many), ("logprobs", request.logprobs.is_some()), ("user", request.user.is_some())] {
        if given {
            notes.dropped(name);
        }
    }
    Ok(UpstreamRequest {
        path: vec![Pair::new("model", target.model.clone())],
        ..UpstreamRequest::new(if target.stream { STREAM } else { WHOLE }, writer.finish(), notes.into_vec())
    })
}

/// About what the texts of a request come to, so that a long one is not moved again and again as it is written.
fn text_bytes(request: &Request) -> usize {
    let text = |part: &Part| match &part.content {
        Content::Text(text) => text.len() + text.len() / 16 + 64,
        _ => 256,
    };
    request.messages.iter().flat_map(|message| &message.parts).map(text).sum()
}

/// The output cap: the target's or the client's, no more than the model gives. Without one the service takes the model's most.
fn cap(target: &Target, request: &Request, notes: &mut Notes) -> Option<u32> {
    let asked = target.max_output_tokens.or(request.max_output_tokens)?;
    if target.max_output > 0 && asked > target.max_output {
        notes.clamped("max_tokens");
        return Some(target.max_output);
    }
    Some(asked)
}

/// Writes `inferenceConfig`; returns `top_k` where the model takes it.
fn inference(
    writer: &mut Writer,
    request: &Request,
    family: Family,
    traits: &Traits,
    plan: &Plan,
    cap: Option<u32>,
    notes: &mut Notes,
) -> Option<u32> {
    let sampling = &request.sampling;
    // Claude takes the defaults alone while it thinks, and from 4.7 on at all times.
    let fixed = plan.bare || family == Family::Claude && (!traits.sampling || plan.thinks);
    let mut ranged = |name: &str, value: Option<f64>| {
        let value = value.filter(|value| value.is_finite())?;
        let within = value.clamp(0.0, 1.0);
        if fixed {
            if within < 1.0 {
                notes.dropped(name);
            }
            return None;
        }
        if within != value {
            notes.clamped(name);
        }
        Some(within)
    };
    let temperature = ranged("temperature", sampling.temperature);
    let mut top_p = ranged("top_p", sampling.top_p);
    // Claude 4.5 and later take one of the two; 1 is no restriction.
    if family == Family::Claude && temperature.is_some() && top_p.take().is_some_and(|top_p| top_p < 1.0) {
        notes.dropped("top_p");
    }
    let top_k = sampling.top_k.filter(|_| {
        let taken = !fixed && matches!(family, Family::Claude | Family::Nova | Family::Nova2 | Family::Mistral);
        if !taken {
            notes.dropped("top_k");
        }
        taken
    });
    for (name, set) in [
        ("frequency_penalty", sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("presence_penalty", sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("seed", sampling.seed.is_some()),
    ] {
        if set {
            notes.dropped(name);
        }
    }
    let visible = |sequence: &&String| !sequence.trim().is_empty();
    if request.stop.iter().any(|sequence| !visible(&sequence)) {
        notes.dropped("stop");
    }
    let stop: Vec<_> = request.stop.iter().filter(visible).collect();
    let cap = cap.filter(|_| !plan.bare);
    if cap.is_none() && temperature.is_none() && top_p.is_none() && stop.is_empty() {
        return top_k;
    }
    writer.key("inferenceConfig");
    writer.begin_object();
    if let Some(cap) = cap {
        writer.member_number("maxTokens", cap);
    }
    if let Some(temperature) = temperature {
        writer.member_float("temperature", temperature);
    }
    if let Some(top_p) = top_p {
        writer.member_float("topP", top_p);
    }
    if !stop.is_empty() {
        writer.key("stopSequences");
        writer.begin_array();
        for sequence in stop {
            writer.string(sequence);
        }
        writer.end_array();
    }
    writer.end_object();
    top_k
}

/// What Converse does not model: the client's own fields, then thinking and `top_k` by family.
fn additional(
    writer: &mut Writer,
    request: &Request,
    family: Family,
    plan: &Plan,
    top_k: Option<u32>,
    notes: &mut Notes,
) {
    portcullis_plugin::wire_object! {
        struct WireFields {}
    }
    let given = request.extra.iter().find(|field| field.name == ADDITIONAL);
    let mut fields = match given.map(|given| json::from_str::<WireFields>(&given.value)) {
        Some(Ok(fields)) => fields.extra,
        Some(Err(_)) => {
            notes.dropped(ADDITIONAL);
            Vec::new()
        }
        None => Vec::new(),
    };
    let mut add = |name: &str, value: String| {
        if !fields.iter().any(|field| field.name == name) {
            fields.push(Field::new(name, value));
        }
    };
    if let Some((name, value)) = &plan.field {
        add(name, value.clone());
    }
    match (top_k, family) {
        // <https://docs.aws.amazon.com/nova/latest/userguide/using-converse-api.html>, recordings.
        (Some(top_k), Family::Nova | Family::Nova2) => add("inferenceConfig", format!(r#"{{"topK":{top_k}}}"#)),
        (Some(top_k), _) => add("top_k", top_k.to_string()),
        (None, _) => {}
    }
    if fields.is_empty() {
        return;
    }
    writer.key(ADDITIONAL);
    writer.begin_object();
    for field in fields {
        writer.member_raw(&field.name, &field.value);
    }
    writer.end_object();
}

fn own_fields(writer: &mut Writer, request: &Request, family: Family, notes: &mut Notes) {
    let native = request.format == FORMAT;
    for field in &request.extra {
        let name = field.name.as_str();
        let fits = match name {
            RESPONSE_PATHS => field.value.starts_with('['),
            _ => field.value.starts_with('{'),
        };
        if name == ADDITIONAL {
            continue;
        } else if OWN.contains(&name) && fits || native {
            writer.member_raw(name, &field.value);
        } else if field.value.trim() != "null" {
            notes.dropped(name);
        }
    }
    let given = |name: &str| request.extra.iter().any(|field| field.name == name);
    // Claude tells which sequence ended its text, if asked.
    if family == Family::Claude && !request.stop.is_empty() && !given(RESPONSE_PATHS) {
        writer.member_raw(RESPONSE_PATHS, r#"["/stop_sequence"]"#);
    }
    if !given(METADATA) {
        metadata(writer, &request.metadata, notes);
    }
}

/// `requestMetadata`: at most 16 pairs of at most 256 characters of a plain alphabet (service model).
fn metadata(writer: &mut Writer, pairs: &[Pair], notes: &mut Notes) {
    let plain = |text: &str| {
        text.len() <= 256
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b":_@$#=/+,-.".contains(&byte)
            })
    };
    let fits = |pair: &&Pair| !pair.name.is_empty() && plain(&pair.name) && plain(&pair.value);
    let fitting: Vec<_> = pairs.iter().filter(fits).take(MAX_METADATA).collect();
    if fitting.len() < pairs.len() {
        notes.dropped("metadata");
    }
    if fitting.is_empty() {
        return;
    }
    writer.key(METADATA);
    writer.begin_object();
    for pair in fitting {
        writer.member_string(&pair.name, &pair.value);
    }
    writer.end_object();
}
