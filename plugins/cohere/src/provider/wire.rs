//! What answers and streams have in common: calls, citations, thoughts.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;
use serde_json::value::RawValue;

use crate::{CITATIONS, FORMAT};

portcullis_plugin::wire_object! {
    pub struct WireCall {
        id: Option<String>,
        kind as "type": Option<String>,
        function: Option<WireFunction>,
    }

    pub struct WireFunction {
        name: Option<String>,
        /// JSON in a string.
        arguments: Option<String>,
    }
}

/// The `carry` field of these citations.
pub fn citations<'a>(citations: impl IntoIterator<Item = &'a RawValue>) -> Field {
    let mut writer = Writer::new();
    writer.begin_array();
    for citation in citations {
        writer.raw(citation.get());
    }
    writer.end_array();
    Field::new(CITATIONS, writer.finish())
}

/// Thoughts are signed by nobody.
pub fn reasoning(text: String) -> Content {
    Content::Reasoning(Reasoning { text, summary: false, signature: None, redacted: None, format: FORMAT.to_owned() })
}
