//! `multipart/form-data` (RFC 7578): where the fields of a form stand in a body that is in memory.
//!
//! Ranges and not copies, since a field is replaced in place and all else passes byte for byte (invariant 5). Strict, since what
//! two parsers read differently is a way around a policy (invariant 1): every part has a name, and a form that ends without its
//! closing delimiter is refused.

use std::ops::Range;

use memchr::memmem;

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// Whether it carries a file name, and is thus a file's content rather than a value.
    pub file: bool,
    /// Where the content stands in the body.
    pub content: Range<usize>,
}

/// Why a body is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("the content type names no boundary")]
    NoBoundary,
    #[error("the form does not begin with its boundary")]
    NoBeginning,
    #[error("the form ends within a part")]
    Cut,
    #[error("a part of the form has no name")]
    Nameless,
    #[error("the form has more than {MOST_FIELDS} parts")]
    TooMany,
}

/// Parts a form may have.
pub const MOST_FIELDS: usize = 1000;

/// Reads the fields of a form, in their order. `content_type` is the header's value.
///
/// # Errors
/// The body is not a form as its content type says.
pub fn fields(content_type: &str, body: &[u8]) -> Result<Vec<Field>, FormError> {
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    let delimiter = format!("--{}", boundary.ok_or(FormError::NoBoundary)?);
    let inner = format!("\r\n{delimiter}");
    let finder = memmem::Finder::new(inner.as_bytes());
    let mut at = match body.strip_prefix(delimiter.as_bytes()) {
        Some(_) => delimiter.len(),
        // A preamble, which nobody reads.
        None => finder.find(body).ok_or(FormError::NoBeginning)? + inner.len(),
    };
    let mut fields = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        // Blanks may pad a delimiter's line (RFC 2046).
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let head = rest[padding..].strip_prefix(b"\r\n").ok_or(FormError::Cut)?;
        let head_at = at + padding + 2;
        // A part may have no header at all: the empty line then follows at once.
        let head_end =
            if head.starts_with(b"\r\n") { 0 } else { memmem::find(head, b"\r\n\r\n").ok_or(FormError::Cut)? + 2 };
        let begin = head_at + head_end + 2;
        let end = begin + finder.find(&body[begin..]).ok_or(FormError::Cut)?;
        let (name, file) = disposition(&head[..head_end]).ok_or(FormError::Nameless)?;
        if fields.len() == MOST_FIELDS {
            return Err(FormError::TooMany);
        }
        fields.push(Field { name, file, content: begin..end });
        at = end + inner.len();
    }
}

/// The field's name, and whether it is a file, by its `Content-Disposition`.
fn disposition(head: &[u8]) -> Option<(String, bool)> {
    let head = std::str::from_utf8(head).ok()?;
    let value = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let file = parameter(value, "filename").is_some() || parameter(value, "filename*").is_some();
    Some((parameter(value, "name")?, file))
}

/// A parameter of a header's value, unquoted: `form-data; name="a"`.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = after;
    }
}

/// A quoted string without its quotes, and what follows. Browsers write a quote in a name as `%22`, others as `\"`.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((text.replace("%22", "\""), &quoted[at + 1..])),
            '\\' => text.push(letters.next()?.1),
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"b:1\"";

    fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            body.extend_from_slice(
                format!("--b:1\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\nX-A: b\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b:1--\r\n");
        body
    }

    #[test]
    fn fields_and_files() {
        let body = form(&[
            ("model", None, b"whisper-1"),
            ("file", Some("a;b=\\\"c.mp3"), b"\0\r\n--b:\xff"),
            ("%22", None, b""),
        ]);
        let read = fields(TYPE, &body).unwrap();
        let seen: Vec<_> = read.iter().map(|field| (&*field.name, field.file, &body[field.content.clone()])).collect();
        assert_eq!(seen, [("model", false, &b"whisper-1"[..]), ("file", true, b"\0\r\n--b:\xff"), ("\"", false, b"")]);
        assert_eq!(fields(TYPE, b"--b:1--"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let body = form(&[("model", None, b"m")]);
        assert_eq!(fields("multipart/form-data", &body), Err(FormError::NoBoundary));
        assert_eq!(fields("multipart/form-data; boundary=other", &body), Err(FormError::NoBeginning));
        assert_eq!(fields(TYPE, b"--b:1\r\nx: y\r\n\r\na\r\n--b:1--"), Err(FormError::Nameless));
        let many = form(&vec![("a", None, &b""[..]); MOST_FIELDS + 1]);
        assert_eq!(fields(TYPE, &many), Err(FormError::TooMany));
        for end in 0..body.len() - "--\r\n".len() {
            assert!(fields(TYPE, &body[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_form_holds_is_found(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let parts: Vec<_> = contents.iter().map(|content| ("n", None, &content[..])).collect();
            let body = form(&parts);
            let read = fields(TYPE, &body).unwrap();
            let seen: Vec<_> = read.iter().map(|field| body[field.content.clone()].to_vec()).collect();
            prop_assert_eq!(seen, contents);
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
            let _ = fields(TYPE, &body);
            let whole = form(&[("a", None, &body)]);
            let _ = fields(TYPE, &whole[..cut.min(whole.len())]);
        }
    }
}
