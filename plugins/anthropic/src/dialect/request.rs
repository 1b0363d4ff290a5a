//! A client's request (<https://platform.claude.com/docs/en/api/messages/create>).
//!
//! Fields without a place in the IR go to `extra` by name; members of objects that the IR takes apart go there under
//! `OBJECT.NAME` (`output_config.task_budget`, `metadata.x`), and a `thinking` the IR cannot say whole goes there as it is.

use portcullis_plugin::json::{self, Unknown};
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use portcullis_anthropic_messages::FORMAT;
use portcullis_anthropic_messages::block::Blocks;
use portcullis_anthropic_messages::cache::{self, WireCacheControl};

portcullis_plugin::wire_object! {
    struct WireRequest {
        model: Option<String>,
        messages: Option<Vec<WireMessage>>,
        system: Option<Blocks>,
        max_tokens: Option<u32>,
        metadata: Option<WireMetadata>,
        output_config: Option<WireOutputConfig>,
        // The beta's name for `output_config.format`, still accepted by the API.
        output_format: Option<WireFormat>,
        stop_sequences: Option<Vec<String>>,
        stream: Option<bool>,
        temperature: Option<f64>,
        thinking: Option<WireThinking>,
        tool_choice: Option<WireToolChoice>,
        tools: Option<Vec<WireTool>>,
        top_k: Option<u32>,
        top_p: Option<f64>,
    }
    struct WireMessage {
        role: Option<String>,
        content: Option<Blocks>,
    }
    struct WireMetadata {
        user_id: Option<String>,
    }
    struct WireOutputConfig {
        effort: Option<String>,
        format: Option<WireFormat>,
    }
    struct WireFormat {
        kind as "type": Option<String>,
        schema: Option<Box<RawValue>>,
    }
    struct WireThinking {
        kind as "type": Option<String>,
        budget_tokens: Option<u32>,
        display: Option<String>,
    }
    struct WireToolChoice {
        kind as "type": Option<String>,
        name: Option<String>,
        disable_parallel_tool_use: Option<bool>,
    }
    struct WireTool {
        kind as "type": Option<String>,
        name: Option<String>,
        description: Option<String>,
        input_schema: Option<Box<RawValue>>,
        strict: Option<bool>,
        cache_control: Option<WireCacheControl>,
    }
}

/// Decodes a request. `max_tokens`, which the API demands, may be missing here: a provider that needs one has its default.
pub fn decode(body: &str) -> Result<Request, Failure> {
    let wire: WireRequest = json::parse(body)?;
    let model = wire.model.ok_or_else(|| missing("model"))?;
    let mut request = Request::new(FORMAT, model);
    request.messages = messages(wire.system, wire.messages.ok_or_else(|| missing("messages"))?)?;
    request.tools = wire.tools.unwrap_or_default().into_iter().enumerate().map(tool).collect::<Result<_, _>>()?;
    if let Some(choice) = wire.tool_choice {
        request.parallel_tool_calls = choice.disable_parallel_tool_use.map(|disabled| !disabled);
        request.tool_choice = Some(tool_choice(choice)?);
    }
    request.sampling.temperature = wire.temperature;
    request.sampling.top_p = wire.top_p;
    request.sampling.top_k = wire.top_k;
    request.stop = wire.stop_sequences.unwrap_or_default();
    request.max_output_tokens = wire.max_tokens;
    request.stream = wire.stream.unwrap_or(false);
    // Every stream of this protocol ends with its usage.
    request.stream_usage = request.stream;
    request.extra = wire.extra;
    if let Some(metadata) = wire.metadata {
        request.user = metadata.user_id;
        nest(&mut request.extra, "metadata", metadata.extra);
    }
    let config = wire.output_config.unwrap_or_default();
    nest(&mut request.extra, "output_config", config.extra);
    request.response_format = config.format.or(wire.output_format).map(format);
    request.reasoning = reasoning(wire.thinking, config.effort, &mut request.extra)?;
    Ok(request)
}

fn missing(name: &str) -> Failure {
    Failure::invalid(name, format!("{name}: Field required"))
}

fn messages(system: Option<Blocks>, wire: Vec<WireMessage>) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::with_capacity(wire.len() + 1);
    if let Some(Blocks(parts)) = system
        && !parts.is_empty()
    {
        messages.push(Message::new(Role::System, parts));
    }
    if wire.is_empty() {
        return Err(Failure::invalid("messages", "messages: at least one message is required"));
    }
    for (index, message) in wire.into_iter().enumerate() {
        let role = match message.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                let at = format!("messages[{index}].role");
                return Err(Failure::invalid(&at, format!("{at}: must be `user`, `assistant` or `system`")));
            }
        };
        let parts = message.content.ok_or_else(|| missing(&format!("messages[{index}].content")))?.0;
        messages.push(Message { extra: message.extra, ..Message::new(role, parts) });
    }
    Ok(messages)
}

fn tool((index, wire): (usize, WireTool)) -> Result<Tool, Failure> {
    let kind = wire.kind.as_deref().unwrap_or("custom");
    let mut cache = None;
    let mut extra = wire.extra;
    if let Some(control) = wire.cache_control {
        match control.mark() {
            Some(mark) => cache = Some(mark),
            None => {
                return Err(Failure::invalid(
                    &format!("tools[{index}].cache_control"),
                    format!("tools[{index}].cache_control: must be `ephemeral` with a ttl of `5m` or `1h`"),
                ));
            }
        }
    }
    let name = wire.name;
    if kind != "custom" {
        return Ok(Tool::Other(server_tool(
            kind,
            name,
            wire.description,
            wire.input_schema,
            wire.strict,
            cache,
            &extra,
        )));
    }
    extra.retain(|field| field.value != "null");
    Ok(Tool::Function(FunctionTool {
        name: name.ok_or_else(|| missing(&format!("tools[{index}].name")))?,
        description: wire.description,
        parameters: wire
            .input_schema
            .filter(|schema| !json::is_null(schema))
            .map(|schema| Box::<str>::from(schema).into()),
        strict: wire.strict,
        cache,
        extra,
    }))
}

/// A tool of the provider's own, whole again.
fn server_tool(
    kind: &str,
    name: Option<String>,
    description: Option<String>,
    schema: Option<Box<RawValue>>,
    strict: Option<bool>,
    cache: Option<CacheMark>,
    extra: &Unknown,
) -> RawItem {
    let mut writer = json::Writer::new();
    writer.begin_object();
    writer.member_string("type", kind);
    if let Some(name) = name {
        writer.member_string("name", &name);
    }
    if let Some(description) = description {
        writer.member_string("description", &description);
    }
    if let Some(schema) = schema {
        writer.member_raw("input_schema", schema.get());
    }
    if let Some(strict) = strict {
        writer.member_bool("strict", strict);
    }
    for field in extra {
        writer.member_raw(&field.name, &field.value);
    }
    if let Some(mark) = cache {
        cache::write(&mut writer, &mark);
    }
    writer.end_object();
    RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value: writer.finish() }
}

fn tool_choice(wire: WireToolChoice) -> Result<ToolChoice, Failure> {
    Ok(match wire.kind.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Function(wire.name.ok_or_else(|| missing("tool_choice.name"))?),
        _ => {
            return Err(Failure::invalid(
                "tool_choice.type",
                "tool_choice.type: must be `auto`, `any`, `tool` or `none`",
            ));
        }
    })
}

fn format(wire: WireFormat) -> ResponseFormat {
    match (wire.kind.as_deref(), wire.schema) {
        (Some("json_schema"), Some(schema)) if wire.extra.is_empty() => ResponseFormat::JsonSchema(JsonSchema {
            name: None,
            description: None,
            schema: Box::<str>::from(schema).into(),
            strict: Some(true),
        }),
        (kind, schema) => {
            let kind = kind.unwrap_or_default();
            let mut writer = json::Writer::new();
            writer.begin_object();
            writer.member_string("type", kind);
            if let Some(schema) = schema {
                writer.member_raw("schema", schema.get());
            }
            for field in &wire.extra {
                writer.member_raw(&field.name, &field.value);
            }
            writer.end_object();
            ResponseFormat::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value: writer.finish() })
        }
    }
}

/// `thinking` and `output_config.effort` together. A kind of thinking without a word in the IR (`between_tools`, the least a
/// model that cannot stop does) is kept as it is and read as off.
fn reasoning(
    thinking: Option<WireThinking>,
    effort: Option<String>,
    extra: &mut Unknown,
) -> Result<Option<ReasoningSettings>, Failure> {
    let mut settings = ReasoningSettings { effort, budget: None, enabled: None, summary: None };
    if let Some(thinking) = thinking {
        let kind = thinking.kind.ok_or_else(|| missing("thinking.type"))?;
        settings.enabled = Some(matches!(&*kind, "enabled" | "adaptive"));
        settings.budget = thinking.budget_tokens;
        if kind == "enabled" && settings.budget.is_none() {
            return Err(missing("thinking.budget_tokens"));
        }
        settings.summary = thinking.display.as_deref().map(|display| match display {
            "summarized" => "auto".to_owned(),
            other => other.to_owned(),
        });
        if !matches!(&*kind, "enabled" | "adaptive" | "disabled") || !thinking.extra.is_empty() {
            let mut writer = json::Writer::new();
            writer.begin_object();
            writer.member_string("type", &kind);
            if let Some(budget) = thinking.budget_tokens {
                writer.member_number("budget_tokens", budget);
            }
            if let Some(display) = &thinking.display {
                writer.member_string("display", display);
            }
            for field in &thinking.extra {
                writer.member_raw(&field.name, &field.value);
            }
            writer.end_object();
            extra.push(Field::new("thinking", writer.finish()));
        }
    } else if settings.effort.is_none() {
        return Ok(None);
    }
    Ok(Some(settings))
}

fn nest(extra: &mut Unknown, object: &str, members: Unknown) {
    extra.extend(members.into_iter().map(|field| Field::new(format!("{object}.{}", field.name), field.value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(body: &str) -> (String, String) {
        let failure = decode(body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidRequest);
        (failure.param.unwrap_or_default(), failure.message)
    }

    #[test]
    fn bad_input_names_its_field() {
        for (body, param) in [
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#, "messages[0].role"),
            (r#"{"model":"m","messages":[{"role":"user"}]}"#, "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
            (r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0]"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":"many"}"#, "max_tokens"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":{"type":"tool"}}"#,
                "tool_choice.name",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled"}}"#,
                "thinking.budget_tokens",
            ),
        ] {
            assert_eq!(failure(body).0, param, "{body}");
        }
    }

    #[test]
    fn nothing_after_the_document() {
        assert!(failure(r#"{"model":"m","messages":[{"role":"user","content":"x"}]} {}"#).1.contains("JSON"));
    }

    #[test]
    fn unknown_fields_are_kept_by_name() {
        let request = decode(
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"service_tier":"auto","mcp_servers":[{"a":1}],
                "output_config":{"effort":"low","task_budget":{"total":1}},"metadata":{"user_id":"u","z":2}}"#,
        )
        .unwrap();
        let mut names: Vec<_> = request.extra.iter().map(|field| (&*field.name, &*field.value)).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                ("mcp_servers", r#"[{"a":1}]"#),
                ("metadata.z", "2"),
                ("output_config.task_budget", r#"{"total":1}"#),
                ("service_tier", r#""auto""#)
            ]
        );
        assert_eq!(request.user.as_deref(), Some("u"));
        assert_eq!(request.reasoning.unwrap().effort.as_deref(), Some("low"));
    }
}
