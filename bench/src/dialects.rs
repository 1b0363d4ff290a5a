//! The clients' protocols: one conversation as each of them writes it.

use serde_json::{Value, json};

use crate::bodies::{prose, request_with};

/// A protocol that clients speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    Chat,
    Responses,
    Messages,
    Gemini,
    Flat,
}

const SYSTEM: &str = "You are a careful assistant. Answer in one paragraph.";
const QUESTION: &str = "What is the weather like in Paris today?";
/// Characters of a turn.
const TURN: usize = 300;

impl Dialect {
    pub const ALL: [Self; 5] = [Self::Chat, Self::Responses, Self::Messages, Self::Gemini, Self::Flat];

    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "Chat Completions",
            Self::Responses => "Responses",
            Self::Messages => "Messages",
            Self::Gemini => "generateContent",
            Self::Flat => "flat",
        }
    }

    /// Where it asks.
    pub fn path(self, model: &str) -> String {
        match self {
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Messages => "/v1/messages".to_owned(),
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Self::Flat => "/api/v1/llm/chat".to_owned(),
        }
    }

    /// A request of about `size` bytes for a whole answer, as bytes on the wire.
    pub fn request(self, model: &str, key: Option<&str>, size: usize) -> Vec<u8> {
        let headers = if self == Self::Messages { "anthropic-version: 2023-06-01\r\n" } else { "" };
        request_with(&self.path(model), key, headers, &self.body(model, size))
    }

    /// Its body. The last turn is the user's, as every provider wants it.
    pub fn body(self, model: &str, size: usize) -> String {
        let mut turns = vec![(true, QUESTION.to_owned())];
        loop {
            let body = self.write(model, &turns).to_string();
            let missing = size.saturating_sub(body.len());
            if missing == 0 {
                return body;
            }
            // Two turns at a time: an answer and the next question.
            let length = (missing / 2).saturating_sub(40).clamp(1, TURN);
            turns.extend([(false, prose(length)), (true, prose(length))]);
        }
    }

    fn write(self, model: &str, turns: &[(bool, String)]) -> Value {
        let role = |user: bool| if user { "user" } else { "assistant" };
        let messages = || turns.iter().map(|(user, text)| json!({"role": role(*user), "content": text}));
        match self {
            Self::Chat => {
                let system = json!({"role": "system", "content": SYSTEM});
                let messages: Vec<_> = std::iter::once(system).chain(messages()).collect();
                json!({"messages": messages, "model": model, "max_tokens": 1024, "temperature": 0.7})
            }
            Self::Responses => {
                let input: Vec<_> = messages().collect();
                json!({"model": model, "instructions": SYSTEM, "input": input, "max_output_tokens": 1024, "temperature": 0.7})
            }
            Self::Messages | Self::Flat => {
                let messages: Vec<_> = messages().collect();
                json!({"model": model, "max_tokens": 1024, "system": SYSTEM, "messages": messages, "temperature": 0.7})
            }
            Self::Gemini => {
                let role = |user: bool| if user { "user" } else { "model" };
                let contents: Vec<_> =
                    turns.iter().map(|(user, text)| json!({"role": role(*user), "parts": [{"text": text}]})).collect();
                json!({"contents": contents, "systemInstruction": {"parts": [{"text": SYSTEM}]},
                    "generationConfig": {"maxOutputTokens": 1024, "temperature": 0.7}})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_the_same_in_about_as_many_bytes() {
        for dialect in Dialect::ALL {
            let body = dialect.body("there/model", 2_000);
            assert!((2_000..2_400).contains(&body.len()), "{}: {}", dialect.name(), body.len());
            let value: Value = serde_json::from_str(&body).unwrap();
            let turns = ["messages", "input", "contents"].iter().find_map(|name| value[*name].as_array()).unwrap();
            assert!(turns.len() >= 5 && turns.last().unwrap()["role"] == "user", "{body}");
            assert!(body.contains(SYSTEM) && body.contains(QUESTION));
        }
    }
}
