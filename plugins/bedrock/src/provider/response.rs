//! A whole answer of Converse (`ConverseResponse` of the service model). It names no model.

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use crate::usage::WireUsage;
use crate::{FORMAT, block, stop};

portcullis_plugin::wire_object! {
    struct WireAnswer {
        output: Option<WireOutput>,
        stop_reason as "stopReason": Option<String>,
        usage: Option<WireUsage>,
        additional as "additionalModelResponseFields": Option<Box<RawValue>>,
    }

    struct WireOutput {
        message: Option<WireMessage>,
    }

    struct WireMessage {
        role: Option<String>,
        content: Option<Vec<Box<RawValue>>>,
    }
}

/// What was asked for with `additionalModelResponseFieldPaths`, which may be any JSON: the sequence that ended the text, and in `extra`
/// whatever else there is.
pub fn additional(raw: &str, extra: &mut Vec<Field>) -> Option<String> {
    portcullis_plugin::wire_object! {
        struct WireAdditional {
            stop_sequence: Option<String>,
        }
    }
    const NAME: &str = "additionalModelResponseFields";
    let Ok(fields) = json::from_str::<WireAdditional>(raw) else {
        extra.push(Field::new(NAME, raw));
        return None;
    };
    if !fields.extra.is_empty() {
        let mut writer = json::Writer::new();
        writer.begin_object();
        for field in &fields.extra {
            writer.member_raw(&field.name, &field.value);
        }
        writer.end_object();
        extra.push(Field::new(NAME, writer.finish()));
    }
    fields.stop_sequence
}

pub fn decode(id: &str, body: &str) -> Result<Response, Failure> {
    let wire: WireAnswer = json::parse_upstream(body)?;
    let message = wire.output.and_then(|output| output.message);
    let (Some(reason), Some(content)) = (wire.stop_reason, message.and_then(|message| message.content)) else {
        return Err(Failure::upstream_protocol("the provider's answer holds no message"));
    };
    let mut parts = Vec::with_capacity(content.len());
    for raw in content {
        parts.extend(block::decode(raw.get())?);
    }
    let mut extra = wire.extra;
    let sequence = wire.additional.and_then(|raw| additional(raw.get(), &mut extra));
    let finish = Some(stop::decode(reason, sequence));
    let choice = Choice { index: 0, parts, finish, logprobs: None, extra: Vec::new() };
    Ok(Response {
        format: FORMAT.to_owned(),
        id: id.to_owned(),
        model: String::new(),
        created: None,
        choices: vec![choice],
        usage: wire.usage.map(|usage| usage.usage()),
        extra,
    })
}
