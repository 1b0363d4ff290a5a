//! Content blocks of an answer (`ContentBlock` of the service model). What the IR does not know stays whole, as a raw item.

use portcullis_plugin::json::{self, Writer};
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use crate::{CARRY, FORMAT};

portcullis_plugin::wire_object! {
    struct WireBlock {
        text: Option<String>,
        tool_use as "toolUse": Option<WireToolUse>,
        reasoning as "reasoningContent": Option<WireReasoning>,
        citations as "citationsContent": Option<WireCitations>,
        image: Option<WireImage>,
    }

    pub struct WireToolUse {
        id as "toolUseId": Option<String>,
        name: Option<String>,
        kind as "type": Option<String>,
        input: Option<Box<RawValue>>,
    }

    struct WireReasoning {
        text as "reasoningText": Option<WireReasoningText>,
        redacted as "redactedContent": Option<String>,
    }

    struct WireReasoningText {
        text: Option<String>,
        signature: Option<String>,
    }

    struct WireCitations {
        content: Vec<WireText>,
        citations: Option<Box<RawValue>>,
    }

    struct WireText {
        text: Option<String>,
    }

    pub struct WireImage {
        format: Option<String>,
        source: Option<WireBytes>,
    }

    pub struct WireBytes {
        bytes: Option<String>,
    }
}

/// A call of the model's, as opposed to one that Bedrock runs itself (`server_tool_use`).
pub fn is_call(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| kind == "tool_use")
}

pub fn reasoning(text: String, signature: Option<String>, redacted: Option<String>) -> Content {
    Content::Reasoning(Reasoning { text, summary: false, signature, redacted, format: FORMAT.to_owned() })
}

pub fn image(format: Option<String>, bytes: String) -> Content {
    let media_type = format.map(|format| format!("image/{format}"));
    Content::Image(Media { source: Source::Base64(bytes), media_type, name: None, detail: None })
}

/// A block as it stands in an answer; `None` for empty text, which says nothing.
///
/// # Errors
/// When it is not an object with a known member's shape.
pub fn decode(raw: &str) -> Result<Option<Part>, Failure> {
    let block: WireBlock = json::parse_upstream(raw)?;
    if let Some(text) = block.text {
        return Ok((!text.is_empty()).then(|| Part::text(text)));
    }
    if let Some(call) = block.tool_use.filter(|call| is_call(call.kind.as_deref())) {
        let (Some(id), Some(name)) = (call.id, call.name) else {
            return Err(Failure::upstream_protocol("a tool use of the provider's answer has no id or name"));
        };
        let input = call.input.map_or_else(String::new, |input| Box::<str>::from(input).into());
        // Null and nothing are no arguments.
        let arguments = if matches!(&*input, "" | "null" | "\"\"") { "{}".to_owned() } else { input };
        return Ok(Some(Part::new(Content::ToolCall(ToolCall { id, name, arguments, custom: false }))));
    }
    if let Some(thought) = block.reasoning {
        let WireReasoningText { text, signature, .. } = thought.text.unwrap_or_default();
        return Ok(Some(Part::new(reasoning(text.unwrap_or_default(), signature, thought.redacted))));
    }
    if let Some(cited) = block.citations {
        let text: String = cited.content.into_iter().filter_map(|content| content.text).collect();
        let citations = cited.citations.map(|raw| Field::new(format!("{CARRY}citations"), Box::<str>::from(raw)));
        return Ok(Some(Part { carry: citations.into_iter().collect(), ..Part::text(text) }));
    }
    if let Some(WireImage { format, source: Some(WireBytes { bytes: Some(bytes), .. }), .. }) = block.image {
        return Ok(Some(Part::new(image(format, bytes))));
    }
    Ok(Some(Part::new(item(raw))))
}

/// A block whole, named after its member.
pub fn item(raw: &str) -> Content {
    portcullis_plugin::wire_object! {
        struct WireItem {}
    }
    let members = json::from_str::<WireItem>(raw).unwrap_or_default().extra;
    let kind = members.first().map(|member| member.name.clone()).unwrap_or_default();
    Content::Other(RawItem { format: FORMAT.to_owned(), kind, value: raw.to_owned() })
}

/// `{"toolUse":{…}}` of a tool that Bedrock ran, put together from a stream's pieces.
pub fn server_call(head: &str, input: &str) -> Content {
    let input = if json::is_valid(input) { input } else { "{}" };
    grown("toolUse", head, "input", input)
}

/// `{"toolResult":{…}}` of such a tool.
pub fn server_result(head: &str, content: &str) -> Content {
    grown("toolResult", head, "content", content)
}

/// An object under `kind`: the members of `head` and one more.
fn grown(kind: &str, head: &str, name: &str, value: &str) -> Content {
    portcullis_plugin::wire_object! {
        struct WireHead {}
    }
    let mut writer = Writer::with_capacity(head.len() + value.len() + 32);
    writer.begin_object();
    writer.key(kind);
    writer.begin_object();
    for member in json::from_str::<WireHead>(head).unwrap_or_default().extra {
        writer.member_raw(&member.name, &member.value);
    }
    writer.member_raw(name, value);
    writer.end_object();
    writer.end_object();
    Content::Other(RawItem { format: FORMAT.to_owned(), kind: kind.to_owned(), value: writer.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(raw: &str) -> Option<Content> {
        decode(raw).unwrap().map(|part| part.content)
    }

    #[test]
    fn blocks_by_their_member() {
        assert_eq!(decoded(r#"{"text":""}"#), None);
        assert_eq!(decoded(r#"{"text":"a\nb"}"#), Some(Content::Text("a\nb".to_owned())));
        let call = |arguments: &str| {
            let (id, name) = ("tooluse_1".to_owned(), "f".to_owned());
            Some(Content::ToolCall(ToolCall { id, name, arguments: arguments.to_owned(), custom: false }))
        };
        assert_eq!(
            decoded(r#"{"toolUse":{"toolUseId":"tooluse_1","name":"f","input":{"a":1.0}}}"#),
            call(r#"{"a":1.0}"#)
        );
        for empty in [r#","input":{}"#, r#","input":null"#, r#","input":"""#, ""] {
            let raw = format!(r#"{{"toolUse":{{"toolUseId":"tooluse_1","name":"f","type":"tool_use"{empty}}}}}"#);
            assert_eq!(decoded(&raw), call("{}"), "{raw}");
        }
        assert!(decode(r#"{"toolUse":{"name":"f"}}"#).is_err());
        let thought = r#"{"reasoningContent":{"reasoningText":{"text":"t","signature":"s"}}}"#;
        assert_eq!(decoded(thought), Some(reasoning("t".to_owned(), Some("s".to_owned()), None)));
        let redacted = r#"{"reasoningContent":{"redactedContent":"cg=="}}"#;
        assert_eq!(decoded(redacted), Some(reasoning(String::new(), None, Some("cg==".to_owned()))));
    }

    #[test]
    fn what_bedrock_ran_itself_stays_whole() {
        for (raw, kind) in [
            (
                r#"{"toolUse":{"input":{},"name":"nova_code_interpreter","toolUseId":"t","type":"server_tool_use"}}"#,
                "toolUse",
            ),
            (r#"{"toolResult":{"content":[{"json":{"a":1}}],"toolUseId":"t","type":"x"}}"#, "toolResult"),
            (r#"{"ofNextYear":{"x":[1, 2]}}"#, "ofNextYear"),
        ] {
            let Some(Content::Other(item)) = decoded(raw) else { panic!("{raw}") };
            assert_eq!((&*item.kind, &*item.value), (kind, raw));
        }
    }

    #[test]
    fn a_stream_s_pieces_make_the_same_item() {
        let head = r#"{"toolUseId":"t","name":"n","type":"server_tool_use"}"#;
        let Content::Other(item) = server_call(head, r#"{"snippet":"1"}"#) else { panic!() };
        assert_eq!(
            item.value,
            r#"{"toolUse":{"toolUseId":"t","name":"n","type":"server_tool_use","input":{"snippet":"1"}}}"#
        );
        let Content::Other(item) = server_call(head, "{\"broken") else { panic!() };
        assert!(item.value.contains(r#""input":{}"#));
    }
}
