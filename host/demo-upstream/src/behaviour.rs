//! How the server was told to behave, by the model's name or by a word in the prompt. The model's name wins; an unknown word
//! is ordinary chat.

use http::StatusCode;

use crate::ask::Ask;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Behaviour {
    #[default]
    Chat,
    Echo,
    Tool,
    Think,
    Long(u64),
    Burst(u64),
    Slow,
    Stall(Stall),
    Cut,
    Error(StatusCode),
    ErrorInStream,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stall {
    /// Not even headers.
    Headers,
    /// Headers, no body.
    Body,
    /// Half the body.
    Middle,
}

/// Above this a number in a name is taken as this: one request cannot ask for unbounded work.
const MOST_TOKENS: u64 = 1_000_000;
const LONG: u64 = 2_000;

impl Behaviour {
    pub fn of(ask: &Ask) -> Self {
        in_text(&ask.model)
            .or_else(|| in_text(&ask.prompt))
            .or_else(|| ask.prompt.to_lowercase().contains("call the tool").then_some(Self::Tool))
            .unwrap_or_default()
    }
}

/// The first directive that stands in a text as a word of its own.
fn in_text(text: &str) -> Option<Behaviour> {
    let mut from = 0;
    while let Some(found) = text[from..].find("demo-") {
        let start = from + found;
        let boundary = text[..start].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let rest = &text[start + "demo-".len()..];
        let word = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len())];
        if let Some(behaviour) = boundary.then(|| directive(word.trim_end_matches('-'))).flatten() {
            return Some(behaviour);
        }
        from = start + "demo-".len();
    }
    None
}

fn directive(word: &str) -> Option<Behaviour> {
    let number = |prefix: &str| word.strip_prefix(prefix)?.parse::<u64>().ok().map(|n| n.min(MOST_TOKENS));
    Some(match word {
        "echo" => Behaviour::Echo,
        "tool" | "tools" => Behaviour::Tool,
        "think" => Behaviour::Think,
        "long" => Behaviour::Long(LONG),
        "slow" => Behaviour::Slow,
        "stall" => Behaviour::Stall(Stall::Body),
        "stall-headers" => Behaviour::Stall(Stall::Headers),
        "stall-middle" => Behaviour::Stall(Stall::Middle),
        "cut" => Behaviour::Cut,
        "error-stream" => Behaviour::ErrorInStream,
        _ => {
            if let Some(tokens) = number("long-") {
                return Some(Behaviour::Long(tokens));
            }
            if let Some(tokens) = number("burst-").or_else(|| number("bench-stream-")) {
                return Some(Behaviour::Burst(tokens));
            }
            let status = u16::try_from(number("error-")?).ok()?;
            let known = matches!(status, 400 | 401 | 403 | 404 | 413 | 422 | 429 | 500 | 502 | 503 | 529);
            return known.then(|| StatusCode::from_u16(status).ok()).flatten().map(Behaviour::Error);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let table = [
            ("demo", None),
            ("openai/demo-echo", Some(Behaviour::Echo)),
            ("gpt-4o-demo-error-429", Some(Behaviour::Error(StatusCode::TOO_MANY_REQUESTS))),
            ("demo-error-599", None),
            ("demo-error-529", Some(Behaviour::Error(StatusCode::from_u16(529).unwrap()))),
            ("please demo-stall-middle, thanks", Some(Behaviour::Stall(Stall::Middle))),
            ("memodemo-cut", None),
            ("demo-burst-64", Some(Behaviour::Burst(64))),
            ("demo-long-99999999999", Some(Behaviour::Long(MOST_TOKENS))),
            ("demo-nothing demo-slow", Some(Behaviour::Slow)),
            ("I use demo-stall- now", Some(Behaviour::Stall(Stall::Body))),
        ];
        for (text, expected) in table {
            assert_eq!(in_text(text), expected, "{text}");
        }
    }

    #[test]
    fn the_model_wins() {
        let ask = |model: &str, prompt: &str| Ask { model: model.into(), prompt: prompt.into(), ..Ask::default() };
        assert_eq!(Behaviour::of(&ask("demo-echo", "demo-cut")), Behaviour::Echo);
        assert_eq!(Behaviour::of(&ask("demo", "say demo-cut")), Behaviour::Cut);
        assert_eq!(Behaviour::of(&ask("gpt-4o", "Please Call the tool")), Behaviour::Tool);
        assert_eq!(Behaviour::of(&ask("gpt-4o", "hello")), Behaviour::Chat);
    }
}
