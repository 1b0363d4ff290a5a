//! Recorded traffic of real providers, where `PORTCULLIS_RECORDINGS` names its folder. It is no part of the project.

use std::path::PathBuf;

use serde_json::Value;

/// One exchange.
pub struct Recording {
    pub id: String,
    pub status: u64,
    pub stream: bool,
    /// The request's body.
    pub request: Value,
    /// The answer's, as it came.
    pub response: String,
}

/// The recordings of one provider whose path ends so, all with JSON requests; `None`, with a message, without a folder.
pub fn of(provider: &str, path: &str) -> Option<Vec<Recording>> {
    let Some(folder) = std::env::var_os("PORTCULLIS_RECORDINGS") else {
        eprintln!("skipped: PORTCULLIS_RECORDINGS is not set");
        return None;
    };
    let file = PathBuf::from(folder).join(format!("{provider}.jsonl"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let all = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("a recording is JSON");
        if !line["path"].as_str().is_some_and(|at| at.ends_with(path)) {
            return None;
        }
        Some(Recording {
            id: line["id"].as_str()?.to_owned(),
            status: line["status"].as_u64()?,
            stream: line["stream"].as_bool().unwrap_or(false),
            request: serde_json::from_str(line["request"]["text"].as_str()?).ok()?,
            response: line["response"]["text"].as_str()?.to_owned(),
        })
    });
    let all: Vec<_> = all.collect();
    assert!(!all.is_empty(), "no recordings of {provider} at {path}");
    Some(all)
}
