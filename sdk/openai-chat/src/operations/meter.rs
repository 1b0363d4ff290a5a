//! Id, model and usage of these operations' answers. Nothing is generated that would have to be finished, but for completions,
//! which are read as chat is.

use portcullis_plugin::ir::{Failure, Frame, Usage};
use portcullis_plugin::json;
use portcullis_plugin::provider::Metered;
use serde::Deserialize;

use crate::provider;
use crate::wire::error::WireError;

/// Tokens that a second of speech counts as, where a model is paid by the minute and its answer tells seconds: as many as the
/// models make of it that are paid by tokens ("Speech to text" in OpenAI's guides). Such a model's price is a sixhundredth of a
/// minute's.
pub const TOKENS_A_SECOND: f64 = 10.0;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    id: Option<String>,
    model: Option<String>,
    usage: Option<WireUsage>,
    /// Cohere's.
    meta: Option<Meta>,
    /// Images, where the answer tells no tokens.
    data: Option<Vec<serde::de::IgnoredAny>>,
    error: Option<WireError>,
    /// Seconds, in a transcription's verbose answer; a number, or one in a text.
    duration: Option<serde_json::Value>,
}

/// Under either family of names: `prompt_tokens` (embeddings, rerank) or `input_tokens` (images, audio).
#[derive(Deserialize, Default)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    #[serde(alias = "input_token_details", alias = "prompt_tokens_details")]
    input_tokens_details: Option<Details>,
    /// Of a transcription that is paid by the minute; the second is Mistral's name.
    #[serde(alias = "prompt_audio_seconds")]
    seconds: Option<serde_json::Value>,
    /// Jina's and Voyage's reranking has `total_tokens` alone; Cohere's compatible servers this.
    search_units: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    billed_units: BilledUnits,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BilledUnits {
    search_units: Option<f64>,
}

/// Reads an answer of one of the table's endpoints.
pub fn read(endpoint: &str, metered: &mut Metered, frames: &[Frame], last: bool) {
    if endpoint == "completions" {
        return provider::meter::read(metered, frames, last);
    }
    for frame in frames {
        let data = frame.data.trim();
        if data.is_empty() || data == "[DONE]" {
            continue;
        }
        match json::from_str::<Document>(data) {
            Ok(document) => take(endpoint, metered, document),
            Err(error) => {
                let failure = Failure::upstream_protocol(format!("an answer is not as the protocol says: {error}"));
                metered.failure.get_or_insert(failure);
            }
        }
    }
}

fn take(endpoint: &str, metered: &mut Metered, document: Document) {
    let filled = |text: &String| !text.is_empty();
    metered.id = metered.id.take().or(document.id.filter(filled));
    metered.model = document.model.filter(filled).or(metered.model.take());
    if let Some(error) = document.error {
        metered.failure = Some(error.failure(None));
    }
    let units = document.meta.and_then(|meta| meta.billed_units.search_units).map(|units| units.ceil() as u64);
    // A batch tells what its requests will have used together; each of them was priced elsewhere, and it is not these objects' own.
    let counts = !matches!(endpoint, "batch" | "batch-list" | "batch-cancel" | "batches");
    if let Some(usage) = document.usage.filter(|_| counts) {
        metered.usage = Some(usage.count(units));
    } else if let (true, Some(seconds)) = (endpoint.starts_with("trans"), document.duration.as_ref().and_then(seconds))
    {
        metered.usage = Some(WireUsage { seconds: Some(seconds.into()), ..WireUsage::default() }.count(None));
    } else if let Some(searches) = units {
        metered.usage = Some(Usage { searches, ..Usage::default() });
    } else if let (true, Some(data)) = (endpoint.starts_with("image"), document.data) {
        metered.usage = Some(Usage { images: data.len() as u64, ..Usage::default() });
    }
}

fn seconds(value: &serde_json::Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

impl WireUsage {
    /// Each token once.
    fn count(self, units: Option<u64>) -> Usage {
        let details = self.input_tokens_details.unwrap_or_default();
        let output = self.output_tokens.or(self.completion_tokens).unwrap_or(0);
        let given = self.input_tokens.or(self.prompt_tokens);
        let timed = self.seconds.as_ref().and_then(seconds).filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let heard = timed.map(|seconds| (seconds * TOKENS_A_SECOND).ceil() as u64);
        // Mistral counts the prompt's tokens beside the seconds.
        let all = heard
            .map(|heard| heard + given.unwrap_or(0))
            .or(given)
            .or(self.total_tokens.map(|total| total.saturating_sub(output)))
            .unwrap_or(0);
        let cache_read = details.cached_tokens.unwrap_or(0).min(all);
        let input = all - cache_read;
        Usage {
            input,
            cache_read,
            output,
            audio_input: details.audio_tokens.or(heard).unwrap_or(0).min(input),
            searches: units.or(self.search_units).unwrap_or(0),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metered(endpoint: &str, documents: &[&str]) -> Metered {
        let mut metered = Metered::default();
        let frames: Vec<_> = documents.iter().map(|data| Frame::data(*data)).collect();
        read(endpoint, &mut metered, &frames, true);
        metered
    }

    fn usage(endpoint: &str, documents: &[&str]) -> Usage {
        let metered = metered(endpoint, documents);
        assert_eq!(metered.failure, None);
        metered.usage.unwrap()
    }

    #[test]
    fn each_operation_counts_in_its_own_words() {
        let plain = Usage::default;
        let embeddings = r#"{"object":"list","data":[{"embedding":"AAA="}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
        assert_eq!(usage("embeddings", &[embeddings]), Usage { input: 8, ..plain() });
        let image = r#"{"created":1,"data":[{"b64_json":"AA=="}],"usage":{"input_tokens":50,"output_tokens":4160,"total_tokens":4210,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}"#;
        assert_eq!(usage("images", &[image]), Usage { input: 50, output: 4160, ..plain() });
        assert_eq!(usage("image-edits", &[r#"{"data":[{"url":"u"},{"url":"v"}]}"#]), Usage { images: 2, ..plain() });
        let heard = r#"{"text":"hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":5,"total_tokens":19}}"#;
        assert_eq!(usage("transcriptions", &[heard]), Usage { input: 14, audio_input: 10, output: 5, ..plain() });
        let timed = r#"{"text":"hi","usage":{"type":"duration","seconds":27.01}}"#;
        assert_eq!(usage("transcriptions", &[timed]), Usage { input: 271, audio_input: 271, ..plain() });
        let verbose = r#"{"task":"transcribe","duration":"2.5","text":"hi"}"#;
        assert_eq!(usage("translations", &[verbose]), Usage { input: 25, audio_input: 25, ..plain() });
        let beside = r#"{"text":"hi","usage":{"prompt_audio_seconds":3,"prompt_tokens":4,"completion_tokens":5,"total_tokens":12}}"#;
        assert_eq!(usage("transcriptions", &[beside]), Usage { input: 34, audio_input: 30, output: 5, ..plain() });
        let units = r#"{"id":"r","results":[],"meta":{"billed_units":{"search_units":2}}}"#;
        assert_eq!(usage("rerank", &[units]), Usage { searches: 2, ..plain() });
        assert_eq!(
            usage("rerank", &[r#"{"results":[],"usage":{"total_tokens":815}}"#]),
            Usage { input: 815, ..plain() }
        );
    }

    #[test]
    fn a_stream_is_counted_by_the_frame_that_tells() {
        let frames = [
            r#"{"type":"transcript.text.delta","delta":"hi"}"#,
            r#"{"type":"transcript.text.done","text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":5}}"#,
        ];
        assert_eq!(usage("transcriptions", &frames).output, 5);
        let failed = metered("images", &[r#"{"type":"error","error":{"message":"no","code":"moderation_blocked"}}"#]);
        assert!(failed.failure.is_some() && failed.usage.is_none());
    }

    #[test]
    fn a_completion_must_be_finished() {
        let cut = metered("completions", &[r#"{"id":"c","model":"m","choices":[{"text":"a"}]}"#]);
        assert!(cut.failure.is_some());
        let whole =
            r#"{"choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        assert_eq!(usage("completions", &[whole]).output, 1);
    }

    #[test]
    fn objects_of_an_account_use_nothing() {
        let batch = r#"{"id":"batch_1","usage":{"input_tokens":9,"output_tokens":9}}"#;
        assert_eq!(metered("batch", &[batch]).usage, None);
        assert_eq!(metered("file-list", &[r#"{"object":"list","data":[{"id":"f"}]}"#]).usage, None);
    }
}
