//! `think`: true, false, or a level (<https://docs.ollama.com/capabilities/thinking>). Levels are for models that know them, which are
//! `gpt-oss` and those that the operator gives the capability `think:levels`; these cannot be kept from thinking. A model that
//! does not think refuses `true` ("does not support thinking").

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use portcullis_plugin::notes::Notes;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Think {
    Switch(bool),
    Level(&'static str),
}

pub fn write(writer: &mut Writer, target: &Target, request: &Request, notes: &mut Notes) {
    match think(target, request, notes) {
        None => {}
        Some(Think::Switch(on)) => writer.member_bool("think", on),
        Some(Think::Level(level)) => writer.member_string("think", level),
    }
}

fn think(target: &Target, request: &Request, notes: &mut Notes) -> Option<Think> {
    let wish = request.reasoning.as_ref()?;
    if wish.summary.as_deref().is_some_and(|word| word != "auto") {
        notes.dropped("reasoning.summary");
    }
    let has = |word: &str| target.capabilities.iter().any(|able| able == word);
    let model = target.model.rsplit('/').next().unwrap_or_default();
    let levels = has("think:levels") || model.starts_with("gpt-oss");
    let off = wish.enabled == Some(false) || wish.effort.as_deref() == Some("none") || wish.budget == Some(0);
    if off && levels {
        notes.approximated("reasoning");
        return Some(Think::Level("low"));
    }
    if off {
        return Some(Think::Switch(false));
    }
    if wish.enabled.is_none() && wish.effort.is_none() && wish.budget.is_none() {
        return None;
    }
    if !levels && !target.capabilities.is_empty() && !has("reasoning") {
        notes.dropped("reasoning");
        return None;
    }
    if wish.budget.is_some() {
        notes.approximated("reasoning.budget");
    }
    let level = match (wish.effort.as_deref(), wish.budget) {
        (Some("low"), _) => ("low", true),
        (Some("medium"), _) => ("medium", true),
        (Some("high"), _) => ("high", true),
        (Some("minimal"), _) | (None, Some(1..=2048)) => ("low", false),
        (Some("xhigh" | "max"), _) | (None, Some(8193..)) => ("high", false),
        (Some(_), _) | (None, Some(_)) => ("medium", false),
        (None, None) if levels => return None,
        (None, None) => ("medium", false),
    };
    if wish.effort.is_some() && !(levels && level.1) {
        notes.approximated("reasoning.effort");
    }
    Some(if levels { Think::Level(level.0) } else { Think::Switch(true) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thought(model: &str, able: &[&str], wish: ReasoningSettings) -> (Option<Think>, Vec<String>) {
        let target = Target {
            model: model.to_owned(),
            max_output_tokens: None,
            stream: false,
            capabilities: able.iter().map(|&word| word.to_owned()).collect(),
            max_output: 0,
        };
        let mut request = Request::new("openai-chat", model);
        request.reasoning = Some(wish);
        let mut notes = Notes::default();
        let think = think(&target, &request, &mut notes);
        (think, notes.into_vec().into_iter().map(|note| format!("{} {}", note.code, note.subject)).collect())
    }

    #[test]
    fn wishes_become_what_a_model_takes() {
        const SILENT: ReasoningSettings =
            ReasoningSettings { effort: None, budget: None, enabled: None, summary: None };
        let effort = |word: &str| ReasoningSettings { effort: Some(word.to_owned()), ..SILENT };
        let enabled = |on| ReasoningSettings { enabled: Some(on), ..SILENT };
        let budget = |tokens| ReasoningSettings { budget: Some(tokens), ..SILENT };
        let (on, off) = (Some(Think::Switch(true)), Some(Think::Switch(false)));
        let level = |word| Some(Think::Level(word));
        for (model, able, wish, expected, notes) in [
            ("qwen3", &[][..], SILENT, None, &[][..]),
            ("qwen3", &[], enabled(true), on, &[]),
            ("qwen3", &[], enabled(false), off, &[]),
            ("qwen3", &[], effort("none"), off, &[]),
            ("qwen3", &[], effort("low"), on, &["approximated reasoning.effort"]),
            ("qwen3", &[], budget(4096), on, &["approximated reasoning.budget"]),
            ("llama3", &["tools"], effort("low"), None, &["dropped reasoning"]),
            ("llama3", &["tools"], effort("none"), off, &[]),
            ("qwen3", &["tools", "reasoning"], enabled(true), on, &[]),
            ("gpt-oss:20b", &[], effort("high"), level("high"), &[]),
            ("gpt-oss:20b", &[], effort("xhigh"), level("high"), &["approximated reasoning.effort"]),
            ("gpt-oss:20b", &[], effort("none"), level("low"), &["approximated reasoning"]),
            ("gpt-oss:20b", &[], enabled(true), None, &[]),
            ("me/gpt-oss", &[], budget(1024), level("low"), &["approximated reasoning.budget"]),
            ("mine", &["think:levels"], effort("medium"), level("medium"), &[]),
        ] {
            let (think, said) = thought(model, able, wish.clone());
            assert_eq!(
                (think, said.as_slice()),
                (expected, notes.iter().map(|&note| note.to_owned()).collect::<Vec<_>>().as_slice()),
                "{model} {wish:?}"
            );
        }
    }
}
