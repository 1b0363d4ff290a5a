//! From the contract's text map, conditions and framings to the scanner's.

use portcullis_runtime::contract::{manifest, types};
use portcullis_wire::framing::Framing;
use portcullis_wire::json::{Condition, Pattern, Test};
use portcullis_wire::texts::{ChannelEndSpec, ChannelSpec, ConditionSpec, MapError, TextKind, TextMap, TextMapSpec};

/// # Errors
/// What is malformed.
pub fn compile(map: &manifest::TextMap) -> Result<TextMap, MapError> {
    TextMap::new(&TextMapSpec {
        json_strings: map.json_strings.clone(),
        opaque: map.opaque.clone(),
        derived: map.derived.clone(),
        channels: map.channels.iter().map(channel).collect(),
        terminators: map.terminators.iter().map(spec).collect(),
    })
}

fn channel(channel: &manifest::Channel) -> ChannelSpec {
    let ends = channel.ends.iter().map(|end| ChannelEndSpec { when: spec(&end.when), key: end.key.clone() });
    ChannelSpec {
        text: channel.text.clone(),
        kind: match channel.kind {
            manifest::TextKind::Text => TextKind::Text,
            manifest::TextKind::Reasoning => TextKind::Reasoning,
            manifest::TextKind::Refusal => TextKind::Refusal,
            manifest::TextKind::ToolArguments => TextKind::ToolArguments,
        },
        when: channel.when.iter().map(spec).collect(),
        key: channel.key.clone(),
        ends: ends.collect(),
    }
}

fn spec(condition: &types::Condition) -> ConditionSpec {
    ConditionSpec { at: condition.at.clone(), test: test(&condition.test) }
}

/// # Errors
/// Where the pattern is malformed.
pub fn condition(condition: &types::Condition) -> Result<Condition, String> {
    let at = Pattern::parse(&condition.at).map_err(|error| error.to_string())?;
    Ok(Condition { at, test: test(&condition.test) })
}

fn test(test: &types::Test) -> Test {
    match test {
        types::Test::Present => Test::Present,
        types::Test::Equals(json) => Test::Equals(json.clone()),
        types::Test::StartsWith(text) => Test::StartsWith(text.clone()),
    }
}

/// The framing of a stream; a format without one is read as a document a line.
pub fn framing(framing: manifest::Framing) -> Framing {
    match framing {
        manifest::Framing::Sse => Framing::Sse,
        manifest::Framing::Json | manifest::Framing::Ndjson => Framing::Ndjson,
        manifest::Framing::AwsEventStream => Framing::AwsEventStream,
        manifest::Framing::JsonArray => Framing::JsonArray,
    }
}
