//! API keys and tokens: what providers mark with a prefix, JSON web tokens, and whatever follows `Bearer`.

use crate::window::{ALNUM, TOKEN, WIDE, Window, is, is_word};

/// A key that is still going on after so many bytes is one, whatever comes: it is masked as it goes.
pub const CERTAIN: usize = 256;

/// The longest header of a JSON web token.
const HEADER_MAX: usize = 512;

/// How a key goes on past the end of an open window, once it is certain. In the order of what they take in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Tail {
    /// So many bytes more.
    Bytes(u32),
    /// Letters and digits.
    Alnum,
    /// Those, `-` and `_`.
    Token,
    /// The same but for JSON web tokens, whose parts are joined by full stops.
    Dotted,
    /// Those and what else base64 and a bearer token may hold; a full stop at the end is the sentence's.
    Wide,
    /// A PEM block up to its end line.
    Pem,
}

/// What stands at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    No,
    Growing,
    Match(usize),
    /// Certain up to here, and going on past the end of the window.
    Endless(usize, Tail),
}

struct Shape {
    prefix: &'static str,
    body: u8,
    /// Of the body, in bytes.
    min: usize,
    max: usize,
    /// Whether the body must have a digit: `sk-learn-compatible-estimators` is no key.
    digit: bool,
}

const ANY: usize = usize::MAX;

const fn shape(prefix: &'static str, body: u8, min: usize) -> Shape {
    Shape { prefix, body, min, max: ANY, digit: true }
}

const fn exact(prefix: &'static str, body: u8, length: usize) -> Shape {
    Shape { prefix, body, min: length, max: length, digit: false }
}

/// Prefixes as providers document them or secret scanners know them (the rules of gitleaks and of detect-secrets). A body may
/// be longer than it was when they were written, hence minima. Sorted by first byte, for [`BY_FIRST`].
const SHAPES: &[Shape] = &[
    // Amazon Web Services
    exact("AKIA", ALNUM, 16),
    exact("ASIA", ALNUM, 16),
    // Google
    shape("AIza", TOKEN, 35),
    // DigitalOcean
    shape("dop_v1_", ALNUM, 64),
    // GitHub
    shape("gho_", ALNUM, 30),
    shape("ghp_", ALNUM, 30),
    shape("ghr_", ALNUM, 30),
    shape("ghs_", ALNUM, 30),
    shape("ghu_", ALNUM, 30),
    shape("github_pat_", TOKEN, 22),
    // GitLab
    shape("glcbt-", TOKEN, 20),
    shape("gldt-", TOKEN, 20),
    shape("glpat-", TOKEN, 20),
    shape("glptt-", TOKEN, 40),
    shape("glrt-", TOKEN, 20),
    shape("glsoat-", TOKEN, 20),
    // Groq
    shape("gsk_", ALNUM, 40),
    // Hugging Face
    Shape { digit: false, ..shape("hf_", ALNUM, 30) },
    // LangSmith
    shape("lsv2_", TOKEN, 36),
    // NVIDIA
    shape("nvapi-", TOKEN, 40),
    // Perplexity
    shape("pplx-", ALNUM, 40),
    // Portcullis
    shape("pc_dev_", TOKEN, 16),
    shape("pc_prod_", TOKEN, 16),
    // Replicate
    shape("r8_", ALNUM, 36),
    // Stripe
    shape("rk_live_", ALNUM, 16),
    shape("rk_test_", ALNUM, 16),
    // OpenAI, Anthropic, OpenRouter and their like: `sk-proj-`, `sk-ant-`, `sk-or-v1-`
    shape("sk-", TOKEN, 20),
    // Shopify
    shape("shpat_", ALNUM, 32),
    // Stripe
    shape("sk_live_", ALNUM, 16),
    shape("sk_test_", ALNUM, 16),
    shape("whsec_", TOKEN, 24),
    // Slack
    shape("xapp-", TOKEN, 10),
    shape("xoxa-", TOKEN, 10),
    shape("xoxb-", TOKEN, 10),
    shape("xoxe-", TOKEN, 10),
    shape("xoxp-", TOKEN, 10),
    shape("xoxr-", TOKEN, 10),
    shape("xoxs-", TOKEN, 10),
    // xAI
    shape("xai-", ALNUM, 40),
];

/// A JSON web token: a header and a payload that are JSON objects in base64.
const JWT: &str = "eyJ";

/// The shapes whose prefix begins with a byte: the first, and how many.
const BY_FIRST: [(u8, u8); 256] = {
    let mut by_first = [(0, 0); 256];
    let mut i = SHAPES.len();
    while i > 0 {
        i -= 1;
        let first = SHAPES[i].prefix.as_bytes()[0] as usize;
        by_first[first] = (i as u8, by_first[first].1 + 1);
    }
    by_first
};

/// Whether a key may begin with a byte.
fn begins(byte: u8) -> bool {
    BY_FIRST[usize::from(byte)].1 > 0 || byte == JWT.as_bytes()[0]
}

/// Calls `found` with every key that begins within the run of `WIDE` bytes from `start` to `end`, at a place where a word may
/// begin. Within a key only JSON web tokens are looked for, which go on where other keys end; within those nothing is.
pub fn find(window: &Window, start: usize, end: usize, mut found: impl FnMut(usize, Key)) {
    let bytes = window.bytes();
    // Where the last key of any sort ends, where the last that holds all others does, and a run of `TOKEN` bytes.
    let (mut within, mut past, mut run) = (start, start, start);
    for i in start.max(window.from)..end {
        let word = i == start || begins(bytes[i]) && (!is_word(bytes[i - 1]) || window.after_escape(i));
        if !word || i < past {
            continue;
        }
        let plain = if i < within { Key::No } else { plain(window, i) };
        let wide = match if i == start { bearer(window, start, end) } else { Key::No } {
            Key::No if is_jwt(window, i) => {
                if run <= i {
                    run = window.run(i, TOKEN);
                }
                jwt(window, i, run)
            }
            key => key,
        };
        for (key, last) in [(plain, &mut within), (wide, &mut past)] {
            match key {
                Key::No => continue,
                Key::Growing => *last = window.len(),
                Key::Match(end) | Key::Endless(end, _) => *last = (*last).max(end),
            }
            found(i, key);
        }
    }
}

/// Calls `found` with the keys that the run of `WIDE` bytes from `start` to `end` begins with.
pub fn head(window: &Window, start: usize, end: usize, mut found: impl FnMut(usize, Key)) {
    if start >= window.from {
        found(start, bearer(window, start, end));
        found(start, plain(window, start));
    }
}

/// The key of one of the shapes that begins at `start`.
fn plain(window: &Window, start: usize) -> Key {
    let rest = &window.bytes()[start..];
    let mut growing = false;
    let (first, count) = BY_FIRST[usize::from(rest[0])];
    for shape in &SHAPES[usize::from(first)..usize::from(first + count)] {
        let prefix = shape.prefix.as_bytes();
        if rest.starts_with(prefix) {
            match body(window, start, start + prefix.len(), shape) {
                Key::No => {}
                key => return key,
            }
        }
        growing |= window.open && prefix.starts_with(rest);
    }
    if growing { Key::Growing } else { Key::No }
}

fn body(window: &Window, start: usize, body: usize, shape: &Shape) -> Key {
    let limit = body.saturating_add(shape.max).saturating_add(1).min(window.len());
    let end = window.bytes()[body..limit].iter().position(|&byte| !is(byte, shape.body)).map_or(limit, |at| body + at);
    let length = end - body;
    if length > shape.max {
        return Key::No;
    }
    if end == window.len() && window.open {
        let tail = if shape.body == ALNUM { Tail::Alnum } else { Tail::Token };
        return if end - start > CERTAIN { Key::Endless(end, tail) } else { Key::Growing };
    }
    let digit = !shape.digit || end - start > CERTAIN || window.bytes()[body..end].iter().any(u8::is_ascii_digit);
    if length >= shape.min && digit { Key::Match(end) } else { Key::No }
}

/// Whether a JSON web token may begin at `start`.
fn is_jwt(window: &Window, start: usize) -> bool {
    let rest = &window.bytes()[start..];
    rest.starts_with(JWT.as_bytes()) || window.open && JWT.as_bytes().starts_with(rest)
}

/// The JSON web token that begins at `start` and whose header ends at `header`.
fn jwt(window: &Window, start: usize, header: usize) -> Key {
    if header - start > HEADER_MAX {
        return Key::No;
    }
    let rest = &window.bytes()[header..];
    if window.open && b".ey".starts_with(rest) {
        return Key::Growing;
    }
    if header - start < 12 || !rest.starts_with(b".ey") {
        return Key::No;
    }
    let end = dotted(window, header);
    if end.reaches && window.open {
        return if end.trimmed - start > CERTAIN { Key::Endless(end.trimmed, Tail::Dotted) } else { Key::Growing };
    }
    let signed = window.bytes()[header + 1..end.trimmed].contains(&b'.');
    if signed || window.bytes().get(end.trimmed) == Some(&b'.') || end.trimmed - start > CERTAIN {
        Key::Match(end.trimmed)
    } else {
        Key::No
    }
}

/// The token that begins at `start`, if `Bearer` stands before it, in the run of `WIDE` bytes to `end`.
fn bearer(window: &Window, start: usize, end: usize) -> Key {
    let named = window.before(start) == Some(b' ')
        && start >= window.clear + 7
        && window.bytes()[start - 7..start].eq_ignore_ascii_case(b"bearer ");
    if !named {
        return Key::No;
    }
    let reaches = end == window.len() && window.open;
    let end = trimmed(window, start, end);
    let run = &window.bytes()[start..end];
    match (reaches, run.len() > CERTAIN) {
        (true, true) => Key::Endless(end, Tail::Wide),
        (true, false) => Key::Growing,
        (false, certain) if certain || run.len() >= 16 && run.iter().any(u8::is_ascii_digit) => Key::Match(end),
        (false, _) => Key::No,
    }
}

struct Run {
    trimmed: usize,
    /// Whether it reaches the window's end.
    reaches: bool,
}

/// Token bytes joined by full stops.
fn dotted(window: &Window, from: usize) -> Run {
    let end = window.bytes()[from..]
        .iter()
        .position(|&byte| byte != b'.' && !is(byte, TOKEN))
        .map_or(window.len(), |length| from + length);
    Run { trimmed: trimmed(window, from, end), reaches: end == window.len() }
}

/// Without full stops at the end.
fn trimmed(window: &Window, from: usize, mut end: usize) -> usize {
    while end > from && window.bytes()[end - 1] == b'.' {
        end -= 1;
    }
    end
}

/// Where a key that went on past an earlier window ends in this one. `reaches` when it goes on still, from `trimmed` on.
pub fn resume(window: &Window, tail: Tail) -> (usize, bool) {
    let run = match tail {
        Tail::Alnum => of_class(window, ALNUM),
        Tail::Token => of_class(window, TOKEN),
        Tail::Wide => {
            let end = window.run(window.from, WIDE);
            Run { trimmed: trimmed(window, window.from, end), reaches: end == window.len() }
        }
        Tail::Dotted => dotted(window, window.from),
        Tail::Bytes(more) => {
            Run { trimmed: window.text.floor_char_boundary(window.from + more as usize), reaches: false }
        }
        Tail::Pem => {
            let (end, ended) = super::pem::body(window, window.from);
            Run { trimmed: end, reaches: !ended }
        }
    };
    (run.trimmed, run.reaches && window.open)
}

fn of_class(window: &Window, class: u8) -> Run {
    let end = window.run(window.from, class);
    Run { trimmed: end, reaches: end == window.len() }
}
