//! Reads and checks a `generateContent` request.
//!
//! A member that the API does not know is refused, as protocol buffers read from JSON refuse it: a gateway that passes another
//! protocol's members on must notice here.

use serde_json::{Map, Value};

use crate::ask::{Ask, Choice, Format, Input, MEDIA_TOKENS, MESSAGE_TOKENS, Thinking, Tool, ToolResult};
use crate::gemini::response::signature;
use crate::refusal::Refusal;
use crate::tokens;

/// Signatures that stand for none, for calls that another model made
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
const UNSIGNED: [&str; 2] = ["context_engineering_is_the_way_to_go", "skip_thought_signature_validator"];
/// Members of the request.
const MEMBERS: [&str; 9] = [
    "model",
    "contents",
    "tools",
    "toolConfig",
    "safetySettings",
    "systemInstruction",
    "generationConfig",
    "cachedContent",
    "serviceTier",
];
/// Members of a part.
const PART: [&str; 12] = [
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "videoMetadata",
    "partMetadata",
    "mediaResolution",
];

/// What a path names.
#[derive(Debug, PartialEq)]
pub struct Target<'a> {
    pub model: &'a str,
    pub stream: bool,
}

impl<'a> Target<'a> {
    pub fn of(path: &'a str) -> Option<Self> {
        let (model, method) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
        match method {
            "generateContent" => Some(Self { model, stream: false }),
            "streamGenerateContent" => Some(Self { model, stream: true }),
            _ => None,
        }
    }
}

pub fn read(path: &str, body: &[u8]) -> Result<Ask, Refusal> {
    let target = Target::of(path).ok_or_else(|| Refusal::bad_request(format!("unknown method {path}")))?;
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("Invalid JSON payload received. {error}")))?;
    let body = camel_case(&body);
    known(&body, &MEMBERS, "")?;
    let generation = &body["generationConfig"];
    let mut ask = Ask {
        model: target.model.to_owned(),
        stream: target.stream,
        parallel: true,
        limit: generation["maxOutputTokens"].as_u64(),
        count: usize::try_from(generation["candidateCount"].as_u64().unwrap_or(1)).unwrap_or(1).clamp(1, 8),
        stop: texts(&generation["stopSequences"]),
        format: format(generation),
        thinking: thinking(&generation["thinkingConfig"]),
        tools: tools(&body["tools"])?,
        choice: choice(&body["toolConfig"]["functionCallingConfig"]),
        ..Ask::default()
    };
    let mut count = tokens::count(&body["tools"].to_string());
    for part in body["systemInstruction"]["parts"].as_array().into_iter().flatten() {
        count += part["text"].as_str().map_or(0, tokens::count);
    }
    count += contents(&body["contents"], &mut ask)?;
    ask.input = Input { uncached: count, ..Input::default() };
    Ok(ask)
}

/// Members may be written in snake case too, as in all of Google's APIs. What is the caller's own stays as it is.
fn camel_case(value: &Value) -> Value {
    const OWN: [&str; 5] = ["args", "response", "parametersJsonSchema", "responseJsonSchema", "properties"];
    match value {
        Value::Array(all) => all.iter().map(camel_case).collect(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let name = camel(name);
                let value = if OWN.contains(&name.as_str()) { value.clone() } else { camel_case(value) };
                (name, value)
            };
            Value::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &capital(word))
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

fn known(value: &Value, members: &[&str], at: &str) -> Result<(), Refusal> {
    let unknown = value.as_object().and_then(|all| all.keys().find(|name| !members.contains(&name.as_str())));
    match unknown {
        None => Ok(()),
        Some(name) => Err(Refusal::bad_request(format!(
            "Invalid JSON payload received. Unknown name \"{name}\"{}: Cannot find field.",
            if at.is_empty() { String::new() } else { format!(" at '{at}'") }
        ))),
    }
}

fn contents(contents: &Value, ask: &mut Ask) -> Result<u64, Refusal> {
    let contents = contents
        .as_array()
        .filter(|contents| !contents.is_empty())
        .ok_or_else(|| Refusal::bad_request("* GenerateContentRequest.contents: contents is not specified"))?;
    let mut count = 0;
    let mut open = 0;
    for (index, content) in contents.iter().enumerate() {
        let parts = content["parts"].as_array().filter(|parts| !parts.is_empty()).ok_or_else(|| {
            Refusal::bad_request(format!(
                "* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty."
            ))
        })?;
        let role = content["role"].as_str().unwrap_or("user");
        if !["user", "model", "function"].contains(&role) {
            return Err(Refusal::bad_request("Please use a valid role: user, model."));
        }
        let answers = parts.iter().filter(|part| part["functionResponse"].is_object()).count();
        if answers != open {
            return Err(Refusal::bad_request(
                "Please ensure that the number of function response parts is equal to the number of function call parts of \
                 the function call turn.",
            ));
        }
        open = parts.iter().filter(|part| part["functionCall"].is_object()).count();
        ask.results.clear();
        if role == "user" && answers == 0 {
            ask.prompt.clear();
            ask.images = 0;
            ask.documents = 0;
        }
        count += MESSAGE_TOKENS;
        for (place, part) in parts.iter().enumerate() {
            count += read_part(part, &format!("contents[{index}].parts[{place}]"), role, ask)?;
        }
    }
    Ok(count)
}

/// Notes what a part brings and returns its tokens.
fn read_part(part: &Value, at: &str, role: &str, ask: &mut Ask) -> Result<u64, Refusal> {
    known(part, &PART, at)?;
    check_signature(part, at)?;
    if let Some(text) = part["text"].as_str() {
        if role == "user" && ask.results.is_empty() {
            ask.prompt.push_str(text);
        }
        return Ok(if part["thought"] == true { 0 } else { tokens::count(text) });
    }
    for member in ["inlineData", "fileData"] {
        if let Some(kind) = part[member]["mimeType"].as_str() {
            if kind.starts_with("image/") {
                ask.images += 1;
            } else {
                ask.documents += 1;
            }
            return Ok(MEDIA_TOKENS);
        }
    }
    if part["functionCall"].is_object() {
        return Ok(tokens::count(&part["functionCall"].to_string()));
    }
    let response = &part["functionResponse"];
    if response.is_object() {
        if response["name"].as_str().is_none_or(str::is_empty) {
            return Err(Refusal::bad_request(format!("* {at}.function_response.name: Name cannot be empty.")));
        }
        if !response["response"].is_object() {
            return Err(Refusal::bad_request(format!("Invalid value at '{at}.function_response.response'")));
        }
        ask.results.push(tool_result(response));
        return Ok(tokens::count(&response["response"].to_string()));
    }
    let other = ["executableCode", "codeExecutionResult", "thoughtSignature"];
    if other.iter().any(|member| !part[*member].is_null()) {
        return Ok(0);
    }
    Err(Refusal::bad_request(format!("* {at}.data: required oneof field 'data' must have one initialized field")))
}

/// The API documents `output` and `error` for what a tool said; anything else is the result itself.
fn tool_result(response: &Value) -> ToolResult {
    let said = &response["response"];
    let members: Option<&Map<_, _>> = said.as_object().filter(|members| members.len() == 1);
    let one = members.and_then(|members| ["output", "result", "error"].iter().find_map(|name| members.get(*name)));
    let text = match one.unwrap_or(said) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    ToolResult { text, images: response["parts"].as_array().map_or(0, Vec::len) }
}

fn check_signature(part: &Value, at: &str) -> Result<(), Refusal> {
    let Some(given) = part["thoughtSignature"].as_str() else { return Ok(()) };
    let signed = part["functionCall"]["name"].as_str().or_else(|| part["text"].as_str()).unwrap_or_default();
    if UNSIGNED.contains(&given) || given == signature(signed) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!("{at}: Thought signature is not valid.")))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn format(generation: &Value) -> Format {
    if generation["responseMimeType"] != "application/json" {
        return Format::Text;
    }
    for member in ["responseJsonSchema", "responseSchema"] {
        if generation[member].is_object() {
            return Format::Schema(json_schema(&generation[member]));
        }
    }
    Format::Object
}

fn thinking(config: &Value) -> Thinking {
    if config["includeThoughts"] == true {
        return Thinking::Shown;
    }
    let asked = config["thinkingBudget"].as_i64().is_some_and(|budget| budget != 0)
        || config["thinkingLevel"].as_str().is_some_and(|level| !level.eq_ignore_ascii_case("minimal"));
    if asked { Thinking::Hidden } else { Thinking::Off }
}

fn tools(tools: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut read = Vec::new();
    for tool in tools.as_array().into_iter().flatten() {
        for function in tool["functionDeclarations"].as_array().into_iter().flatten() {
            let name = function["name"].as_str().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| Refusal::bad_request("Invalid function name. Must start with a letter."))?;
            let given = ["parametersJsonSchema", "parameters"].iter().find(|member| function[**member].is_object());
            let schema = given.map_or(Value::Null, |member| json_schema(&function[*member]));
            read.push(Tool { name: name.to_owned(), schema: Some(schema) });
        }
    }
    Ok(read)
}

fn choice(config: &Value) -> Choice {
    match (config["mode"].as_str(), config["allowedFunctionNames"].as_array().map(Vec::as_slice)) {
        (Some("NONE"), _) => Choice::None,
        (Some("ANY"), Some([name])) => Choice::Named(name.as_str().unwrap_or_default().to_owned()),
        (Some("ANY"), _) => Choice::Required,
        _ => Choice::Auto,
    }
}

/// Google's `Schema` as JSON Schema: names of types in small letters, and 64-bit numbers, which are strings, as numbers.
fn json_schema(schema: &Value) -> Value {
    match schema {
        Value::Array(all) => all.iter().map(json_schema).collect(),
        Value::Object(members) => {
            let read = members.iter().map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("type", Value::String(kind)) => kind.to_lowercase().into(),
                    ("minItems" | "maxItems" | "minLength" | "maxLength", Value::String(number)) => {
                        number.parse::<u64>().map_or(Value::Null, Value::from)
                    }
                    ("enum" | "default" | "const" | "example" | "examples", value) => value.clone(),
                    (_, value) => json_schema(value),
                };
                (name.clone(), value)
            });
            Value::Object(read.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets() {
        let of = |path| Target::of(path).map(|target| (target.model, target.stream));
        assert_eq!(of("/v1beta/models/demo:generateContent"), Some(("demo", false)));
        assert_eq!(of("/v1beta/models/demo-echo:streamGenerateContent"), Some(("demo-echo", true)));
        assert_eq!(of("/v1beta/models/demo:countTokens"), None);
        assert_eq!(of("/v1beta/models"), None);
    }

    #[test]
    fn spellings() {
        let snake = json!({"inline_data": {"mime_type": "image/png"}, "args": {"my_city": 1}, "text": "a_b"});
        let wanted = json!({"inlineData": {"mimeType": "image/png"}, "args": {"my_city": 1}, "text": "a_b"});
        assert_eq!(camel_case(&snake), wanted);
        assert_eq!(camel("_é_ßx"), "éSSx");
    }

    #[test]
    fn schemas() {
        let google = json!({"type": "OBJECT", "properties": {"type": {"type": "STRING", "minLength": "3"}, "a": {"enum": ["A"]}}});
        let wanted =
            json!({"type": "object", "properties": {"type": {"type": "string", "minLength": 3}, "a": {"enum": ["A"]}}});
        assert_eq!(json_schema(&google), wanted);
    }
}
