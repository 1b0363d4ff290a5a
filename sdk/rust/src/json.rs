//! JSON for plugins: typed parsing that keeps what it does not know, and a writer; both go through strings sixteen bytes at a
//! time.

mod block;
mod object;
mod reader;
mod writer;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

pub use object::{Key, Unknown, read_unknown};
pub use writer::Writer;

use crate::ir::{Failure, FailureKind, Field};

/// Reads JSON as `serde_json::from_str` does, to the same value or the same error; a guest does it in less time.
pub fn from_str<'de, T: Deserialize<'de>>(json: &'de str) -> serde_json::Result<T> {
    reader::read(json).or_else(|_| serde_json::from_str(json))
}

/// Whether a text is one JSON value.
pub fn is_valid(json: &str) -> bool {
    from_str::<IgnoredAny>(json).is_ok()
}

/// Parses a client's JSON. On failure the document is read again, slowly, to name the field at fault.
pub fn parse<'de, T: Deserialize<'de>>(body: &'de str) -> Result<T, Failure> {
    reader::read(body).or_else(|_| explain(body))
}

/// Parses a provider's JSON: its failure is the provider's fault and not the client's.
pub fn parse_upstream<'de, T: Deserialize<'de>>(body: &'de str) -> Result<T, Failure> {
    from_str(body).map_err(|error| {
        Failure::upstream_protocol(format!("the provider's answer is not as its protocol says: {error}"))
    })
}

fn explain<'de, T: Deserialize<'de>>(body: &'de str) -> Result<T, Failure> {
    let deserializer = &mut serde_json::Deserializer::from_str(body);
    match serde_path_to_error::deserialize::<_, T>(&mut *deserializer) {
        Ok(value) if deserializer.end().is_ok() => Ok(value),
        Ok(_) => Err(Failure::new(FailureKind::InvalidRequest, "the body holds more than one JSON document")),
        Err(error) => {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            Err(match &*path {
                "." => Failure::new(FailureKind::InvalidRequest, message),
                path => Failure::invalid(path, format!("{path}: {message}")),
            })
        }
    }
}

/// A JSON string literal of this text, quotes included.
pub fn quote(text: &str) -> String {
    let mut writer = Writer::with_capacity(text.len() + 2);
    writer.string(text);
    writer.finish()
}

/// The field of this name, as a parsed value; absent where it is missing, null or of another shape.
pub fn field<T: DeserializeOwned>(fields: &[Field], name: &str) -> Option<T> {
    let field = fields.iter().find(|field| field.name == name)?;
    from_str(&field.value).ok()
}

/// Whether a raw value is JSON null.
pub fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Body {
        items: Vec<u8>,
    }

    #[test]
    fn a_client_s_fault_names_its_field() {
        assert_eq!(parse::<Body>(r#"{"items":[1,2]}"#).expect("a body").items, [1, 2]);
        let failure = parse::<Body>(r#"{"items":[1,"x"]}"#).expect_err("no number");
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some("items[1]")));
        let failure = parse::<Body>("{}").expect_err("no items");
        assert_eq!((failure.kind, failure.param), (FailureKind::InvalidRequest, None));
        assert!(failure.message.contains("items"), "{}", failure.message);
        for broken in ["", "{", r#"{"items":[]} {}"#, r#"{"items":[300]}"#] {
            assert_eq!(parse::<Body>(broken).expect_err("broken").kind, FailureKind::InvalidRequest, "{broken}");
        }
    }

    #[test]
    fn a_provider_s_fault_is_not_the_client_s() {
        let failure = parse_upstream::<Body>("<html>").expect_err("no JSON");
        assert_eq!((failure.kind, failure.param), (FailureKind::UpstreamProtocol, None));
    }

    #[test]
    fn fields_are_read_by_name_and_shape() {
        let fields = [Field::new("n", "7"), Field::new("null", "null")];
        assert_eq!(field::<u32>(&fields, "n"), Some(7));
        assert_eq!(field::<String>(&fields, "n"), None);
        assert_eq!(field::<u32>(&fields, "null"), None);
        assert_eq!(field::<u32>(&fields, "absent"), None);
    }

    #[test]
    fn quotes_escape() {
        assert_eq!(quote("a\"\\\u{1}é"), r#""a\"\\\u0001é""#);
    }
}
