//! A request of the internal representation as a Chat Completions request.
//!
//! A request that came in this format goes out as it came, fields of its own included. One from another protocol is fitted to
//! what the catalogue says of the model (see `crate::catalogue`), and what does not fit is noted:
//!
//! - The limit on output is `max_completion_tokens`, which every current model takes (`max_tokens` is refused by reasoning models).
//! - A budget of thinking becomes `reasoning_effort`: up to 1,024 tokens `low`, up to 8,192 `medium`, above `high`. The
//!   thresholds are those of Google's OpenAI compatibility ("Thinking" in the Gemini API's guide), the one published table.
//! - Efforts a model lacks become the next one it has. Models from GPT-5.4 on refuse function tools beside an effort on this
//!   endpoint, from GPT-5.6 on beside any but an explicit `none`.
//! - Reasoning models refuse sampling parameters, `stop` and `logprobs` unless their effort is `none`, or the catalogue says `sampling`.

use portcullis_plugin::ir::{Failure, FunctionTool, Media, Note, Request, ResponseFormat, Tool, ToolChoice};
use portcullis_plugin::json::Writer;
use portcullis_plugin::media;
use portcullis_plugin::notes::Notes;
use portcullis_plugin::prelude::Target;

use super::message::{Messages, note, takes};
use crate::compat::{Compat, Thinking};
use crate::wire::content::write_cache;
use crate::wire::{FORMAT, is_nested, write_fields, write_nested};

/// OpenAI takes at most this many stop sequences.
const MOST_STOPS: usize = 4;
/// What no `parameters` means (OpenAI's API reference: "defines a function with an empty parameter list").
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// For OpenAI itself.
pub fn encode(target: &Target, request: &Request) -> Result<(String, Vec<Note>), Failure> {
    encode_for(&Compat::default(), target, request)
}

/// For a server with its differences.
pub fn encode_for(compat: &Compat, target: &Target, request: &Request) -> Result<(String, Vec<Note>), Failure> {
    let mut left_out = Notes::default();
    let own = request.format == FORMAT;
    let takes = |kind, medium: &Media| takes(compat, own, kind, medium);
    let request = media::fitted(request, "Chat Completions", &mut left_out, takes)?;
    let request = &*request;
    let mut notes = left_out.into_vec();
    let mut writer = Writer::with_capacity(1024);
    writer.begin_object();
    writer.member_string("model", &target.model);
    writer.key("messages");
    Messages { compat, writer: &mut writer, notes: &mut notes, own, waiting: Vec::new() }.write(&request.messages);
    let mut encoder = Encoder { compat, target, request, own, writer, notes };
    encoder.tools();
    encoder.response_format();
    let effort = encoder.reasoning();
    encoder.sampling(effort.as_deref());
    encoder.limits();
    encoder.streaming();
    encoder.identity();
    encoder.extra();
    encoder.writer.end_object();
    Ok((encoder.writer.finish(), encoder.notes))
}

struct Encoder<'a> {
    compat: &'a Compat,
    target: &'a Target,
    request: &'a Request,
    own: bool,
    writer: Writer,
    notes: Vec<Note>,
}

impl Encoder<'_> {
    /// Whether the catalogue knows the model and says this of it.
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

    /// Whether the server takes a member of the request; notes that it was left out where it does not.
    fn takes(&mut self, name: &str) -> bool {
        let takes = !self.compat.refuses(name);
        if !takes {
            self.note("dropped", name);
        }
        takes
    }

    fn offers_functions(&self) -> bool {
        self.request.tools.iter().any(|tool| matches!(tool, Tool::Function(_)))
    }

    fn tools(&mut self) {
        let request = self.request;
        let ours = |tool: &&Tool| match tool {
            Tool::Function(_) => true,
            Tool::Other(item) => item.format == FORMAT,
        };
        for (index, tool) in request.tools.iter().enumerate() {
            if let (false, Tool::Other(item)) = (ours(&tool), tool) {
                self.note("dropped", &format!("/tools/{index}/{}", item.kind));
            }
        }
        if !request.tools.iter().any(|tool| ours(&tool)) || !self.takes("tools") {
            return;
        }
        self.writer.key("tools");
        self.writer.begin_array();
        for tool in request.tools.iter().filter(ours) {
            match tool {
                Tool::Function(function) => self.function(function),
                Tool::Other(item) => self.writer.raw(&item.value),
            }
        }
        self.writer.end_array();
        if let Some(choice) = &request.tool_choice {
            self.tool_choice(choice);
        }
        if let Some(parallel) = request.parallel_tool_calls
            && self.takes("parallel_tool_calls")
        {
            self.writer.member_bool("parallel_tool_calls", parallel);
        }
    }

    fn function(&mut self, function: &FunctionTool) {
        let writer = &mut self.writer;
        writer.begin_object();
        writer.member_string("type", "function");
        writer.key("function");
        writer.begin_object();
        writer.member_string("name", &function.name);
        if let Some(description) = &function.description {
            writer.member_string("description", description);
        }
        let missing = (!self.compat.no_parameters).then_some(NO_PARAMETERS);
        if let Some(parameters) = function.parameters.as_deref().or(missing) {
            writer.member_raw("parameters", parameters);
        }
        if let (Some(strict), true) = (function.strict, self.compat.strict) {
            writer.member_bool("strict", strict);
        }
        if self.own {
            write_fields(writer, function.extra.iter().filter(|field| !is_nested(field)));
        }
        writer.end_object();
        if self.own {
            write_nested(writer, &function.extra, "tool/");
            if let Some(mark) = function.cache {
                write_cache(writer, mark);
            }
        }
        writer.end_object();
        if !self.own {
            if function.cache.is_some() {
                self.note("dropped", "cache_control");
            }
            for field in &function.extra {
                self.note("dropped", &format!("/tools/{}/{}", function.name, field.name));
            }
        }
    }

    fn tool_choice(&mut self, choice: &ToolChoice) {
        let word = match choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => self.compat.required,
            ToolChoice::Function(name) => {
                self.writer.key("tool_choice");
                self.writer.begin_object();
                self.writer.member_string("type", "function");
                self.writer.key("function");
                self.writer.begin_object();
                self.writer.member_string("name", name);
                self.writer.end_object();
                self.writer.end_object();
                return;
            }
            ToolChoice::Other(item) if item.format == FORMAT => {
                self.writer.member_raw("tool_choice", &item.value);
                return;
            }
            ToolChoice::Other(_) => return self.note("dropped", "tool_choice"),
        };
        self.writer.member_string("tool_choice", word);
    }

    fn response_format(&mut self) {
        let Some(format) = &self.request.response_format else { return };
        if !self.takes("response_format") {
            return;
        }
        match format {
            ResponseFormat::Text => self.writer.member_raw("response_format", r#"{"type":"text"}"#),
            ResponseFormat::JsonObject => self.writer.member_raw("response_format", r#"{"type":"json_object"}"#),
            ResponseFormat::JsonSchema(_) if !self.compat.json_schema => {
                self.writer.member_raw("response_format", r#"{"type":"json_object"}"#);
                self.note("approximated", "response_format");
            }
            ResponseFormat::JsonSchema(schema) => {
                let writer = &mut self.writer;
                writer.key("response_format");
                writer.begin_object();
                writer.member_string("type", "json_schema");
                writer.key("json_schema");
                writer.begin_object();
                // OpenAI wants a name; other protocols have none.
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
                write_nested(writer, &self.request.extra, "response_format/json_schema/");
                writer.end_object();
                writer.end_object();
            }
            ResponseFormat::Other(item) if item.format == FORMAT => {
                self.writer.member_raw("response_format", &item.value);
            }
            ResponseFormat::Other(_) => self.note("dropped", "response_format"),
        }
    }

    /// Writes the effort; says which.
    fn reasoning(&mut self) -> Option<String> {
        if self.request.reasoning.is_some() && !self.takes("reasoning_effort") {
            return None;
        }
        if self.compat.thinking == Thinking::Settings {
            self.write_settings();
            return None;
        }
        let effort = if self.own { self.own_effort() } else { self.fitted_effort() };
        let effort = effort?;
        if self.compat.thinking == Thinking::Switch && !self.own {
            let switch = if effort == "none" { "disabled" } else { "enabled" };
            self.writer.member_raw("thinking", &format!(r#"{{"type":"{switch}"}}"#));
            if effort == "none" {
                return Some(effort);
            }
        }
        self.writer.member_string("reasoning_effort", &effort);
        Some(effort)
    }

    fn own_effort(&mut self) -> Option<String> {
        let settings = self.request.reasoning.as_ref()?;
        let nested = self.request.extra.iter().any(|field| field.name.starts_with("reasoning/"));
        if settings.budget.is_none() && settings.enabled.is_none() && settings.summary.is_none() && !nested {
            return settings.effort.clone();
        }
        // More than an effort can only have come as OpenRouter's `reasoning` object.
        self.write_settings();
        None
    }

    /// OpenRouter's `reasoning` object.
    fn write_settings(&mut self) {
        let Some(settings) = &self.request.reasoning else { return };
        let writer = &mut self.writer;
        writer.key("reasoning");
        writer.begin_object();
        if let Some(effort) = &settings.effort {
            writer.member_string("effort", effort);
        }
        if let Some(budget) = settings.budget {
            writer.member_number("max_tokens", budget);
        }
        if let Some(enabled) = settings.enabled {
            writer.member_bool("enabled", enabled);
        }
        match settings.summary.as_deref() {
            None => {}
            Some("omitted") => writer.member_bool("exclude", true),
            Some(summary) => writer.member_string("summary", summary),
        }
        write_nested(writer, &self.request.extra, "reasoning/");
        writer.end_object();
    }

    fn fitted_effort(&mut self) -> Option<String> {
        let asked = self.request.reasoning.as_ref().and_then(|settings| {
            if settings.enabled == Some(false) {
                return Some("none".to_owned());
            }
            settings.effort.clone().or_else(|| settings.budget.map(|budget| effort_of(budget).to_owned()))
        });
        if self.request.reasoning.as_ref().is_some_and(|settings| settings.budget.is_some()) {
            self.note("approximated", "reasoning.budget");
        }
        if !self.unknown() && !self.has("reasoning") {
            if asked.as_deref().is_some_and(|effort| effort != "none") {
                self.note("dropped", "reasoning");
            }
            return None;
        }
        let fitted = asked.map(|effort| self.nearest(effort));
        if self.offers_functions() && fitted.as_deref() != Some("none") {
            if self.has("tools-effort:none") {
                self.note("approximated", "reasoning_effort");
                return Some("none".to_owned());
            }
            if self.has("tools-effort:default") && fitted.is_some() {
                self.note("dropped", "reasoning_effort");
                return None;
            }
        }
        fitted
    }

    /// The effort itself, or the next one the model has.
    fn nearest(&mut self, effort: String) -> String {
        let off = effort == "none" && (self.has("effort:none") || self.has("thinking:off"));
        for (capability, only) in [("effort:only-high", "high"), ("effort:default", "default")] {
            if !off && effort != only && self.has(capability) {
                self.note("approximated", "reasoning_effort");
                return only.to_owned();
            }
        }
        if self.compat.thinking == Thinking::Switch && effort == "medium" {
            // There is no step between low and high.
            self.note("approximated", "reasoning_effort");
            return "high".to_owned();
        }
        if off || effort == "default" && self.has("effort:default") {
            return effort;
        }
        let ladder: &[&str] = match effort.as_str() {
            "none" => &["none", "minimal", "low"],
            "minimal" => &["minimal", "low"],
            "xhigh" => &["xhigh", "high"],
            "max" => &["max", "xhigh", "high"],
            // Every reasoning model has low, medium and high; a provider's own word is the operator's affair.
            _ => return effort,
        };
        let available = |step: &&&str| matches!(**step, "low" | "high") || self.has(&format!("effort:{step}"));
        // Of a model outside the catalogue nothing is known but the three that all have, and `none` and `minimal` at its word.
        let unknown = self.unknown() && !matches!(effort.as_str(), "max" | "xhigh");
        let step = if unknown { ladder.first() } else { ladder.iter().find(available) };
        let step = step.map_or(effort.clone(), |step| (*step).to_owned());
        if step != effort {
            self.note("approximated", "reasoning_effort");
        }
        step
    }

    fn sampling(&mut self, effort: Option<&str>) {
        let thinks = self.has("reasoning") && effort != Some("none");
        let allowed = self.own || self.unknown() || !thinks || self.has("sampling");
        let sampling = &self.request.sampling;
        let numbers = [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("frequency_penalty", sampling.frequency_penalty),
            ("presence_penalty", sampling.presence_penalty),
        ];
        for (name, value) in numbers {
            match value {
                Some(value) if allowed && self.takes(name) => self.writer.member_float(name, value),
                Some(_) => self.note("dropped", name),
                None => {}
            }
        }
        if let Some(top_k) = sampling.top_k {
            if self.own || self.compat.top_k {
                self.writer.member_number("top_k", top_k)
            } else {
                self.note("dropped", "top_k")
            }
        }
        if let Some(seed) = sampling.seed
            && self.takes("seed")
        {
            self.writer.member_number(self.compat.seed, seed);
        }
        if let Some(logprobs) = &self.request.logprobs {
            if allowed && self.takes("logprobs") {
                self.writer.member_bool("logprobs", true);
                if logprobs.top > 0 {
                    self.writer.member_number("top_logprobs", logprobs.top);
                }
            } else {
                self.note("dropped", "logprobs");
            }
        }
        self.stop(allowed);
    }

    fn stop(&mut self, allowed: bool) {
        let stop = &self.request.stop;
        if stop.is_empty() {
            return;
        }
        if !allowed || !self.takes("stop") {
            return self.note("dropped", "stop");
        }
        let taken = if self.own { stop.len() } else { stop.len().min(MOST_STOPS) };
        self.writer.key("stop");
        self.writer.begin_array();
        for text in &stop[..taken] {
            self.writer.string(text);
        }
        self.writer.end_array();
        if taken < stop.len() {
            self.note("clamped", "stop");
        }
    }

    fn limits(&mut self) {
        if let Some(mut limit) = self.target.max_output_tokens.or(self.request.max_output_tokens) {
            let most = self.target.max_output;
            if !self.own && most > 0 && limit > most {
                limit = most;
                self.note("clamped", "max_output_tokens");
            }
            self.writer.member_number(self.compat.limit, limit);
        }
        if let Some(choices) = self.request.choices
            && (choices == 1 || self.takes("n"))
        {
            self.writer.member_number("n", choices);
        }
    }

    fn streaming(&mut self) {
        if !self.target.stream {
            return;
        }
        self.writer.member_bool("stream", true);
        if !self.compat.stream_options {
            return;
        }
        self.writer.key("stream_options");
        self.writer.begin_object();
        self.writer.member_bool("include_usage", true);
        if self.own {
            write_nested(&mut self.writer, &self.request.extra, "stream_options/");
        }
        self.writer.end_object();
    }

    fn identity(&mut self) {
        if let Some(user) = &self.request.user
            && self.takes("user")
        {
            self.writer.member_string("user", user);
        }
        if self.request.metadata.is_empty() {
            return;
        }
        // OpenAI refuses metadata unless the answer is stored, which another protocol's client did not ask for.
        if !self.own || !self.takes("metadata") {
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
            for field in self.request.extra.iter().filter(|field| !is_nested(field)) {
                if self.takes(&field.name) {
                    self.writer.member_raw(&field.name, &field.value);
                }
            }
            return;
        }
        for field in self.request.extra.iter().filter(|field| field.value != "null") {
            note(&mut self.notes, "dropped", field.name.clone());
        }
    }
}

/// The effort that a budget of thinking tokens comes nearest to.
pub fn effort_of(budget: u32) -> &'static str {
    match budget {
        0 => "none",
        1..=1024 => "low",
        1025..=8192 => "medium",
        _ => "high",
    }
}
