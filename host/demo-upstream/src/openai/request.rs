//! Reads and checks a Chat Completions request.

use std::collections::HashSet;

use serde_json::Value;

use crate::ask::{Ask, Choice, Format, Input, MEDIA_TOKENS, MESSAGE_TOKENS, Thinking, Tool, ToolResult};
use crate::refusal::Refusal;
use crate::tokens;

/// Prompts from this length on are cached, in steps of 128 tokens.
const CACHED_FROM: u64 = 1024;

pub fn read(body: &[u8]) -> Result<Ask, Refusal> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request("We could not parse the JSON body of your request."))?;
    let mut ask = Ask {
        model: body["model"].as_str().ok_or_else(|| Refusal::bad_request("you must provide a model parameter"))?.into(),
        parallel: body["parallel_tool_calls"].as_bool().unwrap_or(true),
        limit: body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64()),
        count: usize::try_from(body["n"].as_u64().unwrap_or(1)).unwrap_or(1).clamp(1, 8),
        logprobs: body["logprobs"] == true,
        stream: body["stream"] == true,
        stream_usage: body["stream_options"]["include_usage"] == true,
        stop: strings(&body["stop"]),
        format: format(&body["response_format"])?,
        thinking: match body["reasoning_effort"].as_str() {
            None | Some("none" | "minimal") => Thinking::Off,
            Some(_) => Thinking::Hidden,
        },
        tools: tools(&body)?,
        choice: choice(&body["tool_choice"]),
        ..Ask::default()
    };
    if !ask.stream && !body["stream_options"].is_null() {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::bad_request(message).at("stream_options"));
    }
    if ask.limit == Some(0) {
        return Err(Refusal::bad_request("Invalid 'max_tokens': integer below minimum value.").at("max_tokens"));
    }
    messages(&body["messages"], &mut ask)?;
    let tools: u64 = body["tools"].as_array().into_iter().flatten().map(|tool| tokens::count(&tool.to_string())).sum();
    ask.input.uncached += tools;
    Ok(ask)
}

fn messages(messages: &Value, ask: &mut Ask) -> Result<(), Refusal> {
    let messages = messages.as_array().ok_or_else(|| {
        Refusal::bad_request("Missing required parameter: 'messages'.")
            .at("messages")
            .code("missing_required_parameter")
    })?;
    if messages.is_empty() {
        let message =
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(Refusal::bad_request(message).at("messages").code("empty_array"));
    }
    let mut unanswered = HashSet::new();
    let mut before_last_turn = 0;
    let mut total = 0;
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["system", "developer", "user", "assistant", "tool", "function"].contains(&role) {
            let message = format!(
                "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
            );
            return Err(Refusal::bad_request(message).at(format!("messages[{index}].role")).code("invalid_value"));
        }
        if role != "tool" && !unanswered.is_empty() {
            return Err(not_answered(&unanswered, index));
        }
        let read = content(&message["content"], index)?;
        match role {
            "user" => {
                ask.prompt.clone_from(&read.text);
                ask.images = read.images;
                ask.documents = read.documents;
                ask.results.clear();
                before_last_turn = total;
            }
            "assistant" => {
                ask.results.clear();
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    unanswered.insert(call["id"].as_str().unwrap_or_default().to_owned());
                    for text in [&call["function"]["name"], &call["function"]["arguments"], &call["custom"]["input"]] {
                        total += text.as_str().map_or(0, tokens::count);
                    }
                }
            }
            "tool" => {
                if !unanswered.remove(message["tool_call_id"].as_str().unwrap_or_default()) {
                    let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                    return Err(Refusal::bad_request(message).at(format!("messages.[{index}].role")));
                }
                ask.results.push(ToolResult { text: read.text.clone(), images: read.images });
            }
            _ => {}
        }
        total += MESSAGE_TOKENS + tokens::count(&read.text) + MEDIA_TOKENS * (read.images + read.documents) as u64;
    }
    if !unanswered.is_empty() {
        return Err(not_answered(&unanswered, messages.len()));
    }
    let cache_read = if before_last_turn >= CACHED_FROM { before_last_turn / 128 * 128 } else { 0 };
    ask.input = Input { uncached: total - cache_read, cache_read, ..Input::default() };
    Ok(())
}

fn not_answered(ids: &HashSet<String>, index: usize) -> Refusal {
    let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        ids.join(", ")
    );
    Refusal::bad_request(message).at(format!("messages.[{index}].role"))
}

#[derive(Default)]
struct Content {
    text: String,
    images: usize,
    documents: usize,
}

fn content(content: &Value, message: usize) -> Result<Content, Refusal> {
    let mut read = Content::default();
    match content {
        Value::String(text) => read.text.clone_from(text),
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                match part["type"].as_str().unwrap_or_default() {
                    "text" => read.text.push_str(part["text"].as_str().unwrap_or_default()),
                    "image_url" => {
                        check_image(&part["image_url"]["url"])?;
                        read.images += 1;
                    }
                    "file" | "input_audio" => read.documents += 1,
                    "refusal" => read.text.push_str(part["refusal"].as_str().unwrap_or_default()),
                    kind => {
                        let text = format!(
                            "Invalid value: '{kind}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'."
                        );
                        let param = format!("messages[{message}].content[{index}].type");
                        return Err(Refusal::bad_request(text).at(param).code("invalid_value"));
                    }
                }
            }
        }
        _ => {}
    }
    Ok(read)
}

fn check_image(url: &Value) -> Result<(), Refusal> {
    let url = url.as_str().unwrap_or_default();
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let valid = match data {
        Some((kind, data)) => kind.starts_with("image/") && !data.is_empty(),
        None => url.starts_with("https://") || url.starts_with("http://"),
    };
    if valid {
        return Ok(());
    }
    Err(Refusal::bad_request("Invalid image URL: expected a URL or base64-encoded image data.")
        .code("invalid_image_url"))
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn format(format: &Value) -> Result<Format, Refusal> {
    match format["type"].as_str() {
        None | Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Object),
        Some("json_schema") if format["json_schema"]["name"].is_string() => {
            Ok(Format::Schema(format["json_schema"]["schema"].clone()))
        }
        Some("json_schema") => {
            let message = "Missing required parameter: 'response_format.json_schema.name'.";
            Err(Refusal::bad_request(message).at("response_format.json_schema.name").code("missing_required_parameter"))
        }
        Some(other) => {
            let message =
                format!("Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'.");
            Err(Refusal::bad_request(message).at("response_format.type").code("invalid_value"))
        }
    }
}

fn tools(body: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let custom = tool["type"] == "custom";
        let function = if custom { &tool["custom"] } else { &tool["function"] };
        let name = function["name"].as_str().ok_or_else(|| {
            let param = format!("tools[{index}].function.name");
            Refusal::bad_request(format!("Missing required parameter: '{param}'."))
                .at(param)
                .code("missing_required_parameter")
        })?;
        let schema = (!custom).then(|| function["parameters"].clone());
        tools.push(Tool { name: name.to_owned(), schema });
    }
    Ok(tools)
}

fn choice(choice: &Value) -> Choice {
    let named = choice["function"]["name"].as_str().or_else(|| choice["custom"]["name"].as_str());
    match (choice.as_str(), named) {
        (Some("none"), _) => Choice::None,
        (Some("required"), _) => Choice::Required,
        (_, Some(name)) => Choice::Named(name.to_owned()),
        _ => Choice::Auto,
    }
}
