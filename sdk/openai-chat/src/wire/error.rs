//! Error objects. OpenAI's is `{"error":{"message","type","param","code"}}` (API reference, "Error codes"); compatible servers
//! send codes as numbers, a bare string, or the members at the top.

use std::fmt;

use portcullis_plugin::ir::{Failure, FailureKind};
use portcullis_plugin::json::Writer;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is known of an error.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct WireError {
    pub message: Option<String>,
    pub kind: Option<String>,
    pub param: Option<String>,
    pub code: Option<String>,
    /// A status inside the document: Groq's `status_code` in streams, OpenRouter's numeric `code`.
    pub status: Option<u16>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Members {
    message: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
    param: Scalar,
    code: Scalar,
    status_code: Scalar,
    /// The nested object of every OpenAI error.
    error: Option<Box<WireError>>,
    /// FastAPI's (vLLM and others).
    detail: Scalar,
}

impl WireError {
    /// Reads a document; what is not JSON has only its absence to tell.
    pub fn parse(document: &str) -> WireError {
        serde_json::from_str(document).unwrap_or_default()
    }

    /// The kind of failure: by code first, then by the words of old servers, then by status.
    pub fn failure(self, status: Option<u16>) -> Failure {
        let status = status.or(self.status);
        let kind = self.kind_of(status);
        let message = self.message.unwrap_or_else(|| match status {
            Some(status) => format!("The provider answered with status {status}."),
            None => "The provider reported an error.".to_owned(),
        });
        let code = self.code.filter(|code| code.parse::<u16>().is_err());
        Failure { kind, message, code, param: self.param, retry_after: None }
    }

    fn kind_of(&self, status: Option<u16>) -> FailureKind {
        let said =
            |words: &[&str]| [&self.code, &self.kind].into_iter().flatten().any(|said| words.contains(&said.as_str()));
        let message = self.message.as_deref().unwrap_or("");
        if said(&["context_length_exceeded", "exceed_context_size_error"])
            || (matches!(status, None | Some(400 | 413 | 422)) && TOO_LONG.iter().any(|words| message.contains(words)))
        {
            return FailureKind::ContextLength;
        }
        // OpenRouter has no code for it, and 403 (its guide, "Errors"). Azure says `content_filter` and names the policy inside; the image side says `moderation_blocked`.
        if said(&["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "moderation_blocked"])
            || (status == Some(403) && message.contains("flagged"))
        {
            return FailureKind::ContentFilter;
        }
        if said(&["invalid_api_key", "authentication_error"]) {
            return FailureKind::Authentication;
        }
        if said(&["model_not_found", "DeploymentNotFound"]) {
            return FailureKind::NotFound;
        }
        match status {
            Some(401) => FailureKind::Authentication,
            // 402: no balance left (DeepSeek, OpenRouter).
            Some(402 | 403) => FailureKind::Permission,
            Some(404) => FailureKind::NotFound,
            Some(408 | 504) => FailureKind::Timeout,
            Some(413) => FailureKind::ContextLength,
            Some(429) => FailureKind::RateLimited,
            Some(503 | 529) => FailureKind::Overloaded,
            Some(500..) => FailureKind::Unavailable,
            Some(400..500) => FailureKind::InvalidRequest,
            _ if said(&["rate_limit_exceeded", "insufficient_quota", "rate_limit_error"]) => FailureKind::RateLimited,
            _ if said(&["invalid_request_error"]) => FailureKind::InvalidRequest,
            _ => FailureKind::Unavailable,
        }
    }
}

/// What servers without a code for it say of an input that does not fit.
const TOO_LONG: &[&str] = &[
    // vLLM, DeepSeek, Mistral, OpenRouter.
    "maximum context length",
    // Later versions of vLLM.
    "maximum model length",
    // xAI.
    "maximum prompt length",
    // llama.cpp.
    "exceeds the available context size",
    // Text Generation Inference, and Together, which ran it.
    "`inputs` tokens + `max_new_tokens` must be",
    "inputs tokens + max_new_tokens must be",
    // SGLang.
    "longer than the model's context length",
];

/// A text, or a number or flag written as one; null and anything else count as absent.
#[derive(Debug, Default)]
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(Some(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(Some(number.to_string())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(Some(number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(Some(number.to_string())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
                Ok(Scalar(None))
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
                let mut first = Scalar(None);
                while let Some(item) = items.next_element::<Scalar>()? {
                    first.0 = first.0.or(item.0);
                }
                Ok(first)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                let mut found = Scalar(None);
                while let Some(name) = map.next_key::<String>()? {
                    // What FastAPI says of each member that does not validate; Mistral wraps that list once more.
                    if matches!(name.as_str(), "msg" | "message" | "detail") {
                        let text = map.next_value::<Scalar>()?;
                        found.0 = found.0.or(text.0);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de> Deserialize<'de> for WireError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ErrorVisitor;

        impl<'de> Visitor<'de> for ErrorVisitor {
            type Value = WireError;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an error object")
            }

            fn visit_str<E>(self, message: &str) -> Result<WireError, E> {
                Ok(WireError { message: Some(message.to_owned()), ..WireError::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireError, A::Error> {
                let members = Members::deserialize(MapAccessDeserializer::new(map))?;
                if let Some(error) = members.error {
                    // xAI says the code beside the error's text.
                    let code = error.code.or(members.code.0);
                    return Ok(WireError { code, ..*error });
                }
                let number = |scalar: &Scalar| scalar.0.as_deref().and_then(|text| text.parse().ok());
                let status = number(&members.status_code).or(number(&members.code));
                Ok(WireError {
                    message: members.message.0.or(members.detail.0),
                    kind: members.kind.0,
                    param: members.param.0,
                    code: members.code.0,
                    status,
                })
            }
        }

        deserializer.deserialize_any(ErrorVisitor)
    }
}

/// Writes `{"error":{…}}` in OpenAI's shape.
pub fn write(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> String {
    let mut writer = Writer::with_capacity(message.len() + 96);
    writer.begin_object();
    writer.key("error");
    writer.begin_object();
    writer.member_string("message", message);
    writer.member_string("type", kind);
    for (name, value) in [("param", param), ("code", code)] {
        writer.key(name);
        match value {
            Some(value) => writer.string(value),
            None => writer.null(),
        }
    }
    writer.end_object();
    writer.end_object();
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(document: &str, status: u16) -> FailureKind {
        WireError::parse(document).failure(Some(status)).kind
    }

    #[test]
    fn kinds_by_code_and_status() {
        let coded = |code: &str| format!(r#"{{"error":{{"message":"m","type":"t","param":null,"code":"{code}"}}}}"#);
        let table = [
            (coded("context_length_exceeded"), 400, FailureKind::ContextLength),
            (coded("content_filter"), 400, FailureKind::ContentFilter),
            (coded("invalid_api_key"), 401, FailureKind::Authentication),
            (coded("model_not_found"), 404, FailureKind::NotFound),
            (coded("insufficient_quota"), 429, FailureKind::RateLimited),
            (coded("x"), 400, FailureKind::InvalidRequest),
            (coded("x"), 403, FailureKind::Permission),
            (coded("x"), 500, FailureKind::Unavailable),
            (coded("x"), 503, FailureKind::Overloaded),
            (coded("x"), 504, FailureKind::Timeout),
            ("<html>bad gateway</html>".to_owned(), 502, FailureKind::Unavailable),
            (
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens"}}"#.to_owned(),
                400,
                FailureKind::ContextLength,
            ),
        ];
        for (document, status, expected) in table {
            assert_eq!(kind(&document, status), expected, "{status} {document}");
        }
    }

    #[test]
    fn odd_shapes_keep_their_message() {
        for (document, message) in [
            (r#"{"error":"plain"}"#, "plain"),
            (r#"{"detail":"not found"}"#, "not found"),
            (r#"{"object":"error","message":"top","type":"x","code":3000}"#, "top"),
            (
                r#"{"object":"error","message":{"detail":[{"type":"missing","loc":["body"],"msg":"Field required"}]}}"#,
                "Field required",
            ),
            (r#"{"code":"invalid-argument","error":"said beside its code"}"#, "said beside its code"),
            (r#"{"error":{"code":429,"message":"nested","metadata":{"a":[1]}}}"#, "nested"),
        ] {
            assert_eq!(WireError::parse(document).failure(Some(400)).message, message);
        }
    }

    #[test]
    fn a_number_for_a_code_is_a_status() {
        let failure = WireError::parse(r#"{"error":{"code":429,"message":"slow down"}}"#).failure(None);
        assert_eq!((failure.kind, failure.code), (FailureKind::RateLimited, None));
    }
}
