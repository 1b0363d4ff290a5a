//! Who asks: the key in a request's head. The host alone reads credentials; no plugin sees them.

use http::HeaderMap;
use http::header::AUTHORIZATION;

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
}
