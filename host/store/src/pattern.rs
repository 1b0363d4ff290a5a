//! Patterns of policies: `*` stands for any run of characters, everything else for itself.

/// Whether a whole text matches. Linear in the text for each star, and it never backtracks further than the last one.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((behind, taken)) = star {
            (p, t) = (behind, taken + 1);
            star = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// `model` or `provider/model`. A model's own name may hold a slash (`meta-llama/llama-3`), so a pattern with one is both.
pub(crate) fn matches_model(pattern: &str, provider: &str, model: &str) -> bool {
    // A star before the slash stands for providers, one behind it for models: `o*` is no pattern for `openai/gpt`.
    let both = pattern.split_once('/').is_some_and(|(p, m)| matches(p, provider) && matches(m, model));
    both || matches(pattern, model)
}

/// A URL's parts: scheme, host with port, and the path with the rest. Scheme and host in lower case.
fn parts(url: &str) -> (Option<String>, String, &str) {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // What stands before an @ is a user and no host.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (scheme, host.to_ascii_lowercase(), path)
}

/// Whether a URL or origin matches. A star in the host stands for no slash, so that it cannot reach into a path; a pattern without
/// a scheme is for both, one without a path for any.
pub(crate) fn matches_url(pattern: &str, url: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let ((scheme, host, path), (its_scheme, its_host, its_path)) = (parts(pattern), parts(url));
    let scheme_fits = match (&scheme, &its_scheme) {
        (None, Some(its)) => matches!(its.as_str(), "http" | "https"),
        (own, its) => own == its,
    };
    let its_path = if its_path.is_empty() { "/" } else { its_path };
    scheme_fits && matches(&host, &its_host) && (path.is_empty() || matches(path, its_path))
}

/// Whether a text can be an origin's pattern: scheme and host and nothing behind them, or `*`.
pub(crate) fn is_origin(text: &str) -> bool {
    let (scheme, host, path) = parts(text);
    text == "*" || (scheme.is_some_and(|scheme| !scheme.is_empty()) && !host.is_empty() && path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_stand_for_anything_and_nothing() {
        for (pattern, text, expected) in [
            ("gpt-4o*", "gpt-4o", true),
            ("gpt-4o*", "gpt-4o-mini", true),
            ("gpt-4o*", "gpt-4", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*-mini", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-mini-x", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a**c", "ac", true),
            ("gpt?", "gpt4", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn models_are_named_with_or_without_their_provider() {
        for (pattern, provider, model, expected) in [
            ("gpt", "openai", "gpt", true),
            ("openai/gpt", "openai", "gpt", true),
            ("openai/gpt", "azure", "gpt", false),
            ("openai/*", "openai", "gpt", true),
            ("*/gpt*", "azure", "gpt-4o", true),
            ("o*", "openai", "gpt", false),
            ("meta/llama", "openrouter", "meta/llama", true),
            ("anthro/pic/claude", "anthro", "pic/claude", true),
            ("anthropic/claude", "anthro", "pic/claude", false),
            ("openrouter/meta/*", "openrouter", "meta/llama", true),
        ] {
            assert_eq!(matches_model(pattern, provider, model), expected, "{pattern} {provider} {model}");
        }
    }

    #[test]
    fn a_host_s_star_stays_in_the_host() {
        for (pattern, url, expected) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://APP.example.com", "https://app.Example.com", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com:*", "https://app.example.com:8443", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evil.com/.example.com", false),
            ("https://*.example.com", "https://evil.com?.example.com", false),
            ("https://*.example.com", "https://evil.com#.example.com", false),
            ("https://*.example.com/*", "https://a.example.com@evil.com/", false),
            ("*.example.com/*", "http://a.example.com/x?y=1", true),
            ("*.example.com/*", "ftp://a.example.com/x", false),
            ("https://example.com/", "https://example.com", true),
            ("https://example.com/chat/*", "https://example.com/chat", false),
            ("*", "null", true),
            ("https://example.com", "null", false),
        ] {
            assert_eq!(matches_url(pattern, url), expected, "{pattern} {url}");
        }
        for (text, expected) in
            [("https://a.b", true), ("*", true), ("a.b", false), ("https://a.b/", false), ("https://", false)]
        {
            assert_eq!(is_origin(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_an_expression(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            /// The definition, letter by letter.
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|taken| slow(rest, &text[taken..])),
                    Some((letter, rest)) => text.split_first().is_some_and(|(first, text)| first == letter && slow(rest, text)),
                }
            }
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(pattern in "\\PC{0,30}", text in "\\PC{0,30}") {
            let _ = (matches(&pattern, &text), matches_url(&pattern, &text), is_origin(&text));
        }
    }
}
