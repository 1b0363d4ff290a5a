//! Reads and checks a Responses request.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::ask::{Ask, Choice, Format, Input, MEDIA_TOKENS, MESSAGE_TOKENS, Thinking, Tool, ToolResult};
use crate::refusal::Refusal;
use crate::responses::response::encrypted;
use crate::tokens;

pub fn read(body: &[u8]) -> Result<Ask, Refusal> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request("We could not parse the JSON body of your request."))?;
    let mut ask = Ask {
        model: body["model"].as_str().ok_or_else(|| missing("model"))?.to_owned(),
        parallel: body["parallel_tool_calls"].as_bool().unwrap_or(true),
        limit: body["max_output_tokens"].as_u64(),
        count: 1,
        stream: body["stream"] == true,
        format: format(&body["text"]["format"])?,
        thinking: thinking(&body["reasoning"]),
        tools: tools(&body["tools"])?,
        choice: choice(&body["tool_choice"]),
        ..Ask::default()
    };
    if let Some(id) = body["previous_response_id"].as_str() {
        let message = format!("Previous response with id '{id}' not found.");
        return Err(Refusal::bad_request(message).at("previous_response_id").code("previous_response_not_found"));
    }
    let mut count = body["instructions"].as_str().map_or(0, tokens::count);
    count += ask.tools.iter().map(|tool| tokens::count(&tool.name) + schema_tokens(tool)).sum::<u64>();
    count += input(&body["input"], &mut ask)?;
    ask.input = Input { uncached: count, ..Input::default() };
    ask.repeated = repeated(&body);
    Ok(ask)
}

fn schema_tokens(tool: &Tool) -> u64 {
    tool.schema.as_ref().map_or(0, |schema| tokens::count(&schema.to_string()))
}

/// What the answer says of its request, as the service says it.
fn repeated(body: &Value) -> Value {
    let or = |name: &str, otherwise: Value| if body[name].is_null() { otherwise } else { body[name].clone() };
    json!({
        "instructions": or("instructions", Value::Null),
        "max_output_tokens": or("max_output_tokens", Value::Null),
        "metadata": or("metadata", json!({})),
        "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
        "reasoning": or("reasoning", json!({"effort": null, "summary": null})),
        "store": or("store", json!(true)),
        "temperature": or("temperature", json!(1.0)),
        "text": or("text", json!({"format": {"type": "text"}})),
        "tool_choice": or("tool_choice", json!("auto")),
        "tools": or("tools", json!([])),
        "top_p": or("top_p", json!(1.0)),
        "truncation": or("truncation", json!("disabled")),
    })
}

fn missing(name: &str) -> Refusal {
    Refusal::bad_request(format!("Missing required parameter: '{name}'.")).at(name).code("missing_required_parameter")
}

fn wrong(param: String, kind: &str) -> Refusal {
    Refusal::bad_request(format!("Invalid value: '{kind}'.")).at(param).code("invalid_value")
}

fn input(input: &Value, ask: &mut Ask) -> Result<u64, Refusal> {
    let items = match input {
        Value::String(text) => {
            ask.prompt.clone_from(text);
            return Ok(MESSAGE_TOKENS + tokens::count(text));
        }
        Value::Array(items) => items,
        _ => return Err(missing("input")),
    };
    let mut count = 0;
    let mut open = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("input[{index}]");
        let id = || item["call_id"].as_str().unwrap_or_default().to_owned();
        count += MESSAGE_TOKENS;
        match item["type"].as_str().unwrap_or("message") {
            "message" => count += message(item, &at, ask)?,
            "function_call" | "custom_tool_call" => {
                ask.results.clear();
                open.insert(id());
                for name in ["name", "arguments", "input"] {
                    count += item[name].as_str().map_or(0, tokens::count);
                }
            }
            "function_call_output" | "custom_tool_call_output" => {
                if !open.remove(&id()) {
                    let message = format!("No tool call found for function call output with call_id {}.", id());
                    return Err(Refusal::bad_request(message).at("input"));
                }
                let said = content(&item["output"], &format!("{at}.output"))?;
                count += tokens::count(&said.text) + MEDIA_TOKENS * said.images as u64;
                ask.results.push(ToolResult { text: said.text, images: said.images });
            }
            "reasoning" => check_reasoning(item, &at)?,
            kind => return Err(wrong(at, kind)),
        }
    }
    match open.iter().next() {
        None => Ok(count),
        Some(id) => Err(Refusal::bad_request(format!("No tool output found for function call {id}.")).at("input")),
    }
}

fn message(item: &Value, at: &str, ask: &mut Ask) -> Result<u64, Refusal> {
    let role = item["role"].as_str().unwrap_or_default();
    if !["assistant", "system", "developer", "user"].contains(&role) {
        return Err(wrong(format!("{at}.role"), role));
    }
    let read = content(&item["content"], &format!("{at}.content"))?;
    let count = tokens::count(&read.text) + MEDIA_TOKENS * (read.images + read.documents) as u64;
    if role == "user" {
        ask.prompt = read.text;
        ask.images = read.images;
        ask.documents = read.documents;
    }
    if role == "user" || role == "assistant" {
        ask.results.clear();
    }
    Ok(count)
}

/// Reasoning whose content was edited cannot be read by the service.
fn check_reasoning(item: &Value, at: &str) -> Result<(), Refusal> {
    let Some(given) = item["encrypted_content"].as_str() else { return Ok(()) };
    let summary: String =
        item["summary"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect();
    if given == encrypted(&summary) {
        return Ok(());
    }
    let message = format!("The encrypted content for item {} could not be verified.", item["id"]);
    Err(Refusal::bad_request(message).at(at).code("invalid_encrypted_content"))
}

#[derive(Default)]
struct Content {
    text: String,
    images: usize,
    documents: usize,
}

fn content(content: &Value, at: &str) -> Result<Content, Refusal> {
    let mut read = Content::default();
    match content {
        Value::String(text) => read.text.clone_from(text),
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                match part["type"].as_str().unwrap_or_default() {
                    "input_text" | "output_text" => read.text.push_str(part["text"].as_str().unwrap_or_default()),
                    "refusal" => read.text.push_str(part["refusal"].as_str().unwrap_or_default()),
                    "input_image" if part["image_url"].is_string() || part["file_id"].is_string() => read.images += 1,
                    "input_file" | "input_audio" => read.documents += 1,
                    kind => return Err(wrong(format!("{at}[{index}]"), kind)),
                }
            }
        }
        _ => return Err(missing(at)),
    }
    Ok(read)
}

fn format(format: &Value) -> Result<Format, Refusal> {
    match format["type"].as_str() {
        None | Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Object),
        Some("json_schema") if format["name"].is_string() && format["schema"].is_object() => {
            Ok(Format::Schema(format["schema"].clone()))
        }
        Some("json_schema") => Err(missing("text.format.name")),
        Some(kind) => Err(wrong("text.format.type".to_owned(), kind)),
    }
}

fn thinking(reasoning: &Value) -> Thinking {
    if reasoning["summary"].is_string() {
        return Thinking::Shown;
    }
    match reasoning["effort"].as_str() {
        None | Some("none" | "minimal") => Thinking::Off,
        Some(_) => Thinking::Hidden,
    }
}

fn tools(tools: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut read = Vec::new();
    for (index, tool) in tools.as_array().into_iter().flatten().enumerate() {
        // Others run at the provider; this server has none to run.
        let custom = match tool["type"].as_str() {
            Some("function") => false,
            Some("custom") => true,
            Some(_) => continue,
            None => return Err(missing(&format!("tools[{index}].type"))),
        };
        let name = tool["name"].as_str().ok_or_else(|| missing(&format!("tools[{index}].name")))?;
        read.push(Tool { name: name.to_owned(), schema: (!custom).then(|| tool["parameters"].clone()) });
    }
    Ok(read)
}

fn choice(choice: &Value) -> Choice {
    match (choice.as_str(), choice["name"].as_str()) {
        (Some("none"), _) => Choice::None,
        (Some("required"), _) => Choice::Required,
        (_, Some(name)) => Choice::Named(name.to_owned()),
        _ => Choice::Auto,
    }
}
