//! The API's other operations, each as small as it can be and still tell what was asked: embeddings and moderations of a text,
//! reranking by common words, speech as so many samples for so many characters, a transcription that says what it was given, and files.

use std::collections::HashSet;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use portcullis_wire::multipart::{self, Field};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::server::Stamp;
use crate::tokens;

/// Numbers of an embedding.
const DIMENSIONS: usize = 8;
/// Of speech, a second; one byte each.
const SAMPLES: u32 = 8000;
/// A character is spoken in so many.
const SAMPLES_A_CHARACTER: usize = 400;

/// What an operation answers.
#[derive(Debug)]
pub enum Told {
    Json(Value),
    /// A content type and bytes of it.
    Bytes(&'static str, Bytes),
    /// Server-sent events, the data of each.
    Events(Vec<Value>),
}

/// Files of the account. They live as long as the server.
#[derive(Debug, Default)]
pub struct Files(Mutex<Vec<File>>);

#[derive(Clone, Debug)]
struct File {
    id: String,
    name: String,
    purpose: String,
    created: u64,
    content: Bytes,
}

/// Answers one of these operations; `None` where the path is none of theirs.
pub fn answer(files: &Files, parts: &Parts, body: &Bytes, stamp: Stamp) -> Option<Result<Told, Refusal>> {
    let path = parts.uri.path().strip_prefix("/v1/")?;
    let form = || Form::read(parts, body);
    let json = || -> Result<Value, Refusal> {
        serde_json::from_slice(body)
            .map_err(|_| Refusal::bad_request("We could not parse the JSON body of your request."))
    };
    Some(match (parts.method.as_str(), path) {
        ("POST", "embeddings") => json().and_then(|body| embeddings(&body)),
        ("POST", "moderations") => json().and_then(|body| moderations(&body, stamp)),
        ("POST", "rerank") => json().and_then(|body| rerank(&body, stamp)),
        ("POST", "audio/speech") => json().and_then(|body| speech(&body)),
        ("POST", "audio/transcriptions") => form().and_then(|form| transcription(&form)),
        _ if path == "files" || path.starts_with("files/") => files.answer(&parts.method, path, form, stamp),
        _ => return None,
    })
}

/// A member that must be there.
fn required<'a>(body: &'a Value, name: &str) -> Result<&'a Value, Refusal> {
    body.get(name).filter(|value| !value.is_null()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Refusal {
    Refusal::bad_request(format!("Missing required parameter: '{name}'.")).at(name).code("missing_required_parameter")
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => {
            all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
        }
        one => vec![one.as_str().unwrap_or_default().to_owned()],
    }
}

fn embeddings(body: &Value) -> Result<Told, Refusal> {
    let (model, input) = (required(body, "model")?, texts(required(body, "input")?));
    let base64 = body["encoding_format"] == "base64";
    let embedding = |text: &String| {
        let numbers = embed(text);
        if base64 {
            json!(STANDARD.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()))
        } else {
            json!(numbers)
        }
    };
    let data: Vec<_> = input
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": embedding(text)}))
        .collect();
    let count: u64 = input.iter().map(|text| tokens::count(text)).sum();
    Ok(Told::Json(json!({
        "object": "list", "data": data, "model": model, "usage": {"prompt_tokens": count, "total_tokens": count},
    })))
}

/// Of length one, and the same for the same text.
fn embed(text: &str) -> [f32; DIMENSIONS] {
    let mut numbers = [0_f32; DIMENSIONS];
    for (at, byte) in text.bytes().enumerate() {
        numbers[at % DIMENSIONS] += f32::from(byte);
    }
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt().max(1.0);
    numbers.map(|number| number / length)
}

/// Flags what speaks of violence by that word.
fn moderations(body: &Value, stamp: Stamp) -> Result<Told, Refusal> {
    let results: Vec<_> = texts(required(body, "input")?)
        .iter()
        .map(|text| {
            let violent = text.to_lowercase().contains("violence");
            let names = [
                "harassment",
                "harassment/threatening",
                "hate",
                "hate/threatening",
                "illicit",
                "illicit/violent",
                "self-harm",
                "self-harm/instructions",
                "self-harm/intent",
                "sexual",
                "sexual/minors",
                "violence",
                "violence/graphic",
            ];
            let each = |value: &dyn Fn(&str) -> Value| -> Value {
                names.iter().map(|name| ((*name).to_owned(), value(name))).collect::<serde_json::Map<_, _>>().into()
            };
            json!({
                "flagged": violent,
                "categories": each(&|name| json!(violent && name == "violence")),
                "category_scores": each(&|name| json!(if violent && name == "violence" { 0.9 } else { 0.01 })),
                "category_applied_input_types": each(&|_| json!(["text"])),
            })
        })
        .collect();
    let model = body["model"].as_str().unwrap_or("omni-moderation-latest");
    Ok(Told::Json(json!({"id": format!("modr-demo{:012x}", stamp.serial), "model": model, "results": results})))
}

fn rerank(body: &Value, stamp: Stamp) -> Result<Told, Refusal> {
    let model = required(body, "model")?;
    let query = texts(required(body, "query")?).concat();
    let asked: HashSet<&str> = query.split_whitespace().collect();
    let documents = texts(required(body, "documents")?);
    let score = |text: &str| {
        let common = text.split_whitespace().filter(|word| asked.contains(word)).count();
        common as f64 / text.split_whitespace().count().max(1) as f64
    };
    let mut results: Vec<_> = documents.iter().enumerate().map(|(index, text)| (index, score(text))).collect();
    results.sort_by(|one, two| two.1.total_cmp(&one.1));
    results.truncate(body["top_n"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX));
    let results: Vec<_> =
        results.iter().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    Ok(Told::Json(json!({
        "id": format!("rerank-demo{:012x}", stamp.serial), "model": model, "results": results,
        "meta": {"billed_units": {"search_units": 1}},
    })))
}

/// A WAV file, as long as the text.
fn speech(body: &Value) -> Result<Told, Refusal> {
    required(body, "model")?;
    required(body, "voice")?;
    let characters = texts(required(body, "input")?).concat().chars().count();
    let samples = u32::try_from(characters * SAMPLES_A_CHARACTER).map_err(|_| Refusal::bad_request("too long"))?;
    let mut wav = Vec::with_capacity(44 + samples as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + samples).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&SAMPLES.to_le_bytes());
    wav.extend_from_slice(&SAMPLES.to_le_bytes());
    wav.extend_from_slice(b"\x01\0\x08\0data");
    wav.extend_from_slice(&samples.to_le_bytes());
    // A sawtooth: not silence, and not UTF-8.
    wav.extend((0..samples).map(|at| (at % 256) as u8));
    Ok(Told::Bytes("audio/wav", wav.into()))
}

fn transcription(form: &Form) -> Result<Told, Refusal> {
    form.text("model").ok_or_else(|| missing("model"))?;
    let recording = form.file("file").ok_or_else(|| missing("file"))?;
    let prompt = form.text("prompt").map_or_else(String::new, |prompt| format!(" The prompt was: {prompt}"));
    let text = format!("A recording of {} bytes.{prompt}", recording.len());
    let usage = json!({
        "type": "tokens", "input_tokens": 10, "input_token_details": {"text_tokens": 0, "audio_tokens": 10},
        "output_tokens": tokens::count(&text), "total_tokens": 10 + tokens::count(&text),
    });
    if form.text("stream") == Some("true") {
        let mut events: Vec<_> =
            tokens::split(&text).map(|token| json!({"type": "transcript.text.delta", "delta": token})).collect();
        events.push(json!({"type": "transcript.text.done", "text": text, "usage": usage}));
        return Ok(Told::Events(events));
    }
    Ok(match form.text("response_format") {
        Some("text" | "srt" | "vtt") => Told::Bytes("text/plain; charset=utf-8", text.into()),
        _ => Told::Json(json!({"text": text, "usage": usage})),
    })
}

/// A form's fields, where they stand in its bytes.
struct Form<'a> {
    body: &'a Bytes,
    fields: Vec<Field>,
}

impl<'a> Form<'a> {
    fn read(parts: &Parts, body: &'a Bytes) -> Result<Self, Refusal> {
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let fields = multipart::fields(kind, body)
            .map_err(|error| Refusal::bad_request(format!("Could not parse multipart form: {error}")))?;
        Ok(Form { body, fields })
    }

    fn text(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| field.name == name && !field.file)?;
        std::str::from_utf8(&self.body[field.content.clone()]).ok()
    }

    fn file(&self, name: &str) -> Option<Bytes> {
        let field = self.fields.iter().find(|field| field.name == name && field.file)?;
        Some(self.body.slice(field.content.clone()))
    }
}

impl Files {
    fn answer<'a>(
        &self,
        method: &Method,
        path: &str,
        form: impl FnOnce() -> Result<Form<'a>, Refusal>,
        stamp: Stamp,
    ) -> Result<Told, Refusal> {
        let mut files = self.0.lock().expect("no panic while held");
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let found = |id: &str| {
            let no_file = || Refusal::new(StatusCode::NOT_FOUND, format!("No such File object: {id}")).at("id");
            files.iter().position(|file| file.id == id).ok_or_else(no_file)
        };
        match (method.as_str(), segments.as_slice()) {
            ("POST", []) => {
                let form = form()?;
                let content = form.file("file").ok_or_else(|| missing("file"))?;
                let purpose = form.text("purpose").ok_or_else(|| missing("purpose"))?.to_owned();
                let id = format!("file-demo{:012x}", stamp.serial);
                let file = File { id, name: "upload".to_owned(), purpose, created: stamp.created, content };
                files.push(file.clone());
                Ok(Told::Json(file.json()))
            }
            ("GET", []) => Ok(Told::Json(json!({
                "object": "list", "data": files.iter().map(File::json).collect::<Vec<_>>(), "has_more": false,
            }))),
            ("GET", [id]) => found(id).map(|at| Told::Json(files[at].json())),
            ("GET", [id, "content"]) => {
                found(id).map(|at| Told::Bytes("application/octet-stream", files[at].content.clone()))
            }
            ("DELETE", [id]) => {
                let at = found(id)?;
                files.remove(at);
                Ok(Told::Json(json!({"id": id, "object": "file", "deleted": true})))
            }
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, format!("Invalid URL ({method} /v1/{path})"))),
        }
    }
}

impl File {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "file", "bytes": self.content.len(), "created_at": self.created,
            "filename": self.name, "purpose": self.purpose, "status": "processed",
        })
    }
}
