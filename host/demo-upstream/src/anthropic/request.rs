//! Reads and checks a Messages request.

use serde_json::Value;

use crate::anthropic::response::signature;
use crate::ask::{Ask, Choice, Format, Input, MEDIA_TOKENS, MESSAGE_TOKENS, Thinking, Tool, ToolResult};
use crate::refusal::Refusal;
use crate::tokens;

pub fn read(body: &[u8], has_version: bool) -> Result<Ask, Refusal> {
    if !has_version {
        return Err(Refusal::bad_request("anthropic-version: header is required"));
    }
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("The request body is not valid JSON: {error}")))?;
    let model = body["model"].as_str().ok_or_else(|| required("model"))?;
    let limit = body["max_tokens"].as_u64().ok_or_else(|| required("max_tokens"))?;
    if limit == 0 {
        return Err(Refusal::bad_request("max_tokens: Input should be greater than or equal to 1"));
    }
    let mut ask = Ask {
        model: model.to_owned(),
        parallel: body["tool_choice"]["disable_parallel_tool_use"] != true,
        limit: Some(limit),
        count: 1,
        stream: body["stream"] == true,
        stop: body["stop_sequences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|stop| stop.as_str().map(str::to_owned))
            .collect(),
        format: format(&body),
        thinking: thinking(&body["thinking"], limit)?,
        tools: tools(&body)?,
        choice: choice(&body["tool_choice"]),
        ..Ask::default()
    };
    let mut count = Count::default();
    for tool in body["tools"].as_array().into_iter().flatten() {
        count.add(tokens::count(&tool.to_string()), &tool["cache_control"]);
    }
    match &body["system"] {
        Value::String(text) => count.add(tokens::count(text), &Value::Null),
        Value::Array(parts) => {
            for part in parts {
                count.add(part["text"].as_str().map_or(0, tokens::count), &part["cache_control"]);
            }
        }
        _ => {}
    }
    let turns = messages(&body["messages"], &mut ask, &mut count)?;
    ask.input = count.input(turns > 1);
    Ok(ask)
}

fn required(field: &str) -> Refusal {
    Refusal::bad_request(format!("{field}: Field required")).at(field)
}

/// Counts input up to and after the last cache breakpoint.
#[derive(Default)]
struct Count {
    total: u64,
    cached: u64,
    hour: bool,
}

impl Count {
    fn add(&mut self, tokens: u64, cache_control: &Value) {
        self.total += tokens;
        if cache_control["type"] == "ephemeral" {
            self.cached = self.total;
            self.hour = cache_control["ttl"] == "1h";
        }
    }

    /// The first turn writes the cache and later ones read it: stateless, so the same request always counts the same.
    fn input(&self, later_turn: bool) -> Input {
        let (read, long) = (later_turn, !later_turn && self.hour);
        Input {
            uncached: self.total - self.cached,
            cache_read: if read { self.cached } else { 0 },
            cache_write_short: if read || long { 0 } else { self.cached },
            cache_write_long: if long { self.cached } else { 0 },
        }
    }
}

/// Checks the conversation and returns how many messages it has.
fn messages(messages: &Value, ask: &mut Ask, count: &mut Count) -> Result<usize, Refusal> {
    let messages = messages.as_array().ok_or_else(|| required("messages"))?;
    if messages.is_empty() {
        return Err(Refusal::bad_request("messages: at least one message is required"));
    }
    let mut open: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["user", "assistant"].contains(&role) {
            let message = format!(
                "messages: Unexpected role \"{role}\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."
            );
            return Err(Refusal::bad_request(message));
        }
        let whole = [serde_json::json!({"type": "text", "text": message["content"]})];
        let blocks: &[Value] = match &message["content"] {
            Value::String(_) => &whole,
            Value::Array(blocks) => blocks,
            _ => return Err(required(&format!("messages.{index}.content"))),
        };
        ask.results.clear();
        if role == "user" && !blocks.iter().any(|block| block["type"] == "tool_result") {
            ask.prompt.clear();
            ask.images = 0;
            ask.documents = 0;
        }
        count.add(MESSAGE_TOKENS, &Value::Null);
        let mut answered = Vec::new();
        let mut called = Vec::new();
        for (place, block) in blocks.iter().enumerate() {
            let at = format!("messages.{index}.content.{place}");
            let tokens = block_tokens(block, &at, role, ask)?;
            count.add(tokens, &block["cache_control"]);
            let id = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
            match block["type"].as_str() {
                Some("tool_use") => called.push(id("id")),
                Some("tool_result") => answered.push((place, id("tool_use_id"))),
                _ => {}
            }
        }
        check_results(index, &open, &answered)?;
        open = called;
    }
    if !open.is_empty() && messages.last().is_some_and(|last| last["role"] == "user") {
        return Err(unanswered(messages.len() - 1, &open));
    }
    Ok(messages.len())
}

fn check_results(index: usize, open: &[String], answered: &[(usize, String)]) -> Result<(), Refusal> {
    if let Some((place, id)) = answered.iter().find(|(_, id)| !open.contains(id)) {
        return Err(Refusal::bad_request(format!(
            "messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. \
             Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
        )));
    }
    let missing: Vec<_> = open.iter().filter(|id| !answered.iter().any(|(_, answer)| answer == *id)).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(unanswered(index - 1, &missing)) }
}

fn unanswered(index: usize, ids: &[String]) -> Refusal {
    Refusal::bad_request(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. \
         Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        ids.join(", ")
    ))
}

/// Notes what a block brings and returns its tokens.
fn block_tokens(block: &Value, at: &str, role: &str, ask: &mut Ask) -> Result<u64, Refusal> {
    let text = block["text"].as_str().unwrap_or_default();
    Ok(match block["type"].as_str().unwrap_or_default() {
        "text" => {
            if role == "user" {
                // Text beside tool results is a remark on them; the question stays what was asked before.
                if ask.results.is_empty() {
                    ask.prompt.push_str(text);
                }
            }
            tokens::count(text)
        }
        "image" => {
            check_image(&block["source"], at)?;
            ask.images += 1;
            MEDIA_TOKENS
        }
        "document" => {
            ask.documents += 1;
            MEDIA_TOKENS
        }
        "tool_use" => {
            if !block["input"].is_object() {
                return Err(Refusal::bad_request(format!("{at}.tool_use.input: Input should be a valid dictionary")));
            }
            tokens::count(block["name"].as_str().unwrap_or_default()) + tokens::count(&block["input"].to_string())
        }
        "tool_result" => {
            let result = tool_result(&block["content"], at)?;
            let tokens = tokens::count(&result.text) + MEDIA_TOKENS * result.images as u64;
            ask.results.push(result);
            tokens
        }
        "thinking" => {
            let thinking = block["thinking"].as_str().unwrap_or_default();
            if block["signature"] != signature(thinking) {
                return Err(Refusal::bad_request(format!("{at}: Invalid `signature` in `thinking` block")));
            }
            // Earlier thinking is not counted again.
            0
        }
        "redacted_thinking" => 0,
        "search_result" => tokens::count(&block["content"].to_string()),
        kind => {
            return Err(Refusal::bad_request(format!(
                "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', 'image', \
                 'redacted_thinking', 'search_result', 'text', 'thinking', 'tool_result', 'tool_use'"
            )));
        }
    })
}

fn tool_result(content: &Value, at: &str) -> Result<ToolResult, Refusal> {
    let mut result = ToolResult { text: String::new(), images: 0 };
    match content {
        Value::String(text) => result.text.clone_from(text),
        Value::Array(parts) => {
            for part in parts {
                if part["type"] == "image" {
                    check_image(&part["source"], at)?;
                    result.images += 1;
                } else {
                    result.text.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
        }
        _ => {}
    }
    Ok(result)
}

fn check_image(source: &Value, at: &str) -> Result<(), Refusal> {
    let wrong = |what: &str| Err(Refusal::bad_request(format!("{at}.image.source.{what}")));
    match source["type"].as_str() {
        Some("base64") => {
            let media = source["media_type"].as_str().unwrap_or_default();
            if !["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&media) {
                return wrong(
                    "base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
                );
            }
            if source["data"].as_str().is_none_or(str::is_empty) {
                return wrong("base64.data: Field required");
            }
            Ok(())
        }
        Some("url") if source["url"].is_string() => Ok(()),
        Some("url") => wrong("url.url: Field required"),
        Some("file") => Ok(()),
        _ => wrong("type: Field required"),
    }
}

/// Structured output stands in `output_config.format`, once in `output_format`.
fn format(body: &Value) -> Format {
    for format in [&body["output_config"]["format"], &body["output_format"]] {
        if format["type"] == "json_schema" {
            return Format::Schema(format["schema"].clone());
        }
    }
    Format::Text
}

fn thinking(thinking: &Value, limit: u64) -> Result<Thinking, Refusal> {
    match thinking["type"].as_str() {
        Some("enabled") => {
            let budget =
                thinking["budget_tokens"].as_u64().ok_or_else(|| required("thinking.enabled.budget_tokens"))?;
            if budget < 1024 {
                let message = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024";
                return Err(Refusal::bad_request(message));
            }
            if budget >= limit {
                return Err(Refusal::bad_request("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
            Ok(Thinking::Shown)
        }
        Some("adaptive") => Ok(Thinking::Shown),
        _ => Ok(Thinking::Off),
    }
}

fn tools(body: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let name = tool["name"].as_str().ok_or_else(|| required(&format!("tools.{index}.custom.name")))?;
        let own = matches!(tool["type"].as_str(), None | Some("custom"));
        if own && !tool["input_schema"].is_object() {
            return Err(required(&format!("tools.{index}.custom.input_schema")));
        }
        // Server tools run at the provider; this server has none to run.
        if own {
            tools.push(Tool { name: name.to_owned(), schema: Some(tool["input_schema"].clone()) });
        }
    }
    Ok(tools)
}

fn choice(choice: &Value) -> Choice {
    match choice["type"].as_str() {
        Some("none") => Choice::None,
        Some("any") => Choice::Required,
        Some("tool") => Choice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
        _ => Choice::Auto,
    }
}
