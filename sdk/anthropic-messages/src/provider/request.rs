//! A request to the API (<https://platform.claude.com/docs/en/api/messages/create>).
//!
//! What the API or the model would refuse is made to fit or left out, each with a note. Fields of `extra` are put back where the
//! client spoke this protocol; another protocol's are reported.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::content;
use super::messages;
use super::names;
use super::reasoning::{self, Plan, Thinking};
use super::schema::{self, Fitted};
use crate::catalogue::{self, Traits};
use crate::platform::Platform;
use crate::{FORMAT, cache};
use portcullis_plugin::media;
use portcullis_plugin::notes::Notes;

/// `max_tokens` where neither the client nor the catalogue says: room for a long answer, whatever the model.
const DEFAULT_MAX_TOKENS: u32 = 4096;
const JSON_INSTRUCTION: &str =
    "Respond with a single valid JSON object and nothing else: no introduction, no explanation, no code fence.";

/// The body for a platform, and what of the request did not cross.
///
/// # Errors
/// Nothing is left of the request without what is not taken.
pub fn encode(platform: &Platform, target: &Target, request: &Request) -> Result<(Json, Vec<Note>), Failure> {
    let native = request.format == FORMAT;
    let mut notes = Notes::default();
    let files = native && platform.files;
    let request = media::fitted(request, platform.name, &mut notes, |kind, media| content::takes(kind, media, files))?;
    let request = &*request;
    let traits = catalogue::traits(&target.model);
    let cap = cap(target, request, &mut notes);
    let plan = reasoning::plan(request, &traits, cap.unwrap_or(0), &mut notes);
    let max_tokens = cap.unwrap_or(match plan.thinking {
        Thinking::Budget(budget) => DEFAULT_MAX_TOKENS.saturating_add(budget),
        _ => DEFAULT_MAX_TOKENS,
    });
    let output = output_format(request, target, &mut notes);

    let mut writer = Writer::with_capacity(1024 + text_bytes(request));
    writer.begin_object();
    match platform.version {
        Some(version) => writer.member_string("anthropic_version", version),
        None => writer.member_string("model", &target.model),
    }
    writer.member_number("max_tokens", max_tokens);
    messages::write(&mut writer, request, output.instruction.as_deref(), &mut notes)?;
    tools(&mut writer, platform, request, &plan, &mut notes);
    stop(&mut writer, request, &mut notes);
    sampling(&mut writer, request, &traits, &plan, &mut notes);
    thinking(&mut writer, request, &plan);
    output_config(&mut writer, request, &plan, output.format.as_deref());
    metadata(&mut writer, request);
    if target.stream {
        writer.member_bool("stream", true);
    }
    for field in &request.extra {
        if !native || platform.refuses(&field.name) {
            report(field, &mut notes);
        } else if !field.name.contains('.') && field.name != "thinking" {
            writer.member_raw(&field.name, &field.value);
        }
    }
    writer.end_object();

    // These models answer once.
    if request.choices.is_some_and(|choices| choices > 1) {
        notes.dropped("n");
    }
    if request.logprobs.is_some() {
        notes.dropped("logprobs");
    }
    if !request.metadata.is_empty() {
        notes.dropped("metadata");
    }
    Ok((writer.finish(), notes.into_vec()))
}

/// About what the texts of a request come to, so that a long one is not moved again and again as it is written.
fn text_bytes(request: &Request) -> usize {
    let text = |part: &Part| match &part.content {
        Content::Text(text) => text.len() + text.len() / 16 + 64,
        _ => 256,
    };
    request.messages.iter().flat_map(|message| &message.parts).map(text).sum()
}

/// A field of another protocol, or that the platform has not; null says nothing and nothing of it is lost.
fn report(field: &Field, notes: &mut Notes) {
    if field.value.trim() != "null" {
        notes.dropped(&field.name);
    }
}

/// The output cap: the target's, the client's, or the most the model gives.
fn cap(target: &Target, request: &Request, notes: &mut Notes) -> Option<u32> {
    let asked = target.max_output_tokens.or(request.max_output_tokens);
    match (asked, target.max_output) {
        (Some(asked), most) if most > 0 && asked > most => {
            notes.clamped("max_tokens");
            Some(most)
        }
        (Some(asked), _) => Some(asked),
        (None, 0) => None,
        (None, most) => Some(most),
    }
}

// --- tools ---------------------------------------------------------------------------------------------------------

fn tools(writer: &mut Writer, platform: &Platform, request: &Request, plan: &Plan, notes: &mut Notes) {
    let native = request.format == FORMAT;
    let ours = |tool: &&Tool| match tool {
        Tool::Function(_) => true,
        Tool::Other(item) => item.format == FORMAT && !platform.refuses_tool(&item.kind),
    };
    for tool in request.tools.iter().filter(|tool| !ours(tool)) {
        if let Tool::Other(item) = tool {
            notes.dropped(&format!("tools.{}", item.kind));
        }
    }
    let mut offered = request.tools.iter().filter(ours).peekable();
    if offered.peek().is_none() {
        if request.tool_choice.is_some() && !native {
            notes.dropped("tool_choice");
        }
        return;
    }
    writer.key("tools");
    writer.begin_array();
    for tool in offered {
        match tool {
            Tool::Function(function) => function_tool(writer, function, native, notes),
            Tool::Other(item) => writer.raw(&item.value),
        }
    }
    writer.end_array();
    tool_choice(writer, request, plan, notes);
}

fn function_tool(writer: &mut Writer, tool: &FunctionTool, native: bool, notes: &mut Notes) {
    writer.begin_object();
    writer.member_string("name", &tool_name(&tool.name, notes));
    if let Some(description) = &tool.description {
        writer.member_string("description", description);
    }
    writer.member_raw("input_schema", tool.parameters.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#));
    match tool.strict {
        Some(strict) if native => writer.member_bool("strict", strict),
        Some(true) => writer.member_bool("strict", true),
        _ => {}
    }
    for field in &tool.extra {
        if native {
            writer.member_raw(&field.name, &field.value);
        } else {
            notes.dropped(&format!("tools.{}", field.name));
        }
    }
    if let Some(mark) = &tool.cache {
        cache::write(writer, mark);
    }
    writer.end_object();
}

/// A name the API takes. One that had to change comes back changed in the model's calls, which the note tells.
pub fn tool_name<'a>(name: &'a str, notes: &mut Notes) -> std::borrow::Cow<'a, str> {
    let fitted = names::name(name);
    if fitted != name {
        notes.approximated("tools.name");
    }
    fitted
}

fn tool_choice(writer: &mut Writer, request: &Request, plan: &Plan, notes: &mut Notes) {
    let single = request.parallel_tool_calls == Some(false);
    let said = request.parallel_tool_calls.is_some() && request.format == FORMAT;
    let (kind, name) = match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Function(_)) if plan.unforced => ("auto", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Function(name)) => ("tool", Some(tool_name(name, notes))),
        Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Other(item)) if item.format == FORMAT => {
            writer.member_raw("tool_choice", &item.value);
            return;
        }
        Some(ToolChoice::Other(_)) => {
            notes.dropped("tool_choice");
            if !single {
                return;
            }
            ("auto", None)
        }
        None if single => ("auto", None),
        None => return,
    };
    writer.key("tool_choice");
    writer.begin_object();
    writer.member_string("type", kind);
    if let Some(name) = name {
        writer.member_string("name", &name);
    }
    if kind != "none" && (single || said) {
        writer.member_bool("disable_parallel_tool_use", single);
    }
    writer.end_object();
}

// --- sampling ------------------------------------------------------------------------------------------------------

/// The API refuses stop sequences without a visible character.
fn stop(writer: &mut Writer, request: &Request, notes: &mut Notes) {
    let visible = |sequence: &&String| !sequence.trim().is_empty();
    if request.stop.iter().any(|sequence| !visible(&sequence)) {
        notes.dropped("stop");
    }
    let mut sequences = request.stop.iter().filter(visible).peekable();
    if sequences.peek().is_some() {
        writer.key("stop_sequences");
        writer.begin_array();
        for sequence in sequences {
            writer.string(sequence);
        }
        writer.end_array();
    }
}

/// Temperature goes from 0 to 1 here. Models from Claude 4.7 on, and any model while it thinks, take the defaults alone;
/// Claude 4.5 takes temperature or top-p, not both.
fn sampling(writer: &mut Writer, request: &Request, traits: &Traits, plan: &Plan, notes: &mut Notes) {
    let sampling = &request.sampling;
    let native = request.format == FORMAT;
    let free = traits.sampling && !plan.thinks();
    let mut temperature_set = false;
    if let Some(temperature) = sampling.temperature.filter(|temperature| temperature.is_finite()) {
        let clamped = temperature.clamp(0.0, 1.0);
        if !free && clamped < 1.0 {
            notes.dropped("temperature");
        } else {
            if clamped != temperature {
                notes.clamped("temperature");
            }
            if free || native {
                temperature_set = true;
                writer.member_float("temperature", clamped);
            }
        }
    }
    if let Some(top_p) = sampling.top_p.filter(|top_p| top_p.is_finite()) {
        // 1 is no restriction; while thinking the API takes 0.95 and more.
        let taken = if free { native || !temperature_set } else { traits.sampling && top_p >= 0.95 };
        if taken {
            writer.member_float("top_p", top_p);
        } else if top_p < 1.0 {
            notes.dropped("top_p");
        }
    }
    if let Some(top_k) = sampling.top_k {
        if free {
            writer.member_number("top_k", top_k);
        } else {
            notes.dropped("top_k");
        }
    }
    for (name, set) in [
        ("frequency_penalty", sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("presence_penalty", sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("seed", sampling.seed.is_some()),
    ] {
        if set {
            notes.dropped(name);
        }
    }
}

// --- thinking and output ---------------------------------------------------------------------------------------------

fn thinking(writer: &mut Writer, request: &Request, plan: &Plan) {
    if request.format == FORMAT
        && let Some(field) = request.extra.iter().find(|field| field.name == "thinking")
    {
        writer.member_raw("thinking", &field.value);
        return;
    }
    let kind = match plan.thinking {
        Thinking::Unsaid => return,
        Thinking::Disabled => "disabled",
        Thinking::BetweenTools => "between_tools",
        Thinking::Adaptive => "adaptive",
        Thinking::Budget(_) => "enabled",
    };
    writer.key("thinking");
    writer.begin_object();
    writer.member_string("type", kind);
    if let Thinking::Budget(budget) = plan.thinking {
        writer.member_number("budget_tokens", budget);
    }
    if let Some(display) = &plan.display {
        writer.member_string("display", display);
    }
    writer.end_object();
}

fn output_config(writer: &mut Writer, request: &Request, plan: &Plan, format: Option<&str>) {
    let mut extra = nested(request, "output_config").peekable();
    if plan.effort.is_none() && format.is_none() && extra.peek().is_none() {
        return;
    }
    writer.key("output_config");
    writer.begin_object();
    if let Some(effort) = &plan.effort {
        writer.member_string("effort", effort);
    }
    if let Some(format) = format {
        writer.member_raw("format", format);
    }
    for (name, value) in extra {
        writer.member_raw(name, value);
    }
    writer.end_object();
}

fn metadata(writer: &mut Writer, request: &Request) {
    let mut extra = nested(request, "metadata").peekable();
    if request.user.is_none() && extra.peek().is_none() {
        return;
    }
    writer.key("metadata");
    writer.begin_object();
    if let Some(user) = &request.user {
        writer.member_string("user_id", user);
    }
    for (name, value) in extra {
        writer.member_raw(name, value);
    }
    writer.end_object();
}

/// This protocol's unmodelled members of an object that the IR takes apart.
fn nested<'a>(request: &'a Request, object: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let fields = if request.format == FORMAT { &request.extra[..] } else { &[] };
    fields.iter().filter_map(move |field| {
        let name = field.name.strip_prefix(object)?.strip_prefix('.')?;
        Some((name, &*field.value))
    })
}

#[derive(Default)]
struct Output {
    /// `output_config.format`.
    format: Option<String>,
    /// For what the API cannot be held to: words to the model, after the system prompt.
    instruction: Option<String>,
}

/// A JSON schema is enforced by the API where it fits its subset and the model can; otherwise, and for JSON without a schema,
/// which the API does not have, the model is asked.
fn output_format(request: &Request, target: &Target, notes: &mut Notes) -> Output {
    match &request.response_format {
        None | Some(ResponseFormat::Text) => Output::default(),
        Some(ResponseFormat::Other(item)) if item.format == FORMAT => {
            Output { format: Some(item.value.clone()), instruction: None }
        }
        Some(ResponseFormat::Other(_)) => {
            notes.dropped("response_format");
            Output::default()
        }
        Some(ResponseFormat::JsonObject) => {
            notes.approximated("response_format");
            Output { format: None, instruction: Some(JSON_INSTRUCTION.to_owned()) }
        }
        Some(ResponseFormat::JsonSchema(schema)) => {
            let format = |schema: &str| Output {
                format: Some(format!(r#"{{"type":"json_schema","schema":{schema}}}"#)),
                instruction: None,
            };
            let able = target.capabilities.is_empty() || target.capabilities.iter().any(|able| able == "json-schema");
            if request.format == FORMAT {
                return format(&schema.schema);
            }
            match schema::fit(&schema.schema) {
                Fitted::Unchanged if able => format(&schema.schema),
                Fitted::Changed(fitted) if able => {
                    notes.approximated("response_format.schema");
                    format(&fitted)
                }
                _ => {
                    notes.approximated("response_format");
                    let instruction = format!("{JSON_INSTRUCTION} It must match this JSON schema:\n{}", schema.schema);
                    Output { format: None, instruction: Some(instruction) }
                }
            }
        }
    }
}
