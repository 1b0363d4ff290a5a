//! A request of the internal representation as a Responses request.
//!
//! A request that came in this format goes out as it came, fields of its own included. One from another protocol is fitted:
//!
//! - Nothing is stored at the provider (`store: false`), since that client cannot ask for it; reasoning comes back encrypted.
//! - Functions say `strict: false`: left out, this API makes a schema strict where it can ("Function calling", strict mode).
//! - Fields that Chat Completions has by the same name go over; `verbosity`, custom tools and allowed tools by their other shape.
//! - There are no stop sequences, penalties, seeds or several answers here.

use portcullis_plugin::ir::{Failure, Field, FunctionTool, Note, Request, ResponseFormat, Tool, ToolChoice};
use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::media;
use portcullis_plugin::notes::Notes;
use portcullis_plugin::prelude::Target;

use super::input::{Input, custom_calls, instructions, takes};
use crate::provider::message::note;
use crate::provider::request::effort_of;
use crate::responses::FORMAT;
use crate::responses::wire::request::{FORMAT_MEMBER, REASONING_MEMBER, TEXT_MEMBER, is_nested};
use crate::responses::wire::tools;
use crate::wire::{self, write_fields, write_nested};

/// Chat Completions' own fields that this API has too, by the same name and with the same meaning.
const SHARED: &[&str] = &[
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
];

pub fn encode(target: &Target, request: &Request) -> Result<(String, Vec<Note>), Failure> {
    let own = request.format == FORMAT;
    let mut left_out = Notes::default();
    let request = media::fitted(request, "the Responses API", &mut left_out, |kind, media| takes(own, kind, media))?;
    let request = &*request;
    let mut notes = left_out.into_vec();
    let mut writer = Writer::with_capacity(1024);
    writer.begin_object();
    writer.member_string("model", &target.model);
    let instructions = instructions(&request.messages);
    if let Some(text) = instructions {
        writer.member_string("instructions", text);
    }
    let first = usize::from(instructions.is_some());
    // What is continued at the provider may have nothing new to say.
    if !own || request.messages.len() > first {
        writer.key("input");
        let custom = custom_calls(&request.messages);
        Input { writer: &mut writer, notes: &mut notes, own, custom }.write(&request.messages, first);
    }
    let mut encoder = Encoder { target, request, own, writer, notes };
    encoder.tools();
    encoder.reasoning();
    encoder.text();
    encoder.sampling();
    encoder.identity();
    encoder.extra();
    encoder.writer.end_object();
    Ok((encoder.writer.finish(), encoder.notes))
}

struct Encoder<'a> {
    target: &'a Target,
    request: &'a Request,
    own: bool,
    writer: Writer,
    notes: Vec<Note>,
}

impl Encoder<'_> {
    fn has(&self, capability: &str) -> bool {
        self.target.capabilities.iter().any(|known| known == capability)
    }

    /// A model outside the catalogue is taken at the request's word.
    fn unknown(&self) -> bool {
        self.target.capabilities.is_empty()
    }

    fn note(&mut self, code: &str, subject: &str) {
        note(&mut self.notes, code, subject.to_owned());
    }

    // --- tools -------------------------------------------------------------------------------------------------------

    fn tools(&mut self) {
        let request = self.request;
        let mut written = Vec::with_capacity(request.tools.len());
        for (index, tool) in request.tools.iter().enumerate() {
            let text = match tool {
                Tool::Function(function) => Some(self.function(function)),
                Tool::Other(item) if item.format == FORMAT => Some(item.value.clone()),
                Tool::Other(item) => tools::from_chat(item),
            };
            match (text, tool) {
                (Some(text), _) => written.push(text),
                (None, Tool::Other(item)) => self.note("dropped", &format!("/tools/{index}/{}", item.kind)),
                (None, Tool::Function(_)) => {}
            }
        }
        if !written.is_empty() || (self.own && !request.tools.is_empty()) {
            self.writer.key("tools");
            self.writer.begin_array();
            for tool in &written {
                self.writer.raw(tool);
            }
            self.writer.end_array();
        }
        if let Some(choice) = request.tool_choice.as_ref().filter(|_| self.own || !written.is_empty()) {
            self.tool_choice(choice);
        }
        if let Some(parallel) = request.parallel_tool_calls.filter(|_| self.own || !written.is_empty()) {
            self.writer.member_bool("parallel_tool_calls", parallel);
        }
    }

    fn function(&mut self, function: &FunctionTool) -> String {
        let mut writer = Writer::with_capacity(128 + function.parameters.as_ref().map_or(0, String::len));
        writer.begin_object();
        writer.member_string("type", "function");
        writer.member_string("name", &function.name);
        if let Some(description) = &function.description {
            writer.member_string("description", description);
        }
        let empty = if self.own { "null" } else { r#"{"type":"object","properties":{}}"# };
        writer.member_raw("parameters", function.parameters.as_deref().unwrap_or(empty));
        match (function.strict, self.own) {
            (Some(strict), _) => writer.member_bool("strict", strict),
            (None, true) => writer.member_raw("strict", "null"),
            (None, false) => writer.member_bool("strict", false),
        }
        if self.own {
            write_fields(&mut writer, &function.extra);
        } else {
            if function.cache.is_some() {
                self.note("dropped", "cache_control");
            }
            for field in &function.extra {
                self.note("dropped", &format!("/tools/{}/{}", function.name, field.name));
            }
        }
        writer.end_object();
        writer.finish()
    }

    fn tool_choice(&mut self, choice: &ToolChoice) {
        match choice {
            ToolChoice::Auto => self.writer.member_string("tool_choice", "auto"),
            ToolChoice::None => self.writer.member_string("tool_choice", "none"),
            ToolChoice::Required => self.writer.member_string("tool_choice", "required"),
            ToolChoice::Function(name) => {
                let choice = format!(r#"{{"type":"function","name":{}}}"#, json::quote(name));
                self.writer.member_raw("tool_choice", &choice);
            }
            ToolChoice::Other(item) if item.format == FORMAT => self.writer.member_raw("tool_choice", &item.value),
            ToolChoice::Other(item) => match tools::choice_from_chat(item) {
                Some(choice) => self.writer.member_raw("tool_choice", &choice),
                None => self.note("dropped", "tool_choice"),
            },
        }
    }

    // --- reasoning and text ------------------------------------------------------------------------------------------

    fn reasoning(&mut self) {
        let nested = self.own && self.request.extra.iter().any(|field| field.name.starts_with(REASONING_MEMBER));
        let settings = self.request.reasoning.as_ref();
        if settings.is_none() && !nested {
            return;
        }
        let (effort, summary) = if self.own {
            (settings.and_then(|own| own.effort.clone()), settings.and_then(|own| own.summary.clone()))
        } else {
            self.fitted_reasoning()
        };
        if effort.is_none() && summary.is_none() && !nested {
            return;
        }
        self.writer.key("reasoning");
        self.writer.begin_object();
        if let Some(effort) = &effort {
            self.writer.member_string("effort", effort);
        }
        if let Some(summary) = &summary {
            self.writer.member_string("summary", summary);
        }
        if self.own {
            write_nested(&mut self.writer, &self.request.extra, REASONING_MEMBER);
        }
        self.writer.end_object();
    }

    /// Effort and summary of another protocol's request. Who asks for thoughts to be shown gets their summary.
    fn fitted_reasoning(&mut self) -> (Option<String>, Option<String>) {
        let Some(settings) = &self.request.reasoning else { return (None, None) };
        let asked = match settings.enabled {
            Some(false) => Some("none".to_owned()),
            _ => settings.effort.clone().or_else(|| settings.budget.map(|budget| effort_of(budget).to_owned())),
        };
        if settings.budget.is_some() {
            self.note("approximated", "reasoning.budget");
        }
        if !self.unknown() && !self.has("reasoning") {
            if asked.as_deref().is_some_and(|effort| effort != "none") {
                self.note("dropped", "reasoning");
            }
            return (None, None);
        }
        let shown = match settings.summary.as_deref() {
            Some("omitted") => None,
            Some(word @ ("auto" | "concise" | "detailed")) => Some(word.to_owned()),
            Some(_) => Some("auto".to_owned()),
            None => (settings.enabled == Some(true)).then(|| "auto".to_owned()),
        };
        (asked.map(|effort| self.nearest(effort)), shown)
    }

    /// The effort itself, or the next one the model has.
    fn nearest(&mut self, effort: String) -> String {
        let ladder: &[&str] = match effort.as_str() {
            "none" => &["none", "minimal", "low", "medium", "high"],
            "minimal" => &["minimal", "low", "medium", "high"],
            "low" => &["low", "medium", "high"],
            "medium" => &["medium", "high"],
            "xhigh" => &["xhigh", "high"],
            "max" => &["max", "xhigh", "high"],
            _ => return effort,
        };
        if self.unknown() {
            return effort;
        }
        // A model whose efforts are fewer than the usual three says so.
        let only_high = self.has("effort:only-high");
        let available = |step: &&&str| match **step {
            "high" => true,
            "low" | "medium" => !only_high,
            step => self.has(&format!("effort:{step}")),
        };
        let step = ladder.iter().find(available).map_or(effort.clone(), |step| (*step).to_owned());
        if step != effort {
            self.note("approximated", "reasoning_effort");
        }
        step
    }

    fn text(&mut self) {
        let format = self.request.response_format.as_ref().and_then(|format| self.text_format(format));
        let verbosity = match self.own {
            true => None,
            false => self.request.extra.iter().find(|field| field.name == "verbosity" && field.value != "null"),
        };
        let nested = self.own && self.request.extra.iter().any(|field| field.name.starts_with(TEXT_MEMBER));
        if format.is_none() && verbosity.is_none() && !nested {
            return;
        }
        self.writer.key("text");
        self.writer.begin_object();
        if let Some(format) = format {
            self.writer.member_raw("format", &format);
        }
        if let Some(verbosity) = verbosity {
            self.writer.member_raw("verbosity", &verbosity.value);
        }
        if self.own {
            write_nested(&mut self.writer, &self.request.extra, TEXT_MEMBER);
        }
        self.writer.end_object();
    }

    fn text_format(&mut self, format: &ResponseFormat) -> Option<String> {
        let schema = match format {
            ResponseFormat::Text => return Some(r#"{"type":"text"}"#.to_owned()),
            ResponseFormat::JsonObject => return Some(r#"{"type":"json_object"}"#.to_owned()),
            ResponseFormat::Other(item) if item.format == FORMAT => return Some(item.value.clone()),
            ResponseFormat::Other(_) => {
                self.note("dropped", "response_format");
                return None;
            }
            ResponseFormat::JsonSchema(schema) => schema,
        };
        let mut writer = Writer::with_capacity(schema.schema.len() + 96);
        writer.begin_object();
        writer.member_string("type", "json_schema");
        // A name is demanded; other protocols have none.
        match (&schema.name, self.own) {
            (None, true) => {}
            (name, _) => writer.member_string("name", name.as_deref().unwrap_or("response")),
        }
        if let Some(description) = &schema.description {
            writer.member_string("description", description);
        }
        writer.member_raw("schema", &schema.schema);
        if let Some(strict) = schema.strict {
            writer.member_bool("strict", strict);
        }
        if self.own {
            write_nested(&mut writer, &self.request.extra, FORMAT_MEMBER);
        }
        writer.end_object();
        Some(writer.finish())
    }

    // --- the rest ----------------------------------------------------------------------------------------------------

    fn sampling(&mut self) {
        let request = self.request;
        let allowed = self.own || self.unknown() || !self.has("reasoning");
        for (name, value) in [("temperature", request.sampling.temperature), ("top_p", request.sampling.top_p)] {
            match value {
                Some(value) if allowed => self.writer.member_float(name, value),
                Some(_) => self.note("dropped", name),
                None => {}
            }
        }
        let absent = [
            ("top_k", request.sampling.top_k.is_some()),
            ("frequency_penalty", request.sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("presence_penalty", request.sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("seed", request.sampling.seed.is_some()),
            ("stop", !request.stop.is_empty()),
            ("n", request.choices.is_some_and(|choices| choices > 1)),
        ];
        for (name, _) in absent.iter().filter(|(_, said)| *said) {
            self.note("dropped", name);
        }
        if let Some(logprobs) = &request.logprobs {
            if allowed {
                self.writer.member_number("top_logprobs", logprobs.top);
            } else {
                self.note("dropped", "logprobs");
            }
        }
        if let Some(mut limit) = self.target.max_output_tokens.or(request.max_output_tokens) {
            let most = self.target.max_output;
            if !self.own && most > 0 && limit > most {
                limit = most;
                self.note("clamped", "max_output_tokens");
            }
            self.writer.member_number("max_output_tokens", limit);
        }
        if self.target.stream {
            self.writer.member_bool("stream", true);
        }
    }

    fn identity(&mut self) {
        if let Some(user) = &self.request.user {
            self.writer.member_string("user", user);
        }
        if self.request.metadata.is_empty() {
            return;
        }
        if !self.own && self.request.format != wire::FORMAT {
            return self.note("dropped", "metadata");
        }
        self.writer.key("metadata");
        self.writer.begin_object();
        for pair in &self.request.metadata {
            self.writer.member_string(&pair.name, &pair.value);
        }
        self.writer.end_object();
    }

    fn extra(&mut self) {
        if self.own {
            let direct = |field: &&Field| !is_nested(&field.name);
            return write_fields(&mut self.writer, self.request.extra.iter().filter(direct));
        }
        self.writer.member_bool("store", false);
        let mut include = Vec::new();
        if self.unknown() || self.has("reasoning") {
            include.push("reasoning.encrypted_content");
        }
        if self.request.logprobs.is_some() && !self.notes.iter().any(|note| note.subject == "logprobs") {
            include.push("message.output_text.logprobs");
        }
        if !include.is_empty() {
            self.writer.key("include");
            self.writer.begin_array();
            include.iter().for_each(|name| self.writer.string(name));
            self.writer.end_array();
        }
        let chat = self.request.format == wire::FORMAT;
        for field in self.request.extra.iter().filter(|field| field.value != "null") {
            match field.name.as_str() {
                name if chat && SHARED.contains(&name) => self.writer.member_raw(name, &field.value),
                // Written with the text's settings; nothing is stored in any case.
                "verbosity" => {}
                "store" if field.value == "false" => {}
                name => note(&mut self.notes, "dropped", name.to_owned()),
            }
        }
    }
}
