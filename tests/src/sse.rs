//! Server-sent events read as a client reads them, apart from the gateway's own framing.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Empty where it has none.
    pub name: String,
    pub data: String,
}

impl Event {
    /// `[DONE]` and the like are null.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }
}

/// The events of a whole stream. What no empty line ends is none.
pub fn events(text: &str) -> Vec<Event> {
    let text = text.replace("\r\n", "\n");
    let mut events = Vec::new();
    let mut rest = text.as_str();
    while let Some((frame, after)) = rest.split_once("\n\n") {
        rest = after;
        let mut event = Event { name: String::new(), data: String::new() };
        for line in frame.lines() {
            if let Some(name) = line.strip_prefix("event:") {
                event.name = name.trim_start().to_owned();
            } else if let Some(data) = line.strip_prefix("data:") {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        if !event.data.is_empty() {
            events.push(event);
        }
    }
    events
}

/// The answer's text, in either protocol.
pub fn text(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let event = event.json();
        let openai = event.pointer("/choices/0/delta/content");
        let anthropic = event.pointer("/delta/text");
        text.push_str(openai.or(anthropic).and_then(Value::as_str).unwrap_or_default());
    }
    text
}

/// The error that a stream ends with, in either protocol: its `error` member.
pub fn error(events: &[Event]) -> Option<Value> {
    events.iter().map(Event::json).find_map(|event| event.get("error").filter(|error| error.is_object()).cloned())
}

/// Whether the protocol's own end is there.
pub fn ended(events: &[Event]) -> bool {
    events.last().is_some_and(|event| event.data == "[DONE]" || event.name == "message_stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_names_and_lines() {
        let text = "event: a\ndata: 1\n\n: comment\n\ndata: x\ndata: y\n\ndata: cut";
        let expected = [("a", "1"), ("", "x\ny")];
        let expected = expected.map(|(name, data)| Event { name: name.into(), data: data.into() });
        assert_eq!(events(text), expected);
        assert_eq!(events(&text.replace('\n', "\r\n")), expected);
    }
}
