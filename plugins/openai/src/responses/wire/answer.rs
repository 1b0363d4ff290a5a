//! The `response` object: a whole answer, and what several events of a stream hold.

use portcullis_plugin::ir::{Field, Finish, FinishReason, Usage};
use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::Reply;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::item::Tag;
use super::usage::{self, WireUsage};

portcullis_plugin::wire_object! {
    pub struct Answer {
        id: Option<String>,
        object: IgnoredAny,
        /// Seconds; some servers send a float.
        created_at: Option<f64>,
        model: Option<String>,
        status: Option<String>,
        incomplete_details: Option<Incomplete>,
        error: Option<Box<RawValue>>,
        output: Option<Vec<Box<RawValue>>>,
        usage: Option<WireUsage>,
    }

    pub struct Incomplete {
        reason: Option<String>,
    }
}

/// `tool_usage`: what built-in tools did, beside the model's tokens.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct ToolUsage {
    web_search: WebSearch,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WebSearch {
    num_requests: Option<u64>,
}

/// What a web search did: only searching is charged, not opening or reading a page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Search {
    action: Option<Action>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Action {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Billable web searches: what the answer says, else the searches among its items.
pub fn searches<'a>(tool_usage: Option<&ToolUsage>, output: impl IntoIterator<Item = &'a str>) -> u64 {
    if let Some(number) = tool_usage.and_then(|usage| usage.web_search.num_requests) {
        return number;
    }
    output.into_iter().filter(|item| is_search(item)).count() as u64
}

/// Whether an item is a web search.
pub fn is_search(item: &str) -> bool {
    let kind = json::from_str::<Tag>(item).ok().and_then(|tag| tag.kind);
    kind.as_deref() == Some("web_search_call")
        && json::from_str::<Search>(item)
            .is_ok_and(|search| search.action.and_then(|action| action.kind).is_none_or(|kind| kind == "search"))
}

/// How an answer ended; nothing while it has not.
pub fn finish(status: Option<&str>, incomplete: Option<&str>, called: bool, refused: bool) -> Option<Finish> {
    let (reason, raw) = match status {
        // One recorded server says `complete`; an answer without a status is whole.
        None | Some("completed" | "complete") => {
            let reason = match (called, refused) {
                (true, _) => FinishReason::ToolCalls,
                (false, true) => FinishReason::Refusal,
                (false, false) => FinishReason::Stop,
            };
            (reason, "completed")
        }
        Some("incomplete") => {
            let raw = incomplete.unwrap_or("incomplete");
            let reason = match raw {
                "max_output_tokens" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Other,
            };
            (reason, raw)
        }
        Some(raw @ ("failed" | "cancelled")) => (FinishReason::Error, raw),
        Some(_) => return None,
    };
    Some(Finish { reason, raw: raw.to_owned(), stop_sequence: None })
}

/// `status`, and `incomplete_details.reason`, of an answer that ended so.
pub fn status_of(finish: Option<&Finish>, own: bool) -> (&'static str, Option<&'static str>) {
    let Some(finish) = finish else { return ("completed", None) };
    match finish.reason {
        FinishReason::Length => ("incomplete", Some("max_output_tokens")),
        FinishReason::ContentFilter => ("incomplete", Some("content_filter")),
        FinishReason::Error if own && finish.raw == "cancelled" => ("cancelled", None),
        FinishReason::Error => ("failed", None),
        FinishReason::Other if own => {
            let known = ["max_messages", "steered"];
            ("incomplete", known.into_iter().find(|word| *word == finish.raw))
        }
        _ => ("completed", None),
    }
}

/// Members of a request that its answer repeats as they were asked: clients read an answer by them (`text.format`). What the
/// gateway itself decides (`store`, `previous_response_id`, `background`) is not among them.
pub const REPEATED: &[&str] = &[
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
];

/// Members that the official types demand or clients commonly read, where the answer has none of its own.
const DEFAULTS: &[(&str, &str)] = &[
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("store", "false"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", r#""disabled""#),
];

/// The members an answer has of its own; an `extra` of that name would stand twice.
const OWN: &[&str] =
    &["id", "object", "created_at", "model", "status", "error", "incomplete_details", "output", "usage"];

/// What is written of an answer.
pub struct Document<'a> {
    pub id: &'a str,
    pub created: u64,
    pub model: &'a str,
    pub status: &'a str,
    pub incomplete: Option<&'a str>,
    /// Code and message.
    pub error: Option<(&'a str, &'a str)>,
    /// The items, without brackets.
    pub output: &'a str,
    pub usage: Option<&'a Usage>,
    /// What the answer says of its cost and its way through the gateway, once it is whole.
    pub reply: Option<&'a Reply>,
    /// Members of the request that the answer repeats, where it has none of its own.
    pub echo: &'a [Field],
    pub extra: &'a [Field],
}

impl Document<'_> {
    pub fn write(&self, writer: &mut Writer) {
        writer.begin_object();
        writer.member_string("id", self.id);
        writer.member_string("object", "response");
        writer.member_number("created_at", self.created);
        writer.member_string("status", self.status);
        writer.key("error");
        match self.error {
            Some((code, message)) => {
                writer.begin_object();
                writer.member_string("code", code);
                writer.member_string("message", message);
                writer.end_object();
            }
            None => writer.null(),
        }
        writer.key("incomplete_details");
        match (self.status, self.incomplete) {
            ("incomplete", Some(reason)) => {
                writer.begin_object();
                writer.member_string("reason", reason);
                writer.end_object();
            }
            ("incomplete", None) => writer.raw("{}"),
            _ => writer.null(),
        }
        writer.member_string("model", self.model);
        writer.key("output");
        writer.begin_array();
        if !self.output.is_empty() {
            writer.raw(self.output);
        }
        writer.end_array();
        writer.key("usage");
        match self.usage {
            Some(counted) => usage::write(writer, counted, self.reply),
            None => writer.null(),
        }
        let replaced = |name: &str| self.reply.is_some_and(|reply| reply.replaces(name));
        for (name, value) in DEFAULTS {
            if !replaced(name) && !self.extra.iter().any(|field| field.name == *name) {
                let asked = self.echo.iter().find(|field| field.name == *name);
                writer.member_raw(name, asked.map_or(value, |field| &field.value));
            }
        }
        let written = |field: &&Field| !OWN.contains(&field.name.as_str()) && !replaced(&field.name);
        for field in self.extra.iter().filter(written) {
            writer.member_raw(&field.name, &field.value);
        }
        if let Some(reply) = self.reply {
            reply.write_account_as_texts(writer, self.extra);
        }
        writer.end_object();
    }
}
