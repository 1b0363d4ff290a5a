//! Who asks: the key in a request's head. The host alone reads credentials; no plugin sees them.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The presented key: `Authorization: Bearer …`, or `x-api-key: …` as Anthropic's clients send it.
pub fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let key = bearer.or_else(|| headers.get("x-api-key")?.to_str().ok().map(str::trim))?;
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_header_will_do() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented_key(&headers), None);
        headers.insert("x-api-key", "pc_dev_a".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_a"));
        headers.insert(AUTHORIZATION, "bearer pc_dev_b".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_b"));
        headers.insert(AUTHORIZATION, "Basic xyz".parse().unwrap());
        assert_eq!(presented_key(&headers), Some("pc_dev_a"));
    }
}
