//! Who asks: the key in a request's head, and what that key's requests ask for unsaid. The host alone reads credentials; no plugin
//! sees them.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_store::RequestDefaults;

/// By this header dialects share a path: see `when-header` in `wit/describe.wit`.
const FORMAT: HeaderName = HeaderName::from_static("x-portcullis-format");
/// With the value `body`, a client asks for the account in the answer itself, which is then encoded anew even where it could
/// have been passed through.
pub const METADATA: HeaderName = HeaderName::from_static("x-portcullis-metadata");

/// Where clients put a key alone: Anthropic's, Google's, Azure's.
const KEY_HEADERS: &[&str] = &["x-api-key", "x-goog-api-key", "api-key"];

/// The presented key: `Authorization: Bearer …`, or in a header of its own.
pub fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let alone = || KEY_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok().map(str::trim));
    let key = bearer.or_else(alone)?;
    (!key.is_empty()).then_some(key)
}

/// Puts a key's defaults where a request says nothing itself. True where it says something now.
pub fn complete(headers: &mut HeaderMap, defaults: &RequestDefaults) -> bool {
    let mut completed = false;
    for (name, value) in [(FORMAT, &defaults.format), (METADATA, &defaults.metadata)] {
        let Some(value) = value else { continue };
        if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
            completed = true;
        }
    }
    completed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_header_will_do() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented_key(&headers), None);
        headers.insert("x-goog-api-key", "pc_dev_g".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_g"));
        headers.insert("x-api-key", "pc_dev_a".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_a"));
        headers.insert(AUTHORIZATION, "bearer pc_dev_b".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_b"));
        headers.insert(AUTHORIZATION, "Basic xyz".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_a"));
    }

    #[test]
    fn a_request_s_own_word_goes_before_its_key_s() {
        let defaults = RequestDefaults { format: Some("flat".to_owned()), metadata: None };
        let mut headers = HeaderMap::new();
        assert!(!complete(&mut headers, &RequestDefaults::default()) && headers.is_empty());
        assert!(complete(&mut headers, &defaults));
        assert_eq!((&headers[FORMAT], headers.len()), (&HeaderValue::from_static("flat"), 1));
        headers.insert(FORMAT, HeaderValue::from_static("openai"));
        assert!(!complete(&mut headers, &defaults));
        assert_eq!(headers[FORMAT], "openai");
    }
}
