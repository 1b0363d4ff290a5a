//! A request's body that is no JSON document: a form, or bytes that nobody reads.
//!
//! What can be read of it is read as of any other: the model and the stream flag from the form's fields, and every field and file
//! that is text goes through the guards. The rest passes byte for byte (invariant 5).

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use portcullis_runtime::contract::types;
use portcullis_wire::multipart::{self, Field};

use super::facts::invalid;

/// A body as it came, and where the fields of a form stand in it.
pub(super) struct Payload {
    pub bytes: Bytes,
    /// Absent where the request has no body.
    pub content_type: Option<HeaderValue>,
    fields: Vec<Field>,
}

impl Payload {
    /// # Errors
    /// The content type promises a form, and the body is none.
    pub fn read(headers: &HeaderMap, bytes: Bytes) -> Result<Self, types::Failure> {
        let content_type = headers.get(header::CONTENT_TYPE).filter(|_| !bytes.is_empty()).cloned();
        let fields = match content_type.as_ref().and_then(|value| value.to_str().ok()) {
            Some(form) if is_form(form) => {
                multipart::fields(form, &bytes).map_err(|error| invalid(None, error.to_string()))?
            }
            _ => Vec::new(),
        };
        Ok(Payload { bytes, content_type, fields })
    }

    /// The value of the field of this name.
    ///
    /// # Errors
    /// It is there twice, which two readers may read differently, or is not text.
    pub fn value(&self, name: &str) -> Result<Option<&str>, types::Failure> {
        let Some(at) = self.place(name)? else { return Ok(None) };
        let text = std::str::from_utf8(&self.bytes[at]);
        text.map(Some).map_err(|_| invalid(Some(name), format!("`{name}` is not text")))
    }

    /// Bytes of files, and of all else.
    pub fn lengths(&self) -> (u64, u64) {
        let files: usize = self.fields.iter().filter(|field| field.file).map(|field| field.content.len()).sum();
        (files as u64, (self.bytes.len() - files) as u64)
    }

    /// What guards may read, as a JSON list of strings: the texts of a form, in their order, or the whole body where it is text.
    pub fn texts(&self) -> Option<String> {
        let texts: Vec<&str> = self.readable().into_iter().map(|(_, text)| text).collect();
        if texts.is_empty() { None } else { serde_json::to_string(&texts).ok() }
    }

    /// The body with those texts in the place of its own. `None` where they do not fit, or would change the form itself.
    pub fn with_texts(&self, texts: &[String]) -> Option<Self> {
        let places: Vec<Range<usize>> = self.readable().into_iter().map(|(at, _)| at).collect();
        if places.len() != texts.len() {
            return None;
        }
        let edits: Vec<_> = places.into_iter().zip(texts.iter().map(String::as_str)).collect();
        self.edited(&edits)
    }

    /// The body with another value in the field of this name. `None` where there is none, or it would change the form itself.
    pub fn with_value(&self, name: &str, value: &str) -> Option<Self> {
        let at = self.place(name).ok()??;
        self.edited(&[(at, value)])
    }

    fn place(&self, name: &str) -> Result<Option<Range<usize>>, types::Failure> {
        let mut named = self.fields.iter().filter(|field| field.name == name && !field.file);
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err(invalid(Some(name), format!("`{name}` is there twice"))),
            (found, _) => Ok(found.map(|field| field.content.clone())),
        }
    }

    fn readable(&self) -> Vec<(Range<usize>, &str)> {
        let places = match &self.content_type {
            None => Vec::new(),
            Some(_) if self.fields.is_empty() => std::iter::once(0..self.bytes.len()).collect(),
            Some(_) => self.fields.iter().map(|field| field.content.clone()).collect(),
        };
        let text = |at: Range<usize>| Some((at.clone(), std::str::from_utf8(&self.bytes[at]).ok()?));
        places.into_iter().filter_map(text).collect()
    }

    fn edited(&self, edits: &[(Range<usize>, &str)]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut at = 0;
        for (place, text) in edits {
            bytes.extend_from_slice(&self.bytes[at..place.start]);
            bytes.extend_from_slice(text.as_bytes());
            at = place.end;
        }
        bytes.extend_from_slice(&self.bytes[at..]);
        let fields = match &self.content_type {
            Some(form) if !self.fields.is_empty() => multipart::fields(form.to_str().ok()?, &bytes).ok()?,
            _ => Vec::new(),
        };
        let same = fields.len() == self.fields.len()
            && fields.iter().zip(&self.fields).all(|(one, two)| one.name == two.name && one.file == two.file);
        same.then(|| Payload { bytes: bytes.into(), content_type: self.content_type.clone(), fields })
    }
}

/// Whether a body of this content type is a JSON document; one without a content type counts as what most clients send.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    })
}

fn is_form(content_type: &str) -> bool {
    content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n\
        --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\n\u{0}\r\n\
        --x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nAda, ada@example.org\r\n--x--\r\n";

    fn form(body: &str) -> Payload {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=x"));
        Payload::read(&headers, Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn a_forms_fields_are_read_and_replaced() {
        let payload = form(FORM);
        assert_eq!(payload.value("model").unwrap(), Some("whisper"));
        assert_eq!(
            (payload.value("absent").unwrap(), payload.value("file").unwrap()),
            (None, None),
            "a file is no value"
        );
        assert_eq!(payload.lengths(), (1, FORM.len() as u64 - 1));
        assert_eq!(payload.texts().as_deref(), Some(r#"["whisper","\u0000","Ada, ada@example.org"]"#));
        let masked = payload.with_texts(&["w".to_owned(), "\0".to_owned(), "Ada, [EMAIL]".to_owned()]).unwrap();
        assert_eq!(masked.value("prompt").unwrap(), Some("Ada, [EMAIL]"));
        assert_eq!(masked.with_value("model", "other").unwrap().value("model").unwrap(), Some("other"));
    }

    #[test]
    fn no_text_changes_the_form() {
        let payload = form(FORM);
        let forged = "x\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-5";
        assert!(payload.with_value("prompt", forged).is_none());
        assert!(payload.with_texts(&[String::new()]).is_none());
        let twice = FORM.replace("name=\"prompt\"", "name=\"model\"");
        assert!(form(&twice).value("model").is_err());
    }

    #[test]
    fn bytes_that_are_text_are_shown_and_others_pass() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(Payload::read(&headers, "a".into()).unwrap().texts().as_deref(), Some(r#"["a"]"#));
        assert_eq!(Payload::read(&headers, b"\xff".to_vec().into()).unwrap().texts(), None);
        let none = Payload::read(&headers, Bytes::new()).unwrap();
        assert!(none.content_type.is_none() && none.texts().is_none());
    }
}
