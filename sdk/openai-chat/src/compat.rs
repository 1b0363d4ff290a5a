//! How a server departs from OpenAI's Chat Completions in what it takes. A provider's plugin is such a description, its manifest and
//! its catalogue; what servers answer differently is read without being told, except where that would be ambiguous.
//!
//! Invariant: what a server does not take is left out with a note, also where the client spoke this very format.

use std::borrow::Cow;

use crate::provider::Fnv;

/// A server's differences; the default is OpenAI itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Compat {
    /// The member that limits the output.
    pub limit: &'static str,
    /// Whether streams take `stream_options`; where not, usage comes unasked or not at all.
    pub stream_options: bool,
    /// The member for the seed.
    pub seed: &'static str,
    /// The word of `tool_choice` for "some tool".
    pub required: &'static str,
    /// Whether `strict` of a function is taken.
    pub strict: bool,
    /// Whether a function may have no `parameters`; else one without gets the schema of an object with no members.
    pub no_parameters: bool,
    /// Whether there is the role `developer`; else it is `system`.
    pub developer: bool,
    /// Whether `response_format` takes a schema; else it becomes `json_object`.
    pub json_schema: bool,
    /// Whether `top_k` is taken from clients of other protocols.
    pub top_k: bool,
    pub call_ids: CallIds,
    pub thinking: Thinking,
    pub history: History,
    pub documents: Documents,
    /// Whether audio is its data or its URL alone, without an object that names its format.
    pub bare_audio: bool,
    /// Members of a request that are refused; `messages/name` is that of a message.
    pub refused: Vec<Cow<'static, str>>,
    /// Reasoning stands between `<think>` tags at the beginning of the text.
    pub think_tags: bool,
    /// Whether calls may say `extra_content.google.thought_signature`, which servers that are not Google's may refuse.
    pub thought_signatures: bool,
    /// What the names of models begin with whose `cache_write_tokens` stand beside the prompt's tokens and are no part of them.
    pub writes_beside: Option<&'static str>,
}

impl Default for Compat {
    fn default() -> Self {
        Compat {
            limit: "max_completion_tokens",
            stream_options: true,
            seed: "seed",
            required: "required",
            strict: true,
            no_parameters: true,
            developer: true,
            json_schema: true,
            top_k: false,
            call_ids: CallIds::Short,
            thinking: Thinking::Effort,
            history: History::AsSent,
            documents: Documents::File,
            bare_audio: false,
            refused: Vec::new(),
            think_tags: false,
            thought_signatures: false,
            writes_beside: None,
        }
    }
}

impl Compat {
    /// Whether the server refuses this member of a request.
    pub fn refuses(&self, name: &str) -> bool {
        self.refused.iter().any(|refused| refused == name)
    }

    /// The same with these members refused.
    pub fn refusing(mut self, names: &[&'static str]) -> Self {
        self.refused.extend(names.iter().map(|&name| Cow::Borrowed(name)));
        self
    }
}

/// What ids of tool calls may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CallIds {
    /// Up to 40 bytes (OpenAI's `string_above_max_length`).
    Short,
    /// Exactly nine letters and digits (Mistral: "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9").
    Nine,
}

impl CallIds {
    /// An id that is accepted: another one is replaced, by the same in the call and in its result. `own`: it came in this format, where
    /// OpenAI's length is the client's affair.
    pub fn fit(self, id: &str, own: bool) -> Cow<'_, str> {
        const LONGEST: usize = 40;
        const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let fits = match self {
            CallIds::Short => own || id.len() <= LONGEST,
            CallIds::Nine => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        };
        if fits {
            return Cow::Borrowed(id);
        }
        let mut hash = Fnv::new();
        hash.write(id.as_bytes());
        let mut value = hash.value();
        Cow::Owned(match self {
            CallIds::Short => format!("call_{value:016x}"),
            CallIds::Nine => {
                let mut letter = || {
                    let letter = LETTERS[(value % LETTERS.len() as u64) as usize];
                    value /= LETTERS.len() as u64;
                    char::from(letter)
                };
                (0..9).map(|_| letter()).collect()
            }
        })
    }
}

/// How thinking is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Thinking {
    /// `reasoning_effort`.
    Effort,
    /// `thinking: {"type": "enabled" | "disabled"}` with `reasoning_effort` (DeepSeek, "Thinking Mode").
    Switch,
    /// `reasoning: {effort | max_tokens, enabled}` (OpenRouter, "Reasoning Tokens").
    Settings,
}

/// How reasoning of earlier turns goes back to the server that gave it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum History {
    /// As `reasoning_content`, where the client speaks this very format: OpenAI itself has no use for it.
    AsSent,
    ReasoningContent,
    /// As `reasoning`.
    Reasoning,
    /// As `reasoning` and `reasoning_details`, whoever signed them.
    Details,
    /// As parts of the content, of type `thinking`.
    ThinkingParts,
    Nowhere,
}

/// How documents are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Documents {
    /// As a part `file`.
    File,
    /// As a part `document_url`.
    Url,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_are_accepted_and_the_same_every_time(id in any::<String>()) {
            let nine = CallIds::Nine.fit(&id, true);
            prop_assert!(nine.len() == 9 && nine.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            prop_assert_eq!(&CallIds::Nine.fit(&id, false), &nine);
            prop_assert_eq!(CallIds::Nine.fit(&nine, false), nine.as_ref());
            prop_assert!(CallIds::Short.fit(&id, false).len() <= 40);
            prop_assert_eq!(CallIds::Short.fit(&id, true), id.as_str());
        }
    }
}
