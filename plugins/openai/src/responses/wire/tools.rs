//! Custom tools and choices of tools, which the two protocols write differently: Chat Completions in an object named after the
//! type, Responses flat. Everything that either has alone is not converted.

use portcullis_plugin::ir::RawItem;
use portcullis_plugin::json::{self, Writer};
use serde::Deserialize;

use crate::wire;

#[derive(Deserialize, Default)]
#[serde(default)]
struct ChatTool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<Named>,
    custom: Option<Custom>,
    allowed_tools: Option<Allowed>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Custom {
    name: String,
    description: Option<String>,
    format: Option<ChatFormat>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ChatFormat {
    grammar: Option<Grammar>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Grammar {
    syntax: String,
    definition: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Allowed {
    mode: String,
    tools: Vec<ChatTool>,
}

/// A custom tool of Chat Completions, for this API.
pub fn from_chat(item: &RawItem) -> Option<String> {
    let custom = of(item, wire::FORMAT, "custom").and_then(json_of::<ChatTool>)?.custom?;
    let mut writer = Writer::with_capacity(item.value.len());
    writer.begin_object();
    writer.member_string("type", "custom");
    described(&mut writer, &custom.name, custom.description.as_deref());
    if let Some(grammar) = custom.format.and_then(|format| format.grammar) {
        writer.key("format");
        writer.begin_object();
        writer.member_string("type", "grammar");
        members(&mut writer, &grammar);
        writer.end_object();
    }
    writer.end_object();
    Some(writer.finish())
}

/// A choice of Chat Completions that names a custom tool or the tools that are allowed, for this API.
pub fn choice_from_chat(item: &RawItem) -> Option<String> {
    let named = |tool: &ChatTool| -> Option<(String, String)> {
        let name = tool.function.as_ref().map(|function| &function.name);
        let name = name.or(tool.custom.as_ref().map(|custom| &custom.name))?;
        Some((tool.kind.clone(), name.clone()))
    };
    let mut writer = Writer::with_capacity(item.value.len());
    if let Some(choice) = of(item, wire::FORMAT, "custom").and_then(json_of::<ChatTool>) {
        let (kind, name) = named(&choice)?;
        flat(&mut writer, &kind, &name);
        return Some(writer.finish());
    }
    let allowed = of(item, wire::FORMAT, "allowed_tools").and_then(json_of::<ChatTool>)?.allowed_tools?;
    writer.begin_object();
    writer.member_string("type", "allowed_tools");
    writer.member_string("mode", &allowed.mode);
    writer.key("tools");
    writer.begin_array();
    for tool in &allowed.tools {
        let (kind, name) = named(tool)?;
        flat(&mut writer, &kind, &name);
    }
    writer.end_array();
    writer.end_object();
    Some(writer.finish())
}

fn of<'a>(item: &'a RawItem, format: &str, kind: &str) -> Option<&'a str> {
    (item.format == format && item.kind == kind).then_some(item.value.as_str())
}

fn json_of<'a, T: Deserialize<'a>>(value: &'a str) -> Option<T> {
    json::from_str(value).ok()
}

fn described(writer: &mut Writer, name: &str, description: Option<&str>) {
    writer.member_string("name", name);
    if let Some(description) = description {
        writer.member_string("description", description);
    }
}

fn members(writer: &mut Writer, grammar: &Grammar) {
    writer.member_string("syntax", &grammar.syntax);
    writer.member_string("definition", &grammar.definition);
}

/// `{"type":…,"name":…}`.
fn flat(writer: &mut Writer, kind: &str, name: &str) {
    writer.begin_object();
    writer.member_string("type", kind);
    writer.member_string("name", name);
    writer.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(format: &str, kind: &str, value: &str) -> RawItem {
        RawItem { format: format.to_owned(), kind: kind.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn custom_tools_become_flat() {
        let chat = r#"{"type":"custom","custom":{"name":"run","description":"d","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: \"x\""}}}}"#;
        let flat = r#"{"type":"custom","name":"run","description":"d","format":{"type":"grammar","syntax":"lark","definition":"start: \"x\""}}"#;
        assert_eq!(from_chat(&item(wire::FORMAT, "custom", chat)).as_deref(), Some(flat));
        let plain = r#"{"type":"custom","custom":{"name":"run","format":{"type":"text"}}}"#;
        assert_eq!(
            from_chat(&item(wire::FORMAT, "custom", plain)).as_deref(),
            Some(r#"{"type":"custom","name":"run"}"#)
        );
        assert_eq!(from_chat(&item("x", "custom", chat)), None);
        assert_eq!(from_chat(&item(wire::FORMAT, "web_search", "{}")), None);
    }

    #[test]
    fn choices_become_flat() {
        let custom = r#"{"type":"custom","custom":{"name":"run"}}"#;
        let flat = r#"{"type":"custom","name":"run"}"#;
        assert_eq!(choice_from_chat(&item(wire::FORMAT, "custom", custom)).as_deref(), Some(flat));
        let allowed = r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"run"}}]}}"#;
        let flat = r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"custom","name":"run"}]}"#;
        assert_eq!(choice_from_chat(&item(wire::FORMAT, "allowed_tools", allowed)).as_deref(), Some(flat));
        assert_eq!(choice_from_chat(&item("x", "allowed_tools", allowed)), None);
    }
}
