//! How much to think. Gemini 3 and later have levels, Gemini 2.5 budgets of tokens, and both cannot be given at once
//! (<https://ai.google.dev/gemini-api/docs/thinking>). The table between efforts and budgets is that of Google's
//! OpenAI-compatible endpoint (<https://ai.google.dev/gemini-api/docs/openai>), used both ways, and a change is noted.

use portcullis_plugin::ir::{ReasoningSettings, Request};

use crate::catalogue::{Control, Traits};
use portcullis_plugin::notes::Notes;

/// What each effort may think, in tokens.
const BUDGETS: &[(&str, u32)] = &[("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24_576)];
/// Efforts from least to most; those above the highest level are the highest.
const RANKS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

#[derive(Debug, Default, PartialEq)]
pub struct Thinking {
    pub level: Option<String>,
    pub budget: Option<u32>,
    /// Whether thoughts are shown.
    pub include: Option<bool>,
}

/// Decides on thinking for a request of another protocol.
pub fn plan(request: &Request, traits: &Traits, notes: &mut Notes) -> Thinking {
    let Some(settings) = &request.reasoning else { return Thinking::default() };
    let effort = settings.effort.as_deref();
    let off = settings.enabled == Some(false) || effort == Some("none") || settings.budget == Some(0);
    let mut thinking = match traits.control {
        Control::None => {
            if !off {
                notes.dropped("reasoning");
            }
            return Thinking::default();
        }
        Control::Level(levels) if off => {
            // Least is as near to nothing as it gets.
            notes.approximated("reasoning");
            Thinking { level: levels.first().map(|&level| level.to_owned()), ..Thinking::default() }
        }
        Control::Budget { off: true, .. } if off => Thinking { budget: Some(0), ..Thinking::default() },
        Control::Budget { least, .. } if off => {
            notes.approximated("reasoning");
            Thinking { budget: Some(least), ..Thinking::default() }
        }
        Control::Level(levels) => Thinking { level: level(settings, levels, notes), ..Thinking::default() },
        Control::Budget { least, most, .. } => {
            Thinking { budget: budget(settings, least, most, notes), ..Thinking::default() }
        }
    };
    if !off {
        thinking.include = Some(settings.summary.as_deref() != Some("omitted"));
    }
    thinking
}

fn level(settings: &ReasoningSettings, levels: &[&str], notes: &mut Notes) -> Option<String> {
    let asked = match (settings.effort.as_deref(), settings.budget) {
        (Some(effort), _) => effort,
        (None, Some(budget)) => {
            notes.approximated("reasoning.budget");
            BUDGETS.iter().rev().find(|(_, least)| *least <= budget).map_or("low", |(word, _)| word)
        }
        (None, None) => return None,
    };
    if levels.contains(&asked) {
        return Some(asked.to_owned());
    }
    let rank = |word: &str| RANKS.iter().position(|known| *known == word);
    let Some(asked) = rank(asked) else {
        // A word of a provider we do not know says nothing here.
        notes.dropped("reasoning.effort");
        return None;
    };
    notes.approximated("reasoning.effort");
    let nearest = levels.iter().rev().find(|&&word| rank(word) <= Some(asked)).or(levels.first());
    nearest.map(|&word| word.to_owned())
}

fn budget(settings: &ReasoningSettings, least: u32, most: u32, notes: &mut Notes) -> Option<u32> {
    let asked = match (settings.budget, settings.effort.as_deref()) {
        (Some(budget), _) => {
            if !(least..=most).contains(&budget) {
                notes.clamped("reasoning.budget");
            }
            budget
        }
        (None, Some("xhigh" | "max")) => {
            notes.approximated("reasoning.effort");
            most
        }
        (None, Some(effort)) => match BUDGETS.iter().find(|(word, _)| *word == effort) {
            Some((_, budget)) => *budget,
            None => {
                notes.dropped("reasoning.effort");
                return None;
            }
        },
        (None, None) => return None,
    };
    Some(asked.clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::traits;

    fn planned(model: &str, settings: ReasoningSettings) -> (Thinking, Vec<String>) {
        let mut request = Request::new("openai-chat", model);
        request.reasoning = Some(settings);
        let mut notes = Notes::default();
        let thinking = plan(&request, &traits(model), &mut notes);
        (thinking, notes.into_vec().into_iter().map(|note| format!("{} {}", note.code, note.subject)).collect())
    }

    fn settings() -> ReasoningSettings {
        ReasoningSettings { effort: None, budget: None, enabled: None, summary: None }
    }

    #[test]
    fn efforts_by_model() {
        for (model, effort, level, budget, note) in [
            ("gemini-3.8-flash", "high", Some("high"), None, ""),
            ("gemini-3.8-flash", "minimal", Some("low"), None, "approximated reasoning.effort"),
            ("gemini-3.6-flash", "minimal", Some("minimal"), None, ""),
            ("gemini-3.1-pro-preview", "xhigh", Some("high"), None, "approximated reasoning.effort"),
            ("gemini-4-argon", "max", Some("high"), None, "approximated reasoning.effort"),
            ("gemini-4-argon", "none", Some("low"), None, "approximated reasoning"),
            ("gemini-4-argon", "turbo", None, None, "dropped reasoning.effort"),
            ("gemini-2.5-flash", "medium", None, Some(8192), ""),
            ("gemini-2.5-flash", "none", None, Some(0), ""),
            ("gemini-2.5-pro", "none", None, Some(128), "approximated reasoning"),
            ("gemini-2.5-pro", "max", None, Some(32_768), "approximated reasoning.effort"),
            ("gemini-2.0-flash", "high", None, None, "dropped reasoning"),
            ("gemini-2.0-flash", "none", None, None, ""),
        ] {
            let (thinking, notes) = planned(model, ReasoningSettings { effort: Some(effort.to_owned()), ..settings() });
            assert_eq!((thinking.level.as_deref(), thinking.budget), (level, budget), "{model} {effort}");
            assert_eq!(notes.join(";"), note, "{model} {effort}");
        }
    }

    #[test]
    fn budgets_by_model() {
        for (model, asked, level, budget, note) in [
            ("gemini-3.8-flash", 10_000, Some("medium"), None, "approximated reasoning.budget"),
            ("gemini-3.8-flash", 100, Some("low"), None, "approximated reasoning.budget"),
            ("gemini-2.5-flash-lite", 100, None, Some(512), "clamped reasoning.budget"),
            ("gemini-2.5-pro", 10_000, None, Some(10_000), ""),
        ] {
            let (thinking, notes) = planned(model, ReasoningSettings { budget: Some(asked), ..settings() });
            assert_eq!((thinking.level.as_deref(), thinking.budget), (level, budget), "{model} {asked}");
            assert_eq!(notes.join(";"), note, "{model} {asked}");
        }
    }

    #[test]
    fn thoughts_are_shown_to_whom_asked_to_think() {
        let asked = ReasoningSettings { enabled: Some(true), ..settings() };
        assert_eq!(planned("gemini-4-argon", asked.clone()).0, Thinking { include: Some(true), ..Thinking::default() });
        let hidden = ReasoningSettings { summary: Some("omitted".to_owned()), ..asked };
        assert_eq!(planned("gemini-4-argon", hidden).0.include, Some(false));
        let off = ReasoningSettings { enabled: Some(false), ..settings() };
        assert_eq!(planned("gemini-2.5-flash", off).0, Thinking { budget: Some(0), ..Thinking::default() });
    }
}
